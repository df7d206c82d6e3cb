"""From files to a store: reading, compressing and writing at the same time.

The model works in the thread of the caller; reading and writing have one each, so that neither keeps it
waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clara.documents import (
    READER_VERSION,
    FoundFiles,
    ReadOptions,
    cut,
    file_of,
    file_parts,
    read_part,
    source_of,
)
from clara.errors import DocumentError, InputError
from clara.missing_files import is_gone
from clara.pipeline import Clara
from clara.prefetch import prefetch
from clara.records import Document, Passage
from clara.store import MemoryStore, NewDocument, StoredReading

PASSAGES_PER_COMMIT = 256
"""Passages that are compressed and committed together; at most this work is repeated after a kill."""

READ_AHEAD = 16
"""Documents that are read and cut before the model is ready for them."""

UNREAD = 1000
"""Names of files of no kind to read that a report keeps."""

_SHOWN_SOURCES = 5


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
    """What `Library.add` did. A large file counts as several documents.

    Attributes:
        added: Documents that are new.
        replaced: Documents that had changed.
        unchanged: Documents that were skipped since nothing changed.
        reread: Documents that had not changed and were read again, since an older reader had read them.
        copies: Files with the bytes of another, with which they are stored once.
        removed: documents whose files no longer exist (only when asked for).
        passages: Passages compressed.
        kept: Passages of changed or reread documents that had not changed and were not compressed again.
        refused: Files and folders that could not be read, each with the reason.
        passed_over: Of files in folders that are of no kind to read, how many there are by their ending, ""
            for those without one.
        unread: The names of these files, at most `UNREAD` of them.
        left_out: Of each document of which not everything was taken, what was not, a line for each kind of
            thing; of unchanged ones too.
        ignored: Files and folders that ignore files leave out, by the ignore file.
        moved: Documents whose files have moved, the old name and the new one; they were not compressed again.
        gone: Documents below the given paths whose files no longer exist, which are still stored.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    reread: int = 0
    copies: int = 0
    removed: int = 0
    passages: int = 0
    kept: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    passed_over: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    ignored: dict[str, list[str]] = field(default_factory=dict)
    moved: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def tell(self, source: str, left_out: Sequence[str]) -> None:
        """Note what was not taken of a document, if anything."""
        if left_out:
            self.left_out[source] = list(left_out)

    @property
    def is_lossy(self) -> bool:
        """Whether anything of the files that were to be read was not taken."""
        return bool(self.left_out or self.refused)

    def __add__(self, other: AddReport) -> AddReport:
        """Both together."""
        return AddReport(*(_sum(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)))


@dataclass(frozen=True, slots=True)
class CutDocument:
    """A document in passages.

    Attributes:
        document: The document.
        passages: Its passages, each short enough to be compressed whole.
        is_reread: It is stored, as an older reader read it.
    """

    document: Document
    passages: Sequence[Passage]
    is_reread: bool = False


@dataclass(frozen=True, slots=True)
class _Copy:
    """A file, or part of one, with the bytes of another that is stored or about to be."""

    source: str
    modified: float
    sha256: str
    left_out: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Unchanged:
    """A file, or part of one, that is stored as it is."""

    source: str
    left_out: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Refused:
    """A file that cannot be read."""

    file: Path
    reason: str


@dataclass(frozen=True, slots=True)
class _Finished:
    """All of a file was read; what is stored of it besides is of its earlier state."""

    size: int
    outdated: Sequence[str] = ()


_Read = CutDocument | _Copy | _Unchanged | _Refused | _Finished


