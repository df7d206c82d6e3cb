"""Running heads and page numbers: told by standing at the same place of nearly all pages, and saying nothing
else."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clara.documents.pdf_glyphs import PageText, Piece
from clara.documents.pdf_layout import rows_of

_LEAST_PAGES = 3  # for a page number
_LONG = 5  # pages, for a running head
_NEARLY_ALL = 0.8  # of the pages with text
_EDGE = 0.12  # of a page's height
_EDGE_ROWS = 2
_STEP = 3.0  # points within which places are the same
_PAGE_NUMBER = re.compile(
    r"[-–—|\[(\s]*(?:(?:page|p\.|pg\.?|seite|s\.|página|pág\.|pagina|стр\.|str\.|sida|side)\s*)?(\d{1,4}|[ivxl]{1,7})"
    r"(?:\s*(?:of|/|von|de|di|sur|из|av|af|van)\s*\d{1,4})?[-–—|\])\s]*",
    re.IGNORECASE,
)
_HOLDS_VALUE = re.compile(r"\d|[€$£¥%]|:\s*\S")
_SENTENCE = re.compile(r"\w[.!?;。！？]$")


@dataclass(frozen=True, slots=True)
class _Row:
    page: int
    place: int
    text: str
    pieces: tuple[Piece, ...]
    is_at_edge: bool


def without_running_heads(pages: Sequence[PageText]) -> int:
    """Take running heads, but for their first, and page numbers out of the pages, and count them.

    A row is a running head where nearly all pages of a long document have the same words at the same height
    of
    their upper or lower edge; a sentence never is, nor what holds a digit, an amount or a label with its
    value.
    A page number stands alone in its row and counts on with the pages.
    """
    written = [number for number, page in enumerate(pages) if page.pieces]
    if len(written) < _LEAST_PAGES:
        return 0
    least = max(_LONG, _NEARLY_ALL * len(written))
    rows = [row for number in written for row in _edge_rows(number, pages[number])]
    dropped = [*_heads(rows, least), *_numbers(rows)]
    gone: dict[int, set[int]] = defaultdict(set)
    for row in dropped:
        gone[row.page].update(map(id, row.pieces))
    for number, pieces in gone.items():
        pages[number].pieces[:] = [piece for piece in pages[number].pieces if id(piece) not in pieces]
    return len(dropped)


def _edge_rows(number: int, page: PageText) -> Iterator[_Row]:
    if len(page.pieces) > 5000:
        return
    rows = _raw_rows(page.pieces)
    if len(rows) <= _EDGE_ROWS:
        return
    for row in {id(one): one for one in [*rows[:_EDGE_ROWS], *rows[-_EDGE_ROWS:]]}.values():
        line = max(piece.line for piece in row)
        text = " ".join(" ".join(piece.text for piece in row).split())
        is_at_edge = min(line, page.height - line) <= _EDGE * page.height
        yield _Row(number, round(line / _STEP), text, tuple(row), is_at_edge)


def _raw_rows(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Rows of the very pieces that were given, where `rows_of` joins those that touch."""
    rows: list[list[Piece]] = []
    for piece in sorted((one for one in pieces if one.text.strip()), key=lambda one: (-one.line, one.left)):
        if rows and rows[-1][0].line - piece.line <= 0.5 * piece.size:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [sorted(row, key=lambda one: one.left) for row in rows]


def _heads(rows: Sequence[_Row], least: float) -> Iterator[_Row]:
    """All but the first of rows with the same words at the same place."""
    same: dict[tuple[int, str], list[_Row]] = defaultdict(list)
    for row in rows:
        is_text = _HOLDS_VALUE.search(row.text) or _SENTENCE.search(row.text)
        if row.is_at_edge and not is_text and len(rows_of(row.pieces)[0]) < 3:
            same[row.place, row.text.casefold()].append(row)
    for found in same.values():
        if len({row.page for row in found}) >= least:
            yield from found[1:]


def _numbers(rows: Sequence[_Row]) -> Iterator[_Row]:
    """Rows that are a page's number alone, counting on from page to page at the same place."""
    order = {page: at for at, page in enumerate(sorted({row.page for row in rows}))}
    found: dict[tuple[int, bool, int], list[_Row]] = defaultdict(list)
    for row in rows:
        match = _PAGE_NUMBER.fullmatch(row.text)
        if match is not None and (row.is_at_edge or match[1] != row.text):
            value = _value(match[1])
            found[row.place, True, value - row.page].append(row)
            found[row.place, False, value - order[row.page]].append(row)  # blank pages may not count
    numbers: dict[int, _Row] = {}
    for several in found.values():
        if len({row.page for row in several}) >= _LEAST_PAGES:
            numbers.update((id(row), row) for row in several)
    yield from numbers.values()


def _value(text: str) -> int:
    if text.isdigit():
        return int(text)
    values = {"i": 1, "v": 5, "x": 10, "l": 50}
    total, before = 0, 0
    for letter in reversed(text.lower()):
        value = values[letter]
        total += value if value >= before else -value
        before = max(before, value)
    return total
