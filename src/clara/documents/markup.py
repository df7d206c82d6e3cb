"""reStructuredText and Org files, as text under their headings; most marks stay as they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence

from clara.documents.charsets import decode
from clara.documents.outline import Outline
from clara.documents.reading import Context, Losses, Reading, facts, facts_section
from clara.documents.text import Line, numbered_lines, paragraphs_of, squeeze, unwrap

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1+$")
_RST_SUBSTITUTE = re.compile(r"\.\. \|([^|\n]{1,100})\| +replace:: *(.*)")
_RST_SUBSTITUTED = re.compile(r"\|(\S(?:[^|\n]{0,98}\S)?)\|_{0,2}")
_RST_SIGN = re.compile(r"\.\. \|[^|\n]{1,100}\| +(?:image|unicode|date)::")
_RST_TARGET = re.compile(r"\.\. _(`[^`]*`|[^:]*): *(.*)|__ +(\S.*)")
_RST_COMMENT = re.compile(r"\.\. (?!\[|\S+::|_|\|)|\.\.$")
_ORG_HEADING = re.compile(r"(\*+) (?:(?:TODO|DONE) )?(.*?)(?:\s+:[\w@#%:]+:)?$")
_ORG_TITLE = re.compile(r"#\+title:\s*(.+)", re.IGNORECASE)
_ORG_FACT = re.compile(r"#\+(author|date|description|keywords|subtitle):\s*(.+)", re.IGNORECASE)
_ORG_CAPTION = re.compile(r"#\+caption(?:\[[^\]]*\])?:\s*(.+)", re.IGNORECASE)
_ORG_COMMENT = re.compile(r"\s*#(?: |$)")
_ORG_COMMENT_EDGE = re.compile(r"\s*#\+(begin|end)_comment\b", re.IGNORECASE)
_ORG_PROPERTY = re.compile(r"\s*:[\w-]+:(?: |$)")
_ORG_DRAWER = re.compile(r"\s*:(?:properties|end|logbook):$", re.IGNORECASE)
_ORG_SETTING = re.compile(r"#\+(?!begin|end)", re.IGNORECASE)
_MAX_LEVEL = 6


def read_rst(data: bytes, context: Context) -> Reading:
    """Read reStructuredText: lines that are underlined are headings, comments are left out and counted.

    Substitutions are put in place; addresses stand as "name: address".

    Raises:
        UnreadableError: The bytes are not text.
    """
    lines = _rst_shown(numbered_lines(decode(data, losses=context.losses)), context.losses)
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
        _add_body(outline, body)
        body = []
        if style not in levels:
            levels.append(style)
        outline.heading(min(_MAX_LEVEL, levels.index(style) + 1), text, (line, line))
        at += size
    _add_body(outline, body)
    title = outline.leading_heading
    return Reading(title, outline.sections(title))


def _rst_shown(lines: Sequence[Line], losses: Losses) -> list[Line]:
    """The lines less comments, with what stands for other text replaced by it."""
    shown: list[Line] = []
    texts: dict[str, str] = {}
    is_comment = False
    for number, line in lines:
        if is_comment and (not line or line[0] == " "):
            continue
        is_comment = False
        if (stands := _RST_SUBSTITUTE.match(line)) is not None:
            texts[stands[1].casefold()] = stands[2]
        elif _RST_SIGN.match(line):  # a picture, or a sign that is seldom a word
            is_comment = True
            losses.count("picture or sign", plural="pictures and signs")
        elif (target := _RST_TARGET.match(line)) is not None:
            address = target[2] or target[3]
            if address:
                name = (target[1] or "").strip("`_")
                shown.append((number, f"{name}: {address}" if name else address))
        elif _RST_COMMENT.match(line):
            is_comment = True
            losses.count("comment")
            shown.append((number, ""))
        else:
            shown.append((number, line))
    if not texts:
        return shown

    def put(match: re.Match[str]) -> str:
        return texts.get(match[1].casefold(), match[0])

    return [(number, _RST_SUBSTITUTED.sub(put, line)) for number, line in shown]


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
    """Read an Org file: lines of stars are headings; settings, comments and properties are left out.

    The author, the date and the like are metadata.

    Raises:
        UnreadableError: The bytes are not text.
    """
    outline = Outline()
    title, is_comment = "", False
    stated: dict[str, object] = {}
    body: list[Line] = []
    for number, text in numbered_lines(decode(data, losses=context.losses)):
        heading, named = _ORG_HEADING.match(text), _ORG_TITLE.match(text)
        if (edge := _ORG_COMMENT_EDGE.match(text)) is not None:
            is_comment = edge[1].lower() == "begin"
            context.losses.count("comment", int(is_comment))
        elif is_comment:
            continue
        elif heading is not None:
            _add_body(outline, body)
            body = []
            outline.heading(min(_MAX_LEVEL, len(heading[1])), squeeze(heading[2]), (number, number))
        elif named is not None:
            title = title or squeeze(named[1])
        elif (fact := _ORG_FACT.match(text)) is not None:
            stated.setdefault(fact[1].lower(), fact[2])
        elif (caption := _ORG_CAPTION.match(text)) is not None:
            body.append((number, caption[1]))
        elif _ORG_COMMENT.match(text):
            context.losses.count("comment")
        elif _ORG_PROPERTY.match(text):
            is_edge = _ORG_DRAWER.match(text) is not None
            context.losses.count("property", int(not is_edge), plural="properties")
        elif not _ORG_SETTING.match(text):
            body.append((number, text))
    _add_body(outline, body)
    title = title or outline.leading_heading
    values = facts(stated)
    return Reading(title, (*facts_section(values), *outline.sections(title)), values)


def _add_body(outline: Outline, lines: Sequence[Line]) -> None:
    for paragraph in paragraphs_of(lines):
        outline.block(unwrap(paragraph))
