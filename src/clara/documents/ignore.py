"""What to leave out of a folder: patterns in the syntax of `.gitignore`, through pathspec."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from clara.errors import InputError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

logger = logging.getLogger(__name__)

IGNORE_FILES = (".gitignore", ".claraignore")
"""The files of patterns that a folder may hold; the later has the last word."""

GENERATED = (
    ".*",
    "__pycache__/",
    "node_modules/",
    "site-packages/",
    "*.egg-info/",
    "*.min.js",
    "*.min.css",
    "package-lock.json",
)
"""Patterns that are skipped unless an ignore file takes them back: hidden names, and what programs write."""


class Rules:
    """The patterns that hold below one folder, those of its inner folders as they are entered.

    Of the patterns that match a name the last decides, those of inner folders after those of outer ones, as
    git has it; the patterns that were given as arguments come after all.

    Args:
        ignore: Patterns to leave out.
        only: Patterns of the only files to take; all if empty.

    Raises:
        InputError: A pattern is no pattern.
    """

    def __init__(self, ignore: Sequence[str], only: Sequence[str]) -> None:
        self._ignore = _parsed(tuple(ignore))
        self._only = _parsed(tuple(only)) if only else None
        self._of_folders: dict[PurePath, GitIgnoreSpec] = {}

    def enter(self, folder: Path, inside: PurePath) -> None:
        """Read the ignore files of a folder, which is `inside` the top one."""
        usual = GENERATED if inside == PurePath() else ()
        lines = [line for name in IGNORE_FILES for line in _lines(folder / name)]
        try:
            spec = _parsed((*usual, *lines))
        except InputError as error:
            logger.warning("The ignore files of %s were not heeded: %s", folder, error)
            spec = _parsed(usual)
        self._of_folders[inside] = spec

    def leaves_out(self, path: str | PurePath, *, is_folder: bool = False) -> bool:
        """Whether a file or folder is left out, by its path below the top folder."""
        path = PurePath(path)
        end = "/" if is_folder else ""
        if self._only is not None and not is_folder and not self._only.match_file(path.as_posix()):
            return True
        if (said := self._ignore.check_file(path.as_posix() + end).include) is not None:
            return said
        for parent in path.parents:
            spec = self._of_folders.get(parent)
            if spec is not None:
                said = spec.check_file(path.relative_to(parent).as_posix() + end).include
                if said is not None:
                    return said
        return False


@lru_cache(maxsize=256)
def _parsed(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise InputError(f"{error}; write patterns as in .gitignore.") from error


def _lines(file: Path) -> Iterable[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # as a rule there is none
        return ()
