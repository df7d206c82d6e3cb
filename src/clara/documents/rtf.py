"""Rich text (RTF), through striprtf, after what it passes over was made text it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from clara.documents.grids import END_OF_CELL, END_OF_ROW, heads_by_content, table, with_inner_rows
from clara.documents.inline import address_after
from clara.documents.lines import Traced, join
from clara.documents.outline import Outline
from clara.documents.raised import lowered, raised
from clara.documents.reading import Context, Losses, Reading, UnreadableError, facts, facts_section
from clara.documents.text import squeeze, tidy

_TOKEN = re.compile(
    r"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'[0-9a-fA-F]{2}|\\[^a-zA-Z]|[{}]|[^\\{}]+", re.DOTALL
)
_INFO = re.compile(
    r"\{\\(title|author|subject|keywords|doccomm)\b ?((?:[^{}\\]|\\'[0-9a-fA-F]{2}|\\u-?\d+ ?\?)*)\}"
)
_CODE_PAGE = re.compile(r"\\ansicpg(\d{1,5})")
_BINARY = re.compile(r"\\bin(\d{1,10}) ?")
_RAW = re.compile("[\x80-\xff]")
_LEAD = "8[1-9a-f]|[9a-e][0-9a-f]|f[0-9a-e]"
# of code pages with characters of two bytes those that begin one
_LEADS = {"932": "8[1-9a-f]|9[0-9a-f]|e[0-9a-f]|f[0-9a-c]", "936": _LEAD, "949": _LEAD, "950": _LEAD}
_LEFT_OUT = {
    "strike": "struck-out text", "striked": "struck-out text", "v": "hidden text", "deleted": "deleted text"
}  # fmt: skip
_BOXES = ("shptxt", "dptxbxtext", "result")
_ABOVE = "\ue0f7"  # a cell that goes on one above
_NAMES = {"doccomm": "description"}
_PICTURE = re.compile(r"\\pict(?![a-z])")
_BEGIN_NOTE, _END_NOTE = "\ue0f5", "\ue0f6"
_AROUND_NOTE = re.compile(rf"{_BEGIN_NOTE}\s*|\s*{_END_NOTE}")
_NOTES = {"footnote": f" [Note: {_BEGIN_NOTE}", "annotation": f" [Comment: {_BEGIN_NOTE}"}
_LINK = re.compile(r'HYPERLINK\s+"([^"{}]+)"')
_LONGEST_LINK = 2000  # tokens of a link's text that its address is compared with
_CHECK_BOX = re.compile(r"FORMCHECKBOX.*?\\ffres(\d+)(?:.*?\\ffdefres(\d+))?", re.DOTALL)
_EDGES = ("header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf")
_RAISED, _LOWERED, _END = "\ue0f0", "\ue0f1", "\ue0f2"
_MARKED = re.compile(f"([{_RAISED}{_LOWERED}])([^{_RAISED}{_LOWERED}{_END}]*){_END}")


@dataclass(frozen=True, slots=True)
class _State:
    """What holds in a group.

    Attributes:
        left_out: The kinds of text that are left out, such as struck-out text.
        shift: The mark of raised or lowered text.
        close: What is written where it ends.
        is_cell: It is text in a table.
        is_note: It is a note or a comment.
        is_code: It is the code of a field.
        link: The address that a field leads to, and where its text begins.
        is_copy: It is a copy of a shape for old programs.
        around: The text around it, where it is set aside.
    """

    left_out: frozenset[str] = frozenset()
    shift: str = ""
    close: str = ""
    is_cell: bool = False
    is_note: bool = False
    is_code: bool = False
    link: tuple[str, int] | None = None
    is_copy: bool = False
    around: list[str] | None = None


def read_rtf(data: bytes, context: Context) -> Reading:
    """Read rich text: paragraphs, tables, notes and comments where they are referred to, headers and footers.

    Raises:
        UnreadableError: It is no rich text.
    """
    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableError(
            "is not rich text, whatever its name says; give it the ending that fits its content"
        )
    markup = _without_binary(data.decode("latin-1"))
    found_page = _CODE_PAGE.search(markup)
    code_page = found_page[1] if found_page else "1252"
    markup = _escaped(markup, code_page)
    context.losses.count("picture", len(_PICTURE.findall(markup)) - markup.count("\\nonshppict"))
    context.losses.count("embedded object", markup.count("\\objdata"))
    found = {
        name: squeeze(_text(f"{{\\rtf1\\ansicpg{code_page} {text}}}")) for name, text in _INFO.findall(markup)
    }
    title = found.pop("title", "")
    values = facts({_NAMES.get(name, name): value for name, value in found.items()})
    text = _AROUND_NOTE.sub("", _text(_prepared(markup, context.losses)))
    outline = Outline()
    lines = [_unmarked(line) for line in text.split("\n")]
    for is_row, group in groupby(lines, lambda line: line.count("|") > 1 or line.rstrip().endswith("|")):
        if is_row:
            grid = [
                [Traced(tidy(with_inner_rows(cell))) for cell in line.rstrip().removesuffix("|").split("|")]
                for line in group
            ]
            for above, row in pairwise(grid):
                for at, cell in enumerate(row):
                    if cell.text == _ABOVE:
                        row[at] = above[at] if at < len(above) else Traced("")
            width = max(map(len, grid))
            grid = [row + [Traced("")] * (width - len(row)) for row in grid]
            outline.block(table(grid, heads_by_content(grid)))
        else:
            outline.block(join("\n\n", [Traced(one) for line in group if (one := tidy(line))]))
    return Reading(title, (*facts_section(values), *outline.sections(title)), values)


def _text(markup: str) -> str:
    from striprtf import striprtf

    read: Callable[..., str] = striprtf.rtf_to_text
    return read(markup, errors="replace")


def _without_binary(markup: str) -> str:
    """The markup without bytes of pictures, which may look like anything."""
    parts, at = [], 0
    while (match := _BINARY.search(markup, at)) is not None:
        parts.append(markup[at : match.start()])
        at = match.end() + int(match[1])
    return "".join([*parts, markup[at:]])


def _escaped(markup: str, code_page: str) -> str:
    """The markup with all bytes beyond ASCII, and second bytes of characters, written as \\'xx."""
    markup = _RAW.sub(lambda match: f"\\'{ord(match[0]):02x}", markup)
    if (lead := _LEADS.get(code_page)) is None:
        return markup
    pair = re.compile(
        rf"(\\'(?:{lead}))(?:\\([\\{{}}])|([\x40-\x5b\x5d-\x7a|~])|(\\'[0-9a-f]{{2}}))", re.IGNORECASE
    )
    return pair.sub(lambda match: match[1] + (match[4] or f"\\'{ord(match[2] or match[3]):02x}"), markup)


