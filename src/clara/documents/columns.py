"""Which row of a table names its columns, and what they are called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from clara.documents.scalars import number
from clara.documents.text import squeeze

_YEAR = re.compile(r"(?:1[5-9]|20|21)\d\d")
_MAX_PREAMBLE = 30
_LONGEST_NAME = 120


class Header(NamedTuple):
    """The names of columns, and how many rows come before the first row of values.

    Attributes:
        names: By column; "" for an unnamed first one. Empty where no row names the columns.
        preamble: Rows before the header, which say something of the table as a whole.
        skipped: Rows before the first row of values, the header among them.
    """

    names: tuple[str, ...]
    preamble: int
    skipped: int


def find_header(rows: Sequence[Sequence[str]]) -> Header:
    """Find the row that names the columns among a table's first rows.

    Rows that are much narrower than the table before it are its preamble. A row of names has no value that
    the rows below it could have: no number but years or a run of numbers, and no name twice throughout.
    """
    widths = Counter(_width(row) for row in rows)
    usual = max(widths, key=lambda width: (widths[width], width), default=0)
    at = 0
    if usual > 1:
        while at < min(len(rows) - 1, _MAX_PREAMBLE) and _is_narrow(rows[at], usual):
            at += 1
    if at + 1 >= len(rows) or not _names_columns(rows[at], rows[at + 1 :]):
        return Header((), at, at)
    return Header(_named(rows[at]), at, at + 1)


def name_of(names: Sequence[str], column: int) -> str:
    """What a column is called."""
    return names[column] if column < len(names) else f"column {column + 1}"


def _width(row: Sequence[str]) -> int:
    filled = [at for at, cell in enumerate(row) if cell.strip()]
    return filled[-1] + 1 if filled else 0


def _is_narrow(row: Sequence[str], usual: int) -> bool:
    filled = sum(1 for cell in row if cell.strip())
    return filled == 1 or filled * 2 < usual


def _names_columns(row: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    cells = [cell.strip() for cell in row]
    filled = [cell for cell in cells if cell]
    if not filled or any(len(cell) > _LONGEST_NAME for cell in filled):
        return False
    if cells[1:] and not all(cells[1:]) and len(filled) * 2 < len(cells):
        return False
    if len(set(filled)) == 1 and len(filled) > 1:
        return False
    numeric = [at for at, cell in enumerate(cells) if cell and not isinstance(number(cell), str)]
    if not numeric:
        return not _is_data(cells, below)
    if len(numeric) == len(filled) and cells[0]:
        return False
    if not (_are_years(cells, numeric, below) or _is_run(cells, numeric)):
        return False
    return bool(below) and numeric[0] != 0


def _is_data(cells: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a row without numbers has an empty cell in which the rows below have one as well."""
    gaps = [at for at, cell in enumerate(cells) if not cell and at]
    return bool(gaps) and any(at < len(row) and not row[at].strip() for row in below for at in gaps)


def _are_years(cells: Sequence[str], numeric: Sequence[int], below: Sequence[Sequence[str]]) -> bool:
    if not all(_YEAR.fullmatch(cells[at]) for at in numeric):
        return False
    values = [row[at].strip() for row in below for at in numeric if at < len(row) and row[at].strip()]
    return sum(_YEAR.fullmatch(value) is not None for value in values) * 2 <= len(values)


def _is_run(cells: Sequence[str], numeric: Sequence[int]) -> bool:
    """Whether the numbers are 0, 1, 2 and so on, or 1, 2, 3."""
    values = [number(cells[at]) for at in numeric]
    return (
        len(values) > 1
        and values[0] in (0, 1)
        and values == list(range(int(values[0]), int(values[0]) + len(values)))
    )


def _named(row: Sequence[str]) -> tuple[str, ...]:
    names: list[str] = []
    times: Counter[str] = Counter()
    for at, cell in enumerate(row):
        name = squeeze(cell) or ("" if at == 0 else f"column {at + 1}")
        times[name] += 1
        names.append(f"{name} ({times[name]})" if times[name] > 1 else name)
    return tuple(names)
