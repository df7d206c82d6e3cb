"""Tables of a PDF's page whose cells are drawn with lines."""

from __future__ import annotations

import ctypes
import itertools
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

Point = tuple[float, float]
Rule = tuple[float, float, float]
"""A line: its height (or place from the left), and where it begins and ends."""

_PATH = 2  # kind of object
_LINE_TO, _MOVE_TO = 0, 2  # kinds of segment
_MOST_PATHS, _MOST_SEGMENTS, _MOST_RULES = 5000, 1000, 400  # more make a drawing
_THIN = 2.0  # points: a filled rectangle this thin is a line, and lines this near to each other are one
_SHORT = 4.0


@dataclass(frozen=True, slots=True)
class RuledGrid:
    """The lines of a table.

    Attributes:
        lefts: Places of the lines between columns from the left, those at both ends too.
        tops: Heights of the lines between rows from the top, those at both ends too.
        owners: Of each place in each row the row and column of the cell that it belongs to; others than its
            own in merged cells.
        texts: What stands in the cells, by row and column.
    """

    lefts: list[float]
    tops: list[float]
    owners: list[list[tuple[int, int]]]
    texts: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def place(self, x: float, y: float) -> tuple[int, int] | None:
        """The row and column of the cell at a place; None beside the table."""
        if not (self.lefts[0] <= x < self.lefts[-1] and self.tops[-1] < y <= self.tops[0]):
            return None
        row = bisect_right([-top for top in self.tops], -y) - 1
        return self.owners[row][bisect_right(self.lefts, x) - 1]

    def filled(self) -> list[list[str]]:
        """Rows of cells, in which merged cells are repeated but for those of a whole row."""
        rows = []
        for at, owners in enumerate(self.owners):
            if all(row < at for row, _ in owners):  # it goes on, there is no line in between
                continue
            cells = [self.texts.get(owner, "") for owner in owners]
            if len(set(owners)) == 1:
                cells[1:] = [""] * (len(cells) - 1)
            rows.append(cells)
        used = [at for at in range(len(self.lefts) - 1) if any(row[at] for row in rows)]
        return [[row[at] for at in used] for row in rows if any(row)]

    @property
    def num_spanned(self) -> int:
        """How many first rows have a cell over some columns, as heads of several rows do."""
        wide = (1 < len(set(owners)) < len(owners) for owners in self.owners)
        return sum(1 for _ in itertools.takewhile(bool, wide))


def rules_of(page: PdfPage, turn: int) -> tuple[list[Rule], list[Rule]]:
    """The lines across a page and down it, where it is turned by so many quarters."""
    across: list[Rule] = []
    down: list[Rule] = []
    for (x, y), (to_x, to_y) in _strokes(page):
        x, y = _turned(x, y, turn)
        to_x, to_y = _turned(to_x, to_y, turn)
        if abs(y - to_y) <= _THIN and abs(x - to_x) > _SHORT:
            across.append(((y + to_y) / 2, min(x, to_x), max(x, to_x)))
        elif abs(x - to_x) <= _THIN and abs(y - to_y) > _SHORT:
            down.append(((x + to_x) / 2, min(y, to_y), max(y, to_y)))
    across, down = _joined(across), _joined(down)
    return (across, down) if max(len(across), len(down)) <= _MOST_RULES else ([], [])


def grids(across: Sequence[Rule], down: Sequence[Rule]) -> list[RuledGrid]:
    """The tables that lines make which cross or touch each other: two rows and two columns at least."""
    group = list(range(len(across) + len(down)))

    def first(at: int) -> int:
        while group[at] != at:
            group[at] = group[group[at]]
            at = group[at]
        return at

    for at, (y, left, right) in enumerate(across):
        for other, (x, bottom, top) in enumerate(down, len(across)):
            if left - _THIN <= x <= right + _THIN and bottom - _THIN <= y <= top + _THIN:
                group[first(other)] = first(at)
    made: dict[int, tuple[list[Rule], list[Rule]]] = {}
    for at, rule in enumerate([*across, *down]):
        made.setdefault(first(at), ([], []))[at >= len(across)].append(rule)
    return [grid for one in made.values() if (grid := _grid(*one)) is not None]


