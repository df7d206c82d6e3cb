"""Text that knows which lines of its file it is made of and what of it stays whole, through joining and
cutting."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Self

from clara.records import Section

Lines = tuple[int, int]
"""First and last line of a file, from 1."""

Span = tuple[int, int, int]
"""An offset in a text, and the first and last line of the file that the text is made of from there on."""

Unit = tuple[int, int, str]
"""Begin and end of what stays whole when a text is cut, such as a row of a table, and what is repeated above
it
where a cut comes before it, such as the names of the table's columns."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A text, the lines that its pieces are made of, and the pieces of it that stay whole.

    Attributes:
        text: The text.
        spans: Its pieces, by offset; a piece goes on to the next one's offset. Empty where nothing is known.
        units: What stays whole when the text is cut, in order.
    """

    text: str
    spans: tuple[Span, ...] = ()
    units: tuple[Unit, ...] = ()

    @classmethod
    def of(cls, text: str, lines: Lines | None) -> Self:
        """A text of which any word may come from any of the lines."""
        return cls(text, ((0, *lines),) if lines else ())

    def whole(self, head: str = "") -> Traced:
        """The text as one unit, below `head` where a cut comes before it."""
        return replace(self, units=((0, len(self.text), head),) if self.text else ())

    def prefixed(self, prefix: str) -> Traced:
        """The text after a mark, which is taken to stand on the same lines and to belong to a first unit."""
        size = len(prefix)
        spans = ((at + size if at else 0, first, last) for at, first, last in self.spans)
        units = ((at + size if at else 0, stop + size, head) for at, stop, head in self.units)
        return Traced(prefix + self.text, tuple(spans), tuple(units))

    def stripped(self) -> Traced:
        """The text without white space around it."""
        text = self.text.strip()
        dropped = len(self.text) - len(self.text.lstrip())
        spans = [(at - dropped, first, last) for at, first, last in self.spans if at - dropped < len(text)]
        before = sum(
            at <= 0 for at, _, _ in spans
        )  # the last of these pieces is the one that the text begins in
        kept = [(max(0, at), first, last) for at, first, last in spans[max(0, before - 1) :]]
        moved = ((max(0, at - dropped), min(len(text), to - dropped), head) for at, to, head in self.units)
        return Traced(text, tuple(kept), tuple(unit for unit in moved if unit[0] < unit[1]))

    def section(self, heading: str = "") -> Section:
        """The text as a section of its own."""
        text = self.stripped()
        lines = lines_between(text.spans, 0, len(text.text))
        return Section(text.text, heading, lines=lines, line_spans=text.spans, units=text.units)


def concatenate(parts: Iterable[Traced]) -> Traced:
    """The texts one after the other."""
    texts: list[str] = []
    spans: list[Span] = []
    units: list[Unit] = []
    length = 0
    for part in parts:
        moved = [(length + at, first, last) for at, first, last in part.spans]
        if moved and spans and spans[-1][0] == moved[0][0]:  # a piece without any characters
            spans.pop()
        spans += moved
        units += ((length + at, length + stop, head) for at, stop, head in part.units)
        texts.append(part.text)
        length += len(part.text)
    return Traced("".join(texts), tuple(spans), tuple(units))


def join(separator: str, parts: Sequence[Traced]) -> Traced:
    """The texts with `separator` between them."""
    between = Traced(separator)
    both = (each for part in parts for each in (between, part))
    next(both, None)
    return concatenate(both)


def lines_between(spans: Sequence[Span], start: int, stop: int) -> Lines | None:
    """The lines that the characters `start` to `stop` are made of, None where nothing is known."""
    offset = itemgetter(0)
    # of pieces that begin at one offset the earlier ones are empty
    first = max(0, bisect_right(spans, start, key=offset) - 1)
    found = spans[first : bisect_left(spans, stop, key=offset)] or spans[first : first + 1]
    return (min(each[1] for each in found), max(each[2] for each in found)) if found else None
