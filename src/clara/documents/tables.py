"""Comma- and tab-separated files: a section for each row."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from itertools import islice

from clara.documents.charsets import decode
from clara.documents.columns import find_header, name_of
from clara.documents.fields import Record, Scalar, record_sections
from clara.documents.reading import Context, Reading, UnreadableError
from clara.documents.scalars import number
from clara.documents.text import squeeze
from clara.records import Section

_DELIMITERS = ",;\t|"
_SAMPLE = 100_000  # characters
_SAMPLE_ROWS = 100
_STATED = re.compile(r"\ufeff?\"?sep=(.)\"?[ \t]*(?:\r\n|\n|\r)", re.IGNORECASE)
MAX_CELL = 10_000_000  # characters; the csv module's own limit is 131,072


def read_table(data: bytes, context: Context, head: bytes = b"") -> Reading:
    """Read rows as records under the names of the columns; the delimiter is told from the rows.

    A line "sep=;" states the delimiter. Rows before the names of the columns become a section of their own.
    Where no row names the columns, they are called "column 1", "column 2" and so on. Cells that are written
    as JSON writes numbers become numbers.

    Args:
        data: The file's bytes, or a part of them that begins with a row.
        context: Which fields are read as what, and where what is left out is told.
        head: The file's first rows where `data` is a later part.

    Raises:
        UnreadableError: The bytes are not text, a row cannot be read, or no row has a chosen field.
    """
    text = decode(data, losses=context.losses)
    start = decode(head) if head else text
    stated = _STATED.match(start)
    delimiter = stated[1] if stated else _delimiter(start[:_SAMPLE])
    first_rows = list(islice(_rows(start, delimiter, has_mark=bool(stated)), _SAMPLE_ROWS))
    header = find_header([row for _, _, row in first_rows])
    rows = _rows(text, delimiter, has_mark=bool(stated) and not head)
    before = [] if head else first_rows[: header.preamble]
    records = _records(islice(rows, 0 if head else header.skipped, None), header.names)
    sections = record_sections(records, context)
    return Reading("", (*_preamble(before), *sections))


def _preamble(rows: list[tuple[int, int, list[str]]]) -> Iterator[Section]:
    if rows:
        text = "\n".join(squeeze(" ".join(row)) for _, _, row in rows)
        yield Section(text, lines=(rows[0][0], rows[-1][1]))


def _records(rows: Iterator[tuple[int, int, list[str]]], names: tuple[str, ...]) -> Iterator[Record]:
    for first, last, row in rows:
        values: dict[str, list[Scalar]] = {}
        for at, cell in enumerate(row):
            if cell.strip():
                values.setdefault(name_of(names, at), []).append(number(cell.strip()))
        yield Record(values, (first, last))


def _rows(text: str, delimiter: str, *, has_mark: bool = False) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and cells of each row that is not blank; a line "sep=;" is none."""
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    before = 0
    try:
        for row in reader:
            is_mark = has_mark and before == 0
            if any(map(str.strip, row)) and not is_mark:
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
