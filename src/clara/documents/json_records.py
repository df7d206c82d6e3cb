"""JSON and JSON lines: a section for each record, and for each element of its lists of objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from clara.documents.charsets import decode
from clara.documents.fields import Record, record_of, record_sections
from clara.documents.reading import Context, Reading, UnreadableError
from clara.documents.scalars import as_written


def read_json(data: bytes, context: Context) -> Reading:
    """Read a JSON file: each element of a list is a record, anything else is one.

    Raises:
        UnreadableError: The bytes are not text or not JSON, or no record has a chosen field.
    """
    value = _parsed(decode(data, losses=context.losses), 0)
    values = value if isinstance(value, list) else [value]
    return Reading("", record_sections(map(record_of, values), context))


def read_json_lines(data: bytes, context: Context) -> Reading:
    """Read a file with a JSON value on each line; lines that are none are left out, and told of.

    Raises:
        UnreadableError: The bytes are not text, no line is JSON, or no record has a chosen field.
    """
    return Reading("", record_sections(_records(decode(data, losses=context.losses), context), context))


def _records(text: str, context: Context) -> Iterator[Record]:
    fault: UnreadableError | None = None
    is_any = False
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = record_of(_parsed(line, number), (number, number))
        except UnreadableError as error:
            fault = fault or error
            said = str(error).partition(";")[0]
            context.losses.say(f"line {number + context.first_line - 1} was left out: it {said}")
            continue
        is_any = True
        yield record
    if fault is not None and not is_any:
        raise fault


def _with_all_values(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a name that stands in it more than once has a list of its values."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, value in pairs:
            found[name] = [*found[name], value] if name in seen else [value]
            seen.add(name)
        found = {name: value if len(value) > 1 else value[0] for name, value in found.items()}
    return found


def _parsed(text: str, line: int) -> Any:
    """The value of a text; the names that programs write where nothing is known, such as NaN, are nulls."""
    try:
        return json.loads(
            text, parse_constant=lambda _: None, parse_float=as_written, object_pairs_hook=_with_all_values
        )
    except json.JSONDecodeError as error:
        raise UnreadableError(f"is not valid JSON ({error.msg}); correct it", line or error.lineno) from error
    except ValueError as error:  # Python's guard against conversions that take forever
        raise UnreadableError("has a number of thousands of digits; quote it", line or None) from error
    except RecursionError as error:
        raise UnreadableError("is JSON that is nested too deeply; flatten it", line or None) from error
