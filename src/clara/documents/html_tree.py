"""A page as a tree, by the HTML 5 parser of lexbor, with what is asked of each part of it counted once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

HEADINGS = {f"h{level}": level for level in range(1, 7)}
MARK = "list mark"
"""The attribute with what stands before a list's item, which no page can write."""

_VOID = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    ]
)
_XML = re.compile(r"\s*(?:<\?xml|<!DOCTYPE[^>]{0,200}XHTML|<html[^>]{0,500}xmlns)", re.IGNORECASE)
_CLOSED = re.compile(r"<([A-Za-z][\w:.-]*)([^<>]*)/>")
_SPACE = re.compile(r"\s+")
_NOTICE_WORDS = re.compile(r"cookie|consent|privacy|tracking", re.IGNORECASE)
_MAX_TEMPLATES = 3
_TEMPLATE = "<x-template"
_UNSEEN = frozenset({"script", "style", "head", "title", "template", "noscript"})


@dataclass(slots=True, eq=False)
class Node:
    """An element of a page.

    Attributes:
        tag: Its name in lower case.
        attributes: Its attributes; those without a value are "".
        children: Elements and texts in order.
        chars: Characters of text within it, runs of blanks as one.
        link_chars: Those within links.
        links: Links within it.
        has_heading: Whether a heading is within it.
        has_table: Whether a table is within it.
        has_notice: Whether a text within it has words of notices on cookies.
    """

    tag: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)
    chars: int = 0
    link_chars: int = 0
    links: int = 0
    has_heading: bool = False
    has_table: bool = False
    has_notice: bool = False

    def get(self, name: str) -> str:
        """An attribute, "" where there is none."""
        return self.attributes.get(name, "")

    def elements(self, *tags: str) -> Iterator[Node]:
        """The elements of these names right within it."""
        return (one for one in self.children if isinstance(one, Node) and (not tags or one.tag in tags))

    def all(self, *tags: str) -> Iterator[Node]:
        """All elements of these names within it, in order."""
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            if node is not self and node.tag in tags:
                yield node
            stack.extend(reversed([one for one in node.children if isinstance(one, Node)]))

    def outermost(self, tag: str) -> Iterator[Node]:
        """The elements of a name within it that are in no other of that name."""
        stack: list[Node] = [self]
        while stack:
            node = stack.pop()
            if node is not self and node.tag == tag:
                yield node
            else:
                stack.extend(reversed([one for one in node.children if isinstance(one, Node)]))

    def words(self) -> str:
        """All text within it on one line."""
        texts: list[str] = []
        stack: list[Node | str] = [self]
        while stack:
            node = stack.pop()
            if isinstance(node, str):
                texts.append(node)
            elif node.tag == "br":
                texts.append(" ")
            elif node.tag not in ("script", "style"):
                stack.extend(reversed(node.children))
        return " ".join("".join(texts).split())


def parse(markup: str, depth: int = 0) -> Node:
    """The tree of a page, or of a piece of one; broken markup is repaired as browsers do.

    Args:
        markup: The page.
        depth: In how many templates the piece is.
    """
    from selectolax.lexbor import LexborHTMLParser

    if _XML.match(markup):  # to HTML the end mark within a tag means nothing
        markup = _CLOSED.sub(_with_end_tag, markup)
    root = LexborHTMLParser(markup).root
    top = Node("html", {})
    if root is None:
        return top
    stack = [(root.child, top)]
    order: list[tuple[Node, Node]] = []
    while stack:
        current, parent = stack.pop()
        while current is not None:
            tag = current.tag
            if tag == "-text":
                parent.children.append(current.text_content or "")
            elif tag and tag[0] not in "-!":
                attributes = {name: value or "" for name, value in current.attributes.items()}
                node = Node(tag.lower(), attributes)
                parent.children.append(node)
                order.append((node, parent))
                if tag == "template" and depth < _MAX_TEMPLATES:  # the parser keeps its content apart
                    inner = parse(_TEMPLATE + (current.html or "")[len("<template") :], depth + 1)
                    node.children = [one for part in inner.elements("body") for one in part.children]
                if current.child is not None:
                    stack.append((current.next, parent))
                    current, parent = current.child, node
                    continue
            current = current.next
    _count(top, order)
    return top


def counted(top: Node) -> Node:
    """A tree that was made by hand, with all that is counted."""
    order: list[tuple[Node, Node]] = []
    stack = [top]
    while stack:
        parent = stack.pop()
        for node in parent.elements():
            order.append((node, parent))
            stack.append(node)
    _count(top, order)
    return top


def _with_end_tag(match: re.Match[str]) -> str:
    name, rest = match.groups()
    return match[0] if name.lower() in _VOID else f"<{name}{rest}></{name}>"


def _count(top: Node, order: list[tuple[Node, Node]]) -> None:
    """Sum up from the leaves: parents come before their children in `order`."""
    for node, parent in reversed([(top, top), *order]):
        texts = [one for one in node.children if isinstance(one, str)]
        node.chars += sum(len(_SPACE.sub(" ", one).strip()) for one in texts)
        node.has_notice |= any(map(_NOTICE_WORDS.search, texts))
        if node.tag == "a":
            node.link_chars, node.links = node.chars, node.links + 1
        if node.tag in _UNSEEN:
            node.chars = node.link_chars = 0
        if node is top:
            return
        parent.chars += node.chars
        parent.link_chars += node.link_chars
        parent.links += node.links
        parent.has_heading |= node.has_heading or node.tag in HEADINGS
        parent.has_notice |= node.has_notice
        parent.has_table |= node.has_table or node.tag == "table"
