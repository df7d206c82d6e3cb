"""Cells of OpenDocument spreadsheets that stand for millions, capped before calamine makes each of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape, unescape
from io import BytesIO
from xml.parsers import expat
from zipfile import ZipFile

from clara.documents.archives import ENTITIES
from clara.documents.inline import address_after
from clara.documents.reading import Losses, UnreadableError
from clara.documents.text import squeeze

MOST_CELLS = 5_000_000
"""Cells of the rectangle that a sheet's cells span."""

SCATTERED = "has a sheet whose cells lie too far apart; delete those at its far end"

_MOST_ROWS, _MOST_COLUMNS = 1000, 256  # of one row or cell that holds a value
_MANIFEST = "META-INF/manifest.xml"
_NEEDED = ("mimetype", _MANIFEST)
_ROW, _COLUMNS = b"<table:table-row", b' table:number-columns-repeated="%d"'
# names as calamine knows them; it does not look at namespaces
_TAG = re.compile(
    rb"<(/?)(table:(?:table|table-row|table-cell|covered-table-cell)|office:annotation|text:a)(?![\w:.-])"
    rb"""((?:[^"'<>]|"[^"<]*"|'[^'<]*')*?)(/?)>"""
)
_REPEATED = re.compile(rb"""\s*table:number-(?:columns|rows)-repeated\s*=\s*["']\s*(\d*)[^"']*["']""")
_INDENT = re.compile(rb">\s++(?=</?table:)")
_VALUE = re.compile(rb"\boffice:(?:value-type|value|string-value)\b|\bcalcext:value-type\b")
_HREF = re.compile(rb"""\bxlink:href\s*=\s*["']([^"']*)["']""")
_PARAGRAPH = re.compile(r"<text:p(?![\w:.-])[^>]*>(.*?)</text:p>", re.DOTALL)
_CREATOR = re.compile(r"<dc:creator>(.*?)</dc:creator>", re.DOTALL)
_MARKUP = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag of a row or a cell: where it is, how often it stands, and whether it holds a value."""

    start: int
    stop: int
    repeated: int
    is_filled: bool = False


def capped(data: bytes, losses: Losses) -> tuple[bytes, list[str]]:
    """The file with at most `_MOST_ROWS` and `_MOST_COLUMNS` repeats of what holds a value, and its comments.

    Blank rows are not repeated, since nothing is read of them. Blank cells take the place of cells that are
    cut, so that those after them stay in their columns.

    Args:
        data: A ZIP file whose part "content.xml" is a spreadsheet.
        losses: Told how many repeats were cut.

    Raises:
        UnreadableError: It is encrypted or damaged, or few cells span a rectangle that no memory holds.
        KeyError: There is no such part.
    """
    with ZipFile(BytesIO(data)) as archive:
        content = archive.read("content.xml")
        _check(archive, content)
        close = _INDENT.sub(b">", content)  # calamine refuses lines between rows and cells, as KSpread writes
        scan = _Scan(close, losses)
        scan.run()
        if close == content and not scan.edits:
            return data, scan.comments
        stream = BytesIO()
        with ZipFile(stream, "w") as copy:
            for name in set(_NEEDED).intersection(archive.namelist()):
                copy.writestr(name, archive.read(name))
            copy.writestr("content.xml", scan.edited())
    return stream.getvalue(), scan.comments


def _check(archive: ZipFile, content: bytes) -> None:
    """Refuse what is no XML, on which calamine may run forever."""
    if _MANIFEST in archive.namelist() and b"encryption-data" in archive.read(_MANIFEST):
        raise UnreadableError("is an encrypted spreadsheet; save a copy without a password")
    if b"<!ENTITY" in content:
        raise UnreadableError(ENTITIES)
    try:
        expat.ParserCreate().Parse(content, True)
    except expat.ExpatError as error:
        raise UnreadableError(f"is a damaged spreadsheet ({error}); open it and save it anew") from error


class _Scan:
    """One pass over the tags of tables, which notes what to replace."""

    def __init__(self, content: bytes, losses: Losses) -> None:
        self.comments: list[str] = []
        self.edits: list[tuple[int, int, bytes]] = []
        self._content = content
        self._losses = losses
        self._left = MOST_CELLS  # what repeats may still make
        self._blank: list[_Tag] = []  # rows since the last one that holds a value
        self._rows = self._columns = self._filled = 0

    def edited(self) -> bytes:
        """The content with all replacements."""
        pieces, done = [], 0
        for start, stop, new in sorted(self.edits):
            pieces += [self._content[done:start], new]
            done = stop
        return b"".join([*pieces, self._content[done:]])

    def run(self) -> None:
        """Go through the content."""
        row: _Tag | None = None
        cells: list[_Tag] = []
        link, said = "", 0  # the address of the present link, and where its text begins
        note = -1  # where the present comment begins
        for match in _TAG.finditer(self._content):
            name, is_end, is_closed = match[2], bool(match[1]), bool(match[4])
            if name == b"office:annotation":
                if is_end and note >= 0:
                    self._comment(self._content[note : match.start()], sum(one.repeated for one in cells))
                note = -1 if is_end or is_closed else match.end()
            elif note >= 0:
                continue
            elif name == b"text:a":
                if is_end:
                    text = _plain(self._content[said : match.start()].decode("utf-8", "replace"))
                    new = escape(address_after(text, link)).encode()
                    self.edits += [(match.start(), match.start(), new)] if new else []
                    link = ""
                else:
                    found = _HREF.search(match[3])
                    link, said = unescape(found[1].decode("utf-8", "replace")) if found else "", match.end()
            elif name == b"table:table":
                self._blank, self._rows, self._columns, self._filled = [], 0, 0, 0
            elif name != b"table:table-row":
                if not is_end:
                    is_filled = _VALUE.search(match[3]) is not None
                    cells.append(_Tag(*match.span(), _repeats(match[3]), is_filled))
            elif not is_end:
                row, cells = _Tag(*match.span(), _repeats(match[3])), []
            if name == b"table:table-row" and (is_end or is_closed) and row is not None:
                self._end_row(row, cells)
                row = None

    def _end_row(self, row: _Tag, cells: list[_Tag]) -> None:
        while cells and not cells[-1].is_filled:
            cells.pop()
        if not cells:
            self._blank.append(row)  # calamine passes over blank rows at a sheet's end
            return
        for blank in self._blank:
            if blank.repeated > _MOST_ROWS:
                self._set(blank, 1)
        self._rows += sum(1 if one.repeated > _MOST_ROWS else one.repeated for one in self._blank)
        self._blank = []
        width = sum(cell.repeated for cell in cells) - max(0, cells[-1].repeated - _MOST_COLUMNS)
        rows = max(1, min(row.repeated, _MOST_ROWS, self._left // width))
        if rows < row.repeated:
            self._set(row, rows)
            self._losses.count("repeated row", row.repeated - rows)
        filled = cut = 0
        for cell in cells:
            kept = min(cell.repeated, _MOST_COLUMNS if self._left > 0 else 1) if cell.is_filled else 0
            filled += kept
            if cell.is_filled and (cut or kept < cell.repeated):
                before, cut = _blanks(cut), cell.repeated - kept
                self._set(cell, kept, before)
                self._losses.count("repeated cell", cut)
            elif cut and not cell.is_filled:
                self._set(cell, cell.repeated, _blanks(cut))
                cut = 0
        self._left -= rows * width - len(cells)
        self._rows += rows
        self._columns = max(self._columns, width)
        self._filled += rows * filled
        area = self._rows * self._columns
        if area > MOST_CELLS and area > 50 * self._filled:
            raise UnreadableError(SCATTERED)

    def _set(self, tag: _Tag, repeated: int, before: bytes = b"") -> None:
        """Let a tag say how often it stands, after what is new before it."""
        old = self._content[tag.start : tag.stop]
        said = b' table:number-rows-repeated="%d"' if old.startswith(_ROW) else _COLUMNS
        new = _REPEATED.sub(b"", old)
        if repeated > 1:
            stop = len(new) - (2 if new.endswith(b"/>") else 1)
            new = new[:stop] + said % repeated + new[stop:]
        self.edits.append((tag.start, tag.stop, before + new))

    def _comment(self, inner: bytes, column: int) -> None:
        text = inner.decode("utf-8", "replace")
        words = squeeze(" ".join(_plain(one) for one in _PARAGRAPH.findall(text)))
        author = _CREATOR.search(text)
        by = f" by {squeeze(_plain(author[1]))}" if author is not None else ""
        row = self._rows + sum(one.repeated for one in self._blank) + 1
        if words:
            self.comments.append(f"Comment{by} on {_letters(column)}{row}: {words}")


def _blanks(number: int) -> bytes:
    return b"<table:table-cell" + _COLUMNS % number + b"/>" if number else b""


def _repeats(attributes: bytes) -> int:
    found = _REPEATED.search(attributes)
    return max(1, int(found[1][:10] or 1)) if found is not None else 1


def _plain(markup: str) -> str:
    return unescape(_MARKUP.sub(" ", markup))


def _letters(column: int) -> str:
    letters = ""
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(65 + letter) + letters
    return letters
