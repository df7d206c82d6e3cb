"""A store's folder, the tables of its SQLite file, and what it says of itself there."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from clara.errors import StoreError
from clara.models.stored import DATABASE
from clara.store.lock import LOCK_NAME

SEGMENTS = "segments"

FORMAT_VERSION = 3

APPLICATION_ID = 0x436C6172  # "Clar": tells a store from other programs' SQLite files

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    modified REAL NOT NULL,
    crc32 INTEGER
);
-- AUTOINCREMENT: the id of a removed passage is never given to another
CREATE TABLE passages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    title TEXT NOT NULL,
    heading TEXT NOT NULL,
    page INTEGER,
    first_line INTEGER,
    last_line INTEGER,
    metadata TEXT,
    text TEXT NOT NULL,
    crc32 INTEGER
);
-- with all that a filter asks of a passage, so that it need not read past the texts
CREATE INDEX passages_of_document ON passages (document, position, page, title, heading, metadata);
-- files whose bytes are those of a document
CREATE TABLE copies (
    source TEXT PRIMARY KEY,
    modified REAL NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    crc32 INTEGER
) WITHOUT ROWID;
CREATE INDEX copies_of_document ON copies (document);
CREATE INDEX documents_by_hash ON documents (sha256);
-- apart from the passages, so that a search need not read past their text
CREATE TABLE places (
    passage INTEGER PRIMARY KEY REFERENCES passages (id) ON DELETE CASCADE,
    memory_segment INTEGER NOT NULL,
    memory_row INTEGER NOT NULL,
    memory_rows INTEGER NOT NULL,
    key_segment INTEGER,
    key_row INTEGER,
    norm REAL NOT NULL,
    crc32 INTEGER
);
CREATE TABLE segments (
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    codec TEXT NOT NULL,
    PRIMARY KEY (kind, number)
) WITHOUT ROWID;
-- rows that were committed together, with their checksum
CREATE TABLE blocks (
    kind TEXT NOT NULL,
    segment INTEGER NOT NULL,
    first INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    crc32 INTEGER NOT NULL,
    PRIMARY KEY (kind, segment, first)
) WITHOUT ROWID;
CREATE TABLE codebooks (name TEXT PRIMARY KEY, data BLOB NOT NULL, crc32 INTEGER NOT NULL) WITHOUT ROWID;
-- full-text search; the text itself stands in the passages alone
CREATE VIRTUAL TABLE words USING fts5 (
    title, heading, text, content = 'passages', content_rowid = 'id', tokenize = 'porter unicode61'
);
CREATE TRIGGER passages_added AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, title, heading, text) VALUES (new.id, new.title, new.heading, new.text);
END;
CREATE TRIGGER passages_removed AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, title, heading, text)
    VALUES ('delete', old.id, old.title, old.heading, old.text);
    UPDATE meta SET value = value + 1 WHERE key = 'removals';
END;
"""

READINGS = """
CREATE TABLE IF NOT EXISTS readings (
    document INTEGER PRIMARY KEY REFERENCES documents (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    left_out TEXT NOT NULL,
    crc32 INTEGER
)
"""
"""By which version of the readers a document was read, and what was left out of it (JSON).

Stores get it when they are opened for writing; a document without a row is of version 0.
"""

CHECKED = {
    "documents": ("source", "title", "sha256", "modified"),
    "passages": (
        *("document", "position", "title", "heading", "page", "first_line", "last_line", "metadata", "text"),
    ),
    "copies": ("source", "modified", "document"),
    "places": (
        *("passage", "memory_segment", "memory_row", "memory_rows", "key_segment", "key_row", "norm"),
    ),
    "readings": ("document", "version", "left_out"),
}
"""Tables whose rows have a checksum, with the columns that it covers; an older store lacks the last one."""


def row_crc32(*values: str | bytes | float | None) -> int:
    """The checksum of a row; a function of SQLite too."""
    # SQLite stores a whole number in a column of real numbers as an integer
    plain = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    return zlib.crc32(repr(plain).encode("utf-8", "surrogatepass"))


IDENTITY = ("fingerprint", "model", "memory_size", "key_size", "created")
LATER_IDENTITY = ("rate", "precision")
"""Entries of `meta` that never change; older stores lack the later ones."""


def identity_crc32(entries: Mapping[str, Any]) -> int:
    """The checksum of the entries of `meta` that never change; its entry `crc32`."""
    names = (*IDENTITY, *(name for name in LATER_IDENTITY if name in entries))
    return row_crc32(*(entries.get(name) for name in names))


