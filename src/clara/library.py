"""A library: a model and a memory store together, filled from files and asked questions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from clara.documents import cut, find_files, read_document
from clara.errors import DocumentError
from clara.pipeline import Clara
from clara.records import Answer, Document, Hit, Passage, Section
from clara.store import MemoryStore, NewDocument

PASSAGES_PER_COMMIT = 256
"""Passages that are compressed and committed together; at most this work is repeated after a kill."""


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


@dataclass(slots=True)
class _Pending:
    """Documents cut but not yet stored."""

    documents: list[tuple[Document, list[Passage]]] = field(default_factory=list)
    passages: int = 0


class Library:
    """Documents as memories in a folder, with the model that reads them.

    Args:
        clara: The model.
        path: The store's folder; made at the first `add` if it does not exist.
        read_only: Never write; the store must exist.

    Raises:
        StoreError: The folder is not a store, is broken, or (to write) is being written by another process.
        StoreMismatchError: Another model wrote it.
    """

    def __init__(self, clara: Clara, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        path = Path(path)
        self.clara = clara
        if read_only:
            self.store = MemoryStore.open(path, fingerprint=clara.fingerprint, read_only=True)
        else:
            self.store = MemoryStore.open_or_create(
                path,
                fingerprint=clara.fingerprint,
                model=clara.name,
                memory_size=clara.model.hidden_size,
                key_size=clara.key_size,
            )

    def add(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        remove_vanished: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> AddReport:
        """Read files and folders, compress their passages, store the memories.

        A file that is stored and has not changed is skipped, a changed one replaced. Work is committed
        every few hundred passages, so a killed run goes on where it was.

        Args:
            paths: Files and folders.
            remove_vanished: Also remove stored documents whose files no longer exist.
            progress: Called as the work goes on, with the same object each time.

        Raises:
            InputError: A path does not exist, or nothing readable is there.
        """
        files = find_files(paths)
        known = {document.source: document.sha256 for document in self.store.documents()}
        report, pending = AddReport(), _Pending()
        state = Progress(total_files=len(files), total_bytes=sum(_size(file) for file in files))
        for file in files:
            progress(state)
            self._take(file, known, pending, report)
            if pending.passages >= PASSAGES_PER_COMMIT:
                self._store(pending, state, progress)
                pending = _Pending()
            state.files += 1
            state.bytes += _size(file)
        self._store(pending, state, progress)
        if remove_vanished:
            report.removed = self._remove_vanished()
        report.passages = state.passages
        progress(state)
        return report

    def add_texts(self, texts: dict[str, str]) -> AddReport:
        """Store texts that are in no file, by name; a text under a known name replaces it if it differs."""
        known = {document.source: document.sha256 for document in self.store.documents()}
        report, pending = AddReport(), _Pending()
        for name, text in texts.items():
            digest = hashlib.sha256(text.encode()).hexdigest()
            if known.get(name) == digest:
                report.unchanged += 1
                continue
            document = Document(name, name, (Section(text),), digest)
            self._cut(document, known, pending, report)
        report.passages = pending.passages
        self._store(pending, Progress(), lambda _: None)
        return report

    def search(self, question: str, k: int | None = None) -> list[Hit]:
        """See `Clara.search`."""
        return self.clara.search(question, self.store, k)

    def ask(self, question: str, k: int | None = None, **options: Any) -> Answer:
        """See `Clara.ask`."""
        return self.clara.ask(question, self.store, k, **options)

    def ask_stream(self, question: str, k: int | None = None, **options: Any) -> Iterator[str]:
        """See `Clara.ask_stream`."""
        return self.clara.ask_stream(question, self.store, k, **options)

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, file: Path, known: dict[str, str], pending: _Pending, report: AddReport) -> None:
        """Read and cut a file unless it is stored as it is."""
        try:
            if known.get(str(file)) == _digest(file):
                report.unchanged += 1
                return
            self._cut(read_document(file), known, pending, report)
        except DocumentError as error:
            report.refused.append((str(file), str(error)))

    def _cut(self, document: Document, known: dict[str, str], pending: _Pending, report: AddReport) -> None:
        passages = cut(document, self.clara.passage_tokens, self.clara.processor.count_tokens)
        pending.documents.append((document, passages))
        pending.passages += len(passages)
        if document.source in known:
            report.replaced += 1
        else:
            report.added += 1

    def _store(self, pending: _Pending, state: Progress, progress: Callable[[Progress], None]) -> None:
        """Compress and commit what is pending."""
        if not pending.documents:
            return
        contents = [passage.content for _, passages in pending.documents for passage in passages]
        memories, keys = [], []
        for start in range(0, len(contents), PASSAGES_PER_COMMIT):
            part = contents[start : start + PASSAGES_PER_COMMIT]
            new_memories, new_keys = self.clara.compress(part)
            memories += new_memories
            if new_keys is not None:
                keys.append(new_keys)
            state.passages += len(part)
            progress(state)
        all_keys = np.concatenate(keys) if keys else None
        items, first = [], 0
        for document, passages in pending.documents:
            last = first + len(passages)
            part_keys = None if all_keys is None else all_keys[first:last]
            items.append(NewDocument(document, passages, memories[first:last], part_keys))
            first = last
        self.store.add(items)

    def _remove_vanished(self) -> int:
        vanished = [
            document.source
            for document in self.store.documents()
            if Path(document.source).is_absolute() and not Path(document.source).exists()
        ]
        self.store.remove(vanished)
        return len(vanished)


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
