"""The store's SQLite file: its tables, its transactions, and every query that is made of it.

The file is the commit point of the store: vectors that it does not speak of do not exist.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError, StoreError
from clara.records import Document, Passage, StoredDocument, StoredPassage
from clara.store.filters import Filter

FORMAT_VERSION = 1

_APPLICATION_ID = 0x436C6172  # "Clar": tells a store from other programs' SQLite files
_IDS_A_QUERY = 500
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    modified REAL NOT NULL
);
-- AUTOINCREMENT: the number of a passage that was removed is never given to another
CREATE TABLE passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    title TEXT NOT NULL,
    heading TEXT NOT NULL,
    page INTEGER,
    text TEXT NOT NULL
);
CREATE INDEX passages_of_document ON passages (document);
-- apart from the passages, so that a search need not read past their text
CREATE TABLE places (
    passage INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
    memory_segment INTEGER NOT NULL,
    memory_row INTEGER NOT NULL,
    memory_rows INTEGER NOT NULL,
    key_segment INTEGER,
    key_row INTEGER,
    norm REAL NOT NULL
);
CREATE TABLE segments (
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    PRIMARY KEY (kind, number)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a store says of itself; it never changes.

    Attributes:
        fingerprint: Of the model that wrote the memories; only the same model can read them.
        model: The model's name, for messages.
        memory_size: Numbers in a row of a memory.
        key_size: Numbers in a key; None if the store has no keys.
        created: When the store was made, seconds since the epoch.
        format: Version of the store's format.
    """

    fingerprint: str
    model: str
    memory_size: int
    key_size: int | None
    created: float
    format: int = FORMAT_VERSION


class Place(NamedTuple):
    """Where a passage's vectors are: number of the file, first row in it, and number of rows.

    `norm` is the length of what is searched: of the key, else of the memory with its rows in one line.
    """

    memory_segment: int
    memory_row: int
    memory_rows: int
    key_segment: int | None
    key_row: int | None
    norm: float


class Totals(NamedTuple):
    """How much a store holds, what was removed not counted."""

    documents: int
    passages: int
    memory_rows: int


def create_database(path: Path, manifest: Manifest) -> None:
    """Make a new store's database. A file of this name that was left unfinished is made anew.

    Raises:
        StoreError: The file cannot be written.
    """
    unfinished = path.with_name(f"{path.name}.new")
    try:
        for leftover in unfinished_files(path):
            leftover.unlink(missing_ok=True)
        with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            entries = {**asdict(manifest), "generation": 0}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", entries.items())
        unfinished.replace(path)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"The store's file {path} could not be created: {error}.") from error


def unfinished_files(path: Path) -> list[Path]:
    """The files that `create_database` may leave behind when it is interrupted."""
    return [path.with_name(f"{path.name}.new{ending}") for ending in ("", "-wal", "-shm", "-journal")]


