"""The nearest row of a fixed table, exactly, sooner than by comparing with all of them."""

from __future__ import annotations

import torch
from torch import Tensor

_AT_ONCE = 256  # queries that are compared with all rows at once, to save memory


class NearestRows:
    """Finds the nearest row of a table for queries most of which lie close to one.

    Rows are kept in cells, each with the landmark that is nearest to it. A query is compared with the rows of
    its own cell. A row of another cell is farther away than half of what the second nearest landmark is
    farther than the nearest, so that a match closer than this is the nearest of all; the few others are
    compared with every row.

    Args:
        rows: The table (V, d), float32.
    """

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        count = max(1, int(len(rows) ** 0.5))
        self._landmarks = rows[:: max(1, len(rows) // count)]
        cells = _nearest(rows, self._landmarks)
        self._order = cells.argsort(stable=True)
        self._ends = torch.bincount(cells, minlength=len(self._landmarks)).cumsum(0).tolist()

    def __call__(self, queries: Tensor) -> Tensor:
        """Number (n,) of the row nearest to each of the queries (n, d), float32; of equals the first."""
        if queries.device.type != "cpu" or len(self._landmarks) < 3:
            return _nearest(queries, self._rows)
        distances = torch.cdist(queries, self._landmarks)
        (near, second), (cells, _) = (part.unbind(1) for part in distances.topk(2, largest=False))
        found = torch.zeros(len(queries), dtype=torch.long)  # a row of another cell where one's own is empty
        by_cell = cells.argsort()
        of_cells, counts = cells[by_cell].unique_consecutive(return_counts=True)
        for cell, members in zip(of_cells.tolist(), by_cell.split(counts.tolist()), strict=True):
            rows = self._order[self._ends[cell - 1] if cell else 0 : self._ends[cell]]
            if len(rows):
                found[members] = rows[_nearest(queries[members], self._rows[rows])]
        distance = (queries - self._rows[found]).norm(dim=1)
        unsure = (distance > (second - near) / 2).nonzero().squeeze(1)
        found[unsure] = _nearest(queries[unsure], self._rows)
        return found


def _nearest(queries: Tensor, rows: Tensor) -> Tensor:
    half = rows.square().sum(dim=1) / 2
    parts = [(some @ rows.T - half).argmax(dim=1) for some in queries.split(_AT_ONCE)]
    return torch.cat(parts)
