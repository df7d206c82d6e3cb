"""Which files a list of paths stands for."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from clara.documents.code import CODE_SUFFIXES
from clara.documents.ignore import Rules
from clara.documents.readers import SUFFIXES
from clara.errors import InputError

logger = logging.getLogger(__name__)


def find_files(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    ignore: Sequence[str] = (),
    only: Sequence[str] = (),
) -> list[Path]:
    """Find the files to read, in a stable order and each once.

    A file that is named is taken whatever its ending. A folder is searched through all its folders for
    the endings in `SUFFIXES`; within it, what the files `.gitignore` and `.claraignore` of its folders say
    is skipped, and so are hidden files and folders and what programs write (`ignore.GENERATED`), unless a
    `.claraignore` takes them back, as `!.notes/` does. Empty files of code are skipped too. Links are
    followed, and each folder's files come before those of its folders, both by name.

    Args:
        paths: Files and folders, or one of them.
        ignore: Patterns, as in `.gitignore`, of files and folders to skip, also among files that are named;
            they are relative to each folder of `paths`.
        only: Patterns, as in `.gitignore`, of the only files to take.

    Returns:
        Absolute paths with symbolic links resolved, in the order of `paths`.

    Raises:
        InputError: A path does not exist or is neither a file nor a folder, a pattern is no pattern, or a
            folder, or everything together, holds no file that can be read.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    found: dict[Path, None] = {}  # a dict for its order: one file may be reached by several paths
    is_any = False
    for path in map(Path, paths):
        is_any = True
        found.update(dict.fromkeys(_files_of(path, Rules(ignore, only))))
    if not is_any:
        raise InputError(f"No path was given; name files, or folders with files ending in {_endings()}.")
    if not found:
        raise InputError("The patterns leave no file to read; change what is ignored or taken alone.")
    return list(found)


def _files_of(path: Path, rules: Rules) -> list[Path]:
    if path.is_file():
        return [] if rules.refuses(path.name) else [path.resolve()]
    if path.is_dir():
        files = list(_walk(path, rules))
        if not files:
            raise InputError(
                f"The folder {path} holds no file to read that is not ignored; files ending in {_endings()} "
                "are read."
            )
        return files
    if path.exists():
        raise InputError(f"{path} is neither a file nor a folder; name a document or a folder of documents.")
    raise InputError(f"{path} does not exist; check the path.")


def _walk(top: Path, rules: Rules) -> Iterator[Path]:
    """The readable files below `top`; a folder reached a second time, as by a looping link, is skipped."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(top, followlinks=True, onerror=_skipped):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        inside = Path(folder).relative_to(top)
        rules.enter(Path(folder), inside)
        folders[:] = sorted(name for name in folders if not rules.leaves_out(inside / name, is_folder=True))
        for name in sorted(files):
            path = Path(folder, name)
            if not rules.leaves_out(inside / name) and _is_document(path):
                yield path.resolve()


def _is_document(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        return False
    return suffix not in CODE_SUFFIXES or path.stat().st_size > 0  # an empty module is code as well


def _skipped(error: OSError) -> None:
    # one closed folder in a large tree is no reason to read none of it
    logger.warning("The folder %s was skipped: %s.", error.filename, error.strerror)


def _endings() -> str:
    return ", ".join(SUFFIXES)
