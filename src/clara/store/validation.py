"""Validation of documents with their vectors, and their form on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError
from clara.records import Document, Passage
from clara.store.codecs import Rows
from clara.store.database import Offsets
from clara.store.segments import Appender

MEMORIES = "memories"
EMBEDDINGS = "keys"


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to add, with what the model made of its passages.

    Attributes:
        document: The document; its sections are not stored.
        passages: Its n passages.
        memories: Their memories, float16 or float32, each of shape (m, memory_dim) with its own m >= 1; or
            the id of a stored passage whose memory and embedding this one shares; its own is ignored.
        embeddings: Their embeddings, float16 or float32, shape (n, embedding_dim), of any length but zero;
            None for a store without embeddings.
    """

    document: Document
    passages: Sequence[Passage]
    memories: Sequence[NDArray[np.floating] | int]
    embeddings: NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True)
class Vectors:
    """A new document's vectors, checked; instead of a memory that is stored already, its offsets."""

    memories: list[Rows | Offsets]
    embeddings: Rows | None


def checked(
    item: NewDocument, memory_dim: int, embedding_dim: int | None, offsets_of: Callable[[int, str], Offsets]
) -> Vectors:
    """A document's vectors as they are stored, after validation."""
    source, count = item.document.source, len(item.passages)
    if len(item.memories) != count:
        raise InputError(f"The document {source} has {count} passages but {len(item.memories)} memories.")
    memories: list[Rows | Offsets] = [
        offsets_of(memory, source) if isinstance(memory, int) else _as_float16(memory, source, "a memory")
        for memory in item.memories
    ]
    for memory in memories:
        if isinstance(memory, Offsets):
            continue
        if memory.ndim != 2 or len(memory) == 0 or memory.shape[1] != memory_dim:
            raise InputError(
                f"The document {source} has a memory of shape {memory.shape}; the store takes "
                f"(rows, {memory_dim}) with at least one row."
            )
    if embedding_dim is None:
        if item.embeddings is not None:
            raise InputError(f"The document {source} has embeddings but the store takes none; remove them.")
        return Vectors(memories, None)
    shape = None if item.embeddings is None else np.shape(item.embeddings)
    if item.embeddings is None or shape != (count, embedding_dim):
        raise InputError(
            f"The document {source} has embeddings of shape {shape}; the store takes ({count}, "
            f"{embedding_dim})."
        )
    embeddings = np.array(item.embeddings, np.float64)
    shared = [isinstance(memory, Offsets) for memory in memories]
    embeddings[shared] = 1.0
    return Vectors(memories, _unit_embeddings(embeddings, source))


def append(vectors: Vectors, appenders: Mapping[str, Appender]) -> Iterator[Offsets]:
    """Append a document's vectors and give the offsets of each of its passages."""
    for at, memory in enumerate(vectors.memories):
        if isinstance(memory, Offsets):
            yield memory
            continue
        segment, first, searched = appenders[MEMORIES].append(memory)
        embedding_segment, embedding_row = None, None
        if vectors.embeddings is not None:
            row = vectors.embeddings[at : at + 1]
            embedding_segment, embedding_row, searched = appenders[EMBEDDINGS].append(row)
        yield Offsets(segment, first, len(memory), embedding_segment, embedding_row, _norm(searched))


def _as_float16(values: NDArray[np.floating], source: str, what: str) -> Rows:
    with np.errstate(over="ignore"):
        rows = np.asarray(values).astype(np.float16)
    if not np.isfinite(rows).all():
        raise InputError(
            f"The document {source} has {what} with values not finite as float16; it cannot be added."
        )
    return rows


def _unit_embeddings(embeddings: NDArray[np.floating], source: str) -> Rows:
    exact = np.asarray(embeddings, dtype=np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise InputError(
            f"The document {source} has an embedding with values that are not finite; it cannot be added."
        )
    if not lengths.all():
        raise InputError(f"The document {source} has an embedding of zeros, for which no cosine is defined.")
    return _as_float16(exact / lengths, source, "an embedding")


def _norm(rows: Rows) -> float:
    return float(np.linalg.norm(rows.astype(np.float64)))
