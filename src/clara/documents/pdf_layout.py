"""From pieces of text with places on a page to lines in reading order and tables, by the gaps between
them."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from clara.documents.pdf_glyphs import Piece
from clara.documents.pdf_rules import RuledGrid

# of the size of the text: what a gap between columns has at least, and how far lines of one row may be apart
_GUTTER = 0.7
_SAME_ROW = 0.5
_LEAST_ROWS = 3  # that columns of running text have on either side
_PROSE_CHARACTERS = (
    22  # a column of running text has longer lines than this, and a table's cells shorter ones
)
_MAX_COLUMNS_OF_PROSE = 4
_WIDE_STEP = 1.35  # of the usual distance of lines: what parts paragraphs
_MAX_DEPTH = 8
_LONGEST_NAME = 60  # of a column
_VALUE = re.compile(r"[\W\d_]*\d{1,3}[\W\d_]*|[\W\d_]*\d{5,}[\W\d_]*|[\W\d_]*\d+[.,]\d+[\W\d_]*")
_LEAST_FILLED = 0.4  # of the cells of a table that is drawn with lines


@dataclass(frozen=True, slots=True)
class Line:
    """A line of running text.

    Attributes:
        text: Its words.
        is_apart: A gap parts it from the line before.
        em: The size of its smallest font; 0 if unknown.
        height: Of the line, in points from the page's bottom.
    """

    text: str
    is_apart: bool
    em: float = 0.0
    height: float = 0.0


@dataclass(slots=True)
class Table:
    """Rows of cells, of equal number in each.

    Attributes:
        rows: The cells' texts.
        grid: The lines that the cells are drawn with, if they are.
        heads: The first rows, as far as they are known to name the columns.
    """

    rows: list[list[str]]
    grid: RuledGrid | None = None
    heads: list[list[str]] = field(default_factory=list)

    @classmethod
    def ruled(cls, grid: RuledGrid) -> Self:
        """A table that is drawn with lines; its first rows name the columns if each has words of its own."""
        rows = grid.filled()
        heads = rows[: grid.num_spanned + 1]
        names = [" ".join(dict.fromkeys(filter(None, cells))) for cells in zip(*heads, strict=True)]
        if len(names) < 3 or len(set(names)) < len(names) or len(rows) == len(heads):
            return cls(rows, grid)
        are_names = (name and len(name) <= _LONGEST_NAME and not _VALUE.fullmatch(name) for name in names[1:])
        return cls(rows, grid, heads if all(are_names) else [])

    def goes_on_from(self, other: Table) -> bool:
        """Whether it can be the rest of a table on the page before: it has its columns and no other heads."""
        if self.grid is None or other.grid is None or not other.heads:
            return False
        places = itertools.zip_longest(self.grid.lefts, other.grid.lefts, fillvalue=math.inf)
        is_same = all(abs(one - another) <= 3 for one, another in places)
        return is_same and len(self.rows[0]) == len(other.rows[0]) and self.heads != other.heads


@dataclass(slots=True)
class _Row:
    """Pieces that stand side by side, from the left."""

    pieces: list[Piece]

    @property
    def line(self) -> float:
        return max(piece.line for piece in self.pieces)

    @property
    def size(self) -> float:
        return max(piece.size for piece in self.pieces)


def laid_out(pieces: Sequence[Piece], grids: Sequence[RuledGrid] = ()) -> list[Line | Table]:
    """Lines and tables in reading order: what stands in columns is read column by column.

    Args:
        pieces: The page's text.
        grids: Tables that are drawn with lines; those without much text are drawings.
    """
    for grid in sorted(grids, key=lambda one: len(one.owners)):  # an inner one before that around it
        pieces = _with_table(pieces, grid)
    return list(_ordered(_rows(pieces), 0))


def _with_table(pieces: Sequence[Piece], grid: RuledGrid) -> Sequence[Piece]:
    """The pieces with one in place of those that stand in a table's cells."""
    cells: dict[tuple[int, int], list[Piece]] = {}
    others = []
    for piece in pieces:
        at = grid.place((piece.left + piece.right) / 2, piece.line + piece.size / 4)
        if at is None or piece.grid is not None:
            others.append(piece)
        elif piece.text.strip():
            cells.setdefault(at, []).append(piece)
    num_cells = len({owner for owners in grid.owners for owner in owners})
    grid = replace(grid, texts={at: _cell_text(found) for at, found in cells.items()})
    rows = grid.filled()
    if len(cells) < _LEAST_FILLED * num_cells or len(rows) < 2 or len(rows[0]) < 2:
        return pieces
    size = statistics.median(piece.size for found in cells.values() for piece in found)
    left, right, line = grid.lefts[0], grid.lefts[-1], grid.tops[0] - size
    return [*others, Piece("\0", left, right, line, size, grid=grid)]


