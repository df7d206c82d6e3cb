"""Metrics against hand counts and against a resampling with known spread."""

import numpy as np
import pytest

from clara.evaluation.metrics import bootstrap_interval, cover_match, exact_match, f1, normalise, recall_at


def test_normalisation_drops_case_punctuation_and_articles() -> None:
    assert normalise("The  Quick, brown-fox!") == "quick brownfox"


@pytest.mark.parametrize(
    ("answer", "golds", "expected"),
    [
        ("the 8 May 1980", ["8 May 1980"], 1.0),
        ("May 1980", ["8 May 1980"], 0.8),
        ("in May", ["8 May 1980", "May"], 2 / 3),
        ("July", ["8 May 1980"], 0.0),
        ("", ["8 May 1980"], 0.0),
        ("a b a", ["a b"], 1.0),
        ("ten ten", ["ten"], 2 / 3),
    ],
)
def test_f1_is_the_best_overlap(answer: str, golds: list[str], expected: float) -> None:
    assert f1(answer, golds) == pytest.approx(expected)


def test_exact_and_cover_match() -> None:
    assert exact_match("The ten.", ["Ten"]) == 1
    assert exact_match("about ten", ["Ten"]) == 0
    assert cover_match("about ten", ["Ten"]) == 1
    assert cover_match("about", ["the"]) == 0  # a gold answer that normalises to nothing covers nothing


def test_recall_counts_ranks_from_one() -> None:
    assert recall_at([1, 5, 6, None], 5).tolist() == [1, 1, 0, 0]


def test_bootstrap_interval_matches_the_normal_approximation() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=1000)
    low, high = bootstrap_interval(values)
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert (values.mean() - low, high - values.mean()) == pytest.approx((error, error), rel=0.1)
