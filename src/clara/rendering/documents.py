"""The passages that files would be indexed as, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.text import Text

from clara.rendering.basics import console, counted, one_line, place_of, print_json, short

if TYPE_CHECKING:
    from clara.documents.show import ShownDocument

_SHOWN_FILES = 20
_SHOWN_NAMES = 3


def print_shown(documents: Sequence[ShownDocument], *, as_json: bool) -> None:
    """Passages with their places and facts, and what is left out."""
    if as_json:
        print_json({"documents": [asdict(one) for one in documents]})
        return
    shown = console()
    for document in documents:
        head = Text(short(document.source), style="bold")
        head.append(f"  {one_line(document.title)}", style="cyan")
        head.append(f"  {counted(len(document.passages), 'passage')}", style="dim")
        shown.print(head)
        for passage in document.passages:
            place = place_of(passage.heading, passage.page, passage.lines)
            line = Text(f"{passage.position + 1}. ")
            line.append(one_line(place), style="cyan")
            facts = ", ".join(f"{name}={value}" for name, value in passage.metadata.items())
            line.append(f"  {one_line(facts)}" if facts else "", style="dim")
            shown.print(line)
            for each in passage.text.split("\n"):
                shown.print(Text(f"   {one_line(each)}".rstrip()))
        if not document.left_out:
            shown.print("Nothing was left out.", style="dim")
        for each in document.left_out:
            shown.print(Text(f"Note: {one_line(each)}", style="yellow"))


def left_out_lines(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each file with what was not taken of it; of very many files the first."""
    lines = [f"{short(file)}: {one_line('; '.join(said))}" for file, said in left_out.items()]
    if len(lines) > _SHOWN_FILES:
        more = len(lines) - _SHOWN_FILES
        lines[_SHOWN_FILES:] = [f"and {counted(more, 'more file')}; run clara show FILE for details"]
    return lines


def names_of(files: Sequence[str], number: int | None = None) -> str:
    """Some files by name, and how many more there are: "a.md, b.md and 3 more"."""
    shown = ", ".join(map(short, files[:_SHOWN_NAMES]))
    more = (len(files) if number is None else number) - min(len(files), _SHOWN_NAMES)
    return f"{shown} and {more:,} more" if more else shown
