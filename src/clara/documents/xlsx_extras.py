"""What a spreadsheet (XLSX) holds besides values: addresses of links, text boxes, charts and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from posixpath import join, normpath
from zipfile import ZipFile

from clara.documents.archives import read_xml
from clara.documents.reading import Losses
from clara.documents.text import squeeze

_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_BOOK = "xl/workbook.xml"
_COMMENTS = re.compile(r"xl/comments/?[^/]*\.xml")
_THREADS = re.compile(r"xl/threadedComments/[^/]+\.xml")
_DRAWING = re.compile(r"xl/drawings/drawing\d*\.xml")
_CHART = re.compile(r"xl/(?:charts/chart|charts/chartEx|chartEx/chartEx)\d*\.xml")
_PICTURE = re.compile(r"xl/media/[^/]+")
_PLACE = re.compile(r"([A-Z]{1,3})(\d{1,7})")
_FORMULA = re.compile(r'\s*(?:_xlfn\.)?HYPERLINK\(\s*"((?:[^"]|"")+)"', re.IGNORECASE)

Place = tuple[int, int]
"""The row and the column of a cell, from 0."""


def links_of(archive: ZipFile) -> dict[str, dict[Place, str]]:
    """Of each sheet the addresses that its cells lead to."""
    if _BOOK not in archive.namelist():
        return {}
    parts = _relations(archive, _BOOK)
    found = {}
    for sheet in read_xml(archive, _BOOK).iter():
        part = parts.get(sheet.get(f"{_R}id", "")) if sheet.tag.endswith("}sheet") else None
        if part is not None and part in archive.namelist():
            found[sheet.get("name", "")] = _links(archive, part)
    return found


def _links(archive: ZipFile, part: str) -> dict[Place, str]:
    markup = archive.read(part)
    if b"yperlink" not in markup and b"HYPERLINK" not in markup:
        return {}
    targets = _relations(archive, part, is_file=False)
    links: dict[Place, str] = {}
    for one in read_xml(archive, part).iter():
        if one.tag.endswith("}hyperlink"):
            place, address = place_of(one.get("ref", "")), targets.get(one.get(f"{_R}id", ""), "")
        elif one.tag.endswith("}c"):
            formula = next((inner.text for inner in one if inner.tag.endswith("}f")), None)
            match = _FORMULA.match(formula or "")
            place, address = place_of(one.get("r", "")), match[1].replace('""', '"') if match else ""
        else:
            continue
        if place is not None and address:
            links[place] = address
    return links


def place_of(name: str) -> Place | None:
    """The cell that is called "B3", or the first of "B3:C9"."""
    match = _PLACE.match(name)
    if match is None:
        return None
    column = 0
    for letter in match[1]:
        column = column * 26 + ord(letter) - 64
    return int(match[2]) - 1, column - 1


def _relations(archive: ZipFile, part: str, *, is_file: bool = True) -> dict[str, str]:
    folder, _, name = part.rpartition("/")
    path = f"{folder}/_rels/{name}.rels"
    if path not in archive.namelist():
        return {}
    targets = {one.get("Id", ""): one.get("Target", "") for one in read_xml(archive, path)}
    if not is_file:
        return targets
    return {name: normpath(join("/", folder, target)).lstrip("/") for name, target in targets.items()}


def text_boxes(archive: ZipFile) -> Iterator[str]:
    """The text of each paragraph of what is drawn on the sheets."""
    for name in sorted(filter(_DRAWING.fullmatch, archive.namelist())):
        for one in read_xml(archive, name).iter(f"{_A}p"):
            text = squeeze("".join(inner.text or "" for inner in one.iter(f"{_A}t")))
            if text:
                yield text


def count_drawn(archive: ZipFile, losses: Losses) -> None:
    """Tell of the charts and pictures, which are not read."""
    names = archive.namelist()
    losses.count("chart", sum(_CHART.fullmatch(name) is not None for name in names))
    losses.count("picture", sum(_PICTURE.fullmatch(name) is not None for name in names))


def comments_of(archive: ZipFile) -> Iterator[str]:
    """Comments on cells; threads come before the copies that older programs see."""
    names = archive.namelist()
    threads = sorted(filter(_THREADS.fullmatch, names))
    for name in threads or sorted(filter(_COMMENTS.fullmatch, names)):
        for one in read_xml(archive, name).iter():
            if one.tag.rpartition("}")[2] in ("comment", "threadedComment"):
                text = squeeze("".join(one.itertext()))
                if text:
                    yield f"Comment on {one.get('ref', '')}: {text}"
