"""What every part prints with."""

from __future__ import annotations

import json
from pathlib import Path

from rich import filesize
from rich.console import Console


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    Console(highlight=False, soft_wrap=True).print(json.dumps(value, ensure_ascii=False), markup=False)


def one_line(text: str) -> str:
    """Text whose characters can all be seen, as names of files may break lines and steer the terminal."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def short(file: str) -> str:
    """A path relative to the working directory where it lies below it, in one line."""
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        file = str(path.relative_to(Path.cwd()))
    return one_line(file)


def readable(size: int) -> str:
    """A size in the unit that suits it."""
    return filesize.decimal(size)
