"""From pieces of text with places on a page to lines in reading order and tables, by the gaps between
them."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clara.documents.pdf_glyphs import Piece

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


@dataclass(frozen=True, slots=True)
class Line:
    """A line of running text; `is_apart` says that a gap parts it from the line before."""

    text: str
    is_apart: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, of equal number in each."""

    rows: list[list[str]]


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


def laid_out(pieces: Sequence[Piece]) -> list[Line | Table]:
    """Lines and tables in reading order: what stands in columns is read column by column."""
    return list(_ordered(_rows(pieces), 0))


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
        if last is not None and is_level and piece.left - last.right <= _GUTTER * size:
            is_word = piece.left - last.right > 0.12 * size
            is_parted = last.text.endswith(" ") or piece.text.startswith(" ")
            text = last.text + (" " if is_word and not is_parted else "") + piece.text
            joined[-1] = Piece(
                text, last.left, max(last.right, piece.right), last.line, max(last.size, piece.size)
            )
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
            table, before, after = _table(region)
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


def _lines(rows: list[_Row]) -> Iterator[Line]:
    steps = [above.line - below.line for above, below in itertools.pairwise(rows)]
    usual = statistics.median(steps) if steps else 0.0
    for at, row in enumerate(rows):
        step = steps[at - 1] if at else 0.0
        is_apart = at > 0 and (step > _WIDE_STEP * usual or step > 2.2 * row.size)
        yield Line(" ".join(piece.text.strip() for piece in row.pieces), is_apart)
