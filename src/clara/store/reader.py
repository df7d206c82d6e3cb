"""An open store as all who read it see it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from clara.errors import StoreError, StoreMismatchError
from clara.models.stored import DATABASE
from clara.records import StoredDocument, StoredPassage
from clara.store.codebooks import StoreCodecs
from clara.store.codecs import Rows
from clara.store.database import SEARCHED, Database, Offsets, StoredReading
from clara.store.filters import Filter, unknown_field
from clara.store.lexical import MOST_LOOKED_UP, match_expression, rarest_terms
from clara.store.lock import WriterLock
from clara.store.offsets import OffsetsFile
from clara.store.schema import SEGMENTS
from clara.store.scoring import VectorTable
from clara.store.segments import Segment, SegmentFiles
from clara.store.validation import EMBEDDINGS, MEMORIES

logger = logging.getLogger(__name__)

_WORTH_KEEPING = 10_000  # offsets that are read from the database in some hundredths of a second

_FILTERS_KEPT = 8

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A summary of a store; all sizes are in bytes.

    Attributes:
        path: The store's folder.
        model: Name of the model that wrote it.
        fingerprint: Fingerprint of that model.
        created: When it was made, seconds since the epoch.
        memory_dim: Dimension of a row of a memory.
        embedding_dim: Dimension of an embedding; None without embeddings.
        documents: Number of documents.
        passages: Number of passages.
        memory_rows: Number of rows of all their memories.
        memory_bytes: Size of those rows.
        embedding_bytes: Size of the embeddings.
        database_bytes: Size of texts and tables.
        dead_bytes: Size of memories and embeddings of documents that were replaced or removed.
        copies: Files that have the bytes of a document and are stored once with it.
        memory_dtype: How memories are kept.
        rate: Text tokens per memory token; None for the model's own rate.
        precision: Type that the memories were computed in; None if unknown.
        format: Version of the store's format.
    """

    path: Path
    model: str
    fingerprint: str
    created: float
    memory_dim: int
    embedding_dim: int | None
    documents: int
    passages: int
    memory_rows: int
    memory_bytes: int
    embedding_bytes: int
    database_bytes: int
    dead_bytes: int
    copies: int
    memory_dtype: str
    rate: int | None
    precision: str | None
    format: int