def _prepared(markup: str, losses: Losses) -> str:
    """Rich text less what is struck out, deleted or hidden, with notes, headers, footers and text boxes as
    text, and raised text marked."""
    out: list[str] = []
    boxes: list[str] = []  # that stand in the open paragraph or row
    is_row = False
    merged: list[bool] = []  # of each cell of a row whether it goes on the one above
    goes_on = False
    cells = 0
    stack = [_State()]
    for match in _TOKEN.finditer(markup):
        token, word, number = match[0], match[1], match[2]
        state = stack[-1]
        if token == "{":
            stack.append(replace(state, close="", around=None, link=None))
            out.append(token)
        elif token == "}":
            if len(stack) > 1:
                stack.pop()
            if state.shift and not stack[-1].shift:
                out.append(_END)
            if len(stack) == 1:
                out += boxes
                boxes = []
            if state.link is not None:
                said = _text("{\\rtf1 " + "".join(out[state.link[1] :][:_LONGEST_LINK]) + "}")
                out.append(re.sub(r"[\\{}]", r"\\\g<0>", address_after(said, state.link[0])))
            out.append(state.close + token)
            if state.is_code and state.around is not None:
                code, out = "".join(out), state.around
                out.append(token)
                address, box = _LINK.search(code), _CHECK_BOX.search(code)
                if box is not None:  # 25 is neither
                    out.append("[x]" if (box[2] if box[1] == "25" else box[1]) == "1" else "[ ]")
                if address is not None:
                    stack[-1] = replace(stack[-1], link=(address[1], len(out)))
            elif state.around is not None:
                boxes.append("\\par {" + "".join(out) + "\\par ")
                out = state.around
                out.append(token)
        elif word == "fldinst":
            stack[-1] = replace(state, around=out, is_code=True)
            out = []
        elif word in _BOXES and not state.is_copy:
            is_row = False
            stack[-1] = replace(state, around=out, is_cell=False)
            out = []
        elif word == "shprslt":
            stack[-1] = replace(state, is_copy=True)
            out.append(token)
        elif word in ("trowd", "row"):
            is_row = word == "trowd"
            out.append(token)
            if is_row:
                merged = []
            else:
                out += boxes
                boxes, cells = [], 0
        elif word in ("clvmrg", "cellx"):
            if word == "cellx":
                merged.append(goes_on)
            goes_on = word == "clvmrg"
        elif word == "cell":
            out += [_ABOVE, token] if cells < len(merged) and merged[cells] else [token]
            cells += 1
        elif word in ("pard", "intbl"):
            stack[-1] = replace(state, is_cell=word == "intbl")
            out.append(token)
        elif word in ("par", "line") and (state.is_cell or is_row or state.is_note):
            out.append("\\'20")  # after a control word a plain space would be no text
        elif word == "nestcell":
            out.append(END_OF_CELL)
        elif word == "nesttableprops" and out[-1:] == ["\\*"]:
            out[-2:-2] = [END_OF_ROW]
            out.append(token)
        elif word in ("par", "sect") and boxes and state.around is None and not state.is_copy:
            out += [token, *boxes]
            boxes = []
        elif word in _NOTES:
            stack[-1] = replace(state, close=f"{_END_NOTE}]", is_note=True)
            if out and out[-1].endswith("\\*"):
                out.pop()
            out.append(_NOTES[word])
        elif word in _EDGES:
            stack[-1] = replace(state, close="\\par ")
            out.append("\\par ")
        elif word in _LEFT_OUT:
            kinds = {_LEFT_OUT[word]}
            if number != "0" and not state.left_out:
                losses.count(_LEFT_OUT[word])
            left_out = state.left_out - kinds if number == "0" else state.left_out | kinds
            stack[-1] = replace(state, left_out=left_out)
        elif word in ("super", "sub", "nosupersub"):
            shift = {"super": _RAISED, "sub": _LOWERED}.get(word, "") if number != "0" else ""
            if state.shift and shift != state.shift:
                out.append(_END)
            if shift and shift != state.shift:
                out.append(shift)
            stack[-1] = replace(state, shift=shift)
        elif word == "plain":
            out.append(_END if state.shift else "")
            stack[-1] = replace(state, left_out=frozenset(), shift="")
            out.append(token)
        elif state.left_out and (word is None or word == "u"):
            continue
        else:
            out.append(token)
    return "".join(out)


def _unmarked(line: str) -> str:
    """A line whose raised and lowered text is written in plain characters."""
    line = re.sub(f"{_END}+", _END, line)

    def plain(match: re.Match[str]) -> str:
        before = line[: match.start()][-20:]
        return raised(before, match[2]) if match[1] == _RAISED else lowered(before, match[2])

    return re.sub(f"[{_RAISED}{_LOWERED}{_END}]", "", _MARKED.sub(plain, line))
