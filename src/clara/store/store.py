"""The memory store: documents' passages with their memories and embeddings, in one folder.

    store.sqlite3                   texts, and which rows of the segments belong to what; the commit point
    segments/memories-000001.f16    rows of memories, coded as the ending says (`clara.store.codecs`)
    segments/keys-000001.f16        embeddings, float16, if the store has embeddings
    places.npz                      offsets of the searched vectors, which opening would else read one by one
    index/                          finds candidates among millions (`clara.store.index`), if it was built
    lock                            held by the one writer

An addition writes and syncs the segments first and then commits the database. A writer that is killed between
the two leaves rows behind that nothing refers to, and the next writer cuts them off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from clara.errors import InputError, StoreError, StoreMismatchError
from clara.files import sync_folder
from clara.models.stored import DATABASE
from clara.store.codecs import check_memory_dtype
from clara.store.database import Offsets
from clara.store.lock import WriterLock
from clara.store.reader import StoreInfo, StoreReader
from clara.store.schema import (
    SEGMENTS,
    Manifest,
    as_stored,
    check_empty,
    create_database,
    make_folder,
)
from clara.store.segments import Appender, Block, Segment
from clara.store.validation import EMBEDDINGS, MEMORIES, NewDocument, Vectors, append, checked

__all__ = ["MemoryStore", "NewDocument", "StoreInfo"]

DEFAULT_SEGMENT_BYTES = 1 << 30

_MOVED_AT_ONCE = 256

StorePath = str | os.PathLike[str]


class MemoryStore(StoreReader):
    """An open store. Make one with `create`, `open` or `open_or_create`, and close it or use it in `with`.

    One writer at a time and any number of readers may have a store open. Each call sees the store at one
    moment; `snapshot` makes several calls see the same. Threads may share a store; their calls take turns.
    """

    @classmethod
    def create(
        cls,
        path: StorePath,
        *,
        fingerprint: str,
        model: str,
        memory_dim: int,
        embedding_dim: int | None,
        memory_dtype: str = "float16",
        rate: int | None = None,
        precision: str | None = None,
        max_segment_bytes: int = DEFAULT_SEGMENT_BYTES,
    ) -> Self:
        """Make an empty store and open it for writing.

        Args:
            path: The folder; made if it is missing, and empty otherwise.
            fingerprint: Tells the model that writes the store from all others.
            model: The model's name, for messages.
            memory_dim: Dimension of a row of a memory.
            embedding_dim: Dimension of an embedding; None for a store that is searched by its memories.
            memory_dtype: How memories are kept, one of `codecs.MEMORY_DTYPES`.
            rate: Text tokens per memory token; None for the model's own rate.
            precision: Type that memories are computed in, such as "float32"; None if unknown.
            max_segment_bytes: A file of vectors is not continued beyond this size.

        Raises:
            StoreError: The folder holds a store or other files, or cannot be written.
            InputError: A size is below 1, or there is no such dtype.
        """
        check_memory_dtype(memory_dtype)
        for name, size in (("memory_dim", memory_dim), ("embedding_dim", embedding_dim)):
            if size is not None and size < 1:
                raise InputError(f"{name} is {size}; it must be at least 1.")
        folder = Path(path)
        make_folder(folder)
        check_empty(folder)  # before the lock leaves its file in a folder that is someone else's
        lock = WriterLock(folder)
        try:
            check_empty(folder)
            manifest = Manifest(
                fingerprint, model, memory_dim, embedding_dim, time.time(), memory_dtype, rate, precision
            )
            (folder / SEGMENTS).mkdir(exist_ok=True)
            create_database(folder / DATABASE, manifest)
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
        if not (folder / DATABASE).is_file():
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
        memory_dim: int,
        embedding_dim: int | None,
        memory_dtype: str | None = None,
        rate: int | None = None,
        precision: str | None = None,
        max_segment_bytes: int = DEFAULT_SEGMENT_BYTES,
    ) -> Self:
        """Open a store for writing, or make it if there is none; see `create` and `open`.

        Raises:
            StoreMismatchError: Also if the store's sizes are not those given.
        """
        if not (Path(path) / DATABASE).exists():
            return cls.create(
                path,
                fingerprint=fingerprint,
                model=model,
                memory_dim=memory_dim,
                embedding_dim=embedding_dim,
                memory_dtype=memory_dtype or "float16",
                rate=rate,
                precision=precision,
                max_segment_bytes=max_segment_bytes,
            )
        store = cls.open(path, fingerprint=fingerprint, max_segment_bytes=max_segment_bytes)
        if (store.memory_dim, store.embedding_dim) != (memory_dim, embedding_dim):
            sizes = f"memory_dim {store.memory_dim} and embedding_dim {store.embedding_dim}"
            store.close()
            raise StoreMismatchError(
                f"The store {path} has {sizes}, not {memory_dim} and {embedding_dim}; index into a new store."
            )
        if memory_dtype not in (None, store.memory_dtype):
            kept = store.memory_dtype
            store.close()
            raise InputError(
                f"The store {path} keeps memories as {kept}, not {memory_dtype}; change it with: "
                f"clara store compact --memory-dtype {memory_dtype}"
            )
        if rate not in (None, store.rate):
            kept_rate = "the model's own rate" if store.rate is None else f"the rate {store.rate}"
            store.close()
            raise InputError(
                f"The store {path} holds memories of {kept_rate}, not of the rate {rate}; index into a new "
                "store."
            )
        return store

    # writing

    def add(self, items: Iterable[NewDocument]) -> None:
        """Add documents, all of them or, if anything fails, none.

        A document with the source of one that is stored takes its place. When the call returns, all is on
        the disk.

        Raises:
            InputError: Counts or shapes do not fit together, a vector is not finite as float16, an embedding
                is zero, or a source comes twice. The message names the document.
            StoreError: The store is read-only or closed, or cannot be written.
        """
        self._check_writable()
        items = list(items)
        sources = [item.document.source for item in items]
        if len(set(sources)) < len(sources):
            twice = next(source for source in sources if sources.count(source) > 1)
            raise InputError(f"The document {twice} is given twice; add it once.")
        with self._database.writing():
            vectors = [checked(item, self.memory_dim, self.embedding_dim, self._offsets_of) for item in items]
            codec = self._codecs.for_new(self.memory_dtype, self._files[MEMORIES])
            with ExitStack() as stack:
                appenders = {
                    kind: stack.enter_context(
                        files.appending(
                            self._database.segments(kind),
                            codec if kind == MEMORIES else "float16",
                            self._max_segment_bytes,
                        )
                    )
                    for kind, files in self._files.items()
                }
                for item, converted in zip(items, vectors, strict=True):
                    offsets = append(converted, appenders)  # a copy's are not asked for
                    self._database.add(item.document, zip(item.passages, offsets, strict=True))
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

    def remove(self, sources: str | Iterable[str]) -> int:
        """Remove documents, all in one transaction.

        Args:
            sources: Their `Document.source`, or that of one; those that are not stored are passed over.

        Returns:
            How many documents were removed.

        Raises:
            InputError: A source is no text; nothing is removed then.
            StoreError: The store is read-only or closed, or cannot be written.
        """
        self._check_writable()
        each = [sources] if isinstance(sources, str) else list(sources)
        for source in each:
            if not isinstance(source, str):
                raise InputError(
                    f"The source {source!r} is of type {type(source).__name__}, but sources are "
                    "strings; use the values of documents()."
                )
        with self._database.writing():
            return sum(self._database.remove(as_stored(source)) for source in each)

    # looking after it

    def database_faults(self) -> list[str]:
        """What is wrong with the texts and tables; without the full-text index if the store is read-only."""
        with self.snapshot():
            pass
        return self._database.faults()

    def damaged_rows(self) -> dict[str, list[str]]:
        """Documents, with their copies, some of whose rows do not have their checksum, by table."""
        with self.snapshot():
            return {
                table: self._database.names(found) for table, found in self._database.damaged_rows().items()
            }

    def drop_damaged_rows(self) -> int:
        """Remove the documents that `damaged_rows` names, and note that lost changes are known.

        Returns:
            How many were removed, copies included.
        """
        self._check_writable()
        with self._database.writing():
            found = set().union(*self._database.damaged_rows().values())
            count = len(self._database.names(found))
            if found:
                self._database.drop(found)
        return count

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
            codecs = {MEMORIES: self._codecs.for_new(dtype, self._files[MEMORIES]), EMBEDDINGS: "float16"}
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
        """Append the rows of all passages, shared rows once, and let the passages refer to the copies."""
        total = self._database.totals().passages
        position: tuple[int, int] | None = None
        for done, (passage_id, offsets) in enumerate(self._database.offsets_by_row()):
            if done % _MOVED_AT_ONCE == 0:
                progress(done, total)
            if position != (offsets.memory_segment, offsets.memory_row):
                position = (offsets.memory_segment, offsets.memory_row)
                embeddings = None
                if offsets.embedding_segment is not None and offsets.embedding_row is not None:
                    rows = self._files[EMBEDDINGS].rows(
                        offsets.embedding_segment, old[EMBEDDINGS][offsets.embedding_segment]
                    )
                    embeddings = rows[offsets.embedding_row : offsets.embedding_row + 1]
                (moved,) = append(Vectors([self._memory(offsets, old[MEMORIES])], embeddings), appenders)
            self._database.move(passage_id, moved)
        progress(total, total)

    def _offsets_of(self, passage_id: int, source: str) -> Offsets:
        found = self._database.offsets([passage_id])
        if passage_id not in found:
            raise InputError(
                f"The document {source} shares the memory of passage {passage_id}, which is not stored."
            )
        return found[passage_id]

    def _check_writable(self) -> None:
        if not self._is_open:
            raise StoreError(f"The store {self._folder} is closed; open it again.")
        if self.read_only:
            raise StoreError(f"The store {self._folder} was opened read-only; open it for writing.")

    # opening

    def _check_files(self) -> None:
        with self.snapshot():  # while they are looked at, no compaction deletes them
            segments = {kind: self._database.segments(kind) for kind in self._files}
            for kind, files in self._files.items():
                files.check(segments[kind])
        if not self.read_only and self._database.checkpoint():
            for kind, files in self._files.items():
                files.trim(segments[kind])
