"""HTML files, through a tree by HTML 5's rules."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clara.documents import boilerplate
from clara.documents.charsets import decode
from clara.documents.grids import heads_by_content, spanned, table
from clara.documents.html_tree import HEADINGS, MARK, Node, parse
from clara.documents.inline import Inline, flat, struck_classes
from clara.documents.lines import Lines, Traced, join
from clara.documents.outline import Outline, item_prefixes
from clara.documents.reading import Context, Losses, Reading, facts, facts_section
from clara.documents.text import squeeze, tidy
from clara.records import Metadata

_CHARSET = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^>]{0,80}?encoding\s*=\s*["']([\w.:-]+)""",
    re.IGNORECASE,
)
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup", "hr", "html",
    "legend", "li", "main", "nav", "ol", "option", "p", "pre", "search", "section", "summary",
    "table", "tbody",
    "td", "tfoot", "th", "thead", "tr", "ul", *HEADINGS,
})  # fmt: skip
_FACTS = {
    "author": "author", "dc.creator": "author", "dcterms.creator": "author", "keywords": "keywords",
    "description": "description", "dc.date": "date", "dcterms.date": "date", "date": "date",
    "article:published_time": "date", "dc.subject": "keywords",
}  # fmt: skip
_NOTES = frozenset({"footnote", "endnote", "rearnote"})
_NOTE_ROLES = frozenset({"doc-footnote", "doc-endnote"})
_LONGEST_NOTE = 600
_LARGEST_NUMBER = 9  # digits of a list's first number
_LONGEST_CELL = 1500
_BACK_LINK = re.compile(r"\s*(?:↩\ufe0e?|\^|⏎|↑|\[?back\]?)\s*$", re.IGNORECASE)


def read_html(data: bytes, context: Context) -> Reading:
    """Read a page's own text; menus, notices on cookies, scripts and the like are left out.

    The title is the page's `<title>`, else a first heading of level 1.

    Raises:
        UnreadableError: The bytes are not text.
    """
    title, outline, metadata = read_outline(data, context.losses)
    title = title or outline.leading_heading
    return Reading(title, (*facts_section(metadata), *outline.sections(title)), metadata)


def read_outline(data: bytes, losses: Losses, *, is_site: bool = True) -> tuple[str, Outline, Metadata]:
    """A page's `<title>`, which may be "", its headings and text, and what it states of itself.

    Args:
        data: The file's bytes.
        losses: Where what is left out is told.
        is_site: It may have menus; chapters of books have none.

    Raises:
        UnreadableError: The bytes are not text.
    """
    return outline_of(decode(data, stated_charset(data), losses), losses, is_site=is_site)


def stated_charset(data: bytes) -> str:
    """The encoding that a page itself states, "" if it states none."""
    declared = _CHARSET.search(data[:4096])
    return next(filter(None, declared.groups()), b"").decode("ascii", "replace") if declared else ""


def outline_of(markup: str, losses: Losses, *, is_site: bool = True) -> tuple[str, Outline, Metadata]:
    """As `read_outline`, of a page's characters."""
    tree = parse(markup)
    outline = Outline()
    _Walk(tree, outline, losses, None, is_site=is_site).run()
    title = next((one for head in tree.all("head") for one in head.elements("title")), None)
    metadata = facts({
        _FACTS[name]: one.get("content")
        for one in tree.all("meta")
        if (name := (one.get("name") or one.get("property")).lower()) in _FACTS
    })  # fmt: skip
    return squeeze(title.words()) if title is not None else "", outline, metadata


def add_markup(markup: str, outline: Outline, losses: Losses, lines: Lines | None = None) -> None:
    """Add the text of a piece of HTML, such as stands within Markdown on `lines`, to an outline."""
    _Walk(parse(markup), outline, losses, lines, is_site=False).run()


def outline_of_tree(tree: Node, losses: Losses) -> Outline:
    """The outline of a tree that a reader of another format has made."""
    outline = Outline()
    _Walk(tree, outline, losses, None, is_site=False).run()
    return outline


