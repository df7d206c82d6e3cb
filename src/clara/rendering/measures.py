"""Reports on training data, evaluations and memories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from clara.rendering.basics import console, counted, print_json, print_table, short

if TYPE_CHECKING:
    from clara.evaluation.compare import Compared
    from clara.evaluation.inspection import Inspection
    from clara.training.data import DataReport


def print_data_report(report: DataReport, *, as_json: bool) -> None:
    """What a check of training data found."""
    if as_json:
        print_json(asdict(report))
        return
    shown = console()
    shown.print(
        f"{counted(report.examples, 'example')} for {report.stage}, {counted(report.documents, 'document')}, "
        f"{counted(report.answers, 'answer')}."
    )
    for name, (least, mean, most) in report.words.items():
        shown.print(f"Words in {name}: {least:,} to {most:,}, mean {mean:,.1f}.")
    for line, reason in report.faults:
        shown.print(f"Line {line}: {reason}.")
    if report.num_faults:
        shown.print(f"Faulty lines: {report.num_faults:,}, shown: {len(report.faults):,}.")


def print_figures(figures: Mapping[str, Any], report: Path, *, as_json: bool) -> None:
    """What an evaluation found, in short, and where the report is."""
    if as_json:
        print_json(figures)
        return
    from clara.evaluation.tables import distinct_searches, passages_label, percent, reading_label

    shown = console()
    shown.print()
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
        print_table(shown, table)
        shown.print()
    if figures["retrieval"]:
        table = Table("search", "recall@1", "recall@5", box=None)
        for label, found in distinct_searches(figures["retrieval"]):
            metrics = (percent(found[metric]) for metric in ("recall@1", "recall@5"))
            table.add_row(label, *metrics)
        print_table(shown, table)
        shown.print()
    for rate, control in figures["controls"].items():
        if not control["reads_memories"]:
            shown.print(f"At {rate}x the gold memory is not significantly better than a wrong one.")
    shown.print(f"Wrote {short(str(report.resolve()))} and the same as HTML.")


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
    print_table(console(), table)


_SHADES = ("", "on grey93", "on light_sky_blue3", "on sky_blue2", "on steel_blue1", "bold on dodger_blue1")


def print_inspections(inspections: Sequence[Inspection], *, as_json: bool) -> None:
    """Texts with their words shaded by weight, and the nearest words of their memory tokens."""
    if as_json:
        print_json([one.to_dict() for one in inspections])
        return
    from clara.evaluation.wordpage import mean_weight, step_of

    shown = console()
    for inspection in inspections:
        mean, text = mean_weight(inspection), Text(inspection.text)
        for word in inspection.words:
            shade = _SHADES[step_of(word, mean)]
            if shade:
                text.stylize(f"black {shade}", word.start, word.start + len(word.text))
        shown.print(text)
        shown.print()
        heaviest = sorted(inspection.words, key=lambda word: -word.weight)[:10]
        if heaviest:
            shares = ", ".join(f"{word.text} {100 * word.weight:.1f} %" for word in heaviest)
            shown.print(f"Most weight: {shares}")
            shown.print()
        if inspection.paraphrase is not None:
            shown.print(Text(f"Written from the memory: {inspection.paraphrase}"))
            for label, facts in (("kept", inspection.kept), ("lost", inspection.lost)):
                shown.print(Text(f"Names and numbers {label}: {', '.join(facts) or 'none'}"))
            shown.print()
        if inspection.nearest:
            table = Table("memory token", "nearest words, cosine", box=None)
            for number, tokens in enumerate(inspection.nearest, start=1):
                table.add_row(str(number), Text(", ".join(f"{one.text} {one.cosine:.2f}" for one in tokens)))
            print_table(shown, table)
            shown.print()
