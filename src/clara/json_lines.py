"""Files with a JSON object on each line, compressed or not."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import IO, Any

from clara.errors import InputError


def open_lines(path: Path) -> IO[str]:
    """A text file, decompressed if its name ends in .xz or .gz.

    Raises:
        InputError: There is no such file.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file.")
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
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
