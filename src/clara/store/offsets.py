"""The offsets of the searched vectors, kept beside the database: a store of millions opens at once.

The file holds nothing that the database does not. The database knows its name, so that none of another state
is taken for it, as when a backup came back. It is good as long as no passage was removed since it was made.
Passages added since have higher ids and are read from the database.
"""

from __future__ import annotations

import secrets
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clara.errors import StoreError
from clara.files import atomic_write
from clara.store.database import SEARCHED

OFFSETS_NAME = "places.npz"


class OffsetsFile:
    """The file in a store's folder.

    Args:
        folder: Of the store.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / OFFSETS_NAME

    def read(self, name: str, removals: int) -> NDArray[np.void]:
        """What was kept, as `SEARCHED`; nothing if there is no file, or it is of another state.

        Args:
            name: As `write` gave it.
            removals: How many of the store's passages have ever been removed or moved.
        """
        nothing = np.empty(0, SEARCHED)
        if not self._path.is_file():  # a pipe would be waited for
            return nothing
        try:
            with np.load(self._path, allow_pickle=False) as kept:
                if (str(kept["name"]), int(kept["removals"])) != (name, removals):
                    return nothing
                offsets: NDArray[np.void] = kept["places"]  # the archive's checksum is verified here
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return nothing
        return offsets if offsets.dtype == SEARCHED else nothing

    def write(self, removals: int, offsets: NDArray[np.void]) -> str:
        """Keep them, and return a name for what was kept.

        Raises:
            StoreError: The folder cannot be written.
        """
        name = secrets.token_hex(8)
        try:
            for leftover in self._path.parent.glob(f"{OFFSETS_NAME}.*.new"):  # of a writer that was killed
                leftover.unlink(missing_ok=True)
            with atomic_write(self._path) as unfinished, unfinished.open("wb") as file:
                np.savez(file, name=name, removals=removals, places=offsets)
        except OSError as error:
            raise StoreError(f"The file {self._path} could not be written: {error.strerror}.") from error
        return name
