"""Spreadsheets (XLSX, XLSB, XLS, ODS), through calamine: a section for each row, under the name of its
sheet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from itertools import groupby
from typing import Any
from zipfile import ZipFile, is_zipfile

from clara.documents.archives import opened
from clara.documents.columns import Header, find_header, name_of
from clara.documents.fields import Record, record_sections
from clara.documents.inline import address_after
from clara.documents.ods import MOST_CELLS, SCATTERED, capped
from clara.documents.properties import core_properties, stated_section
from clara.documents.reading import Context, Losses, Reading, UnreadableError
from clara.documents.scalars import number
from clara.documents.text import squeeze
from clara.documents.xlsx_extras import Place, comments_of, count_drawn, links_of, place_of, text_boxes
from clara.records import Metadata, Section

_KIND = "a spreadsheet"
_CELL = re.compile(rb'<c [^>]{0,200}?r="([A-Z]{1,3}\d{1,7})"')
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_DEFAULT_NAME = re.compile(r"(?:sheet|tabelle|feuil|hoja|foglio|лист|blad|ark)\s?1", re.IGNORECASE)
_SAMPLE_ROWS = 100
_LARGEST_WHOLE = 1e21


def read_spreadsheet(data: bytes, context: Context) -> Reading:
    """Read the rows of all sheets as records under the names of their columns, and comments after them.

    A blank row ends a table; a table without names of its own goes on with those of the one above it. Of
    formulas the last result is read.

    Raises:
        UnreadableError: The file is damaged, encrypted or no spreadsheet, or a chosen field is in none of
            its tables.
    """
    title, comments, boxes = "", list[str](), list[str]()
    links: dict[str, dict[Place, str]] = {}
    values: Metadata = {}
    if is_zipfile(BytesIO(data)):
        with opened(data, _KIND) as archive:
            title, values = _properties(archive)
            if "content.xml" in archive.namelist():
                data, comments = capped(data, context.losses)
            else:
                _refuse_scattered(archive)
                comments, boxes = list(comments_of(archive)), list(text_boxes(archive))
                links = links_of(archive)
                count_drawn(archive, context.losses)
    sections: list[Section] = []
    for name, rows in _sheets(data, links, context.losses):
        for section in _sheet_sections(rows, context):
            heading = " > ".join(filter(None, (name, section.heading)))
            sections.append(replace(section, heading=heading))
    if boxes:
        sections.append(Section("\n".join(boxes), "Text boxes"))
    if comments:
        sections.append(Section("\n".join(comments), "Comments"))
    return Reading(title, (*stated_section(values), *sections), values)


def _sheets(
    data: bytes, links: Mapping[str, Mapping[Place, str]], losses: Losses
) -> Iterator[tuple[str, list[list[str]]]]:
    """The name of each sheet, "" of an only one that nobody named, and its rows with addresses of links."""
    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_filelike(BytesIO(data))
        names = [
            one.name for one in book.sheets_metadata if one.typ != python_calamine.SheetTypeEnum.ChartSheet
        ]
        charts = [one for one in book.sheet_names if one not in names]
    except python_calamine.PasswordError as error:
        raise UnreadableError("is an encrypted spreadsheet; save a copy without a password") from error
    except python_calamine.CalamineError as error:
        raise UnreadableError(f"is not {_KIND} or a damaged one; open it and save it anew") from error
    for name in charts:
        losses.say(f"the sheet {name} was left out: it is a chart")
    for name in names:
        try:
            sheet = book.get_sheet_by_name(name)
            rows = [[_written(cell) for cell in row] for row in sheet.to_python(skip_empty_area=False)]
            merged = sheet.merged_cell_ranges or ()
        except python_calamine.CalamineError:  # a chart or a damaged sheet
            losses.say(f"the sheet {name} was left out: it holds no cells that can be read")
            continue
        for (row, column), address in links.get(name, {}).items():
            if row < len(rows) and column < len(rows[row]):
                rows[row][column] += address_after(rows[row][column], address)
        _expand(rows, merged)
        yield "" if len(names) == 1 and _DEFAULT_NAME.fullmatch(name) else squeeze(name), rows


def _expand(rows: list[list[str]], merged: Sequence[Any]) -> None:
    """Repeat merged cells, but for those that span a whole row."""
    for (top, left), (bottom, right) in list(merged)[:10_000]:
        if top >= len(rows) or left >= len(rows[top]) or not rows[top][left]:
            continue
        others = any(cell for at, cell in enumerate(rows[top]) if not left <= at <= right)
        if right > left and not others and (right - left + 1) * 3 > 2 * len(rows[top]):
            continue
        for row in rows[top : bottom + 1]:
            for at in range(left, min(right + 1, len(row))):
                row[at] = row[at] or rows[top][left]


def _sheet_sections(rows: list[list[str]], context: Context) -> Iterator[Section]:
    names: tuple[str, ...] = ()
    place = (0, 0)  # the first column of the table above, and how many it has
    for is_filled, group in groupby(rows, any):
        if not is_filled:
            continue
        block = list(group)
        widths = [sum(map(bool, row)) for row in block]
        if max(widths) == 1:
            yield Section("\n".join(squeeze(" ".join(row)) for row in block))
            continue
        left = min(at for row in block for at, cell in enumerate(row) if cell)
        block = [row[left:] for row in block]
        header = find_header(block[:_SAMPLE_ROWS])
        width = max(at + 1 for row in block for at, cell in enumerate(row) if cell)
        if header.names or (left, width) != place:
            names, place = header.names, (left, width)
        else:
            header = Header(names, 0, 0)
        if header.preamble:
            yield Section("\n".join(squeeze(" ".join(row)) for row in block[: header.preamble]))
        yield from record_sections(_records(block[header.skipped :], names), context)


def _records(rows: Sequence[Sequence[str]], names: Sequence[str]) -> Iterator[Record]:
    for row in rows:
        values: dict[str, list[str | int | float | bool]] = {}
        for at, cell in enumerate(row):
            if cell:
                values.setdefault(name_of(names, at), []).append(number(cell))
        yield Record(values)


def _written(cell: Any) -> str:
    match cell:
        case bool():
            return str(cell).lower()
        case float() if cell.is_integer() and abs(cell) < _LARGEST_WHOLE:
            return f"{Decimal(repr(cell)):.0f}"  # the digits that tell it from its neighbors, and zeros
        case float():
            return f"{cell:.15g}"
        case datetime() if (cell.hour, cell.minute, cell.second) == (0, 0, 0):
            return cell.date().isoformat()
        case datetime():
            return cell.isoformat(" ", "minutes" if not cell.second else "seconds")
        case date():
            return cell.isoformat()
        case time():
            return cell.isoformat("minutes" if not cell.second else "seconds")
        case timedelta():
            return str(cell)
        case _:
            return str(cell).strip()


def _properties(archive: ZipFile) -> tuple[str, Metadata]:
    return core_properties(archive, "meta.xml" if "meta.xml" in archive.namelist() else "docProps/core.xml")


def _refuse_scattered(archive: ZipFile) -> None:
    """Refuse sheets whose few cells span a rectangle that no memory holds."""
    for name in filter(_SHEET.fullmatch, archive.namelist()):
        found = (place_of(name.decode()) for name in _CELL.findall(archive.read(name)))
        places = [place for place in found if place is not None]
        if places:
            area = (max(at for _, at in places) + 1) * (max(at for at, _ in places) + 1)
            if area > MOST_CELLS and area > 50 * len(places):
                raise UnreadableError(SCATTERED)
