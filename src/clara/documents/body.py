"""A document's body as a tree of HTML, made by the readers of office formats from what they find in order."""

from __future__ import annotations

from collections.abc import Sequence

from clara.documents.html_tree import MARK, Node, counted

Parts = Sequence[Node | str]


def element(tag: str, parts: Parts = (), **attributes: str) -> Node:
    """An element with its parts."""
    return Node(tag, attributes, list(parts))


class Body:
    """Collects headings, paragraphs, items and tables; items of one list may follow each other on many
    levels."""

    def __init__(self) -> None:
        self.top = element("body")
        self._lists: list[Node] = []

    def heading(self, level: int, parts: Parts) -> None:
        """A heading of level 1 (outermost) to 6."""
        self._add(element(f"h{min(max(level, 1), 6)}", parts))

    def paragraph(self, parts: Parts, tag: str = "p") -> None:
        """A paragraph, or a block of another kind."""
        before = self.top.children[-1] if self.top.children else None
        if tag == "pre" and isinstance(before, Node) and before.tag == "pre" and not self._lists:
            before.children += [element("br"), *parts]  # each line of code is a paragraph
        elif any(not isinstance(part, str) or part.strip() for part in parts):
            self._add(element(tag, parts))

    def item(self, level: int, mark: str, parts: Parts) -> None:
        """An item of a list, on level 0 or deeper, behind its mark."""
        while len(self._lists) > level + 1:
            self._lists.pop()
        while len(self._lists) < level + 1:
            inner = element("ul")
            if self._lists:
                self._lists[-1].children.append(inner)
            else:
                self.top.children.append(inner)
            self._lists.append(inner)
        self._lists[-1].children.append(Node("li", {MARK: mark}, list(parts)))

    def block(self, node: Node) -> None:
        """A table, or whatever else stands alone."""
        self._add(node)

    def tree(self) -> Node:
        """The whole body."""
        return counted(self.top)

    def _add(self, node: Node) -> None:
        self._lists = []
        self.top.children.append(node)
