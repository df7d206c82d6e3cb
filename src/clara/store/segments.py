"""Append-only files of float16 rows.

A kind of vector has a series of files, `memories-000001.f16` and on, each no more than its rows one after
the other, little-endian. How many rows of a file count is decided elsewhere: what lies behind them was left
by a writer that did not finish, is read by no one, and is cut off by the next writer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from clara.errors import StoreError

Rows = NDArray[np.float16]

_ROW_TYPE = np.dtype("<f2")


class SegmentFiles:
    """The files of one kind of vector in a folder.

    Args:
        folder: Where the files are.
        kind: What their names begin with.
        width: Numbers in a row.
    """

    def __init__(self, folder: Path, kind: str, width: int) -> None:
        self._folder = folder
        self._kind = kind
        self._width = width
        self._maps: dict[int, Rows] = {}

    @property
    def row_bytes(self) -> int:
        """Size of a row in bytes."""
        return self._width * _ROW_TYPE.itemsize

    def path(self, number: int) -> Path:
        """Where file `number`, from 1, is."""
        return self._folder / f"{self._kind}-{number:06d}.f16"

    def rows(self, number: int, count: int) -> Rows:
        """The first `count` rows of a file, shape (count, width), mapped read-only and not copied."""
        mapped = self._maps.get(number)
        if mapped is None or len(mapped) < count:
            try:
                mapped = np.memmap(self.path(number), _ROW_TYPE, mode="r", shape=(count, self._width))
            except (OSError, ValueError) as error:  # ValueError: the file is shorter than the map
                raise _damaged(self.path(number), f"it cannot be read ({error})") from error
            self._maps[number] = mapped
        return mapped[:count]

    def check(self, committed: Mapping[int, int]) -> None:
        """Make sure that the files hold the rows that count.

        Args:
            committed: Rows that count, by the number of the file.

        Raises:
            StoreError: A file is missing or too short.
        """
        for number, count in committed.items():
            path = self.path(number)
            try:
                size = path.stat().st_size
            except OSError as error:
                raise _damaged(path, f"it cannot be opened ({error.strerror})") from error
            if size < count * self.row_bytes:
                raise _damaged(path, f"it has {size} bytes of the {count * self.row_bytes} recorded")

    def trim(self, committed: Mapping[int, int]) -> None:
        """Cut off what a writer left unfinished. Only for the one writer; call `check` first."""
        for number, count in committed.items():
            if self.path(number).stat().st_size > count * self.row_bytes:
                os.truncate(self.path(number), count * self.row_bytes)
        kept = {self.path(number) for number in committed}
        for path in self._folder.glob(f"{self._kind}-*.f16"):
            if path not in kept:
                path.unlink()

    @contextmanager
    def appending(self, committed: Mapping[int, int], max_bytes: int) -> Iterator[Appender]:
        """Append rows; when the block ends they are on the disk, but count only once they are recorded.

        When the block fails, everything it wrote is cut off again.
        """
        appender = Appender(self, committed, max_bytes)
        try:
            yield appender
            appender.finish()
        except BaseException as error:
            appender.abandon()
            self.trim(committed)
            if isinstance(error, OSError) and not isinstance(error, StoreError):
                raise StoreError(
                    f"The store's folder {self._folder} could not be written: {error.strerror or error}; "
                    "nothing was added."
                ) from error
            raise

    def close(self) -> None:
        """Let go of the mapped files."""
        self._maps.clear()


class Appender:
    """Writes rows behind the last that counts, in a new file where one would grow beyond `max_bytes`."""

    def __init__(self, files: SegmentFiles, committed: Mapping[int, int], max_bytes: int) -> None:
        self.counts = dict(committed)
        """Rows of each file, those appended included."""
        self._files = files
        self._max_bytes = max_bytes
        self._number = max(committed, default=0)
        self._file: IO[bytes] | None = None

    def append(self, rows: Rows) -> tuple[int, int]:
        """Append an array of shape (n, width) to one file; return its number and the first row there."""
        if self._number == 0 or self._is_full(len(rows)):
            self.finish()
            self._number += 1
            self.counts[self._number] = 0
        if self._file is None:
            self._file = self._open()
        first = self.counts[self._number]
        self._file.write(np.ascontiguousarray(rows, _ROW_TYPE).data)
        self.counts[self._number] += len(rows)
        return self._number, first

    def finish(self) -> None:
        """Bring what was appended onto the disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self.abandon()

    def abandon(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            with suppress(OSError):  # on a full disk, closing fails like the write before it
                self._file.close()
            self._file = None

    def _is_full(self, count: int) -> bool:
        filled = self.counts[self._number]
        return filled > 0 and (filled + count) * self._files.row_bytes > self._max_bytes

    def _open(self) -> IO[bytes]:
        path = self._files.path(self._number)
        is_new = not path.exists()
        file = path.open("ab")
        # behind the rows that count there may be some of a writer that was killed
        file.truncate(self.counts[self._number] * self._files.row_bytes)
        if is_new:
            sync_folder(path.parent)
        return file


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"The store's file {path} is damaged: {what}; restore it from a backup or index into a new store."
    )
