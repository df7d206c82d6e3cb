"""What training data, evaluations and memories hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clara.rendering.basics import print_json, short

if TYPE_CHECKING:
    from clara.evaluation.compare import Compared
    from clara.evaluation.inspection import Inspection
    from clara.training.data import DataReport


def print_data_report(report: DataReport, *, as_json: bool) -> None:
    """What a check of training data found."""
    if as_json:
        print_json(asdict(report))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{report.examples:,} examples of {report.stage}, {report.documents:,} documents, "
        f"{report.answers:,} answers."
    )
    for name, (least, mean, most) in report.words.items():
        console.print(f"Words in {name}: {least:,} to {most:,}, mean {mean:,.1f}.")
    for line, reason in report.faults:
        console.print(f"Line {line}: {reason}.", markup=False)
    if report.num_faults:
        console.print(f"Faulty lines: {report.num_faults:,}, shown: {len(report.faults):,}.")


def print_figures(figures: Mapping[str, Any], report: Path, *, as_json: bool) -> None:
    """What an evaluation found, in short, and where the report is."""
    if as_json:
        print_json(figures)
        return
    from clara.evaluation.tables import distinct_searches, passages_label, percent, reading_label

    console = Console(highlight=False)
    console.print()
    if figures["answers"]:
        table = Table("passages", "read as", "F1", "failed", box=None)
        for condition in figures["conditions"]:
            found = figures["answers"].get(condition["name"], {})
            table.add_row(
                passages_label(condition, figures["k"]),
                reading_label(condition),
                percent(found["f1"]) if "f1" in found else "",
                str(found.get("failed", "")),
            )
        console.print(table)
        console.print()
    if figures["retrieval"]:
        table = Table("search", "recall@1", "recall@5", box=None)
        for label, found in distinct_searches(figures["retrieval"]):
            metrics = (percent(found[metric]) for metric in ("recall@1", "recall@5"))
            table.add_row(label, *metrics)
        console.print(table)
        console.print()
    for rate, control in figures["controls"].items():
        if not control["reads_memories"]:
            console.print(f"At {rate}x the gold memory is not clearly better than another question's.")
    console.print(f"Wrote {short(str(report.resolve()))} and the same as HTML.", soft_wrap=True)


def print_compared(compared: Sequence[Compared], *, as_json: bool) -> None:
    """Two runs paired."""
    if as_json:
        print_json([one.to_dict() for one in compared])
        return
    table = Table("", "metric", "first", "second", "second - first", "p", "questions", box=None)
    for one in compared:
        difference = one.difference
        ends = f"{100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
        table.add_row(
            one.what,
            one.metric,
            f"{100 * one.first:.1f}",
            f"{100 * one.second:.1f}",
            f"{100 * difference.mean:+.1f} ({ends})",
            f"{difference.p:.4f}",
            str(difference.count),
        )
    Console(highlight=False).print(table)


_SHADES = ("", "on grey93", "on light_sky_blue3", "on sky_blue2", "on steel_blue1", "bold on dodger_blue1")


def print_inspections(inspections: Sequence[Inspection], *, as_json: bool) -> None:
    """Texts with their words shaded by weight, and the nearest words of their memory tokens."""
    if as_json:
        print_json([one.to_dict() for one in inspections])
        return
    from clara.evaluation.wordpage import mean_weight, step_of

    console = Console(highlight=False)
    for inspection in inspections:
        mean, text = mean_weight(inspection), Text(inspection.text)
        for word in inspection.words:
            shade = _SHADES[step_of(word, mean)]
            if shade:
                text.stylize(f"black {shade}", word.start, word.start + len(word.text))
        console.print(text)
        console.print()
        heaviest = sorted(inspection.words, key=lambda word: -word.weight)[:10]
        if heaviest:
            shares = ", ".join(f"{word.text} {100 * word.weight:.1f} %" for word in heaviest)
            console.print(f"Most weight: {shares}", markup=False)
            console.print()
        table = Table("memory token", "nearest words, cosine", box=None)
        for number, tokens in enumerate(inspection.nearest, start=1):
            table.add_row(str(number), Text(", ".join(f"{one.text} {one.cosine:.2f}" for one in tokens)))
        console.print(table)
        console.print()
