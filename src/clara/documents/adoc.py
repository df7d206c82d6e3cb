"""AsciiDoc files, as text under their headings, with what their header states."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clara.documents.charsets import decode
from clara.documents.grids import heads_by_content, spanned, table
from clara.documents.inline import address_after
from clara.documents.lines import Traced, join
from clara.documents.outline import Outline, item_prefixes
from clara.documents.raised import lowered, raised
from clara.documents.reading import Context, Losses, Reading, facts, facts_section
from clara.documents.text import Line, numbered_lines, squeeze, starts_item, unwrap

_HEADING = re.compile(r"(={1,6}|#{1,6}) (\S.*?)(?: \1)?$")
_ATTRIBUTE = re.compile(r":(!?[\w-]+!?):\s*(.*)$")
_AUTHOR = re.compile(r"[^\d:=\[][^<>:]{1,80}(?:<[^<>\s]+@?[^<>\s]*>)?$")
_REVISION = re.compile(r"v?[\d.]+(?:,\s*(\d{4}-\d\d-\d\d))?|(\d{4}-\d\d-\d\d)$")
_ITEM = re.compile(r"\s*(\*{1,6}|-|\.{1,6}|\d+\.)\s+(\S.*)$")
_FENCE = re.compile(r"(-{4,}|={4,}|\*{4,}|_{4,}|\.{4,}|\+{4,}|/{4,}|`{3,}|--)$")
_TABLE = re.compile(r"([|,:!])={3,}$")
_LINK = re.compile(r"(?:link:|(?=https?://|mailto:))([^\s\[]{1,500})\[([^\]]{0,500})\]")
_NOTE = re.compile(r"\s?footnote:(?:[\w-]{0,60})\[([^\]]{0,1500})\]")
_REFERENCE = re.compile(r"<<([^<>,]{1,200})(?:,\s*([^<>]{1,200}))?>>")
_IMAGE = re.compile(r"image::?[^\[\s]{1,300}\[([^\],]{0,500})[^\]]{0,500}\]")
_INCLUDE = re.compile(r"include::([^\[]+)\[")
_STRUCK = re.compile(r"\[(?:\.)?line-through\]#{1,2}(.{1,500}?)#{1,2}")
_STYLED = re.compile(r"(?<![\w*_`#])(\*\*|__|``|##|[*_`#])(?=\S)(.{1,300}?)(?<=\S)\1(?![\w*_`#])")
_RAISED = re.compile(r"([\^~])(\S{1,60}?)\1")
_CELL = re.compile(r"(?:(\d+)?(?:\.(\d+))?\+)?(?:[<^>]?\.?[<^>]?[aedhlmsv]?)\|")


def read_adoc(data: bytes, context: Context) -> Reading:
    """Read AsciiDoc: headings (numbered where the file says so), lists, tables, code, notes at their
    references.

    Raises:
        UnreadableError: The bytes are not text.
    """
    lines = numbered_lines(decode(data, losses=context.losses))
    outline = Outline()
    reader = _Reader(outline, context.losses)
    title, values, rest = _header(lines)
    reader.attributes |= {name: str(value) for name, value in values.items()}
    reader.run(rest)
    title = reader.plain(title) or outline.leading_heading
    stated = facts({name: value for name, value in values.items() if name not in _SETTINGS})
    around = (lines[0][0], rest[0][0]) if lines and rest else None
    return Reading(title, (*facts_section(stated, around), *outline.sections(title)), stated)


_SETTINGS = frozenset(
    [
        "toc",
        "sectnums",
        "numbered",
        "icons",
        "source-highlighter",
        "doctype",
        "imagesdir",
        "experimental",
        "toclevels",
        "sectnumlevels",
        "lang",
        "idprefix",
        "idseparator",
        "sectanchors",
        "sectlinks",
        "nofooter",
    ]
)


def _header(lines: Sequence[Line]) -> tuple[str, dict[str, object], Sequence[Line]]:
    """The title, what the header states, and the lines after it."""
    at, title = 0, ""
    values: dict[str, object] = {}
    while at < len(lines) and (lines[at][1].startswith("//") or not lines[at][1]):
        at += 1
    if at < len(lines) and lines[at][1].startswith("= "):
        title = lines[at][1][2:].strip()
        at += 1
        for name in ("author", "date"):
            if at < len(lines) and lines[at][1] and not _ATTRIBUTE.match(lines[at][1]):
                pattern = _AUTHOR if name == "author" else _REVISION
                found = pattern.match(lines[at][1])
                if found is None:
                    break
                values[name] = lines[at][1].strip()
                at += 1
    while at < len(lines) and (found := _ATTRIBUTE.match(lines[at][1])):
        if "!" not in found[1]:
            values[found[1]] = found[2].strip()
        at += 1
    return title, values, lines[at:]


class _Reader:
    def __init__(self, outline: Outline, losses: Losses) -> None:
        self._outline = outline
        self._losses = losses
        self.attributes: dict[str, str] = {}
        self._counts: dict[int, int] = {}
        self._items: list[Traced] = []
        self._numbers: dict[int, int] = {}

    def run(self, lines: Sequence[Line]) -> None:
        at = 0
        paragraph: list[Line] = []
        caption = ""
        options = ""
        while at < len(lines):
            number, line = lines[at]
            at += 1
            fence, opening = _FENCE.match(line), _TABLE.match(line)
            if fence is not None or opening is not None:
                self._paragraph(paragraph)
                paragraph = []
                stop = next((one for one in range(at, len(lines)) if lines[one][1] == line), len(lines))
                if opening is not None:
                    self._end_list()
                    self._table(lines[at:stop], options, caption)
                else:
                    self._fenced(line, lines[at:stop])
                caption = options = ""
                at = stop + 1
            elif not line:
                self._paragraph(paragraph)
                paragraph = []
            elif (heading := _HEADING.match(line)) is not None and not paragraph:
                self._end_list()
                self._heading(len(heading[1]), heading[2], number)
            elif (item := _ITEM.match(line)) is not None:
                self._paragraph(paragraph)
                paragraph = []
                self._item(item[1], item[2], number)
                while at < len(lines) and lines[at][1] and not _begins(lines[at][1]):
                    self._continue(lines[at])
                    at += 1
            elif line.startswith("//"):
                pass
            elif (stated := _ATTRIBUTE.match(line)) is not None and not paragraph:
                self.attributes[stated[1]] = stated[2]
            elif line.startswith("[") and line.endswith("]") and not paragraph:
                options = line
            elif line.startswith(".") and not paragraph and not line.startswith(".."):
                caption = line[1:]
            elif line == "+":
                pass
            elif (included := _INCLUDE.match(line)) is not None:
                self._losses.say(f"the file {included[1]} that it includes is a document of its own")
            else:
                if caption:
                    paragraph.append((number, caption))
                    caption = ""
                paragraph.append((number, line))
        self._paragraph(paragraph)
        self._end_list()

    def plain(self, text: str) -> str:
        """Running text without its marks."""
        text = re.sub(r"\{([\w-]+)\}", lambda match: self.attributes.get(match[1], match[0]), text)
        text, struck = _STRUCK.subn("", text)
        self._losses.count("struck-out text", struck)
        text = _IMAGE.sub(self._described, text)
        text = _NOTE.sub(r" [\1]", text)
        text = _LINK.sub(lambda match: f"{match[2]}{address_after(match[2], match[1], relative=True)}", text)
        text = _REFERENCE.sub(lambda match: match[2] or match[1], text)
        for _ in range(3):
            text = _STYLED.sub(r"\2", text)
        return _RAISED.sub(
            lambda match: (raised if match[1] == "^" else lowered)(text[: match.start()][-20:], match[2]),
            text,
        )

    def _described(self, match: re.Match[str]) -> str:
        if not match[1].strip():
            self._losses.count("picture without a description", plural="pictures without a description")
        return match[1]

    def _heading(self, level: int, text: str, number: int) -> None:
        if ("sectnums" in self.attributes or "numbered" in self.attributes) and level > 1:
            self._counts[level] = self._counts.get(level, 0) + 1
            self._counts = {one: count for one, count in self._counts.items() if one <= level}
            text = f"{'.'.join(str(self._counts[one]) for one in sorted(self._counts))} {text}"
        self._outline.heading(level, squeeze(self.plain(text)), (number, number))

    def _paragraph(self, lines: Sequence[Line]) -> None:
        if not lines:
            return
        self._end_list()
        kept = [(number, self.plain(line.removesuffix(" +"))) for number, line in lines]
        kept = [(number, line) for number, line in kept if line.strip()]
        if not kept:
            return
        is_hard = any(line.endswith(" +") for _, line in lines) or any(
            starts_item(line) for _, line in kept[1:]
        )
        if is_hard:
            self._outline.block(unwrap(kept))
        else:
            self._outline.block(
                join(" ", [Traced.of(line.strip(), (number, number)) for number, line in kept])
            )

    def _item(self, mark: str, text: str, number: int) -> None:
        depth = len(mark) if mark[0] in "*." and not mark[0].isdigit() else 1
        if mark[0] in ".0123456789":
            self._numbers[depth] = self._numbers.get(depth, 0) + 1
            written = f"{self._numbers[depth]}. "
        else:
            written = "- "
        self._numbers = {one: count for one, count in self._numbers.items() if one <= depth}
        (prefix,) = item_prefixes(1, depth, written)
        self._items.append(Traced.of(self.plain(text), (number, number)).prefixed(prefix))

    def _continue(self, line: Line) -> None:
        number, text = line
        self._items[-1] = join(" ", [self._items[-1], Traced.of(self.plain(text.strip()), (number, number))])

    def _end_list(self) -> None:
        if self._items:
            self._outline.block(join("\n", [item.whole() for item in self._items]))
        self._items, self._numbers = [], {}

    def _fenced(self, fence: str, lines: Sequence[Line]) -> None:
        if fence.startswith("////"):
            return
        if fence[0] in "=*_" or fence == "--":
            inner = _Reader(self._outline, self._losses)
            inner.attributes = self.attributes
            inner._items = self._items
            self._items = []
            inner.run(lines)
        else:
            self._end_list()
            code = [Traced.of(line, (number, number)) for number, line in lines]
            self._outline.block(join("\n", code).whole())

    def _table(self, lines: Sequence[Line], options: str, caption: str) -> None:
        rows: list[list[tuple[Traced, int, int]]] = []
        columns = _columns_in(options)
        loose: list[tuple[Traced, int, int]] = []
        has_head = "header" in options
        for at, (number, line) in enumerate(lines):
            if not line:
                has_head = has_head or at == 1
                continue
            cells = self._cells(line, number)
            if not cells:
                if loose:
                    last = loose[-1]
                    loose[-1] = (
                        join(" ", [last[0], Traced.of(self.plain(line), (number, number))]),
                        *last[1:],
                    )
                continue
            columns = columns or sum(cell[1] for cell in cells)
            loose += cells
        width, row = 0, []
        for cell in loose:
            row.append(cell)
            width += cell[1]
            if width >= (columns or 1):
                rows.append(row)
                width, row = 0, []
        if row:
            rows.append(row)
        if caption:
            self._outline.block(Traced(self.plain(caption)))
        grid = spanned(rows)
        self._outline.block(table(grid, 1 if has_head and len(grid) > 1 else heads_by_content(grid)))

    def _cells(self, line: str, number: int) -> list[tuple[Traced, int, int]]:
        found = list(_CELL.finditer(line))
        if not found or found[0].start() > 8 or line[: found[0].start()].strip():
            return []
        cells = []
        for one, following in zip(found, [*found[1:], None], strict=True):
            text = line[one.end() : following.start() if following is not None else len(line)]
            spans = int(one[1] or 1), int(one[2] or 1)
            cells.append((Traced.of(squeeze(self.plain(text)), (number, number)), *spans))
        return cells


def _begins(line: str) -> bool:
    return any(pattern.match(line) for pattern in (_ITEM, _FENCE, _TABLE, _HEADING)) or line == "+"


def _columns_in(options: str) -> int:
    """How many columns a table's options say that it has, 0 if they say nothing."""
    found = re.search(r"cols=(?:\"([^\"]*)\"|([^,\]]*))", options)
    if found is None:
        return 0
    stated = found[1] or found[2] or ""
    many = re.fullmatch(r"(\d{1,3})\*.*|(\d{1,3})", stated)
    return int(many[1] or 1) if many and many[1] else len([one for one in stated.split(",") if one.strip()])
