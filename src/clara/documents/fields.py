"""From a record, such as a row of a table or an object of JSON, to a section."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from clara.documents.lines import Lines
from clara.documents.options import ReadOptions
from clara.documents.reading import Context, Losses, UnreadableError, written
from clara.documents.scalars import plain
from clara.documents.text import squeeze
from clara.records import Metadata, Section

Scalar = str | int | float | bool

_TITLE_FIELDS = ("title", "name", "subject", "heading")
_TEXT_FIELDS = frozenset({"text", "content", "contents", "body", "passage", "message", "description"})
_FEW_WORDS = 3
_DATA_ADDRESS = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w=-]+)*;base64,")
_ENCODED = re.compile(r"[A-Za-z0-9+/_=-]{60,}(?:\s{1,3}[A-Za-z0-9+/_=-]+)*\s*")
_HEX = re.compile(r"[0-9a-fA-F]+")
_LEAST_BINARY = 200  # characters
_LONGEST_FACT = 64  # characters; a longer string is text, not something to filter on
_LARGEST_FACT = 2**63  # what databases hold; infinity is larger
_SEPARATOR = " > "
_MAX_DEPTH = 50
_SHOWN_FIELDS = 12


@dataclass(frozen=True, slots=True)
class Record:
    """The values of a record by the dotted names of its fields, and the lines of its file.

    Attributes:
        values: Of each field all values, since a list in JSON has several under one name.
        lines: The lines that the record stands on, None where they are not known.
        path: The name of the list in another record that this one is an element of, "" if it is of none.
        inner: The elements of the lists of objects that the record has.
    """

    values: Mapping[str, list[Scalar]]
    lines: Lines | None = None
    path: str = ""
    inner: Sequence[Record] = ()

    def short(self, name: str) -> str:
        """The name of a field as the record itself would call it."""
        return name.removeprefix(f"{self.path}.") if self.path else name


def record_of(value: object, lines: Lines | None = None) -> Record:
    """A JSON value as a record; fields of objects within it are named by their path, nulls are left out.

    Each element of a list of objects becomes a record of its own, so that what belongs together stays so.
    Where its objects have one field alone, nothing can be mixed up, and their values are those of one field.

    Raises:
        UnreadableError: The value is nested too deeply.
    """
    try:
        return _record(value, "", lines, 0)
    except RecursionError as error:
        where = lines[0] if lines else None
        raise UnreadableError("is JSON that is nested too deeply; flatten it", where) from error


def _record(value: object, path: str, lines: Lines | None, depth: int) -> Record:
    values: dict[str, list[Scalar]] = {}
    inner = []
    for name, leaf, at in _leaves(value, path, depth):
        if isinstance(leaf, dict):
            inner.append(_record(leaf, name, lines, at))
        else:
            values.setdefault(name, []).append(leaf)
    return Record(values, lines, path, inner)


def _leaves(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any, int]]:
    """The name, value and depth of each scalar and of each object that is a record of its own."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key, depth + 1)
    elif isinstance(value, list):
        has_records = any(map(_is_record, value))
        for inner in value:
            if has_records and isinstance(inner, dict):
                yield name, inner, depth + 1
            else:
                yield from _leaves(inner, name, depth + 1)
    elif value is not None:
        yield name, value, depth


def _is_record(value: object) -> bool:
    """Whether a value is an object with fields that could be mixed up with those of others."""
    if not isinstance(value, dict):
        return False
    return len(value) > 1 or any(isinstance(inner, (dict, list)) for inner in value.values())


def record_sections(records: Iterable[Record], context: Context) -> tuple[Section, ...]:
    """A section for each record that has text, and after it one for each of its inner records.

    Strings that are files in disguise (base64 and the like) are left out and counted.

    Raises:
        UnreadableError: Text fields are chosen and no record has one of them.
    """
    options = context.options
    seen: dict[str, None] = {}
    sections = []
    for record in records:
        record = _without_binary(record, context.losses)
        seen.update(dict.fromkeys(_names(record)))
        sections += _sections(record, options, (), {})
    if options.text_fields and seen and not any(name in seen for name in options.text_fields):
        names = ", ".join(islice(seen, _SHOWN_FIELDS)) + (", ..." if len(seen) > _SHOWN_FIELDS else "")
        raise UnreadableError(
            f"has no field called {' or '.join(options.text_fields)}; its fields are {names}: "
            "choose among them"
        )
    return tuple(sections)


def _names(record: Record) -> Iterator[str]:
    yield from record.values
    for each in record.inner:
        yield from _names(each)


