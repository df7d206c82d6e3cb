"""Servers in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

DOCUMENTS = Path(__file__).parents[2] / "examples" / "documents"


@contextmanager
def group(
    folder: Path, *arguments: str, err: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """`clara` with arguments, in a group of processes that is killed at the end, whatever happens before.

    Args:
        folder: Where servers leave their notes.
        arguments: Of the command.
        err: Where its standard error goes to.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "clara", *arguments],
        stdout=subprocess.PIPE,
        stderr=err,
        env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_RUNTIME_DIR": str(folder)},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@contextmanager
def run_server(store: Path, *arguments: str) -> Iterator[str]:
    """`clara serve` over a store, at a free port; gives its address."""
    command = ["serve", "--store", str(store), "--port", "0", "--json", *arguments]
    log = store.parent / "server.log"
    with log.open("wb") as target, group(store.parent, *command, err=target) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.terminate()
        assert process.wait(30) == 0, log.read_text()


def sent(url: str, path: str, body: dict[str, Any]) -> socket.socket:
    """A request whose answer is not read."""
    parts = urlsplit(url)
    opened = socket.create_connection((parts.hostname, parts.port))
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    head += "Accept: application/json\r\n"
    opened.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    return opened


def wait_for(what: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: It is not in that time.
    """
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)
