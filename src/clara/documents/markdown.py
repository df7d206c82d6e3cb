"""Markdown files, through markdown-it's tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from clara.documents import html
from clara.documents.charsets import decode
from clara.documents.front_matter import split_front_matter
from clara.documents.grids import table
from clara.documents.inline import address_after
from clara.documents.lines import Lines, Traced, concatenate, join
from clara.documents.outline import Outline, item_prefixes
from clara.documents.raised import lowered, raised
from clara.documents.reading import Context, Losses, Reading, facts_section
from clara.documents.text import numbered_lines, squeeze, tidy, tidy_piece
from clara.records import Section

if TYPE_CHECKING:
    from markdown_it.token import Token

_MAX_NESTING = 100  # text that is nested deeper than this is dropped by the parser; its own limit is 20
_NOTE = re.compile(r"^ {0,3}\[\^([^\]\s]+)\]:[ \t]*(.*(?:\n(?: {2,}|\t).+)*)", re.MULTILINE)
_LONGEST_NOTE = 600
_TAG = re.compile(r"</?([a-zA-Z]+)")


def read_markdown(data: bytes, context: Context) -> Reading:
    """Read CommonMark with tables and footnotes; the title is the front matter's, else a first heading of
    level 1.

    Raises:
        UnreadableError: The bytes are not text.
    """
    return markdown_reading(decode(data, losses=context.losses), context.losses)


def markdown_reading(markup: str, losses: Losses) -> Reading:
    """As `read_markdown`, of characters."""
    lines = numbered_lines(markup)
    whole = "\n".join(line for _, line in lines)
    title, values, text, unread = split_front_matter(whole)
    numbers = [number for number, _ in lines]
    front = numbers[: len(numbers) - text.count("\n") - 1 if text else len(numbers)]
    numbers = numbers[len(front) :]
    around = (front[0], front[-1]) if front else None
    stated = facts_section(values, around)
    if unread:
        stated = (Section(unread, lines=around),)
    outline = Outline()
    environment: dict[str, Any] = {}
    tokens = _parser().parse(text, environment)
    walk = _Walk(outline, numbers, losses, _notes(tokens), text.split("\n"))
    walk.run(tokens)
    walk.add_unused(environment, text)
    title = title or outline.leading_heading
    return Reading(title, (*stated, *outline.sections(title)), values)


@cache
def _parser() -> Any:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.footnote import footnote_plugin

    parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"])
    return parser.use(footnote_plugin)


@dataclass(slots=True)
class _List:
    """An open list: the number of its next item (None for bullets) and the mark still to be written."""

    number: int | None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class _Note:
    """A footnote's text and where it stands; it is read where it is referred to unless it is long."""

    text: str
    lines: tuple[int, int] | None

    @property
    def is_short(self) -> bool:
        return len(self.text) <= _LONGEST_NOTE


