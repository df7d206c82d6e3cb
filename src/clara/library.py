"""A library: a model and a memory store together, filled from files and asked questions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clara.documents import find_files
from clara.indexing import AddReport, Progress, cut_document, index_documents, index_files
from clara.pipeline import Clara
from clara.records import Answer, Document, Hit, Section
from clara.store import MemoryStore


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
        report = index_files(self.clara, self.store, find_files(paths), progress)
        if remove_vanished:
            report.removed = self._remove_vanished()
        return report

    def add_texts(self, texts: dict[str, str]) -> AddReport:
        """Store texts that are in no file, by name; a text under a known name replaces it if it differs."""
        known = {document.source: document.sha256 for document in self.store.documents()}
        report = AddReport()
        new = []
        for name, text in texts.items():
            digest = hashlib.sha256(text.encode()).hexdigest()
            if known.get(name) == digest:
                report.unchanged += 1
                continue
            document = Document(name, name, (Section(text),), digest)
            new.append((document, cut_document(self.clara, document)))
        index_documents(self.clara, self.store, new, known, report)
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

    def _remove_vanished(self) -> int:
        vanished = [
            document.source
            for document in self.store.documents()
            if Path(document.source).is_absolute() and not Path(document.source).exists()
        ]
        self.store.remove(vanished)
        return len(vanished)
