"""Models that the package carries."""

from __future__ import annotations

from pathlib import Path

from clara.errors import CheckpointError

PACKAGED = {"extractive": "small", "smollm2": "smollm2"}
"""Names of the models that the package carries, with their folders."""


def packaged_folder(name: str = "extractive") -> Path:
    """The folder of a model that the package carries.

    Args:
        name: One of `PACKAGED`.

    Raises:
        CheckpointError: This installation lacks it.
    """
    folder = Path(__file__).parent / PACKAGED[name]
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"This installation of Clara includes no model {name!r}; pass a model folder or hub id."
        )
    return folder
