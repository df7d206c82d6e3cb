"""The packaged model with a library of example documents, and empty libraries to write to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clara import Clara, Library

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "examples" / "documents" / "technology"
BRIDGE = str(DOCUMENTS / "brooklyn-bridge.md")
QUESTION = "On what day was the Brooklyn Bridge opened?"
ANSWER = "24 May 1883"


@pytest.fixture(scope="session")
def clara() -> Clara:
    """The small model of the package."""
    return Clara.from_pretrained("extractive")


@pytest.fixture(scope="session")
def library(clara: Clara, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Ten articles, which no test changes."""
    with Library(clara, tmp_path_factory.mktemp("library") / "store") as library:
        library.add(DOCUMENTS)
        yield library


@pytest.fixture
def empty(clara: Clara, tmp_path: Path) -> Iterator[Library]:
    """A library without documents."""
    with Library(clara, tmp_path / "store") as library:
        yield library