def index_files(
    clara: Clara,
    store: MemoryStore,
    files: Sequence[Path],
    progress: Callable[[Progress], None],
    options: ReadOptions | None = None,
) -> AddReport:
    """Read files, compress their passages and store the memories, unless they are stored as they are.

    Args:
        clara: The model.
        store: Open for writing.
        files: What to read; what `find_files` met besides files goes into the report.
        progress: Called as the work goes on, with the same object each time.
        options: Which fields of records are read as what.
    """
    state = Progress(total_files=len(files), total_bytes=sum(map(_size, files)))
    report = AddReport()
    if isinstance(files, FoundFiles):
        report.refused, report.passed_over = list(files.refused), dict(files.passed_over)
        report.unread = files.unread[:UNREAD]
        report.ignored = {file: list(names) for file, names in files.ignored.items()}
    with store.snapshot():
        known, readings = store.sources(), store.readings()
    hashes: dict[str, str] = {}  # of what was read or is a copy
    copies: list[tuple[str, float, str]] = []
    outdated: list[str] = []
    progress(state)

    def taken(items: Iterator[_Read]) -> Iterator[CutDocument]:
        for item in items:
            match item:
                case CutDocument(document):
                    report.tell(document.source, document.left_out)
                    hashes[document.source] = document.sha256
                    yield item
                case _Copy(source, modified, sha256, left_out):
                    report.tell(source, left_out)
                    hashes[source] = sha256
                    copies.append((source, modified, sha256))
                case _Unchanged(source, left_out):
                    report.tell(source, left_out)
                    report.unchanged += 1
                case _Refused(file, reason):
                    report.refused.append((str(file), reason))
                case _Finished(size, sources):
                    outdated.extend(sources)
                    state.files += 1
                    state.bytes += size
                    progress(state)

    def compressed(count: int) -> None:
        state.passages += count
        progress(state)

    with prefetch(_read_all(clara, files, known, readings, options or ReadOptions()), READ_AHEAD) as items:
        index_documents(clara, store, taken(items), report, compressed)
    report.moved = _moved(known, hashes)
    new_names = {new for _, new in report.moved}
    attached = store.add_copies(copies)
    report.copies = attached - sum(source in new_names for source, *_ in copies)
    store.remove([*outdated, *(old for old, _ in report.moved)])  # what has a copy takes its name
    if attached < len(copies):  # the document has changed in this run, as a log does whose old state is kept
        now = store.sources()
        missed = {file_of(source) for source, _, sha256 in copies if now.get(source) != sha256}
        again = [file for file in files if source_of(file) in missed]
        report += index_files(clara, store, again, lambda _: None, options)
    return report


def _moved(known: Mapping[str, str], hashes: Mapping[str, str]) -> list[tuple[str, str]]:
    """Stored files that are gone and whose bytes stand in a new file: the old name and the new one."""
    new = {sha256: source for source, sha256 in hashes.items() if source not in known}
    moved: dict[str, str] = {}
    for old, sha256 in known.items():
        if sha256 in new and is_gone(old):
            moved[old] = new.pop(sha256)
    return list(moved.items())


def index_documents(
    clara: Clara,
    store: MemoryStore,
    documents: Iterable[CutDocument],
    report: AddReport,
    compressed: Callable[[int], None] = lambda _: None,
) -> None:
    """Compress and store cut documents; what is ready is written while the next is compressed.

    Args:
        clara: The model.
        store: Open for writing.
        documents: Each replaces a stored one of the same source.
        report: Counts what was stored.
        compressed: Called with the number of passages as they are compressed.

    Raises:
        InputError: Documents hold no text; all others are stored.
    """
    blank: list[str] = []

    def filled() -> Iterator[CutDocument]:
        for document in documents:
            if document.passages:
                yield document
            else:
                blank.append(document.document.source)

    with ThreadPoolExecutor(1, "write") as writer:
        written: Future[None] | None = None
        for batch in _batches(filled()):
            items = _compress(clara, store, batch, report, compressed)
            if written is not None:
                written.result()
            written = writer.submit(store.add, items)
        if written is not None:
            written.result()
    if blank:
        raise InputError(_without_text(blank))


def cut_document(clara: Clara, document: Document) -> CutDocument:
    """A document in passages that the model compresses whole."""
    return CutDocument(document, cut(document, clara.passage_tokens, clara.processor.count_tokens))


