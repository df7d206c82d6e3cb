"""Spans against slow twins: the head's probabilities, the loss, and the best span over all documents."""

from __future__ import annotations

import math

import pytest
import torch

from clara.extractive.cross_encoder import of_words
from clara.extractive.spans import DocumentWords, SpanHead, best_span, span_log_probabilities, span_loss

OPENING, CLOSING = 1, 2
FIRST = DocumentWords(0, [OPENING, 7, 8, 7, 8, CLOSING])
SECOND = DocumentWords(6, [OPENING, 9, 7, CLOSING])
WIDTH = 10


@pytest.fixture
def scores() -> torch.Tensor:
    torch.manual_seed(0)
    head = SpanHead(4)
    present = torch.ones(2, WIDTH, dtype=torch.bool)
    present[:, [5, 9]] = False
    with torch.no_grad():
        return span_log_probabilities(head(torch.randn(2, WIDTH, 4)), present)


def test_probabilities_sum_to_one_over_the_documents_of_a_prompt(scores: torch.Tensor) -> None:
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(2, 2))
    assert scores.exp()[:, [5, 9]].eq(0).all()


def test_answers_are_found_wherever_they_stand() -> None:
    assert FIRST.find([7, 8]) == [(1, 2), (3, 4)]
    assert SECOND.find([7]) == [(8, 8)]
    assert SECOND.find([7, 8]) == FIRST.find([OPENING]) == FIRST.find([8, CLOSING]) == []


def test_loss_counts_every_place_of_an_answer(scores: torch.Tensor) -> None:
    loss = span_loss(scores, [[FIRST, SECOND]] * 2, [[7], [9, 7]])
    chances = scores.exp()
    anywhere = chances[0, [1, 3, 8]].sum(dim=0)
    twice = torch.stack([chances[1, 7, 0], chances[1, 8, 1]])
    expected = -(anywhere.log().sum() + twice.log().sum()) / 4
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(loss, span_loss(scores[[0, 1, 0]], [[FIRST, SECOND]] * 3, [[7], [9, 7], None]))


def test_an_empty_answer_is_in_no_document_and_an_unspelled_one_trains_nothing(scores: torch.Tensor) -> None:
    scores.requires_grad_()
    loss = span_loss(scores, [[FIRST, SECOND]] * 2, [[], [8, 9]])
    torch.testing.assert_close(loss, -scores[0, [0, 6]].exp().sum(dim=0).log().mean() / 2)
    loss.backward()
    assert scores.grad is not None
    assert scores.grad[1].eq(0).all()
    assert span_loss(scores, [[FIRST]] * 2, [[5], [6]]).item() == 0


@pytest.mark.parametrize("max_words", [1, 2, 20])
def test_best_span_against_a_slow_twin(scores: torch.Tensor, max_words: int) -> None:
    for row in scores:
        found = best_span(row, [FIRST, SECOND], max_words)
        every = {
            (number, first): (float(row[document.start + first, 0] + row[document.start + last, 1]), last)
            for number, document in enumerate([FIRST, SECOND])
            for first in range(1, len(document.ids) - 1)
            for last in sorted(
                range(first, min(first + max_words, len(document.ids) - 1)),
                key=lambda place: float(row[document.start + place, 1]),
                reverse=True,
            )[:1]
        }
        (number, first), (value, last) = max(every.items(), key=lambda item: item[1])
        assert found is not None
        assert (found.document, found.first) == (number, first)
        assert found.ids == [FIRST, SECOND][number].ids[first : last + 1]
        assert found.log_probability == pytest.approx(value / 2)
        nowhere = sum(math.exp(float(row[place].sum())) for place in (0, 6))
        assert found.log_odds == pytest.approx(value - math.log(nowhere), abs=1e-5)


def test_no_words_no_span(scores: torch.Tensor) -> None:
    assert best_span(scores[0], [], 5) is None
    assert best_span(scores[0], [DocumentWords(0, [OPENING, CLOSING])], 5) is None


def test_a_prior_weighs_documents_as_bayes_does(scores: torch.Tensor) -> None:
    torch.manual_seed(0)
    head = SpanHead(4)
    present = torch.ones(2, WIDTH, dtype=torch.bool)
    present[:, [5, 9]] = False
    states = torch.randn(2, WIDTH, 4)
    prior = torch.tensor([[0.8, 0.2], [0.5, 0.5]])
    priors = of_words(list(prior.log()), [[FIRST, SECOND]] * 2, WIDTH)
    with torch.no_grad():
        scores = head(states)
        found = span_log_probabilities(scores, present, priors).exp()
        plain = span_log_probabilities(scores, present).exp()
    weights = torch.cat([prior[:, :1].expand(-1, 6), prior[:, 1:].expand(-1, 4)], dim=1).unsqueeze(-1)
    expected = plain * weights / (plain * weights).sum(dim=1, keepdim=True)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found[1], plain[1])
