"""A connection to a store's SQLite file, and its transactions."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clara.errors import StoreError
from clara.files import atomic_write
from clara.store.filters import prepare
from clara.store.schema import APPLICATION_ID, FORMAT_VERSION, READINGS, Manifest, add_checksums, row_crc32

COMMITTED_NAME = "committed"

WAIT_SECONDS = 30
"""How long a lock of the database is waited for."""


class Connection:
    """The database of a store, open for one process, whose threads may share it.

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
        self._read_only = read_only
        with self._translated():
            self._connection = _connect(path, read_only=read_only)
            try:
                self._check_kind()
                self.manifest = self._read_manifest()
                if self.manifest.format < FORMAT_VERSION and not read_only:
                    self._connection.execute("BEGIN IMMEDIATE")
                    add_checksums(self._connection)
                    self._connection.execute("COMMIT")
                    self.manifest = self._read_manifest()
                if not read_only:
                    self._connection.execute(READINGS)
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
            query = "SELECT value FROM meta WHERE key = 'generation'"
            generation = int(self._connection.execute(query).fetchone()[0])
            is_outermost = self._depth == 1
        if is_outermost:
            self.note_committed(generation)

    def note_committed(self, generation: int) -> None:
        """Record beside the database what was committed: a damaged log takes its last changes away unseen."""
        with suppress(OSError), atomic_write(self._path.with_name(COMMITTED_NAME)) as file:
            file.write_text(f"{generation}\n", encoding="ascii")

    def committed(self) -> int:
        """The last generation that is known to have been committed; 0 if nothing is known."""
        try:
            return int(self._path.with_name(COMMITTED_NAME).read_bytes()[:20])
        except (OSError, ValueError):
            return 0

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
        except UnicodeDecodeError as error:
            raise damaged(self._path, "it holds text that is not UTF-8") from error
        except sqlite3.OperationalError as error:
            if "decode" in str(error):
                raise damaged(self._path, "it holds text that is not UTF-8") from error
            raise StoreError(
                f"The store's file {self._path} cannot be used ({error}); check the folder's permissions and "
                "the free space."
            ) from error
        except sqlite3.DatabaseError as error:
            raise damaged(self._path, str(error)) from error

    def _check_kind(self) -> None:
        if self._connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"The file {self._path} is not a memory store's; choose another folder.")

    def _read_manifest(self) -> Manifest:
        entries = dict(self._connection.execute("SELECT key, value FROM meta"))
        for name in ("generation", "removals", "places", "crc32"):
            entries.pop(name, None)
        version = entries.get("format")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise StoreError(
                f"The store {self._path.parent} has format {version} and this version of Clara reads up to "
                f"{FORMAT_VERSION}; install a newer version."
            )
        if version == 1:
            raise StoreError(
                f"The store {self._path.parent} has format 1, which a development version wrote; index the "
                "documents into a new store."
            )
        try:
            return Manifest.of_entries(entries)
        except TypeError as error:
            raise damaged(self._path, "its manifest is incomplete") from error


def damaged(path: Path, what: str) -> StoreError:
    """The error that tells of a damaged database."""
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
        timeout=WAIT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        prepare(connection)
        connection.create_function("row_crc32", -1, row_crc32, deterministic=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0
