"""The bytes of a file, whole or in parts, and whether they stayed the same while they were read.

A part is read on its own, so that a file of any size needs the memory of one part. Where a part ends depends
on the bytes before alone: where a file only grows, as a log does, all parts but the last stay as they were.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from clara.documents.charsets import wide
from clara.documents.reading import UnreadableError
from clara.documents.text import printable

PART_BYTES = 8_000_000
"""The size of the parts in which large files are read."""

Border = Callable[[bytes], int]
"""Where to part a block of bytes best; 0 if a longer block is needed."""

_PART_NAME = re.compile(r"#part-\d+$")
_WIDE_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 1 << 16
_HEAD_ROWS = 40
_MAX_BLOCKS = 8  # parts of text without a border are at most this many times as long


@dataclass(frozen=True, slots=True)
class FilePart:
    """The bytes of a file, or of one part of it, that make a document.

    Attributes:
        source: The file's absolute path with links resolved, and "#part-2" and so on from the second part on.
        path: The file as it was named.
        data: The bytes.
        sha256: Hex digest of the bytes, of `head` where there is one, and of the options of records that were
            chosen.
        modified: Modification time of the file, seconds since the epoch.
        first_line: The file's line that the bytes begin on, from 1.
        head: The first rows of a table of which this is a later part.
    """

    source: str
    path: Path
    data: bytes
    sha256: str
    modified: float = 0.0
    first_line: int = 1
    head: bytes = b""


def file_of(source: str) -> str:
    """The path of the file that a document or a part of it was read from, given its source."""
    return _PART_NAME.sub("", source)


def source_of(path: Path) -> str:
    """The name of the document that is read from a file, or of its first part."""
    return printable(str(path.resolve()))


def divide(
    path: Path, border: Border | None, *, keeps_head: bool, max_whole_bytes: int, whole: bool
) -> Iterator[FilePart]:
    """Read a file in parts of `PART_BYTES`; a smaller file is one part.

    Args:
        path: The file.
        border: Where a block may be parted, None for files that only make sense whole.
        keeps_head: Later parts come with the file's first rows.
        max_whole_bytes: The most that a file without borders may have.
        whole: Read all in one part all the same.

    Raises:
        OSError: The file cannot be opened or read.
        UnreadableError: The file changes while it is read, or is too large to be read whole.
    """
    source = source_of(path)
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > max_whole_bytes and border is None:
            raise UnreadableError(
                f"is larger than {max_whole_bytes // 1_000_000} MB, which only text, Markdown, CSV, JSON "
                "lines and logs may be; split it"
            )
        if border is None or whole or size <= PART_BYTES:
            data = _steadily(stream, lambda: _read(stream, 0))
            modified = os.fstat(stream.fileno()).st_mtime
            yield FilePart(source, path, data, hashlib.sha256(data).hexdigest(), modified)
            return
        with _narrow(stream) as narrow:
            line, head = 1, b""
            for number, data in enumerate(_blocks(narrow, border), 1):
                name = source if number == 1 else f"{source}#part-{number}"
                digest = hashlib.sha256(head + data).hexdigest()
                modified = os.fstat(stream.fileno()).st_mtime
                yield FilePart(name, path, data, digest, modified, line, head)
                if keeps_head and number == 1:
                    head = data[: _first_rows(data)]
                line += _count_lines(data)


def _blocks(stream: BinaryIO, border: Border) -> Iterator[bytes]:
    start = 0
    while data := _steadily(stream, lambda: _block(stream, start, border)):  # noqa: B023  # called at once
        yield data
        start += len(data)


def _block(stream: BinaryIO, start: int, border: Border) -> bytes:
    """The bytes from `start` to the best border near `PART_BYTES`, or to the file's end."""
    for count in range(1, _MAX_BLOCKS + 1):
        block = _read(stream, start, count * PART_BYTES)
        if len(block) < count * PART_BYTES:
            return block
        if at := border(block):
            return block[:at]
    return block[: after_word(block)]


def _read(stream: BinaryIO, start: int, size: int = -1) -> bytes:
    stream.seek(start)
    return stream.read(size)


def _steadily(stream: BinaryIO, read: Callable[[], bytes]) -> bytes:
    """What `read` gives while the file stays the same, at the second attempt if need be."""
    for _ in range(2):
        before = _state(stream)
        data = read()
        if _state(stream) == before:
            return data
    raise UnreadableError("changes while it is read; wait until it is written and add it again")


def _state(stream: BinaryIO) -> tuple[int, int]:
    state = os.fstat(stream.fileno())
    return state.st_size, state.st_mtime_ns


def _narrow(stream: BinaryIO) -> BinaryIO:
    """The file, or a copy in UTF-8 of one in UTF-16 or UTF-32, in whose bytes line ends cannot be told."""
    start = _read(stream, 0, _SAMPLE)
    encoding = next((name for mark, name in _WIDE_ENCODINGS if start.startswith(mark)), "") or wide(start)
    if not encoding:
        return os.fdopen(os.dup(stream.fileno()), "rb")
    decoder = codecs.getincrementaldecoder(encoding)()
    copy: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    stream.seek(0)
    try:
        while block := stream.read(PART_BYTES):
            copy.write(decoder.decode(block).encode("utf-8"))
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        copy.close()
        raise UnreadableError(
            "is damaged: its bytes do not follow the encoding that it begins with"
        ) from error
    return copy


def after_paragraph(block: bytes) -> int:
    """After the last blank line in a block's second half, else after a line, else after a word."""
    half = len(block) // 2
    ends = (block.rfind(mark, half) + len(mark) for mark in (b"\n\n", b"\n\r\n"))
    best = max((end for end in ends if end > half), default=0)
    return best or after_line(block) or after_word(block)


def after_line(block: bytes) -> int:
    """After the last line end of a block; 0 if it has none."""
    return block.rfind(b"\n") + 1


def after_row(block: bytes) -> int:
    """After the last line end that does not stand within quotation marks; 0 if there is none."""
    stop = block.rfind(b"\n") + 1
    quotes = block.count(b'"', 0, stop)
    while stop and quotes % 2:
        before = block.rfind(b"\n", 0, stop - 1) + 1
        quotes -= block.count(b'"', before, stop)
        stop = before
    return stop


def after_word(block: bytes) -> int:
    """After the last space of a block; without any, before a last character that may be cut.

    The block has eight bytes at least.
    """
    space = max(block.rfind(b" "), block.rfind(b"\t"), block.rfind(b"\r", 0, -1)) + 1
    if space:
        return space
    at = len(block) - 1
    while at > len(block) - 4 and block[at] & 0xC0 == 0x80:  # the middle of a character in UTF-8
        at -= 1
    return max(at, 1)


def _first_rows(data: bytes) -> int:
    """Where a table's first rows end, among which is the one with the names of its columns."""
    stop, quotes, rows = 0, 0, 0
    while rows < _HEAD_ROWS:
        end = data.find(b"\n", stop) + 1
        if not end:
            return len(data)
        quotes += data.count(b'"', stop, end)
        stop = end
        rows += quotes % 2 == 0
    return stop


def _count_lines(data: bytes) -> int:
    """The line ends in some bytes, of whichever system."""
    return data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
