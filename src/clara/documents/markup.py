"""reStructuredText and Org files, as text under their headings; other marks stay as they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clara.documents.charsets import decode
from clara.documents.outline import Outline
from clara.documents.reading import Context, Reading
from clara.documents.text import Line, numbered_lines, paragraphs_of, squeeze, unwrap

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1+$")
_RST_COMMENT = re.compile(r"\.\. (?!\[|\S+::|_)|\.\. _[^:]*:|\.\.$")
_ORG_HEADING = re.compile(r"(\*+) (?:(?:TODO|DONE) )?(.*?)(?:\s+:[\w@#%:]+:)?$")
_ORG_TITLE = re.compile(r"#\+title:\s*(.+)", re.IGNORECASE)
_ORG_HIDDEN = re.compile(r"#(?: |$|\+(?!begin|end))|:[\w-]+:(?: |$)", re.IGNORECASE)
_MAX_LEVEL = 6


def read_rst(data: bytes, context: Context) -> Reading:
    """Read reStructuredText: lines that are underlined are headings, comments and targets are left out.

    Raises:
        UnreadableError: The bytes are not text.
    """
    lines = numbered_lines(decode(data, losses=context.losses))
    outline = Outline()
    levels: list[tuple[str, bool]] = []  # (mark, whether it is also above) in the order of their first use
    body: list[Line] = []
    at = 0
    while at < len(lines):
        heading = _rst_heading(lines, at)
        if heading is None:
            body.append(lines[at])
            at += 1
            continue
        text, style, size = heading
        line = lines[at + size - 2][0]
        _add_body(outline, [line for line in body if not _RST_COMMENT.match(line[1])])
        body = []
        if style not in levels:
            levels.append(style)
        outline.heading(min(_MAX_LEVEL, levels.index(style) + 1), text, (line, line))
        at += size
    _add_body(outline, [line for line in body if not _RST_COMMENT.match(line[1])])
    title = outline.leading_heading
    return Reading(title, outline.sections(title))


def _rst_heading(lines: Sequence[Line], at: int) -> tuple[str, tuple[str, bool], int] | None:
    """The heading that begins at a line: its text, its style and its number of lines."""
    texts = [text for _, text in lines[at : at + 3]]
    if len(texts) == 3 and _is_mark(texts[0]) and texts[0] == texts[2] and _fits(texts[1].strip(), texts[0]):
        return squeeze(texts[1]), (texts[0][0], True), 3
    is_first = at == 0 or not lines[at - 1][1]
    if is_first and len(texts) > 1 and _is_mark(texts[1]) and _fits(texts[0], texts[1]):
        return squeeze(texts[0]), (texts[1][0], False), 2
    return None


def _is_mark(text: str) -> bool:
    return _ADORNMENT.match(text) is not None


def _fits(text: str, mark: str) -> bool:
    return bool(text) and not text[0].isspace() and not _is_mark(text) and len(mark) >= min(len(text), 4)


def read_org(data: bytes, context: Context) -> Reading:
    """Read an Org file: lines of stars are headings; keywords, comments and properties are left out.

    Raises:
        UnreadableError: The bytes are not text.
    """
    outline = Outline()
    title = ""
    body: list[Line] = []
    for number, text in numbered_lines(decode(data, losses=context.losses)):
        heading, stated = _ORG_HEADING.match(text), _ORG_TITLE.match(text)
        if heading is not None:
            _add_body(outline, body)
            body = []
            outline.heading(min(_MAX_LEVEL, len(heading[1])), squeeze(heading[2]), (number, number))
        elif stated is not None:
            title = title or squeeze(stated[1])
        elif not _ORG_HIDDEN.match(text):
            body.append((number, text))
    _add_body(outline, body)
    title = title or outline.leading_heading
    return Reading(title, outline.sections(title))


def _add_body(outline: Outline, lines: Sequence[Line]) -> None:
    for paragraph in paragraphs_of(lines):
        outline.block(unwrap(paragraph))
