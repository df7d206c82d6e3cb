"""Answers with their sources, and how a search found them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from clara.records import Answer, Source
from clara.rendering.basics import console, counted, one_line, place_of, print_table, short, visible

if TYPE_CHECKING:
    from clara.store import Explanation


EXCERPT_CHARACTERS = 160
LONGEST_WORD = 200
"""Characters of a word that are shown; what is encoded has endless ones."""


def print_steps(found: Explanation) -> None:
    """The steps of a search with their candidates and times."""
    shown = console()
    shown.print()
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("step", "passages", "ms", "best candidates (number: score)"):
        table.add_column(name, justify="right" if name in ("passages", "ms") else "left")
    for step in found.steps:
        best = ", ".join(f"{one.id}: {one.score:.3f}" for one in step.candidates[:5])
        table.add_row(step.name, f"{step.count:,}", f"{step.milliseconds:.1f}", best)
    print_table(shown, table)
    shown.print(
        f"{found.allowed:,} of {counted(found.passages, 'passage')} meet the conditions.", style="dim"
    )


def print_nothing_found(found: Explanation) -> None:
    """The reason why a search found nothing, on standard error; standard output stays empty."""
    reason = "the store holds no passages"
    if found.passages:
        reason = f"none of the {counted(found.passages, 'passage')} in the store meets the conditions"
    console(stderr=True).print(f"Nothing found: {reason}.")


def print_question(question: str) -> None:
    """A question above its answer, where several are answered."""
    console().print(Text(one_line(question), style="cyan"))


def print_answer(answer: Answer, around: Mapping[int, Sequence[str]]) -> None:
    """The answer, then its sources; see `print_sources`. A doubt stands before the answer, then plain."""
    shown = console()
    if not answer.is_doubtful:
        shown.print(Text(answer.text or "(no answer)", style="bold"))
    elif answer.text:
        shown.print("Probably not answered by these passages; best guess:", style="yellow")
        shown.print(Text(answer.text))
    elif answer.probability is None:
        shown.print("Probably not answered by these passages.", style="yellow")
    else:
        shown.print(
            f"Not in these documents: the probability of an answer is {answer.probability:.2f}.",
            style="yellow",
        )
    shown.print()
    shown.print("Sources", style="dim")
    print_sources(
        answer.sources,
        around,
        taken_from=answer.taken_from,
        taken="the guess" if answer.is_doubtful else "the answer",
    )


def print_sources(
    sources: Sequence[Source],
    around: Mapping[int, Sequence[str]] | None = None,
    *,
    full: bool = False,
    taken_from: int | None = None,
    taken: str = "the answer",
) -> None:
    """One block per source: rank, score, file, place; then the supporting excerpt, or the whole passage.

    The sentence that best supports the answer is highlighted, and within it the answer.

    Args:
        sources: Best first.
        around: Texts of the passages around a source, itself among them, by its number.
        full: Show the whole of each passage.
        taken_from: Number of the source whose words the answer is.
        taken: How to call these words.
    """
    shown = console()
    for source in sources:
        place = place_of(source.heading, source.page, source.lines)
        line = Text(f"{source.rank}. ")
        line.append(f"{source.score:.3f}  ", style="cyan")
        line.append(short(source.file), style="bold")
        line.append(f"  {place}" if place else "", style="dim")
        if source.id == taken_from:
            line.append(f"  (source of {taken})", style="green")
        elif source.read_as == "text":
            line.append("  (read as text)", style="dim")
        shown.print(line)
        if source.also_in:
            shown.print(f"   also {_elsewhere(source)}", style="dim")
        for text in (around or {}).get(source.id, [source.text]):
            if text == source.text:
                _print_indented(shown, _excerpt(source, full=full))
            else:
                _print_indented(shown, Text(visible(" ".join(text.split())), style="dim"))


def _print_indented(shown: Console, text: Text) -> None:
    """Text below its source: wrapped for a terminal, elsewhere one line without blanks behind it."""
    if shown.file.isatty():
        shown.print(Padding(text, (0, 0, 0, 3), expand=False), soft_wrap=False)
    else:
        shown.print(Text("   ") + text)


def _excerpt(source: Source, *, full: bool) -> Text:
    """A passage on one line, or the part of it around the sentence that supports the answer."""
    text = Text(visible(source.text), style="dim")
    evidence = source.evidence
    if evidence is not None:
        text.stylize("not dim", evidence.start, evidence.stop)
        if evidence.answer is not None:
            text.stylize("bold not dim", *evidence.answer)
    start, stop = 0, len(source.text)
    if not full and len(source.text) > EXCERPT_CHARACTERS:
        start, stop = _window(
            source.text, *((evidence.start, evidence.stop) if evidence is not None else (0, 0))
        )
    shown = Text(" ").join(_shortened(word) for word in text[start:stop].split() if word)
    before, after = ("… " if start else ""), (" …" if stop < len(source.text) else "")
    return Text.assemble((before, "dim"), shown, (after, "dim"))


def _elsewhere(source: Source) -> str:
    """Other files with the same passage, each named once."""
    others = [short(file) for file in dict.fromkeys(source.also_in) if file != source.file]
    again = source.also_in.count(source.file)
    within = [f"{counted(again, 'more time', 'more times')} in this file"] if again else []
    return " and ".join([*within, *([f"in {', '.join(others)}"] if others else [])])


def _shortened(word: Text) -> Text:
    """A word, cut where it is so long that it would flood the terminal."""
    return word if len(word) <= LONGEST_WORD else Text.assemble(word[:LONGEST_WORD], ("…", "dim"))


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
