"""The memory store: documents' passages with their memories and keys, in one folder.

    store.sqlite3                   texts, and which rows of the segments belong to what; the commit point
    segments/memories-000001.f16    rows of memories, coded as the ending says (`clara.store.codecs`)
    segments/keys-000001.f16        keys, float16, if the store has keys
    places.npz                      where the searched vectors lie, so that opening need not ask the database
    index/                          finds candidates among millions (`clara.store.index`), if it was built
    lock                            held by the one writer
    readers                         held by those who read, while files are deleted

An addition writes and syncs the segments first and then commits the database. A writer that is killed between
the two leaves rows behind that nothing refers to, and the next writer cuts them off.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError, StoreError, StoreMismatchError
from clara.records import Document, Passage, StoredDocument, StoredPassage
from clara.store.codecs import (
    LEARNED,
    TRAINING_ROWS,
    ProductCodec,
    RowCodec,
    Rows,
    check_memory_dtype,
    plain_codec,
)
from clara.store.database import (
    SEARCHED,
    Database,
    Manifest,
    Place,
    create_database,
    unfinished_files,
)
from clara.store.filters import Filter
from clara.store.lock import LOCK_NAME, READERS_NAME, ReaderLock, WriterLock
from clara.store.places import PlacesFile
from clara.store.segments import Appender, Block, Segment, SegmentFiles, sync_folder
from clara.store.vectors import VectorTable

logger = logging.getLogger(__name__)

DEFAULT_SEGMENT_BYTES = 1 << 30

_MOVED_AT_ONCE = 256
_WORTH_KEEPING = 10_000  # places that are asked of the database in some hundredths of a second

_DATABASE = "store.sqlite3"
_SEGMENTS = "segments"
_MEMORIES = "memories"
_KEYS = "keys"

StorePath = str | os.PathLike[str]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to add, with what the model made of its passages.

    Attributes:
        document: The document; its sections are not stored.
        passages: Its n passages.
        memories: Their memories, float16 or float32, each of shape (m, memory_size) with its own m >= 1; or
            the number of a stored passage whose memory and key this one shares, its own key being ignored.
        keys: Their keys, float16 or float32, shape (n, key_size), of any length but zero; None for a store
            without keys.
    """

    document: Document
    passages: Sequence[Passage]
    memories: Sequence[NDArray[np.floating] | int]
    keys: NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A store in numbers; all sizes are in bytes.

    Attributes:
        path: The store's folder.
        model: Name of the model that wrote it.
        fingerprint: Fingerprint of that model.
        created: When it was made, seconds since the epoch.
        memory_size: Numbers in a row of a memory.
        key_size: Numbers in a key; None without keys.
        documents: Number of documents.
        passages: Number of passages.
        memory_rows: Number of rows of all their memories.
        memory_bytes: Size of those rows.
        key_bytes: Size of the keys.
        database_bytes: Size of texts and tables.
        dead_bytes: Size of memories and keys of documents that were replaced or removed.
        copies: Files that have the bytes of a document and are stored once with it.
        memory_dtype: How memories are kept.
        format: Version of the store's format.
    """

    path: Path
    model: str
    fingerprint: str
    created: float
    memory_size: int
    key_size: int | None
    documents: int
    passages: int
    memory_rows: int
    memory_bytes: int
    key_bytes: int
    database_bytes: int
    dead_bytes: int
    copies: int
    memory_dtype: str
    format: int


@dataclass(frozen=True, slots=True)
class _Vectors:
    """A new document's vectors, checked; in the place of a memory where it lies already."""

    memories: list[Rows | Place]
    keys: Rows | None


