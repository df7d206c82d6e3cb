"""Late interaction: a question's words matched with the words of documents, each in its context.

A document's score is the mean over the question's words of their highest cosine with any word of the
document; a word weighs as much as it tells documents apart. Where one vector for a whole passage blurs what
it names, this keeps it.

Source: ColBERT (Khattab and Zaharia, 2020). Differs from it: a document's word states are made from its
memory (`SegmentMemory.word_states`), and question words are weighted. Differs from the paper, whose score
compares memories slot by slot.

Shapes: B questions, T question tokens, N documents, W words of the longest, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clara.extractive.segments import WordStates
from clara.model.compression import length_mask


class LateInteraction(nn.Module):
    """Scores of documents for questions.

    Args:
        vocabulary_size: V.
    """

    importance: Tensor

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.register_buffer("importance", torch.ones(vocabulary_size))

    @torch.no_grad()
    def fit(self, texts: Sequence[Sequence[int]]) -> None:
        """Weigh every word by its inverse document frequency among texts, given as token ids."""
        holding = torch.zeros(len(self.importance))
        for text in texts:
            holding[list(set(text))] += 1
        self.importance.copy_(((len(texts) + 1) / (holding + 1)).log())

    def forward(self, questions: Tensor, lengths: Tensor, states: Tensor, documents: WordStates) -> Tensor:
        """Scores (B, N), float32, in [-1, 1].

        Args:
            questions: (B, T) token ids, padded on the right.
            lengths: (B,) tokens of each.
            states: (B, T, H) final states of the questions' tokens.
            documents: The words of N documents.
        """
        present = length_mask(lengths, questions.shape[1])
        weights = self.importance[questions].float() * present
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        cosines = documents.cosines(states[present])
        best = torch.stack([part.amax(dim=0) for part in cosines.split(documents.sizes)])
        scores = best.new_zeros(*present.shape, len(best)).masked_scatter(present.unsqueeze(-1), best.T)
        return torch.einsum("btn,bt->bn", scores, weights)