def _sections(
    record: Record, options: ReadOptions, headings: tuple[str, ...], facts: Metadata
) -> list[Section]:
    """The sections of a record below `headings`; it has the `facts` of the records that it is in too."""
    field = _title_field(record, options)
    title = squeeze(" ".join(map(str, record.values.get(field, ())))) if field is not None else ""
    facts = {**facts, **_facts(record.values, options)}
    name = title or _first_fact(record)
    inner = [
        section
        for each in record.inner
        for section in _sections(each, options, (*headings, name, record.short(each.path)), facts)
    ]
    text = _text(record, options, field)
    if not text and (options.text_fields is None or not headings):
        title, text = "", title  # a title alone is what there is to read
    if not text or (inner and text == name):  # the inner ones have it in their headings
        return inner
    heading = _SEPARATOR.join(filter(None, (*headings, title)))
    return [Section(text, heading, lines=record.lines, metadata=facts), *inner]


def _title_field(record: Record, options: ReadOptions) -> str | None:
    if options.title_field is not None:
        return options.title_field
    by_lower = {record.short(name).casefold(): name for name in reversed(list(record.values))}
    return next((by_lower[name] for name in _TITLE_FIELDS if name in by_lower), None)


def _first_fact(record: Record) -> str:
    """The first short string of a record's own, which tells it from others where it has no title."""
    for name, (value, *others) in record.values.items():
        if isinstance(value, str) and _is_fact(value) and not others and "." not in record.short(name):
            return squeeze(value)
    return ""


def _text(record: Record, options: ReadOptions, title: str | None) -> str:
    """The fields as lines of "field: value"; a single one's value alone, but in elements of lists."""
    values = record.values
    if options.text_fields is None:
        chosen = {name: _written(found) for name, found in values.items() if name != title}
    else:
        chosen = {name: _written(values.get(name, ())) for name in options.text_fields}
    chosen = {name: value for name, value in chosen.items() if value}
    if len(chosen) == 1 and _speaks_for_itself(record, options, *chosen):
        return next(iter(chosen.values()))
    return "\n".join(f"{record.short(name)}: {value}" if name else value for name, value in chosen.items())


def _speaks_for_itself(record: Record, options: ReadOptions, name: str) -> bool:
    """Whether the value of a record's only field needs no name before it."""
    if options.text_fields is not None:
        return len(options.text_fields) == 1
    if record.path:
        return False
    return (
        not name or name.casefold() in _TEXT_FIELDS or (len(record.values) == 1 and _is_prose(record, name))
    )


def _is_prose(record: Record, name: str) -> bool:
    return any(isinstance(value, str) and value.count(" ") > _FEW_WORDS for value in record.values[name])


def _without_binary(record: Record, losses: Losses) -> Record:
    """A record less the strings in which no one reads, such as pictures."""
    kept: dict[str, list[Scalar]] = {}
    number = 0
    for name, values in record.values.items():
        texts = [value for value in values if not (isinstance(value, str) and _is_binary(value))]
        number += len(values) - len(texts)
        if texts:
            kept[name] = texts
    inner = [_without_binary(each, losses) for each in record.inner]
    losses.count(
        "value that is no text (base64 or the like)",
        number,
        plural="values that are no text (base64 or the like)",
    )
    return Record(kept, record.lines, record.path, inner)


def _is_binary(value: str) -> bool:
    if _DATA_ADDRESS.match(value) is not None:
        return True
    if len(value) < _LEAST_BINARY or _ENCODED.fullmatch(value) is None:
        return False
    packed = "".join(value.split())
    kinds = (str.islower, str.isupper, str.isdigit)
    is_hex = _HEX.fullmatch(packed) is not None and any(map(str.isdigit, packed))
    return is_hex or all(any(map(kind, packed)) for kind in kinds)


def _written(values: Iterable[Scalar]) -> str:
    texts = [written(value).strip() for value in values]
    long = any(len(text) > _LONGEST_FACT or "\n" in text for text in texts)
    return ("\n" if long else ", ").join(text for text in texts if text)


def _facts(values: Mapping[str, list[Scalar]], options: ReadOptions) -> Metadata:
    if options.metadata_fields is not None:
        chosen = {name: values[name] for name in options.metadata_fields if values.get(name)}
        return {
            name: plain(found[0]) if len(found) == 1 else _written(found) for name, found in chosen.items()
        }
    return {
        name: plain(found[0])
        for name, found in values.items()
        if name and len(found) == 1 and _is_fact(found[0])
    }


def _is_fact(value: Scalar) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= _LONGEST_FACT and "\n" not in value
    return abs(value) < _LARGEST_FACT
