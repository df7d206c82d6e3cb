"""Files that are replaced as a whole, and the store on platforms that lack POSIX calls."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from clara.files import atomic_write, open_for_reading, read_at


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path, sync=True) as new:
        new.write_text("one")
    with suppress(RuntimeError), atomic_write(path) as new:
        new.write_text("two")
        raise RuntimeError
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("has_pread", [True, False])
def test_reading_at_an_offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_pread: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    if not has_pread:
        monkeypatch.delattr(os, "pread")
    descriptor = open_for_reading(path)
    try:
        assert read_at(descriptor, 3, 5) == b"567"
        assert read_at(descriptor, 5, 8) == b"89"
        assert read_at(descriptor, 2, 0) == b"01"
    finally:
        os.close(descriptor)


# what Windows does not have; `os.open` of a folder is refused there
WITHOUT_POSIX = """
import os, sys, warnings
for module in ("fcntl", "pwd", "grp", "resource", "termios", "tty", "syslog"):
    sys.modules[module] = None
for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "pread", "pwrite", "fork", "getuid",
             "geteuid", "getgid", "mkfifo", "posix_fallocate", "posix_fadvise", "sched_getaffinity"):
    if hasattr(os, name):
        delattr(os, name)
real = os.open
def refusing(path, flags, *rest, **named):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return real(path, flags, *rest, **named)
os.open = refusing
warnings.simplefilter("ignore")  # filelock says that it has no lock of the system here

import numpy as np
import clara, clara.cli
from clara.records import Document, Passage
from clara.store import MemoryStore, NewDocument, search
from clara.store.maintenance import check, compact

vector = np.ones((1, 4), np.float16)
def document(name):
    return NewDocument(Document(name, name, (), name), [Passage("The pump is blue.", name)], [vector], vector)

with MemoryStore.create(sys.argv[1], fingerprint="f", model="m", memory_dim=4, embedding_dim=4) as store:
    store.add([document("a"), document("b")])
    store.remove(["a"])
    compact(store)
    assert check(store).faults == []
with MemoryStore.open(sys.argv[1], read_only=True) as store:
    print([hit.stored.source for hit in search(store, vector[0], 1, question="Is the pump blue?")])
"""


def test_the_store_works_without_posix_calls(tmp_path: Path) -> None:
    program = [sys.executable, "-c", WITHOUT_POSIX, str(tmp_path / "store")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['b']\n"
