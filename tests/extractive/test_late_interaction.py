"""Late interaction against slow twins: importance, scores, and what memories hold of their words."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from clara.extractive.late_interaction import LateInteraction
from clara.extractive.segments import SegmentMemory, WordStates
from clara.processing import collate_texts

QUESTIONS = ("w1 w2 w3", "w9")


def cosine(left: torch.Tensor, right: torch.Tensor) -> float:
    return float(left.double() @ right.double() / (left.double().norm() * right.double().norm()))


def word_states(sizes: list[int], segment: int) -> tuple[WordStates, list[torch.Tensor]]:
    """Words of documents, each one of five in a segment of its own document, and their states one by one."""
    words = torch.randint(5, (sum(sizes),))
    places = [number * 10 + at // segment for number, size in enumerate(sizes) for at in range(size)]
    _, segments = torch.tensor(places).unique(return_inverse=True)
    expected, contexts = torch.randn(5, 8), torch.randn(int(segments.max()) + 1, 8)
    states = expected[words] + contexts[segments]
    squares = states.square().sum(dim=1)
    return WordStates(expected, contexts, words, segments, squares, sizes), list(states.split(sizes))


def test_scores_against_a_slow_twin() -> None:
    torch.manual_seed(0)
    matching = LateInteraction(6)
    matching.fit([[1, 2, 2, 3], [1, 2], [1, 4, 3]])
    importance = {1: 0.0, 2: math.log(4 / 3), 3: math.log(4 / 3), 4: math.log(4 / 2), 5: math.log(4 / 1)}
    for word, value in importance.items():
        assert float(matching.importance[word]) == pytest.approx(value)
    questions, lengths = torch.tensor([[1, 2, 5], [4, 3, 0]]), torch.tensor([3, 2])
    states = torch.randn(2, 3, 8)
    given, documents = word_states([4, 1, 7], segment=2)
    found = matching(questions, lengths, states, given)
    for row, length in enumerate(lengths.tolist()):
        weights = [importance[word] for word in questions[row, :length].tolist()]
        for column, document in enumerate(documents):
            best = [max(cosine(states[row, at], word) for word in document) for at in range(length)]
            expected = sum(w * b for w, b in zip(weights, best, strict=True)) / sum(weights)
            assert float(found[row, column]) == pytest.approx(expected, abs=1e-5)


def test_a_question_of_words_that_say_nothing_scores_zero() -> None:
    matching = LateInteraction(3)
    matching.fit([[1], [1]])
    given, _ = word_states([3], segment=2)
    scores = matching(torch.tensor([[1, 1]]), torch.tensor([2]), torch.randn(1, 2, 8), given)
    assert scores.tolist() == [[0.0]]


@torch.no_grad()
def test_the_context_starts_as_the_best_of_its_size() -> None:
    """Expected states are a least-squares fit; the context keeps what that leaves as far as C numbers can."""
    torch.manual_seed(0)
    words = torch.randn(500, 12)
    states = words @ torch.randn(12, 12) + torch.randn(500, 12) @ torch.diag(torch.arange(12.0)) + 3
    part = SegmentMemory(12)
    part.fit_context(words, states)
    left = states - part.expected(words)
    # nothing that is linear in the words is left, and no constant
    torch.testing.assert_close(words.T @ left / 500, torch.zeros(12, 12), atol=1e-3, rtol=0)
    torch.testing.assert_close(left.mean(dim=0), torch.zeros(12), atol=1e-3, rtol=0)
    context = part.context(left)
    assert float(context.square().mean()) == pytest.approx(1, abs=1e-3)
    values = torch.linalg.eigvalsh((left.T @ left).double()).flip(0)
    kept = (left - part.from_context(context)).square().sum()
    assert float(kept) == pytest.approx(float(values[4:].sum()), rel=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("rate", [1, 3, 8])
def test_word_states_against_a_slow_twin(make_model: Any, texts: list[str], rate: int) -> None:
    model, processor = make_model("bert", score="words")
    part, vocabulary = model.memory, model.input_rows
    part.fit(vocabulary)
    encoded = processor.encode_documents(texts)
    compressed = model.compress(*collate_texts(encoded), rate=rate)
    states = compressed.states
    found = part.word_states(compressed.unpadded(), rate, vocabulary)
    sums = found.expected[found.words] + found.contexts[found.segments]
    torch.testing.assert_close(found.squares, sums.square().sum(dim=1), atol=1e-4, rtol=1e-4)
    of_documents = sums.split(found.sizes)
    for row, ids in enumerate(encoded):
        for at, word in enumerate(ids):
            start = at - at % rate
            segment = ids[start : start + rate]
            left = states[row, start : start + len(segment)].mean(dim=0) - part.expected(
                vocabulary[segment]
            ).mean(dim=0)
            expected = part.expected(vocabulary[word]) + part.from_context(part.context(left))
            torch.testing.assert_close(of_documents[row][at], expected, atol=1e-4, rtol=1e-3)
        assert len(of_documents[row]) == len(ids)


def test_a_match_reaches_both_compressor_and_query_reasoner(make_model: Any, texts: list[str]) -> None:
    model, processor = make_model("bert", score="words")
    model.memory.fit(model.input_rows)
    asked = collate_texts(processor.encode_questions(QUESTIONS))
    documents = model.compress(*collate_texts(processor.encode_documents(texts)))
    scores = model.rerank(*asked, model.encode_query(*asked), documents.unpadded())
    assert scores.shape == (len(QUESTIONS), len(texts))
    scores.square().sum().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert any(".variants.compressor." in name for name in reached)
    assert any(".variants.query_reasoner." in name for name in reached)
    assert {"memory.expected.weight", "memory.context.weight", "memory.from_context.weight"} <= reached
    assert not any(".variants.generator." in name for name in reached)


@torch.no_grad()
def test_a_match_does_not_depend_on_the_batch(make_model: Any, texts: list[str]) -> None:
    model, processor = make_model("bert", score="words")
    model.memory.fit(model.input_rows)
    asked = collate_texts(processor.encode_questions(QUESTIONS))
    memories = model.compress(*collate_texts(processor.encode_documents(texts))).unpadded()
    together = model.rerank(*asked, model.encode_query(*asked), memories)
    for row, question in enumerate(QUESTIONS):
        one = collate_texts(processor.encode_questions([question]))
        for column, memory in enumerate(memories):
            alone = model.rerank(*one, model.encode_query(*one), [memory])
            torch.testing.assert_close(alone[0, 0], together[row, column], atol=1e-5, rtol=1e-4)
