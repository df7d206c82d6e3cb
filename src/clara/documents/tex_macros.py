"""What LaTeX's processor does before the text: comments go, and macros that a file defines are expanded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from clara.documents.text import Line

CODE = ("verbatim", "lstlisting", "minted", "Verbatim")
GROUP = r"\{((?:[^{}]++|\{(?:[^{}]++|\{[^{}]*+\})*+\})*+)\}"

_COMMENT = re.compile(r"(?<!\\)%.*")
VERB = re.compile(r"\\(?:verb|lstinline)\*?([^\w\s*{])(.*?)\1")
_BEGIN = re.compile(r"\\begin\{(" + "|".join((*CODE, "comment")) + r")\*?\}")
_CONDITION = re.compile(r"\\(if[a-zA-Z]*|fi)(?![a-zA-Z])")
_COMMAND = re.compile(
    r"\\(?:re|provide)?(?:newcommand|DeclareRobustCommand)\*?\s*\{?\\([A-Za-z]+)\}?\s*"
    rf"(?:\[(\d)\])?(?:\[([^\]]*)\])?\s*{GROUP}"
)
_DEF = re.compile(rf"\\(?:def|gdef)\s*\\([A-Za-z]+)((?:#\d)*)\s*{GROUP}")
_MACRO = re.compile(r"\\([A-Za-z]+)(?![A-Za-z@])")
_NEXT = re.compile(rf"\s*{GROUP}")
_OPTIONAL = re.compile(r"\[([^\]]*)\]")
_MOST_EXPANDED = 1000
"""Macros that are expanded in a line; one that names itself would go on for ever."""
_LONGEST_LINE = 20_000


@dataclass(frozen=True, slots=True)
class _Definition:
    """A macro: its text with #1 to #9, the number of its arguments, and a default of the first."""

    text: str
    count: int = 0
    default: str | None = None


def prepared(lines: Sequence[Line]) -> list[Line]:
    """The lines without comments and definitions, with the file's own macros expanded.

    Code environments stay as they are. The number of lines does not change.
    """
    clean = _without_comments(lines)
    is_code = _code_lines(clean)
    running = "\n".join("" if code else line for (_, line), code in zip(clean, is_code, strict=True))
    macros = _definitions(running)
    if not macros:
        return clean
    undefined = iter(_without_definitions(running).split("\n"))
    prepared_lines = []
    for (number, line), code in zip(clean, is_code, strict=True):
        rest = next(undefined)
        prepared_lines.append((number, line if code else _expanded(rest, macros)))
    return prepared_lines


def _without_comments(lines: Sequence[Line]) -> list[Line]:
    kept: list[Line] = []
    inside, depth = "", 0  # the environment, and open conditions of \iffalse
    for number, line in lines:
        if inside:
            is_end = f"\\end{{{inside}" in line
            kept.append((number, "" if inside == "comment" else line))
            inside = "" if is_end else inside
            continue
        spared = VERB.sub(lambda match: match[0].replace("%", "\x02"), line)
        line = _COMMENT.sub("", spared).replace("\x02", "%")
        if depth or "\\iffalse" in line:
            line, depth = _outside_false(line, depth)
        begin = _BEGIN.search(line)
        if begin is not None and f"\\end{{{begin[1]}" not in line[begin.end() :]:
            inside = begin[1]
        if begin is not None and begin[1] == "comment":
            line = line[: begin.start()]
        kept.append((number, line))
    return kept


def _outside_false(line: str, depth: int) -> tuple[str, int]:
    """The parts of a line outside \\iffalse ... \\fi, and how many conditions are open at its end."""
    parts, at = [], 0
    for match in _CONDITION.finditer(line):
        if not depth and match[1] == "iffalse":
            parts.append(line[at : match.start()])
            depth = 1
        elif depth:
            depth += -1 if match[1] == "fi" else 1
            at = match.end()
    return "".join([*parts, "" if depth else line[at:]]), depth


def _code_lines(lines: Sequence[Line]) -> list[bool]:
    flags, inside = [], ""
    for _, line in lines:
        begin = _BEGIN.search(line)
        flags.append(bool(inside or begin))
        if not inside and begin is not None:
            inside = begin[1]
        if inside and f"\\end{{{inside}" in line:
            inside = ""
    return flags


def _definitions(text: str) -> dict[str, _Definition]:
    def shown(definition: str, count: int) -> str:
        """A macro's text; of one that only a class or a package could write, what it is given."""
        return " ".join(f"#{at}" for at in range(1, count + 1)) if "@" in definition else definition

    found = {
        match[1]: _Definition(shown(match[4], int(match[2] or 0)), int(match[2] or 0), match[3])
        for match in _COMMAND.finditer(text)
    }
    return found | {
        match[1]: _Definition(shown(match[3], match[2].count("#")), match[2].count("#"))
        for match in _DEF.finditer(text)
    }


def _without_definitions(text: str) -> str:
    def breaks(match: re.Match[str]) -> str:
        return "\n" * match[0].count("\n")

    return _DEF.sub(breaks, _COMMAND.sub(breaks, text))


def _expanded(line: str, macros: dict[str, _Definition]) -> str:
    """A line with its macros in place; those whose arguments go on in the next line stay as they are."""
    at = 0
    for _ in range(_MOST_EXPANDED):
        match = _MACRO.search(line, at)
        if match is None or len(line) > _LONGEST_LINE:
            break
        definition = macros.get(match[1])
        found = None if definition is None else _arguments(line, match.end(), definition)
        if definition is None or found is None:
            at = match.end()
            continue
        arguments, stop = found
        text = definition.text
        for number, argument in arguments.items():
            text = text.replace(f"#{number}", argument)
        if not definition.count:
            rest = line[stop:].removeprefix("{}")
            line = line[: match.start()] + text + (rest if rest != line[stop:] else rest.lstrip(" "))
        else:
            line = line[: match.start()] + text + line[stop:]
        at = match.start()
    return line


def _arguments(line: str, at: int, definition: _Definition) -> tuple[dict[str, str], int] | None:
    """The arguments of a macro by their numbers, and where they end; None if they are not in the line."""
    arguments: dict[str, str] = {}
    if definition.default is not None:
        given = _OPTIONAL.match(line, at)
        arguments["1"] = definition.default if given is None else given[1]
        at = at if given is None else given.end()
    while len(arguments) < definition.count:
        found = _NEXT.match(line, at)
        if found is None:
            return None
        arguments[str(len(arguments) + 1)] = found[1]
        at = found.end()
    return arguments, at
