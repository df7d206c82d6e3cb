"""Where the searched vectors lie, kept beside the database: a store of millions opens at once.

The file holds nothing that the database does not. It is good as long as no passage was removed since it was
written; what was added since has higher numbers and is asked of the database.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clara.errors import StoreError
from clara.store.database import SEARCHED

PLACES_NAME = "places.npz"


class PlacesFile:
    """The file in a store's folder.

    Args:
        folder: Of the store.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PLACES_NAME

    def read(self, created: float, removals: int) -> NDArray[np.void]:
        """What was kept, as `SEARCHED`; nothing if there is no file, or it is of another state.

        Args:
            created: When the store was made.
            removals: How many of its passages have ever been removed or moved.
        """
        nothing = np.empty(0, SEARCHED)
        try:
            with np.load(self._path, allow_pickle=False) as kept:
                if (float(kept["created"]), int(kept["removals"])) != (created, removals):
                    return nothing
                places: NDArray[np.void] = kept["places"]  # the archive's checksum is verified here
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return nothing
        return places if places.dtype == SEARCHED else nothing

    def write(self, created: float, removals: int, places: NDArray[np.void]) -> None:
        """Keep them.

        Raises:
            StoreError: The folder cannot be written.
        """
        unfinished = self._path.with_suffix(".new.npz")
        try:
            np.savez(unfinished, created=created, removals=removals, places=places)
            unfinished.replace(self._path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise StoreError(f"The file {self._path} could not be written: {error.strerror}.") from error
