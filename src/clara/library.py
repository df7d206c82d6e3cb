"""A library: a model and a memory store together, filled from files and asked questions."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clara.documents import ReadOptions, find_files
from clara.documents.ignore import Rules
from clara.errors import InputError
from clara.indexing import AddReport, Progress, cut_document, index_documents, index_files
from clara.missing_files import AnyPath, files_of, missing_files
from clara.models.stored import model_of
from clara.pipeline import Clara
from clara.records import Answer, Document, Hit, Section, StoredDocument
from clara.store import Explanation, MemoryStore, StoredReading

logger = logging.getLogger(__name__)


class Library:
    """A memory store in a folder, with the model that wrote it.

    ```python
    library = Library(Clara.from_pretrained(), "my-library")
    library.add("examples/documents")
    answer = library.ask("On what day was the Brooklyn Bridge opened?")
    print(answer.text, answer.sources[0].lines)
    ```

    Args:
        clara: The model.
        path: The store's folder; created at the first `add` if it does not exist.
        read_only: Open for reading only; the store must exist.
        memory_dtype: Data type of memories in a new store: float16, int8, int4 or pq; float16 if None.
        rate: Text tokens per memory token of a new store; the model's own rate if None. The store records
            it, and documents that are added later are compressed at the same rate.

    Raises:
        InputError: The model has no memories of that rate, or the store holds memories of another rate.
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
        rate: int | None = None,
    ) -> None:
        path = Path(path)
        if rate is not None and not clara.model.offers_rates:
            raise InputError(
                f"The model {clara.name} is an extractive reader, which stores words and has no compression "
                "rate; leave the rate out or name a model that compresses."
            )
        clara.memory_tokens(rate)
        self.clara = clara
        if read_only:
            self.store = MemoryStore.open(path, fingerprint=clara.fingerprint, read_only=True)
        else:
            self.store = MemoryStore.open_or_create(
                path,
                fingerprint=clara.fingerprint,
                model=clara.name,
                memory_dim=clara.model.hidden_size,
                embedding_dim=clara.embedding_dim,
                memory_dtype=memory_dtype,
                rate=rate,
                precision=clara.precision,
            )
        if self.store.precision not in (clara.precision, None):
            logger.warning(
                "The store %s was written in %s and %s computes in %s here, so scores may differ slightly.",
                path,
                self.store.precision,
                clara.name,
                clara.precision,
            )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        model: str | os.PathLike[str] | None = None,
        device: str | None = None,
        read_only: bool = False,
    ) -> Library:
        """The library of a folder, with its model loaded.

        Args:
            path: The store's folder; created at the first `add` if it does not exist.
            model: As for `Clara.from_pretrained`; if None, the packaged model that wrote the store, or the
                default model.
            device: As for `Clara.from_pretrained`.
            read_only: Open for reading only; the store must exist.

        Raises:
            CheckpointError: The model is missing, broken or unsafe.
            StoreError: The folder is not a store, is broken, or (to write) is being written by another
                process.
            StoreMismatchError: Another model wrote it.

        Example:
            ```python
            with Library.open("clara-store", read_only=True) as library:
                print(library.ask("On what day was the Brooklyn Bridge opened?").text)
            ```
        """
        name = model_of(Path(path), None if model is None else str(model))
        return cls(Clara.from_pretrained(name, device=device), path, read_only=read_only)

    def add(
        self,
        paths: AnyPath | Iterable[AnyPath],
        *,
        ignore: Sequence[str] = (),
        only: Sequence[str] = (),
        read: ReadOptions | None = None,
        heed: bool = True,
        remove_missing: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
    ) -> AddReport:
        """Read files and folders, compress their passages, store the memories.

        Unchanged files are skipped, unless an older version of the readers read them. In a changed file only
        the changed passages are compressed. A moved file is recognised by its content and not compressed
        again. Work is committed every few hundred passages, so that a killed run can be repeated and
        continues.

        Args:
            paths: Files and folders.
            ignore: Patterns, as in `.gitignore`, of files and folders to skip.
            only: Patterns; other files are skipped.
            read: Fields of records (CSV, JSON) to use as text, title and metadata.
            heed: Apply the files `.gitignore` and `.claraignore`.
            remove_missing: Also remove stored documents below `paths` whose files no longer exist. A missing
                path or an empty folder is then no error if documents of it are stored. Documents whose
                files cannot be accessed are kept.
            progress: Called repeatedly during the work, with the same object each time.

        Raises:
            InputError: A path does not exist, or nothing readable is there.
        """
        given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
        if remove_missing:
            files = self._files_that_are_left(given, ignore, only, heed)
        else:
            files = find_files(given, ignore, only, heed=heed)
        report = index_files(self.clara, self.store, files, progress, read)
        if remove_missing:
            report.removed = self._remove_missing(given)
        else:
            report.gone = missing_files(self.store.sources(), given)[0]
        return report

    def add_documents(self, documents: Iterable[Document]) -> AddReport:
        """Store documents that were already read; a known name is replaced if the content differs."""
        with self.store.snapshot():
            known, readings = self.store.sources(), self.store.readings()
        report = AddReport()
        new = []
        for document in documents:
            report.tell(document.source, document.left_out)
            is_known = known.get(document.source) == document.sha256
            if is_known and readings.get(document.source, StoredReading()).version >= document.reader:
                report.unchanged += 1
            else:
                new.append(replace(cut_document(self.clara, document), is_reread=is_known))
        index_documents(self.clara, self.store, new, report)
        return report

    def add_texts(self, texts: dict[str, str]) -> AddReport:
        """Store texts by name; a known name is replaced if the text differs."""
        return self.add_documents(
            Document(name, name, (Section(text),), hashlib.sha256(text.encode()).hexdigest())
            for name, text in texts.items()
        )

    def documents(self) -> list[StoredDocument]:
        """All documents, ordered by source. A large file is several documents; copies are not included."""
        return self.store.documents()

    def remove(self, sources: str | Iterable[str]) -> int:
        """Remove documents; see `MemoryStore.remove`.

        Args:
            sources: `StoredDocument.source` of one or several documents; unknown ones are ignored.

        Returns:
            How many documents were removed.
        """
        return self.store.remove(sources)

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

    def _files_that_are_left(
        self, given: Sequence[AnyPath], ignore: Sequence[str], only: Sequence[str], heed: bool
    ) -> list[Path]:
        """The files to read, where paths of which only documents without files are known hold none."""
        try:
            return find_files(given, ignore, only, heed=heed)
        except InputError:
            Rules(ignore, only)  # a faulty pattern stays an error
            gone = [file for source in missing_files(self.store.sources())[0] for file in files_of(source)]
            left = [path for path in given if _is_filled(path, ignore, only) or not _holds(path, gone)]
            if len(left) == len(given):
                raise
            return find_files(left, ignore, only, heed=heed) if left else []

    def _remove_missing(self, paths: Sequence[AnyPath]) -> int:
        gone, unseen = missing_files(self.store.sources(), paths)
        if unseen:
            logger.warning(
                "Documents that are kept since their files cannot be looked at: %d, the first of them %s.",
                len(unseen),
                unseen[0],
            )
        return self.store.remove(gone)


def _is_filled(path: AnyPath, ignore: Sequence[str], only: Sequence[str]) -> bool:
    """Whether files to read are found at a path."""
    try:
        return bool(find_files(path, ignore, only))
    except InputError:
        return False


def _holds(path: AnyPath, files: Iterable[Path]) -> bool:
    """Whether any of these files is, or was, at a path or below it."""
    top = os.path.realpath(path)
    return any(file.is_relative_to(top) for file in files)