class _Walk:
    """Goes through the tree with a stack of its own: pages nest deeper than Python's allows.

    An outermost list makes one block of many lines, each outermost item of it whole, and so do a table with
    its rows, a quotation, and preformatted text. A table that holds headings, tables or long texts is there
    for the page's layout and is no table to a reader.
    """

    def __init__(
        self, tree: Node, outline: Outline, losses: Losses, lines: Lines | None, *, is_site: bool
    ) -> None:
        self._tree = tree
        self._outline = outline
        self._losses = losses
        self._from = lines
        self._is_site = is_site
        self._notes = _notes_of(tree)
        self._most_hidden = 0.9 * tree.chars
        self._struck = struck_classes(tree)
        self._inline = Inline(losses, self._note, self._most_hidden, self._struck)
        self._lists: list[_List] = []
        self._items: list[Traced] = []  # of the open outermost list, its finished items
        self._lines: list[str] = []  # of its open item
        self._mark = ""
        self._quotes = 0
        self._quoted: list[str] = []
        self._articles = 0
        self._footers = 0
        self._is_headed = False

    def run(self) -> None:
        stack: list[tuple[Node | str, bool]] = [(self._tree, False)]
        while stack:
            node, leaving = stack.pop()
            if isinstance(node, str):
                self._inline.text(node)
            elif leaving:
                self._leave(node)
            elif not self._skips(node):
                self._enter(node)
                stack.append((node, True))
                stack.extend((child, False) for child in reversed(node.children))
        self._flush()

    def _skips(self, node: Node) -> bool:
        """Whether nothing of an element is left to go through."""
        if self._inline.skips(node):
            return True
        if self._is_site and node.tag not in ("html", "body", "a"):
            kind = boilerplate.kind_of(
                node, in_article=self._articles > 0, before_heading=not self._is_headed
            )
            if kind:
                self._losses.count(kind)
                return True
        if node.get("id") in self._notes and _is_note(node):
            return True  # it stands where it is referred to
        if node.tag == "table" and not _is_layout(node):
            self._flush()
            self._table(node)
            return True
        return False

    def _enter(self, node: Node) -> None:
        tag = node.tag
        if tag in _BLOCKS and not (tag == "dd" and self._inline_is_term()):
            self._flush()
        self._articles += tag in ("article", "main")
        self._footers += tag == "footer"
        match tag:
            case "pre":
                self._inline.preformatted += 1
            case "blockquote":
                self._quotes += 1
            case "ul" | "ol":
                self._lists.append(_List(_start(node) if tag == "ol" else None, node.get("type")))
            case "li":
                self._begin_item(node)
            case "td" | "th" if self._lists:
                self._inline.add(" | " if not self._inline.is_blank else "")
            case _:
                self._inline.enter(node)

    def _leave(self, node: Node) -> None:
        tag = node.tag
        if tag in HEADINGS and not self._lists:
            self._is_headed = True
            heading = squeeze(self._inline.take()).rstrip("¶#").rstrip()
            self._outline.heading(HEADINGS[tag], heading, self._from)
        elif tag == "dt" and not self._lists and not self._inline.is_blank:
            self._inline.add(": ")
            self._term = True
        elif tag in _BLOCKS:
            self._flush()
        self._articles -= tag in ("article", "main")
        self._footers -= tag == "footer"
        match tag:
            case "pre":
                self._inline.preformatted -= 1
            case "blockquote":
                self._quotes -= 1
                if not self._quotes:
                    self._block("\n\n".join(self._quoted), whole=True)
                    self._quoted = []
            case "ul" | "ol":
                if len(self._lists) == 1:
                    self._end_item()
                    self._outline.block(join("\n", self._items))
                    self._items = []
                self._lists.pop()
            case _:
                self._inline.leave(node)

    _term = False

    def _inline_is_term(self) -> bool:
        was, self._term = self._term, False
        return was

    def _flush(self) -> None:
        """End the paragraph, item or row that is open."""
        self._term = False
        is_preformatted = self._inline.preformatted > 0
        text = _lines(self._inline.take(), keep_indent=is_preformatted)
        if not text:
            return
        if self._footers and self._is_site and not self._articles and boilerplate.is_rights_line(text):
            self._losses.count("line of rights", plural="lines of rights")
        elif self._lists:
            self._add_to_item(text)
        elif self._quotes:
            self._quoted.append(text)
        else:
            self._block(text, whole=is_preformatted)

    def _add_to_item(self, text: str) -> None:
        lines = text.split("\n")
        prefixes = item_prefixes(len(lines), len(self._lists), self._mark)
        self._lines += map("".join, zip(prefixes, lines, strict=True))
        self._mark = ""

    def _begin_item(self, node: Node) -> None:
        if len(self._lists) == 1:
            self._end_item()
        if not self._lists:
            self._mark = ""
            return
        self._mark = self._lists[-1].next_mark(node.get("value"), node.attributes.get(MARK))

    def _end_item(self) -> None:
        """Make a unit of the outermost item that is open."""
        if self._lines:
            self._items.append(self._traced("\n".join(self._lines)).whole())
        self._lines = []

    def _block(self, text: str, *, whole: bool = False) -> None:
        traced = self._traced(text)
        self._outline.block(traced.whole() if whole else traced)

    def _traced(self, text: str) -> Traced:
        return Traced.of(tidy(text), self._from)

    def _table(self, node: Node) -> None:
        caption = next(node.elements("caption"), None)
        if caption is not None:
            (self._add_to_item if self._lists else self._block)(self._flat(caption))
        rows = _rows(node)
        grid = spanned([
            [(self._traced(self._flat(cell)), _span(cell, "colspan"), _span(cell, "rowspan")) for cell in
            cells]
            for _, cells, _ in rows
        ])  # fmt: skip
        heads = 0
        while heads < len(rows) and (rows[heads][2] or _is_head(rows[heads][1])):
            heads += 1
        if heads == len(rows):
            heads = min(heads, 1)
        if not heads:
            heads = heads_by_content(grid)
        whole = table(grid, heads)
        if self._lists:
            self._add_to_item(whole.text)
        else:
            self._outline.block(whole)

    def _flat(self, node: Node) -> str:
        inline = Inline(self._losses, self._note, self._most_hidden, self._struck)
        return flat(node, inline, _BLOCKS | {"br"})

    def _note(self, address: str) -> str:
        _, _, name = address.rpartition("#")
        node = self._notes.get(name)
        if node is None:
            return ""
        words = flat(node, Inline(Losses()), _BLOCKS)
        return _BACK_LINK.sub("", words)


