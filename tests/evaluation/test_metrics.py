"""Metrics against hand counts, public implementations and slow twins."""

from __future__ import annotations

import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.text import squad

from clara.evaluation import metrics

WORDS = st.sampled_from(["the", "a", "May", "may,", "1980", "Dr.", "Smith", "York", "b-c", "!"])
TEXTS = st.lists(WORDS, max_size=5).map(" ".join)
RANKINGS = st.permutations(range(8)).flatmap(lambda order: st.integers(1, 8).map(lambda n: order[:n]))
GOLD = st.sets(st.integers(0, 8), min_size=1, max_size=4)


@given(answer=TEXTS, golds=st.lists(TEXTS, min_size=1, max_size=3))
def test_answers_score_as_in_torchmetrics(answer: str, golds: list[str]) -> None:
    theirs = squad(
        [{"prediction_text": answer, "id": "0"}],
        [{"answers": {"answer_start": [0] * len(golds), "text": golds}, "id": "0"}],
    )
    assert 100 * metrics.exact_match(answer, golds) == pytest.approx(float(theirs["exact_match"]))
    empty = [gold for gold in golds if not metrics.normalise(gold)]
    if not empty or metrics.normalise(answer):  # they give nothing for rightly answering with nothing
        assert 100 * metrics.f1(answer, golds) == pytest.approx(float(theirs["f1"]), abs=1e-4)


@pytest.mark.parametrize(
    ("answer", "golds", "expected"),
    [
        ("the 8 May 1980", ["8 May 1980"], 1.0),
        ("May 1980", ["8 May 1980"], 0.8),
        ("in May", ["8 May 1980", "May"], 2 / 3),
        ("July", ["8 May 1980"], 0.0),
        ("", ["8 May 1980"], 0.0),
        ("", ["the"], 1.0),
        ("a b a", ["a b"], 1.0),
        ("ten ten", ["ten"], 2 / 3),
    ],
)
def test_f1_is_the_best_overlap(answer: str, golds: list[str], expected: float) -> None:
    assert metrics.f1(answer, golds) == pytest.approx(expected)


def test_cover_match_wants_an_answer_within() -> None:
    assert metrics.cover_match("about ten", ["Ten"]) == 1
    assert metrics.cover_match("about", ["Ten"]) == 0
    assert metrics.cover_match("about", ["the"]) == 0  # nothing is left of it to be covered


@given(ranking=RANKINGS, gold=GOLD)
def test_rankings_score_as_in_trec_eval(ranking: list[int], gold: set[int]) -> None:
    judged = {"q": {str(passage): 1 for passage in gold}}
    scores = {"q": {str(passage): 1.0 / rank for rank, passage in enumerate(ranking, 1)}}
    wanted = {"recall.1,5", "P.5", "recip_rank", "ndcg_cut.10"}
    theirs = pytrec_eval.RelevanceEvaluator(judged, wanted).evaluate(scores)["q"]
    assert metrics.recall_at(ranking, gold, 1) == pytest.approx(theirs["recall_1"])
    assert metrics.recall_at(ranking, gold, 5) == pytest.approx(theirs["recall_5"])
    assert metrics.precision_at(ranking, gold, 5) == pytest.approx(theirs["P_5"])
    assert metrics.reciprocal_rank(ranking, gold) == pytest.approx(theirs["recip_rank"])
    assert metrics.ndcg_at(ranking, gold, 10) == pytest.approx(theirs["ndcg_cut_10"])


def test_risk_is_that_of_the_surest() -> None:
    coverage, risk = metrics.risk_coverage([0.1, 0.9, 0.5, 0.5], [1.0, 0.0, 1.0, 0.0])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 0.25, 1 / 3, 0.5])  # the two equal ones share their losses


@given(
    answers=st.lists(
        st.tuples(st.sampled_from([0.1, 0.5, 0.9]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=12
    )
)
def test_area_under_risk_does_not_depend_on_the_order(answers: list[tuple[float, float]]) -> None:
    sure, losses = zip(*answers, strict=True)
    area = metrics.area_under_risk(sure, losses)
    assert area == pytest.approx(metrics.area_under_risk(sure[::-1], losses[::-1]))
    same = metrics.area_under_risk([0.0] * len(losses), losses)
    assert same == pytest.approx(sum(losses) / len(losses))  # nothing known: the risk of answering all


def test_numbers_and_names_of_a_text() -> None:
    text = 'In 1990 the Brooklyn Bridge cost $1,234.50. "Paris is 3 times larger," he wrote in New York.'
    assert metrics.numbers(text) == {"1990": 1, "1234.50": 1, "3": 1}
    assert metrics.names(text) == {"brooklyn bridge": 1, "new york": 1}  # the start of a sentence is no name


def test_what_a_rewritten_text_preserves() -> None:
    numbers = metrics.numbers("It has 1,000 rooms and 12 doors.")
    assert metrics.preserved(numbers, "There are 1000 rooms.") == 0.5
    assert metrics.preserved(numbers, "There are 112 rooms.") == 0
    names = metrics.names("He saw Ada Lovelace in London.")
    assert metrics.preserved(names, "in london, ada lovelace was seen") == 1
    assert metrics.preserved(names, "Londoners saw Ada") == 0
    assert metrics.preserved(metrics.numbers("no digits"), "12") is None
