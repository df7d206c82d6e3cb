"""Servers that run on this machine: each leaves a note in a folder of its user, by which commands find it.

Nothing here imports the model or the web framework, so that a command that only asks starts at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from clara.errors import ClaraError
from clara.models.stored import DATABASE

_POLL = 0.05


class ServerError(ClaraError):
    """A server does not start, or does not end."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a server tells of itself.

    Attributes:
        pid: Its process.
        url: Where it answers.
        key: What opens it to commands of the same user.
        stores: The state of every store's file (device and inode) when it was opened, by the folder.
        names: The name of every store, by the folder.
        model: Of `model_mark`.
        log: File that it writes its log to; None if that is a terminal's.
        since: When it began, seconds since the epoch.
    """

    pid: int
    url: str
    key: str
    stores: dict[str, tuple[int, int]]
    names: dict[str, str]
    model: str
    log: str | None
    since: float


def model_mark(model: str | None, subfolder: str | None = None, base: str | None = None) -> str:
    """Tells whether two commands mean the same model, without loading it.

    Args:
        model: Folder or hub id, or None for the packaged one.
        subfolder: Folder within it.
        base: The base model, where it is named.
    """
    folder = Path(__file__).parents[1] / "models" if model is None else Path(model)
    parts: list[str] = [str(subfolder), str(base)]
    if folder.is_dir():
        folder = folder.resolve()
        parts.append(str(folder))
        for file in sorted(folder.rglob("*")):
            with suppress(OSError):
                state = file.stat()
                parts.append(f"{file}:{state.st_size}:{state.st_mtime_ns}")
    else:
        parts.append(str(model))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def store_mark(store: Path) -> tuple[int, int] | None:
    """Tells whether a store is still the one that was opened; None where there is none."""
    try:
        state = (store / DATABASE).stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def folder() -> Path:
    """Where servers of this user leave their notes; nobody else can look into it.

    Raises:
        ServerError: The folder is someone else's.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    name = Path(base) / "clara" if base else Path(tempfile.gettempdir()) / f"clara-{os.getuid()}"
    try:
        name.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = name.stat()
    except OSError as error:
        raise ServerError(
            f"The folder {name} for running servers cannot be made: {error.strerror}."
        ) from error
    if state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise ServerError(f"The folder {name} for running servers can be read by others; remove it.")
    return name


@contextmanager
def noted(note: Note) -> Iterator[None]:
    """Leave a note for as long as the block lasts."""
    file = folder() / f"{note.pid}.json"
    new = file.with_suffix(".new")
    new.write_text(json.dumps(asdict(note)), encoding="utf-8")
    new.chmod(0o600)
    new.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def notes() -> list[Note]:
    """Of all servers that run, the oldest first; notes of those that died are removed."""
    found = []
    try:
        files = sorted(folder().glob("*.json"))
    except ServerError:
        return []
    for file in files:
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            values["stores"] = {path: tuple(mark) for path, mark in values["stores"].items()}
            note = Note(**values)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        if is_alive(note.pid):
            found.append(note)
        else:
            file.unlink(missing_ok=True)
    return sorted(found, key=lambda note: note.since)


def serving(store: Path, model: str | None = None) -> Note | None:
    """A running server of a store.

    Args:
        store: The store's folder.
        model: Of `model_mark`; None for any model.
    """
    path = str(store.resolve())
    for note in notes():
        is_same = path in note.stores and note.stores[path] == store_mark(store)
        if is_same and model in (None, note.model):
            return note
    return None


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def stop(note: Note, seconds: float) -> None:
    """End a server and wait until it is gone.

    Raises:
        ServerError: It is still there after that time.
    """
    with suppress(ProcessLookupError):
        os.kill(note.pid, signal.SIGTERM)
    end = time.monotonic() + seconds
    while (folder() / f"{note.pid}.json").exists() and is_alive(note.pid):
        if time.monotonic() > end:
            raise ServerError(f"The server {note.url} (process {note.pid}) does not stop; end it with kill.")
        time.sleep(_POLL)
