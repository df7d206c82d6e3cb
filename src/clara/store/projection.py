"""Short vectors for the index: the directions in which a store's own vectors differ most.

A cosine of unit vectors is a dot product, and the directions that keep dot products best, in the mean over
such vectors, are the leading ones of their second moments. The mean is not taken off: it takes part in every
dot product, so that a projection of centred vectors would need a correction for each vector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

_EXTRA = 32  # directions beyond those wanted, which make the wanted ones exact
_ROUNDS = 4


def leading_directions(vectors: Matrix, energy: float, most: int) -> Matrix:
    """Orthonormal directions, by the randomised method of Halko, Martinsson and Tropp (SIAM Review 2011).

    Args:
        vectors: A sample, shape (n, width).
        energy: Share of the sample's squared length that the directions shall hold together.
        most: No more directions than this, even if they hold less.

    Returns:
        Shape (width, m), m a multiple of 8 if it is below the width.
    """
    width = vectors.shape[1]
    rank = min(width, most + _EXTRA)
    basis = np.random.default_rng(0).standard_normal((width, rank), dtype=np.float32)
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(vectors.T @ (vectors @ basis)).Q
    _, lengths, turned = np.linalg.svd(vectors @ basis, full_matrices=False)
    held = np.cumsum(lengths.astype(np.float64) ** 2) / max(float(np.square(vectors).sum()), 1e-30)
    enough = int(np.searchsorted(held, energy)) + 1
    count = min(most, width, -(-enough // 8) * 8)
    # a sample smaller than that has fewer directions, and the rest of the basis serves as well
    directions = (
        basis @ np.linalg.qr(turned.T, mode="complete").Q if len(turned) < count else basis @ turned.T
    )
    return np.ascontiguousarray(directions[:, :count], dtype=np.float32)
