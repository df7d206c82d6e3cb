"""What a person sees in the terminal: progress, reports, answers with their sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import filesize
from rich.console import Console
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from clara.records import Answer, Source

if TYPE_CHECKING:
    from clara import indexing
    from clara.evaluation.compare import Compared
    from clara.evaluation.inspection import Inspection
    from clara.library import Library
    from clara.store import Explanation, IndexReport, StoreInfo
    from clara.store.maintenance import CheckReport, CompactReport
    from clara.training.data import DataReport

EXCERPT_CHARACTERS = 160


class _RateColumn(ProgressColumn):
    """Passages so far and per second."""

    def render(self, task: Task) -> Text:
        passages = task.fields["passages"]
        rate = passages / task.elapsed if task.elapsed else 0.0
        return Text(f"{passages:,} passages, {rate:,.0f}/s")


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[indexing.Progress], None]]:
    """A bar over the files' bytes with passages per second and time left, on standard error.

    Args:
        quiet: Show nothing.
    """
    columns = (
        TextColumn("Indexing"),
        BarColumn(),
        TextColumn("{task.fields[files]}/{task.fields[total_files]} files"),
        _RateColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("", files=0, total_files=0, passages=0, total=None)

        def show(state: indexing.Progress) -> None:
            bar.update(
                task,
                completed=state.bytes,
                total=state.total_bytes,
                files=state.files,
                total_files=state.total_files,
                passages=state.passages,
            )

        yield show


@contextmanager
def step_progress(*, quiet: bool, unit: str = "passages") -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each step of a work by its name, with time left, on standard error.

    Args:
        quiet: Show nothing.
        unit: What is counted.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn(unit),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield show


def print_report(filled: Library, report: indexing.AddReport, built_index: bool, *, as_json: bool) -> None:
    """What an `index` run did, and what the store holds now."""
    info = filled.store.info()
    if as_json:
        print_json(
            {**asdict(report), "built_index": built_index, "store": {**asdict(info), "path": str(info.path)}}
        )
        return
    console, errors = (
        Console(highlight=False, soft_wrap=True),
        Console(stderr=True, highlight=False, soft_wrap=True),
    )
    for _, reason in report.refused:
        errors.print(f"Skipped: {reason}", markup=False)
    done = [
        f"{count} {word}"
        for count, word in (
            (report.added, "added"),
            (report.replaced, "replaced"),
            (report.unchanged, "unchanged"),
            (report.copies, "copies of others"),
            (report.removed, "removed"),
            (len(report.refused), "skipped"),
        )
        if count
    ]
    kept = f", kept: {report.kept:,}" if report.kept else ""
    console.print(f"Documents: {', '.join(done) or 'none'}. Passages compressed: {report.passages:,}{kept}.")
    console.print(
        f"The store holds {info.documents:,} documents, {info.passages:,} passages, "
        f"{info.memory_rows:,} memory tokens."
    )


def print_store(info: StoreInfo, *, as_json: bool) -> None:
    """A store in numbers."""
    if as_json:
        print_json({**asdict(info), "path": str(info.path)})
        return
    passages = max(1, info.passages)
    vectors = info.memory_bytes + info.key_bytes
    rows = [
        ("Model", f"{info.model}, fingerprint {info.fingerprint[:12]}"),
        ("Made", f"{datetime.fromtimestamp(info.created):%Y-%m-%d %H:%M}, format {info.format}"),
        ("Documents", f"{info.documents:,}" + (f", and {info.copies:,} copies" if info.copies else "")),
        ("Passages", f"{info.passages:,}"),
        ("Memory tokens", f"{info.memory_rows:,} of {info.memory_size:,} numbers, {info.memory_dtype}"),
        ("Memories", f"{_bytes(info.memory_bytes)}, {info.memory_bytes / passages:,.0f} bytes a passage"),
        ("Keys", f"{_bytes(info.key_bytes)}, {info.key_bytes / passages:,.0f} bytes a passage"),
        ("Texts and tables", _bytes(info.database_bytes)),
        ("Of what was removed", _bytes(info.dead_bytes)),
    ]
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), value)
    console = Console(highlight=False)
    console.print(grid)
    if info.dead_bytes > max(vectors, 1) / 4:
        console.print("Much was removed; give its space back with: clara store compact", style="dim")


def print_check(report: CheckReport, *, as_json: bool) -> None:
    """What a check found."""
    if as_json:
        print_json(asdict(report))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Compared {report.blocks:,} checksums over {_bytes(report.bytes)}.")
    for fault in report.faults:
        console.print(Text(fault, style="red"))
    for source in report.damaged:
        console.print(Text(f"Damaged: {_short(source)}"))
    if report.removed:
        console.print(f"Removed {report.removed:,} damaged documents; index them again.")
    elif report.damaged:
        console.print("Remove them with: clara store check --drop-damaged, then index them again.")
    elif not report.faults:
        console.print("All is well.")


def print_compaction(report: CompactReport, *, as_json: bool) -> None:
    """What a compaction brought."""
    if as_json:
        print_json(asdict(report))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"The store takes {_bytes(report.after)}, where it took {_bytes(report.before)}; memories are "
        f"{report.memory_dtype}."
    )
    if report.learns_from:
        console.print(
            f"It is learned from {report.learns_from:,} memory tokens; until there are as many they stay "
            "float16."
        )


def print_index(report: IndexReport, *, as_json: bool) -> None:
    """What an index came to."""
    if as_json:
        print_json(asdict(report))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"Indexed {report.passages:,} passages in {report.seconds:,.0f} s: {_bytes(report.bytes)}. A search "
        f"looks through {report.probed:,} of {report.lists:,} lists and compares {report.depth:,} passages, "
        f"which for passages of the store finds {report.recall:.1%} of the best 20."
    )


def print_steps(found: Explanation) -> None:
    """How a search came to what it found."""
    console = Console(highlight=False)
    console.print()
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("step", "passages", "ms", "best candidates (number: score)"):
        table.add_column(name, justify="right" if name in ("passages", "ms") else "left")
    for step in found.steps:
        best = ", ".join(f"{one.id}: {one.score:.3f}" for one in step.candidates[:5])
        table.add_row(step.name, f"{step.count:,}", f"{step.milliseconds:.1f}", best)
    console.print(table)
    console.print(f"{found.allowed:,} of {found.passages:,} passages could be returned.", style="dim")


def print_answer(answer: Answer, around: Mapping[int, Sequence[str]]) -> None:
    """The answer, then its sources; see `print_sources`."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(answer.text or "(no answer)", style="bold"))
    if answer.is_doubtful:
        console.print("Doubtful: the passages found probably do not hold the answer.", style="yellow")
    console.print()
    console.print("Sources", style="dim")
    print_sources(answer.sources, around, taken_from=answer.taken_from)


