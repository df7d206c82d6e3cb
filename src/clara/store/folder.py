"""The folder of a store: the names in it, and whether a new store may be made there."""

from __future__ import annotations

from pathlib import Path

from clara.errors import StoreError
from clara.store.lock import LOCK_NAME
from clara.store.schema import unfinished_files

DATABASE = "store.sqlite3"
SEGMENTS = "segments"


def make_folder(folder: Path) -> None:
    """Make it, if it is not there.

    Raises:
        StoreError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StoreError(
            f"{folder} is a file and not a folder; choose another path for the store."
        ) from error
    except OSError as error:
        raise StoreError(
            f"The folder {folder} cannot be made: {error.strerror}; choose another path."
        ) from error


def check_empty(folder: Path) -> None:
    """Make sure that a new store overwrites nothing but what is left of one whose making was interrupted.

    Raises:
        StoreError: There is something else.
    """
    if (folder / DATABASE).exists():
        raise StoreError(
            f"The folder {folder} already holds a memory store; open it or choose another folder."
        )
    leftovers = {LOCK_NAME, *(path.name for path in unfinished_files(folder / DATABASE))}
    for path in folder.iterdir():
        is_empty_folder = path.name == SEGMENTS and path.is_dir() and not any(path.iterdir())
        if path.name not in leftovers and not is_empty_folder:
            raise StoreError(
                f"The folder {folder} is not empty and is no memory store; choose another folder."
            )
