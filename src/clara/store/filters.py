"""Filters: which passages a search may return, written as short expressions.

    file=*/contracts/*      the document's path, a pattern as in a shell; `file~...` a part of it
    format=pdf              its ending
    heading~liability       words within the headings; `title~...` likewise
    page<=3                 the page
    modified>=2026-01-01    the day on which the file was changed, UTC
    author=Kim              any other name, as in `Unit price (EUR)<20`: the passage's metadata

Several expressions must all hold. They become SQL whose values are bound parameters only. It runs on
connections that `prepare` has seen.
"""

from __future__ import annotations

import glob
import math
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Self

from clara.errors import InputError
from clara.store.schema import as_stored

_OPERATOR = re.compile(r"!=|<=|>=|=|<|>|~")
_NOT_IN_NAMES = frozenset('"=!<>~\0')
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_YEAR = re.compile(r"[12][0-9]{3}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}(?:-[0-9]{2}.*)?", re.DOTALL)
_LIKE_A_DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]*"
_ALLOWED = (
    "allowed are file=PATTERN, format=ENDING, title~TEXT, heading~TEXT, page, modified with a day as in "
    "modified>=2026-01-01, and any name of the metadata with = != < <= > >= or ~"
)
_DAY = timedelta(days=1)
_SHOWN_FIELDS = 10
_PARTS = "#part-[0-9]*"
"""Behind the names of the later parts of a long file, as `clara.documents.parts` names them; a GLOB."""

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Condition:
    """One expression that was read.

    Attributes:
        name: What is compared.
        operator: One of `= != < <= > >= ~`.
        value: With what.
        sql: The condition on `documents` or on `passages`, with a `?` for each parameter.
        parameters: The values to bind.
    """

    name: str
    operator: str
    value: str
    sql: str
    parameters: tuple[Value, ...]

    @property
    def is_of_document(self) -> bool:
        """Whether it holds for all passages of a document or for none."""
        return self.name in _OF_DOCUMENTS

    @property
    def is_of_metadata(self) -> bool:
        """Whether it asks for a field of the metadata, which passages have or have not."""
        return self.name not in _FIELDS

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.value}"


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that must all hold of a passage.

    Attributes:
        conditions: At least one.
    """

    conditions: tuple[Condition, ...]

    @classmethod
    def parse(cls, expressions: str | Iterable[str] | Filter) -> Self:
        """Read one expression or several; a filter is returned as it is.

        A relative path in `file=` is of the folder that the process works in now.

        Raises:
            InputError: There is none, or one is no text or cannot be understood.
        """
        if isinstance(expressions, Filter):
            return cls(expressions.conditions)
        each = _texts(expressions)
        if not each:
            raise InputError(f"The filter is empty; {_ALLOWED}.")
        return cls(tuple(_condition(expression) for expression in each))

    @property
    def sql(self) -> str:
        """A query of the numbers of the passages that may be returned, in no order.

        What is asked of documents is looked up once for each, and not again for every passage.
        """
        of_documents = [f"({one.sql})" for one in self._ordered if one.is_of_document]
        of_passages = [f"({one.sql})" for one in self._ordered if not one.is_of_document]
        if of_documents:
            chosen = f"SELECT documents.id FROM documents WHERE {' AND '.join(of_documents)}"
            of_passages.insert(0, f"passages.document IN ({chosen})")
        return f"SELECT passages.id FROM passages WHERE {' AND '.join(of_passages)}"

    @property
    def parameters(self) -> tuple[Value, ...]:
        """The values to bind in `sql`."""
        return tuple(value for condition in self._ordered for value in condition.parameters)

    @property
    def _ordered(self) -> list[Condition]:
        return sorted(self.conditions, key=lambda condition: not condition.is_of_document)

    def __str__(self) -> str:
        return " and ".join(map(str, self.conditions))


def prepare(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that the SQL of filters calls."""
    connection.create_function("number_in", 1, number_in, deterministic=True)
    connection.create_function("number_or_year_in", 1, number_or_year_in, deterministic=True)