def add_checksums(connection: sqlite3.Connection) -> None:
    """Bring a database of format 2, whose rows have no checksums, to format 3; within a transaction."""
    for table, columns in CHECKED.items():
        if table == "readings":  # newer than format 3
            continue
        connection.execute(f"ALTER TABLE {table} ADD COLUMN crc32 INTEGER")
        connection.execute(f"UPDATE {table} SET crc32 = row_crc32({', '.join(columns)})")
    entries = dict(connection.execute("SELECT key, value FROM meta"))
    crc32 = identity_crc32(entries)
    connection.execute("INSERT INTO meta VALUES ('crc32', ?)", (crc32,))
    connection.execute("UPDATE meta SET value = 3 WHERE key = 'format'")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a store says of itself.

    Attributes:
        fingerprint: Of the model that wrote the memories; only the same model can read them.
        model: The model's name, for messages.
        memory_dim: Dimension of a row of a memory.
        embedding_dim: Dimension of an embedding; None if the store has no embeddings.
        created: When the store was made, seconds since the epoch.
        memory_dtype: How memories are kept, one of `codecs.MEMORY_DTYPES`; it can be changed by `compact`.
        rate: Text tokens per memory token; None for the model's own rate.
        precision: Type that the memories were computed in; None if unknown.
        format: Version of the store's format.
    """

    fingerprint: str
    model: str
    memory_dim: int
    embedding_dim: int | None
    created: float
    memory_dtype: str = "float16"
    rate: int | None = None
    precision: str | None = None
    format: int = FORMAT_VERSION

    @classmethod
    def of_entries(cls, entries: Mapping[str, Any]) -> Self:
        """The manifest that entries of the table `meta` make up; TypeError if some are missing or unknown."""
        return cls(**{_FIELD_OF.get(name, name): value for name, value in entries.items()})

    def entries(self) -> dict[str, Any]:
        """The entries of the table `meta`."""
        names = {field: name for name, field in _FIELD_OF.items()}
        return {names.get(field, field): value for field, value in asdict(self).items()}


_FIELD_OF = {"memory_size": "memory_dim", "key_size": "embedding_dim"}
"""Fields whose names in `meta` are others."""


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
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            # without a write-ahead log, which a full disk would keep out of the file until after its renaming
            connection.executescript(f"BEGIN; {_SCHEMA}; {READINGS}")
            entries = {**manifest.entries(), "generation": 0, "removals": 0}
            entries["crc32"] = identity_crc32(entries)
            connection.executemany("INSERT INTO meta VALUES (?, ?)", entries.items())
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        unfinished.replace(path)
    except (sqlite3.Error, OSError) as error:
        for leftover in unfinished_files(path):
            with suppress(OSError):
                leftover.unlink(missing_ok=True)
        raise StoreError(f"The store's file {path} could not be created: {error}.") from error


def unfinished_files(path: Path) -> list[Path]:
    """The files that `create_database` may leave behind when it is interrupted."""
    return [path.with_name(f"{path.name}.new{ending}") for ending in ("", "-wal", "-shm", "-journal")]


def make_folder(folder: Path) -> None:
    """Make a folder, if it is not there.

    Raises:
        StoreError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StoreError(
            f"{folder} is a file and not a folder; choose another path for the store."
        ) from error
    except OSError as error:
        raise StoreError(
            f"The folder {folder} cannot be made: {error.strerror}; choose another path."
        ) from error


def check_empty(folder: Path) -> None:
    """Make sure that a new store overwrites nothing but what is left of one whose making was interrupted.

    Raises:
        StoreError: There is something else.
    """
    if (folder / DATABASE).exists():
        raise StoreError(
            f"The folder {folder} already holds a memory store; open it or choose another folder."
        )
    leftovers = {LOCK_NAME, *(path.name for path in unfinished_files(folder / DATABASE))}
    for path in folder.iterdir():
        is_empty_folder = path.name == SEGMENTS and path.is_dir() and not any(path.iterdir())
        if path.name not in leftovers and not is_empty_folder:
            raise StoreError(
                f"The folder {folder} is not empty and not a memory store; choose another folder."
            )


def as_stored(name: str) -> str:
    r"""A name as valid Unicode, as `Document.source` has it.

    Python holds the bytes of a file's name that are not UTF-8 as lone surrogates, which SQLite does not take;
    they become escapes such as \udcff.
    """
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
