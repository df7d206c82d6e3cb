"""OpenDocument texts and presentations (ODT, ODP): every part of them that is text, in its order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element
from zipfile import ZipFile

from clara.documents.archives import opened, read_xml
from clara.documents.body import Body, element
from clara.documents.formulas import linear
from clara.documents.html import outline_of_tree, roman
from clara.documents.html_tree import Node
from clara.documents.properties import core_properties, stated_section
from clara.documents.reading import Context, Losses, Reading, UnreadableError
from clara.records import Section

_KIND = "an OpenDocument file"
_OASIS = "urn:oasis:names:tc:opendocument:xmlns"
_T = f"{{{_OASIS}:text:1.0}}"
_TABLE = f"{{{_OASIS}:table:1.0}}"
_DRAW = f"{{{_OASIS}:drawing:1.0}}"
_STYLE = f"{{{_OASIS}:style:1.0}}"
_OFFICE = f"{{{_OASIS}:office:1.0}}"
_FORM = f"{{{_OASIS}:form:1.0}}"
_XML_ID = "{http://www.w3.org/XML/1998/namespace}id"
_SVG = f"{{{_OASIS}:svg-compatible:1.0}}"
_SHOW = f"{{{_OASIS}:presentation:1.0}}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_DC = "{http://purl.org/dc/elements/1.1/}"
_MAX_DEPTH = 60


def read_odt(data: bytes, context: Context) -> Reading:
    """Read an OpenDocument text or presentation: headings with their numbers, lists, tables, notes and
    comments at
    their references, text boxes, formulas, headers and footers; slides as pages.

    Raises:
        UnreadableError: The file is damaged, encrypted or of another kind, or unpacks beyond measure.
    """
    with opened(data, _KIND) as archive:
        if b"manifest:encryption-data" in _read(archive, "META-INF/manifest.xml"):
            raise UnreadableError("is an encrypted OpenDocument file; save a copy without a password")
        title, values = core_properties(archive, "meta.xml")
        reader = _Reader(archive, context.losses)
        sections = list(reader.sections(title))
    title = title or reader.title
    return Reading(title, (*stated_section(values), *sections), values)


def _read(archive: ZipFile, name: str) -> bytes:
    return archive.read(name) if name in archive.namelist() else b""


@dataclass(slots=True)
class _Level:
    """How a level of a list is numbered; no form for bullets."""

    form: str = ""
    before: str = ""
    after: str = ""
    start: int = 1
    shown: int = 1


@dataclass(slots=True)
class _State:
    """The numbers that the levels of a list have reached."""

    reached: dict[int, int] = field(default_factory=dict)

    def mark(self, levels: dict[int, _Level], level: int) -> str:
        own = levels.get(level, _Level())
        self.reached[level] = self.reached.get(level, own.start - 1) + 1
        for deeper in [one for one in self.reached if one > level]:
            del self.reached[deeper]
        if not own.form:
            return "-"
        first = max(1, level - own.shown + 1)
        numbers = [
            _written(self.reached.get(at, levels.get(at, own).start), levels.get(at, own).form)
            for at in range(first, level + 1)
        ]
        return f"{own.before}{'.'.join(filter(None, numbers))}{own.after}".strip()


class _Reader:
    def __init__(self, archive: ZipFile, losses: Losses) -> None:
        self._archive = archive
        self._names = set(archive.namelist())
        self._losses = losses
        self._content = read_xml(archive, "content.xml")
        self._styles = read_xml(archive, "styles.xml") if "styles.xml" in self._names else None
        self._controls = {
            one.get(name, ""): one
            for one in self._content.iter()
            if one.tag.startswith(_FORM)
            for name in (f"{_FORM}id", _XML_ID)
        }
        self._parents: dict[str, str] = {}
        self._marks: dict[str, str] = {}  # of each style the element that its text is in
        self._lists: dict[str, dict[int, _Level]] = {}
        self._list_of: dict[str, str] = {}  # of each paragraph style its list style
        self._outline: dict[int, _Level] = {}
        self._reached: dict[str, _State] = {}
        self._headings = _State()
        self.title = ""
        for root in (self._styles, self._content):
            if root is not None:
                self._learn(root)

    def sections(self, title: str) -> Iterator[Section]:
        body = self._content.find(f"{_OFFICE}body")
        slides = body.find(f"{_OFFICE}presentation") if body is not None else None
        if slides is not None:
            for number, page in enumerate(slides.iterfind(f"{_DRAW}page"), 1):
                yield from self._slide(page, number)
            return
        found = body.find(f"{_OFFICE}text") if body is not None else None
        if found is None:
            raise UnreadableError("is an OpenDocument file of a kind that is not read; export it as PDF")
        whole = Body()
        heads, feet = self._heads_and_feet()
        for text in heads:
            whole.paragraph([text])
        self._blocks(found, whole, 0)
        for text in feet:
            whole.paragraph([text])
        outline = outline_of_tree(whole.tree(), self._losses)
        self.title = outline.leading_heading
        yield from outline.sections(title or self.title)

    def _slide(self, page: Element, number: int) -> Iterator[Section]:
        body = Body()
        frames = sorted(page.iterfind(f"{_DRAW}frame"), key=lambda one: one.get(f"{_SHOW}class") != "title")
        for frame in frames:
            if frame.get(f"{_SHOW}class") == "title":
                body.heading(1, [" ".join(" ".join(frame.itertext()).split())])
            else:
                self._frame(frame, body, 0)
        others = [one for one in page if one.tag not in (f"{_DRAW}frame", f"{_SHOW}notes")]
        for shape in others:
            self._blocks(shape, body, 1)
        notes = page.find(f"{_SHOW}notes")
        words = (
            " ".join(" ".join(one.itertext()) for one in notes.iter(f"{_DRAW}text-box"))
            if notes is not None
            else ""
        )
        if words.strip():
            body.paragraph([f"Notes: {' '.join(words.split())}"])
        for section in outline_of_tree(body.tree(), self._losses).sections(""):
            self.title = self.title or section.heading
            yield replace(section, page=number)

    def _learn(self, root: Element) -> None:
        """Take from styles what is struck out, raised or lowered, and how lists and headings are numbered."""
        for style in root.iter(f"{_STYLE}style"):
            name = style.get(f"{_STYLE}name", "")
            self._parents[name] = style.get(f"{_STYLE}parent-style-name", "")
            if (listed := style.get(f"{_STYLE}list-style-name")) is not None:
                self._list_of[name] = listed
            said = style.find(f"{_STYLE}text-properties")
            if said is None:
                continue
            place = said.get(f"{_STYLE}text-position", "")
            struck, shown = said.get(f"{_STYLE}text-line-through-style"), said.get(f"{_T}display")
            if struck or shown:  # "none" and "true" undo what a style that this one is based on says
                self._marks[name] = ""
            if struck not in (None, "none"):
                self._marks[name] = "s"
            elif place.startswith(("super", "sub")) or (place[:1] in "-123456789" and place[:1]):
                self._marks[name] = "sub" if place.startswith(("sub", "-")) else "sup"
            if shown == "none":
                self._marks[name] = "hidden"
        for found in root.iter(f"{_T}list-style"):
            self._lists[found.get(f"{_STYLE}name", "")] = dict(map(_level, found))
        for found in root.iter(f"{_T}outline-style"):
            self._outline = dict(map(_level, found))

    def _heads_and_feet(self) -> tuple[list[str], list[str]]:
        found: tuple[dict[str, None], dict[str, None]] = ({}, {})
        for page in self._styles.iter(f"{_STYLE}master-page") if self._styles is not None else ():
            for part in page:
                name = part.tag.rpartition("}")[2]
                if name.startswith(("header", "footer")):
                    for one in part.iter(f"{_T}p"):
                        for number in [*one.iter(f"{_T}page-number"), *one.iter(f"{_T}page-count")]:
                            number.text = ""
                        text = " ".join(Node("p", {}, self._inline(one, [], 0)).words().split())
                        if any(map(str.isalnum, text)):
                            found[name.startswith("footer")][text] = None
        return list(found[0]), list(found[1])

    def _is_too_deep(self, part: Element, depth: int) -> bool:
        """Whether a part is nested deeper than is read; its text is then counted as left out."""
        if depth <= _MAX_DEPTH:
            return False
        if "".join(part.itertext()).strip():
            self._losses.count("part nested too deep", plural="parts nested too deep")
        return True

    def _blocks(self, parent: Element, body: Body, depth: int) -> None:
        if self._is_too_deep(parent, depth):
            return
        for one in parent:
            self._block(one, body, depth)

    def _block(self, one: Element, body: Body, depth: int) -> None:
        if self._is_hidden(one):
            self._losses.count("hidden text")
            return
        match one.tag:
            case _ if one.tag == f"{_T}p":
                self._paragraph(one, body, depth)
            case _ if one.tag == f"{_T}h":
                self._heading(one, body, depth)
            case _ if one.tag == f"{_T}list":
                self._list(one, body, depth, 1, "")
            case _ if one.tag == f"{_TABLE}table":
                body.block(self._table(one, depth + 1))
            case _ if one.tag == f"{_T}tracked-changes":
                deleted = sum(1 for _ in one.iter(f"{_T}deletion"))
                self._losses.count("deleted text", deleted)
            case _ if one.tag == f"{_DRAW}frame":
                self._frame(one, body, depth + 1)
            case _ if one.tag.endswith(("}sequence-decls", "}forms", "}variable-decls", "}user-field-decls")):
                pass
            case _:
                self._blocks(one, body, depth + 1)

    def _is_hidden(self, one: Element) -> bool:
        """Whether a paragraph, heading or section with text is one that is not shown."""
        if one.tag == f"{_T}section":
            is_hidden = one.get(f"{_T}display") == "none" or one.get(f"{_T}is-hidden") == "true"
        elif one.tag in (f"{_T}p", f"{_T}h"):
            condition = one.find(f"{_T}hidden-paragraph")
            is_hidden = condition is not None and condition.get(f"{_T}is-hidden") == "true"
            is_hidden |= self._mark(one.get(f"{_T}style-name", "")) == "hidden"
        else:
            return False
        return is_hidden and bool("".join(one.itertext()).strip())

    def _mark(self, style: str) -> str:
        """The element that a style's text is in, by the style or by those that it is based on."""
        for _ in range(20):
            if style in self._marks:
                return self._marks[style]
            style = self._parents.get(style, "")
        return ""

    def _is_code(self, style: str) -> bool:
        for _ in range(20):
            if style.startswith("Preformatted_20_Text"):
                return True
            style = self._parents.get(style, "")
        return False

    def _words(self, parent: Element, depth: int) -> str:
        """The text of all paragraphs within an element on one line."""
        return " ".join(
            Node("p", {}, self._inline(one, [], depth + 1)).words() for one in _paragraphs_in(parent)
        )

    def _heading(self, one: Element, body: Body, depth: int) -> None:
        level = _number(one.get(f"{_T}outline-level"), 1)
        boxes: list[Element] = []
        parts = self._inline(one, boxes, 0)
        if not Node("p", {}, parts).words():
            return
        mark = ""
        if self._outline.get(level, _Level()).form and one.get(f"{_T}is-list-header") != "true":
            mark = self._headings.mark(self._outline, level)
        body.heading(level, [f"{mark} ", *parts] if mark and mark != "-" else parts)
        self._boxes(boxes, body, depth)

    def _paragraph(self, one: Element, body: Body, depth: int) -> None:
        boxes: list[Element] = []
        parts = self._inline(one, boxes, 0)
        style = one.get(f"{_T}style-name", "")
        is_code = self._is_code(style)
        is_struck = self._mark(style) == "s"
        body.paragraph([element("s", parts)] if is_struck else parts, "pre" if is_code else "p")
        self._boxes(boxes, body, depth)

    def _boxes(self, boxes: list[Element], body: Body, depth: int) -> None:
        for box in boxes:
            self._frame(box, body, depth + 1)

    def _list(self, one: Element, body: Body, depth: int, level: int, style: str) -> None:
        if self._is_too_deep(one, depth):
            return
        style = one.get(f"{_T}style-name") or style
        levels = self._lists.get(style, {})
        state = self._reached.setdefault(style, _State())
        if level == 1 and one.get(f"{_T}continue-numbering") != "true" and not one.get(f"{_T}continue-list"):
            state.reached.clear()
        for item in one:
            is_first = item.tag == f"{_T}list-item"
            for part in item:
                if part.tag == f"{_T}list":
                    self._list(part, body, depth + 1, level + 1, style)
                elif part.tag == f"{_T}h":
                    self._heading(part, body, depth)
                elif part.tag == f"{_T}p" and not self._is_hidden(part):
                    boxes: list[Element] = []
                    parts = self._inline(part, boxes, 0)
                    if is_first and (start := _number(item.get(f"{_T}start-value"), 0)):
                        state.reached[level] = start - 1
                    mark = state.mark(levels, level) if is_first else ""
                    body.item(level - 1, mark, parts)
                    is_first = False
                    self._boxes(boxes, body, depth)
                else:
                    self._block(part, body, depth + 1)

    def _inline(self, parent: Element, boxes: list[Element], depth: int) -> list[Node | str]:
        if self._is_too_deep(parent, depth):
            return []
        parts: list[Node | str] = [parent.text or ""]
        for one in parent:
            parts += self._inline_part(one, boxes, depth)
            parts.append(one.tail or "")
        return parts

    def _inline_part(self, one: Element, boxes: list[Element], depth: int) -> list[Node | str]:
        if one.tag == f"{_DRAW}control":
            return [self._control(one.get(f"{_DRAW}control", ""))]
        if one.tag.startswith(_DRAW):
            objects = [self._formula(inner) for inner in one.iter(f"{_DRAW}object")]
            if any(objects):
                return [f" {formula} " for formula in objects]
            boxes.append(one)
            return []
        match one.tag.rpartition("}")[2]:
            case "s":
                return [" " * min(_number(one.get(f"{_T}c"), 1), 100)]
            case "tab":
                return [" "]
            case "line-break":
                return [element("br")]
            case "note":
                body = one.find(f"{_T}note-body")
                mark = one.findtext(f"{_T}note-citation") or ""
                words = self._words(body, depth) if body is not None else ""
                return [f" [{mark}: {words}]" if mark else f" [{words}]"]
            case "annotation":
                author = one.findtext(f"{_DC}creator") or ""
                words = self._words(one, depth)
                return [f" [Comment{f' by {author}' if author else ''}: {words}]"]
            case (
                "annotation-end"
                | "bookmark"
                | "bookmark-start"
                | "bookmark-end"
                | "soft-page-break"
                | "change"
            ):
                return []
            case "a":
                return [element("a", self._inline(one, boxes, depth + 1), href=one.get(_LINK, ""))]
            case "hidden-text" if one.get(f"{_T}is-hidden", "true") == "true":
                self._losses.count("hidden text")
                return []
            case "hidden-paragraph":
                return []
            case "ruby":
                base, above = one.findtext(f"{_T}ruby-base") or "", one.findtext(f"{_T}ruby-text") or ""
                return [f"{base} ({above})" if above else base]
        inner = self._inline(one, boxes, depth + 1)
        style = self._mark(one.get(f"{_T}style-name", ""))
        if style == "hidden":
            self._losses.count("hidden text")
            return []
        return [element(style, inner)] if style else inner

    def _frame(self, frame: Element, body: Body, depth: int) -> None:
        described = " ".join(
            filter(None, (frame.findtext(f"{_SVG}title"), frame.findtext(f"{_SVG}desc")))
        ).strip()
        is_text = False
        for one in frame:
            name = one.tag.rpartition("}")[2]
            if name == "text-box":
                self._blocks(one, body, depth + 1)
                is_text = True
            elif name == "table":
                body.block(self._table(one, depth + 1))
                is_text = True
            elif name == "object":
                is_text |= self._object(one, body)
            elif name in ("p", "list", "h"):
                self._blocks(frame, body, depth + 1)
                is_text = True
                break
            elif one.tag.startswith(_DRAW) and name != "image":  # of a group
                self._frame(one, body, depth + 1)
                is_text = True
        if described:
            body.paragraph([described])
        elif not is_text and frame.find(f"{_DRAW}image") is not None:
            self._losses.count("picture without a description", plural="pictures without a description")

    def _object(self, one: Element, body: Body) -> bool:
        """Add an embedded formula; other objects are left out."""
        formula = self._formula(one)
        if formula:
            body.paragraph([formula])
        else:
            self._losses.count("embedded object")
        return bool(formula)

    def _control(self, name: str) -> str:
        """What a form's control holds, as it is shown."""
        one = self._controls.get(name) if name else None
        if one is None:
            return ""
        label = one.get(f"{_FORM}label", "")
        if one.tag in (f"{_FORM}checkbox", f"{_FORM}radio"):
            state = one.get(f"{_FORM}current-state") or one.get(f"{_FORM}current-selected")
            return f" {'[x]' if state in ('checked', 'true') else '[ ]'} {label} "
        chosen = [
            item.get(f"{_FORM}label", "")
            for item in one
            if "true" in (item.get(f"{_FORM}current-selected"), item.get(f"{_FORM}selected"))
        ]
        words = one.get(f"{_FORM}current-value") or one.get(f"{_FORM}value") or self._words(one, 0)
        return f" {' '.join(filter(None, (label, words, *chosen)))} "

    def _formula(self, one: Element) -> str:
        """The formula that an object is, "" if it is another kind of object."""
        path = f"{one.get(_LINK, '').removeprefix('./').rstrip('/')}/content.xml"
        if path not in self._names:
            return ""
        root = read_xml(self._archive, path)
        return _formula(root, 0) if root.tag.endswith("}math") else ""

    def _table(self, table: Element, depth: int) -> Node:
        named = [table.findtext(f"{_TABLE}{name}") or "" for name in ("title", "desc")]
        caption = " ".join(filter(None, named))
        rows: list[Node] = [element("caption", [caption])] if caption else []

        def add(parent: Element, tag: str) -> None:
            for one in parent:
                name = one.tag.rpartition("}")[2]
                if name == "table-row":
                    rows.append(self._row(one, tag, depth))
                elif name == "table-header-rows":
                    add(one, "th")
                elif name in ("table-rows", "table-row-group"):
                    add(one, tag)

        add(table, "td")
        return element("table", rows)

    def _row(self, row: Element, tag: str, depth: int) -> Node:
        cells = []
        for cell in row:
            if cell.tag != f"{_TABLE}table-cell":
                continue
            inner = Body()
            self._blocks(cell, inner, depth)
            node = element(tag, inner.top.children)
            node.attributes["colspan"] = cell.get(f"{_TABLE}number-columns-spanned", "1")
            node.attributes["rowspan"] = cell.get(f"{_TABLE}number-rows-spanned", "1")
            cells.append(node)
        return element("tr", cells)


