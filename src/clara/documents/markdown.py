"""Markdown files, through markdown-it's tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clara.documents import html
from clara.documents.lines import Lines, Traced, concatenate, join
from clara.documents.outline import Outline, Reading, item_prefixes
from clara.documents.text import decode, numbered_lines, squeeze, tidy, tidy_piece

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"---[ ]*\n((?:(?:[\w-]+:|[ #-]).*\n|\n)*?)(?:---|\.\.\.)[ ]*(?:\n|\Z)")
_TITLE = re.compile(r"^title:[ ]*(\S.*)$", re.MULTILINE | re.IGNORECASE)
_LONG_TABLE = 500  # characters; a longer table may be cut, and its rows alone do not say what they are
_MAX_NESTING = 100  # text that is nested deeper than this is dropped by the parser; its own limit is 20


def read_markdown(data: bytes) -> Reading:
    """Read CommonMark with tables; the title is the front matter's, else a first heading of level 1.

    Raises:
        UnreadableError: The bytes are not text.
    """
    from markdown_it import MarkdownIt

    lines = numbered_lines(decode(data))
    title, text = _split_front_matter("\n".join(line for _, line in lines))
    numbers = [number for number, _ in lines]
    numbers = numbers[len(numbers) - text.count("\n") - 1 :] if text else []
    parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"])
    outline = Outline()
    _Walk(outline, numbers).run(parser.parse(text))
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

    def __init__(self, outline: Outline, numbers: Sequence[int]) -> None:
        self._outline = outline
        self._numbers = numbers  # of each line that the parser saw, the file's line
        self._lists: list[_List] = []
        self._lines: list[Traced] = []
        self._cells: list[Traced] = []
        self._rows: list[Traced] = []
        self._in_table = False

    def run(self, tokens: Sequence[Token]) -> None:
        heading = 0
        for token in tokens:
            kind = token.type
            if kind == "heading_open" and token.level == 0:
                heading = int(token.tag[1])
            elif kind == "inline" and heading:
                self._outline.heading(heading, squeeze(_words(token)), self._lines_of(token))
                heading = 0
            elif kind == "inline" and self._in_table:
                self._cells.append(Traced.of(squeeze(_words(token)), self._lines_of(token)))
            elif kind == "inline":
                self._emit(self._inline(token))
            elif kind in ("fence", "code_block"):
                self._emit(self._code(token))
            elif kind == "html_block":
                self._end_block()
                html.add_markup(token.content, self._outline, self._lines_of(token))
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
                self._rows.append(join(" | ", self._cells).stripped())
                self._cells = []
            case "table_close":
                self._in_table = False
                self._end_table()
                self._rows = []

    def _end_table(self) -> None:
        columns, *rows = self._rows
        table = join("\n", rows).stripped()
        if len(table.text) > _LONG_TABLE and columns.text.strip(" |") and not self._lists:
            self._outline.table(columns.text, table)
        else:
            self._emit(self._rows)

    def _end_block(self) -> None:
        self._outline.block(join("\n", self._lines))
        self._lines = []

    def _begin_item(self) -> None:
        current = self._lists[-1]
        if current.number is None:
            current.mark = "- "
        else:
            current.mark = f"{current.number}. "
            current.number += 1

    def _emit(self, lines: Sequence[Traced]) -> None:
        if not self._lists:
            self._outline.block(join("\n", lines))
        elif any(line.text for line in lines):
            prefixes = item_prefixes(len(lines), len(self._lists), self._lists[-1].mark)
            self._lines += (
                line.prefixed(prefix) if line.text else line
                for prefix, line in zip(prefixes, lines, strict=True)
            )
            self._lists[-1].mark = ""

    def _inline(self, token: Token) -> list[Traced]:
        """The lines of a paragraph, each word with its line of the file where that can be told."""
        around = self._lines_of(token)
        children = token.children or []
        breaks = sum(child.type in ("softbreak", "hardbreak") for child in children)
        # code, tags and descriptions of images may hold line ends of their own, which the parser drops
        is_exact = token.map is not None and breaks == token.content.count("\n")
        row = token.map[0] if token.map is not None else 0
        lines: list[list[Traced]] = [[]]
        for child in children:
            first, *others = _word(child).split("\n")
            row += child.type in ("softbreak", "hardbreak")
            lines[-1].append(Traced.of(tidy_piece(first), self._at(row) if is_exact else around))
            lines += ([Traced.of(tidy_piece(other), self._at(row))] for other in others)
        return [concatenate(line).stripped() for line in lines]

    def _code(self, token: Token) -> list[Traced]:
        row = token.map[0] + (token.type == "fence") if token.map is not None else 0
        lines = token.content.rstrip("\n").split("\n")
        return [Traced.of(tidy_piece(line).rstrip(), self._at(at)) for at, line in enumerate(lines, row)]

    def _at(self, row: int) -> Lines | None:
        return (self._numbers[row], self._numbers[row]) if row < len(self._numbers) else None

    def _lines_of(self, token: Token) -> Lines | None:
        """The file's lines that a block was read from."""
        inside = self._numbers[slice(*token.map)] if token.map is not None else ()
        return (inside[0], inside[-1]) if inside else None


def _words(token: Token) -> str:
    """The words of an inline token: marks of emphasis and addresses of links are dropped."""
    return tidy("".join(map(_word, token.children or ())))


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
