"""Models that the package carries."""

from __future__ import annotations

from pathlib import Path

from clara.errors import CheckpointError

PACKAGED = ("smollm2", "extractive")
"""Names of the models that the package carries; the first is the default of commands and of Python."""

DEFAULT = PACKAGED[0]


def packaged_folder(name: str = DEFAULT) -> Path:
    """The folder of a model that the package carries.

    Args:
        name: One of `PACKAGED`.

    Raises:
        CheckpointError: This installation lacks it.
    """
    folder = Path(__file__).parent / name
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"This installation of Clara includes no model {name!r}; pass a model folder or hub id."
        )
    return folder