def _read_all(
    clara: Clara,
    files: Sequence[Path],
    known: dict[str, str],
    readings: Mapping[str, StoredReading],
    options: ReadOptions,
) -> Iterator[_Read]:
    """Read and cut all files, less what is stored as it is.

    Args:
        clara: The model.
        files: What to read.
        known: The hash of everything that is stored, by source.
        readings: How everything that is stored was read, by source.
        options: Which fields of records are read as what.
    """
    first_of = {sha256: source for source, sha256 in reversed(known.items())}
    read = {sha256: readings.get(source, StoredReading()) for source, sha256 in known.items()}
    parts_of: dict[str, set[str]] = {}
    for source in known:
        parts_of.setdefault(file_of(source), set()).add(source)
    for file in files:
        seen: set[str] = set()
        try:
            for part in file_parts(file, options):
                seen.add(part.source)
                reading = read.get(part.sha256)
                is_known = known.get(part.source) == part.sha256
                is_current = reading is not None and reading.version >= READER_VERSION
                if reading is not None and is_known and is_current:
                    yield _Unchanged(part.source, reading.left_out)
                elif reading is not None and (is_current or not (is_known or is_gone(first_of[part.sha256]))):
                    yield _Copy(part.source, part.modified, part.sha256, reading.left_out)
                else:
                    document = read_part(part, options)
                    yield replace(cut_document(clara, document), is_reread=reading is not None)
                    read[part.sha256] = StoredReading(document.reader, document.left_out)
        except DocumentError as error:
            yield _Refused(file, str(error))
            yield _Finished(_size(file))
        else:
            yield _Finished(_size(file), sorted(parts_of.get(next(iter(seen)), set()) - seen) if seen else ())


def _batches(documents: Iterable[CutDocument]) -> Iterator[list[CutDocument]]:
    """Documents by as many as hold `PASSAGES_PER_COMMIT` passages."""
    batch: list[CutDocument] = []
    passages = 0
    for document in documents:
        batch.append(document)
        passages += len(document.passages)
        if passages >= PASSAGES_PER_COMMIT:
            yield batch
            batch, passages = [], 0
    if batch:
        yield batch


def _compress(
    clara: Clara,
    store: MemoryStore,
    batch: Sequence[CutDocument],
    report: AddReport,
    compressed: Callable[[int], None],
) -> list[NewDocument]:
    """The batch with its memories, of which those of unchanged passages are taken from what is stored."""
    stored = [
        {one.passage.content: one.id for one in store.passages_of(item.document.source, sha256)}
        for item, sha256 in ((item, item.document.sha256 if item.is_reread else "") for item in batch)
    ]
    new = [
        passage.content
        for item, kept in zip(batch, stored, strict=True)
        for passage in item.passages
        if passage.content not in kept
    ]
    memories: list[NDArray[np.float16]] = []
    embeddings: list[NDArray[np.float16] | None] = []
    for start in range(0, len(new), PASSAGES_PER_COMMIT):
        part = new[start : start + PASSAGES_PER_COMMIT]
        part_memories, part_embeddings = clara.compress(part, rate=store.rate)
        memories += part_memories
        embeddings += [None] * len(part) if part_embeddings is None else list(part_embeddings)
        compressed(len(part))
    made = zip(memories, embeddings, strict=True)
    items = []
    for item, kept in zip(batch, stored, strict=True):
        own = [
            (kept[passage.content], None) if passage.content in kept else next(made)
            for passage in item.passages
        ]
        items.append(_new_document(clara, item, own))
        report.kept += sum(isinstance(memory, int) for memory, _ in own)
        if item.is_reread:
            report.reread += 1
        elif kept:
            report.replaced += 1
        else:
            report.added += 1
    report.passages += len(new)
    return items


def _new_document(
    clara: Clara,
    item: CutDocument,
    made: Sequence[tuple[NDArray[np.float16] | int, NDArray[np.float16] | None]],
) -> NewDocument:
    if clara.embedding_dim is None:
        return NewDocument(item.document, item.passages, [memory for memory, _ in made])
    ignored = np.zeros(clara.embedding_dim, np.float16)
    embeddings = np.stack([ignored if embedding is None else embedding for _, embedding in made])
    return NewDocument(item.document, item.passages, [memory for memory, _ in made], embeddings)


def _without_text(sources: Sequence[str]) -> str:
    shown = ", ".join(map(repr, sources[:_SHOWN_SOURCES]))
    more = f" and {len(sources) - _SHOWN_SOURCES} more" if len(sources) > _SHOWN_SOURCES else ""
    if len(sources) == 1:
        return f"{shown} holds no text and was not stored; add text to it or remove it."
    return f"{shown}{more} hold no text and were not stored; add text to them or remove them."


def _sum(one: Any, other: Any) -> Any:
    if not isinstance(one, dict):
        return one + other
    return {
        name: one[name] + other[name] if name in one and name in other else value
        for name, value in {**one, **other}.items()
    }


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