class MemoryStore:
    """An open store. Make one with `create`, `open` or `open_or_create`, and close it or use it in `with`.

    One writer at a time and any number of readers may have a store open. Each call sees the store at one
    moment; `snapshot` makes several calls see the same. Threads may share a store; their calls take turns.
    """

    def __init__(self, folder: Path, lock: WriterLock | None, max_segment_bytes: int) -> None:
        """Open the store in `folder`; with its lock for writing, and the store then releases it."""
        self._folder = folder
        self._lock = lock
        self._max_segment_bytes = max_segment_bytes
        self._is_open = True
        self._cached: tuple[int, VectorTable] | None = None
        self._codecs: dict[tuple[str, int], RowCodec] = {}
        self._readers = ReaderLock(folder)
        self._database = Database(folder / _DATABASE, read_only=lock is None)
        self._manifest = self._database.manifest
        self._memory_dtype = self._manifest.memory_dtype
        sizes = {_MEMORIES: self.memory_size} | ({_KEYS: self.key_size} if self.key_size else {})
        self._files = {
            kind: SegmentFiles(folder / _SEGMENTS, kind, partial(self._codec, size))
            for kind, size in sizes.items()
        }

    @classmethod
    def create(
        cls,
        path: StorePath,
        *,
        fingerprint: str,
        model: str,
        memory_size: int,
        key_size: int | None,
        memory_dtype: str = "float16",
        max_segment_bytes: int = DEFAULT_SEGMENT_BYTES,
    ) -> Self:
        """Make an empty store and open it for writing.

        Args:
            path: The folder; made if it is missing, and empty otherwise.
            fingerprint: Tells the model that writes the store from all others.
            model: The model's name, for messages.
            memory_size: Numbers in a row of a memory.
            key_size: Numbers in a key; None for a store that is searched by its memories.
            memory_dtype: How memories are kept, one of `codecs.MEMORY_DTYPES`.
            max_segment_bytes: A file of vectors is not continued beyond this size.

        Raises:
            StoreError: The folder holds a store or other files, or cannot be written.
            InputError: A size is below 1, or there is no such dtype.
        """
        check_memory_dtype(memory_dtype)
        for name, size in (("memory_size", memory_size), ("key_size", key_size)):
            if size is not None and size < 1:
                raise InputError(f"{name} is {size}; it must be at least 1.")
        folder = Path(path)
        _make_folder(folder)
        _check_empty(folder)  # before the lock leaves its file in a folder that is someone else's
        lock = WriterLock(folder)
        try:
            _check_empty(folder)
            manifest = Manifest(fingerprint, model, memory_size, key_size, time.time(), memory_dtype)
            (folder / _SEGMENTS).mkdir(exist_ok=True)
            create_database(folder / _DATABASE, manifest)
            sync_folder(folder)
            return cls(folder, lock, max_segment_bytes)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(
        cls,
        path: StorePath,
        *,
        fingerprint: str | None = None,
        read_only: bool = False,
        damaged: bool = False,
        max_segment_bytes: int = DEFAULT_SEGMENT_BYTES,
    ) -> Self:
        """Open a store that exists.

        Args:
            path: The store's folder.
            fingerprint: The fingerprint of the model in use; None to accept any, as for showing texts only.
            read_only: Whether to leave writing to others; otherwise no one else can write meanwhile.
            damaged: Whether to open it even if files of vectors are missing or too short, to `check` it.
            max_segment_bytes: A file of vectors is not continued beyond this size.

        Raises:
            StoreError: There is no store, it is damaged or of a newer format, or another writer has it open.
            StoreMismatchError: Another model wrote it.
        """
        folder = Path(path)
        if not (folder / _DATABASE).is_file():
            raise StoreError(f"There is no memory store at {folder}; index some documents into it first.")
        lock = None if read_only else WriterLock(folder)
        try:
            store = cls(folder, lock, max_segment_bytes)
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        try:
            if fingerprint is not None:
                store.check_model(fingerprint)
            if not damaged:
                store._check_files()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open_or_create(
        cls,
        path: StorePath,
        *,
        fingerprint: str,
        model: str,
        memory_size: int,
        key_size: int | None,
        memory_dtype: str | None = None,
        max_segment_bytes: int = DEFAULT_SEGMENT_BYTES,
    ) -> Self:
        """Open a store for writing, or make it if there is none; see `create` and `open`.

        Raises:
            StoreMismatchError: Also if the store's sizes are not those given.
        """
        if not (Path(path) / _DATABASE).exists():
            return cls.create(
                path,
                fingerprint=fingerprint,
                model=model,
                memory_size=memory_size,
                key_size=key_size,
                memory_dtype=memory_dtype or "float16",
                max_segment_bytes=max_segment_bytes,
            )
        store = cls.open(path, fingerprint=fingerprint, max_segment_bytes=max_segment_bytes)
        if (store.memory_size, store.key_size) != (memory_size, key_size):
            sizes = f"memory_size {store.memory_size} and key_size {store.key_size}"
            store.close()
            raise StoreMismatchError(
                f"The store {path} has {sizes}, not {memory_size} and {key_size}; index into a new store."
            )
        if memory_dtype not in (None, store.memory_dtype):
            kept = store.memory_dtype
            store.close()
            raise InputError(
                f"The store {path} keeps memories as {kept}, not {memory_dtype}; change it with: "
                f"clara store compact --memory-dtype {memory_dtype}"
            )
        return store

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
                self._keep_places()
            self._is_open = False
            self._cached = None
            for files in self._files.values():
                files.close()
            self._database.close()
            self._readers.close()
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
    def memory_size(self) -> int:
        """Numbers in a row of a memory."""
        return self._manifest.memory_size

    @property
    def key_size(self) -> int | None:
        """Numbers in a key; None if the store has no keys."""
        return self._manifest.key_size

    @property
    def memory_dtype(self) -> str:
        """How memories are kept, one of `codecs.MEMORY_DTYPES`."""
        return self._memory_dtype

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
        """The store in numbers."""
        with self.snapshot():
            totals = self._database.totals()
            live = {_MEMORIES: self._database.live_rows(), _KEYS: dict[int, int]()}
            if _KEYS in self._files:
                live[_KEYS] = self._database.live_keys()
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
            memory_size=self.memory_size,
            key_size=self.key_size,
            documents=totals.documents,
            passages=totals.passages,
            memory_rows=totals.memory_rows,
            memory_bytes=sizes[_MEMORIES],
            key_bytes=sizes.get(_KEYS, 0),
            database_bytes=sum(each.stat().st_size for each in self._folder.glob(f"{_DATABASE}*")),
            dead_bytes=stored - sum(sizes.values()),
            copies=copies,
            memory_dtype=self.memory_dtype,
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
        with self._readers.held(), self._database.snapshot():
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

    def passages_of(self, source: str) -> list[StoredPassage]:
        """The passages of a document, in order; none if it is not stored."""
        with self.snapshot():
            return self._database.passages_of(source)

    def around(self, number: int, count: int) -> list[StoredPassage]:
        """A passage with up to `count` before and after it in its document, in order.

        Raises:
            StoreError: There is no such passage; it may have been removed.
        """
        with self.snapshot():
            found = self._database.around(number, count)
            self._in_order([number], {stored.id: stored for stored in found})
            return found

    def passages(self, ids: Sequence[int]) -> list[StoredPassage]:
        """The passages of these numbers, in the order asked.

        Raises:
            StoreError: There is no such passage; it may have been removed.
        """
        with self.snapshot():
            return self._in_order(ids, self._database.passages(ids))

    def memories(self, ids: Sequence[int]) -> list[Rows]:
        """Copies of these passages' memories in the order asked, float16, each of shape (m, memory_size).

        Raises:
            StoreError: There is no such passage; it may have been removed.
        """
        with self.snapshot():
            places = self._in_order(ids, self._database.places(ids))
            return [self._memory(place).copy() for place in places]

    def keys(self, ids: Sequence[int]) -> Rows:
        """Copies of these passages' keys in the order asked, float16, shape (n, key_size).

        Raises:
            StoreError: There is no such passage, or the store has no keys.
        """
        if self.key_size is None:
            raise StoreError(f"The store {self._folder} has no keys; it is searched by its memories.")
        with self.snapshot():
            places = self._in_order(ids, self._database.places(ids))
            segments = self._database.segments(_KEYS)
            found = np.empty((len(ids), self.key_size), np.float16)
            for at, place in enumerate(places):
                rows = self._files[_KEYS].rows(place.key_segment or 0, segments[place.key_segment or 0])
                first = place.key_row or 0
                found[at] = rows[first : first + 1][0]
            return found

    def vectors(self) -> VectorTable:
        """What `search` compares: the passages' keys, or their memories if the store has no keys.

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

    def matching(self, where: Filter) -> NDArray[np.int64]:
        """Numbers of the passages that a filter allows, ascending."""
        with self.snapshot():
            return self._database.matching(where)

    def lexical(
        self, expression: str, limit: int, where: Filter | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Numbers and BM25 scores of the passages that match an expression of full-text search, best first.

        Args:
            expression: As of `clara.store.lexical.match_expression`; an empty one matches nothing.
            limit: How many to return, if there are as many.
            where: Which passages may be returned; None for all.

        Raises:
            StoreError: The store is of a format that has no index of words.
        """
        with self.snapshot():
            return self._database.lexical(expression, limit, where)

    def _memory(self, place: Place, segments: Mapping[int, Segment] | None = None) -> Rows:
        segments = segments or self._database.segments(_MEMORIES)
        rows = self._files[_MEMORIES].rows(place.memory_segment, segments[place.memory_segment])
        return rows[place.memory_row : place.memory_row + place.memory_rows]

    def _load_vectors(self) -> VectorTable:
        kind = _MEMORIES if self.key_size is None else _KEYS
        files, segments = self._files[kind], self._database.segments(kind)
        for each, own in self._files.items():
            own.forget(self._database.segments(each))
        known, newer = self._places()
        found = np.concatenate([known, newer]) if len(newer) else known
        ids, segment, first, count, norm = (np.ascontiguousarray(found[one]) for one in SEARCHED.names or ())
        return VectorTable(
            ids, segment, first, count, norm, lambda number: files.rows(number, segments[number])
        )

    def _places(self) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Where the searched vectors lie: what the file of places tells, and what it does not."""
        name, removals = self._database.kept_places(), self._database.removals()
        known = PlacesFile(self._folder).read(name, removals) if name else np.empty(0, SEARCHED)
        last = int(known["id"][-1]) if len(known) else 0
        return known, self._database.searched(self.key_size is None, after=last)

    def _keep_places(self) -> None:
        """Write down what `vectors` asked the database for, if that was much."""
        try:
            with self.snapshot():
                known, newer = self._places()
                removals = self._database.removals()
            if len(newer) > _WORTH_KEEPING:
                name = PlacesFile(self._folder).write(removals, np.concatenate([known, newer]))
                self._database.keep_places(name)
        except StoreError as error:  # the database has it all
            logger.warning("%s", error)

    def _in_order(self, ids: Sequence[int], found: Mapping[int, _T]) -> list[_T]:
        try:
            return [found[number] for number in ids]
        except KeyError as error:
            raise StoreError(
                f"The store {self._folder} has no passage {error}; it may have been removed, so search again."
            ) from error

    # writing

    def add(self, items: Iterable[NewDocument]) -> None:
        """Add documents, all of them or, if anything fails, none.

        A document with the source of one that is stored takes its place. When the call returns, all is on
        the disk.

        Raises:
            InputError: Numbers or shapes do not fit together, a vector is not finite as float16, a key is
                zero, or a source comes twice. The message names the document.
            StoreError: The store is read-only or closed, or cannot be written.
        """
        self._check_writable()
        items = list(items)
        sources = [item.document.source for item in items]
        if len(set(sources)) < len(sources):
            twice = next(source for source in sources if sources.count(source) > 1)
            raise InputError(f"The document {twice} is given twice; add it once.")
        with self._database.writing():
            vectors = [self._converted(item) for item in items]
            codec = self._memory_codec(self.memory_dtype)
            with ExitStack() as stack:
                appenders = {
                    kind: stack.enter_context(
                        files.appending(
                            self._database.segments(kind),
                            codec if kind == _MEMORIES else "float16",
                            self._max_segment_bytes,
                        )
                    )
                    for kind, files in self._files.items()
                }
                for item, converted in zip(items, vectors, strict=True):
                    places = _append(converted, appenders)  # a copy's are not asked for
                    self._database.add(item.document, zip(item.passages, places, strict=True))
            # the rows are on the disk now; only then does anything say that they count
            for kind, appender in appenders.items():
                self._database.set_segments(kind, appender.segments, appender.blocks)

    def add_copies(self, copies: Iterable[tuple[str, float, str]]) -> int:
        """Note that files have the bytes of stored documents, all in one transaction.

        Args:
            copies: Of each file the name, the time of change in seconds since the epoch, and the hash.

        Returns:
            For how many of them there is such a document; nothing changes for the others.
        """
        self._check_writable()
        with self._database.writing():
            return sum(self._database.add_copy(*copy) for copy in copies)

    def remove(self, sources: Iterable[str]) -> int:
        """Remove documents, all in one transaction.

        Args:
            sources: Their `Document.source`; those that are not stored are passed over.

        Returns:
            How many documents were removed.

        Raises:
            StoreError: The store is read-only or closed, or cannot be written.
        """
        self._check_writable()
        with self._database.writing():
            return sum(self._database.remove(source) for source in sources)

    # looking after it

    def database_faults(self) -> list[str]:
        """What SQLite finds wrong with the texts and tables; none if all is well.

        Raises:
            StoreError: The store is read-only or closed.
        """
        self._check_writable()
        return self._database.faults()

    def blocks(self) -> list[tuple[str, Block, int]]:
        """Vectors that were committed together: their kind, where they lie, and their size in bytes."""
        with self.snapshot():
            found = []
            for kind, files in self._files.items():
                segments = self._database.segments(kind)
                for block in self._database.blocks(kind):
                    row_bytes = files.codec(segments[block.segment].codec).row_bytes
                    found.append((kind, block, block.rows * row_bytes))
            return found

    def is_whole(self, kind: str, block: Block) -> bool:
        """Whether the bytes of a block are there and have their checksum."""
        with self.snapshot():
            segment = self._database.segments(kind)[block.segment]
            return self._files[kind].is_whole(block, segment)

    def file(self, kind: str, block: Block) -> Path:
        """The file that a block lies in."""
        with self.snapshot():
            codec = self._database.segments(kind)[block.segment].codec
        return self._files[kind].path(block.segment, codec)

    def holders(self, kind: str, block: Block) -> list[str]:
        """The documents some of whose vectors lie in a block, and their copies, by name."""
        with self.snapshot():
            return self._database.holders(kind, block)

    def rewrite(
        self, memory_dtype: str | None = None, progress: Callable[[int, int], None] = lambda *_: None
    ) -> None:
        """Write all vectors that passages refer to anew, and the database, without what was removed.

        Args:
            memory_dtype: How memories are kept from now on; None to leave it.
            progress: Told how many passages are done, of how many.

        Raises:
            StoreError: The store is read-only or closed, or cannot be written.
        """
        self._check_writable()
        with self._database.writing():
            dtype = memory_dtype or self.memory_dtype
            self._database.set_memory_dtype(dtype)
            codecs = {_MEMORIES: self._memory_codec(dtype), _KEYS: "float16"}
            old = {kind: self._database.segments(kind) for kind in self._files}
            with ExitStack() as stack:
                appenders = {
                    kind: stack.enter_context(
                        files.appending(old[kind], codecs[kind], self._max_segment_bytes, fresh=True)
                    )
                    for kind, files in self._files.items()
                }
                self._move(old, appenders, progress)
            for kind, appender in appenders.items():
                new = {at: one for at, one in appender.segments.items() if at not in old[kind]}
                self._database.set_segments(kind, new, appender.blocks)
            self._database.note_moves()
        self._memory_dtype = dtype
        self._cached = None
        self._database.shrink()
        self._check_files()

    def _move(
        self,
        old: Mapping[str, Mapping[int, Segment]],
        appenders: Mapping[str, Appender],
        progress: Callable[[int, int], None],
    ) -> None:
        """Append what every place refers to, shared rows once, and let the place refer to that."""
        moved: dict[tuple[int, int], Place] = {}
        places = list(self._database.all_places())
        for done, (number, place) in enumerate(places):
            if done % _MOVED_AT_ONCE == 0:
                progress(done, len(places))
            spot = (place.memory_segment, place.memory_row)
            if spot not in moved:
                keys = None
                if place.key_segment is not None and place.key_row is not None:
                    rows = self._files[_KEYS].rows(place.key_segment, old[_KEYS][place.key_segment])
                    keys = rows[place.key_row : place.key_row + 1]
                vectors = _Vectors([self._memory(place, old[_MEMORIES])], keys)
                (moved[spot],) = _append(vectors, appenders)
            self._database.move(number, moved[spot])
        progress(len(places), len(places))

    def _converted(self, item: NewDocument) -> _Vectors:
        """A document's vectors as they are stored, after all that can be wrong with them was looked for."""
        source, number = item.document.source, len(item.passages)
        if len(item.memories) != number:
            raise InputError(
                f"The document {source} has {number} passages but {len(item.memories)} memories."
            )
        memories: list[Rows | Place] = [
            self._place(memory, source) if isinstance(memory, int) else _as_float16(memory, source, "memory")
            for memory in item.memories
        ]
        for memory in memories:
            if isinstance(memory, Place):
                continue
            if memory.ndim != 2 or len(memory) == 0 or memory.shape[1] != self.memory_size:
                raise InputError(
                    f"The document {source} has a memory of shape {memory.shape}; the store takes "
                    f"(rows, {self.memory_size}) with at least one row."
                )
        if self.key_size is None:
            if item.keys is not None:
                raise InputError(f"The document {source} has keys but the store takes none; leave them out.")
            return _Vectors(memories, None)
        shape = None if item.keys is None else np.shape(item.keys)
        if item.keys is None or shape != (number, self.key_size):
            raise InputError(
                f"The document {source} has keys of shape {shape}; the store takes "
                f"({number}, {self.key_size})."
            )
        keys = np.array(item.keys, np.float64)
        shared = [isinstance(memory, Place) for memory in memories]
        keys[shared] = 1.0
        return _Vectors(memories, _unit_keys(keys, source))

    def _place(self, number: int, source: str) -> Place:
        found = self._database.places([number])
        if number not in found:
            raise InputError(
                f"The document {source} shares the memory of passage {number}, which is not stored."
            )
        return found[number]

    # how memories are kept

    def _codec(self, width: int, name: str) -> RowCodec:
        """A codec of this store by its name; learned ones come with their codebooks."""
        if (name, width) not in self._codecs:
            codec: RowCodec
            if name.startswith(f"{LEARNED}-"):
                codec = ProductCodec.read(self._database.codebook(name), width, name)
            else:
                codec = plain_codec(name, width)
            self._codecs[name, width] = codec
        return self._codecs[name, width]

    def _memory_codec(self, dtype: str) -> str:
        """The codec of new memories; a product quantiser is learned when there is enough to learn from."""
        if dtype != LEARNED:
            return dtype
        segments = self._database.segments(_MEMORIES)
        learned = [segment.codec for segment in segments.values() if segment.codec.startswith(f"{LEARNED}-")]
        if learned:
            return learned[-1]
        if sum(segment.rows for segment in segments.values()) < TRAINING_ROWS:
            return "float16"
        return self._learn()

    def _learn(self) -> str:
        """Learn a product quantiser from the rows of the store, and keep it; within `writing`."""
        rng = np.random.default_rng(0)
        segments = self._database.segments(_MEMORIES)
        share = min(1.0, TRAINING_ROWS / sum(segment.rows for segment in segments.values()))
        rows = [
            self._files[_MEMORIES].rows(number, segment)[
                np.sort(rng.choice(segment.rows, max(1, int(segment.rows * share)), replace=False))
            ]
            for number, segment in segments.items()
        ]
        name = f"{LEARNED}-{1 + max(segments)}"
        codec = ProductCodec.learned(np.concatenate(rows), name)
        self._database.add_codebook(name, codec.to_bytes())
        self._codecs[name, self.memory_size] = codec
        return name

    def _check_writable(self) -> None:
        if not self._is_open:
            raise StoreError(f"The store {self._folder} is closed; open it again.")
        if self.read_only:
            raise StoreError(f"The store {self._folder} was opened for reading only; open it for writing.")

    # opening

    def _check_files(self) -> None:
        with self.snapshot():  # while they are looked at, no compaction deletes them
            segments = {kind: self._database.segments(kind) for kind in self._files}
            for kind, files in self._files.items():
                files.check(segments[kind])
        for kind, files in self._files.items():
            if not self.read_only:
                self._readers.while_nobody_reads(partial(files.trim, segments[kind]))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StoreError(
            f"{folder} is a file and not a folder; choose another path for the store."
        ) from error
    except OSError as error:
        raise StoreError(
            f"The folder {folder} cannot be made: {error.strerror}; choose another path."
        ) from error


