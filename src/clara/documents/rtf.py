"""Rich text (RTF), through striprtf, after what it passes over was made text it takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby

from clara.documents.grids import heads_by_content, table
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
_NAMES = {"doccomm": "description"}
_NOTES = {"footnote": " [Note: ", "annotation": " [Comment: "}
_EDGES = ("header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf")
_RAISED, _LOWERED, _END = "\ue0f0", "\ue0f1", "\ue0f2"
_MARKED = re.compile(f"([{_RAISED}{_LOWERED}])([^{_RAISED}{_LOWERED}{_END}]*){_END}")


@dataclass(frozen=True, slots=True)
class _State:
    """What holds in a group: text that is struck out or hidden, raised or lowered, and what closes with
    it."""

    is_struck: bool = False
    is_hidden: bool = False
    shift: str = ""
    close: str = ""


def read_rtf(data: bytes, context: Context) -> Reading:
    """Read rich text: paragraphs, tables, notes and comments where they are referred to, headers and footers.

    Raises:
        UnreadableError: It is no rich text.
    """
    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableError(
            "is not rich text, whatever its name says; give it the ending that fits its content"
        )
    markup = data.decode("latin-1")
    context.losses.count("picture", markup.count("\\pict"))
    found = {name: squeeze(_text("{\\rtf1 " + text + "}")) for name, text in _INFO.findall(markup)}
    title = found.pop("title", "")
    values = facts({_NAMES.get(name, name): value for name, value in found.items()})
    text = _text(_prepared(markup, context.losses))
    outline = Outline()
    lines = [_unmarked(line) for line in text.split("\n")]
    for is_row, group in groupby(lines, lambda line: line.count("|") > 1 or line.rstrip().endswith("|")):
        if is_row:
            grid = [
                [Traced(tidy(cell)) for cell in line.rstrip().removesuffix("|").split("|")] for line in group
            ]
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


def _prepared(markup: str, losses: Losses) -> str:
    """Rich text less what is struck out or hidden, with notes, headers and footers as text, and raised text
    marked."""
    out: list[str] = []
    stack = [_State()]
    for match in _TOKEN.finditer(markup):
        token, word, number = match[0], match[1], match[2]
        state = stack[-1]
        if token == "{":
            stack.append(replace(state, close=""))
            out.append(token)
        elif token == "}":
            if len(stack) > 1:
                stack.pop()
            if state.shift and not stack[-1].shift:
                out.append(_END)
            out.append(state.close + token)
        elif word in _NOTES:
            stack[-1] = replace(state, close="]")
            if out and out[-1].endswith("\\*"):
                out.pop()
            out.append(_NOTES[word])
        elif word in _EDGES:
            stack[-1] = replace(state, close="\\par ")
            out.append("\\par ")
        elif word in ("strike", "striked", "v"):
            is_on = number != "0"
            if is_on and not (state.is_struck or state.is_hidden):
                losses.count("hidden text" if word == "v" else "struck-out text")
            stack[-1] = replace(state, is_hidden=is_on) if word == "v" else replace(state, is_struck=is_on)
        elif word in ("super", "sub", "nosupersub"):
            shift = {"super": _RAISED, "sub": _LOWERED}.get(word, "") if number != "0" else ""
            if state.shift and shift != state.shift:
                out.append(_END)
            if shift and shift != state.shift:
                out.append(shift)
            stack[-1] = replace(state, shift=shift)
        elif word == "plain":
            out.append(_END if state.shift else "")
            stack[-1] = replace(state, is_struck=False, is_hidden=False, shift="")
            out.append(token)
        elif (state.is_struck or state.is_hidden) and (word is None or word == "u"):
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
