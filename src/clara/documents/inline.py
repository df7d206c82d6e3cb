"""The words of a page's running text: addresses of links, raised and lowered characters, what is struck
out."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf
from urllib.parse import parse_qs, urlsplit

from clara.documents.formulas import linear
from clara.documents.grids import END_OF_CELL, END_OF_ROW, with_inner_rows
from clara.documents.html_tree import Node
from clara.documents.raised import lowered, raised
from clara.documents.reading import Losses
from clara.documents.text import squeeze

_WHITE_SPACE = re.compile(r"[ \t\r\n\f]+")
_ADDRESS = re.compile(r"(?:(?:https?|ftp|tel|sip|geo|news|doi):|//)\S+", re.IGNORECASE)
# of Google's documents, and of Outlook's protection
_WRAPPED = re.compile(
    r"https://(?:www\.google\.com/url\?(?:.*&)?(q)=|[\w.-]+\.safelinks\.protection\.outlook\.com/\?)"
)
_LONGEST_ADDRESS = 300
_STRUCK = frozenset({"del", "s", "strike"})
_SILENT = frozenset({"script", "style", "head", "title", "rp"})
_NOT_SHOWN = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all)", re.IGNORECASE
)
_LINE_THROUGH = re.compile(r"text-decoration[^;]*line-through", re.IGNORECASE)
_STRUCK_RULE = re.compile(r"\.([\w-]{1,60})\s*\{[^{}]*text-decoration[^;{}]*line-through", re.IGNORECASE)
_EMBEDDED = {
    "iframe": "embedded frame", "object": "embedded object", "embed": "embedded object",
    "video": "video", "audio": "sound", "canvas": "drawing",
}  # fmt: skip
_INNER_ENDS = {"td": END_OF_CELL, "th": END_OF_CELL, "tr": END_OF_ROW}
_WITH_END = ("sup", "sub", "a", "abbr", "dfn")
_MAX_DEPTH = 60


def address_after(text: str, address: str, *, relative: bool = False) -> str:
    """What goes behind a link's text: its address in brackets, "" where it says nothing new.

    Args:
        text: The link's text.
        address: Where it leads; a place on the same page says nothing.
        relative: Whether addresses of neighbouring files are worth writing.
    """
    address = address.strip()
    if address.lower().startswith("mailto:"):
        address = address[7:].partition("?")[0]
    elif not _ADDRESS.match(address):
        is_file = relative and address and address[0] not in "#?" and ":" not in address.partition("/")[0]
        if not is_file:
            return ""
    address = _target(address)
    if len(address) > _LONGEST_ADDRESS or not address:
        return ""
    bare = address.partition(":")[2].lstrip("/") if ":" in address else address
    said = squeeze(text).rstrip("/")
    if said in (address.rstrip("/"), bare.rstrip("/")):
        return ""
    return f" ({address})" if said else address


def _target(address: str) -> str:
    """Where an address leads that a program has put into one of its own."""
    if (found := _WRAPPED.match(address)) is None:
        return address
    inner = parse_qs(urlsplit(address).query).get(found[1] or "url", [""])[0]
    return inner if _ADDRESS.match(inner) else address


class Inline:
    """Gathers the text of inline elements as they are entered and left.

    Args:
        losses: Where what is not taken is told.
        note: The text of a note by the address that a reference leads to; "" where there is none.
        most_hidden: Characters of an element that its style hides; a larger one is the page itself, which
            scripts show.
        struck: The classes whose text is struck out.
    """

    def __init__(
        self,
        losses: Losses,
        note: Callable[[str], str] = lambda _: "",
        most_hidden: float = inf,
        struck: frozenset[str] = frozenset(),
    ) -> None:
        self._struck = struck
        self._most_hidden = most_hidden
        self._said: set[tuple[str, str]] = set()
        self._losses = losses
        self._note = note
        self._pieces: list[str] = []
        self._open: list[tuple[Node, list[str]]] = []
        self._links = 0
        self.preformatted = 0

    def _is_struck(self, node: Node) -> bool:
        return bool(self._struck) and not self._struck.isdisjoint(node.get("class").split())

    def text(self, text: str) -> None:
        """Take text as it stands in the page."""
        self._pieces.append(text if self.preformatted else _WHITE_SPACE.sub(" ", text))

    def add(self, text: str) -> None:
        """Add text of ours."""
        self._pieces.append(text)

    def take(self) -> str:
        """What was gathered, which is forgotten."""
        text = "".join(self._pieces)
        self._pieces = []
        return text

    @property
    def is_blank(self) -> bool:
        """Whether nothing but white space was gathered."""
        return not any(map(str.strip, self._pieces))

    def skips(self, node: Node) -> bool:
        """Whether nothing of an element is text; one that says something another way has said it then."""
        tag = node.tag
        if tag in _SILENT:
            return True
        if self._is_hidden(node):
            self._count("hidden part", node)
        elif tag == "noscript":
            self._count(
                "part for browsers without scripts", node, plural="parts for browsers without scripts"
            )
        elif tag in _STRUCK or _LINE_THROUGH.search(node.get("style")) or self._is_struck(node):
            self._count("struck-out text", node)
        elif tag in _EMBEDDED:
            self._losses.count(_EMBEDDED[tag])
        elif tag == "button":
            self._count("button", node)
        elif tag == "svg":
            words = " ".join(one.words() for tag in ("title", "desc", "text") for one in node.outermost(tag))
            self._pieces.append(f" {words} " if words.strip() else "")
        elif tag == "math":
            self._pieces.append(_formula(node))
        elif tag == "img":
            self._picture(node)
        elif tag == "area":
            self._pieces.append(f" {node.get('alt')} ")
        elif tag in ("input", "select", "textarea", "progress", "meter"):
            self._pieces.append(f" {_control(node).strip()} ")
        elif tag == "a" and _is_note_reference(node):
            self._refer(node)
        else:
            return False
        return True

    def _is_hidden(self, node: Node) -> bool:
        if "hidden" in node.attributes and node.get("hidden") != "until-found":
            return True
        if node.tag == "dialog" and "open" not in node.attributes:
            return True
        if node.tag == "template" and "shadowrootmode" not in node.attributes:
            return True
        return node.chars <= self._most_hidden and _NOT_SHOWN.search(node.get("style")) is not None

    def enter(self, node: Node) -> None:
        """Begin an element; what `skips` is never entered."""
        if node.tag == "br":
            self._pieces.append("\n")
        elif node.tag == "rt":
            self._pieces.append(" (")
        elif node.tag in _WITH_END:
            self._links += node.tag == "a"
            self._open.append((node, self._pieces))
            self._pieces = []

    def leave(self, node: Node) -> None:
        """End an element."""
        if node.tag == "rt":
            self._pieces.append(")")
        if node.tag not in _WITH_END or not self._open or self._open[-1][0] is not node:
            return
        inner = "".join(self._pieces)
        _, self._pieces = self._open.pop()
        self._links -= node.tag == "a"
        before = "".join(self._pieces[-3:])
        if node.tag == "a":
            self._pieces += [inner, address_after(inner, node.get("href"))]
        elif node.tag in ("abbr", "dfn"):
            self._pieces += [inner, self._spelled_out(inner, node.get("title"))]
        elif node.tag == "sup":
            link = _first_link(node) if node.links else None
            is_reference = node.links > 0 or self._links > 0 or "reference" in node.get("class")
            note = self._note(link.get("href")) if link is not None else ""
            self._pieces.append(_with_note(raised(before, inner, is_reference=is_reference), note))
        else:
            self._pieces.append(lowered(before, inner))

    def _spelled_out(self, inner: str, title: str) -> str:
        """What an abbreviation stands for, where it is used first."""
        words, said = squeeze(title), squeeze(inner)
        if not words or words.casefold() == said.casefold() or (said, words) in self._said:
            return ""
        self._said.add((said, words))
        return f" ({words})"

    def _refer(self, node: Node) -> None:
        before = "".join(self._pieces[-3:])
        reference = raised(before, node.words(), is_reference=True)
        self._pieces.append(_with_note(reference, self._note(node.get("href"))))

    def _count(self, noun: str, node: Node, plural: str = "") -> None:
        if node.words():
            self._losses.count(noun, plural=plural)

    def _picture(self, node: Node) -> None:
        words = node.get("alt").strip()
        if words:
            self._pieces.append(words)
        elif "alt" not in node.attributes:
            self._losses.count("picture without a description", plural="pictures without a description")


def struck_classes(tree: Node) -> frozenset[str]:
    """The classes that a page's own style sheets say are struck out."""
    sheets = ("".join(one for one in style.children if isinstance(one, str)) for style in tree.all("style"))
    return frozenset(name for sheet in sheets for name in _STRUCK_RULE.findall(sheet))