class StoreReader:
    """What can be read of a store; `MemoryStore` opens and writes it."""

    def __init__(self, folder: Path, lock: WriterLock | None, max_segment_bytes: int) -> None:
        """Open the store in `folder`; with its lock for writing, and the store then releases it."""
        self._folder = folder
        self._lock = lock
        self._max_segment_bytes = max_segment_bytes
        self._is_open = True
        self._cached: tuple[int, VectorTable] | None = None
        self._counts: tuple[int, dict[str, int]] = (0, {})
        self._filtered: tuple[int, dict[Filter, NDArray[np.int64]]] = (0, {})
        self._database = Database(folder / DATABASE, read_only=lock is None)
        self._manifest = self._database.manifest
        self._memory_dtype = self._manifest.memory_dtype
        self._codecs = StoreCodecs(self._database, self.memory_dim)
        sizes = {MEMORIES: self.memory_dim} | ({EMBEDDINGS: self.embedding_dim} if self.embedding_dim else {})
        self._files = {
            kind: SegmentFiles(folder / SEGMENTS, kind, partial(self._codecs.get, size))
            for kind, size in sizes.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; calling it again does nothing."""
        if self._is_open:
            if self._lock is not None:
                self._keep_offsets()
            self._is_open = False
            self._cached = None
            for files in self._files.values():
                files.close()
            self._database.close()
            if self._lock is not None:
                self._lock.release()

    # what the store is

    @property
    def path(self) -> Path:
        """The store's folder."""
        return self._folder

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model that wrote the store."""
        return self._manifest.fingerprint

    @property
    def model(self) -> str:
        """Name of that model."""
        return self._manifest.model

    @property
    def memory_dim(self) -> int:
        """Dimension of a row of a memory."""
        return self._manifest.memory_dim

    @property
    def embedding_dim(self) -> int | None:
        """Dimension of an embedding; None if the store has no embeddings."""
        return self._manifest.embedding_dim

    @property
    def memory_dtype(self) -> str:
        """How memories are kept, one of `codecs.MEMORY_DTYPES`."""
        return self._memory_dtype

    @property
    def rate(self) -> int | None:
        """Text tokens per memory token; None for the model's own rate."""
        return self._manifest.rate

    @property
    def precision(self) -> str | None:
        """Type that the memories were computed in; None if unknown."""
        return self._manifest.precision

    @property
    def read_only(self) -> bool:
        """Whether the store was opened for reading only."""
        return self._lock is None

    @property
    def num_passages(self) -> int:
        """Number of passages now."""
        with self.snapshot():
            return self._database.totals().passages

    def check_model(self, fingerprint: str) -> None:
        """Make sure that a model is the one that wrote the store.

        Raises:
            StoreMismatchError: It is another.
        """
        if fingerprint != self.fingerprint:
            raise StoreMismatchError(
                f"The store {self._folder} was written by the model {self.model} (fingerprint "
                f"{_short(self.fingerprint)}) and not by the one in use ({_short(fingerprint)}); load that "
                "model with --model, or index into a new store."
            )

    def info(self) -> StoreInfo:
        """A summary of the store."""
        with self.snapshot():
            totals = self._database.totals()
            live = {MEMORIES: self._database.live_rows(), EMBEDDINGS: dict[int, int]()}
            if EMBEDDINGS in self._files:
                live[EMBEDDINGS] = self._database.live_embeddings()
            segments = {kind: self._database.segments(kind) for kind in self._files}
            copies = len(self._database.copies())
        sizes = {
            kind: sum(
                rows * files.codec(segments[kind][number].codec).row_bytes
                for number, rows in live[kind].items()
            )
            for kind, files in self._files.items()
        }
        stored = sum(files.bytes(segments[kind]) for kind, files in self._files.items())
        return StoreInfo(
            path=self._folder,
            model=self.model,
            fingerprint=self.fingerprint,
            created=self._manifest.created,
            memory_dim=self.memory_dim,
            embedding_dim=self.embedding_dim,
            documents=totals.documents,
            passages=totals.passages,
            memory_rows=totals.memory_rows,
            memory_bytes=sizes[MEMORIES],
            embedding_bytes=sizes.get(EMBEDDINGS, 0),
            database_bytes=sum(each.stat().st_size for each in self._folder.glob(f"{DATABASE}*")),
            dead_bytes=stored - sum(sizes.values()),
            copies=copies,
            memory_dtype=self.memory_dtype,
            rate=self.rate,
            precision=self.precision,
            format=self._manifest.format,
        )

    # reading

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All calls within the block see the store at the same moment, whatever a writer does meanwhile.

        Raises:
            StoreError: The store is closed.
        """
        if not self._is_open:
            raise StoreError(f"The store {self._folder} is closed; open it again.")
        with self._database.snapshot():
            yield

    def documents(self) -> list[StoredDocument]:
        """All documents, by source."""
        with self.snapshot():
            return self._database.documents()

    def sources(self) -> dict[str, str]:
        """The hash of every file that is stored, as a document or as a copy of one, by its name."""
        with self.snapshot():
            return self._database.sources()

    def copies(self) -> list[tuple[str, str, float]]:
        """Files that are stored once with a document: name, document, time of change; by name."""
        with self.snapshot():
            return self._database.copies()

    def readings(self) -> dict[str, StoredReading]:
        """By which readers every file was read and what was left out, by its name, as far as known."""
        with self.snapshot():
            return self._database.readings()

    def passages_of(self, source: str, sha256: str = "") -> list[StoredPassage]:
        """The passages of a document, in order; none if it is not stored.

        Args:
            source: The document's name.
            sha256: If no document has this name, take the one whose file has this hash.
        """
        with self.snapshot():
            return self._database.passages_of(source, sha256)

    def around(self, passage_id: int, count: int) -> list[StoredPassage]:
        """A passage with up to `count` before and after it in its document, in order.

        Raises:
            StoreError: There is no such passage; it may have been removed.
        """
        with self.snapshot():
            neighbours = self._database.around(passage_id, count)
            self._in_order([passage_id], {stored.id: stored for stored in neighbours})
            return neighbours

    def passages(self, ids: Sequence[int]) -> list[StoredPassage]:
        """The passages with these ids, in that order.

        Raises:
            StoreError: There is no such passage; it may have been removed.
        """
        with self.snapshot():
            return self._in_order(ids, self._database.passages(ids))

    def memories(self, ids: Sequence[int]) -> list[Rows]:
        """Copies of these passages' memories in that order, float16, each of shape (m, memory_dim).

        Raises:
            StoreError: There is no such passage; it may have been removed.
        """
        with self.snapshot():
            found = self._in_order(ids, self._database.offsets(ids))
            return [self._memory(offsets).copy() for offsets in found]

    def embeddings(self, ids: Sequence[int]) -> Rows:
        """Copies of these passages' embeddings in that order, float16, shape (n, embedding_dim).

        Raises:
            StoreError: There is no such passage, or the store has no embeddings.
        """
        if self.embedding_dim is None:
            raise StoreError(f"The store {self._folder} has no embeddings; it is searched by its memories.")
        with self.snapshot():
            found = self._in_order(ids, self._database.offsets(ids))
            segments = self._database.segments(EMBEDDINGS)
            vectors = np.empty((len(ids), self.embedding_dim), np.float16)
            for at, offsets in enumerate(found):
                number, first = offsets.embedding_segment or 0, offsets.embedding_row or 0
                rows = self._files[EMBEDDINGS].rows(number, segments[number])
                vectors[at] = rows[first : first + 1][0]
            return vectors

    def vectors(self) -> VectorTable:
        """What `search` compares: the passages' embeddings, or their memories if the store has no embeddings.

        It is built once for each state of the store; use it within `snapshot`.
        """
        with self.snapshot():
            generation = self._database.generation()
            if self._cached is None or self._cached[0] != generation:
                self._cached = (generation, self._load_vectors())
            return self._cached[1]

    # for searching

    @property
    def created(self) -> float:
        """When the store was made, seconds since the epoch."""
        return self._manifest.created

    def generation(self) -> int:
        """A number that grows with every change of the store."""
        with self.snapshot():
            return self._database.generation()

    def filtered(self, where: Filter) -> NDArray[np.int64]:
        """Ids of the passages that a filter allows, ascending; those of the last filters are kept.

        Raises:
            InputError: The filter asks for a field that no passage has.
        """
        with self.snapshot():
            generation = self._database.generation()
            if self._filtered[0] != generation:
                self._filtered = (generation, {})
            kept = self._filtered[1]
            if where not in kept:
                if len(kept) == _FILTERS_KEPT:
                    del kept[next(iter(kept))]
                ids = self._database.filtered(where)
                self._check_fields(where, is_any_found=len(ids) > 0)
                ids.flags.writeable = False
                kept[where] = ids
            return kept[where]

    def _check_fields(self, where: Filter, *, is_any_found: bool) -> None:
        """Make sure that some passage has each field of the metadata that a filter asks for.

        What was found has all fields but those that it is to be unequal in; they alone are looked for then.
        """
        for condition in where.conditions:
            is_sure = is_any_found and condition.operator != "!="
            if not condition.is_of_metadata or is_sure or self._database.has_field(condition.name):
                continue
            if self._database.totals().passages:
                raise unknown_field(condition, self._database.fields())

    def lexical(
        self, terms: Sequence[str], limit: int, allowed: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Ids and BM25 scores of the passages that have any of these terms, best first.

        In a large store common terms are left out (`clara.store.lexical.rarest_terms`), since ranking all of
        their passages takes longer than the rest of a search.

        Args:
            terms: As of `clara.store.lexical.query_terms`; none matches nothing.
            limit: How many to return, if there are as many.
            allowed: Ids of the passages that may be returned, ascending; None for all.

        Raises:
            StoreError: The store is of a format that has no index of words.
        """
        with self.snapshot():
            if len(self.vectors().ids) > MOST_LOOKED_UP:
                terms = rarest_terms(self._term_counts(terms), MOST_LOOKED_UP)
            return self._database.lexical(match_expression(terms), limit, allowed)

    def _term_counts(self, terms: Sequence[str]) -> dict[str, int]:
        """How many passages have each term; counts are kept while the store does not change."""
        generation = self._database.generation()
        if self._counts[0] != generation:
            self._counts = (generation, {})
        known = self._counts[1]
        for term in terms:
            if term not in known:
                known[term] = self._database.count(match_expression([term]))
        return {term: known[term] for term in terms}

    def _memory(self, offsets: Offsets, segments: Mapping[int, Segment] | None = None) -> Rows:
        segments = segments or self._database.segments(MEMORIES)
        rows = self._files[MEMORIES].rows(offsets.memory_segment, segments[offsets.memory_segment])
        return rows[offsets.memory_row : offsets.memory_row + offsets.memory_rows]

    def _load_vectors(self) -> VectorTable:
        kind = MEMORIES if self.embedding_dim is None else EMBEDDINGS
        files, segments = self._files[kind], self._database.segments(kind)
        for each, its_files in self._files.items():
            its_files.forget(self._database.segments(each))
        known, newer = self._offsets()
        offsets = np.concatenate([known, newer]) if len(newer) else known
        ids, segment, first, count, norm = (
            np.ascontiguousarray(offsets[column]) for column in SEARCHED.names or ()
        )
        return VectorTable(
            ids, segment, first, count, norm, lambda number: files.rows(number, segments[number])
        )

    def _offsets(self) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """The offsets of the searched vectors: those in the file of offsets, and newer ones."""
        name, removals = self._database.offsets_name(), self._database.removals()
        known = OffsetsFile(self._folder).read(name, removals) if name else np.empty(0, SEARCHED)
        last = int(known["id"][-1]) if len(known) else 0
        return known, self._database.searched(self.embedding_dim is None, after=last)

    def _keep_offsets(self) -> None:
        """Write down what `vectors` asked the database for, if that was much."""
        try:
            with self.snapshot():
                known, newer = self._offsets()
                removals = self._database.removals()
            if len(newer) > _WORTH_KEEPING:
                name = OffsetsFile(self._folder).write(removals, np.concatenate([known, newer]))
                self._database.keep_offsets(name)
        except StoreError as error:  # the database has it all
            logger.warning("%s", error)

    def _in_order(self, ids: Sequence[int], found: Mapping[int, _T]) -> list[_T]:
        try:
            return [found[number] for number in ids]
        except KeyError as error:
            raise StoreError(
                f"The store {self._folder} has no passage {error}; it may have been removed, so search again."
            ) from error


def _short(fingerprint: str) -> str:
    return fingerprint[:12]
