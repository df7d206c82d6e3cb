"""Markdown files, through markdown-it's tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clara.documents import html
from clara.documents.outline import Outline, Reading, item_lines
from clara.documents.text import decode, squeeze, tidy

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"---[ ]*\n((?:(?:[\w-]+:|[ #-]).*\n|\n)*?)(?:---|\.\.\.)[ ]*(?:\n|\Z)")
_TITLE = re.compile(r"^title:[ ]*(\S.*)$", re.MULTILINE | re.IGNORECASE)
_MAX_NESTING = 100  # text that is nested deeper than this is dropped by the parser; its own limit is 20


def read_markdown(data: bytes) -> Reading:
    """Read CommonMark with tables; the title is the front matter's, else a first heading of level 1.

    Raises:
        UnreadableError: The bytes are not text.
    """
    from markdown_it import MarkdownIt

    title, text = _split_front_matter(tidy(decode(data)))
    parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"])
    outline = Outline()
    _Walk(outline).run(parser.parse(text))
    title = title or outline.leading_heading
    return Reading(title, outline.sections(title))


def _split_front_matter(text: str) -> tuple[str, str]:
    """The title in the YAML lines that a file may begin with, or "", and the text after them."""
    matter = _FRONT_MATTER.match(text)
    if matter is None:
        return "", text
    line = _TITLE.search(matter[1])
    title = line[1].strip() if line else ""
    if title[0:1] in ("'", '"') and title.endswith(title[0]):
        title = title[1:-1]
    # what other values YAML knows (">", "|", "[", "{", "&", "*", "!") are no plain title
    return ("" if title[0:1] in tuple(">|[{&*!") else squeeze(title)), text[matter.end() :]


@dataclass(slots=True)
class _List:
    """An open list: the number of its next item (None for bullets) and the mark still to be written."""

    number: int | None
    mark: str = ""


class _Walk:
    """Goes through the tokens once; `_lists` is the stack of open lists, whose lines make one block."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._lists: list[_List] = []
        self._lines: list[str] = []
        self._cells: list[str] = []
        self._rows: list[str] = []
        self._in_table = False

    def run(self, tokens: Sequence[Token]) -> None:
        heading = 0
        for token in tokens:
            kind = token.type
            if kind == "heading_open" and token.level == 0:
                heading = int(token.tag[1])
            elif kind == "inline" and heading:
                self._outline.heading(heading, squeeze(_inline(token)))
                heading = 0
            elif kind == "inline" and self._in_table:
                self._cells.append(squeeze(_inline(token)))
            elif kind == "inline":
                self._emit(_inline(token))
            elif kind in ("fence", "code_block"):
                self._emit(token.content.rstrip("\n"))
            elif kind == "html_block":
                self._end_block()
                html.add_markup(token.content, self._outline)
            else:
                self._structure(token)

    def _structure(self, token: Token) -> None:
        match token.type:
            case "bullet_list_open":
                self._lists.append(_List(None))
            case "ordered_list_open":
                self._lists.append(_List(int(token.attrs.get("start", 1))))
            case "list_item_open":
                self._begin_item()
            case "bullet_list_close" | "ordered_list_close":
                self._lists.pop()
                if not self._lists:
                    self._end_block()
            case "table_open":
                self._in_table = True
            case "tr_close":
                self._rows.append(" | ".join(self._cells))
                self._cells = []
            case "table_close":
                self._in_table = False
                self._emit("\n".join(self._rows))
                self._rows = []

    def _end_block(self) -> None:
        self._outline.block("\n".join(self._lines))
        self._lines = []

    def _begin_item(self) -> None:
        current = self._lists[-1]
        if current.number is None:
            current.mark = "- "
        else:
            current.mark = f"{current.number}. "
            current.number += 1

    def _emit(self, text: str) -> None:
        if not self._lists:
            self._outline.block(text)
        elif text:
            self._lines += item_lines(text, len(self._lists), self._lists[-1].mark)
            self._lists[-1].mark = ""


def _inline(token: Token) -> str:
    """The words of an inline token: marks of emphasis and addresses of links are dropped."""
    words = "".join(map(_word, token.children or ()))
    return "\n".join(map(str.strip, words.strip().split("\n")))


def _word(token: Token) -> str:
    match token.type:
        case "softbreak":
            return " "
        case "hardbreak":
            return "\n"
        case "html_inline":
            return "\n" if token.content.lower().startswith("<br") else ""
        case _:
            return token.content
