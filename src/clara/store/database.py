"""Every query that is made of a store's SQLite file.

The file is the commit point of the store: vectors that it does not speak of do not exist.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError, StoreError
from clara.records import Document, Passage, StoredDocument, StoredPassage
from clara.store.connection import WAIT_SECONDS, Connection, damaged
from clara.store.filters import Filter
from clara.store.schema import CHECKED, identity_crc32, row_crc32
from clara.store.segments import Block, Segment

SEARCHED = np.dtype([("id", "i8"), ("segment", "i8"), ("first", "i8"), ("count", "i8"), ("norm", "f8")])
"""A passage's id and where its searched vector is, as in `VectorTable`."""

_PASSAGES = (
    "SELECT passages.id, source, passages.text, passages.title, passages.heading, passages.page,"
    " passages.position, passages.first_line, passages.last_line, passages.metadata"
    " FROM passages JOIN documents ON documents.id = passages.document"
)
_IDS_A_QUERY = 500
_OFFSETS = ", ".join(CHECKED["places"])


class Offsets(NamedTuple):
    """Where a passage's vectors are: number of the file, first row in it, and number of rows.

    `norm` is the length of what is searched: of the embedding, else of the memory with its rows in one line.
    """

    memory_segment: int
    memory_row: int
    memory_rows: int
    embedding_segment: int | None
    embedding_row: int | None
    norm: float


class StoredReading(NamedTuple):
    """By which version of the readers a document was read, and what was left out of it."""

    version: int = 0
    left_out: tuple[str, ...] = ()


class Totals(NamedTuple):
    """How much a store holds, what was removed not counted."""

    documents: int
    passages: int
    memory_rows: int


