"""What to leave out of a folder: patterns in the syntax of `.gitignore`, through pathspec."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from clara.documents.text import printable
from clara.errors import InputError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    _OfFolders = dict[PurePath, GitIgnoreSpec]

GENERATED = (
    ".*",
    "*~",
    "__pycache__/",
    "node_modules/",
    "site-packages/",
    "*.egg-info/",
    "*.min.js",
    "*.min.css",
    "package-lock.json",
)
"""What is skipped unless a `.claraignore` takes it back: hidden names, and what programs write."""


_MAX_CHARS = 1_000_000  # of an ignore file


class Rules:
    """What is left out below one folder, by the patterns of its inner folders as they are entered.

    The arguments have the first say, then the files `.claraignore`, the patterns of `GENERATED`, and the
    files `.gitignore`. Of files of one name an inner folder's comes before an outer's, and in each the last
    pattern that matches decides, as git has it.

    Args:
        ignore: Patterns to leave out.
        only: Patterns of the only files to take; all if empty.
        heed: Heed ignore files.

    Attributes:
        only: As given.
        faults: The ignore files that hold something that is no pattern, each with the reason as a sentence.

    Raises:
        InputError: A pattern is no pattern.
    """

    def __init__(self, ignore: Sequence[str], only: Sequence[str], *, heed: bool = True) -> None:
        self._heed = heed
        self._files: dict[tuple[str, PurePath], str] = {}
        self._ignore = _parsed(tuple(ignore))
        self.only = tuple(only)
        self.faults: dict[str, str] = {}
        self._only = _parsed(self.only) if only else None
        self._own: _OfFolders = {}
        self._of_git: _OfFolders = {}

    def enter(self, folder: Path, inside: PurePath) -> None:
        """Read the ignore files of a folder, which is `inside` the top one."""
        for name, of_folders in ((".claraignore", self._own), (".gitignore", self._of_git)):
            try:
                if not self._heed or not (folder / name).is_file():  # a pipe would never end
                    continue
                with (folder / name).open(encoding="utf-8", errors="replace") as stream:
                    lines = stream.read(_MAX_CHARS).splitlines()
                of_folders[inside] = _parsed(tuple(lines))
                self._files[name, inside] = printable(str(folder / name))
            except OSError:  # as a rule there is none
                pass
            except InputError as error:
                file = printable(str(folder / name))
                self.faults[file] = f"The file {file} was not heeded: {error}"

    def why(self, path: PurePath, *, is_folder: bool = False) -> str | None:
        """The ignore file that leaves out a file or folder, "" where something else does; None if nothing
        does."""
        said, by = self._argued(path, is_folder), ""
        if said is None:
            said, by = self._chained(".claraignore", self._own, path, is_folder)
        if said is None:
            said, by = _says(_parsed(GENERATED), path, is_folder), ""
        if said is None:
            said, by = self._chained(".gitignore", self._of_git, path, is_folder)
        return by if said is True else None

    def _chained(
        self, name: str, of_folders: _OfFolders, path: PurePath, is_folder: bool
    ) -> tuple[bool | None, str]:
        """What the innermost folder says that has something to say, and in which file."""
        for parent in path.parents:
            if parent in of_folders:
                said = _says(of_folders[parent], path.relative_to(parent), is_folder)
                if said is not None:
                    return said, self._files[name, parent]
        return None, ""

    def refuses(self, name: str) -> bool:
        """Whether the arguments leave out a file that is named itself."""
        return self._argued(PurePath(name), False) is True

    def _argued(self, path: PurePath, is_folder: bool) -> bool | None:
        if self._only is not None and not is_folder and not self._only.match_file(path.as_posix()):
            return True
        return _says(self._ignore, path, is_folder)


def _says(spec: GitIgnoreSpec, path: PurePath, is_folder: bool) -> bool | None:
    """Whether patterns ignore a file or folder; None if none of them names it.

    A pattern that names a folder says nothing here of what is in it: an ignored folder is never entered, and
    in one that was taken back other patterns hold.
    """
    name = path.as_posix() + "/" * is_folder
    for pattern in reversed(list(spec.patterns)):
        if pattern.include is None or pattern.regex is None:  # a comment or blank line
            continue
        for match in pattern.regex.finditer(name):
            # the only group with a name in pathspec's expressions is the slash after a folder's name
            if all(match.end(group) in (-1, len(name)) for group in match.re.groupindex):
                return bool(pattern.include)
    return None


@lru_cache(maxsize=256)
def _parsed(patterns: tuple[str, ...]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise InputError(f"{error}; write patterns as in .gitignore.") from error