def _cell_text(pieces: Sequence[Piece]) -> str:
    return " ".join(" ".join(piece.text.strip() for piece in row.pieces) for row in _rows(pieces))


def rows_of(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """Pieces that stand side by side, from the top."""
    return [row.pieces for row in _rows(pieces)]


def _rows(pieces: Sequence[Piece]) -> list[_Row]:
    rows: list[_Row] = []
    for piece in sorted((one for one in pieces if one.text.strip()), key=lambda one: (-one.line, one.left)):
        if rows and rows[-1].pieces[0].line - piece.line <= _SAME_ROW * min(
            piece.size, rows[-1].pieces[0].size
        ):
            rows[-1].pieces.append(piece)
        else:
            rows.append(_Row([piece]))
    return [_Row(_joined(row.pieces)) for row in rows]


def _joined(pieces: list[Piece]) -> list[Piece]:
    """A row's pieces from the left, those that nearly touch as one."""
    joined: list[Piece] = []
    for piece in sorted(pieces, key=lambda one: one.left):
        last = joined[-1] if joined else None
        size = max(last.size, piece.size) if last is not None else 0.0
        is_level = last is not None and abs(last.line - piece.line) <= 0.25 * size
        is_text = last is not None and last.grid is None and piece.grid is None
        if last is not None and is_text and is_level and piece.left - last.right <= _GUTTER * size:
            is_word = piece.left - last.right > 0.12 * size
            is_parted = last.text.endswith(" ") or piece.text.startswith(" ")
            text = last.text + (" " if is_word and not is_parted else "") + piece.text
            right, size = max(last.right, piece.right), max(last.size, piece.size)
            joined[-1] = Piece(text, last.left, right, last.line, size, min(last.em, piece.em))
        else:
            joined.append(piece)
    return joined


def _ordered(rows: list[_Row], depth: int) -> Iterator[Line | Table]:
    at = 0
    plain: list[_Row] = []  # rows of running text that no columns part
    while at < len(rows):
        stop, gutter = _stretch(rows, at) if depth < _MAX_DEPTH else (at, 0.0)
        if stop > at:
            region = rows[at:stop]
            columns = _split(region, gutter)
            if _is_prose(columns):
                yield from _lines(plain)
                plain = []
                for column in columns:
                    yield from _ordered(column, depth + 1)
                at = stop
                continue
            table, before, after = _table(list(itertools.takewhile(_is_text, region)))
            if table is not None:
                yield from _lines([*plain, *region[:before]])
                plain = []
                yield table
                at += after
                continue
        plain.append(rows[at])
        at += 1
    yield from _lines(plain)


def _stretch(rows: list[_Row], start: int) -> tuple[int, float]:
    """How far rows go on from `start` with one gap between columns open, and where the gap is.

    The end is `start` where there are no columns.
    """
    covered: list[tuple[float, float]] = []
    best: tuple[int, float] = (start, 0.0)
    first = rows[start]
    if len(first.pieces) < 2 and (start + 1 >= len(rows) or len(rows[start + 1].pieces) < 2):
        follower = rows[start + 1] if start + 1 < len(rows) else None
        if follower is None or not _beside(first, follower):
            return best
    stop = start
    size = first.size
    gap: tuple[float, float] | None = None
    while stop < len(rows):
        row = rows[stop]
        if stop > start and rows[stop - 1].line - row.line > 6 * max(size, row.size):
            break
        merged = _merged([*covered, *((piece.left, piece.right) for piece in row.pieces)])
        gaps = [
            (left[1], right[0])
            for left, right in itertools.pairwise(merged)
            if right[0] - left[1] >= _GUTTER * min(size, row.size)
        ]
        if stop > start and not gaps and (gap is not None or stop - start > 1):
            break
        covered = merged
        gap = max(gaps, key=lambda one: one[1] - one[0]) if gaps else None
        stop += 1
    if gap is None or stop - start < 2:
        return best
    return stop, (gap[0] + gap[1]) / 2


def _beside(one: _Row, other: _Row) -> bool:
    """Whether two rows of one piece each stand next to each other rather than below."""
    return one.line - other.line < 0.9 * one.size and (
        one.pieces[-1].right < other.pieces[0].left or other.pieces[-1].right < one.pieces[0].left
    )


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for left, right in sorted(spans):
        if merged and left <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], right))
        else:
            merged.append((left, right))
    return merged


