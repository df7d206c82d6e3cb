"""Values as files write them: what is a number, what is a truth value, and what is text."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")  # "007" is a name and no number
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,17})\.\d{1,17}")


def number(cell: str) -> str | int | float:
    """A cell that is written as JSON writes numbers as such, any other as it is."""
    if _WHOLE.fullmatch(cell):
        return int(cell)
    return float(cell) if _DECIMAL.fullmatch(cell) and repr(float(cell)) == cell else cell


def scalar(text: str) -> str | int | float | bool:
    """As `number`, where "true" and "false" are truth values too."""
    return text == "true" if text in ("true", "false") else number(text)
