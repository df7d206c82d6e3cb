"""Helpers that all output uses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich import filesize
from rich.console import Console
from rich.table import Table

_STEERING = {code: "\ufffd" for code in (*range(9), *range(14, 32), *range(127, 160))}

_UNWRAPPED = 1 << 20
"""Columns of a table where no terminal is: more than any has, so that no line is wrapped or cut."""


def console(*, stderr: bool = False) -> Console:
    """Where text is printed as it is: without markup, and a line in one piece, however long it is.

    Args:
        stderr: Standard error, not standard output.
    """
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_table(shown: Console, table: Table) -> None:
    """Print a table: fitted to a terminal; elsewhere as wide as it is, without blanks behind its lines."""
    if shown.file.isatty():
        shown.print(table, soft_wrap=False)
        return
    with shown.capture() as captured:
        shown.print(table, width=_UNWRAPPED, soft_wrap=False, crop=False)
    for line in captured.get().splitlines():
        print_line(line.rstrip())


def print_json(value: object) -> None:
    """One line of JSON on standard output; what its encoding lacks is escaped."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(value)
    print_line(line)


def print_line(line: str) -> None:
    """A line as it is, tabs and all, on standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with what is counted: "1 passage", "1,083 passages".

    Args:
        count: The number.
        noun: For one.
        plural: For all other numbers; the noun with an s if None.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def one_line(text: str) -> str:
    """Text whose characters can all be seen, as names of files may break lines and steer the terminal."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def short(file: str) -> str:
    """A path relative to the working directory where it lies below it, in one line."""
    path = Path(file)
    try:
        folder = Path.cwd()
    except OSError:  # it was removed
        return one_line(file)
    if path.is_absolute() and path.is_relative_to(folder):
        file = str(path.relative_to(folder))
    return one_line(file)


def visible(text: str) -> str:
    """Text of as many characters, in which those that steer a terminal are shown as �."""
    return text.translate(_STEERING)


def readable(size: int) -> str:
    """A size in the unit that suits it."""
    return filesize.decimal(size)


def place_of(heading: str, page: int | None, lines: tuple[int, int] | None) -> str:
    """Headings, and the page or the lines; "" where nothing is known."""
    parts = [heading] if heading else []
    if page is not None:
        parts.append(f"page {page}")
    elif lines is not None:
        first, last = lines
        parts.append(f"line {first}" if first == last else f"lines {first}-{last}")
    return " · ".join(parts)
