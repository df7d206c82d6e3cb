"""Uploaded files: written to the disk first, then added to a store, so that a killed server loses none.

A file is kept within the store's folder (`files/`), under the name it was uploaded by; its document's source
is that path. What lies there and is not stored when a server starts is added then.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

from clara.errors import ClaraError, InputError
from clara.service.engine import FILES, Engine, UnknownError

logger = logging.getLogger(__name__)

_UNFIT = re.compile(r"[^\w .,()+@=&'-]+")
_LONGEST_NAME = 150
_KEPT = 500
PART = ".part"
"""Ending of an upload that has not come to its end."""


class TooLargeError(InputError):
    """An upload is larger than the server takes."""


@dataclass(slots=True)
class Addition:
    """A file on its way into a store.

    Attributes:
        id: Identifier of the addition.
        store: Name of the store.
        name: What the file is called.
        size: Its bytes.
        state: "waiting", "working", "done" or "failed".
        passages: Passages compressed so far.
        message: Why it failed, or what was done.
        changed: When the state changed, seconds since the epoch.
    """

    id: str
    store: str
    name: str
    size: int
    state: str = "waiting"
    passages: int = 0
    message: str = ""
    changed: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class Uploads:
    """Keeps uploads and adds them to their stores, one after the other, in a thread of its own.

    Args:
        engine: What adds them.
        largest: Bytes of the largest upload.
    """

    def __init__(self, engine: Engine, largest: int) -> None:
        self._engine = engine
        self._largest = largest
        self._additions: OrderedDict[str, Addition] = OrderedDict()
        self._queue: SimpleQueue[Addition | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="clara-uploads", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier server left undone; the engine must be loaded."""
        for store in self._engine.paths:
            known = self._engine.library(store).store.sources()
            for file in sorted(self._folder(store).glob("*")):
                if file.name.endswith(PART):
                    file.unlink(missing_ok=True)  # the client was never told that it is here
                elif str(file) not in known and not any(one.startswith(f"{file}#") for one in known):
                    self._enqueue(store, file)
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Let the file at work end; whether it did in that time. What waits is added at the next start."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(seconds)
        return not self._thread.is_alive()

    async def receive(self, store: str, name: str, chunks: AsyncIterator[bytes]) -> Addition:
        """Keep an upload, and add it in a while. When this returns the file is on the disk.

        Raises:
            InputError: The name is of a kind that is not read.
            TooLargeError: There is more than allowed.
        """
        self._engine.check_store(store)
        file = self._folder(store) / fit_name(name)
        part = file.with_name(f".{uuid4().hex}{PART}")
        file.parent.mkdir(exist_ok=True)
        size = 0
        try:
            with part.open("wb") as target:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._largest:
                        raise TooLargeError(
                            f"The file has more than {self._largest:,} bytes, which is the largest upload."
                        )
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())
            if not size:
                raise InputError(f"The file {fit_name(name)} is empty; choose one that holds text.")
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        return self._enqueue(store, file)

    def retry(self, number: str) -> Addition:
        """Add a file again that could not be added."""
        failed = self.get(number)
        file = self._folder(failed.store) / failed.name
        if failed.state != "failed" or not file.is_file():
            raise InputError(f"{failed.name} did not fail, or its file is gone; upload it again.")
        self._additions.pop(number, None)
        return self._enqueue(failed.store, file)

    def get(self, number: str) -> Addition:
        """An addition by its identifier."""
        if number not in self._additions:
            raise UnknownError(f"There is no addition {number!r}; it may be long done.")
        return self._additions[number]

    def all(self, store: str) -> list[Addition]:
        """The last additions to a store, newest first."""
        return [one for one in reversed(list(self._additions.values())) if one.store == store]

    def forget(self, store: str, source: str) -> None:
        """Delete the file of a removed document if it was uploaded; others are never touched."""
        file = Path(source.partition("#")[0])
        if file.parent == self._folder(store):
            file.unlink(missing_ok=True)
        for one in [one for one in self._additions.values() if (one.store, one.name) == (store, file.name)]:
            self._additions.pop(one.id, None)

    def _folder(self, store: str) -> Path:
        return self._engine.paths[store] / FILES

    def _enqueue(self, store: str, file: Path) -> Addition:
        addition = Addition(uuid4().hex, store, file.name, file.stat().st_size, changed=time.time())
        self._additions[addition.id] = addition
        while len(self._additions) > _KEPT:
            self._additions.popitem(last=False)
        self._queue.put(addition)
        return addition

    def _run(self) -> None:
        while (addition := self._queue.get()) is not None:
            _set(addition, "working")
            try:
                state, message = self._add(addition)
            except ClaraError as error:
                state, message = "failed", str(error)
            except Exception:
                logger.exception("Adding %s failed.", addition.name)
                state, message = "failed", "The file could not be added; the server's log says why."
            _set(addition, state, message)

    def _add(self, addition: Addition) -> tuple[str, str]:
        """Add a file; its state afterwards and what there is to say."""

        def progress(now: Any) -> None:
            addition.passages = now.passages

        file = self._folder(addition.store) / addition.name
        report = self._retried(lambda: self._engine.add(addition.store, [file], progress))
        for _, reason in report.refused:
            return "failed", reason.replace(str(file), file.name)  # clients need not know where it lies
        said = "Unchanged." if report.unchanged else f"{report.passages:,} passages."
        if report.copies:
            said = "It holds the same bytes as a document that is stored already."
        lost = "; ".join(line for lines in report.left_out.values() for line in lines)
        return "done", f"{said} Left out: {lost}." if lost else said

    def _retried(self, action: Callable[[], Any]) -> Any:
        """Do something again for a while if another process is writing the store."""
        for wait in (0.2, 1.0, 3.0):
            try:
                return action()
            except ClaraError as error:
                if "being written" not in str(error):
                    raise
            time.sleep(wait)
        return action()


def fit_name(name: str) -> str:
    """The name under which a file is kept: the client's, less its folders and all that names have no need of.

    Raises:
        InputError: Nothing is left, or files of that ending are not read.
    """
    from clara.documents import SUFFIXES

    base = unicodedata.normalize("NFC", name.replace("\\", "/").rpartition("/")[2])
    fit = _UNFIT.sub("_", base.encode("utf-8", "replace").decode()).strip(". ")
    stem, dot, ending = fit.rpartition(".")
    if not stem or not dot:
        raise InputError(f"The file {fit!r} has no ending, which tells how it is read, such as .txt.")
    if f".{ending.lower()}" not in SUFFIXES:
        raise InputError(f"Files ending in .{ending} are not read; these are: {', '.join(SUFFIXES)}.")
    while len(f"{stem}.{ending}".encode()) > _LONGEST_NAME:
        stem = stem[:-1]
    return f"{stem}.{ending}"


def _set(addition: Addition, state: str, message: str = "") -> None:
    addition.state, addition.message, addition.changed = state, message, time.time()
