"""Stores that earlier versions of Clara wrote, and stores that this version must refuse.

`fixtures/format-2.zip` is a store that Clara 0.1.0 wrote: two documents with three passages, int8 memories of
size 8 and embeddings of size 4, a copy of one file, and a document that was removed.
"""

from __future__ import annotations

import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clara.errors import StoreError
from clara.store import Filter, MemoryStore, search

FIXTURES = Path(__file__).with_name("fixtures")


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    zipfile.ZipFile(FIXTURES / "format-2.zip").extractall(path)
    return path


def test_a_store_of_format_2_can_be_read(old_store: Path) -> None:
    with MemoryStore.open(old_store, read_only=True) as store:
        info = store.info()
        assert (info.format, info.model, info.memory_dtype) == (2, "clara-small 0.1.0", "int8")
        assert (info.documents, info.passages, info.memory_rows, info.copies) == (2, 3, 7, 1)
        documents = {document.source: document for document in store.documents()}
        assert list(documents) == ["/docs/notes.md", "/docs/warranty.pdf"]
        assert documents["/docs/warranty.pdf"].num_passages == 2
        assert store.copies() == [("/docs/warranty-copy.pdf", "/docs/warranty.pdf", 1_700_000_001.0)]
        first, second = (stored.passage for stored in store.passages_of("/docs/warranty.pdf"))
        assert (first.text, first.heading, first.page) == (
            "The pump is guaranteed for 24 months.",
            "Terms > Period",
            2,
        )
        assert dict(second.metadata) == {"author": "Kim", "pages": 3}
        assert store.passages_of("/docs/notes.md")[0].passage.lines == (1, 4)


def test_a_store_of_format_2_can_be_searched(old_store: Path) -> None:
    with MemoryStore.open(old_store, read_only=True) as store:
        ids, _ = store.lexical(["utrecht"], 10)
        assert {stored.source for stored in store.passages(ids.tolist())} == {
            "/docs/notes.md",
            "/docs/warranty.pdf",
        }
        key = np.array([0.15637, -0.12292, 0.75293, 0.62744])  # of the passage in notes.md, as it was stored
        (hit,) = search(store, key, 1, where=Filter.parse("format=md"))
        assert (hit.stored.source, round(hit.score, 4)) == ("/docs/notes.md", 1.0)
        (memory,) = store.memories([1])
        np.testing.assert_allclose(memory[0, :3], [0.12323, -0.13354, 0.63672], atol=1e-4)


@pytest.mark.parametrize(("version", "advice"), [(1, "index"), (99, "install a newer version")])
def test_other_formats_are_refused_with_what_to_do(old_store: Path, version: int, advice: str) -> None:
    with closing(sqlite3.connect(old_store / "store.sqlite3", isolation_level=None)) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (version,))
    with pytest.raises(StoreError) as error:
        MemoryStore.open(old_store, read_only=True)
    assert f"format {version}" in str(error.value)
    assert advice in str(error.value)