def print_sources(
    sources: Sequence[Source],
    around: Mapping[int, Sequence[str]] | None = None,
    *,
    full: bool = False,
    taken_from: int | None = None,
) -> None:
    """One block a source: rank, score, file, place; then what of the passage bears the answer, or all of it.

    The sentence that best supports the answer stands out from the rest, and the answer from the sentence.

    Args:
        sources: Best first.
        around: Texts of the passages around a source, itself among them, by its number.
        full: Show the whole of each passage.
        taken_from: Number of the source whose words the answer is.
    """
    console = Console(highlight=False)
    for source in sources:
        place = _place(source)
        line = Text(f"{source.rank}. ")
        line.append(f"{source.score:.3f}  ", style="cyan")
        line.append(_short(source.file), style="bold")
        line.append(f"  {place}" if place else "", style="dim")
        if source.id == taken_from:
            line.append("  (the answer is from here)", style="green")
        elif source.read_as == "text":
            line.append("  (read as text)", style="dim")
        console.print(line, soft_wrap=True)
        if source.also_in:
            console.print(f"   also in {', '.join(map(_short, source.also_in))}", style="dim", soft_wrap=True)
        texts = (around or {}).get(source.id, [source.text])
        for text in texts:
            shown = (
                _excerpt(source, full=full)
                if text == source.text
                else Text(" ".join(text.split()), style="dim")
            )
            console.print(Padding(shown, (0, 0, 0, 3), expand=False))


