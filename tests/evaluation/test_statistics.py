"""Intervals and tests against scipy's and against exact enumeration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from clara.evaluation.statistics import Estimate, bootstrap_interval, paired_difference


def test_bootstrap_interval_matches_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=1000)
    low, high = bootstrap_interval(values)
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert (values.mean() - low, high - values.mean()) == pytest.approx((error, error), rel=0.1)


def test_bootstrap_interval_matches_scipy_on_skewed_values() -> None:
    values = np.random.default_rng(2).exponential(size=60)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=0)
    low, high = bootstrap_interval(values, draws=20_000)
    assert (low, high) == pytest.approx(
        (theirs.confidence_interval.low, theirs.confidence_interval.high), abs=0.01
    )


def test_an_estimate_counts_its_questions() -> None:
    estimate = Estimate.of([0.0, 1.0, 1.0, 0.0])
    assert (estimate.mean, estimate.count) == (0.5, 4)
    assert estimate.low < 0.5 < estimate.high


def test_a_paired_test_matches_all_sign_flips() -> None:
    first = [0.1, 0.4, 0.0, 0.9, 0.3, 0.2, 0.5, 0.8]
    second = [0.3, 0.5, 0.2, 0.8, 0.6, 0.4, 0.6, 0.9]
    found = paired_difference(first, second, draws=20_000)
    differences = np.array(second) - np.array(first)
    means = [abs((differences * signs).mean()) for signs in product((-1, 1), repeat=len(first))]
    exact = np.mean([mean >= abs(differences.mean()) - 1e-12 for mean in means])
    assert found.mean == pytest.approx(differences.mean())
    assert found.p == pytest.approx(exact, abs=0.01)
    assert found.low > 0


def test_equal_systems_do_not_differ() -> None:
    found = paired_difference([0.0, 1.0, 0.5], [0.0, 1.0, 0.5])
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_runs_of_other_lengths_are_not_paired() -> None:
    with pytest.raises(ValueError, match="2 values cannot be paired with 1"):
        paired_difference([0.0, 1.0], [0.0])
