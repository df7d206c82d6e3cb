"""A store as files that other programs read, and back, without compressing anything again.

store.json                  what the store is, and every file with its CRC-32
documents.parquet           a row for each document, and for each copy with the document that it is a copy of
passages.parquet            a row for each passage, with its document's source
vectors-00001.safetensors   `memories` (rows, H) and embeddings as `keys` (n, K) of a run of passages, float16
"""

from __future__ import annotations

import json
import shutil
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
from clara.records import Document, Passage, StoredDocument, StoredPassage
from clara.store.codecs import MEMORY_DTYPES
from clara.store.schema import check_empty, make_folder
from clara.store.store import MemoryStore, NewDocument

Progress = Callable[[str, int, int], None]
"""Told of each step by name, with how many passages are done and how many there are."""

_Vectors = NDArray[np.float16]
_Stored = tuple[dict[str, Any], _Vectors, _Vectors | None]
"""A passage's row, its memory and its embedding."""

MANIFEST = "store.json"
DOCUMENTS = "documents.parquet"
PASSAGES = "passages.parquet"
FORMAT_VERSION = 1

_PASSAGES_A_FILE = 20_000
_PASSAGES_A_COMMIT = 1000
_CHUNK = 1 << 22
_MOST_DIMENSIONS = 1 << 20


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
            raise InputError(f"The folder {folder} is not empty; choose another.")
        with store.snapshot():
            documents = store.documents()
            rows = _rows(store, [document.source for document in documents])
            total = sum(document.num_passages for document in documents)
            done, files = 0, []
            with parquet.ParquetWriter(folder / PASSAGES, _passage_schema(arrow)) as written:
                for number, part in enumerate(_parts(rows), start=1):
                    memories = store.memories([stored.id for stored in part])
                    facts = [
                        _columns(stored, len(memory)) for stored, memory in zip(part, memories, strict=True)
                    ]
                    written.write_table(arrow.Table.from_pylist(facts, written.schema))
                    path = folder / f"vectors-{number:05d}.safetensors"
                    tensors = {"memories": np.concatenate(memories)}
                    if store.embedding_dim is not None:
                        tensors["keys"] = store.embeddings([stored.id for stored in part])
                    save_file(tensors, path)
                    files.append(path)
                    done += len(part)
                    progress("Exporting", done, total)
            sources = [_facts(document) for document in documents]
            sources += [
                {"source": copy, "modified": modified, "copy_of": source}
                for copy, source, modified in store.copies()
            ]
            parquet.write_table(arrow.Table.from_pylist(sources, _document_schema(arrow)), folder / DOCUMENTS)
            manifest = {
                "format": FORMAT_VERSION,
                "fingerprint": store.fingerprint,
                "model": store.model,
                "memory_size": store.memory_dim,
                "key_size": store.embedding_dim,
                "memory_dtype": store.memory_dtype,
                "rate": store.rate,
                "precision": store.precision,
                "files": {path.name: _crc(path) for path in [folder / DOCUMENTS, folder / PASSAGES, *files]},
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
        StoreError: There is something at `path`, or it cannot be written.
    """
    if path.exists():
        make_folder(path)
        check_empty(path)
    unfinished = path.with_name(f"{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        report = _import(folder, unfinished, memory_dtype, progress)
        if path.exists():
            path.rmdir()  # it is empty, and Windows renames onto no folder
        unfinished.rename(path)
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise _foreign(folder, f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"The store {path} cannot be made: {error.strerror}; choose another path."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return report


def _import(folder: Path, path: Path, memory_dtype: str | None, progress: Progress) -> TransferReport:
    arrow, parquet = _arrow()
    manifest = _manifest(folder)
    for name, schema in ((DOCUMENTS, _document_schema(arrow)), (PASSAGES, _passage_schema(arrow))):
        if not parquet.read_schema(folder / name).equals(schema):
            raise _foreign(folder, f"{name} has other columns")
    sources = parquet.read_table(folder / DOCUMENTS).to_pylist()
    for row in sources:
        of_document = ("title", "sha256") if row["copy_of"] is None else ()
        _check_complete(folder, row, ("source", "modified", *of_document))
    documents = [row for row in sources if row["copy_of"] is None]
    names = [name for name in manifest["files"] if name not in (DOCUMENTS, PASSAGES)]

    with (
        parquet.ParquetFile(folder / PASSAGES) as table,
        MemoryStore.create(
            path,
            fingerprint=manifest["fingerprint"],
            model=manifest["model"],
            memory_dim=manifest["memory_size"],
            embedding_dim=manifest["key_size"],
            memory_dtype=memory_dtype or manifest["memory_dtype"],
            rate=manifest.get("rate"),
            precision=manifest.get("precision"),
        ) as store,
    ):
        total = table.metadata.num_rows
        passages = groupby(_stored(table, folder, names), key=lambda one: one[0]["source"])
        nothing: tuple[str | None, Iterator[_Stored]] = (None, iter(()))
        source, own = next(passages, nothing)
        items: list[NewDocument] = []
        done = waiting = 0
        for document in documents:
            stored = []
            if document["source"] == source:
                stored = list(own)
                source, own = next(passages, nothing)
            items.append(_item(document, stored, store.embedding_dim))
            waiting += len(stored)
            if waiting >= _PASSAGES_A_COMMIT:
                store.add(items)
                items, done, waiting = [], done + waiting, 0
                progress("Importing", done, total)
        store.add(items)
        if source is not None:
            raise InputError(f"The file {folder / PASSAGES} is not in the order of {DOCUMENTS}.")
        progress("Importing", total, total)
        hashes = {document["source"]: document["sha256"] for document in documents}
        copies = [row for row in sources if row["copy_of"] is not None]
        store.add_copies((row["source"], row["modified"], hashes[row["copy_of"]]) for row in copies)
    return TransferReport(len(documents), total)


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


def _passage_schema(arrow: Any) -> Any:
    text, number = arrow.string(), arrow.int64()
    return arrow.schema(
        {
            "source": text,
            "position": number,
            "title": text,
            "heading": text,
            "page": number,
            "first_line": number,
            "last_line": number,
            "metadata": text,
            "text": text,
            "memory_rows": number,
        }
    )


def _document_schema(arrow: Any) -> Any:
    text = arrow.string()
    return arrow.schema(
        {"source": text, "title": text, "sha256": text, "modified": arrow.float64(), "copy_of": text}
    )


def _facts(document: StoredDocument) -> dict[str, Any]:
    return {
        "source": document.source,
        "title": document.title,
        "sha256": document.sha256,
        "modified": document.modified,
    }


def _item(document: dict[str, Any], stored: Sequence[_Stored], embedding_dim: int | None) -> NewDocument:
    """A document as a store takes it."""
    facts = Document(document["source"], document["title"], (), document["sha256"], document["modified"])
    embeddings = None
    if embedding_dim is not None:
        embeddings = np.array([embedding for *_, embedding in stored], np.float16).reshape(-1, embedding_dim)
    passages = [_passage(row) for row, *_ in stored]
    return NewDocument(facts, passages, [memory for _, memory, _ in stored], embeddings)


def _columns(stored: StoredPassage, memory_rows: int) -> dict[str, Any]:
    passage = stored.passage
    return {
        "source": stored.source,
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


def _passage(row: dict[str, Any]) -> Passage:
    has_lines = row["first_line"] is not None and row["last_line"] is not None
    lines = (row["first_line"], row["last_line"]) if has_lines else None
    metadata = json.loads(row["metadata"])
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str | int | float) for value in metadata.values()
    ):
        raise ValueError(f"the metadata of a passage are {row['metadata'][:80]}")
    return Passage(
        row["text"],
        row["title"],
        row["heading"],
        row["page"],
        row["position"],
        lines,
        metadata,
    )


def _manifest(folder: Path) -> dict[str, Any]:
    """What was exported, after every file was compared with its checksum."""
    file = folder / MANIFEST
    try:
        if not file.is_file():  # a pipe or a device would be waited for
            raise ValueError
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version, files = int(manifest["format"]), dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The folder {folder} holds no exported store; choose one with {MANIFEST}."
        ) from error
    if version > FORMAT_VERSION:
        raise InputError(
            f"The folder {folder} has format {version} and this version of Clara reads up to "
            f"{FORMAT_VERSION}; install a newer version."
        )
    sizes, rate = (manifest.get("memory_size"), manifest.get("key_size")), manifest.get("rate")
    if (
        not {DOCUMENTS, PASSAGES} <= files.keys()
        or not all(isinstance(manifest.get(name), str) for name in ("fingerprint", "model"))
        or type(sizes[0]) is not int
        or type(sizes[1]) not in (int, type(None))
        or not all(size is None or 1 <= size <= _MOST_DIMENSIONS for size in sizes)
        or manifest.get("memory_dtype") not in MEMORY_DTYPES
        or not (rate is None or (type(rate) is int and rate >= 1))
        or not isinstance(manifest.get("precision"), str | None)
    ):
        raise _foreign(folder, f"{MANIFEST} has other entries")
    for name, crc32 in files.items():
        path = folder / name
        if Path(name).name != name:
            raise _foreign(folder, f"{MANIFEST} names a file elsewhere, {name!r}")
        try:
            is_whole = path.is_file() and _crc(path) == crc32
        except (OSError, ValueError):
            is_whole = False
        if not is_whole:
            raise InputError(f"The file {folder / name} is missing or damaged; export the store again.")
    return manifest


def _stored(table: Any, folder: Path, names: Sequence[str]) -> Iterator[_Stored]:
    """Each passage with its memory and embedding, in order; one file's are in memory at a time."""
    files = iter(names)
    memories, embeddings = np.empty((0, 0), np.float16), None
    first = at = 0
    for batch in table.iter_batches(batch_size=_PASSAGES_A_COMMIT):
        for row in batch.to_pylist():
            _check_complete(
                folder, row, ("source", "position", "title", "heading", "metadata", "text", "memory_rows")
            )
            if first == len(memories):
                memories, embeddings = _vectors(folder, next(files, None))
                first = at = 0
            if not 1 <= row["memory_rows"] <= len(memories) - first:
                raise _foreign(folder, f"a passage has {row['memory_rows']} memory rows")
            yield (
                row,
                memories[first : first + row["memory_rows"]],
                None if embeddings is None else embeddings[at],
            )
            first, at = first + row["memory_rows"], at + 1


def _vectors(folder: Path, name: str | None) -> tuple[_Vectors, _Vectors | None]:
    """The memories and embeddings of a file."""
    if name is None:
        raise InputError(f"The folder {folder} has fewer memories than passages; export the store again.")
    try:
        tensors = load_file(folder / name)
    except (SafetensorError, OSError) as error:
        raise InputError(f"The file {folder / name} cannot be read ({error}).") from error
    for tensor in tensors.values():
        if tensor.dtype != np.float16 or tensor.ndim != 2:
            raise _foreign(folder, f"{name} holds an array of {tensor.dtype} with shape {tensor.shape}")
    return tensors["memories"], tensors.get("keys")


def _check_complete(folder: Path, row: dict[str, Any], names: Sequence[str]) -> None:
    """Make sure that a row has these values."""
    for name in names:
        if row[name] is None:
            raise _foreign(folder, f"a row has no {name}")


def _foreign(folder: Path, what: str) -> InputError:
    """The error for files that have their checksums and are not what `export` writes."""
    return InputError(
        f"The folder {folder} was not written by `clara store export`: {what}; export the store again."
    )


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
