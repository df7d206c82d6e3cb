"""Files with a JSON object on each line, compressed or not."""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from clara.errors import InputError

COMPRESSED: dict[str, Callable[..., IO[Any]]] = {".xz": lzma.open, ".gz": gzip.open}
"""What opens a compressed file, by the end of its name."""

UNREADABLE = (UnicodeDecodeError, lzma.LZMAError, zlib.error, EOFError, OSError)
"""What reading an opened file may raise: not UTF-8, damaged, cut off."""


def open_lines(path: Path) -> IO[str]:
    """A text file, decompressed if its name ends in .xz or .gz.

    Raises:
        InputError: There is no such file.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file.")
    if path.suffix in COMPRESSED:
        return COMPRESSED[path.suffix](path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def parse_record(line: str) -> dict[str, Any]:
    """A line as the object that it holds.

    Raises:
        InputError: It is not a JSON object; the message is the reason alone.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON ({error.msg} at character {error.colno})") from error
    except ValueError as error:  # Python's guard against conversions that take forever
        raise InputError("a number has thousands of digits; quote it") from error
    except RecursionError as error:
        raise InputError("nested too deeply; flatten it") from error
    if not isinstance(record, dict):
        raise InputError(f"a JSON object is wanted, but this is a {type(record).__name__}")
    return record


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of every line that is not blank.

    Raises:
        InputError: There is no such file, or it cannot be read to its end.
    """
    with open_lines(path) as file:
        number = 0
        while line := _next_line(path, file):
            number += 1
            if line.strip():
                yield number, line


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place to name in messages, object) of every line that is not blank.

    Raises:
        InputError: As for `read_lines`, or a line is not a JSON object.
    """
    for number, line in read_lines(path):
        place = f"{path}, line {number}"
        try:
            record = parse_record(line)
        except InputError as error:
            raise InputError(f"{place}: {error}.") from error
        yield place, record


def _next_line(path: Path, file: IO[str]) -> str:
    try:
        return file.readline()
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
