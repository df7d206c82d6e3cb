"""Filters of other frameworks as the expressions of `clara.Filter`, which must all hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clara.errors import InputError

Where = str | Sequence[str] | Mapping[str, Any]
"""Expressions of `clara.Filter`, or names with values as in `{"author": "Kim", "year": {"$gte": 2020}}`."""

_OPERATORS = {"$eq": "=", "$ne": "!=", "$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<=", "$like": "~"}


def expressions(where: Where | None) -> list[str]:
    """A filter as a list of expressions.

    Args:
        where: One expression, several, or a mapping. A value of a mapping is what the name must equal, or a
            mapping of operators ($eq, $ne, $gt, $gte, $lt, $lte, $like) to values; the name `$and` has a list
            of such mappings.

    Raises:
        InputError: A mapping has another operator, or a value that is no text, number or truth value.
    """
    if where is None:
        return []
    if isinstance(where, str):
        return [where]
    if not isinstance(where, Mapping):
        return list(where)
    each: list[str] = []
    for name, value in where.items():
        if name == "$and":
            each += [expression for part in value for expression in expressions(part)]
        elif name.startswith("$"):
            raise InputError(
                f"The filter's operator {name} is unknown; conditions must all hold, so only $and joins them."
            )
        elif isinstance(value, Mapping):
            each += [expression(name, _operator(operator), one) for operator, one in value.items()]
        else:
            each.append(expression(name, "=", value))
    return each


def expression(name: str, operator: str, value: object) -> str:
    """One condition as `clara.Filter` reads it.

    Args:
        name: Of the field.
        operator: One of `= != < <= > >= ~`.
        value: With what it is compared.

    Raises:
        InputError: The value is no text, number or truth value.
    """
    if isinstance(value, bool):
        value = str(value).lower()
    if not isinstance(value, (str, int, float)):
        raise InputError(
            f"The filter compares {name} with a value of type {type(value).__name__}; texts, numbers and "
            "truth values are allowed."
        )
    return f"{name}{operator}{value}"


def _operator(name: str) -> str:
    if name not in _OPERATORS:
        raise InputError(f"The filter's operator {name} is unknown; allowed are {', '.join(_OPERATORS)}.")
    return _OPERATORS[name]
