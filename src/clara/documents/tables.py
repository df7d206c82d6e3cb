"""Comma- and tab-separated files: a section for each row."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from itertools import islice

from clara.documents.fields import Record, Scalar, record_sections
from clara.documents.options import ReadOptions
from clara.documents.outline import Reading, UnreadableError
from clara.documents.text import decode

_DELIMITERS = ",;\t|"
_SAMPLE = 100_000  # characters
_SAMPLE_ROWS = 100
_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")  # "007" is a name and no number
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,17})\.\d{1,17}")
_MAX_CELL = 10_000_000  # characters; the csv module's own limit is 131,072


def read_table(data: bytes, options: ReadOptions, head: bytes = b"") -> Reading:
    """Read rows as records; the delimiter is told from the rows, and names of the fields from the first.

    A first row with an empty cell, a number or a name that comes twice is taken for data, and its fields are
    called "column 1", "column 2" and so on. Cells that are written as JSON writes numbers become numbers.

    Args:
        data: The file's bytes, or a part of them that begins with a row.
        options: Which fields are read as what.
        head: The file's first row where `data` is a later part.

    Raises:
        UnreadableError: The bytes are not text, a row cannot be read, or no row has a chosen field.
    """
    text, head_text = decode(data), decode(head) if head else ""
    delimiter = _delimiter((head_text + text)[:_SAMPLE])
    _, _, first = next(_rows(head_text or text, delimiter), (0, 0, []))
    names = first if _is_header(first) else []
    skipped = 1 if names and not head else 0
    return Reading("", record_sections(_records(text, delimiter, names, skipped), options))


def _records(text: str, delimiter: str, names: list[str], skipped: int) -> Iterator[Record]:
    for first, last, row in islice(_rows(text, delimiter), skipped, None):
        values: dict[str, list[Scalar]] = {}
        for at, cell in enumerate(row):
            name = names[at].strip() if at < len(names) else f"column {at + 1}"
            if cell.strip():
                values.setdefault(name, []).append(_value(cell.strip()))
        yield Record(values, (first, last))


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and cells of each row that is not blank."""
    csv.field_size_limit(_MAX_CELL)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    before = 0
    try:
        for row in reader:
            if any(map(str.strip, row)):
                yield before + 1, reader.line_num, row
            before = reader.line_num
    except csv.Error as error:
        raise UnreadableError(f"holds a row that cannot be read ({error}); correct it", before + 1) from error


def _delimiter(text: str) -> str:
    """The delimiter that gives most rows one and the same number of cells, the most cells among equals."""

    def agreement(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for _, _, row in islice(_rows(text, delimiter), _SAMPLE_ROWS)]
        width, count = Counter(widths).most_common(1)[0] if widths else (1, 0)
        return (count / len(widths), width) if width > 1 else (0.0, 1)

    return max(_DELIMITERS, key=agreement)


def _is_header(row: list[str]) -> bool:
    names = [cell.strip() for cell in row]
    return bool(names) and len(set(names)) == len(names) and all(map(_is_name, names))


def _is_name(cell: str) -> bool:
    return bool(cell) and isinstance(_value(cell), str)


def _value(cell: str) -> Scalar:
    if _WHOLE.fullmatch(cell):
        return int(cell)
    return float(cell) if _DECIMAL.fullmatch(cell) and repr(float(cell)) == cell else cell
