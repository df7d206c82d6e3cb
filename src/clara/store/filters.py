"""Filters: which passages a search may return, written as short expressions.

    file=*/contracts/*      the document's path, a pattern as in a shell
    format=pdf              its ending
    heading~liability       words within the headings; `title~...` likewise
    page<=3                 the page
    modified>=2026-01-01    the day on which the file was changed, UTC
    author=Kim              any other name: the passage's metadata

Several expressions must all hold. They become SQL whose values are bound parameters only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from clara.errors import InputError

_EXPRESSION = re.compile(r"\s*([^\W\d][\w.-]*)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*", re.DOTALL)
_ALLOWED = (
    "allowed are file=PATTERN, format=ENDING, title~TEXT, heading~TEXT, page, modified with a day as in "
    "modified>=2026-01-01, and any name of the metadata with = != < <= > >= or ~"
)
_DAY = timedelta(days=1)

Value = str | float


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
    def parse(cls, expressions: str | Iterable[str]) -> Self:
        """Read one expression or several.

        Raises:
            InputError: There is none, or one cannot be understood.
        """
        each = [expressions] if isinstance(expressions, str) else list(expressions)
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


def _condition(expression: str) -> Condition:
    match = _EXPRESSION.fullmatch(expression)
    if match is None or not match[3]:
        raise InputError(f"The filter {expression!r} cannot be understood; {_ALLOWED}.")
    name, operator, value = match.groups()
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
    return f"documents.source {_negated(operator)}GLOB ?", (value,)


def _format(operator: str, value: str) -> _Made:
    return f"lower(documents.source) {_negated(operator)}LIKE ? ESCAPE '\\'", (
        f"%.{_literal(value.lower().lstrip('.'))}",
    )


def _text(column: str) -> Callable[[str, str], _Made]:
    def make(operator: str, value: str) -> _Made:
        if operator == "~":
            return f"{column} LIKE ? ESCAPE '\\'", (f"%{_literal(value)}%",)
        return f"{column} {operator} ?", (value,)

    return make


def _page(operator: str, value: str) -> _Made:
    number = _number(value)
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
    """Numbers are compared as numbers where the metadata holds one, and everything else as text.

    A passage without the name is unequal to every value.
    """
    path = f'$."{name}"'
    found = "json_extract(passages.metadata, ?)"
    if operator == "~":
        return f"{found} LIKE ? ESCAPE '\\'", (path, f"%{_literal(value)}%")
    kind = "json_type(passages.metadata, ?)"
    if value in ("true", "false") and operator in ("=", "!="):
        return f"coalesce({kind}, '') {operator} ?", (path, value)
    bare = "=" if operator == "!=" else operator
    sql = f"({kind} = 'text' AND {found} {bare} ?)"
    parameters: tuple[Value, ...] = (path, path, value)
    number = _number(value)
    if number is not None:
        sql += f" OR ({kind} IN ('integer', 'real') AND {found} {bare} ?)"
        parameters += (path, path, number)
    return (f"NOT coalesce({sql}, 0)" if operator == "!=" else sql), parameters


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _negated(operator: str) -> str:
    return "NOT " if operator == "!=" else ""


def _literal(value: str) -> str:
    """Text for LIKE that stands for itself."""
    return re.sub(r"([%_\\])", r"\\\1", value)


_OF_DOCUMENTS = ("file", "format", "modified")
_ORDERS = ("=", "!=", "<", "<=", ">", ">=")
_FIELDS: dict[str, tuple[tuple[str, ...], Callable[[str, str], _Made]]] = {
    "file": (("=", "!="), _file),
    "format": (("=", "!="), _format),
    "title": (("=", "!=", "~"), _text("passages.title")),
    "heading": (("=", "!=", "~"), _text("passages.heading")),
    "page": (_ORDERS, _page),
    "modified": (_ORDERS, _modified),
}
