"""The right to write to a store, which one process holds at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from clara.errors import StoreError

LOCK_NAME = "lock"


class WriterLock:
    """An advisory lock on a store's folder; the system gives it back when the process ends, however it ends.

    Args:
        folder: The store's folder, which must exist.

    Raises:
        StoreError: Another writer holds the lock, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(
                f"The store {folder} cannot be opened for writing: {error.strerror}; check its permissions."
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError(
                f"The store {folder} is being written by another process; wait until it is done."
            ) from error

    def release(self) -> None:
        """Let others write; calling it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