class Database(Connection):
    """All queries that a store makes of its database."""

    # reading

    def generation(self) -> int:
        """A number that grows with every change of the store."""
        with self.snapshot():
            rows = self._connection.execute("SELECT value FROM meta WHERE key = 'generation'")
            return int(rows.fetchone()[0])

    def removals(self) -> int:
        """A number that grows when passages are removed or their vectors are moved."""
        with self.snapshot():
            rows = self._connection.execute("SELECT value FROM meta WHERE key = 'removals'")
            return int(rows.fetchone()[0])

    def offsets_name(self) -> str:
        """The name of the file of offsets that belongs to this database; empty if there is none."""
        with self.snapshot():
            row = self._connection.execute("SELECT value FROM meta WHERE key = 'places'").fetchone()
            return "" if row is None else str(row[0])

    def totals(self) -> Totals:
        """Count documents, passages and their memories' rows."""
        with self.snapshot():
            row = self._connection.execute(
                "SELECT (SELECT count(*) FROM documents), count(*), coalesce(sum(memory_rows), 0) FROM places"
            )
            return Totals(*row.fetchone())

    def live_rows(self) -> dict[int, int]:
        """Rows of memories that passages refer to, each once, by the number of the file."""
        with self.snapshot():
            return dict(
                self._connection.execute(
                    "SELECT memory_segment, sum(memory_rows) FROM (SELECT DISTINCT memory_segment,"
                    " memory_row, memory_rows FROM places) GROUP BY memory_segment"
                )
            )

    def live_embeddings(self) -> dict[int, int]:
        """Embeddings that passages refer to, each once, by the number of the file."""
        with self.snapshot():
            return dict(
                self._connection.execute(
                    "SELECT key_segment, count(*) FROM (SELECT DISTINCT key_segment, key_row FROM places)"
                    " GROUP BY key_segment"
                )
            )

    def documents(self) -> list[StoredDocument]:
        """All documents, by source."""
        with self.snapshot():
            read = self.readings()
            rows = self._connection.execute(
                "SELECT source, title, sha256, modified,"
                " (SELECT count(*) FROM passages WHERE document = documents.id)"
                " FROM documents ORDER BY source"
            )
            return [
                StoredDocument(
                    source, title, sha256, modified, count, read.get(source, StoredReading()).left_out
                )
                for source, title, sha256, modified, count in rows
            ]

    def sources(self) -> dict[str, str]:
        """The hash of every file that is stored, as a document or as a copy of one, by its name."""
        with self.snapshot():
            return dict(
                self._connection.execute(
                    "SELECT source, sha256 FROM documents UNION ALL SELECT copies.source, sha256 FROM copies"
                    " JOIN documents ON documents.id = document"
                )
            )

    def readings(self) -> dict[str, StoredReading]:
        """How every file was read, by its name, as far as that is known; copies are as their document."""
        with self.snapshot():
            if not self._has_readings():
                return {}
            rows = self._connection.execute(
                "SELECT source, version, left_out FROM documents JOIN readings ON document = documents.id"
                " UNION ALL SELECT source, version, left_out FROM copies JOIN readings USING (document)"
            )
            return {name: _stored_reading(version, said) for name, version, said in rows}

    def _has_readings(self) -> bool:
        return bool(self._connection.execute("PRAGMA table_info(readings)").fetchall())

    def copies(self) -> list[tuple[str, str, float]]:
        """Every copy: its name, the document's and when the copy was changed, seconds since the epoch."""
        with self.snapshot():
            return self._connection.execute(
                "SELECT copies.source, documents.source, copies.modified FROM copies"
                " JOIN documents ON documents.id = document ORDER BY copies.source"
            ).fetchall()

    def passages(self, ids: Sequence[int]) -> dict[int, StoredPassage]:
        """The passages with these ids, as far as they exist."""
        rows = self._by_id(f"{_PASSAGES} WHERE passages.id IN ({{}})", ids)
        return {row[0]: _stored_passage(row) for row in rows}

    def passages_of(self, source: str, sha256: str = "") -> list[StoredPassage]:
        """The passages of a document, else of the one whose file has a hash, in order."""
        execute = self._connection.execute
        with self.snapshot():
            rows = execute(f"{_PASSAGES} WHERE source = ? ORDER BY position", (source,)).fetchall()
            if not rows and sha256:
                rows = execute(f"{_PASSAGES} WHERE sha256 = ? ORDER BY position", (sha256,)).fetchall()
            return [_stored_passage(row) for row in rows]

    def around(self, passage_id: int, count: int) -> list[StoredPassage]:
        """A passage with up to `count` before and after it in its document, in order."""
        query = (
            f"{_PASSAGES} JOIN passages AS middle ON middle.id = ? AND middle.document = passages.document"
            " WHERE passages.position BETWEEN middle.position - ? AND middle.position + ?"
            " ORDER BY passages.position"
        )
        with self.snapshot():
            return [
                _stored_passage(row) for row in self._connection.execute(query, (passage_id, count, count))
            ]

    def offsets(self, ids: Sequence[int]) -> dict[int, Offsets]:
        """Where the vectors of these passages are, as far as the passages exist."""
        rows = self._by_id(f"SELECT {_OFFSETS} FROM places WHERE passage IN ({{}})", ids)
        return {row[0]: Offsets(*row[1:]) for row in rows}

    def _by_id(self, query: str, ids: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        with self.snapshot():
            for start in range(0, len(ids), _IDS_A_QUERY):
                part = [int(passage_id) for passage_id in ids[start : start + _IDS_A_QUERY]]
                yield from self._connection.execute(query.format(",".join("?" * len(part))), part).fetchall()

    def offsets_by_row(self) -> Iterator[tuple[int, Offsets]]:
        """The id and the offsets of every passage, those that share a memory one after another.

        Go through it within one transaction, which may move them: SQLite sorts all before it gives the first.
        """
        with self.snapshot():
            query = f"SELECT {_OFFSETS} FROM places ORDER BY memory_segment, memory_row, passage"
            for row in self._connection.execute(query):
                yield row[0], Offsets(*row[1:])

    def searched(self, of_memories: bool, after: int) -> NDArray[np.void]:
        """Where the vectors are that a search compares, of the passages with ids above `after`.

        Args:
            of_memories: Of the memories, or else of the embeddings.
            after: Id of a passage; 0 for all.

        Returns:
            A structured array of `SEARCHED`, by id.
        """
        columns = "memory_segment, memory_row, memory_rows" if of_memories else "key_segment, key_row, 1"
        with self.snapshot():
            rows = self._connection.execute(
                f"SELECT passage, {columns}, norm FROM places WHERE passage > ? ORDER BY passage", (after,)
            )
            return np.fromiter(rows, SEARCHED)

    def segments(self, kind: str) -> dict[int, Segment]:
        """The files of a kind by their numbers."""
        with self.snapshot():
            rows = self._connection.execute(
                "SELECT number, rows, codec FROM segments WHERE kind = ?", (kind,)
            )
            return {number: Segment(count, codec) for number, count, codec in rows}

    def blocks(self, kind: str) -> list[Block]:
        """What was committed together, in order."""
        with self.snapshot():
            query = "SELECT segment, first, rows, crc32 FROM blocks WHERE kind = ? ORDER BY segment, first"
            return [Block(*row) for row in self._connection.execute(query, (kind,))]

    def codebook(self, name: str) -> bytes:
        """What a codec has learned.

        Raises:
            StoreError: It is missing or damaged.
        """
        with self.snapshot():
            query = "SELECT data, crc32 FROM codebooks WHERE name = ?"
            row = self._connection.execute(query, (name,)).fetchone()
        if row is None or zlib.crc32(row[0]) != row[1]:
            raise damaged(self._path, f"its codebook {name} is missing or does not have its checksum")
        return bytes(row[0])

    def holders(self, kind: str, block: Block) -> list[str]:
        """The documents some of whose vectors lie in a block, and their copies."""
        name = "memory" if kind == "memories" else "key"
        size = "memory_rows" if kind == "memories" else "1"
        with self.snapshot():
            rows = self._connection.execute(
                "WITH held AS (SELECT DISTINCT document FROM places JOIN passages ON passages.id = passage"
                f" WHERE {name}_segment = ? AND {name}_row < ? AND {name}_row + {size} > ?)"
                " SELECT source FROM documents WHERE id IN held"
                " UNION ALL SELECT source FROM copies WHERE document IN held ORDER BY source",
                (block.segment, block.first + block.rows, block.first),
            )
            return [row[0] for row in rows]

    def faults(self) -> list[str]:
        """What SQLite finds wrong with the file, its references and its full-text index."""
        execute = self._connection.execute
        with self.snapshot():
            found = [row[0] for row in execute("PRAGMA integrity_check") if row[0] != "ok"]
            orphans = execute("PRAGMA foreign_key_check").fetchall()
            found += [f"a row of {row[0]} refers to a row of {row[2]} that is missing" for row in orphans]
            counted = (
                "SELECT kind, number FROM segments WHERE rows <> (SELECT coalesce(sum(blocks.rows), 0)"
                " FROM blocks WHERE blocks.kind = segments.kind AND segment = number)"
            )
            found += [f"the row count of {kind} file {number} is wrong" for kind, number in execute(counted)]
            entries = dict(execute("SELECT key, value FROM meta"))
            if "crc32" in entries and entries["crc32"] != identity_crc32(entries):
                found.append("the entries of the table meta do not have their checksum")
            generation = self.generation()
            if generation < self.committed():
                found.append(
                    f"changes {generation + 1} to {self.committed()} are missing, as after damage to "
                    f"{self._path.name}-wal; index the documents again"
                )
        if not self._read_only:
            try:
                with self._transaction("BEGIN IMMEDIATE"):  # a check that SQLite writes as an insertion
                    execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
            except (StoreError, sqlite3.DatabaseError) as error:
                found.append(f"the full-text index: {error.__cause__ or error}")
        return found

    def damaged_rows(self) -> dict[str, set[int]]:
        """Ids of the documents that rows without their checksum belong to, by table.

        A store of format 2 that was opened read-only has no checksums of rows.
        """
        if self.manifest.format < 3:
            return {}
        owner = {
            "documents": "id",
            "passages": "document",
            "copies": "document",
            "places": "(SELECT document FROM passages WHERE id = passage)",
            "readings": "document",
        }
        found: dict[str, set[int]] = {}
        with self.snapshot():
            decode = self._connection.text_factory
            self._connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
            try:
                for table, columns in CHECKED.items():
                    if table == "readings" and not self._has_readings():
                        continue
                    query = f"SELECT {owner[table]}, crc32, {', '.join(columns)} FROM {table}"
                    for document, crc32, *values in self._connection.execute(query):
                        if row_crc32(*values) != crc32:
                            found.setdefault(table, set()).add(document)
            finally:
                self._connection.text_factory = decode
        return found

    def names(self, documents: Iterable[int]) -> list[str]:
        """Sources of these documents and of their copies, by name; bytes that are not UTF-8 are escaped."""
        copies = "SELECT source FROM copies WHERE document = ?1"
        query = f"SELECT source FROM documents WHERE id = ?1 UNION ALL {copies}"
        with self.snapshot():
            decode = self._connection.text_factory
            self._connection.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
            try:
                rows = [row for number in documents for row in self._connection.execute(query, (number,))]
            finally:
                self._connection.text_factory = decode
        return sorted(row[0] for row in rows)

    def drop(self, documents: Iterable[int]) -> None:
        """Remove documents whose rows are damaged, with all of their copies; within `writing`."""
        # the index is made anew first: to take damaged text out of it, it must have been made of that text
        self._connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
        self._connection.executemany("DELETE FROM documents WHERE id = ?", [(one,) for one in documents])

    # reading, for searches

    def filtered(self, where: Filter) -> NDArray[np.int64]:
        """Ids of the passages that a filter allows, ascending."""
        with self.snapshot():
            rows = self._connection.execute(where.sql, where.parameters)
            # sorted in SQL, the passages would be gone through in their order, past all their text
            return np.sort(np.fromiter((row[0] for row in rows), np.int64))

    def has_field(self, name: str) -> bool:
        """Whether the metadata of any passage has a field; the first one that has it ends the search."""
        # looking for the name in the text takes half as long as reading the JSON of every passage
        query = (
            "SELECT EXISTS (SELECT 1 FROM passages WHERE instr(metadata, ?)"
            " AND json_type(metadata, ?) IS NOT NULL)"
        )
        with self.snapshot():
            rows = self._connection.execute(query, (f'"{name}"', f'$."{name}"'))
            return bool(rows.fetchone()[0])

    def fields(self) -> list[str]:
        """The fields of the metadata of all passages, by name; all of it is read."""
        with self.snapshot():
            rows = self._connection.execute(
                "SELECT DISTINCT key FROM passages, json_each(passages.metadata) ORDER BY key COLLATE NOCASE"
            )
            return [row[0] for row in rows]

    def count(self, expression: str) -> int:
        """How many passages match an expression of full-text search."""
        with self.snapshot():
            rows = self._connection.execute("SELECT count(*) FROM words WHERE words MATCH ?", (expression,))
            return int(rows.fetchone()[0])

    def lexical(
        self, expression: str, limit: int, allowed: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Ids and BM25 scores, higher is better, of the allowed passages that match, best first."""
        if not expression:
            return np.empty(0, np.int64), np.empty(0)
        with self.snapshot():
            if allowed is not None:
                # for each match a look at a byte; joined in SQL, every passage would be gone through
                self._connection.create_function("is_allowed", 1, _member_of(allowed), deterministic=True)
            rows = self._connection.execute(
                "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?"
                f"{'' if allowed is None else ' AND is_allowed(rowid)'}"
                " ORDER BY bm25(words), rowid LIMIT ?",
                (expression, limit),
            ).fetchall()
        ids, scores = zip(*rows, strict=True) if rows else ((), ())
        return np.array(ids, np.int64), np.array(scores, np.float64)

    # writing, within `writing`

    def add(self, document: Document, passages: Iterable[tuple[Passage, Offsets]]) -> None:
        """Add a document and its passages, in place of one with the same source if there is one.

        A document whose bytes are those of another that is stored is noted as a copy of it, unless the other
        was read by an older reader: then this one takes its place and that of its copies.

        Raises:
            InputError: A text is not valid Unicode.
        """
        copies = self._remove_outdated(document)
        self.remove(document.source)
        if document.sha256 and self.add_copy(document.source, document.modified, document.sha256):
            return
        execute = self._connection.execute
        try:
            number = execute(
                "INSERT INTO documents (source, title, sha256, modified, crc32)"
                " VALUES (?1, ?2, ?3, ?4, row_crc32(?1, ?2, ?3, ?4))",
                (document.source, document.title, document.sha256, document.modified),
            ).lastrowid
            for passage, offsets in passages:
                inserted = execute(
                    "INSERT INTO passages (document, position, title, heading, page, first_line, last_line,"
                    " metadata, text, crc32) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                    " row_crc32(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9))",
                    (number, *_columns(passage)),
                ).lastrowid
                execute(
                    "INSERT INTO places"
                    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, row_crc32(?1, ?2, ?3, ?4, ?5, ?6, ?7))",
                    (inserted, *offsets),
                )
            if document.reader:
                execute(
                    "INSERT INTO readings VALUES (?1, ?2, ?3, row_crc32(?1, ?2, ?3))",
                    (number, document.reader, json.dumps(document.left_out)),
                )
            for source, modified in copies:
                self.add_copy(source, modified, document.sha256)
        except UnicodeEncodeError as error:
            raise InputError(
                f"The document {document.source!r} holds text that is not valid Unicode (a lone surrogate); "
                "remove those characters."
            ) from error

    def _remove_outdated(self, document: Document) -> list[tuple[str, float]]:
        """Remove what has a document's bytes and was read by an older reader; its other names and times."""
        if not document.sha256 or not document.reader:
            return []
        execute = self._connection.execute
        found = execute(
            "SELECT id, source, modified FROM documents LEFT JOIN readings ON document = id"
            " WHERE sha256 = ? AND coalesce(version, 0) < ?",
            (document.sha256, document.reader),
        ).fetchall()
        names = [(source, modified) for _, source, modified in found]
        for number, *_ in found:
            names += execute("SELECT source, modified FROM copies WHERE document = ?", (number,)).fetchall()
            execute("DELETE FROM documents WHERE id = ?", (number,))
        return [name for name in names if name[0] != document.source]

    def remove(self, source: str) -> bool:
        """Remove a file, and say whether there was one.

        A document that has copies becomes the first of them; any other goes with its passages.
        """
        execute = self._connection.execute
        if execute("DELETE FROM copies WHERE source = ?", (source,)).rowcount:
            return True
        copy = execute(
            "SELECT copies.source, copies.modified FROM copies JOIN documents ON documents.id = document"
            " WHERE documents.source = ? ORDER BY copies.source LIMIT 1",
            (source,),
        ).fetchone()
        if copy is None:
            return execute("DELETE FROM documents WHERE source = ?", (source,)).rowcount > 0
        execute("DELETE FROM copies WHERE source = ?", (copy[0],))
        execute(
            "UPDATE documents SET source = ?1, modified = ?2, crc32 = row_crc32(?1, title, sha256, ?2)"
            " WHERE source = ?3",
            (*copy, source),
        )
        return True

    def add_copy(self, source: str, modified: float, sha256: str) -> bool:
        """Note that a file has the bytes of another, stored document; without one, change nothing.

        Returns:
            Whether there is one.
        """
        execute = self._connection.execute
        document = execute(
            "SELECT id FROM documents WHERE sha256 = ? AND source <> ? ORDER BY id LIMIT 1", (sha256, source)
        ).fetchone()
        if document is None:
            return False
        self.remove(source)
        execute(
            "INSERT INTO copies VALUES (?1, ?2, ?3, row_crc32(?1, ?2, ?3))", (source, modified, *document)
        )
        return True

    def move(self, passage_id: int, offsets: Offsets) -> None:
        """Record that the vectors of a passage lie elsewhere from now on; call `note_moves` in the end."""
        self._connection.execute(
            "UPDATE places SET memory_segment = ?2, memory_row = ?3, memory_rows = ?4, key_segment = ?5,"
            " key_row = ?6, norm = ?7, crc32 = row_crc32(?1, ?2, ?3, ?4, ?5, ?6, ?7) WHERE passage = ?1",
            (passage_id, *offsets),
        )

    def note_moves(self) -> None:
        """Record that vectors were moved."""
        self._connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'removals'")

    def set_segments(self, kind: str, segments: Mapping[int, Segment], blocks: Iterable[Block]) -> None:
        """Record the files of a kind that count from now on, and what was appended to them."""
        execute, many = self._connection.execute, self._connection.executemany
        execute("DELETE FROM segments WHERE kind = ?", (kind,))
        many(
            "INSERT INTO segments VALUES (?, ?, ?, ?)",
            [(kind, number, *segment) for number, segment in segments.items()],
        )
        many("INSERT INTO blocks VALUES (?, ?, ?, ?, ?)", [(kind, *block) for block in blocks])
        execute(
            "DELETE FROM blocks WHERE kind = ?1"
            " AND segment NOT IN (SELECT number FROM segments WHERE kind = ?1)",
            (kind,),
        )

    def keep_offsets(self, name: str) -> None:
        """Record which file of offsets belongs to this database; the content stays as it is."""
        with self._transaction("BEGIN IMMEDIATE"):
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('places', ?)", (name,))

    def set_memory_dtype(self, name: str) -> None:
        """Record how memories are kept from now on."""
        self._connection.execute("UPDATE meta SET value = ? WHERE key = 'memory_dtype'", (name,))

    def add_codebook(self, name: str, data: bytes) -> None:
        """Keep what a codec has learned."""
        row = (name, data, zlib.crc32(data))
        self._connection.execute("INSERT INTO codebooks VALUES (?, ?, ?)", row)

    def shrink(self) -> None:
        """Give the space of what was removed back to the disk; not within a transaction."""
        with self._lock, self._translated():
            self._connection.execute("INSERT INTO words (words) VALUES ('optimize')")
            self._connection.execute("VACUUM")

    def checkpoint(self) -> bool:
        """Move the write-ahead log into the database; not within a transaction.

        Returns:
            Whether that was possible. Then no reader sees an older state, since the changes after it would
            still be in the log; files that the present state does not name can be deleted.
        """
        with self._lock, self._translated():
            self._connection.execute("PRAGMA busy_timeout = 0")  # readers are not waited for
            busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            self._connection.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")
        return not busy


def _stored_reading(version: Any, left_out: Any) -> StoredReading:
    """How a document was read; what is damaged is as not known, so that it is read again."""
    try:
        said = json.loads(left_out)
    except (ValueError, TypeError):
        return StoredReading()
    is_whole = isinstance(version, int) and isinstance(said, list)
    return StoredReading(version, tuple(map(str, said))) if is_whole else StoredReading()


def _stored_passage(row: Sequence[Any]) -> StoredPassage:
    id_, source, text, title, heading, page, position, first, last, metadata = row
    lines = None if first is None else (first, last)
    facts = json.loads(metadata) if metadata else {}
    return StoredPassage(id_, source, Passage(text, title, heading, page, position, lines, facts))


def _member_of(ids: NDArray[np.int64]) -> Callable[[int], int]:
    """Whether an id is among these, given in ascending order."""
    last = int(ids[-1]) if len(ids) else -1
    flags = np.zeros(last + 1, np.uint8)
    flags[ids] = 1
    is_member = flags.tobytes()
    return lambda passage_id: is_member[passage_id] if passage_id <= last else 0


def _columns(passage: Passage) -> tuple[Any, ...]:
    """A passage's values, in the order of `Database.add`."""
    metadata = json.dumps(dict(passage.metadata), ensure_ascii=False) if passage.metadata else None
    return (
        passage.position,
        passage.title,
        passage.heading,
        passage.page,
        *(passage.lines or (None, None)),
        metadata,
        passage.text,
    )
