"""Servers in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DOCUMENTS = Path(__file__).parents[2] / "examples" / "documents"


@contextmanager
def run_server(store: Path, *arguments: str) -> Iterator[str]:
    """`clara serve` over a store, at a free port; gives its address."""
    command = [sys.executable, "-m", "clara", "serve", "--store", str(store), "--port", "0", "--json"]
    with (store.parent / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_RUNTIME_DIR": str(store.parent)},
        )
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()
    assert process.returncode == 0, (store.parent / "server.log").read_text()
