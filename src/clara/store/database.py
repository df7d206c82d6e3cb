"""The store's SQLite file: its tables, its transactions, and every query that is made of it.

The file is the commit point of the store: vectors that it does not speak of do not exist.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError, StoreError
from clara.records import Document, Passage, StoredDocument, StoredPassage
from clara.store.filters import Filter
from clara.store.schema import (
    APPLICATION_ID,
    FORMAT_VERSION,
    Manifest,
    content_digest,
    renew,
    show_as_new,
    text_digest,
)

_IDS_A_QUERY = 500
_PLACE = "passage, memory_segment, memory_row, memory_rows, key_segment, key_row, norm"


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
                if self.manifest.format < FORMAT_VERSION:
                    self._renew(read_only=read_only)
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
        if self._connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"The file {self._path} is not a memory store's; choose another folder.")

    def _read_manifest(self) -> Manifest:
        entries = dict(self._connection.execute("SELECT key, value FROM meta"))
        for changing in ("generation", "layout"):
            entries.pop(changing, None)
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

    def _renew(self, *, read_only: bool) -> None:
        if read_only:
            show_as_new(self._connection)
        else:
            renew(self._connection)
            self.manifest = self._read_manifest()

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
        """All documents and their copies, by source."""
        with self.snapshot():
            rows = self._connection.execute(
                "SELECT source, title, sha256, modified, "
                " (SELECT count(*) FROM passages WHERE document = number) FROM ("
                "  SELECT id AS number, source, title, sha256, modified FROM documents UNION ALL"
                "  SELECT document, copies.source, title, sha256, copies.modified"
                "  FROM copies JOIN documents ON documents.id = document"
                " ) ORDER BY source"
            )
            return [StoredDocument(*row) for row in rows]

    def passages(self, ids: Sequence[int]) -> dict[int, StoredPassage]:
        """The passages of these numbers, less those that there are not."""
        query = (
            "SELECT passages.id, source, text, passages.title, heading, page, position,"
            " first_line, last_line, metadata"
            " FROM passages JOIN documents ON documents.id = document WHERE passages.id IN ({})"
        )
        return {row[0]: StoredPassage(row[0], row[1], _passage(*row[2:])) for row in self._by_id(query, ids)}

    def places(self, ids: Sequence[int]) -> dict[int, Place]:
        """Where the vectors of these passages are, less those that there are not."""
        rows = self._by_id(f"SELECT {_PLACE} FROM places WHERE passage IN ({{}})", ids)
        return {row[0]: Place(*row[1:]) for row in rows}

    def _by_id(self, query: str, ids: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        with self.snapshot():
            for start in range(0, len(ids), _IDS_A_QUERY):
                some = [int(number) for number in ids[start : start + _IDS_A_QUERY]]
                yield from self._connection.execute(query.format(",".join("?" * len(some))), some).fetchall()

    def all_places(self) -> list[tuple[int, Place]]:
        """The number and place of every passage, by number."""
        with self.snapshot():
            rows = self._connection.execute(f"SELECT {_PLACE} FROM places ORDER BY passage")
            return [(row[0], Place(*row[1:])) for row in rows]

    def segment_rows(self, kind: str) -> dict[int, int]:
        """Rows that count in each file of a kind, by the file's number."""
        with self.snapshot():
            return dict(self._connection.execute("SELECT number, rows FROM segments WHERE kind = ?", (kind,)))

    def places_of(self, contents: Sequence[str]) -> dict[str, Place]:
        """Where the vectors of passages with these contents are, less the contents that are not stored."""
        query = f"SELECT digest, {_PLACE} FROM places WHERE digest = ? LIMIT 1"
        found = {}
        with self.snapshot():
            for content in dict.fromkeys(contents):
                row = self._connection.execute(query, (text_digest(content),)).fetchone()
                if row is not None:
                    found[content] = Place(*row[2:])
        return found

    def lexical(self, match: str, limit: int, where: Filter | None = None) -> list[tuple[int, float]]:
        """Numbers and BM25 scores (higher is better) of the passages whose words fit best.

        Args:
            match: A query in the language of SQLite's FTS5.
            limit: How many to return, if there are as many.
            where: Which passages may be returned; None for all.
        """
        within = f" AND rowid IN ({where.sql})" if where else ""
        with self.snapshot():
            rows = self._connection.execute(
                f"SELECT rowid, -rank FROM words WHERE words MATCH ?{within} ORDER BY rank, rowid LIMIT ?",
                (match, *(where.parameters if where else ()), limit),
            )
            return rows.fetchall()

    def matching(self, where: Filter) -> NDArray[np.int64]:
        """Numbers of the passages that a filter allows, ascending."""
        with self.snapshot():
            rows = self._connection.execute(f"{where.sql} ORDER BY passages.id", where.parameters)
            return np.fromiter((row[0] for row in rows), np.int64)

    # writing, within `writing`

    def add(self, document: Document, passages: Iterable[tuple[Passage, Place]]) -> None:
        """Add a document and its passages; there must be none of this source.

        Raises:
            InputError: A text is not valid Unicode.
        """
        execute = self._connection.execute
        try:
            number = execute(
                "INSERT INTO documents (source, title, sha256, modified) VALUES (?, ?, ?, ?)",
                (document.source, document.title, document.sha256, document.modified),
            ).lastrowid
            for passage, place in passages:
                inserted = execute(
                    "INSERT INTO passages (document, position, title, heading, page, first_line, last_line,"
                    " metadata, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (number, *_columns(passage)),
                ).lastrowid
                execute(
                    f"INSERT INTO places ({_PLACE}, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (inserted, *place, content_digest(passage)),
                )
        except UnicodeEncodeError as error:
            raise InputError(
                f"The document {document.source!r} holds text that is not valid Unicode (a lone surrogate); "
                "remove those characters."
            ) from error

    def add_copy(self, document: Document) -> bool:
        """Record a document as a copy of one whose file had the same bytes, and say whether there is one."""
        if not document.sha256:
            return False
        added = self._connection.execute(
            "INSERT INTO copies (source, document, modified)"
            " SELECT ?, id, ? FROM documents WHERE sha256 = ? LIMIT 1",
            (document.source, document.modified, document.sha256),
        )
        return added.rowcount > 0

    def remove(self, source: str) -> bool:
        """Remove a document and its passages, and say whether there was one.

        If it has copies, one of them takes its place and the passages stay.
        """
        execute = self._connection.execute
        if execute("DELETE FROM copies WHERE source = ?", (source,)).rowcount > 0:
            return True
        heir = execute(
            "SELECT copies.source, document, copies.modified FROM copies"
            " JOIN documents ON documents.id = document WHERE documents.source = ? ORDER BY copies.source",
            (source,),
        ).fetchone()
        if heir is not None:
            name, number, modified = heir
            execute("DELETE FROM copies WHERE source = ?", (name,))
            execute("UPDATE documents SET source = ?, modified = ? WHERE id = ?", (name, modified, number))
            return True
        if execute("DELETE FROM documents WHERE source = ?", (source,)).rowcount == 0:
            return False
        execute("UPDATE meta SET value = value + 1 WHERE key = 'layout'")
        return True

    def set_segment_rows(self, kind: str, rows: Mapping[int, int]) -> None:
        """Record how many rows of each file count from now on."""
        self._connection.executemany(
            "INSERT INTO segments (kind, number, rows) VALUES (?, ?, ?)"
            " ON CONFLICT (kind, number) DO UPDATE SET rows = excluded.rows",
            [(kind, number, count) for number, count in rows.items()],
        )


def _columns(passage: Passage) -> tuple[int | str | None, ...]:
    """A passage as the columns of its table."""
    first_line, last_line = passage.lines or (None, None)
    metadata = json.dumps(dict(passage.metadata), ensure_ascii=False) if passage.metadata else None
    return (
        passage.position,
        passage.title,
        passage.heading,
        passage.page,
        first_line,
        last_line,
        metadata,
        passage.text,
    )


def _passage(
    text: str,
    title: str,
    heading: str,
    page: int | None,
    position: int,
    first_line: int | None,
    last_line: int | None,
    metadata: str | None,
) -> Passage:
    """A passage from the columns of its table."""
    lines = None if first_line is None or last_line is None else (first_line, last_line)
    return Passage(text, title, heading, page, position, lines, json.loads(metadata) if metadata else {})


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
