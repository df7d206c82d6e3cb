"""Memories of a corpus at one rate, in a store: computed once, searched and read as in use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clara.pipeline import Clara
from clara.records import Document, Passage
from clara.store import MemoryStore, NewDocument
from clara.store.scoring import best_of
from clara.store.search import RERANKED, explain

PASSAGES_AT_ONCE = 256


class CorpusIndex:
    """The passages of a corpus as memories.

    Args:
        clara: The model.
        store: Holds the passages' memories.
        numbers: Number in the corpus of each passage of the store, by the store's own number.
        rate: Text tokens per memory token; None for the model's own.
    """

    def __init__(self, clara: Clara, store: MemoryStore, numbers: dict[int, int], rate: int | None) -> None:
        self._clara = clara
        self._store = store
        self._numbers = numbers
        self._ids = {number: own for own, number in reversed(numbers.items())}
        self.rate = rate

    @classmethod
    def filled(
        cls,
        clara: Clara,
        folder: Path,
        passages: Sequence[str],
        rate: int | None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> CorpusIndex:
        """The index in a folder, of which what is missing is computed; killed, it goes on where it was.

        Args:
            clara: The model.
            folder: Of the store; made if missing.
            passages: The corpus. Each is one memory; what is beyond the model's document length is cut.
            rate: Text tokens per memory token; None for the model's own.
            progress: Called with the number of passages that are there.
        """
        store = MemoryStore.open_or_create(
            folder,
            fingerprint=f"{clara.fingerprint}-{rate or clara.model.config.compression_rate}",
            model=clara.name,
            memory_dim=clara.model.hidden_size,
            embedding_dim=clara.embedding_dim,
            precision=clara.precision,
        )
        stored = {document.source for document in store.documents()}
        missing = [number for number in range(len(passages)) if str(number) not in stored]
        for start in range(0, len(missing), PASSAGES_AT_ONCE):
            progress(len(passages) - len(missing) + start)
            chosen = missing[start : start + PASSAGES_AT_ONCE]
            memories, embeddings = clara.compress([passages[number] for number in chosen], rate=rate)
            store.add(
                NewDocument(
                    Document(str(number), str(number), (), ""),
                    [Passage(passages[number])],
                    [memories[at]],
                    None if embeddings is None else embeddings[at : at + 1],
                )
                for at, number in enumerate(chosen)
            )
        progress(len(passages))
        return cls(clara, store, {own: int(source) for own, source in _sources(store)}, rate)

    def search(self, question: str, k: int, among: Collection[int] | None = None) -> list[int]:
        """Numbers of the k passages whose memories score best, of all or of some."""
        query = self._clara.query(question, self.rate)
        vector = np.atleast_2d(query.vector).astype(np.float64)
        if self.rate is not None and self._store.embedding_dim is None:
            # a memory of a higher rate is the first slots of the whole one
            vector = vector[: max(1, self._clara.passage_tokens // self.rate)]
        with self._store.snapshot():
            table = self._store.vectors()
            if among is not None:
                wanted = {self._ids[number] for number in among}
                table = table.take(np.flatnonzero([own in wanted for own in table.ids.tolist()]))
            depth = k if query.rerank is None else max(k, RERANKED)
            ids, _ = best_of(table, vector / np.linalg.norm(vector), depth)
            if query.rerank is not None:
                scores = query.rerank(self._store.memories(ids.tolist()))
                ids = ids[np.lexsort((ids, -scores))][:k]
        return list(dict.fromkeys(self._numbers[own] for own in ids.tolist()))

    def found(self, question: str, k: int) -> list[int]:
        """Numbers of the k best passages as a user's search finds them (`Clara.search`)."""
        hits = self._clara.search(question, self._store, k)
        return list(dict.fromkeys(self._numbers[hit.stored.id] for hit in hits))

    def joined(self, question: str, k: int) -> list[int]:
        """Numbers of the k best passages, as `Clara.search` finds them when it joins a search by words."""
        query = self._clara.query(question, self.rate)
        found = explain(
            self._store,
            query.vector,
            k,
            question=question,
            rerank=query.rerank,
            fuse_reranked=self._clara.model.fuses_reranked,
        )
        return list(dict.fromkeys(self._numbers[hit.stored.id] for hit in found.hits))

    def scores(self, question: str, numbers: Sequence[int]) -> list[float] | None:
        """What a search gives passages for a question by the words of their memories; None if it does not."""
        rerank = self._clara.query(question, self.rate).rerank
        if rerank is None or not numbers:
            return None
        scores: list[float] = rerank(self.memories(numbers)).tolist()
        return scores

    def memories(self, numbers: Sequence[int]) -> list[NDArray[np.float16]]:
        """Memories (m, H) of passages."""
        return self._store.memories([self._ids[number] for number in numbers])

    def vectors(self, numbers: Sequence[int]) -> NDArray[np.float32]:
        """What the search compares of passages (n, W): their embeddings, or their memories in one line.

        Memories that are compared are all of one length.
        """
        with self._store.snapshot():
            table = self._store.vectors()
            place = {own: at for at, own in enumerate(table.ids.tolist())}
            rows = []
            for number in numbers:
                at = place[self._ids[number]]
                first, count = int(table.first[at]), int(table.count[at])
                rows.append(
                    np.array(table.rows(int(table.segment[at]))[first : first + count], np.float32).ravel()
                )
            return np.stack(rows)

    @property
    def memory_tokens(self) -> int:
        """Rows of all memories."""
        return self._store.info().memory_rows

    @property
    def bytes_per_passage(self) -> float:
        """Stored bytes of memory and embedding, per passage."""
        info = self._store.info()
        return (info.memory_bytes + info.embedding_bytes) / max(1, info.passages)

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def _sources(store: MemoryStore) -> list[tuple[int, str]]:
    """The number and the document of every passage of a store."""
    ids = store.vectors().ids.tolist()
    return [(passage.id, passage.source) for passage in store.passages(ids)]


def stored_passages(store: MemoryStore) -> list[tuple[int, str, str]]:
    """The number, the file and the content of every passage of a store."""
    ids = store.vectors().ids.tolist()
    return [(one.id, one.source, one.passage.content) for one in store.passages(ids)]
