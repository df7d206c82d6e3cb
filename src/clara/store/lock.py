"""The right to write to a store, which one process holds at a time."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from clara.errors import StoreError

LOCK_NAME = "lock"


class WriterLock:
    """A lock on a store's folder; the system gives it back when the process ends, however it ends.

    Args:
        folder: The store's folder, which must exist.

    Raises:
        StoreError: Another writer holds the lock, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        # a store may be closed by another thread than the one that opened it
        self._lock = FileLock(folder / LOCK_NAME, timeout=0, mode=0o666, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"The store {folder} is being written by another process; wait until it is done."
            ) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StoreError(
                f"The store {folder} cannot be opened for writing: {reason}; check its permissions."
            ) from error

    def release(self) -> None:
        """Let others write; calling it again does nothing."""
        self._lock.release()
