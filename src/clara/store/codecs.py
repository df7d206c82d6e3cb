"""How rows of numbers are kept as bytes: the trade of size against exactness.

| name | bytes of a row of H numbers | |
|---|---|---|
| `float16` | 2 H | as the model gave them |
| `int8` | H + 2 | whole numbers up to 127 times a scale of the row |
| `int4` | H / 2 + 2 | whole numbers up to 7 times a scale of the row |
| `pq` | H / 4 | every four numbers as the nearest of 256 learned fours (product quantisation, Jégou 2011) |
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError

Rows = NDArray[np.float16]
Bytes = NDArray[np.uint8]

LEARNED = "pq"
"""The one that learns; its codecs are named after their codebooks, `pq-1` and on."""

MEMORY_DTYPES = ("float16", "int8", "int4", LEARNED)
"""Names that a user may choose."""

TRAINING_ROWS = 16_384
"""Rows that a product quantiser is learned from; until a store has as many, it keeps float16."""

_SUB = 4
_CENTRES = 256
_ROUNDS = 12
_ROWS_AT_ONCE = 1024
_SMALLEST = 2.0**-24  # of float16; a row of zeros has a scale too
_LARGEST = 65504.0  # of float16


class RowCodec(Protocol):
    """A way of keeping rows."""

    @property
    def name(self) -> str:
        """How a store refers to it."""
        ...

    @property
    def suffix(self) -> str:
        """Of the files that hold such rows."""
        ...

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        ...

    def encode(self, rows: Rows) -> Bytes:
        """Rows (n, width) as bytes (n, row_bytes)."""
        ...

    def decode(self, data: Bytes) -> Rows:
        """Bytes (n, row_bytes) as rows (n, width), float16."""
        ...


class RowBytes(Protocol):
    """Rows of a file as they were coded, each uint8 of shape (row_bytes,)."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: slice | NDArray[np.int64], /) -> Bytes: ...


@dataclass(frozen=True, slots=True)
class CodedRows:
    """Rows of a file that are decoded as they are taken.

    Attributes:
        data: The file's rows of bytes.
        codec: Of the file.
    """

    data: RowBytes
    codec: RowCodec

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, at: slice | NDArray[np.int64]) -> Rows:
        return self.codec.decode(self.data[at])


@dataclass(frozen=True, slots=True)
class Float16Codec:
    """Rows as they are, little-endian."""

    row_bytes: int
    name: str = "float16"
    suffix: str = "f16"

    def encode(self, rows: Rows) -> Bytes:
        """See `RowCodec`."""
        return np.ascontiguousarray(rows, "<f2").view(np.uint8)

    def decode(self, data: Bytes) -> Rows:
        """See `RowCodec`; the bytes are not copied."""
        decoded: Rows = data.view("<f2")
        return decoded


