"""Word files (DOCX): every part of them that is text, in its order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element
from zipfile import ZipFile

from clara.documents.archives import opened, read_xml
from clara.documents.body import Body, element
from clara.documents.docx_numbers import Numbers, W, style_number
from clara.documents.formulas import linear
from clara.documents.html import outline_of_tree
from clara.documents.html_tree import Node
from clara.documents.properties import core_properties, stated_section
from clara.documents.reading import Context, Reading, UnreadableError

_KIND = "a Word file (DOCX)"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_V = "{urn:schemas-microsoft-com:vml}"
_W14 = "{http://schemas.microsoft.com/office/word/2010/wordml}"
_DRAWN = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_HEADING = re.compile(r"heading ([1-9])")
_LINK_FIELD = re.compile(r'\s*HYPERLINK\s+"([^"]+)"')
_PAGE_FIELD = re.compile(r"\s*(?:PAGE|NUMPAGES|SECTIONPAGES)\b")
_HEAD_OR_FOOT = re.compile(r"word/(?:header|footer)\d*\.xml")
_DIAGRAM = re.compile(r"word/diagrams/data\d*\.xml")
_EMBEDDED = re.compile(r"word/embeddings/[^/]+\.(?:docx|xlsx|pptx|pdf|csv|txt)", re.IGNORECASE)
# signs of the font Wingdings that forms and lists use
_WINGDINGS = {0xFE: "[x]", 0xFD: "[x]", 0xA8: "[ ]", 0x6F: "[ ]", 0xFC: "✓", 0xFB: "✗", 0xE0: "→", 0xA7: "▪"}
_MARKS = ("vanish", "strike", "dstrike")  # of text that is left out, by a style or by the text itself
_CODE_STYLES = ("source code", "html preformatted", "preformatted text", "code", "macro")
_OBJECT = re.compile(r"word/embeddings/[^/]+")
_OFF = ("0", "false", "off", "none")
_MAX_DEPTH = 60


def read_docx(data: bytes, context: Context) -> Reading:
    """Read a Word file: headings with their numbers, lists, tables, notes and comments at their references,
    text
    boxes, formulas, headers and footers. Struck-out and hidden text and pictures are left out.

    The title is the one in its properties, else a first paragraph in the style of a title or of a heading of
    level 1.

    Raises:
        UnreadableError: The file is damaged, encrypted or not a Word file, or unpacks beyond measure.
    """
    with opened(data, _KIND) as archive:
        archive.getinfo("[Content_Types].xml")
        title, values = core_properties(archive)
        reader = _Reader(archive, context)
        outline = outline_of_tree(reader.body(), context.losses)
        names = [*reader.chunks, *sorted(filter(_EMBEDDED.fullmatch, archive.namelist()))]
        objects = sum(_OBJECT.fullmatch(name) is not None for name in set(archive.namelist()) - set(names))
        context.losses.count("embedded object", objects)
        embedded = [(name.rpartition("/")[2], archive.read(name)) for name in names]
    title = title or outline.leading_heading
    sections = [*stated_section(values), *outline.sections(title)]
    for name, content in embedded:
        sections += context.embedded(name, content)
    return Reading(title, tuple(sections), values)


@dataclass(slots=True)
class _Field:
    """An open field: its code, and whether its result has begun."""

    code: str = ""
    has_result: bool = False


@dataclass(slots=True)
class _Paragraph:
    """What is gathered of a paragraph: its parts, the text boxes within it, and its open fields."""

    parts: list[Node | str] = field(default_factory=list)
    boxes: list[Element] = field(default_factory=list)
    fields: list[_Field] = field(default_factory=list)
    style: dict[str, str] = field(default_factory=dict)


class _Reader:
    """Goes through a Word file's parts."""

    def __init__(self, archive: ZipFile, context: Context) -> None:
        self._archive = archive
        self._names = set(archive.namelist())
        self._losses = context.losses
        self._main = _main_part(archive, self._names)
        self._links = self._relations(self._main)
        self._styles = self._read_styles()
        self._numbers = Numbers(self._part("numbering.xml"))
        self._notes = {
            kind: self._read_notes(f"{kind}s.xml", kind) for kind in ("footnote", "endnote", "comment")
        }
        self._numbered = Counter[str]()  # notes by kind, in the order of their references
        self._used: set[tuple[str, str]] = set()
        self.chunks: list[str] = []

    def body(self) -> Node:
        root = read_xml(self._archive, self._main)
        found = root.find(f"{W}body")
        if found is None:
            raise UnreadableError(f"is not {_KIND} or a damaged one; open it and save it anew")
        body = Body()
        around = self._heads_and_feet()
        for text in around[0]:
            body.paragraph([text])
        self._blocks(found, body, 0)
        for kind, notes in self._notes.items():
            for name, (text, _) in notes.items():
                if (kind, name) not in self._used and text:
                    body.paragraph([f"[{kind.capitalize()}: {text}]"])
        for name in sorted(filter(_DIAGRAM.fullmatch, self._names)):
            for point in read_xml(self._archive, name).iter(f"{_A}p"):
                body.paragraph(["".join(point.itertext())])
        for text in around[1]:
            body.paragraph([text])
        return body.tree()

    def _part(self, name: str) -> Element | None:
        path = f"{self._main.rpartition('/')[0]}/{name}".lstrip("/")
        return read_xml(self._archive, path) if path in self._names else None

    def _relations(self, part: str) -> dict[str, str]:
        folder, _, name = part.rpartition("/")
        path = f"{folder}/_rels/{name}.rels".lstrip("/")
        if path not in self._names:
            return {}
        return {one.get("Id", ""): one.get("Target", "") for one in read_xml(self._archive, path)}

    def _read_styles(self) -> dict[str, dict[str, str]]:
        """Of each style its name and what it and those that it is based on say of headings and numbers."""
        root = self._part("styles.xml")
        own: dict[str, dict[str, str]] = {}
        for style in root.iterfind(f"{W}style") if root is not None else ():
            said: dict[str, str] = {"based": _value(style.find(f"{W}basedOn"))}
            said["name"] = _value(style.find(f"{W}name")).lower()
            for name in ("outlineLvl", "numPr/{W}numId", "numPr/{W}ilvl"):
                path = f"{W}pPr/{W}" + name.replace("{W}", W)
                if (value := _value(style.find(path))) != "":
                    said[name.rpartition("}")[2]] = value
            said |= _stated(style.find(f"{W}rPr"))
            own[style.get(f"{W}styleId", "")] = said
        whole: dict[str, dict[str, str]] = {}
        for name in own:
            chain: list[str] = []
            at = name
            while at in own and at not in chain and len(chain) < 20:
                chain.append(at)
                at = own[at]["based"]
            merged: dict[str, str] = {}
            for one in reversed(chain):
                merged |= {key: value for key, value in own[one].items() if key != "name" or value}
                if (match := _HEADING.fullmatch(own[one]["name"])) is not None:
                    merged.setdefault("outlineLvl", str(int(match[1]) - 1))
            whole[name] = merged
        return whole

    def _read_notes(self, part: str, kind: str) -> dict[str, tuple[str, str]]:
        """The text and author of each note or comment by its number."""
        root = self._part(part)
        notes = {}
        links, self._links = getattr(self, "_links", {}), self._relations(f"word/{part}")
        for note in root.iterfind(f"{W}{kind}") if root is not None else ():
            if note.get(f"{W}type") in (None, "normal"):
                words = " ".join(self._words(one) for one in note.iter(f"{W}p"))
                notes[note.get(f"{W}id", "")] = (" ".join(words.split()), note.get(f"{W}author", ""))
        self._links = links
        return notes

    def _heads_and_feet(self) -> tuple[list[str], list[str]]:
        """The text of headers and of footers, each text once, without the numbers of pages."""
        found: tuple[dict[str, None], dict[str, None]] = ({}, {})
        for name in sorted(filter(_HEAD_OR_FOOT.fullmatch, self._names)):
            for one in read_xml(self._archive, name).iter(f"{W}p"):
                text = " ".join(self._words(one).split())
                if any(map(str.isalnum, text)):
                    found["footer" in name][text] = None
        return list(found[0]), list(found[1])

    def _words(self, paragraph: Element) -> str:
        gathered = _Paragraph()
        self._inline(paragraph, gathered, 0)
        return counted_words(gathered.parts)

    def _is_too_deep(self, part: Element, depth: int) -> bool:
        """Whether a part is nested deeper than is read; its text is then counted as left out."""
        if depth <= _MAX_DEPTH:
            return False
        if "".join(part.itertext()).strip():
            self._losses.count("part nested too deep", plural="parts nested too deep")
        return True

    def _blocks(self, parent: Element, body: Body, depth: int) -> None:
        for one in parent:
            if one.tag == f"{W}p":
                self._paragraph(one, body, depth)
            elif one.tag == f"{W}tbl":
                body.block(self._table(one, depth + 1))
            elif one.tag in (f"{W}sdt", f"{W}sdtContent", f"{W}customXml", f"{W}ins", f"{W}moveTo"):
                self._blocks(one, body, depth)
            elif one.tag == f"{_MC}AlternateContent":
                self._blocks(_chosen(one), body, depth)
            elif one.tag == f"{W}altChunk":
                self._chunk(self._links.get(one.get(f"{_R}id", ""), ""))

    def _chunk(self, target: str) -> None:
        """Take note of a file of another format that stands for a part of the text."""
        path = target.lstrip("/") if target.startswith("/") else f"{self._main.rpartition('/')[0]}/{target}"
        if path in self._names:
            self.chunks.append(path)
        else:
            self._losses.count("part in another format", plural="parts in other formats")

    def _paragraph(self, paragraph: Element, body: Body, depth: int) -> None:
        style = self._styles.get(_value(paragraph.find(f"{W}pPr/{W}pStyle")), {})
        gathered = _Paragraph(style=style)
        self._inline(paragraph, gathered, 0)
        mark, level = self._mark(paragraph, style)
        is_blank = not counted_words(gathered.parts).strip()
        heading = self._heading_level(paragraph, style)
        if heading and not is_blank:
            body.heading(heading, [*([f"{mark} "] if mark and mark != "-" else []), *gathered.parts])
        elif mark is not None and not is_blank:
            body.item(level, mark, gathered.parts)
        else:
            name = style.get("name", "")
            is_code = name in _CODE_STYLES
            body.paragraph(gathered.parts, "pre" if is_code else "blockquote" if "quote" in name else "p")
        for box in gathered.boxes:
            if not self._is_too_deep(box, depth + 1):
                self._blocks(box, body, depth + 1)

    def _mark(self, paragraph: Element, style: dict[str, str]) -> tuple[str | None, int]:
        found = paragraph.find(f"{W}pPr/{W}numPr")
        own = {}
        if found is not None:
            own = {name: _value(found.find(f"{W}{name}")) for name in ("numId", "ilvl")}
        name, level = style_number({**style, **{key: value for key, value in own.items() if value}})
        if not name or name == "0":
            return None, 0
        return self._numbers.mark(name, level), level

    def _heading_level(self, paragraph: Element, style: dict[str, str]) -> int:
        """The level of a heading from 1, 0 of any other paragraph."""
        if style.get("name") == "title":
            return 1
        level = _value(paragraph.find(f"{W}pPr/{W}outlineLvl")) or style.get("outlineLvl", "")
        return int(level) + 1 if level.isascii() and level.isdigit() and int(level) < 9 else 0

    def _inline(self, parent: Element, to: _Paragraph, depth: int) -> None:
        if self._is_too_deep(parent, depth):
            return
        for one in parent:
            match one.tag.removeprefix(W):
                case "r":
                    self._run(one, to, depth)
                case "hyperlink":
                    inner = _Paragraph(boxes=to.boxes, style=to.style)
                    self._inline(one, inner, depth + 1)
                    address = self._links.get(one.get(f"{_R}id", ""), "")
                    to.parts.append(element("a", inner.parts, href=address))
                case "sdt" if (box := one.find(f"{W}sdtPr/{_W14}checkbox")) is not None:
                    checked = box.find(f"{_W14}checked")
                    is_checked = checked is not None and checked.get(f"{_W14}val", "1") not in _OFF
                    to.parts.append("[x]" if is_checked else "[ ]")
                case "del" | "moveFrom":
                    self._losses.count("deleted text", what="left out")
                case "fldSimple":
                    if not _PAGE_FIELD.match(one.get(f"{W}instr", "")):
                        self._inline(one, to, depth + 1)
                case "commentReference" | "pPr" | "rPr":
                    pass
                case "subDoc":
                    self._losses.count("part in a file of its own", plural="parts in files of their own")
                case _ if one.tag in (f"{_M}oMath", f"{_M}oMathPara"):
                    to.parts.append(f" {_formula(one, 0).strip()} ")
                case _ if one.tag == f"{_MC}AlternateContent":
                    self._inline(_chosen(one), to, depth + 1)
                case _:
                    self._inline(one, to, depth + 1)

    def _run(self, run: Element, to: _Paragraph, depth: int) -> None:
        properties = run.find(f"{W}rPr")
        parts: list[Node | str] = []
        for one in run:
            self._run_part(one, parts, to, depth)
        if to.fields and (not to.fields[-1].has_result or _PAGE_FIELD.match(to.fields[-1].code)):
            parts = [part for part in parts if not isinstance(part, str)]
        if not parts:
            return
        named = self._styles.get(_value(properties.find(f"{W}rStyle")), {}) if properties is not None else {}
        marks = {**to.style, **named, **_stated(properties)}
        if marks.get("vanish"):
            self._losses.count("hidden text")
        elif marks.get("strike") or marks.get("dstrike"):
            to.parts.append(element("s", parts))
        else:
            place = _value(properties.find(f"{W}vertAlign")) if properties is not None else ""
            tag = {"superscript": "sup", "subscript": "sub"}.get(place)
            if tag and to.parts and isinstance(to.parts[-1], Node) and to.parts[-1].tag == tag:
                to.parts[-1].children += parts
            else:
                to.parts += [element(tag, parts)] if tag else parts

    def _run_part(self, one: Element, parts: list[Node | str], to: _Paragraph, depth: int) -> None:
        match one.tag.removeprefix(W):
            case "t":
                parts.append(one.text or "")
            case "tab" | "ptab":
                parts.append(" ")
            case "br" | "cr":
                parts.append(element("br"))
            case "noBreakHyphen":
                parts.append("-")
            case "sym":
                symbol = _symbol(one.get(f"{W}char", ""), one.get(f"{W}font", ""))
                parts.append(symbol)
                self._losses.count(
                    "sign of a font of symbols", int(not symbol), plural="signs of fonts of symbols"
                )
            case "footnoteReference" | "endnoteReference" as tag:
                self._refer(tag.removesuffix("Reference"), one, parts)
            case "commentReference":
                self._refer("comment", one, parts)
            case "fldChar":
                self._field(one.get(f"{W}fldCharType", ""), to)
                to.parts += _control(one)
            case "instrText" if to.fields:
                to.fields[-1].code += one.text or ""
            case "drawing" | "pict" | "object":
                self._drawing(one, parts, to)
            case "ruby":
                base, above = one.find(f"{W}rubyBase"), one.find(f"{W}rt")
                said = "".join(above.itertext()) if above is not None else ""
                parts.append(
                    ("".join(base.itertext()) if base is not None else "") + (f" ({said})" if said else "")
                )
            case _ if one.tag == f"{_MC}AlternateContent":
                for inner in () if self._is_too_deep(one, depth + 1) else _chosen(one):
                    self._run_part(inner, parts, to, depth + 1)

    def _refer(self, kind: str, one: Element, parts: list[Node | str]) -> None:
        name = one.get(f"{W}id", "")
        text, author = self._notes[kind].get(name, ("", ""))
        if not text:
            return
        self._used.add((kind, name))
        if kind == "comment":
            parts.append(f" [Comment{f' by {author}' if author else ''}: {text}]")
        else:
            self._numbered[kind] += 1
            parts.append(f" [{kind.capitalize()} {self._numbered[kind]}: {text}]")

    def _field(self, kind: str, to: _Paragraph) -> None:
        if kind == "begin":
            to.fields.append(_Field())
        elif kind == "separate" and to.fields:
            to.fields[-1].has_result = True
        elif kind == "end" and to.fields:
            link = _LINK_FIELD.match(to.fields.pop().code)
            if link is not None:
                to.parts.append(f" ({link[1].removeprefix('mailto:')})")

    def _drawing(self, one: Element, parts: list[Node | str], to: _Paragraph) -> None:
        boxes = [box for box in one.iter(f"{W}txbxContent")]
        to.boxes += boxes
        described = [named.get("descr", "") for named in one.iter(f"{_DRAWN}docPr")]
        described += [path.get("string", "") for path in one.iter(f"{_V}textpath")]
        text = " ".join(filter(None, described))
        if text:
            parts.append(text)
        elif next(one.iter(f"{_CHART}chart"), None) is not None:
            self._losses.count("chart")
        elif not boxes and one.tag != f"{W}object":
            drawn = " ".join("".join(point.itertext()) for point in one.iter(f"{_A}p"))
            if drawn.strip():
                parts.append(f" {drawn} ")
            elif next(one.iter(f"{_A}blip"), None) is not None or one.tag == f"{W}pict":
                self._losses.count("picture without a description", plural="pictures without a description")

    def _table(self, table: Element, depth: int) -> Node:
        rows: list[Node] = []
        above: dict[int, Node] = {}  # the cell that a merged one goes on, by column
        for row in _inside(table, "tr"):
            if row.find(f"{W}trPr/{W}del") is not None:
                self._losses.count("deleted row")
                continue
            is_head = _is_on(row.find(f"{W}trPr"), "tblHeader")
            before = row.find(f"{W}trPr/{W}gridBefore")
            column = min(_int(_value(before)), 100) if before is not None else 0
            cells = [element("td", colspan=str(column))] if column else []
            for cell in _inside(row, "tc"):
                span = min(max(_int(_value(cell.find(f"{W}tcPr/{W}gridSpan"))), 1), 1000)
                merged = cell.find(f"{W}tcPr/{W}vMerge")
                if merged is not None and _value(merged) != "restart" and column in above:
                    first = above[column]
                    first.attributes["rowspan"] = str(int(first.get("rowspan") or "1") + 1)
                else:
                    inner = Body()
                    if not self._is_too_deep(cell, depth):
                        self._blocks(cell, inner, depth)
                    node = element("th" if is_head or _is_bold(cell) else "td", inner.top.children)
                    node.attributes["colspan"] = str(span)
                    cells.append(node)
                    above.pop(column, None)
                    if merged is not None:
                        above[column] = node
                column += span
            rows.append(element("tr", cells))
        return element("table", rows)


