"""Answers as spans of the documents: where an answer begins, where it ends, or that no document has one.

A small model learns to find an answer's place long before it learns to write the answer word by word. Every
document is read together with the question, and each of its words gets two scores; the document's opening
token stands for "not here". Scores are compared over all documents of a prompt, which is what teaches the
reader to tell documents apart.

Source: span extraction (Devlin et al., 2019) with scores normalised over several documents (Clark and
Gardner, 2018). Not in the paper, whose generator writes.

Shapes: B prompts, W words of the prompt that has most, H hidden.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LONGEST = 24
"""Tokens of an answer at most. Begin and end are scored apart, so that a longer span may well begin with one
answer and end with another; 99 % of SQuAD's answers are shorter."""


@dataclass(frozen=True, slots=True)
class DocumentWords:
    """One document of a prompt, among the words of its row.

    Attributes:
        start: Place of its opening token, which stands for "no answer here".
        ids: Token ids of its words, the opening and the closing token among them.
    """

    start: int
    ids: list[int]

    @property
    def title_end(self) -> int:
        """Words of the title before the text, 0 if it has none; the closing token ends a title too."""
        inside = self.ids[1:-1]
        return inside.index(self.ids[-1]) if self.ids[-1] in inside else 0

    def find(self, words: Sequence[int]) -> list[tuple[int, int]]:
        """First and last place in the row of every occurrence of `words`."""
        inside, count = self.ids[1:-1], len(words)
        return [
            (self.start + 1 + at, self.start + at + count)
            for at in range(len(inside) - count + 1)
            if inside[at : at + count] == list(words)
        ]


@dataclass(frozen=True, slots=True)
class Span:
    """An answer.

    Attributes:
        document: Number of the document in its prompt.
        first: First word, counted from the document's opening token.
        ids: Token ids of its words.
        log_probability: Mean of the log probabilities of its begin and its end.
        log_odds: Log of how much likelier the answer is than that no document has one.
    """

    document: int
    first: int
    ids: list[int]
    log_probability: float
    log_odds: float


class SpanHead(nn.Module):
    """Scores of every word as an answer's first and last one.

    Args:
        hidden_size: H.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden_size, 2)

    def forward(self, states: Tensor) -> Tensor:
        """Scores (..., 2) in float32 of beginning and ending at each word, of final states (..., H)."""
        scores: Tensor = self.score(states)
        return scores.float()


def span_log_probabilities(scores: Tensor, present: Tensor, priors: Tensor | None = None) -> Tensor:
    """Log probabilities (B, W, 2) of beginning and ending at each word; next to -inf where there is none.

    Args:
        scores: (B, W, 2) of `SpanHead`, of the words of each prompt's documents.
        present: (B, W) bool, True at opening tokens and words.
        priors: (B, W) log of how likely each word's document is before it was read; equally if None.
    """
    if priors is not None:
        scores = scores + priors.unsqueeze(-1)
    # not -inf, of which a prompt without documents would have nothing else, and so no gradient
    scores = scores.masked_fill(~present.unsqueeze(-1), torch.finfo(scores.dtype).min)
    return scores.log_softmax(dim=1)


def span_loss(
    log_probabilities: Tensor,
    documents: Sequence[Sequence[DocumentWords]],
    answers: Sequence[Sequence[int] | None],
) -> Tensor:
    """Mean loss of the prompts with an answer.

    An answer counts wherever it stands. An empty one is trained to be in no document; one that no document
    spells out has no loss.

    Args:
        log_probabilities: (B, W, 2) of `span_log_probabilities`.
        documents: Of each prompt.
        answers: Token ids of each prompt's answer, None where there is none to train.

    Returns:
        A scalar, half the negative log probability of begin and end.
    """
    rows: list[int] = []
    targets = torch.zeros(log_probabilities.shape, dtype=torch.bool)
    for row, (held, answer) in enumerate(zip(documents, answers, strict=True)):
        if answer is None:
            continue
        places = [place for document in held for place in _places(document, answer)]
        for first, last in places:
            targets[row, first, 0] = targets[row, last, 1] = True
        if places:
            rows.append(row)
    if not rows:
        return 0 * log_probabilities[:, :1].sum()
    chosen = log_probabilities[rows].masked_fill(~targets[rows].to(log_probabilities.device), -math.inf)
    count = sum(answer is not None for answer in answers)
    return -chosen.logsumexp(dim=1).mean(dim=1).sum() / count


def _places(document: DocumentWords, answer: Sequence[int]) -> list[tuple[int, int]]:
    return document.find(answer) if answer else [(document.start, document.start)]


def best_span(log_probabilities: Tensor, documents: Sequence[DocumentWords], max_words: int) -> Span | None:
    """The likeliest answer of one prompt; None if its documents have no words.

    Args:
        log_probabilities: (W, 2) of `span_log_probabilities`.
        documents: Of the prompt.
        max_words: Longest answer, if less than `LONGEST`.
    """
    max_words = min(max_words, LONGEST)
    best: tuple[float, int, int, int] | None = None
    for number, document in enumerate(documents):
        count = len(document.ids) - 2
        if count < 1:
            continue
        begins, ends = log_probabilities[document.start + 1 :][:count].unbind(dim=1)
        scores = begins.unsqueeze(1) + ends.unsqueeze(0)
        allowed = torch.ones_like(scores, dtype=torch.bool).triu().tril(max_words - 1)
        allowed[: document.title_end, document.title_end :] = False
        highest, at = scores.masked_fill(~allowed, -math.inf).flatten().max(dim=0)
        if best is None or float(highest) > best[0]:
            best = (float(highest), number, *divmod(int(at), count))
    if best is None:
        return None
    value, number, first, last = best
    openings = log_probabilities[[document.start for document in documents]].sum(dim=1)
    ids = documents[number].ids[first + 1 : last + 2]
    return Span(number, first + 1, ids, value / 2, value - float(openings.logsumexp(dim=0)))