class Database:
    """One connection to a store's database, which several threads may use.

    Args:
        path: The file, which must exist.
        read_only: Whether to refuse writing.

    Raises:
        StoreError: The file is not a store's, is of a newer format, or is damaged.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0
        with self._translated():
            self._connection = _connect(path, read_only=read_only)
            try:
                self._check_kind()
                self.manifest = self._read_manifest()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reading within the block sees the store as it is at the block's first query."""
        with self._transaction("BEGIN"):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What is written within the block comes about as a whole when it ends, or not at all if it fails."""
        with self._transaction("BEGIN IMMEDIATE"):
            yield
            self._connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._lock, self._translated():
            if self._depth == 0:
                self._connection.execute(begin)
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    with suppress(sqlite3.Error):  # some errors have rolled back already
                        self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("COMMIT")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"The store's file {self._path} cannot be used ({error}); check the folder's permissions and "
                "the free space."
            ) from error
        except sqlite3.DatabaseError as error:
            raise _damaged(self._path, str(error)) from error

    def _check_kind(self) -> None:
        if self._connection.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise StoreError(f"The file {self._path} is not a memory store's; choose another folder.")

    def _read_manifest(self) -> Manifest:
        entries = dict(self._connection.execute("SELECT key, value FROM meta"))
        entries.pop("generation", None)
        version = entries.get("format")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise StoreError(
                f"The store {self._path.parent} has format {version} and this version of Clara reads up to "
                f"{FORMAT_VERSION}; install a newer version."
            )
        try:
            return Manifest(**entries)
        except TypeError as error:
            raise _damaged(self._path, "its manifest is incomplete") from error

    # reading

    def generation(self) -> int:
        """A number that grows with every change of the store."""
        with self.snapshot():
            rows = self._connection.execute("SELECT value FROM meta WHERE key = 'generation'")
            return int(rows.fetchone()[0])

    def totals(self) -> Totals:
        """Count documents, passages and their memories' rows."""
        with self.snapshot():
            row = self._connection.execute(
                "SELECT (SELECT count(*) FROM documents), count(*), coalesce(sum(memory_rows), 0) FROM places"
            )
            return Totals(*row.fetchone())

    def documents(self) -> list[StoredDocument]:
        """All documents, by source."""
        with self.snapshot():
            rows = self._connection.execute(
                "SELECT source, title, sha256, modified,"
                " (SELECT count(*) FROM passages WHERE document = documents.id)"
                " FROM documents ORDER BY source"
            )
            return [StoredDocument(*row) for row in rows]

    def passages(self, ids: Sequence[int]) -> dict[int, StoredPassage]:
        """The passages of these numbers, less those that there are not."""
        query = (
            "SELECT passages.id, source, text, passages.title, heading, page, position"
            " FROM passages JOIN documents ON documents.id = document WHERE passages.id IN ({})"
        )
        return {row[0]: StoredPassage(row[0], row[1], Passage(*row[2:])) for row in self._by_id(query, ids)}

    def places(self, ids: Sequence[int]) -> dict[int, Place]:
        """Where the vectors of these passages are, less those that there are not."""
        rows = self._by_id("SELECT * FROM places WHERE passage IN ({})", ids)
        return {row[0]: Place(*row[1:]) for row in rows}

    def _by_id(self, query: str, ids: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        with self.snapshot():
            for start in range(0, len(ids), _IDS_A_QUERY):
                some = [int(number) for number in ids[start : start + _IDS_A_QUERY]]
                yield from self._connection.execute(query.format(",".join("?" * len(some))), some).fetchall()

    def all_places(self) -> list[tuple[int, Place]]:
        """The number and place of every passage, by number."""
        with self.snapshot():
            rows = self._connection.execute("SELECT * FROM places ORDER BY passage")
            return [(row[0], Place(*row[1:])) for row in rows]

    def segment_rows(self, kind: str) -> dict[int, int]:
        """Rows that count in each file of a kind, by the file's number."""
        with self.snapshot():
            return dict(self._connection.execute("SELECT number, rows FROM segments WHERE kind = ?", (kind,)))

    # reading, for searches

    def matching(self, where: Filter) -> NDArray[np.int64]:
        """Numbers of the passages that a filter allows, ascending."""
        with self.snapshot():
            rows = self._connection.execute(f"{where.sql} ORDER BY passages.id", where.parameters)
            return np.fromiter((row[0] for row in rows), np.int64)

    def lexical(
        self, expression: str, limit: int, where: Filter | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Numbers and BM25 scores, higher is better, of the passages that match, best first."""
        if not expression:
            return np.empty(0, np.int64), np.empty(0)
        within = f" AND rowid IN ({where.sql})" if where else ""
        with self.snapshot():
            if not self._has_words():
                raise StoreError(
                    f"The store {self._path.parent} has no index of words, since an older version of Clara "
                    "wrote it; open it for writing once."
                )
            rows = self._connection.execute(
                f"SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?{within}"
                " ORDER BY bm25(words), rowid LIMIT ?",
                (expression, *(where.parameters if where else ()), limit),
            ).fetchall()
        ids, scores = zip(*rows, strict=True) if rows else ((), ())
        return np.array(ids, np.int64), np.array(scores, np.float64)

    def _has_words(self) -> bool:
        query = "SELECT count(*) FROM sqlite_master WHERE name = 'words'"
        return bool(self._connection.execute(query).fetchone()[0])

    # writing, within `writing`

    def add(self, document: Document, passages: Iterable[tuple[Passage, Place]]) -> None:
        """Add a document and its passages, in place of one with the same source if there is one.

        Raises:
            InputError: A text is not valid Unicode.
        """
        self.remove(document.source)
        execute = self._connection.execute
        try:
            number = execute(
                "INSERT INTO documents (source, title, sha256, modified) VALUES (?, ?, ?, ?)",
                (document.source, document.title, document.sha256, document.modified),
            ).lastrowid
            for passage, place in passages:
                inserted = execute(
                    "INSERT INTO passages (document, position, title, heading, page, text)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (number, passage.position, passage.title, passage.heading, passage.page, passage.text),
                ).lastrowid
                execute("INSERT INTO places VALUES (?, ?, ?, ?, ?, ?, ?)", (inserted, *place))
        except UnicodeEncodeError as error:
            raise InputError(
                f"The document {document.source!r} holds text that is not valid Unicode (a lone surrogate); "
                "remove those characters."
            ) from error

    def remove(self, source: str) -> bool:
        """Remove a document and its passages, and say whether there was one."""
        return self._connection.execute("DELETE FROM documents WHERE source = ?", (source,)).rowcount > 0

    def set_segment_rows(self, kind: str, rows: Mapping[int, int]) -> None:
        """Record how many rows of each file count from now on."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO segments VALUES (?, ?, ?)",
            [(kind, number, count) for number, count in rows.items()],
        )


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"The store's file {path} is damaged: {what}; restore it from a backup or index into a new store."
    )


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    options = "mode=ro" if read_only else "mode=rw"
    if read_only and not os.access(path.parent, os.W_OK) and not _has_log(path):
        # a reader of a write-ahead log must make files of its own, which it cannot here and need not: a store
        # that was closed properly has no log
        options = "immutable=1"
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{options}",
        uri=True,
        timeout=30,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0
