"""Labels of what is compared."""

from __future__ import annotations

from clara.evaluation.tables import distinct_searches


def figures(value: float) -> dict[str, object]:
    return {"recall@1": {"mean": value}}


def test_rates_of_one_search_share_a_line_and_different_searches_that_tie_do_not() -> None:
    rankings = {
        "bm25": figures(0.7),
        "dense": figures(0.7),
        "joined-16x": figures(0.9),
        "joined-4x": figures(0.9),
        "memories-16x": figures(0.9),
        "memories-4x": figures(0.8),
        "reranked-16x": figures(0.8),
        "reranked-4x": figures(0.8),
    }
    assert [label for label, _ in distinct_searches(rankings)] == [
        "BM25",
        "sentence encoder",
        "memories and words 4x, 16x",
        "memories 4x",
        "memories 16x",
        "candidates by memories 4x, 16x",
    ]