def flat(node: Node, inline: Inline, blocks: frozenset[str]) -> str:
    """All text of an element on one line, as for a cell of a table."""
    stack: list[tuple[Node | str, bool]] = [(child, False) for child in reversed(node.children)]
    while stack:
        one, leaving = stack.pop()
        if isinstance(one, str):
            inline.text(one)
        elif leaving:
            inline.leave(one)
            if one.tag in blocks:
                inline.add(_INNER_ENDS.get(one.tag, " "))
        elif not inline.skips(one):
            if one.tag in blocks:
                inline.add(" ")
            inline.enter(one)
            stack.append((one, True))
            stack.extend((child, False) for child in reversed(one.children))
    return squeeze(with_inner_rows(inline.take()))


def _first_link(node: Node) -> Node | None:
    """The link right within an element, or within one in it."""
    for one in node.elements():
        if one.tag == "a":
            return one
        for inner in one.elements("a"):
            return inner
    return None


def _is_note_reference(node: Node) -> bool:
    return "noteref" in node.get("epub:type").split() or node.get("role") == "doc-noteref"


def _with_note(reference: str, note: str) -> str:
    return f"{reference[:-1]}: {note}]" if note and reference.endswith("]") else reference


def _control(node: Node) -> str:
    """What a form's control holds, as a reader sees it."""
    if node.tag in ("textarea", "progress", "meter"):
        return node.words()
    if node.tag == "select":
        options = list(node.all("option"))
        chosen = [one for one in options if "selected" in one.attributes]
        return ", ".join(one.words() for one in chosen or options)
    kind = node.get("type").lower()
    if kind in ("checkbox", "radio"):
        return "[x] " if "checked" in node.attributes else "[ ] "
    return "" if kind in ("hidden", "submit", "button", "image", "reset", "password") else node.get("value")


def _formula(node: Node) -> str:
    for note in node.all("annotation"):
        if "tex" in note.get("encoding").lower():
            return f" {note.words()} "
    return f" {_math(node, 0)} "


def _math(node: Node, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return node.words()
    parts = [
        "".join(child.split()) if isinstance(child, str) else _math(child, depth + 1)
        for child in node.children
        if not (isinstance(child, str) and not child.strip())
    ]
    return linear(node.tag, parts)
