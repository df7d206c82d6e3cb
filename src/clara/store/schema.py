"""The tables of a store's SQLite file: how they are made, and how those of an older format are read."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from clara.errors import StoreError
from clara.records import Passage

FORMAT_VERSION = 2
APPLICATION_ID = 0x436C6172  # "Clar": tells a store from other programs' SQLite files

_TABLES = """
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
    first_line INTEGER,
    last_line INTEGER,
    metadata TEXT,
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
    norm REAL NOT NULL,
    digest BLOB
);
CREATE TABLE segments (
    kind TEXT NOT NULL,
    number INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    codec TEXT NOT NULL DEFAULT 'float16',
    PRIMARY KEY (kind, number)
) WITHOUT ROWID;
"""

# what format 2 has and format 1 has not
_ADDED_TABLES = """
CREATE TABLE copies (
    source TEXT PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    modified REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX copies_of_document ON copies (document);
CREATE TABLE blocks (
    kind TEXT NOT NULL,
    segment INTEGER NOT NULL,
    first_row INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (kind, segment, first_row)
) WITHOUT ROWID;
CREATE TABLE codebooks (kind TEXT PRIMARY KEY, shape TEXT NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL);
"""
_WORDS = """
CREATE VIRTUAL TABLE {where}words USING fts5 (
    title, heading, text, content = 'passages', content_rowid = 'id', tokenize = 'porter unicode61'
);
"""
_INDEXES = """
CREATE INDEX documents_of_sha256 ON documents (sha256);
CREATE INDEX places_of_digest ON places (digest);
CREATE TRIGGER passage_added AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, title, heading, text) VALUES (new.id, new.title, new.heading, new.text);
END;
CREATE TRIGGER passage_removed AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, title, heading, text)
    VALUES ('delete', old.id, old.title, old.heading, old.text);
END;
"""
_RENEWED_TABLES = """
ALTER TABLE passages ADD COLUMN first_line INTEGER;
ALTER TABLE passages ADD COLUMN last_line INTEGER;
ALTER TABLE passages ADD COLUMN metadata TEXT;
ALTER TABLE places ADD COLUMN digest BLOB;
ALTER TABLE segments ADD COLUMN codec TEXT NOT NULL DEFAULT 'float16';
"""
# a temporary name hides that of the file, so that the same queries read the older format
_OLDER_TABLES_SEEN = """
CREATE TEMP VIEW passages AS
    SELECT id, document, position, title, heading, page, NULL AS first_line, NULL AS last_line,
        NULL AS metadata, text
    FROM main.passages;
CREATE TEMP VIEW places AS SELECT *, NULL AS digest FROM main.places;
CREATE TEMP VIEW segments AS SELECT *, 'float16' AS codec FROM main.segments;
CREATE TEMP TABLE copies (source TEXT PRIMARY KEY, document INTEGER, modified REAL);
CREATE TEMP TABLE blocks (kind TEXT, segment INTEGER, first_row INTEGER, rows INTEGER, crc INTEGER);
CREATE TEMP TABLE codebooks (kind TEXT PRIMARY KEY, shape TEXT, data BLOB, crc INTEGER);
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
        memory_dtype: How rows of memories are kept.
        identity: Tells the store from all others; empty in one of format 1.
        format: Version of the store's format.
    """

    fingerprint: str
    model: str
    memory_size: int
    key_size: int | None
    created: float
    memory_dtype: str = "float16"
    identity: str = ""
    format: int = FORMAT_VERSION


def new_identity() -> str:
    """A name that no other store has."""
    return secrets.token_hex(16)


def content_digest(passage: Passage) -> bytes:
    """Tells what the model reads of a passage from all else, 16 bytes."""
    return text_digest(passage.content)


def text_digest(content: str) -> bytes:
    """Tells a text from all others, 16 bytes; a text that is not valid Unicode has one too."""
    return hashlib.blake2b(content.encode(errors="surrogatepass"), digest_size=16).digest()


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
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            schema = _TABLES + _ADDED_TABLES + _WORDS.format(where="") + _INDEXES
            connection.executescript(f"BEGIN; {schema} COMMIT;")
            entries = {**asdict(manifest), "generation": 0, "layout": 0}
            connection.executemany("INSERT INTO meta VALUES (?, ?)", entries.items())
        unfinished.replace(path)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"The store's file {path} could not be created: {error}.") from error


def unfinished_files(path: Path) -> list[Path]:
    """The files that `create_database` may leave behind when it is interrupted."""
    return [path.with_name(f"{path.name}.new{ending}") for ending in ("", "-wal", "-shm", "-journal")]


def renew(connection: sqlite3.Connection) -> None:
    """Bring the tables of format 1 to this one, in one transaction."""
    connection.create_function("content_digest", 3, _digest_of_columns, deterministic=True)
    connection.execute("BEGIN IMMEDIATE")
    try:
        schema = _RENEWED_TABLES + _ADDED_TABLES + _WORDS.format(where="") + _INDEXES
        for statement in _statements(schema):  # executescript would commit first
            connection.execute(statement)
        connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
        connection.execute(
            "UPDATE places SET digest ="
            " (SELECT content_digest(title, heading, text) FROM passages WHERE id = passage)"
        )
        entries = {
            "format": FORMAT_VERSION,
            "identity": new_identity(),
            "memory_dtype": "float16",
            "layout": 0,
        }
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", entries.items())
        connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def show_as_new(connection: sqlite3.Connection) -> None:
    """Let a connection read the tables of format 1 as those of this one; the file stays as it is."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.executescript(_OLDER_TABLES_SEEN + _WORDS.format(where="temp."))
    connection.execute("INSERT INTO temp.words (words) VALUES ('rebuild')")


def _digest_of_columns(title: str, heading: str, text: str) -> bytes:
    return content_digest(Passage(text, title, heading))


def _statements(script: str) -> list[str]:
    """The statements of a script, one by one."""
    found, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found