def _paragraphs_in(parent: Element) -> Iterator[Element]:
    stack = [parent]
    while stack:
        one = stack.pop()
        if one.tag in (f"{_T}p", f"{_T}h"):
            yield one
        else:
            stack.extend(reversed(one))


def _level(one: Element) -> tuple[int, _Level]:
    form = one.get(f"{_STYLE}num-format", "") if not one.tag.endswith("-bullet") else ""
    return _number(one.get(f"{_T}level"), 1), _Level(
        form,
        one.get(f"{_STYLE}num-prefix", ""),
        one.get(f"{_STYLE}num-suffix", ""),
        _number(one.get(f"{_T}start-value"), 1),
        _number(one.get(f"{_T}display-levels"), 1),
    )


def _written(value: int, form: str) -> str:
    if form in ("a", "A") and 1 <= value <= 26:
        return chr(ord(form) + value - 1)
    if form in ("i", "I") and 1 <= value < 4000:
        return roman(value) if form == "i" else roman(value).upper()
    return str(value) if form else ""


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else default


def _formula(one: Element, depth: int) -> str:
    name = one.tag.rpartition("}")[2]
    if depth > _MAX_DEPTH or name == "annotation":
        return ""
    if not len(one):
        return (one.text or "").strip()
    return linear(name, [_formula(child, depth + 1) for child in one])
