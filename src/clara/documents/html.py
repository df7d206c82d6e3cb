"""HTML files, through BeautifulSoup and Python's own parser."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from clara.documents.lines import Lines, Traced
from clara.documents.outline import Outline, Reading, UnreadableError, item_prefixes
from clara.documents.text import decode, squeeze, tidy

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_DROPPED = frozenset({
    "aside", "audio", "button", "canvas", "dialog", "footer", "head", "iframe", "input", "math", "nav",
    "noscript", "object", "script", "select", "style", "svg", "template", "textarea", "title", "video",
})  # fmt: skip
_BLOCKS = frozenset({
    "address", "article", "blockquote", "body", "caption", "dd", "details", "div", "dl", "dt", "fieldset",
    "figcaption", "figure", "form", "header", "hr", "html", "legend", "li", "main", "ol", "p", "pre",
    "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
_WHITE_SPACE = re.compile(r"\s+")


def read_html(data: bytes) -> Reading:
    """Read a page's own text; menus, scripts, side columns and the like are left out.

    The title is the page's `<title>`, else a first heading of level 1. Where there is a `<main>` with
    text, only that is read.

    Raises:
        UnreadableError: The bytes are not text.
    """
    title, outline = read_outline(data)
    title = title or outline.leading_heading
    return Reading(title, outline.sections(title))


def read_outline(data: bytes) -> tuple[str, Outline]:
    """A page's `<title>`, which may be "", and its headings and text.

    Raises:
        UnreadableError: The bytes are not text.
    """
    declared = _CHARSET.search(data[:4096])
    soup = _parse(decode(data, declared[1].decode("ascii") if declared else ""))
    outline = Outline()
    main = soup.find("main")
    _walk(main if main is not None and main.get_text(strip=True) else soup, outline)
    return squeeze(soup.title.get_text()) if soup.title is not None else "", outline


def add_markup(markup: str, outline: Outline, lines: Lines | None = None) -> None:
    """Add the text of a piece of HTML, such as stands within Markdown on `lines`, to an outline."""
    _walk(_parse(markup), outline, lines)


def _parse(markup: str) -> BeautifulSoup:
    from bs4 import BeautifulSoup

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the text looks like XML, an address or a file name
        try:
            return BeautifulSoup(markup, "html.parser")
        except (AssertionError, RecursionError) as error:  # html.parser asserts on some broken declarations
            raise UnreadableError(f"is damaged HTML: {error}") from error


def _walk(root: Tag, outline: Outline, lines: Lines | None = None) -> None:
    """Go through the tags in order, with a stack of our own: pages nest deeper than Python's allows."""
    from bs4.element import NavigableString, PreformattedString, Tag

    collector = _Collector(outline, lines)
    stack: list[tuple[object, bool]] = [(root, False)]  # (node, whether it is being left)
    while stack:
        node, leaving = stack.pop()
        if isinstance(node, Tag):
            if leaving:
                collector.leave(node)
            elif not _is_dropped(node):
                collector.enter(node)
                stack.append((node, True))
                stack.extend((child, False) for child in reversed(node.contents))
        elif isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
            collector.text(str(node))
    collector.flush()


def _is_dropped(tag: Tag) -> bool:
    if tag.name in _DROPPED or tag.has_attr("hidden") or tag.get("role") == "navigation":
        return True
    # an article's header holds its heading; a site's holds its logo and menu
    return tag.name == "header" and tag.find(list(_HEADINGS)) is None


class _Collector:
    """Gathers the text between the borders of blocks and hands each block to the outline.

    An outermost list or table makes one block of many lines. The cells of a table stand on their row's
    line, whatever is in them, but a table that holds headings or tables is there for the page's layout
    and is no table to a reader.
    """

    def __init__(self, outline: Outline, lines: Lines | None) -> None:
        self._outline = outline
        self._from = lines
        self._pieces: list[str] = []
        self._lines: list[str] = []
        self._lists: list[int | None] = []  # number of the next item of each open list, None for bullets
        self._tables: list[bool] = []  # of each open table, whether it is one to a reader
        self._mark = ""
        self._cells = 0
        self._preformatted = 0

    def text(self, text: str) -> None:
        self._pieces.append(text if self._preformatted else _WHITE_SPACE.sub(" ", text))

    def enter(self, tag: Tag) -> None:
        name = tag.name
        if self._cells:
            self._enter_in_cell(name)
            return
        if self._is_border(name):
            self.flush()
        match name:
            case "br":
                self._pieces.append("\n")
            case "pre":
                self._preformatted += 1
            case "ul" | "ol":
                self._lists.append(_start(tag) if name == "ol" else None)
            case "table":
                self._tables.append(tag.find([*_HEADINGS, "table"]) is None)
            case "li":
                self._mark = self._next_mark()
            case "td" | "th" if self._tables and self._tables[-1]:
                self._cells += 1
                if tag.find_previous_sibling(["td", "th"]) is not None:
                    self._pieces.append(" | ")

    def _enter_in_cell(self, name: str) -> None:
        # rows and cells come up inside a cell where the page leaves out their closing tags
        match name:
            case "tr":
                self._pieces.append("\n")
            case "td" | "th":
                self._cells += 1
                before = next((piece for piece in reversed(self._pieces) if piece.strip(" ")), "\n")
                self._pieces.append("" if before == "\n" else " | ")
            case _ if name in _BLOCKS or name == "br":
                self._pieces.append(" ")

    def leave(self, tag: Tag) -> None:
        name = tag.name
        if self._cells:
            self._cells -= name in ("td", "th")
            return
        if name in _HEADINGS and not self._grouped:
            self._outline.heading(_HEADINGS[name], squeeze("".join(self._pieces)), self._from)
            self._pieces = []
        elif self._is_border(name):
            self.flush()
        match name:
            case "pre":
                self._preformatted -= 1
            case "ul" | "ol":
                self._lists.pop()
                self._close_group()
            case "table":
                self._tables.pop()
                self._close_group()

    def flush(self) -> None:
        """End the paragraph, item or row that is open."""
        text = _lines("".join(self._pieces), keep_indent=self._preformatted > 0)
        self._pieces = []
        if not text:
            return
        if self._grouped:
            lines = text.split("\n")
            prefixes = item_prefixes(len(lines), len(self._lists), self._mark)
            self._lines += map("".join, zip(prefixes, lines, strict=True))
            self._mark = ""
        else:
            self._block(text)

    def _is_border(self, name: str) -> bool:
        if name in ("td", "th"):
            return not any(self._tables[-1:])
        return name in _BLOCKS or name in _HEADINGS

    @property
    def _grouped(self) -> bool:
        return bool(self._lists) or any(self._tables)

    def _close_group(self) -> None:
        if not self._grouped:
            self._block("\n".join(self._lines))
            self._lines = []

    def _block(self, text: str) -> None:
        self._outline.block(Traced.of(tidy(text), self._from) if self._from else Traced(text))

    def _next_mark(self) -> str:
        number = self._lists[-1] if self._lists else None
        if number is None:
            return "- " if self._lists else ""
        self._lists[-1] = number + 1
        return f"{number}. "


def _start(tag: Tag) -> int:
    start = str(tag.get("start", ""))
    return int(start) if start.isascii() and start.isdigit() else 1


def _lines(text: str, *, keep_indent: bool) -> str:
    if keep_indent:
        return text.strip("\n").rstrip()
    lines = (squeeze(line) for line in text.split("\n"))
    return "\n".join(line for line in lines if line)
