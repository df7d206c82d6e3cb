"""JSON and JSON lines: a section for each record, and for each element of its lists of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from clara.documents.fields import Record, record_of, record_sections
from clara.documents.options import ReadOptions
from clara.documents.outline import Reading, UnreadableError
from clara.documents.text import decode


def read_json(data: bytes, options: ReadOptions) -> Reading:
    """Read a JSON file: each element of a list is a record, anything else is one.

    Raises:
        UnreadableError: The bytes are not text or not JSON, or no record has a chosen field.
    """
    value = _parsed(decode(data), 0)
    values = value if isinstance(value, list) else [value]
    return Reading("", record_sections(map(record_of, values), options))


def read_json_lines(data: bytes, options: ReadOptions) -> Reading:
    """Read a file with a JSON value on each line; a last line that was cut off in writing is left out.

    Raises:
        UnreadableError: The bytes are not text, a line is not JSON, or no record has a chosen field.
    """
    return Reading("", record_sections(_records(decode(data)), options))


def _records(text: str) -> Iterator[Record]:
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = _parsed(line, number)
        except UnreadableError:
            if number > 1 and number == len(lines):  # what is written whole ends with a line feed
                return
            raise
        yield record_of(value, (number, number))


def _parsed(text: str, line: int) -> Any:
    """The value of a text; the names that programs write where nothing is known, such as NaN, are nulls."""
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is not valid JSON ({error.msg}); correct it", line or error.lineno) from error
    except ValueError as error:  # Python's guard against conversions that take forever
        raise UnreadableError("has a number of thousands of digits; quote it", line or None) from error
    except RecursionError as error:
        raise UnreadableError("is JSON that is nested too deeply; flatten it", line or None) from error