class _Walk:
    """Goes through the tokens once; `_lists` is the stack of open lists, whose lines make one block."""

    def __init__(
        self,
        outline: Outline,
        numbers: Sequence[int],
        losses: Losses,
        notes: Mapping[int, _Note],
        source: Sequence[str],
    ) -> None:
        self._source = source  # the lines that the parser saw
        self._row = 0
        self._outline = outline
        self._numbers = numbers  # of each line that the parser saw, the file's line
        self._losses = losses
        self._notes = notes
        self._lists: list[_List] = []
        self._items: list[Traced] = []  # of the open outermost list, its finished items
        self._lines: list[Traced] = []  # of its open item
        self._quotes = 0
        self._quoted: list[Traced] = []
        self._cells: list[Traced] = []
        self._rows: list[list[Traced]] = []
        self._in_table = False
        self._addresses: set[str] = set()

    def run(self, tokens: Sequence[Token]) -> None:
        heading = 0
        skips = False  # within a note that is read where it is referred to
        for token in tokens:
            kind = token.type
            if kind == "footnote_open":
                skips = self._notes[token.meta["id"]].is_short
            elif kind == "footnote_close":
                skips = False
            elif skips:
                continue
            elif kind == "heading_open" and token.level == 0:
                heading = int(token.tag[1])
            elif kind == "inline" and heading:
                self._heading(heading, token)
                heading = 0
            elif kind == "inline" and self._in_table:
                words = squeeze(tidy(_joined(self._words(token))))
                self._cells.append(Traced.of(words, self._lines_of(token)))
            elif kind == "inline":
                self._emit(self._inline(token))
            elif kind in ("fence", "code_block"):
                self._emit(self._code(token), whole=True)
            elif kind == "html_block":
                self._end_block()
                html.add_markup(token.content, self._outline, self._losses, self._lines_of(token))
            else:
                self._structure(token)

    def add_unused(self, environment: Mapping[str, Any], text: str) -> None:
        """Add what the file defines and never refers to: addresses and notes."""
        unused = [
            f"{found['label'] if 'label' in found else name.lower()}: {found['href']}"
            for name, found in environment.get("references", {}).items()
            if found["href"] and found["href"] not in self._addresses
        ]
        known = environment.get("footnotes", {}).get("refs", {})
        for found in _NOTE.finditer(text):
            if known.get(f":{found[1]}") == -1:
                unused.append(f"[{found[1]}] {squeeze(found[2])}")
        for line in unused:
            whole = (self._numbers[0], self._numbers[-1]) if self._numbers else None
            self._outline.block(Traced.of(tidy(line), whole))

    def _heading(self, level: int, token: Token) -> None:
        lines = self._lines_of(token)
        self._outline.heading(level, squeeze(tidy(_joined(self._words(token, addresses=False)))), lines)
        for child in token.children or ():
            if child.type == "link_open" and (address := address_after("", str(child.attrs.get("href", "")))):
                self._outline.block(Traced.of(address, lines))

    def _structure(self, token: Token) -> None:
        match token.type:
            case "bullet_list_open":
                self._lists.append(_List(None))
            case "ordered_list_open":
                self._lists.append(_List(int(token.attrs.get("start", 1))))
            case "list_item_open":
                if len(self._lists) == 1:
                    self._end_item()
                self._begin_item()
            case "bullet_list_close" | "ordered_list_close":
                self._lists.pop()
                if not self._lists:
                    self._end_block()
            case "blockquote_open":
                self._quotes += 1
            case "blockquote_close":
                self._quotes -= 1
                if not self._quotes and self._quoted:
                    self._outline.block(join("\n\n", self._quoted).whole())
                    self._quoted = []
            case "table_open":
                self._in_table = True
            case "tr_open":
                self._row = token.map[0] if token.map is not None else 0
            case "tr_close":
                self._add_extra_cells()
                self._rows.append(self._cells)
                self._cells = []
            case "table_close":
                self._in_table = False
                self._end_table()
                self._rows = []

    def _add_extra_cells(self) -> None:
        """Add the cells of a row that has more than the table has columns, which the parser drops."""
        from markdown_it.rules_block.table import escapedSplit

        if not self._rows:
            return
        line = self._source[self._row].lstrip(" >")  # of a table within a quotation too
        cells = [cell.strip() for cell in escapedSplit(line.rstrip())]
        cells = cells[not cells[0] :]
        if cells and not cells[-1]:
            cells.pop()
        for cell in cells[len(self._rows[0]) :]:
            (token,) = _parser().parseInline(cell, {})
            words = squeeze(tidy(_joined(self._words(token))))
            self._cells.append(Traced.of(words, self._at(self._row)))

    def _end_table(self) -> None:
        if self._lists:
            self._emit([join(" | ", row).stripped() for row in self._rows])
        else:
            self._put(table(self._rows, 1))

    def _end_item(self) -> None:
        if self._lines:
            self._items.append(join("\n", self._lines).whole())
        self._lines = []

    def _end_block(self) -> None:
        self._end_item()
        if self._items:
            self._put(join("\n", self._items))
        self._items = []

    def _put(self, block: Traced) -> None:
        if self._quotes:
            self._quoted.append(block)
        else:
            self._outline.block(block)

    def _begin_item(self) -> None:
        current = self._lists[-1]
        if current.number is None:
            current.mark = "- "
        else:
            current.mark = f"{current.number}. "
            current.number += 1

    def _emit(self, lines: Sequence[Traced], *, whole: bool = False) -> None:
        if not self._lists:
            block = join("\n", lines)
            self._put(block.whole() if whole else block)
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
        words = list(self._words(token))
        breaks = sum(is_break for _, is_break, _ in words)
        # code, tags and descriptions of images may hold line ends of their own, which the parser drops
        is_exact = token.map is not None and breaks == token.content.count("\n")
        row = token.map[0] if token.map is not None else 0
        lines: list[list[Traced]] = [[]]
        for text, is_break, elsewhere in words:
            first, *others = text.split("\n")
            row += is_break
            at = elsewhere or (self._at(row) if is_exact else around)
            lines[-1].append(Traced.of(tidy_piece(first), at))
            lines += ([Traced.of(tidy_piece(other), self._at(row))] for other in others)
        return [concatenate(line).stripped() for line in lines]

    def _words(self, token: Token, *, addresses: bool = True) -> Iterator[tuple[str, bool, Lines | None]]:
        """The text of each part of an inline token, whether it ends a line, and its lines if they are
        others."""
        struck = 0
        open_at: list[tuple[str, str]] = []  # (tag, text within it) of raised and lowered text
        links: list[tuple[str, str]] = []  # (address, text so far)
        before = ""
        for child in token.children or ():
            text, elsewhere = "", None
            is_break = child.type in ("softbreak", "hardbreak")
            match child.type:
                case "s_open":
                    struck += 1
                    self._losses.count("struck-out text")
                case "s_close":
                    struck -= 1
                case "link_open":
                    address = str(child.attrs.get("href", ""))
                    self._addresses.add(address)
                    links.append((address, ""))
                case "link_close" if links:
                    address, said = links.pop()
                    text = address_after(said, address, relative=True) if addresses else ""
                case "footnote_ref":
                    note = self._notes.get(child.meta["id"])
                    label = str(child.meta.get("label", child.meta["id"] + 1))
                    is_read = note is not None and note.is_short
                    text = f" [{label}: {note.text}]" if note is not None and is_read else f" [{label}]"
                    elsewhere = note.lines if note is not None and is_read else None
                case "html_inline":
                    name = _TAG.match(child.content)
                    tag, is_end = (name[1].lower() if name else ""), child.content.startswith("</")
                    if tag in ("del", "s", "strike"):
                        struck += -1 if is_end else 1
                        struck = max(0, struck)
                        self._losses.count("struck-out text", int(not is_end))
                    elif tag in ("sup", "sub") and not is_end:
                        open_at.append((tag, ""))
                    elif tag in ("sup", "sub") and open_at:
                        kind, inner = open_at.pop()
                        text = raised(before, inner) if kind == "sup" else lowered(before, inner)
                    else:
                        text = _word(child)
                case "footnote_anchor":
                    pass
                case _:
                    text = _word(child)
            if struck and not is_break:
                continue
            if open_at and not is_break and text:
                open_at[-1] = (open_at[-1][0], open_at[-1][1] + text)
                continue
            links = [(address, said + text) for address, said in links]
            before = (before + text)[-20:]
            yield text, is_break, elsewhere
        for _, inner in open_at:
            yield inner, False, None

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


def _notes(tokens: Sequence[Token]) -> dict[int, _Note]:
    """The text of each footnote by its number."""
    notes: dict[int, _Note] = {}
    number = None
    for token in tokens:
        if token.type == "footnote_open":
            number = token.meta["id"]
            notes[number] = _Note("", None)
        elif token.type == "footnote_close":
            number = None
        elif number is not None and token.type in ("inline", "fence", "code_block"):
            words = token.content if token.children is None else "".join(map(_word, token.children))
            text = squeeze(tidy(f"{notes[number].text} {words}"))
            notes[number] = _Note(text, notes[number].lines)
    return notes


def _joined(words: Iterator[tuple[str, bool, Lines | None]]) -> str:
    return "".join(text for text, _, _ in words)


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
