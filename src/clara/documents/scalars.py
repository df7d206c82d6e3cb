"""Values as files write them: what is a number, what is a truth value, and what is text."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")  # "007" is a name and no number
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,17})\.\d{1,17}")


class _Written(float):
    """A number that is shown as its file writes it."""

    text: str

    def __str__(self) -> str:
        return self.text


def as_written(text: str) -> float:
    """A number whose text, such as "1.10" or "1e400", stays what `str` gives."""
    value = float(text)
    if repr(value) == text:
        return value
    written = _Written(text)
    written.text = text
    return written


def plain(value: str | int | float | bool) -> str | int | float | bool:
    """A value as it is kept to filter on."""
    return float(value) if isinstance(value, _Written) else value


def number(cell: str) -> str | int | float:
    """A cell that is written as JSON writes numbers as such, any other as it is."""
    if _WHOLE.fullmatch(cell):
        return int(cell)
    return float(cell) if _DECIMAL.fullmatch(cell) and repr(float(cell)) == cell else cell


def scalar(text: str) -> str | int | float | bool:
    """As `number`, where "true" and "false" are truth values too."""
    return text == "true" if text in ("true", "false") else number(text)