class _List:
    """An open list: the number of its next item, None for bullets, and how its numbers are written."""

    def __init__(self, number: int | None, kind: str) -> None:
        self._number = number
        self._kind = kind

    def next_mark(self, stated: str, mark: str | None = None) -> str:
        if mark is not None:
            return f"{mark} " if mark else ""
        if self._number is None:
            return "- "
        if stated.isascii() and stated.isdigit() and len(stated) <= _LARGEST_NUMBER:
            self._number = int(stated)
        number = self._number
        self._number += 1
        if self._kind in ("a", "A") and 1 <= number <= 26:
            return f"{chr(ord(self._kind) + number - 1)}. "
        if self._kind in ("i", "I") and 1 <= number < 4000:
            return f"{roman(number).upper() if self._kind == 'I' else roman(number)}. "
        return f"{number}. "


def roman(number: int) -> str:
    """A number from 1 to 3999 in small Roman numerals."""
    letters = (
        (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"),
        (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
    )  # fmt: skip
    written = ""
    for value, letter in letters:
        written += letter * (number // value)
        number %= value
    return written


def _notes_of(tree: Node) -> dict[str, Node]:
    """The notes that the page itself calls so, by their names, where a reference leads to each."""
    named = {
        node.get("id"): node for node in tree.all("aside", "li", "div", "p", "section") if node.get("id")
    }
    notes = {name: node for name, node in named.items() if _is_note(node) and node.chars <= _LONGEST_NOTE}
    if not notes:
        return {}
    asked = {one.get("href").rpartition("#")[2] for one in tree.all("a")}
    return {name: node for name, node in notes.items() if name in asked}


def _is_note(node: Node) -> bool:
    return bool(_NOTES.intersection(node.get("epub:type").split())) or node.get("role") in _NOTE_ROLES


def _is_layout(node: Node) -> bool:
    """Whether a table is there for the page's layout."""
    if node.has_heading or node.get("role") in ("presentation", "none"):
        return True
    rows = [cells for _, cells, _ in _rows(node)]
    cells = [cell for row in rows for cell in row]
    if len(cells) <= len(rows) or any(cell.chars > _LONGEST_CELL for cell in cells):
        return True
    return node.has_table and 2 * sum(cell.has_table for cell in cells) >= sum(
        cell.chars > 0 for cell in cells
    )


def _rows(node: Node) -> list[tuple[Node, list[Node], bool]]:
    """The rows of a table itself that have cells, their cells, and whether they are in its head."""
    rows = [
        (row, list(row.elements("td", "th")), part.tag == "thead")
        for part in (node, *node.elements("thead", "tbody", "tfoot"))
        for row in part.elements("tr")
    ]
    return [one for one in rows if one[1]]


def _is_head(cells: Sequence[Node]) -> bool:
    """Whether all cells of a row are names, but for an empty corner."""
    named = [cell for cell in cells if cell.tag == "th" and cell.get("scope") != "row"]
    return bool(named) and all(cell in named or not cell.chars for cell in cells)


def _span(cell: Node, name: str) -> int:
    stated = cell.get(name).strip()
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 6 else 1


def _start(node: Node) -> int:
    start = node.get("start").strip()
    if "reversed" in node.attributes or not (start.isascii() and start.isdigit()):
        return 1
    return int(start) if len(start) <= _LARGEST_NUMBER else 1


def _lines(text: str, *, keep_indent: bool) -> str:
    if keep_indent:
        return text.strip("\n").rstrip()
    lines = (squeeze(line) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
