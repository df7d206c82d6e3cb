"""Tables as text: a line a row, and the names of the columns above every row where a table is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clara.documents.lines import Traced, join

Grid = Sequence[Sequence[Traced]]

_BETWEEN = " | "
END_OF_CELL, END_OF_ROW = "\ue0f3", "\ue0f4"
"""What stands after the cells and rows of a table within a cell until `with_inner_rows` is given the cell."""

# a row of more characters, or of more columns, says "name: value" for each cell
_LONGEST_ROW = 500
_LONGEST_HEAD = 240
_NUMERIC = re.compile(r"[\W\d_]*\d[\W\d_]*(?:[^\W\d_]{1,3}\W*)?")
_YEAR = re.compile(r"(?:1[5-9]|20|21)\d\d(?:\s?[-/–]\s?\d{2,4})?|Q[1-4](?:\W+\d{4})?")


def table(grid: Grid, num_heads: int = 1) -> Traced:
    """A table's rows as lines that stay whole; the first `num_heads` rows name the columns of all others."""
    heads, body = grid[:num_heads], [row for row in grid[num_heads:] if any(cell.text for cell in row)]
    names = _names([[cell.text for cell in row] for row in heads])
    head = _BETWEEN.join(names).rstrip(" |")
    rows = [join(_BETWEEN, list(row)) for row in body]
    is_wide = len(head) > _LONGEST_HEAD or any(len(row.text) > _LONGEST_ROW for row in rows)
    if is_wide and any(names) and max(map(len, body), default=0) > 1:
        return join("\n\n", [_record(names, row) for row in body])
    lines = [_line(join(_BETWEEN, list(row))).whole() for row in heads]
    lines += [_line(row).whole(head if body_row else "") for row, body_row in zip(rows, body, strict=True)]
    return join("\n", [line for line in lines if line.text])


def with_inner_rows(text: str) -> str:
    """A cell's text in which a table within it is "Item, Price; Lamp, 3"."""
    if END_OF_ROW not in text and END_OF_CELL not in text:
        return text
    before, *rows = re.split(f"{END_OF_ROW}", text)
    lines = []
    for row in (before, *rows):
        cells = [" ".join(cell.split()) for cell in row.split(END_OF_CELL)]
        lines.append(", ".join(cells).rstrip(", ") if len(cells) > 1 else cells[0])
    return "; ".join(filter(None, lines))


def spanned(rows: Sequence[Sequence[tuple[Traced, int, int]]]) -> list[list[Traced]]:
    """Rows of cells with the columns and rows that each spans, as a grid in which merged cells are repeated.

    A cell that spans all columns is not repeated: it heads the rows below it.
    """
    empty = Traced("")
    grid: list[list[Traced]] = []
    below: dict[int, tuple[int, Traced]] = {}  # column: (rows still to fill, cell)
    cells = sum(map(len, rows))
    most = 20 * cells + 1000  # what spans may make of a table
    made = 0
    for row in rows:
        line: list[Traced] = []
        given = iter(row)
        cell = next(given, None)
        if len(row) == 1 and cell is not None and cell[1] > 1 and not below:
            grid.append([cell[0]])
            continue
        while cell is not None or any(column >= len(line) for column in below):
            at = len(line)
            if at in below:
                left, text = below.pop(at)
                line.append(text)
                if left > 1:
                    below[at] = (left - 1, text)
                continue
            if cell is None:
                line.append(empty)
                continue
            text, columns, height = cell
            columns = max(1, columns) if made < most else 1
            for offset in range(min(columns, 1000)):
                if offset and at + offset in below:
                    break
                line.append(text)
                if height > 1 and made < most:
                    below[at + offset] = (height - 1, text)
            made += columns
            cell = next(given, None)
        grid.append(line)
    return grid


def heads_by_content(grid: Grid) -> int:
    """How many first rows name columns (none or one) where a table does not say: names above values."""
    if len(grid) < 2 or len(grid[0]) < 2:
        return 0
    first = [cell.text.strip() for cell in grid[0]]
    others = [[cell.text.strip() for cell in row] for row in grid[1:]]
    if len([cell for cell in first if cell]) < max(2, len(first) - 1):
        return 0
    names = [cell for cell in first if cell]
    if len(set(names)) < len(names) or any(len(name) > 60 for name in names):
        return 0
    if any(_is_value(name) and not _YEAR.fullmatch(name) for name in names):
        return 0
    for column in range(len(first)):
        values = [row[column] for row in others if column < len(row) and row[column]]
        if values and not _is_value(first[column]) and sum(map(_is_value, values)) * 2 > len(values):
            return 1
    if any(map(_YEAR.fullmatch, names)):
        return 1
    return 0


def _is_value(text: str) -> bool:
    return _NUMERIC.fullmatch(text) is not None


def _names(heads: Sequence[Sequence[str]]) -> list[str]:
    """The names of columns: what stands in the rows of the head above each, from the top, each once."""
    width = max(map(len, heads), default=0)
    columns = ([row[at].strip() if at < len(row) else "" for row in heads] for at in range(width))
    return [" ".join(dict.fromkeys(filter(None, column))) for column in columns]


def _line(row: Traced) -> Traced:
    text = row.text.rstrip()
    if text.endswith("|"):
        text = text.rstrip(" |") + " |"
    return Traced(text, row.spans)


def _record(names: Sequence[str], row: Sequence[Traced]) -> Traced:
    named = [
        cell.prefixed(f"{names[at]}: ") if at < len(names) and names[at] and len(row) > 1 else cell
        for at, cell in enumerate(row)
        if cell.text
    ]
    return join("\n", named).whole()