@dataclass(frozen=True, slots=True)
class ScaledCodec:
    """Whole numbers times a scale, which stands in front of them as float16.

    Attributes:
        width: Numbers in a row.
        most: The largest whole number.
    """

    width: int
    most: int
    name: str
    suffix: str

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return 2 + (self.width if self.most > 7 else (self.width + 1) // 2)

    def encode(self, rows: Rows) -> Bytes:
        """See `RowCodec`."""
        exact = rows.astype(np.float32)
        scales = np.maximum(np.abs(exact).max(axis=1, keepdims=True) / self.most, _SMALLEST).astype("<f2")
        whole = np.rint(exact / scales.astype(np.float32)).clip(-self.most, self.most).astype(np.int8)
        return np.hstack([scales.view(np.uint8), self._packed(whole)])

    def decode(self, data: Bytes) -> Rows:
        """See `RowCodec`."""
        scales = np.ascontiguousarray(data[:, :2]).view("<f2").astype(np.float32)
        # a rounded scale can lead a little beyond float16's range
        return (self._unpacked(data[:, 2:]) * scales).clip(-_LARGEST, _LARGEST).astype(np.float16)

    def _packed(self, whole: NDArray[np.int8]) -> Bytes:
        if self.most > 7:
            return whole.view(np.uint8)
        even = whole if self.width % 2 == 0 else np.pad(whole, ((0, 0), (0, 1)))
        shifted = (even + 8).astype(np.uint8)
        packed: Bytes = np.bitwise_or(shifted[:, ::2], shifted[:, 1::2] << 4)
        return packed

    def _unpacked(self, data: Bytes) -> NDArray[np.int8]:
        if self.most > 7:
            return np.ascontiguousarray(data).view(np.int8)
        both = np.stack([data & 15, data >> 4], axis=2).reshape(len(data), -1)
        return both[:, : self.width].astype(np.int8) - np.int8(8)


@dataclass(frozen=True, slots=True)
class ProductCodec:
    """Every `_SUB` numbers as the nearest of `_CENTRES` learned ones.

    Attributes:
        centres: float32, shape (parts, centres, _SUB).
        width: Numbers in a row; the last part may reach beyond it.
        name: "pq-" and the number of the codebook within its store.
    """

    centres: NDArray[np.float32]
    width: int
    name: str
    suffix: str = "pq"

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return len(self.centres)

    @classmethod
    def learned(cls, rows: Rows, name: str) -> ProductCodec:
        """A codec whose centres are learned from rows by k-means, with the same outcome for the same rows."""
        parts = _parts(rows)
        rng = np.random.default_rng(0)
        centres = parts[:, rng.choice(parts.shape[1], _CENTRES, replace=parts.shape[1] < _CENTRES)].copy()
        for _ in range(_ROUNDS):
            centres = _moved(parts, centres)
        return cls(centres, rows.shape[1], name)

    @classmethod
    def read(cls, data: bytes, width: int, name: str) -> ProductCodec:
        """The codec that `to_bytes` made bytes of."""
        return cls(np.load(io.BytesIO(data), allow_pickle=False), width, name)

    def to_bytes(self) -> bytes:
        """The centres, in NumPy's format."""
        stream = io.BytesIO()
        np.save(stream, self.centres)
        return stream.getvalue()

    def encode(self, rows: Rows) -> Bytes:
        """See `RowCodec`."""
        blocks = [
            _nearest(_parts(rows[start : start + _ROWS_AT_ONCE]), self.centres)
            for start in range(0, len(rows), _ROWS_AT_ONCE)
        ]
        return np.ascontiguousarray(np.hstack(blocks).T)

    def decode(self, data: Bytes) -> Rows:
        """See `RowCodec`."""
        found = self.centres[np.arange(len(self.centres)), data]
        return found.reshape(len(data), -1)[:, : self.width].astype(np.float16)


def check_memory_dtype(name: str) -> None:
    """Make sure that a name is one of `MEMORY_DTYPES`.

    Raises:
        InputError: It is not.
    """
    if name not in MEMORY_DTYPES:
        raise InputError(f"The memory dtype is {name!r}, but must be one of {', '.join(MEMORY_DTYPES)}.")


def plain_codec(name: str, width: int) -> RowCodec:
    """A codec that needs no learning: "float16", "int8" or "int4"."""
    if name == "float16":
        return Float16Codec(2 * width)
    return {
        "int8": ScaledCodec(width, 127, "int8", "i8"),
        "int4": ScaledCodec(width, 7, "int4", "i4"),
    }[name]


def _parts(rows: Rows) -> NDArray[np.float32]:
    """Rows (n, width) as parts (parts, n, _SUB), the last filled up with zeros."""
    missing = -rows.shape[1] % _SUB
    padded = np.pad(rows.astype(np.float32), ((0, 0), (0, missing)))
    return np.ascontiguousarray(padded.reshape(len(rows), -1, _SUB).transpose(1, 0, 2))


def _nearest(parts: NDArray[np.float32], centres: NDArray[np.float32]) -> Bytes:
    """Of each part (parts, n, _SUB) the number of the nearest centre, uint8, shape (parts, n)."""
    found = np.empty(parts.shape[:2], np.uint8)
    for at, (own, of_part) in enumerate(zip(parts, centres, strict=True)):
        # the length of what is compared is the same for all centres
        found[at] = (own @ of_part.T - (of_part**2).sum(axis=1) / 2).argmax(axis=1)
    return found


def _moved(parts: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centres moved into the middle of what is nearest to them; where nothing is, they stay."""
    moved = centres.copy()
    for at, (own, nearest) in enumerate(zip(parts, _nearest(parts, centres), strict=True)):
        counts = np.bincount(nearest, minlength=_CENTRES)
        sums = np.stack([np.bincount(nearest, one, _CENTRES) for one in own.T], axis=1)
        used = counts > 0
        moved[at, used] = sums[used] / counts[used, None]
    return moved
