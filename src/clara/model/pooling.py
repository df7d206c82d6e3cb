"""Pooled memories: one memory token per r text tokens, the mean of their states after a middle layer.

A causal model reads a document before the question, so the document's states do not depend on the question.
After the lower layers, which an adapter (the compressor) has trained to make them fit for it, r neighbouring
states are averaged; the mean is what the upper layers read in the place of the r states. At r = 1 reading
memories is reading text.

Source: mean pooling as in *No Mean Feat* (arXiv 2510.20797). It differs in that memories enter after
`memory_layer` and not at the input embeddings: there, memories of 4 tokens were hardly read at all. Differs
from the paper, where M learned tokens are appended and the memory has a fixed length.

Shapes: D documents, T text tokens, M memory tokens of the longest document, H hidden, S search size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clara.model.compression import Memories, length_mask


class PooledMemory(nn.Module):
    """Memories from states, and the vectors that memories are searched by.

    Args:
        hidden_size: H.
        search_size: S.
    """

    def __init__(self, hidden_size: int, search_size: int) -> None:
        super().__init__()
        self.residual = nn.Linear(hidden_size, hidden_size, bias=False)
        nn.init.zeros_(self.residual.weight)
        self.document_projection = nn.Linear(hidden_size, search_size, bias=False)
        self.query_projection = nn.Linear(hidden_size, search_size, bias=False)
        nn.init.orthogonal_(self.document_projection.weight)
        with torch.no_grad():
            self.query_projection.weight.copy_(self.document_projection.weight)

    def pool(self, states: Tensor, lengths: Tensor, rate: int) -> Memories:
        """Memories of ceil(t / rate) tokens.

        A memory token is u * n + R(u * sqrt(H)): u is the unit vector of the mean state, n the mean norm of
        the states (the mean of unlike vectors is shorter than they are), R the learned residual.

        Args:
            states: (D, T, H) of the documents' tokens, padded on the right.
            lengths: (D,) tokens of each.
            rate: Text tokens per memory token.
        """
        present = length_mask(lengths, states.shape[1])
        fill = -states.shape[1] % rate
        groups = F.pad(states.float(), (0, 0, 0, fill)).unflatten(1, (-1, rate))
        held = F.pad(present, (0, fill)).unflatten(1, (-1, rate)).float()
        sizes = held.sum(dim=-1).clamp(min=1)
        mean = torch.einsum("dmrh,dmr->dmh", groups, held) / sizes.unsqueeze(-1)
        norm = (groups.norm(dim=-1) * held).sum(dim=-1) / sizes
        unit = F.normalize(mean, dim=-1)
        added = self.residual((unit * unit.shape[-1] ** 0.5).to(self.residual.weight.dtype)).float()
        counts = (lengths + rate - 1) // rate
        here = length_mask(counts, mean.shape[1])
        vectors = (unit * norm.unsqueeze(-1) + added) * here.unsqueeze(-1)
        text = present.to(torch.float32)
        return Memories(
            vectors=vectors,
            lengths=counts,
            weights=here / counts.unsqueeze(1),
            text_means=torch.einsum("dt,dth->dh", text, states.float()) / lengths.unsqueeze(1),
        )

    def document_embedding(self, memories: Memories) -> Tensor:
        """(D, S) unit vectors: the projected mean of a memory's directions."""
        return _embedding(self.document_projection, memories)

    def query_embedding(self, queries: Memories) -> Tensor:
        """(B, S) unit vectors of questions, whose `vectors` are the states of their tokens."""
        return _embedding(self.query_projection, queries)

    def late_interaction(self, queries: Memories, documents: Memories) -> Tensor:
        """(B, D) scores in [-1, 1]: the mean over a question's tokens of the best cosine with a memory token.

        Source: ColBERT (Khattab and Zaharia, 2020), over compressed tokens.
        """
        asked = _directions(self.query_projection, queries.vectors)
        stored = _directions(self.document_projection, documents.vectors)
        with torch.autocast(asked.device.type, enabled=False):
            cosines = torch.einsum("bth,dmh->btdm", asked, stored)
        hidden = ~length_mask(documents.lengths, stored.shape[1])
        best = cosines.masked_fill(hidden, -1.0).amax(dim=-1)
        held = length_mask(queries.lengths, asked.shape[1]).float()
        return torch.einsum("btd,bt->bd", best, held / queries.lengths.unsqueeze(1))


def stacked(memories: list[Tensor]) -> Memories:
    """Memories (m, H) of several documents as one batch."""
    lengths = torch.tensor([len(memory) for memory in memories], device=memories[0].device)
    vectors = nn.utils.rnn.pad_sequence(memories, batch_first=True)
    here = length_mask(lengths, vectors.shape[1])
    return Memories(vectors, lengths, here / lengths.unsqueeze(1), vectors.float().mean(dim=1))


def _directions(projection: nn.Linear, vectors: Tensor) -> Tensor:
    unit = F.normalize(vectors.float(), dim=-1)
    return F.normalize(projection(unit.to(projection.weight.dtype)).float(), dim=-1)


def _embedding(projection: nn.Linear, memories: Memories) -> Tensor:
    unit = F.normalize(memories.vectors.float(), dim=-1)
    mean = torch.einsum("dm,dmh->dh", memories.weights.float(), unit)
    return F.normalize(projection(mean.to(projection.weight.dtype)).float(), dim=-1)
