"""How headings and blocks of text become sections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from clara.documents.lines import Lines, Traced, join
from clara.records import Section

_DEEPEST = 12  # lists within lists that are told apart by their indents
_SITE_NAME = re.compile(r"\s+[-–—|·:»]\s")


@dataclass(slots=True)
class _Part:
    headings: tuple[str, ...]
    lines: Lines | None = None  # of the innermost heading
    page: int | None = None
    blocks: list[Traced] = field(default_factory=list)


class Outline:
    """Collects headings and blocks of text in reading order and gives them as sections.

    Attributes:
        page: That of what is added, from 1; sections end with it. None where there are none.
    """

    def __init__(self) -> None:
        self.page: int | None = None
        self._open: list[tuple[int, str]] = []  # (level, heading) of the headings that text stands under now
        self._parts = [_Part(())]
        self._first_level = 0

    @property
    def leading_heading(self) -> str:
        """The document's first heading if it is of level 1, else ""."""
        first = next((part.headings for part in self._parts if part.headings), ())
        return first[0] if first and self._first_level == 1 else ""

    def heading(self, level: int, text: str, lines: Lines | None = None) -> None:
        """Begin a part under a heading of `level` 1 (outermost) to 6."""
        if not text:
            return
        self._first_level = self._first_level or level
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        self._open.append((level, text))
        self._parts.append(_Part(self._headings, lines, self.page))

    def block(self, text: Traced) -> None:
        """Add a paragraph, list, table or piece of code; one that has spans must be tidy."""
        if text.text.strip():
            if self._parts[-1].blocks and self._parts[-1].page != self.page:
                self._parts.append(_Part(self._headings))
            self._parts[-1].page = self.page
            self._parts[-1].blocks.append(text)

    @property
    def _headings(self) -> tuple[str, ...]:
        return tuple(heading for _, heading in self._open)

    def sections(self, title: str) -> tuple[Section, ...]:
        """The sections of a document called `title`; the title is not repeated among the headings.

        A heading without any text below it becomes text itself, so that its words are not lost.
        """
        sections = []
        for part, following in zip_longest(self._parts, self._parts[1:]):
            headings, blocks = part.headings, part.blocks
            if not blocks and headings and not _is_below(following, headings):
                headings, blocks = headings[:-1], [Traced.of(headings[-1], part.lines)]
            if blocks:
                section = join("\n\n", blocks).section(" > ".join(_without_title(headings, title)))
                sections.append(replace(section, page=part.page))
        return tuple(sections)


def item_prefixes(count: int, depth: int, mark: str) -> list[str]:
    """What stands before each of `count` lines of a part of a list item in `depth` open lists.

    `mark` is that of the item's first part, "" after it.
    """
    if not depth:
        return [""] * count
    indent = "  " * (min(depth, _DEEPEST) - 1)
    return [indent + (mark or "  "), *[f"{indent}  "] * (count - 1)]


def _is_below(part: _Part | None, headings: tuple[str, ...]) -> bool:
    return (
        part is not None and len(part.headings) > len(headings) and part.headings[: len(headings)] == headings
    )


def _without_title(headings: Sequence[str], title: str) -> Sequence[str]:
    """The headings less a first one that says the title, be it without the site's name at its end."""
    names = {title.casefold(), _SITE_NAME.split(title, maxsplit=1)[0].casefold()}
    return headings[1:] if headings and headings[0].casefold() in names else headings
