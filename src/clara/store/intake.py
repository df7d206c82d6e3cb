"""What comes into a store: documents with their vectors, checked and made ready for the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError
from clara.records import Document, Passage
from clara.store.codecs import Rows
from clara.store.database import Place
from clara.store.segments import Appender

MEMORIES = "memories"
KEYS = "keys"


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to add, with what the model made of its passages.

    Attributes:
        document: The document; its sections are not stored.
        passages: Its n passages.
        memories: Their memories, float16 or float32, each of shape (m, memory_size) with its own m >= 1; or
            the number of a stored passage whose memory and key this one shares, its own key being ignored.
        keys: Their keys, float16 or float32, shape (n, key_size), of any length but zero; None for a store
            without keys.
    """

    document: Document
    passages: Sequence[Passage]
    memories: Sequence[NDArray[np.floating] | int]
    keys: NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True)
class Vectors:
    """A new document's vectors, checked; in the place of a memory where it lies already."""

    memories: list[Rows | Place]
    keys: Rows | None


def checked(
    item: NewDocument, memory_size: int, key_size: int | None, place: Callable[[int, str], Place]
) -> Vectors:
    """A document's vectors as they are stored, after all that can be wrong with them was looked for."""
    source, number = item.document.source, len(item.passages)
    if len(item.memories) != number:
        raise InputError(f"The document {source} has {number} passages but {len(item.memories)} memories.")
    memories: list[Rows | Place] = [
        place(memory, source) if isinstance(memory, int) else _as_float16(memory, source, "memory")
        for memory in item.memories
    ]
    for memory in memories:
        if isinstance(memory, Place):
            continue
        if memory.ndim != 2 or len(memory) == 0 or memory.shape[1] != memory_size:
            raise InputError(
                f"The document {source} has a memory of shape {memory.shape}; the store takes "
                f"(rows, {memory_size}) with at least one row."
            )
    if key_size is None:
        if item.keys is not None:
            raise InputError(f"The document {source} has keys but the store takes none; leave them out.")
        return Vectors(memories, None)
    shape = None if item.keys is None else np.shape(item.keys)
    if item.keys is None or shape != (number, key_size):
        raise InputError(
            f"The document {source} has keys of shape {shape}; the store takes ({number}, {key_size})."
        )
    keys = np.array(item.keys, np.float64)
    shared = [isinstance(memory, Place) for memory in memories]
    keys[shared] = 1.0
    return Vectors(memories, _unit_keys(keys, source))


def append(vectors: Vectors, appenders: Mapping[str, Appender]) -> Iterator[Place]:
    """Append a document's vectors and give the place of each of its passages."""
    for at, memory in enumerate(vectors.memories):
        if isinstance(memory, Place):
            yield memory
            continue
        segment, first, searched = appenders[MEMORIES].append(memory)
        key_segment, key_row = None, None
        if vectors.keys is not None:
            key_segment, key_row, searched = appenders[KEYS].append(vectors.keys[at : at + 1])
        yield Place(segment, first, len(memory), key_segment, key_row, _norm(searched))


def _as_float16(values: NDArray[np.floating], source: str, what: str) -> Rows:
    with np.errstate(over="ignore"):
        rows = np.asarray(values).astype(np.float16)
    if not np.isfinite(rows).all():
        raise InputError(
            f"The document {source} has a {what} with numbers that are not finite as float16; it "
            "cannot be added."
        )
    return rows


def _unit_keys(keys: NDArray[np.floating], source: str) -> Rows:
    exact = np.asarray(keys, dtype=np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise InputError(
            f"The document {source} has a key with numbers that are not finite; it cannot be added."
        )
    if not lengths.all():
        raise InputError(f"The document {source} has a key of zeros, which nothing can be compared with.")
    return _as_float16(exact / lengths, source, "key")


def _norm(rows: Rows) -> float:
    return float(np.linalg.norm(rows.astype(np.float64)))
