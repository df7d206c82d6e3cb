"""A store as files that other programs read, and back, without compressing anything again.

store.json                  what the store is, and every file with its CRC-32
passages.parquet            a row for each passage, with its document
vectors-00001.safetensors   `memories` (rows, H) and `keys` (n, key size) of a run of passages, float16
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from clara.errors import InputError, MissingExtraError, StoreError
from clara.records import Document, Passage, StoredPassage
from clara.store.store import MemoryStore, NewDocument

Progress = Callable[[str, int, int], None]
"""Told of each step by name, with how many passages are done and how many there are."""

MANIFEST = "store.json"
PASSAGES = "passages.parquet"
FORMAT_VERSION = 1

_PASSAGES_A_FILE = 20_000
_PASSAGES_A_COMMIT = 1000
_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What was written.

    Attributes:
        documents: Number of documents.
        passages: Number of passages.
    """

    documents: int
    passages: int


def export(store: MemoryStore, folder: Path, progress: Progress = lambda *_: None) -> TransferReport:
    """Write a store's content into a folder.

    Args:
        store: The store.
        folder: Made if missing, and empty otherwise.
        progress: Told how far the work is.

    Raises:
        InputError: The folder is not empty, or cannot be written.
        MissingExtraError: pyarrow is not installed.
    """
    arrow, parquet = _arrow()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"The folder {folder} is not empty; name another.")
        with store.snapshot():
            documents = store.documents()
            rows = _rows(store, [document.source for document in documents])
            total = sum(document.num_passages for document in documents)
            columns: dict[str, list[Any]] = {}
            files = []
            facts = {document.source: document for document in documents}
            for number, part in enumerate(_parts(rows), start=1):
                memories = store.memories([stored.id for stored in part])
                for stored, memory in zip(part, memories, strict=True):
                    for name, value in _columns(stored, facts[stored.source], len(memory)).items():
                        columns.setdefault(name, []).append(value)
                path = folder / f"vectors-{number:05d}.safetensors"
                tensors = {"memories": np.concatenate(memories)}
                if store.key_size is not None:
                    tensors["keys"] = store.keys([stored.id for stored in part])
                save_file(tensors, path)
                files.append(path)
                progress("Exporting", len(columns["text"]), total)
            parquet.write_table(arrow.table(columns), folder / PASSAGES)
            manifest = {
                "format": FORMAT_VERSION,
                "fingerprint": store.fingerprint,
                "model": store.model,
                "memory_size": store.memory_size,
                "key_size": store.key_size,
                "memory_dtype": store.memory_dtype,
                "copies": store.copies(),
                "files": {path.name: _crc(path) for path in [folder / PASSAGES, *files]},
            }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise InputError(f"The folder {folder} cannot be written: {error.strerror}.") from error
    return TransferReport(len(documents), total)


def import_store(
    folder: Path, path: Path, memory_dtype: str | None = None, progress: Progress = lambda *_: None
) -> TransferReport:
    """Make a store of what `export` wrote.

    Args:
        folder: What was exported.
        path: Of the store, which must not exist.
        memory_dtype: How memories are kept; None for as they were.
        progress: Told how far the work is.

    Raises:
        InputError: The folder holds nothing exported, or a file is damaged.
        MissingExtraError: pyarrow is not installed.
        StoreError: There is a store at `path`, or it cannot be written.
    """
    _, parquet = _arrow()
    manifest = _manifest(folder)
    table = parquet.read_table(folder / PASSAGES).to_pylist()
    names = [name for name in manifest["files"] if name != PASSAGES]
    vectors = _vectors(folder, names, [row["memory_rows"] for row in table])
    numbers = {name: manifest[name] for name in ("fingerprint", "model", "memory_size", "key_size")}
    documents = 0
    with MemoryStore.create(path, **numbers, memory_dtype=memory_dtype or manifest["memory_dtype"]) as store:
        items: list[NewDocument] = []
        done = waiting = 0
        for _, group in groupby(table, key=lambda row: row["source"]):
            rows = list(group)
            memories, keys = zip(*(next(vectors) for _ in rows), strict=True)
            own_keys = None if store.key_size is None else np.stack(keys)
            items.append(NewDocument(_document(rows[0]), [_passage(row) for row in rows], memories, own_keys))
            documents, waiting = documents + 1, waiting + len(rows)
            if waiting >= _PASSAGES_A_COMMIT:
                store.add(items)
                items, done, waiting = [], done + waiting, 0
                progress("Importing", done, len(table))
        store.add(items)
        progress("Importing", len(table), len(table))
        hashes = {row["source"]: row["sha256"] for row in table}
        store.add_copies((copy, modified, hashes[source]) for copy, source, modified in manifest["copies"])
    return TransferReport(documents, len(table))


