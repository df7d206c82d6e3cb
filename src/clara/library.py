"""A library: a model and a memory store together, filled from files and asked questions."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clara.documents import ReadOptions, file_of, find_files
from clara.indexing import AddReport, Progress, cut_document, index_documents, index_files
from clara.pipeline import Clara
from clara.records import Answer, Document, Hit, Section
from clara.store import Explanation, MemoryStore


class Library:
    """Documents as memories in a folder, with the model that reads them.

    Args:
        clara: The model.
        path: The store's folder; made at the first `add` if it does not exist.
        read_only: Never write; the store must exist.
        memory_dtype: How a new store keeps memories: float16, int8, int4 or pq; float16 if None.

    Raises:
        StoreError: The folder is not a store, is broken, or (to write) is being written by another process.
        StoreMismatchError: Another model wrote it.
    """

    def __init__(
        self,
        clara: Clara,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        memory_dtype: str | None = None,
    ) -> None:
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
                memory_dtype=memory_dtype,
            )

    def add(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        ignore: Sequence[str] = (),
        only: Sequence[str] = (),
        read: ReadOptions | None = None,
        remove_vanished: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> AddReport:
        """Read files and folders, compress their passages, store the memories.

        A file that is stored and has not changed is skipped; of a changed one the passages that changed are
        compressed. Work is committed every few hundred passages, so a killed run goes on where it was.

        Args:
            paths: Files and folders.
            ignore: Patterns, as in `.gitignore`, of files and folders to skip.
            only: Patterns of the only files to take.
            read: Which fields of records (CSV, JSON) are read as what.
            remove_vanished: Also remove stored documents whose files no longer exist.
            progress: Called as the work goes on, with the same object each time.

        Raises:
            InputError: A path does not exist, or nothing readable is there.
        """
        report = index_files(self.clara, self.store, find_files(paths, ignore, only), progress, read)
        if remove_vanished:
            report.removed = self._remove_vanished()
        return report

    def add_documents(self, documents: Iterable[Document]) -> AddReport:
        """Store documents that were read already; one under a known name replaces it if it differs."""
        known = self.store.sources()
        report = AddReport()
        new = []
        for document in documents:
            if known.get(document.source) == document.sha256:
                report.unchanged += 1
            else:
                new.append(cut_document(self.clara, document))
        index_documents(self.clara, self.store, new, report)
        return report

    def add_texts(self, texts: dict[str, str]) -> AddReport:
        """Store texts that are in no file, by name; a text under a known name replaces it if it differs."""
        return self.add_documents(
            Document(name, name, (Section(text),), hashlib.sha256(text.encode()).hexdigest())
            for name, text in texts.items()
        )

    def search(self, question: str, k: int | None = None, **options: Any) -> list[Hit]:
        """See `Clara.search`."""
        return self.clara.search(question, self.store, k, **options)

    def explain(self, question: str, k: int | None = None, **options: Any) -> Explanation:
        """See `Clara.explain`."""
        return self.clara.explain(question, self.store, k, **options)

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
        files = {source: Path(file_of(source)) for source in self.store.sources()}
        return self.store.remove(
            source for source, file in files.items() if file.is_absolute() and not file.exists()
        )
