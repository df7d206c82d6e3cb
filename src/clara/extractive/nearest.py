"""The nearest row of a fixed table, exactly, sooner than by comparing with all of them."""

from __future__ import annotations

import torch
from torch import Tensor

_OF_CELLS = 8  # numbers that cells go by
_PROBED = 6  # cells that a query is compared with before all rows are
_AT_ONCE = 256  # queries that are compared with all rows at once, to save memory
_AT_ONCE_ON_CPU = 32  # so few that a processor's cache holds what comes of them: twice as fast
_CODED = 4  # numbers of two bytes that make a code of eight


class NearestRows:
    """Finds the nearest row of a table for queries most of which lie close to one.

    Rows are kept in cells, each with the landmark that is nearest to it. A query is compared with the rows of
    the cells around it, the nearest cell first. A row of another cell is farther away than half of what
    that cell's landmark is farther than the nearest one, so that a match closer than this for all cells that
    are left is the nearest of all; few queries need to be compared with every row. Cells go by the first
    numbers alone, which are no farther apart than all are: with many, a few cells would hold most rows.

    Most queries are rows that were kept as float16, and are looked up by what they are.

    Args:
        rows: The table (V, d), float32.
    """

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        if rows.device.type != "cpu":
            return  # there all rows are compared at once
        count = max(1, int(len(rows) ** 0.5))
        self._landmarks = rows[:: max(1, len(rows) // count), :_OF_CELLS]
        cells = _nearest(rows[:, :_OF_CELLS], self._landmarks)
        self._order = cells.argsort(stable=True)
        self._ends = torch.bincount(cells, minlength=len(self._landmarks)).cumsum(0).tolist()
        self._halves = rows.half()
        self._by_code = _codes(self._halves).argsort(stable=True)
        self._codes = _codes(self._halves)[self._by_code]
        # rounded, a row may lie nearer to another one
        self._is_own = self._searched(self._halves.float()) == torch.arange(len(rows), device=rows.device)

    def __call__(self, queries: Tensor) -> Tensor:
        """Number (n,) of the row nearest to each of the queries (n, d), float32; of equals the first."""
        if queries.device.type != "cpu":
            return _nearest(queries, self._rows)
        at = torch.searchsorted(self._codes, _codes(queries.half())).clamp(max=len(self._codes) - 1)
        found = self._by_code[at]
        is_known = self._is_own[found] & (self._halves[found] == queries).all(dim=1)
        unknown = (~is_known).nonzero().squeeze(1)
        found[unknown] = self._searched(queries[unknown])
        return found

    def _searched(self, queries: Tensor) -> Tensor:
        """As `__call__`, through the cells."""
        if len(self._landmarks) <= _PROBED:
            return _nearest(queries, self._rows)
        landmarks = torch.cdist(queries[:, :_OF_CELLS], self._landmarks).topk(_PROBED + 1, largest=False)
        found = torch.zeros(len(queries), dtype=torch.long)
        distances = torch.full((len(queries),), torch.inf)
        left = torch.arange(len(queries))
        for probe in range(_PROBED):
            self._compare(queries, left, landmarks.indices[left, probe], found, distances)
            beyond = (landmarks.values[left, probe + 1] - landmarks.values[left, 0]) / 2
            left = left[distances[left] > beyond]
        found[left] = _nearest(queries[left], self._rows)
        return found

    def _compare(
        self, queries: Tensor, chosen: Tensor, cells: Tensor, found: Tensor, distances: Tensor
    ) -> None:
        """Compare chosen queries with the rows of a cell each, and keep what is nearer than before."""
        by_cell = cells.argsort()
        of_cells, counts = cells[by_cell].unique_consecutive(return_counts=True)
        for cell, members in zip(of_cells.tolist(), chosen[by_cell].split(counts.tolist()), strict=True):
            rows = self._order[self._ends[cell - 1] if cell else 0 : self._ends[cell]]
            if len(rows):
                best = rows[_nearest(queries[members], self._rows[rows])]
                distance = (queries[members] - self._rows[best]).norm(dim=1)
                nearer = distance < distances[members]
                found[members[nearer]] = best[nearer]
                distances[members[nearer]] = distance[nearer]


def _nearest(queries: Tensor, rows: Tensor) -> Tensor:
    half = rows.square().sum(dim=1) / 2
    at_once = _AT_ONCE_ON_CPU if queries.device.type == "cpu" else _AT_ONCE
    with torch.autocast(queries.device.type, enabled=False):  # bfloat16 cannot tell rows of few numbers apart
        parts = [torch.addmm(-half, some, rows.T).argmax(dim=1) for some in queries.split(at_once)]
    return torch.cat(parts)


def _codes(halves: Tensor) -> Tensor:
    """(n,) int64 of the first numbers of float16 rows; different codes are of different rows."""
    return torch.nn.functional.pad(halves, (0, _CODED))[:, :_CODED].flatten().view(torch.int64)
