"""Folders that only look like exported stores: every one is refused in one sentence, and leaves no store."""

from __future__ import annotations

import json
import os
import random
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_store import create, item

from clara.errors import InputError
from clara.store.transfer import export, import_store

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

from safetensors.numpy import load_file, save_file  # noqa: E402


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    with create(tmp_path / "store") as store:
        store.add([item("a", 2, 1), item("b", 1)])
        export(store, tmp_path / "out")
    return tmp_path / "out"


def sealed(folder: Path, **entries: Any) -> None:
    """Write the manifest anew, with the checksums of the files as they are."""
    path = folder / "store.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: zlib.crc32((folder / name).read_bytes()) for name in manifest["files"]}
    path.write_text(json.dumps({**manifest, **entries}))


def column(file: str, name: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        table = parquet.read_table(folder / file)
        values = [value, *table[name].to_pylist()[1:]]
        at = table.schema.get_field_index(name)
        parquet.write_table(table.set_column(at, table.schema.field(name), [values]), folder / file)
        sealed(folder)

    return change


def tensors(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (path,) = folder.glob("vectors-*")
        save_file(change(load_file(path)), path)
        sealed(folder)

    return apply


DOCUMENTS, PASSAGES = "documents.parquet", "passages.parquet"
CRAFTED: dict[str, Callable[[Path], None]] = {
    "no source": column(DOCUMENTS, "source", None),
    "no title": column(DOCUMENTS, "title", None),
    "no text": column(PASSAGES, "text", None),
    "no position": column(PASSAGES, "position", None),
    "another source": column(PASSAGES, "source", "elsewhere"),
    "no memory rows": column(PASSAGES, "memory_rows", 0),
    "negative memory rows": column(PASSAGES, "memory_rows", -3),
    "too many memory rows": column(PASSAGES, "memory_rows", 1 << 40),
    "metadata that is a list": column(PASSAGES, "metadata", "[1]"),
    "metadata that is nested": column(PASSAGES, "metadata", '{"a": {"b": 1}}'),
    "metadata that is no JSON": column(PASSAGES, "metadata", "{"),
    "metadata that is deep": column(PASSAGES, "metadata", "[" * 100_000),
    "copy of nothing": column(DOCUMENTS, "copy_of", "elsewhere"),
    "no memories": tensors(lambda found: {"keys": found["keys"]}),
    "no embeddings": tensors(lambda found: {"memories": found["memories"]}),
    "flat memories": tensors(lambda found: {**found, "memories": found["memories"].ravel()}),
    "float32 memories": tensors(lambda found: {**found, "memories": found["memories"].astype(np.float32)}),
    "narrow memories": tensors(lambda found: {**found, "memories": found["memories"][:, :2].copy()}),
    "infinite memories": tensors(lambda found: {**found, "memories": found["memories"] * np.float16(np.inf)}),
    "few embeddings": tensors(lambda found: {**found, "keys": found["keys"][:1]}),
    "no tensors": lambda folder: (next(folder.glob("vec*")).write_bytes(b"\0" * 20), sealed(folder))[1],
    "no parquet": lambda folder: ((folder / PASSAGES).write_bytes(b"PAR1"), sealed(folder))[1],
    "an empty manifest": lambda folder: (folder / "store.json").write_text("{}") and None,
    "a manifest of another kind": lambda folder: (folder / "store.json").write_text("[1]") and None,
    "no files": lambda folder: sealed(folder, files={}),
    "files that are a list": lambda folder: sealed(folder, files=["a"]),
    "a file elsewhere": lambda folder: sealed(
        folder, files={DOCUMENTS: 0, PASSAGES: 0, "../store/store.sqlite3": 0}
    ),
    "a name with a NUL": lambda folder: sealed(folder, files={DOCUMENTS: 0, PASSAGES: 0, "a\0": 0}),
    "memory size as text": lambda folder: sealed(folder, memory_size="6"),
    "memory size of zero": lambda folder: sealed(folder, memory_size=0),
    "memory size beyond memory": lambda folder: sealed(folder, memory_size=10**12),
    "embedding size as float": lambda folder: sealed(folder, key_size=4.0),
    "another dtype": lambda folder: sealed(folder, memory_dtype="float64"),
    "dtype that is a list": lambda folder: sealed(folder, memory_dtype=["float16"]),
    "no model": lambda folder: sealed(folder, model=None),
    "format as text": lambda folder: sealed(folder, format="new"),
    "format that is null": lambda folder: sealed(folder, format=None),
}


@pytest.mark.parametrize("kind", CRAFTED)
def test_crafted_folders_are_refused(tmp_path: Path, exported: Path, kind: str) -> None:
    CRAFTED[kind](exported)
    with pytest.raises(InputError) as error:
        import_store(exported, tmp_path / "copy")
    assert str(exported) in str(error.value) or "document" in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"store", "out"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the platform has no named pipes")
@pytest.mark.parametrize("name", ["store.json", DOCUMENTS, "vectors-00001.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_special_files_are_not_waited_for(tmp_path: Path, exported: Path, name: str, kind: str) -> None:
    (exported / name).unlink()
    if kind == "pipe":
        os.mkfifo(exported / name)
    elif kind == "device":
        (exported / name).symlink_to("/dev/zero")
    else:
        (exported / name).mkdir()
    with pytest.raises(InputError):
        import_store(exported, tmp_path / "copy")


def test_mutated_manifests_are_refused_or_imported(tmp_path: Path, exported: Path) -> None:
    whole = (exported / "store.json").read_bytes()
    rng = random.Random(0)
    for number in range(150):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.choice(b'0{}[]":,n-e\xff ')
        (exported / "store.json").write_bytes(data)
        try:
            import_store(exported, tmp_path / str(number))
        except InputError:
            assert not (tmp_path / str(number)).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps no empty folder for a rename")
def test_an_empty_folder_is_filled(tmp_path: Path, exported: Path) -> None:
    (tmp_path / "copy").mkdir()
    assert import_store(exported, tmp_path / "copy").documents == 2
