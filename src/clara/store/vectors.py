"""Where the vectors of passages lie: what `clara.store.search` goes through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clara.store.codecs import CodedRows


@dataclass(frozen=True, slots=True)
class VectorTable:
    """What is searched: n passages' vectors, each some rows of a file, in the order of their numbers.

    Attributes:
        ids: Numbers of the passages, int64, ascending, shape (n,).
        segment: Numbers of the files, int64, shape (n,).
        first: First rows, int64, shape (n,).
        count: Numbers of rows, int64, shape (n,).
        norm: Lengths of the vectors with their rows in one line, float64, shape (n,).
        rows: Gives a file's rows by its number; what is taken of them is float16, shape (rows, width).
    """

    ids: NDArray[np.int64]
    segment: NDArray[np.int64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    norm: NDArray[np.float64]
    rows: Callable[[int], CodedRows]

    def take(self, at: NDArray[np.int64]) -> VectorTable:
        """The vectors at these positions of the table."""
        return VectorTable(
            self.ids[at], self.segment[at], self.first[at], self.count[at], self.norm[at], self.rows
        )
