"""Source code and configuration: sections at the top-level definitions, lines kept as they stand."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from pathlib import PurePath

from clara.documents.charsets import decode
from clara.documents.lines import Traced, join
from clara.documents.reading import Context, Reading
from clara.documents.text import numbered_lines
from clara.records import Section

_TAB = 4  # columns
_MAX_PARSED = 2_000_000  # characters; a syntax tree takes hundreds of times the memory of its text
_LONGEST_HEAD = 300  # characters of a line in which a definition is looked for; packed code has endless lines

_C = re.compile(
    r"(?!(?:return|else|if|for|while|switch|case|using|goto)\b)"
    r"(?:(?:typedef\s+)?(?:class|struct|union|enum(?:\s+class)?|namespace)\s+"
    r"(?:[A-Z][A-Z0-9_]+(?:\([^)]*\))?\s+)*(?P<type>[\w:]+)(?!.*;$)"  # after macros, as in "class API Name"
    r"|[A-Za-z_][\w:<>,*&\s\[\]]*?[\s*&](?P<function>~?[\w:~]+)\s*\([^;]*$)"
)
_JAVA = re.compile(
    r"(?:(?:public|protected|private|internal|abstract|final|sealed|static|open|data|partial|case|implicit)\s+)*"
    r"(?:class|interface|enum|record|struct|object|trait|fun|def|func|namespace|extension|protocol|actor)\s+(?P<name>\w+)"
)
_JAVASCRIPT = re.compile(
    r"(?:export\s+)?(?:default\s+)?(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?"
    r"(?:(?:function\b\s*\*?|class|interface|enum|namespace|type)\s+(?P<name>[\w$]+)"
    r"|(?:const|let|var)\s+(?P<value>[\w$]+)[^=]*=\s*(?:async\s*)?(?:function\b|\([^)]*\)[^=]*=>|\(\s*$|[\w$]+\s*=>))"
)
_GO = re.compile(r"(?:func\s+(?:\([^)]*\)\s*)?(?P<name>\w+)|type\s+(?P<type>\w+))")
_RUST = re.compile(
    r"(?:pub(?:\([^)]*\))?\s+)?(?:(?:default|async|const|unsafe|extern(?:\s+\"[^\"]*\")?)\s+)*"
    r"(?:(?!mod\s+\w+\s*;)(?:fn|struct|enum|trait|mod|union|type)\s+(?P<name>\w+)"
    r"|macro_rules!\s*(?P<macro>\w+)|(?P<impl>impl\b[^{]*?)\s*(?:\{|where|$))"
)
_RUBY = re.compile(r"(?:def|class|module)\s+(?P<name>[\w.:?!]+)")
_SHELL = re.compile(r"(?:function\s+(?P<keyword>[\w:.-]+)|(?P<name>[\w:.-]+)\s*\(\s*\))")
_SQL = re.compile(
    r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:(?:TEMP|TEMPORARY|UNIQUE|MATERIALIZED|RECURSIVE)\s+)*"
    r"(?:TABLE|VIEW|FUNCTION|PROCEDURE|TRIGGER|INDEX|TYPE|SCHEMA)\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>[\w.\"`\[\]]+)",
    re.IGNORECASE,
)
_BLOCK = re.compile(r"\[+\s*(?P<name>[^\]]+?)\s*\]+\s*(?:[#;].*)?$")
_PYTHON = re.compile(r"(?:async\s+)?(?:def|class)\s+(?P<name>\w+)")
_PERL = re.compile(r"(?:sub|package)\s+(?P<name>[\w:]+)")
_LUA = re.compile(r"(?:local\s+)?function\s+(?P<name>[\w.:]+)")
_R = re.compile(r"(?P<name>[\w.]+)\s*(?:<-|=)\s*function\b")
_PHP = re.compile(
    r"(?:(?:abstract|final|readonly)\s+)*(?:function|class|interface|trait|enum)\s+&?(?P<name>\w+)"
)
_JULIA = re.compile(r"(?:function|macro|module|(?:mutable\s+)?struct|abstract\s+type)\s+(?P<name>[\w.!]+)")
_NOTHING = re.compile(r"(?!)")

_DEFINITIONS: dict[str, re.Pattern[str]] = {
    **dict.fromkeys((".py", ".pyi"), _PYTHON),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx"), _JAVASCRIPT),
    **dict.fromkeys((".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp"), _C),
    **dict.fromkeys((".java", ".cs", ".kt", ".scala", ".swift", ".dart"), _JAVA),
    **dict.fromkeys((".sh", ".bash", ".zsh"), _SHELL),
    **dict.fromkeys((".toml", ".ini", ".cfg"), _BLOCK),
    **dict.fromkeys((".pl", ".pm"), _PERL),
    **dict.fromkeys((".yaml", ".yml", ".css", ".scss"), _NOTHING),
    ".go": _GO,
    ".rs": _RUST,
    ".rb": _RUBY,
    ".sql": _SQL,
    ".lua": _LUA,
    ".r": _R,
    ".php": _PHP,
    ".jl": _JULIA,
}

CODE_SUFFIXES = tuple(_DEFINITIONS)
"""The endings, in lower case, that are read as code."""

# what stands right above a definition belongs to it
_COMMENT = re.compile(r"(?:#(?!include|define|if|endif|pragma)|//|/?\*|--|@|;|%)")


def read_code(data: bytes, context: Context, name: str) -> Reading:
    """Read source code; its title is the file's name, and each section's heading that of its definition.

    Python is read with its own parser where it can be; else a definition begins where a line without
    indentation says so. Comments right above a definition belong to it. Of blank lines one is kept, and tabs
    become four columns of spaces.

    Raises:
        UnreadableError: The bytes are not text.
    """
    text = decode(data, losses=context.losses)
    lines = numbered_lines(text.expandtabs(_TAB))
    suffix = PurePath(name).suffix.lower()
    starts = _python_starts(text) if suffix in (".py", ".pyi") else None
    if starts is None:
        starts = _starts(lines, _DEFINITIONS.get(suffix, _NOTHING))
    return Reading(PurePath(name).name, tuple(_sections(lines, starts)))


def _python_starts(text: str) -> dict[int, str] | None:
    """The name of each top-level definition by the line that it begins on, and "" where other code begins.

    None if this is no code of this Python's, or too much of it.
    """
    if len(text) > _MAX_PARSED:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on escapes in strings that are not ours
            body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    starts: dict[int, str] = {}
    was_definition = False
    for node in body:
        is_definition = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            starts[min([node.lineno, *(each.lineno for each in node.decorator_list)])] = node.name
        elif was_definition:
            starts[node.lineno] = ""
        was_definition = is_definition
    return starts


def _starts(lines: list[tuple[int, str]], definition: re.Pattern[str]) -> dict[int, str]:
    starts = {}
    for number, line in lines:
        match = definition.match(line[:_LONGEST_HEAD])
        if match is not None:
            starts[number] = next(filter(None, match.groups()), "").strip('"`[] ')
    return starts


def _sections(lines: list[tuple[int, str]], starts: Mapping[int, str]) -> list[Section]:
    groups: list[tuple[str, list[tuple[int, str]]]] = [("", [])]
    for number, line in lines:
        if number in starts:
            above = _comment_above(groups[-1][1])
            groups.append((starts[number], above))
        groups[-1][1].append((number, line))
    return [
        join("\n", [Traced.of(line, (number, number)) for number, line in group]).section(name)
        for name, group in groups
        if any(line for _, line in group)
    ]


def _comment_above(group: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Take the comment lines at the end of a group out of it."""
    size = 0
    while size < len(group) and _COMMENT.match(group[-1 - size][1]):
        size += 1
    above = group[len(group) - size :]
    del group[len(group) - size :]
    return above