def _split(rows: list[_Row], gutter: float) -> list[list[_Row]]:
    """The rows on either side of a gap."""
    sides: list[list[_Row]] = [[], []]
    for row in rows:
        for at, side in enumerate(sides):
            pieces = [one for one in row.pieces if ((one.left + one.right) / 2 > gutter) == bool(at)]
            if pieces:
                side.append(_Row(pieces))
    return sides


def _is_prose(columns: list[list[_Row]]) -> bool:
    """Whether rows on either side of a gap are lines of running text and not cells of a table."""
    left, right = columns
    if len(left) < _LEAST_ROWS or len(right) < _LEAST_ROWS:
        return False
    overlap = min(left[0].line, right[0].line) - max(left[-1].line, right[-1].line)
    shorter = min(left[0].line - left[-1].line, right[0].line - right[-1].line)
    if overlap < 0.4 * shorter:
        return False
    return all(map(_reads_on, columns))


def _reads_on(rows: list[_Row]) -> bool:
    lengths = [sum(len(piece.text) for piece in row.pieces) for row in rows]
    few = (
        sum(len(row.pieces) > 1 for row in rows) * 2 <= len(rows)
        or statistics.median(lengths) > 2 * _PROSE_CHARACTERS
    )
    left = min(row.pieces[0].left for row in rows)
    right = max(row.pieces[-1].right for row in rows)
    filled = [(row.pieces[-1].right - row.pieces[0].left) / max(right - left, 1.0) for row in rows]
    letters = [sum(map(str.isalpha, "".join(piece.text for piece in row.pieces))) for row in rows]
    is_words = sum(letters) > 0.6 * sum(lengths)
    return (
        few
        and is_words
        and statistics.median(lengths) >= _PROSE_CHARACTERS
        and statistics.median(filled) > 0.55
    )


def _table(rows: list[_Row]) -> tuple[Table | None, int, int]:
    """The table in some rows, how many rows come before it, and how many it ends after; None if there is
    none."""
    wide = [at for at, row in enumerate(rows) if len(row.pieces) > 1]
    if len(wide) < 2:
        return None, 0, 0
    first, last = wide[0], wide[-1]
    inner = rows[first : last + 1]
    bounds = _columns([piece for row in inner for piece in row.pieces], inner)
    if len(bounds) < 2:
        return None, 0, 0
    cells = [_cells(row, bounds) for row in inner]
    return Table(_unwrapped(inner, cells)), first, last + 1


def _columns(pieces: list[Piece], rows: list[_Row]) -> list[tuple[float, float]]:
    """The spans of columns: pieces that overlap are of one column."""
    return _merged([(piece.left, piece.right) for piece in pieces])


def _cells(row: _Row, bounds: list[tuple[float, float]]) -> list[str]:
    cells = [""] * len(bounds)
    for piece in row.pieces:
        middle = (piece.left + piece.right) / 2
        at = min(range(len(bounds)), key=lambda one: 0 if bounds[one][0] <= middle <= bounds[one][1] else 1)
        cells[at] = f"{cells[at]} {piece.text.strip()}".strip()
    return cells


def _unwrapped(rows: list[_Row], cells: list[list[str]]) -> list[list[str]]:
    """Rows whose cells were wrapped over some lines made one: lines close to each other, where others are
    not."""
    steps = [above.line - below.line for above, below in itertools.pairwise(rows)]
    if not steps:
        return cells
    least = min(steps)
    is_spaced = max(steps) > _WIDE_STEP * least and statistics.median(steps) > 1.15 * least
    whole = [list(cells[0])]
    for step, row in zip(steps, cells[1:], strict=True):
        goes_on = not row[0] and sum(map(bool, row)) == 1 and step <= 1.6 * rows[0].size
        if (is_spaced and step < 1.15 * least and sum(map(bool, row)) < len(row)) or goes_on:
            whole[-1] = [f"{one} {more}".strip() for one, more in zip(whole[-1], row, strict=True)]
        else:
            whole.append(list(row))
    return whole


def _is_text(row: _Row) -> bool:
    return all(piece.grid is None for piece in row.pieces)


def _lines(rows: list[_Row]) -> Iterator[Line | Table]:
    steps = [above.line - below.line for above, below in itertools.pairwise(rows)]
    usual = statistics.median(steps) if steps else 0.0
    for at, row in enumerate(rows):
        step = steps[at - 1] if at else 0.0
        is_apart = at > 0 and (step > _WIDE_STEP * usual or step > 2.2 * row.size)
        texts = [piece for piece in row.pieces if piece.grid is None]
        if texts:
            text = " ".join(piece.text.strip() for piece in texts)
            yield Line(text, is_apart, min(piece.em for piece in texts), row.line)
        for piece in row.pieces:
            if piece.grid is not None:
                yield Table.ruled(piece.grid)
