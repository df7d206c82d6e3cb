"""Which files a list of paths stands for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from clara.documents.charsets import decode
from clara.documents.code import CODE_SUFFIXES
from clara.documents.ignore import Rules
from clara.documents.parts import after_word
from clara.documents.readers import NO_KIND, SUFFIXES
from clara.documents.reading import UnreadableError
from clara.documents.text import printable
from clara.errors import InputError

_SAMPLE = 8192  # bytes that are looked at of a file whose name does not say what it is
_SHOWN_ENDINGS = 5


class FoundFiles(list[Path]):
    """The files to read, and what was met on the way to them.

    Attributes:
        refused: Folders and ignore files that could not be read, each with the reason as a sentence.
        passed_over: Of files in folders that are of no kind to read, how many there are by their ending in
            lower case, "" for those without one; the most frequent first.
        unread: The names of these files.
        ignored: The files of kinds to read, and folders, that ignore files leave out, by the ignore file.
    """

    def __init__(
        self,
        files: Iterable[Path] = (),
        refused: Iterable[tuple[str, str]] = (),
        passed_over: Iterable[Path] = (),
        ignored: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(files)
        self.refused = list(refused)
        unread = list(passed_over)
        self.passed_over = dict(Counter(printable(path.suffix.lower()) for path in unread).most_common())
        self.unread = [printable(str(path)) for path in unread]
        self.ignored = dict(ignored or {})


def find_files(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    ignore: Sequence[str] = (),
    only: Sequence[str] = (),
    *,
    heed: bool = True,
) -> FoundFiles:
    """Find the files to read, in a stable order and each once.

    A file that is named is taken whatever its ending. A folder is searched through all its folders for
    the endings in `SUFFIXES`, and for text without an ending or with a number for one; within it, what the
    files `.gitignore` and `.claraignore` of its folders say is skipped, and so are hidden files and folders
    and what programs write (`ignore.GENERATED`), unless a `.claraignore` takes them back, as `!.notes/` does.
    Empty files of code and without an ending are skipped too. Links are followed, and each folder's files
    come before those of its folders, both by name.

    Args:
        paths: Files and folders, or one of them.
        ignore: Patterns, as in `.gitignore`, of files and folders to skip, also among files that are named;
            they are relative to each folder of `paths`.
        only: Patterns, as in `.gitignore`, of the only files to take.
        heed: Heed the files `.gitignore` and `.claraignore`.

    Returns:
        Absolute paths with symbolic links resolved, in the order of `paths`.

    Raises:
        InputError: A path does not exist or is neither a file nor a folder, a pattern is no pattern, or a
            folder, or everything together, holds no file that can be read.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    # dicts for their order: one file may be reached by several paths
    files: dict[Path, None] = {}
    refused: dict[str, str] = {}
    passed_over: dict[Path, None] = {}
    ignored: dict[str, dict[str, None]] = {}
    is_any = False
    for path in map(Path, paths):
        is_any = True
        rules = Rules(ignore, only, heed=heed)
        if path.is_dir():
            folder = _Folder(path, rules)
            files.update(dict.fromkeys(folder.files))
            refused.update({**folder.closed, **rules.faults})
            passed_over.update(dict.fromkeys(folder.passed_over))
            for file, names in folder.ignored.items():
                ignored.setdefault(file, {}).update(dict.fromkeys(names))
        elif not path.is_file():
            raise InputError(_no_path(path))
        elif not rules.refuses(path.name):
            files[path.resolve()] = None
    if not is_any:
        raise InputError("No path was given; name files, or folders with files.")
    if not files:
        raise InputError("The patterns leave no file to read; change what is ignored or taken alone.")
    return FoundFiles(
        files,
        refused.items(),
        (path for path in passed_over if path not in files),
        {file: list(names) for file, names in ignored.items()},
    )


def _no_path(path: Path) -> str:
    if path.exists():
        return f"{path} is neither a file nor a folder; name a document or a folder of documents."
    return f"{path} does not exist; check the path."


class _Folder:
    """What a folder and all its folders hold.

    Args:
        top: The folder.
        rules: What is left out of it.

    Raises:
        InputError: It holds no file to read.
    """

    def __init__(self, top: Path, rules: Rules) -> None:
        self.files: list[Path] = []
        self.passed_over: list[Path] = []
        self.closed: dict[str, str] = {}
        self.ignored: dict[str, list[str]] = {}
        self._top = top
        self._rules = rules
        self._is_any_ignored = False
        self._walk()
        if not self.files:
            raise InputError(f"The folder {top} holds no file to read: {self._why()}.")

    def _walk(self) -> None:
        """Go through all folders; one reached a second time, as by a looping link, is skipped."""
        seen: set[str] = set()
        for folder, folders, files in os.walk(self._top, followlinks=True, onerror=self._refuse):
            real = os.path.realpath(folder)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            inside = Path(folder).relative_to(self._top)
            self._rules.enter(Path(folder), inside)
            folders[:] = sorted(name for name in folders if self._takes(inside / name, is_folder=True))
            for name in sorted(files):
                if self._takes(inside / name):
                    self._add(Path(folder, name))

    def _takes(self, inside: Path, *, is_folder: bool = False) -> bool:
        by = self._rules.why(inside, is_folder=is_folder)
        if by and (is_folder or inside.suffix.lower() in SUFFIXES):
            self.ignored.setdefault(by, []).append(printable(str(self._top / inside)) + "/" * is_folder)
        self._is_any_ignored |= by is not None
        return by is None

    def _add(self, path: Path) -> None:
        try:
            if path.is_file():
                if _is_document(path):
                    self.files.append(path.resolve())
                elif path.stat().st_size:
                    self.passed_over.append(path.resolve())
        except OSError as error:
            file = printable(str(path))
            self.closed[file] = (
                f"The file {file} cannot be looked at: {error.strerror}; check its permissions."
            )

    def _refuse(self, error: OSError) -> None:
        # one closed folder in a large tree is no reason to read none of it
        folder = printable(str(error.filename))
        self.closed[folder] = (
            f"The folder {folder} cannot be opened: {error.strerror}; check its permissions."
        )

    def _why(self) -> str:
        """Why there is no file to read, to go on from a colon."""
        if self.passed_over:
            kinds = FoundFiles(passed_over=self.passed_over).passed_over
            shown = ", ".join(ending or "no ending" for ending in islice(kinds, _SHOWN_ENDINGS))
            more = f" and {len(kinds) - _SHOWN_ENDINGS} more" if len(kinds) > _SHOWN_ENDINGS else ""
            return f"its files are of other kinds ({shown}{more}); name one to have it read as plain text"
        if self.closed:
            return "it, or a folder in it, cannot be opened; check the permissions"
        if self._is_any_ignored and self._rules.only:
            return (
                f"none that is not ignored matches {' or '.join(self._rules.only)}; correct the patterns of "
                "the only files to take"
            )
        if self._is_any_ignored:
            return "all that is in it is ignored; change what is ignored, or name the files"
        return "it is empty, or all its files are; check the path"


def _is_document(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in CODE_SUFFIXES:
        return path.stat().st_size > 0  # an empty module is code as well
    return suffix in SUFFIXES or (NO_KIND.fullmatch(suffix) is not None and _is_text(path))


def _is_text(path: Path) -> bool:
    """Whether a file begins with text; one that cannot be opened is left to its reader to refuse."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_SAMPLE)
    except OSError:
        return True
    if len(data) == _SAMPLE:
        data = data[: after_word(data)]
    try:
        return bool(decode(data).strip())
    except UnreadableError:
        return False