def _grid(across: list[Rule], down: list[Rule]) -> RuledGrid | None:
    if len(across) < 2 or len(down) < 1:
        return None
    lefts = _places([x for x, *_ in down] + [end for _, *ends in across for end in ends])
    tops = _places([y for y, *_ in across] + [end for _, *ends in down for end in ends])[::-1]
    if len(lefts) < 3 or len(tops) < 3:
        return None
    middles = [(above + below) / 2 for above, below in itertools.pairwise(tops)]
    centres = [(left + right) / 2 for left, right in itertools.pairwise(lefts)]
    walls = {
        (row, _nearest(lefts, x))
        for x, bottom, top in down
        for row, middle in enumerate(middles)
        if bottom < middle < top
    }
    floors = {
        (_nearest(tops, y), column)
        for y, left, right in across
        for column, centre in enumerate(centres)
        if left < centre < right
    }
    owners: list[list[tuple[int, int]]] = []
    for row in range(len(middles)):
        owners.append([])
        for column in range(len(centres)):
            if column and (row, column) not in walls:
                owners[row].append(owners[row][column - 1])
            elif row and (row, column) not in floors:
                owners[row].append(owners[row - 1][column])
            else:
                owners[row].append((row, column))
    return RuledGrid(lefts, tops, owners)


def _strokes(page: PdfPage) -> Iterator[tuple[Point, Point]]:
    """The straight lines of a page's drawings; a thin rectangle is one, any other has four."""
    import pypdfium2.raw as pdfium

    fill, stroke = ctypes.c_int(), ctypes.c_int()
    for one in itertools.islice(page.get_objects(filter=[_PATH], max_depth=1), _MOST_PATHS):
        count = pdfium.FPDFPath_CountSegments(one.raw)
        pdfium.FPDFPath_GetDrawMode(one.raw, fill, stroke)
        if count > _MOST_SEGMENTS or not (fill.value or stroke.value):
            continue
        left, bottom, right, top = one.get_bounds()
        if right - left <= _THIN or top - bottom <= _THIN:
            middle = (left + right) / 2, (bottom + top) / 2
            is_flat = top - bottom <= right - left
            yield (
                ((left, middle[1]), (right, middle[1]))
                if is_flat
                else (
                    (middle[0], bottom),
                    (middle[0], top),
                )
            )
        else:
            yield from _segments(one, count)


def _segments(path: Any, count: int) -> Iterator[tuple[Point, Point]]:
    import pypdfium2.raw as pdfium

    matrix = path.get_matrix()
    x, y = ctypes.c_float(), ctypes.c_float()
    start: Point = (0.0, 0.0)
    last: Point | None = None
    for at in range(count):
        segment = pdfium.FPDFPath_GetPathSegment(path.raw, at)
        kind = pdfium.FPDFPathSegment_GetType(segment)
        pdfium.FPDFPathSegment_GetPoint(segment, x, y)
        point = matrix.on_point(x.value, y.value)
        if kind == _MOVE_TO:
            start = point
        elif kind == _LINE_TO and last is not None:
            yield last, point
        if pdfium.FPDFPathSegment_GetClose(segment):
            yield point, start
        last = point


def _turned(x: float, y: float, turn: int) -> Point:
    return ((x, y), (y, -x), (-x, -y), (-y, x))[turn]


def _joined(rules: list[Rule]) -> list[Rule]:
    """Lines at one place that touch each other made one."""
    joined: list[Rule] = []
    for _, same in itertools.groupby(sorted(rules), key=_Steps()):
        found = sorted(same, key=lambda rule: rule[1])
        at = found[0][0]
        for _, start, stop in found:
            if joined and joined[-1][0] == at and start <= joined[-1][2] + _THIN:
                joined[-1] = (at, joined[-1][1], max(joined[-1][2], stop))
            else:
                joined.append((at, start, stop))
    return joined


class _Steps:
    """The place that a line shares with those before it; lines come in order."""

    def __init__(self) -> None:
        self._at = float("-inf")

    def __call__(self, rule: Rule) -> float:
        if rule[0] - self._at > _THIN:
            self._at = rule[0]
        return self._at


def _places(values: list[float]) -> list[float]:
    places: list[float] = []
    for value in sorted(values):
        if not places or value - places[-1] > 2 * _THIN:
            places.append(value)
    return places


def _nearest(places: list[float], value: float) -> int:
    return min(range(len(places)), key=lambda at: abs(places[at] - value))
