"""Which passages a question gets, as properties of every ranking."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clara.errors import InputError
from clara.evaluation.conditions import Condition, Plan, choose, others, with_gold
from clara.evaluation.questions import Question

RANKINGS = st.permutations(range(12))
GOLD = st.lists(st.integers(0, 11), min_size=1, max_size=4, unique=True)


@given(ranking=RANKINGS, gold=GOLD, k=st.integers(4, 8))
def test_gold_is_among_k_and_the_others_are_the_best(ranking: list[int], gold: list[int], k: int) -> None:
    chosen = with_gold(ranking, gold, k)
    assert len(chosen) == len(set(chosen)) == k
    assert set(gold) <= set(chosen)
    distractors = [passage for passage in chosen if passage not in gold]
    best = [passage for passage in ranking if passage not in gold]
    assert distractors == best[: len(distractors)]
    if set(gold) <= set(ranking[:k]):
        assert chosen == ranking[:k]  # nothing is moved where nothing is missing


def test_a_wrong_memory_shares_nothing_with_the_gold_one() -> None:
    questions = [
        Question("a", "?", ("x",), (0, 1)),
        Question("b", "?", ("x",), (1,)),
        Question("c", "?", (), ()),
        Question("d", "?", ("x",), (2,)),
    ]
    found = others(questions)
    assert [one.id for one in found] == ["d", "d", "d", "a"]
    alone = [Question("a", "?", ("x",), (0,))]
    assert others(alone) == alone


def test_every_arrangement() -> None:
    question = Question("a", "?", ("x",), (7,), candidates=(7, 3, 5))
    other = Question("b", "?", ("x",), (9,))
    rankings = {"bm25": [1, 2, 3, 4], "memories-4x": [2, 1, 4, 3], "reranked-4x": [5, 7, 3]}

    def chosen(passages: str, ranking: str = "") -> list[int]:
        return choose(Condition(passages, "memory", 4, ranking), question, rankings, other, 2)

    assert chosen("none") == []
    assert chosen("gold") == [7]
    assert chosen("wrong") == [9]
    assert chosen("normal", "bm25") == [1, 2]
    assert chosen("oracle", "memories-4x") == [2, 7]
    assert chosen("full", "memories-4x") == [2, 1]
    assert chosen("rerank", "reranked-4x") == [5, 7]


def test_a_question_without_an_answer_is_asked_of_the_passages_it_came_with() -> None:
    question = Question("a", "?", (), (), candidates=(3,))
    assert choose(Condition("gold", "text"), question, {}, question, 5) == [3]


def test_lines_have_names_of_their_own() -> None:
    plan = Plan(
        ("oracle", "normal", "rerank", "full"), (4, 16), ("bm25", "dense"), True, False, True, True, True
    )
    lines = plan.conditions()
    names = [line.name for line in lines]
    assert len(set(names)) == len(names)
    assert {line.reading for line in lines} == {"memory", "text", "mixed", "base", "llmlingua"}
    assert [line.ranking for line in lines if line.passages == "full" and line.reading == "memory"] == [
        "memories-4x",
        "memories-16x",
    ]
    joined = Plan(("oracle", "full"), (4,), ("bm25",), hybrid=True).conditions()
    assert {(line.passages, line.ranking) for line in joined if line.ranking} == {
        ("oracle", "memories-4x"),
        ("full", "joined-4x"),
    }


def test_a_model_that_cannot_search_is_given_its_passages() -> None:
    lines = Plan(
        ("oracle", "normal", "rerank", "full"), (4,), ("bm25", "dense"), own_search=False
    ).conditions()
    assert {line.passages for line in lines} == {"none", "wrong", "gold", "oracle", "normal"}
    assert {line.ranking for line in lines if line.passages == "oracle"} == {"bm25"}


@pytest.mark.parametrize(("settings", "rates"), [(("best",), (4,)), (("full",), ()), (("full",), (4, 4))])
def test_a_plan_is_checked(settings: tuple[str, ...], rates: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        Plan(settings, rates, ("bm25",))
