"""Headings of a PDF: short lines in larger letters than the running text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from clara.documents.pdf_layout import Line, Table

_LARGER = 1.15  # than the running text
_SAME_SIZE = 0.5  # points
_LONGEST = 160  # characters
_MOST_SHARE = 0.3  # of a document's characters: more are slides, or letters of many sizes
_NEXT_LINE = 1.8  # of the size: how far the lines of a heading may be apart
_MOST_LEVELS = 6
_LEADERS = re.compile(r"(?:\.\s?){4}")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a level from 1 (outermost) to 6."""

    level: int
    text: str


def with_headings(pages: Sequence[Sequence[Line | Table]]) -> list[list[Line | Table | Heading]]:
    """The pages, in which a heading stands in place of its lines; of sizes the largest is level 1."""
    sizes: Counter[float] = Counter()
    for page in pages:
        for one in page:
            if isinstance(one, Line) and one.em:
                sizes[round(2 * one.em) / 2] += len(one.text)
    least = _LARGER * max(sizes, key=sizes.__getitem__, default=0.0)
    grouped = [_grouped(page, least) for page in pages]
    found = [one for page in grouped for one in page if isinstance(one, _Large)]
    if sum(len(one.text) for one in found) > _MOST_SHARE * sum(sizes.values()):
        return [list(page) for page in pages]
    levels: dict[float, int] = {}
    last = float("inf")
    for em in sorted({one.em for one in found}, reverse=True):
        levels[em] = min(max(levels.values(), default=0) + (last - em > _SAME_SIZE), _MOST_LEVELS)
        last = em
    return [
        [Heading(levels[one.em], one.text) if isinstance(one, _Large) else one for one in page]
        for page in grouped
    ]


@dataclass(frozen=True, slots=True)
class _Large:
    """Lines of a heading."""

    lines: tuple[Line, ...]

    @property
    def em(self) -> float:
        return self.lines[0].em

    @property
    def text(self) -> str:
        return " ".join(line.text for line in self.lines)

    def is_heading(self) -> bool:
        text = self.text
        is_sentence = len(text) > _LONGEST / 2 and text.endswith((".", ";", ","))
        is_entry = _LEADERS.search(text) is not None  # of a table of contents
        return sum(map(str.isalpha, text)) > 1 and len(text) <= _LONGEST and not is_sentence and not is_entry


def _grouped(page: Sequence[Line | Table], least: float) -> list[Line | Table | _Large]:
    """The page, in which lines that make a heading of larger letters than `least` stand together."""
    grouped: list[Line | Table | _Large] = []
    for one in page:
        last = grouped[-1] if grouped else None
        if isinstance(one, Table) or not least or one.em < least:
            grouped.append(one)
        elif isinstance(last, _Large) and _goes_on(last.lines[-1], one):
            grouped[-1] = _Large((*last.lines, one))
        else:
            grouped.append(_Large((one,)))
    parted: list[Line | Table | _Large] = []
    for each in grouped:
        parted += each.lines if isinstance(each, _Large) and not each.is_heading() else [each]
    return parted


def _goes_on(line: Line, other: Line) -> bool:
    return abs(line.em - other.em) <= _SAME_SIZE and 0 < line.height - other.height <= _NEXT_LINE * line.em