def number_in(text: str) -> float | int | None:
    """The number that a text is as a whole, as 5, -0.5, 1e3 or 1,234.50; None if it is none or not finite."""
    if _NUMBER.fullmatch(text) is None:
        return None
    number = float(text.replace(",", ""))
    if _INTEGER.fullmatch(text) and abs(number) < 2**63:
        return int(text)  # SQLite compares such with every digit, as numbers that name things need it
    return number if math.isfinite(number) else None


def number_or_year_in(text: str) -> float | int | None:
    """As `number_in`; of a day or month, as 2026-01-31, the year."""
    return int(text[:4]) if _DATE.fullmatch(text) else number_in(text)


def _texts(expressions: Iterable[str]) -> list[str]:
    """One expression or several as a list, with characters that SQLite takes."""
    if isinstance(expressions, Mapping):
        written = [f"{name}={value}" for name, value in expressions.items()]
        raise InputError(
            f"The filter is of type {type(expressions).__name__}, but must be a string; write {written}."
        )
    each = (
        [expressions]
        if isinstance(expressions, str) or not isinstance(expressions, Iterable)
        else expressions
    )
    texts = []
    for one in each:
        if not isinstance(one, str):
            raise InputError(
                f"The filter {one!r} is of type {type(one).__name__}, but must be a string; write it as in "
                "'format=md'."
            )
        texts.append(as_stored(one))
    return texts


def _condition(expression: str) -> Condition:
    found = _OPERATOR.search(expression)
    name = expression[: found.start()].strip() if found else ""
    value = expression[found.end() :].strip() if found else ""
    if found is None or not name or not value or _NOT_IN_NAMES.intersection(name):
        raise InputError(f"The filter {expression!r} cannot be understood; {_ALLOWED}.")
    operator = found[0]
    build = _FIELDS.get(name)
    if build is None:
        sql, parameters = _metadata(name, operator, value)
    else:
        operators, make = build
        if operator not in operators:
            raise InputError(
                f"The filter {expression!r} compares {name} with {operator}, but {name} takes "
                f"{' '.join(operators)}."
            )
        sql, parameters = make(operator, value)
    return Condition(name, operator, value, sql, parameters)


_Made = tuple[str, tuple[Value, ...]]


def _file(operator: str, value: str) -> _Made:
    """A path is compared as it is shown: that of a file below the working folder relative to it.

    It may be a name that holds what patterns are made of, so it is compared as it stands as well. A long
    file's parts go with it.
    """
    if operator == "~":
        return _contains("documents.source", value)
    names, patterns = [value], [value]
    folder = _working_folder()
    if folder and not value.startswith(("/", "*")):
        names.append(os.path.normpath(os.path.join(folder, value)))
        patterns.append(os.path.normpath(os.path.join(glob.escape(folder), value)))
    patterns += [f"{part}{_PARTS}" for part in (*patterns, *map(glob.escape, names))]
    either = ["documents.source = ?"] * len(names) + ["documents.source GLOB ?"] * len(patterns)
    return f"{_negated(operator)}({' OR '.join(either)})", (*names, *patterns)


def _working_folder() -> str:
    """The folder that the process works in; empty if it was removed."""
    try:
        return as_stored(os.getcwd())
    except OSError:
        return ""


def _format(operator: str, value: str) -> _Made:
    source, ending = "lower(documents.source)", f".{value.lower().lstrip('.')}"
    return f"{_negated(operator)}({source} LIKE ? ESCAPE '\\' OR {source} GLOB ?)", (
        f"%{_literal(ending)}",
        f"*{glob.escape(ending)}{_PARTS}",
    )


def _text(column: str) -> Callable[[str, str], _Made]:
    def make(operator: str, value: str) -> _Made:
        if operator == "~":
            return _contains(column, value)
        return f"{column} {operator} ?", (value,)

    return make


def _contains(column: str, value: str) -> _Made:
    return f"{column} LIKE ? ESCAPE '\\'", (f"%{_literal(value)}%",)


def _page(operator: str, value: str) -> _Made:
    number = number_in(value)
    if number is None:
        raise InputError(f"The filter's page {value!r} is not a number; write it as in page=3.")
    return f"passages.page {operator} ?", (number,)