def _rows(store: MemoryStore, sources: Sequence[str]) -> Iterator[StoredPassage]:
    for source in sources:
        yield from store.passages_of(source)


def _parts(rows: Iterator[StoredPassage]) -> Iterator[list[StoredPassage]]:
    part: list[StoredPassage] = []
    for row in rows:
        part.append(row)
        if len(part) == _PASSAGES_A_FILE:
            yield part
            part = []
    if part:
        yield part


def _columns(stored: StoredPassage, document: Any, memory_rows: int) -> dict[str, Any]:
    passage = stored.passage
    return {
        "source": stored.source,
        "document_title": document.title,
        "sha256": document.sha256,
        "modified": document.modified,
        "position": passage.position,
        "title": passage.title,
        "heading": passage.heading,
        "page": passage.page,
        "first_line": passage.lines[0] if passage.lines else None,
        "last_line": passage.lines[1] if passage.lines else None,
        "metadata": json.dumps(dict(passage.metadata), ensure_ascii=False),
        "text": passage.text,
        "memory_rows": memory_rows,
    }


def _document(row: dict[str, Any]) -> Document:
    return Document(row["source"], row["document_title"], (), row["sha256"], row["modified"])


def _passage(row: dict[str, Any]) -> Passage:
    lines = None if row["first_line"] is None else (row["first_line"], row["last_line"])
    return Passage(
        row["text"],
        row["title"],
        row["heading"],
        row["page"],
        row["position"],
        lines,
        json.loads(row["metadata"]),
    )


def _manifest(folder: Path) -> dict[str, Any]:
    """What was exported, after every file was compared with its checksum."""
    file = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version, files = manifest["format"], manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The folder {folder} holds no exported store; name one that has {MANIFEST}."
        ) from error
    if version > FORMAT_VERSION:
        raise InputError(
            f"The folder {folder} has format {version} and this version of Clara reads up to "
            f"{FORMAT_VERSION}; install a newer version."
        )
    for name, crc32 in files.items():
        try:
            is_whole = _crc(folder / name) == crc32
        except OSError:
            is_whole = False
        if not is_whole:
            raise InputError(f"The file {folder / name} is missing or damaged; export the store again.")
    return manifest


def _vectors(
    folder: Path, names: Sequence[str], counts: Sequence[int]
) -> Iterator[tuple[NDArray[np.float16], NDArray[np.float16] | None]]:
    """The memory and key of each passage, in order."""
    remaining = iter(counts)
    for name in names:
        try:
            tensors = load_file(folder / name)
        except (SafetensorError, OSError) as error:
            raise InputError(f"The file {folder / name} cannot be read ({error}).") from error
        first, at = 0, 0
        while first < len(tensors["memories"]):
            count = next(remaining)
            keys = tensors.get("keys")
            yield tensors["memories"][first : first + count], None if keys is None else keys[at]
            first, at = first + count, at + 1


def _crc(path: Path) -> int:
    value = 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("Export needs pyarrow; run: pip install 'clara-rag[export]'.") from error
    return pyarrow, parquet
