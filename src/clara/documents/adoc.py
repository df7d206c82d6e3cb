"""AsciiDoc files, as text under their headings, with what their header states."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from clara.documents.charsets import decode
from clara.documents.grids import (
    END_OF_CELL,
    END_OF_ROW,
    heads_by_content,
    spanned,
    table,
    with_inner_rows,
)
from clara.documents.inline import address_after
from clara.documents.lines import Traced, join
from clara.documents.outline import Outline, item_prefixes
from clara.documents.raised import lowered, raised
from clara.documents.reading import Context, Losses, Reading, facts, facts_section
from clara.documents.tables import MAX_CELL
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
_CONDITION = re.compile(r"(ifdef|ifndef|ifeval|endif)::([^\[\]]*)\[(.*)\]$")
_QUOTE = re.compile(r"\[(?:quote|verse)[^\],]*(?:,\s*(?:\"([^\"]*)\"|([^,\]]*)))?(?:,\s*([^\]]*))?\]$")
_LABEL = re.compile(r"\[(NOTE|TIP|IMPORTANT|WARNING|CAUTION)\b")
_START = re.compile(r"\bstart=\"?(\d{1,6})")
_FORMAT = re.compile(r"\bformat=\"?([a-z]+)")
_SEPARATOR = re.compile(r"\bseparator=(?:\"(.+?)\"|([^,\]]))")
_SEPARATORS = {"csv": ",", "tsv": "\t", "dsv": ":"}
# what Asciidoctor defines by itself
_DEFINED = frozenset(
    ["asciidoctor", "asciidoctor-version", "backend-html5", "backend", "basebackend-html", "basebackend"]
)
_MATH = re.compile(r"\b(?:latexmath|stem|asciimath):\[((?:[^\]\\]|\\.){0,2000})\]")
_PASSED = re.compile(r"(?<!\w)(\+{1,3})(?=\S)([^\n]{1,300}?)(?<=\S)\1(?!\w)")
# attributes that every file has
_CHARACTERS = {
    "blank": "", "empty": "", "sp": " ", "nbsp": " ", "zwsp": "", "wj": "", "apos": "'", "quot": '"',
    "lsquo": "‘", "rsquo": "’", "ldquo": "“", "rdquo": "”", "deg": "°", "plus": "+", "brvbar": "¦",
    "vbar": "|", "amp": "&", "lt": "<", "gt": ">", "startsb": "[", "endsb": "]", "caret": "^",
    "asterisk": "*", "tilde": "~", "backslash": "\\", "backtick": "`", "two-colons": "::",
    "two-semicolons": ";;", "cpp": "C++", "pp": "++",
}  # fmt: skip
_CELL = re.compile(r"(?:(\d+)?(?:\.(\d+))?\+)?(?:[<^>]?\.?[<^>]?[aedhlmsv]?)\|")


def read_adoc(data: bytes, context: Context) -> Reading:
    """Read AsciiDoc: headings (numbered where the file says so), lists, tables, code, notes at their
    references.

    Raises:
        UnreadableError: The bytes are not text.
    """
    lines = _met(numbered_lines(decode(data, losses=context.losses)), context.losses)
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


def _met(lines: Sequence[Line], losses: Losses) -> list[Line]:
    """The lines whose conditions (ifdef, ifndef) are met; those of formulas (ifeval) are taken to be."""
    kept: list[Line] = []
    open_: list[bool] = []  # whether each open condition is met
    known = set(_DEFINED)
    unmet = 0
    for number, line in lines:
        found = _CONDITION.match(line)
        if found is None:
            if not all(open_):
                unmet += bool(line)
                continue
            stated = _ATTRIBUTE.match(line)
            if stated is not None:
                name = stated[1].strip("!")
                (known.discard if "!" in stated[1] else known.add)(name)
            kept.append((number, line))
            continue
        kind, names, text = found.groups()
        if kind == "endif":
            open_ = open_[:-1]
            continue
        of = all if "+" in names else any
        is_met = kind == "ifeval" or of(name in known for name in re.split(r"[,+]", names)) == (
            kind == "ifdef"
        )
        if not text or kind == "ifeval":
            open_.append(is_met)
        elif is_met and all(open_):
            kept.append((number, text))
        else:
            unmet += 1
    losses.count(
        "line under a condition that is not met", unmet, plural="lines under conditions that are not met"
    )
    return kept


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
        self.attributes = dict(_CHARACTERS)
        self._counts: dict[int, int] = {}
        self._items: list[Traced] = []
        self._numbers: dict[int, int] = {}
        self._goes_on = False  # the list does, after the block that comes
        self._label = ""

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
                self._label = self._label_in(options)
                stop = next((one for one in range(at, len(lines)) if lines[one][1] == line), len(lines))
                if opening is not None:
                    self._end_list()
                    self._table(line[0], lines[at:stop], options, caption)
                else:
                    self._fenced(line, lines[at:stop], caption)
                self._attribution(options, number)
                caption = options = ""
                at = stop + 1
            elif not line:
                self._paragraph(paragraph, options)
                options = "" if paragraph else options
                paragraph = []
            elif (heading := _HEADING.match(line)) is not None and not paragraph:
                self._end_list()
                self._heading(len(heading[1]), heading[2], number)
            elif (item := _ITEM.match(line)) is not None:
                self._paragraph(paragraph)
                paragraph = []
                self._label = self._label or self._label_in(options)
                self._item(item[1], item[2], number, options)
                options = ""
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
                self._paragraph(paragraph)
                paragraph, self._goes_on = [], True
            elif (included := _INCLUDE.match(line)) is not None:
                self._losses.say(f"the file {included[1]} that it includes is a document of its own")
            else:
                if caption:
                    paragraph.append((number, caption))
                    caption = ""
                paragraph.append((number, line))
        self._paragraph(paragraph, options)
        self._end_list()

    def _label_in(self, options: str) -> str:
        found = _LABEL.match(options)
        return found[1] if found is not None else ""

    def _attribution(self, options: str, number: int) -> None:
        """Add who is quoted."""
        found = _QUOTE.match(options)
        said = (
            ", ".join(filter(None, (one and self.plain(one.strip(' "')) for one in found.groups())))
            if found
            else ""
        )
        if said:
            self._outline.block(Traced.of(f"— {said}", (number, number)))

    def plain(self, text: str) -> str:
        """Running text without its marks."""
        text = re.sub(r"\{([\w-]+)\}", lambda match: self.attributes.get(match[1], match[0]), text)
        text, struck = _STRUCK.subn("", text)
        self._losses.count("struck-out text", struck)
        text = _IMAGE.sub(self._described, text)
        text = _NOTE.sub(r" [\1]", text)
        text = _LINK.sub(lambda match: f"{match[2]}{address_after(match[2], match[1], relative=True)}", text)
        text = _REFERENCE.sub(lambda match: match[2] or match[1], text)
        text = _PASSED.sub(r"\2", _MATH.sub(r"\1", text))
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

    def _paragraph(self, lines: Sequence[Line], options: str = "") -> None:
        if not lines:
            return
        self._end_list()
        label, self._label = self._label or self._label_in(options), ""
        if label:
            lines = [(lines[0][0], f"{label}: {lines[0][1]}"), *lines[1:]]
        kept = [(number, self.plain(line.removesuffix(" +"))) for number, line in lines]
        kept = [(number, line) for number, line in kept if line.strip()]
        if not kept:
            return
        is_hard = any(line.endswith(" +") for _, line in lines) or any(
            starts_item(line) for _, line in kept[1:]
        )
        is_hard |= options.startswith("[verse")
        if options.startswith("[verse"):
            self._outline.block(join("\n", [Traced.of(line, (number, number)) for number, line in kept]))
        elif is_hard:
            self._outline.block(unwrap(kept))
        else:
            self._outline.block(
                join(" ", [Traced.of(line.strip(), (number, number)) for number, line in kept])
            )
        self._attribution(options, lines[-1][0])

    def _item(self, mark: str, text: str, number: int, options: str) -> None:
        if self._label:
            self._outline.block(Traced.of(f"{self._label}:", (number, number)))
            self._label = ""
        depth = len(mark) if mark[0] in "*." and not mark[0].isdigit() else 1
        if mark[0] in ".0123456789":
            start = _START.search(options)
            before = int(start[1]) - 1 if start is not None else 0
            stated = int(mark[:-1]) if mark[0].isdigit() and len(mark) < 8 else 0
            self._numbers[depth] = stated or self._numbers.get(depth, before) + 1
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
        self._items = []
        self._numbers = self._numbers if self._goes_on else {}
        self._goes_on = False

    def _fenced(self, fence: str, lines: Sequence[Line], caption: str) -> None:
        if fence.startswith("////"):
            return
        if caption:
            self._paragraph([(lines[0][0] if lines else 1, caption)])
        if fence[0] in "=*_" or fence == "--":
            inner = _Reader(self._outline, self._losses)
            inner.attributes = self.attributes
            inner._items, inner._numbers, inner._goes_on = self._items, self._numbers, self._goes_on
            inner._label, self._label = self._label, ""
            self._items = []
            inner.run(lines)
            self._numbers = self._numbers if self._goes_on else {}
            self._goes_on = False
        else:
            self._end_list()
            code = [Traced.of(line, (number, number)) for number, line in lines]
            self._outline.block(join("\n", code).whole())

    def _table(self, mark: str, lines: Sequence[Line], options: str, caption: str) -> None:
        stated = _FORMAT.search(options)
        form = stated[1] if stated is not None else {",": "csv", ":": "dsv"}.get(mark, "psv")
        if caption:
            self._outline.block(Traced(self.plain(caption)))
        if form in _SEPARATORS:
            named = _SEPARATOR.search(options)
            separator = (named[1] or named[2]) if named is not None else _SEPARATORS[form]
            self._separated(lines, {"\\t": "\t"}.get(separator, separator)[0], options)
            return
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
                if loose and line != "!===":
                    last = loose[-1]
                    text = self._inner_row(line) if line.startswith("!") else self.plain(line)
                    loose[-1] = (join(" ", [last[0], Traced.of(text, (number, number))]), *last[1:])
                continue
            columns = columns or sum(cell[1] for cell in cells)
            loose += cells
        width, row = 0, []
        for cell in loose:
            if END_OF_ROW in cell[0].text:
                cell = (Traced.of(with_inner_rows(cell[0].text), cell[0].spans[0][1:]), *cell[1:])
            row.append(cell)
            width += cell[1]
            if width >= (columns or 1):
                rows.append(row)
                width, row = 0, []
        if row:
            rows.append(row)
        grid = spanned(rows)
        self._outline.block(table(grid, 1 if has_head and len(grid) > 1 else heads_by_content(grid)))

    def _inner_row(self, line: str) -> str:
        """A row of a table within a cell."""
        return "".join(self.plain(cell) + END_OF_CELL for cell in line.split("!")[1:]) + END_OF_ROW

    def _separated(self, lines: Sequence[Line], separator: str, options: str) -> None:
        """A table in the format of CSV files."""
        csv.field_size_limit(MAX_CELL)
        reader = csv.reader((line + "\n" for _, line in lines), delimiter=separator, skipinitialspace=True)
        has_head = "header" in options or (len(lines) > 1 and not lines[1][1])
        grid = []
        before = 0
        for cells in reader:
            around = (lines[before][0], lines[reader.line_num - 1][0])
            before = reader.line_num
            if cells:
                grid.append([Traced.of(squeeze(self.plain(cell)), around) for cell in cells])
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
    return int(many[1] or many[2]) if many else len([one for one in stated.split(",") if one.strip()])
