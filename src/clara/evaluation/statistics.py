"""How sure a mean is, and whether two differ: bootstrap intervals and paired tests, question by question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = Sequence[float] | NDArray[np.float64]

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over questions.

    Attributes:
        mean: The mean.
        low: Lower end of its 95 % interval.
        high: Upper end.
        count: Questions.
    """

    mean: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Values) -> Estimate:
        """Mean of at least one value with its bootstrap interval."""
        low, high = bootstrap_interval(values)
        return cls(float(np.mean(values)), low, high, len(values))


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean of paired differences, second minus first.

    Attributes:
        mean: The mean.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Of the two-sided sign-flip test that the mean is 0.
        count: Questions.
    """

    mean: float
    low: float
    high: float
    p: float
    count: int


def bootstrap_interval(
    values: Values, *, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Args:
        values: One value per question.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.
    """
    data = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = _resampled(draws, lambda count: data[rng.integers(0, len(data), (count, len(data)))])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference(first: Values, second: Values, *, draws: int = DRAWS, seed: int = 0) -> Difference:
    """Compare two systems on the same questions.

    The p-value is that of the sign-flip permutation test: were the systems alike, each question's difference
    could as well have had the other sign.

    Args:
        first: One value per question.
        second: Of the same questions in the same order.
        draws: Resamples of the interval, and sign flips of the test.
        seed: Of both.

    Raises:
        ValueError: The two differ in length.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values cannot be paired with {len(second)}.")
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    low, high = bootstrap_interval(differences, draws=draws, seed=seed)
    mean = float(differences.mean())
    rng = np.random.default_rng(seed)
    flipped = _resampled(
        draws, lambda count: differences * rng.choice((-1.0, 1.0), (count, len(differences)))
    )
    # the signs as they are count as one of the draws, so that p is never 0
    extreme = int((np.abs(flipped) >= abs(mean) - 1e-12).sum())
    return Difference(mean, low, high, (extreme + 1) / (draws + 1), len(differences))


def _resampled(
    draws: int, resample: Callable[[int], NDArray[np.float64]], at_once: int = 100
) -> NDArray[np.float64]:
    """Means (draws,) of resamples, a few at a time so that many values need little memory."""
    counts = [min(at_once, draws - start) for start in range(0, draws, at_once)]
    return np.concatenate([resample(count).mean(axis=1) for count in counts])
