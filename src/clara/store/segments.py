"""Append-only files of rows of numbers.

A kind of vector has a series of files, `memories-000001.f16` and on, each no more than its coded rows one
after the other. How many rows of a file count, and how they are coded, is decided elsewhere: what lies behind
them was left by a writer that did not finish, is read by no one, and is cut off by the next writer.
"""

from __future__ import annotations

import os
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clara.errors import StoreError
from clara.files import open_for_reading, read_at, sync_folder
from clara.store.codecs import CodedRows, RowCodec, Rows

_BLOCK_BYTES = 1 << 20  # damage takes all documents of a block with it
_CHUNK = 1 << 22
_RUN_BYTES = 1 << 16  # what is read of a file at once rather than mapped
_SPARSE = 16  # rows between those that are taken, from which on they are read one by one


class Segment(NamedTuple):
    """How many rows of a file count, and the name of the codec that they are coded with."""

    rows: int
    codec: str


class Block(NamedTuple):
    """Rows of a file that were appended one after the other, with the CRC-32 of their bytes."""

    segment: int
    first: int
    rows: int
    crc32: int


class FileRows:
    """The first rows of a file, as they were coded.

    Many at once are a view of the mapped file. Few, or some here and there, are read: pages of a map stay
    with the process, with all around them, though another search hardly needs them again.

    Args:
        path: The file.
        rows: How many rows there are.
        row_bytes: Size of a row.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is shorter.
        StoreError: Rows are taken that it does not hold any more.
    """

    def __init__(self, path: Path, rows: int, row_bytes: int) -> None:
        self._path = path
        self._map: NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r", shape=(rows, row_bytes)).view(
            np.ndarray
        )
        self._descriptor = open_for_reading(path)
        weakref.finalize(self, os.close, self._descriptor)

    def __len__(self) -> int:
        return len(self._map)

    def __getitem__(self, at: slice | NDArray[np.int64], /) -> NDArray[np.uint8]:
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self))
            return self._taken(np.array([start]), np.array([max(0, stop - start)]))
        if len(at) == 0 or int(at.max() - at.min()) < _SPARSE * len(at):
            return self._mapped()[at]
        firsts = np.flatnonzero(np.diff(at, prepend=at[0] - 2) != 1)
        return self._taken(at[firsts], np.diff(firsts, append=len(at)))

    def _mapped(self) -> NDArray[np.uint8]:
        """The map, unless the file was cut since it was made: reading beyond its end ends the process."""
        if os.fstat(self._descriptor).st_size < self._map.size:
            raise _damaged(self._path, "it ends before its rows do")
        return self._map

    def _taken(self, firsts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Runs of rows, one after the other."""
        width = self._map.shape[1]
        if len(firsts) == 1 and counts[0] * width > _RUN_BYTES:
            return self._mapped()[firsts[0] : firsts[0] + counts[0]]
        parts = [
            read_at(self._descriptor, size, first)
            for first, size in zip((firsts * width).tolist(), (counts * width).tolist(), strict=True)
        ]
        taken = np.frombuffer(b"".join(parts), np.uint8)
        if taken.size != int(counts.sum()) * width:
            raise _damaged(self._path, "it ends before its rows do")
        return taken.reshape(-1, width)


class SegmentFiles:
    """The files of one kind of vector in a folder.

    Args:
        folder: Where the files are.
        kind: What their names begin with.
        codec: Gives a codec by its name.
    """

    def __init__(self, folder: Path, kind: str, codec: Callable[[str], RowCodec]) -> None:
        self._folder = folder
        self._kind = kind
        self._opened: dict[int, FileRows] = {}
        self.codec = codec

    def path(self, number: int, codec: str) -> Path:
        """Where file `number`, from 1, is."""
        return self._folder / f"{self._kind}-{number:06d}.{self.codec(codec).suffix}"

    def rows(self, number: int, segment: Segment) -> CodedRows:
        """The rows of a file that count, decoded as they are taken.

        Raises:
            StoreError: The file is missing or too short.
        """
        codec = self.codec(segment.codec)
        if segment.rows == 0:  # nothing cannot be mapped
            return CodedRows(np.empty((0, codec.row_bytes), np.uint8), codec)
        opened = self._opened.get(number)
        if opened is None or len(opened) < segment.rows:
            path = self.path(number, segment.codec)
            try:
                opened = FileRows(path, segment.rows, codec.row_bytes)
            except (OSError, ValueError) as error:  # ValueError: the file is shorter than the map
                raise _damaged(path, f"it cannot be read ({error})") from error
            self._opened[number] = opened
        return CodedRows(opened, codec)

    def bytes(self, segments: Mapping[int, Segment]) -> int:
        """Size of the rows that count."""
        return sum(segment.rows * self.codec(segment.codec).row_bytes for segment in segments.values())

    def is_whole(self, block: Block, segment: Segment) -> bool:
        """Whether the bytes of a block are there and have their CRC-32."""
        row_bytes = self.codec(segment.codec).row_bytes
        crc32, left = 0, block.rows * row_bytes
        if not self.path(block.segment, segment.codec).is_file():  # a pipe would be waited for
            return False
        try:  # read and not mapped: a map of a file that was cut ends the process
            with self.path(block.segment, segment.codec).open("rb") as file:
                file.seek(block.first * row_bytes)
                while chunk := file.read(min(left, _CHUNK)):
                    crc32, left = zlib.crc32(chunk, crc32), left - len(chunk)
        except OSError:
            return False
        return left == 0 and crc32 == block.crc32

    def forget(self, segments: Mapping[int, Segment]) -> None:
        """Let go of the open files that are none of these."""
        for number in self._opened.keys() - segments.keys():
            del self._opened[number]

    def check(self, segments: Mapping[int, Segment]) -> None:
        """Make sure that the files hold the rows that count.

        Raises:
            StoreError: A file is missing or too short.
        """
        for number, segment in segments.items():
            path, wanted = self.path(number, segment.codec), self.bytes({number: segment})
            try:
                size = path.stat().st_size
            except OSError as error:
                raise _damaged(path, f"it cannot be opened ({error.strerror})") from error
            if size < wanted:
                raise _damaged(path, f"it has {size} bytes of the {wanted} recorded")

    def trim(self, segments: Mapping[int, Segment]) -> None:
        """Cut off what a writer left unfinished. Only for the one writer; call `check` first."""
        kept = {self.path(number, segment.codec): {number: segment} for number, segment in segments.items()}
        for path, own in kept.items():
            if path.stat().st_size > self.bytes(own):
                os.truncate(path, self.bytes(own))
        for path in self._folder.glob(f"{self._kind}-*.*"):
            if path not in kept:
                with suppress(PermissionError):  # Windows keeps open files; the next writer deletes them
                    path.unlink()

    @contextmanager
    def appending(
        self, segments: Mapping[int, Segment], codec: str, max_bytes: int, *, fresh: bool = False
    ) -> Iterator[Appender]:
        """Append rows; when the block ends they are on the disk, but count only once they are recorded.

        When the block fails, everything it wrote is cut off again.

        Args:
            segments: The files so far.
            codec: Of the rows to come; a file has one codec alone.
            max_bytes: A file is not continued beyond this size.
            fresh: Begin with a new file, and leave it there even if it stays empty: the number of a file that
                someone may have mapped must never be given to another.
        """
        appender = Appender(self, segments, codec, max_bytes)
        try:
            if fresh:
                appender.begin_file()
            yield appender
            appender.finish()
        except BaseException as error:
            appender.revert(segments)
            if isinstance(error, OSError) and not isinstance(error, StoreError):
                raise StoreError(
                    f"The store's folder {self._folder} could not be written: {error.strerror or error}; "
                    "nothing was added."
                ) from error
            raise

    def close(self) -> None:
        """Let go of the open files."""
        self._opened.clear()


class Appender:
    """Writes rows behind the last that counts, in a new file where one would grow beyond `max_bytes`."""

    def __init__(
        self, files: SegmentFiles, segments: Mapping[int, Segment], codec: str, max_bytes: int
    ) -> None:
        self.segments = dict(segments)
        """The files, what was appended included."""
        self.blocks: list[Block] = []
        """What was appended."""
        self._files = files
        self._codec = files.codec(codec)
        self._max_bytes = max_bytes
        self._number = max(segments, default=0)
        self._begin = not segments or segments[self._number].codec != codec
        self._file: IO[bytes] | None = None

    def append(self, rows: Rows) -> tuple[int, int, Rows]:
        """Append an array of shape (n, width) to one file.

        Returns:
            The file's number, the first row there, and the rows as they will be read.
        """
        if self._begin or self._is_full(len(rows)):
            self.begin_file()
        if self._file is None:
            self._file = self._open()
        data = self._codec.encode(rows)
        self._file.write(data.data)
        first = self.segments[self._number].rows
        self._note(first, len(rows), data)
        return self._number, first, self._codec.decode(data)

    def begin_file(self) -> None:
        """Append to a new file from now on."""
        self.finish()
        self._begin = False
        self._number += 1
        self.segments[self._number] = Segment(0, self._codec.name)
        self._file = self._open()

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

    def revert(self, segments: Mapping[int, Segment]) -> None:
        """Cut off all that was appended, and nothing else: other files may be read."""
        self.abandon()
        for number in self.segments.keys() - segments.keys():
            self._files.path(number, self._codec.name).unlink(missing_ok=True)
        last = max(segments, default=0)
        if last:
            path = self._files.path(last, segments[last].codec)
            wanted = self._files.bytes({last: segments[last]})
            if path.exists() and path.stat().st_size > wanted:
                os.truncate(path, wanted)

    def _note(self, first: int, count: int, data: NDArray[np.uint8]) -> None:
        """Take new rows into the file's count, and into the block that is being written."""
        self.segments[self._number] = Segment(first + count, self._codec.name)
        last = self.blocks[-1] if self.blocks else None
        if (
            last is not None
            and last.segment == self._number
            and last.rows * self._codec.row_bytes < _BLOCK_BYTES
        ):
            crc32 = zlib.crc32(data.data, last.crc32)
            self.blocks[-1] = Block(self._number, last.first, last.rows + count, crc32)
        else:
            self.blocks.append(Block(self._number, first, count, zlib.crc32(data.data)))

    def _is_full(self, count: int) -> bool:
        filled = self.segments[self._number].rows
        return filled > 0 and (filled + count) * self._codec.row_bytes > self._max_bytes

    def _open(self) -> IO[bytes]:
        path = self._files.path(self._number, self._codec.name)
        is_new = not path.exists()
        size = self.segments[self._number].rows * self._codec.row_bytes
        if size and (is_new or path.stat().st_size < size):
            raise _damaged(path, f"it has not the {size} bytes recorded")
        file = path.open("ab")
        file.truncate(size)  # behind the rows that count there may be some of a writer that was killed
        if is_new:
            sync_folder(path.parent)
        return file


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"The store's file {path} is damaged: {what}; restore it from a backup or index into a new store."
    )