def counted_words(parts: list[Node | str]) -> str:
    """The text of parts of a paragraph."""
    return "".join(
        part if isinstance(part, str) else f" {part.words()}" if part.tag == "br" else part.words()
        for part in parts
    )


def _main_part(archive: ZipFile, names: set[str]) -> str:
    """The part with the body, which need not be called word/document.xml."""
    if "_rels/.rels" in names:
        for one in read_xml(archive, "_rels/.rels"):
            target = one.get("Target", "").lstrip("/")
            if one.get("Type", "").endswith("/officeDocument") and target in names:
                return target
    return "word/document.xml"


def _chosen(alternatives: Element) -> Element:
    """The first of a content's alternatives; all others say the same."""
    first = next(iter(alternatives), None)
    return alternatives if first is None else first


def _inside(parent: Element, name: str) -> Iterator[Element]:
    """The rows of a table or cells of a row, also those within content controls."""
    for one in parent:
        if one.tag == f"{W}{name}":
            yield one
        elif one.tag in (f"{W}sdt", f"{W}sdtContent", f"{W}customXml", f"{W}ins"):
            yield from _inside(one, name)


def _is_on(properties: Element | None, name: str) -> bool:
    found = properties.find(f"{W}{name}") if properties is not None else None
    return found is not None and found.get(f"{W}val", "1").lower() not in _OFF


