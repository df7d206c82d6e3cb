"""From files to a store: reading, compressing and writing at the same time.

The model works in the thread of the caller; reading and writing have one each, so that neither keeps it
waiting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clara.ahead import ahead
from clara.documents import cut, read_document
from clara.errors import DocumentError
from clara.pipeline import Clara
from clara.records import Document, Passage
from clara.store import MemoryStore, NewDocument

PASSAGES_PER_COMMIT = 256
"""Passages that are compressed and committed together; at most this work is repeated after a kill."""

READ_AHEAD = 16
"""Files that are read and cut before the model is ready for them."""


@dataclass(slots=True)
class Progress:
    """How far `Library.add` has come.

    Attributes:
        files: Files looked at.
        total_files: Files to look at.
        bytes: Their size so far.
        total_bytes: The size of all.
        passages: Passages compressed.
    """

    files: int = 0
    total_files: int = 0
    bytes: int = 0
    total_bytes: int = 0
    passages: int = 0


@dataclass(slots=True)
class AddReport:
    """What `Library.add` did.

    Attributes:
        added: Documents that are new.
        replaced: Documents that had changed.
        unchanged: Documents that were skipped since nothing changed.
        removed: Documents whose files have vanished (only when asked for).
        passages: Passages compressed.
        refused: Files that could not be read, each with the reason.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0
    passages: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Read:
    """What came of reading a file: a document cut into passages, a reason for refusing it, or neither."""

    file: Path
    size: int
    document: Document | None = None
    passages: Sequence[Passage] = ()
    refused: str = ""


def index_files(
    clara: Clara, store: MemoryStore, files: Sequence[Path], progress: Callable[[Progress], None]
) -> AddReport:
    """Read files, compress their passages and store the memories, unless they are stored as they are.

    Args:
        clara: The model.
        store: Open for writing.
        files: What to read.
        progress: Called as the work goes on, with the same object each time.
    """
    known = {document.source: document.sha256 for document in store.documents()}
    state = Progress(total_files=len(files), total_bytes=sum(map(_size, files)))
    report = AddReport()
    progress(state)

    def taken(items: Iterator[_Read]) -> Iterator[tuple[Document, Sequence[Passage]]]:
        for item in items:
            if item.document is not None:
                yield item.document, item.passages
            elif item.refused:
                report.refused.append((str(item.file), item.refused))
            else:
                report.unchanged += 1
            state.files += 1
            state.bytes += item.size
            progress(state)

    def compressed(count: int) -> None:
        state.passages += count
        progress(state)

    with ahead((_read(clara, file, known) for file in files), READ_AHEAD) as items:
        index_documents(clara, store, taken(items), known, report, compressed)
    return report


def index_documents(
    clara: Clara,
    store: MemoryStore,
    documents: Iterable[tuple[Document, Sequence[Passage]]],
    known: dict[str, str],
    report: AddReport,
    compressed: Callable[[int], None] = lambda _: None,
) -> None:
    """Compress and store cut documents; what is ready is written while the next is compressed.

    Args:
        clara: The model.
        store: Open for writing.
        documents: Each with its passages.
        known: Sources that are stored; a document under one of them replaces it.
        report: Counts what was stored.
        compressed: Called with the number of passages as they are compressed.
    """
    with ThreadPoolExecutor(1, "write") as writer:
        written: Future[None] | None = None
        for batch in _batches(documents):
            items = _compress(clara, batch, compressed)
            if written is not None:
                written.result()
            written = writer.submit(store.add, items)
            for item in items:
                report.passages += len(item.passages)
                if item.document.source in known:
                    report.replaced += 1
                else:
                    report.added += 1
        if written is not None:
            written.result()


def cut_document(clara: Clara, document: Document) -> list[Passage]:
    """A document's passages, each short enough to be compressed whole."""
    return cut(document, clara.passage_tokens, clara.processor.count_tokens)


def _read(clara: Clara, file: Path, known: dict[str, str]) -> _Read:
    """Read and cut a file unless it is stored as it is."""
    size = _size(file)
    try:
        if known.get(str(file)) == _digest(file):
            return _Read(file, size)
        document = read_document(file)
        return _Read(file, size, document, cut_document(clara, document))
    except DocumentError as error:
        return _Read(file, size, refused=str(error))


def _batches(
    documents: Iterable[tuple[Document, Sequence[Passage]]],
) -> Iterator[list[tuple[Document, Sequence[Passage]]]]:
    """Documents by as many as hold `PASSAGES_PER_COMMIT` passages."""
    batch: list[tuple[Document, Sequence[Passage]]] = []
    for document in documents:
        batch.append(document)
        if sum(len(passages) for _, passages in batch) >= PASSAGES_PER_COMMIT:
            yield batch
            batch = []
    if batch:
        yield batch


def _compress(
    clara: Clara, batch: Sequence[tuple[Document, Sequence[Passage]]], compressed: Callable[[int], None]
) -> list[NewDocument]:
    contents = [passage.content for _, passages in batch for passage in passages]
    memories, keys = [], []
    for start in range(0, len(contents), PASSAGES_PER_COMMIT):
        part = contents[start : start + PASSAGES_PER_COMMIT]
        new_memories, new_keys = clara.compress(part)
        memories += new_memories
        if new_keys is not None:
            keys.append(new_keys)
        compressed(len(part))
    all_keys = np.concatenate(keys) if keys else None
    items, first = [], 0
    for document, passages in batch:
        last = first + len(passages)
        part_keys = None if all_keys is None else all_keys[first:last]
        items.append(NewDocument(document, passages, memories[first:last], part_keys))
        first = last
    return items


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _digest(file: Path) -> str | None:
    """Hash of a file's bytes, None if it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
