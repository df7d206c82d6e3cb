"""The right to write to a store, which one process holds at a time, and the right to delete its files."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from clara.errors import StoreError

LOCK_NAME = "lock"
READERS_NAME = "readers"


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


class ReaderLock:
    """Keeps a writer from deleting files that someone may be reading; without a file to lock it does nothing.

    Args:
        folder: The store's folder; where it cannot be written, nobody deletes anything either.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / READERS_NAME
        self._lock = threading.Lock()
        self._holders = 0
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            self._descriptor = -1

    @contextmanager
    def held(self) -> Iterator[None]:
        """No file is deleted within the block."""
        with self._lock:
            if self._holders == 0 and self._descriptor >= 0:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0 and self._descriptor >= 0:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def while_nobody_reads(self, action: Callable[[], None]) -> bool:
        """Do something while nobody holds the lock; False if someone does, and nothing is done."""
        if self._descriptor < 0:
            return False
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            action()
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def close(self) -> None:
        """Let go of the file; calling it again does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
