"""From a record, such as a row of a table or an object of JSON, to a section."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from clara.documents.lines import Lines
from clara.documents.options import ReadOptions
from clara.documents.outline import UnreadableError
from clara.documents.text import squeeze
from clara.records import Metadata, Section

Scalar = str | int | float | bool

_TITLE_FIELDS = ("title", "name", "subject", "heading")
_LONGEST_FACT = 64  # characters; a longer string is text, not something to filter on
_LARGEST_FACT = 2**63  # what databases hold; infinity is larger
_MAX_DEPTH = 50
_SHOWN_FIELDS = 12


@dataclass(frozen=True, slots=True)
class Record:
    """The values of a record by the dotted names of its fields, and the lines of its file.

    Attributes:
        values: Of each field all values, since a list in JSON has several under one name.
        lines: The lines that the record stands on, None where they are not known.
    """

    values: Mapping[str, list[Scalar]]
    lines: Lines | None = None


def record_of(value: object, lines: Lines | None = None) -> Record:
    """A JSON value as a record; objects within it are named by their path, nulls are left out.

    Raises:
        UnreadableError: The value is nested too deeply.
    """
    values: dict[str, list[Scalar]] = {}
    try:
        for name, scalar in _scalars(value, "", 0):
            values.setdefault(name, []).append(scalar)
    except RecursionError as error:
        where = lines[0] if lines else None
        raise UnreadableError("is JSON that is nested too deeply; flatten it", where) from error
    return Record(values, lines)


def _scalars(value: Any, name: str, depth: int) -> Iterator[tuple[str, Scalar]]:
    if depth > _MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _scalars(inner, f"{name}.{key}" if name else key, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _scalars(inner, name, depth + 1)
    elif value is not None:
        yield name, value


def record_sections(records: Iterable[Record], options: ReadOptions) -> tuple[Section, ...]:
    """A section for each record that has text.

    Raises:
        UnreadableError: Text fields are chosen and no record has one of them.
    """
    seen: dict[str, None] = {}
    sections = []
    for record in records:
        seen.update(dict.fromkeys(record.values))
        section = _section(record, options)
        if section.text:
            sections.append(section)
    if options.text_fields and seen and not any(name in seen for name in options.text_fields):
        names = ", ".join(islice(seen, _SHOWN_FIELDS)) + (", ..." if len(seen) > _SHOWN_FIELDS else "")
        raise UnreadableError(
            f"has no field called {' or '.join(options.text_fields)}; its fields are {names}: "
            "choose among them"
        )
    return tuple(sections)


def _section(record: Record, options: ReadOptions) -> Section:
    title = _title_field(record.values, options)
    heading = squeeze(" ".join(map(str, record.values.get(title, ())))) if title is not None else ""
    text = _text(record.values, options, title)
    if not text:
        heading, text = "", heading  # a title alone is what there is to read
    return Section(text, heading, lines=record.lines, metadata=_facts(record.values, options))


def _title_field(values: Mapping[str, list[Scalar]], options: ReadOptions) -> str | None:
    if options.title_field is not None:
        return options.title_field
    by_lower = {name.casefold(): name for name in reversed(list(values))}
    return next((by_lower[name] for name in _TITLE_FIELDS if name in by_lower), None)


def _text(values: Mapping[str, list[Scalar]], options: ReadOptions, title: str | None) -> str:
    """The fields as lines of "field: value", or a single one's value alone."""
    if options.text_fields is None:
        chosen = {name: _written(found) for name, found in values.items() if name != title}
    else:
        chosen = {name: _written(values.get(name, ())) for name in options.text_fields}
    chosen = {name: value for name, value in chosen.items() if value}
    if len(chosen) == 1 and (options.text_fields is None or len(options.text_fields) == 1):
        return next(iter(chosen.values()))
    return "\n".join(f"{name}: {value}" if name else value for name, value in chosen.items())


def _written(values: Iterable[Scalar]) -> str:
    texts = [str(value).strip() for value in values if not isinstance(value, bool)]
    long = any(len(text) > _LONGEST_FACT or "\n" in text for text in texts)
    return ("\n" if long else ", ").join(text for text in texts if text)


def _facts(values: Mapping[str, list[Scalar]], options: ReadOptions) -> Metadata:
    if options.metadata_fields is not None:
        chosen = {name: values[name] for name in options.metadata_fields if values.get(name)}
        return {name: found[0] if len(found) == 1 else _written(found) for name, found in chosen.items()}
    return {
        name: found[0] for name, found in values.items() if name and len(found) == 1 and _is_fact(found[0])
    }


def _is_fact(value: Scalar) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= _LONGEST_FACT and "\n" not in value
    return abs(value) < _LARGEST_FACT