def _modified(operator: str, value: str) -> _Made:
    try:
        day = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
        first, after = day.timestamp(), (day + _DAY).timestamp()
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"The filter's day {value!r} is not a date; write it as in modified>=2026-01-01."
        ) from error
    within = "documents.modified >= ? AND documents.modified < ?"
    return {
        "=": (within, (first, after)),
        "!=": (f"NOT ({within})", (first, after)),
        "<": ("documents.modified < ?", (first,)),
        ">=": ("documents.modified >= ?", (first,)),
        "<=": ("documents.modified < ?", (after,)),
        ">": ("documents.modified >= ?", (after,)),
    }[operator]


def _metadata(name: str, operator: str, value: str) -> _Made:
    """A number is compared with numbers, also those that are written as text, and all else with texts.

    A passage without the name is unequal to every value.
    """
    path = f'$."{name}"'
    if operator == "~":
        return f"{_FOUND} LIKE ? ESCAPE '\\'", (path, f"%{_literal(value)}%")
    if value in ("true", "false") and operator in ("=", "!="):
        return f"coalesce({_KIND}, '') {operator} ?", (path, value)
    bare = "=" if operator == "!=" else operator
    number = number_in(value)
    if number is None:
        sql, parameters = _as_text(path, bare, value)
    else:
        read = "number_or_year_in" if _YEAR.fullmatch(value) else "number_in"
        sql, parameters = _as_number(path, bare, number, read)
    return (f"NOT coalesce({sql}, 0)" if operator == "!=" else sql), parameters


def _as_number(path: str, operator: str, number: float, read: str) -> _Made:
    return (
        f"CASE {_KIND} WHEN 'integer' THEN {_FOUND} WHEN 'real' THEN {_FOUND}"
        f" WHEN 'text' THEN {read}({_FOUND}) END {operator} ?"
    ), (path, path, path, path, number)


def _as_text(path: str, operator: str, value: str) -> _Made:
    sql, parameters = f"{_KIND} = 'text' AND {_FOUND} {operator} ?", (path, path, value)
    if operator != "=" and _DATE.fullmatch(value):
        # "unknown" is not later than any day
        return f"({sql} AND {_FOUND} GLOB ?)", (*parameters, path, _LIKE_A_DATE)
    return f"({sql})", parameters


def _negated(operator: str) -> str:
    return "NOT " if operator == "!=" else ""


def _literal(value: str) -> str:
    """Text for LIKE that stands for itself."""
    return re.sub(r"([%_\\])", r"\\\1", value)


_FOUND = "json_extract(passages.metadata, ?)"
_KIND = "json_type(passages.metadata, ?)"
_OF_DOCUMENTS = ("file", "format", "modified")
_ORDERS = ("=", "!=", "<", "<=", ">", ">=")
_FIELDS: dict[str, tuple[tuple[str, ...], Callable[[str, str], _Made]]] = {
    "file": (("=", "!=", "~"), _file),
    "format": (("=", "!="), _format),
    "title": (("=", "!=", "~"), _text("passages.title")),
    "heading": (("=", "!=", "~"), _text("passages.heading")),
    "page": (_ORDERS, _page),
    "modified": (_ORDERS, _modified),
}

BUILT_IN = tuple(_FIELDS)
"""The fields that every passage has, whatever its metadata."""


def unknown_field(condition: Condition, fields: Sequence[str]) -> InputError:
    """The error that tells of a field that no passage has.

    Args:
        condition: The expression that asks for it.
        fields: The fields of the passages' metadata.
    """
    meant = _similar(condition.name, [*BUILT_IN, *fields])
    hint = f"perhaps {meant} is meant, and " if meant else ""
    return InputError(
        f"The filter {condition} asks for the field {condition.name}, which no passage has; {hint}"
        f"there are {_listed(fields)}."
    )


def _similar(name: str, fields: Sequence[str]) -> str:
    """The field that differs in case alone, or else little; empty if there is none."""
    folded = {field.casefold(): field for field in fields}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.75)
    return folded[close[0]] if close else ""


def _listed(fields: Sequence[str]) -> str:
    always = ", ".join(BUILT_IN)
    if not fields:
        return f"{always}, and no passage has metadata"
    more = f" and {len(fields) - _SHOWN_FIELDS:,} more" if len(fields) > _SHOWN_FIELDS else ""
    return f"{always}, and of the metadata {', '.join(fields[:_SHOWN_FIELDS])}{more}"