def _place(source: Source) -> str:
    """Where a passage stands in its file."""
    parts = [source.heading] if source.heading else []
    if source.page is not None:
        parts.append(f"page {source.page}")
    elif source.lines is not None:
        first, last = source.lines
        parts.append(f"line {first}" if first == last else f"lines {first}-{last}")
    return " · ".join(parts)


def _excerpt(source: Source, *, full: bool) -> Text:
    """A passage on one line, or the part of it around the sentence that supports the answer."""
    text = Text(source.text, style="dim")
    support = source.support
    if support is not None:
        text.stylize("not dim", support.start, support.stop)
        if support.answer is not None:
            text.stylize("bold not dim", *support.answer)
    start, stop = 0, len(source.text)
    if not full and len(source.text) > EXCERPT_CHARACTERS:
        start, stop = _window(
            source.text, *((support.start, support.stop) if support is not None else (0, 0))
        )
    shown = Text(" ").join(text[start:stop].split())
    before, after = ("… " if start else ""), (" …" if stop < len(source.text) else "")
    return Text.assemble((before, "dim"), shown, (after, "dim"))


def _window(text: str, start: int, stop: int) -> tuple[int, int]:
    """A part of a long text, whole words if there are any, that holds what lies from `start` to `stop`."""
    if stop - start >= EXCERPT_CHARACTERS:
        return start, stop
    first = max(0, min(start, len(text) - EXCERPT_CHARACTERS))
    last = first + EXCERPT_CHARACTERS
    if first:
        first = max(first, text.find(" ", first, start) + 1)
    if last < len(text):
        last = max(stop, text.rfind(" ", stop, last)) or last
    return first, last


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


@contextmanager
def training_progress(stage: str) -> Iterator[Callable[[dict[str, float]], None]]:
    """A line per report of a training run, over a bar with rate and time left, on standard error.

    Args:
        stage: Its name.
    """
    columns = (
        TextColumn(stage),
        BarColumn(),
        TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[left]} left"),
    )
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1, rate="", left="?", visible=False)

        def show(line: dict[str, float]) -> None:
            measured = {name: value for name, value in line.items() if name not in _NOT_MEASURED}
            values = "  ".join(f"{name} {value:.4g}" for name, value in measured.items())
            bar.console.print(f"step {line['step']:,.0f}  {values}", markup=False)
            left = str(timedelta(seconds=int(line["seconds_left"])))
            bar.update(
                task,
                visible=True,
                completed=line["step"],
                total=line["steps"],
                rate=f"{line['seconds_per_step']:.3g} s/step",
                left=left,
            )

        yield show


@contextmanager
def evaluation_progress(*, quiet: bool) -> Iterator[Callable[[str, int, int, int], None]]:
    """A bar for each part of an evaluation with rate, time left and failures, on standard error.

    Args:
        quiet: Show nothing.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}
        began: dict[str, int] = {}

        def show(what: str, done: int, of: int, failed: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of, rate="", failed="")
                began[what] = done
            elapsed = bar.tasks[tasks[what]].elapsed or 0.0
            if done == of and not console.is_terminal:  # where no bar is drawn, as in a log
                console.print(f"{what}: {done:,} in {elapsed:,.0f} s, {failed:,} failed")
            new = done - began[what]
            bar.update(
                tasks[what],
                completed=done,
                rate=f"{new / elapsed:,.1f}/s" if new and elapsed else "",
                failed=f"{failed:,} failed" if failed else "",
            )

        yield show


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
    console.print(f"Wrote {_short(str(report.resolve()))} and the same as HTML.", soft_wrap=True)


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


_NOT_MEASURED = {"step", "steps", "seconds_per_step", "seconds_left", "epoch"}


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    Console(highlight=False, soft_wrap=True).print(json.dumps(value, ensure_ascii=False), markup=False)


def _short(file: str) -> str:
    """A path relative to the working directory where it lies below it."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return file


def _bytes(size: int) -> str:
    """A size in the unit that suits it."""
    return filesize.decimal(size)
