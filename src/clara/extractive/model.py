"""ExtractiveModel: a text encoder that answers with spans of the passages whose words its memories hold.

Shapes: B rows, D documents, T tokens, M memory tokens, H hidden, N candidates, K selected, Q questions, W
words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import AutoModel

from clara import roles
from clara.errors import InputError
from clara.extractive import cross_encoder
from clara.extractive.configuration import ExtractiveConfig
from clara.extractive.late_interaction import LateInteraction
from clara.extractive.segments import SegmentMemory
from clara.extractive.spans import DocumentWords, Span, SpanHead, best_span, span_log_probabilities, span_loss
from clara.model.compression import Memories
from clara.model.generation import Written
from clara.model.modeling import ClaraModel, ClaraOutput
from clara.model.prompts import PromptBatch

UNANSWERED = -100.0
"""Confidence in the empty answer to a prompt without documents."""

_READS_ONLY = ("from_context.",)
"""Weights of the memory that only read it."""


@dataclass
class SpanOutput(ClaraOutput):
    """Result of `ExtractiveModel.forward`.

    Attributes:
        words: Log probabilities (Q, W, 2) of beginning and ending at each word, a row for every question.
        documents: Where the documents of each row stand among its words.
    """

    words: Tensor = None  # type: ignore[assignment]
    documents: list[list[DocumentWords]] = None  # type: ignore[assignment]


class ExtractiveModel(ClaraModel):
    """A text encoder with the roles of a `ClaraModel`, a memory of words and a head that scores spans.

    Args:
        config: The model's choices.
        base: As for `ClaraModel`.
    """

    config_class: ClassVar[type[ExtractiveConfig]] = ExtractiveConfig  # type: ignore[misc]
    config: ExtractiveConfig
    answers_at_once: ClassVar[bool] = True
    offers_rates: ClassVar[bool] = False

    memory: SegmentMemory
    span_head: SpanHead

    def add_modules(self) -> None:
        size, vocabulary = self.hidden_size, self.config.text_config
        self.memory = SegmentMemory(size, vocabulary.pad_token_id or 0).to(self.base.dtype)
        self.span_head = SpanHead(size).to(self.base.dtype)
        self.matching = LateInteraction(vocabulary.vocab_size) if self.config.score == "words" else None
        self._read_before: dict[str | None, cross_encoder.Known] | None = None

    # -- what a model of this kind offers ------------------------------------------------------------

    @property
    def joins_lexical(self) -> bool:
        return self.config.score in ("text", "words")

    def num_memory_tokens(self, rate: int | None) -> int | None:
        if rate is not None and rate < 1:
            raise InputError(f"The rate is {rate}, but this model's memories begin at 1.")
        return None

    @property
    def reads_scores(self) -> bool:
        return bool(self.config.prior_weight)

    def memory_modules(self) -> dict[str, dict[str, Tensor]]:
        state = self.memory.state_dict().items()
        return {"memory": {name: tensor for name, tensor in state if not name.startswith(_READS_ONLY)}}

    def trained_modules(self) -> list[nn.Module]:
        return [self.memory]

    def reading_modules(self) -> list[nn.Module]:
        return [self.span_head]

    def train_memory_tokens(self) -> None:
        """Nothing: the learned embedding is a parameter of `memory`."""

    def spelled_tokens(self, memory: Tensor, rate: int) -> list[list[tuple[int, float]]]:
        numbers = self.memory.numbers(memory, rate)
        ids, _ = self.memory.unpack(memory, rate, self.input_rows)
        spelled = self.memory.spell(self.input_rows[ids], rate)
        cosines = torch.nn.functional.cosine_similarity(numbers[: len(ids)], spelled)
        words = list(zip(ids.tolist(), cosines.tolist(), strict=True))
        each = len(numbers) // len(memory)
        return [words[start : start + each] for start in range(0, len(words), each)]

    # -- search --------------------------------------------------------------------------------------

    def encode_query(
        self, ids: Tensor, lengths: Tensor, num_memory_tokens: int | None = None, rate: int | None = None
    ) -> Memories:
        if self.config.score in ("text", "words"):
            rate = ids.shape[1]  # only the text's own states count: one memory token is the cheapest
        return super().encode_query(ids, lengths, num_memory_tokens, rate)

    @property
    def reranks(self) -> bool:
        return self.matching is not None

    def rerank(
        self,
        ids: Tensor,
        lengths: Tensor,
        queries: Memories,
        documents: Sequence[Tensor],
        rate: int | None = None,
    ) -> Tensor:
        """Scores (B, N), float32, of documents by matching a question's words with theirs.

        Arguments as for `ClaraModel.rerank`.
        """
        assert self.matching is not None
        assert queries.states is not None
        words = self.memory.word_states(documents, rate or self.config.compression_rate, self.input_rows)
        return cast(Tensor, self.matching(ids, lengths, queries.states, words))

    def _memorise(
        self, name: str, ids: Tensor, lengths: Tensor, num_memory_tokens: int | None, rate: int | None
    ) -> Memories:
        def read(embeddings: Tensor, positions: Tensor, visible: Tensor | None) -> Tensor:
            return self._read(embeddings, positions, visible, name)

        embed = self.base.get_input_embeddings()
        return self.memory.compress(read, embed, ids, lengths, rate or self.config.compression_rate)

    # -- reading -------------------------------------------------------------------------------------

    def mix_selected(self, weights: Tensor, indices: Tensor, memories: Tensor) -> Tensor:
        """The selected memories as they are: mixed words mean nothing; gradients go through the priors."""
        return memories.gather(1, indices[..., None, None].expand(-1, -1, *memories.shape[2:]))

    def document_priors(self, scores: Sequence[Tensor]) -> list[Tensor]:
        """The softmax of the selected scores: where the answer stands tells which document should have scored
        higher (retrieval as a latent variable, as in REALM, Guu et al. 2020)."""
        return [(own / self.config.selection_temperature).log_softmax(dim=0) for own in scores]

    @torch.inference_mode()
    def write(
        self,
        prompts: PromptBatch,
        memories: Sequence[Tensor] | None,
        *,
        end_token_id: int,
        max_new_tokens: int,
        role: str | None = roles.GENERATOR,
        scores: Sequence[Sequence[float]] | None = None,
    ) -> list[Written]:
        weight = self.config.prior_weight
        priors = None
        if scores is not None and weight:
            priors = [weight * torch.tensor(own, device=self.device) for own in scores]
        output = self(prompts, memories, role=role, priors=priors)
        written = []
        asked = cross_encoder.questions(prompts)
        for question, span, held in zip(asked, _best(output, max_new_tokens), output.documents, strict=True):
            # every document is read behind the question; a memory as the words that it spells
            positions = sum(len(question.ids) + len(document.ids) for document in held)
            written.append(
                Written(span.ids, span.log_odds, span.document, positions)
                if span
                else Written([], UNANSWERED, None, positions)
            )
        return written

    def forward(
        self,
        prompts: PromptBatch,
        memories: Sequence[Tensor] | None = None,
        use_cache: bool = False,
        role: str | None = roles.GENERATOR,
        priors: Sequence[Tensor] | None = None,
    ) -> SpanOutput:
        """Every document read together with every question of its prompt (`clara.extractive.cross_encoder`).

        Args:
            prompts: The prompts.
            memories: As for `ClaraModel.forward`.
            use_cache: Ignored; nothing is written token by token.
            role: As for `ClaraModel.forward`.
            priors: For each question (n,) log of how likely each of its documents is before it is read.

        Raises:
            PromptError: Slots and memories disagree.
        """
        head = self.span_head
        embed = cast(nn.Embedding, self.base.get_input_embeddings())
        asked = cross_encoder.questions(prompts)
        documents = cross_encoder.read_documents(prompts, embed, self.memory, memories)

        def read(embeddings: Tensor, positions: Tensor, visible: Tensor, segments: Tensor) -> Tensor:
            return cast(Tensor, head(self._read(embeddings, positions, visible, role, segments=segments)))

        limit = getattr(self.config.text_config, "max_position_embeddings", None)
        known = None if self._read_before is None else self._read_before.setdefault(role, {})
        scores, present, places = cross_encoder.words_of_prompts(asked, documents, embed, read, limit, known)
        words = span_log_probabilities(
            scores,
            present,
            None if priors is None else cross_encoder.of_words(priors, places, scores.shape[1]),
        )
        output = SpanOutput(words=words, documents=places)
        if prompts.targets is not None:
            output.loss = span_loss(words, places, [question.answer for question in asked])
        return output

    @contextmanager
    def reading_once(self) -> Iterator[None]:
        """Read no document behind the same question twice.

        For one set of questions under many conditions. A memory counts as the text that it spells, since it
        is read alike. The scores, 8 bytes a word, are kept to the end, and weights must stay as they are.
        """
        self._read_before = {}
        try:
            yield
        finally:
            self._read_before = None


def _best(output: SpanOutput, max_words: int) -> list[Span | None]:
    """The likeliest span of each question."""
    scores = output.words.cpu()
    return [best_span(row, held, max_words) for row, held in zip(scores, output.documents, strict=True)]


AutoModel.register(ExtractiveConfig, ExtractiveModel, exist_ok=True)