def _check_empty(folder: Path) -> None:
    """Make sure that a new store overwrites nothing but what is left of one whose making was interrupted."""
    if (folder / _DATABASE).exists():
        raise StoreError(
            f"The folder {folder} already holds a memory store; open it or choose another folder."
        )
    leftovers = {LOCK_NAME, READERS_NAME, *(path.name for path in unfinished_files(folder / _DATABASE))}
    for path in folder.iterdir():
        is_empty_folder = path.name == _SEGMENTS and path.is_dir() and not any(path.iterdir())
        if path.name not in leftovers and not is_empty_folder:
            raise StoreError(
                f"The folder {folder} is not empty and is no memory store; choose another folder."
            )


def _append(vectors: _Vectors, appenders: Mapping[str, Appender]) -> Iterator[Place]:
    """Append a document's vectors and give the place of each of its passages."""
    for at, memory in enumerate(vectors.memories):
        if isinstance(memory, Place):
            yield memory
            continue
        segment, first, searched = appenders[_MEMORIES].append(memory)
        key_segment, key_row = None, None
        if vectors.keys is not None:
            key_segment, key_row, searched = appenders[_KEYS].append(vectors.keys[at : at + 1])
        yield Place(segment, first, len(memory), key_segment, key_row, _norm(searched))


def _as_float16(values: NDArray[np.floating], source: str, what: str) -> Rows:
    with np.errstate(over="ignore"):
        rows = np.asarray(values).astype(np.float16)
    if not np.isfinite(rows).all():
        raise InputError(
            f"The document {source} has a {what} with numbers that are not finite as float16; it "
            "cannot be added."
        )
    return rows


def _unit_keys(keys: NDArray[np.floating], source: str) -> Rows:
    exact = np.asarray(keys, dtype=np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise InputError(
            f"The document {source} has a key with numbers that are not finite; it cannot be added."
        )
    if not lengths.all():
        raise InputError(f"The document {source} has a key of zeros, which nothing can be compared with.")
    return _as_float16(exact / lengths, source, "key")


def _norm(rows: Rows) -> float:
    return float(np.linalg.norm(rows.astype(np.float64)))


def _short(fingerprint: str) -> str:
    return fingerprint[:12]