def _is_bold(cell: Element) -> bool:
    """Whether all text of a cell is bold, as that of column names is where a table does not say more."""
    runs = [run for run in cell.iter(f"{W}r") if any((one.text or "").strip() for one in run.iter(f"{W}t"))]
    return bool(runs) and all(_is_on(run.find(f"{W}rPr"), "b") for run in runs)


def _stated(properties: Element | None) -> dict[str, str]:
    """Which marks of text that is left out are stated: "1" those that hold, "" those that do not."""
    found = {name: properties.find(f"{W}{name}") for name in _MARKS} if properties is not None else {}
    return {name: "1" if _is_on(properties, name) else "" for name, one in found.items() if one is not None}


def _control(field: Element) -> list[str]:
    """What a form's field holds where its text does not say it: a box to check, a choice."""
    box, choice = field.find(f"{W}ffData/{W}checkBox"), field.find(f"{W}ffData/{W}ddList")
    if box is not None:
        name = "checked" if box.find(f"{W}checked") is not None else "default"
        return ["[x]" if _is_on(box, name) else "[ ]"]
    if choice is None:
        return []
    chosen = _value(choice.find(f"{W}result")) or _value(choice.find(f"{W}default")) or "0"
    entries = [_value(one) for one in choice.iterfind(f"{W}listEntry")]
    return [entries[int(chosen)]] if chosen.isdigit() and int(chosen) < len(entries) else []


def _symbol(code: str, font: str) -> str:
    try:
        value = int(code, 16)
    except ValueError:
        return ""
    if 0xF000 <= value < 0xF100 and font.startswith("Wingdings"):
        return _WINGDINGS.get(value - 0xF000, "")
    return chr(value) if 0x20 < value < 0xD800 else ""


def _formula(one: Element, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return "".join(one.itertext())
    name = one.tag.rpartition("}")[2]
    if name == "t":
        return one.text or ""
    if name.endswith("Pr"):
        return ""
    parts = [_formula(child, depth + 1) for child in one if not child.tag.endswith("Pr")]
    if name == "d":
        return f"({', '.join(parts)})"
    if name == "nary":
        sign = one.find(f"{_M}naryPr/{_M}chr")
        low, high, inner = [*parts, "", "", ""][:3]
        return f"{sign.get(f'{_M}val', '∫') if sign is not None else '∫'}_({low})^({high}) {inner}"
    if name == "rad":
        degree, inner = [*parts, "", ""][:2]
        return f"root({degree}, {inner})" if degree.strip() else f"sqrt({inner})"
    return linear(name, parts)


def _value(one: Element | None) -> str:
    return one.get(f"{W}val", "") if one is not None else ""


def _int(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else 1
