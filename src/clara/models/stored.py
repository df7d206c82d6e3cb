"""The packaged model that a store was written by.

With the standard library alone: a command that asks a running server loads nothing else.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from clara.models import PACKAGED

DATABASE = "store.sqlite3"
"""The file of a store that names its model."""


def model_of(store: Path, model: str | None) -> str | None:
    """The model to load: the one that is named, else the packaged one that wrote the store, else None.

    Args:
        store: Folder of the store, which need not exist.
        model: As for `clara.Clara.from_pretrained`.
    """
    if model is not None:
        return model
    recorded = _recorded_model(store / DATABASE)
    if recorded == "small":  # the extractive reader's name in stores of format 2
        return "extractive"
    return recorded if recorded in PACKAGED else None


def _recorded_model(path: Path) -> str | None:
    """The name of the model that wrote a store, from its database; None if there is none that can be read."""
    if not path.is_file():
        return None
    address = f"{path.absolute().as_uri()}?mode=ro"
    with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as connection:
        row = connection.execute("SELECT value FROM meta WHERE key = 'model'").fetchone()
        return None if row is None else str(row[0])
    return None
