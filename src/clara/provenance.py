"""Where a run's numbers come from: versions, commit, data, machine; and files written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from clara import __version__
from clara.files import atomic_write


def provenance(packages: Iterable[str]) -> dict[str, Any]:
    """Time, versions, commit and machine, for the record of a run.

    Args:
        packages: Whose versions to note.
    """
    import torch

    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "clara": __version__,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "commit": commit(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def version(package: str) -> str | None:
    """Version of an installed package, None if it is not installed."""
    try:
        return installed(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the repository that the command was started in, if there is one."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return None
    return found.stdout.strip() or None


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that at every moment it is the old one or the new one."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """`write_whole` of a JSON object."""
    write_whole(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
