"""Damage to a store's files is reported, and never read without a word."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_format import FIXTURES
from test_store import content, create, expected, item

from clara.errors import StoreError
from clara.models.stored import DATABASE
from clara.store import MemoryStore
from clara.store.maintenance import check
from clara.store.segments import FileRows


def everything(path: Path) -> object:
    """All that a reader gets of a store."""
    with MemoryStore.open(path, read_only=True) as store:
        found = [store.lexical([term], 50)[0].tolist() for term in ("text", "alpha", "a")]
        return content(store), store.documents(), store.copies(), store.sources(), found, store.model


def filled(path: Path) -> None:
    with create(path) as store:
        first = item("alpha", 2, 3)
        first = replace(
            first, passages=[replace(one, metadata={"author": "Kim"}, page=3) for one in first.passages]
        )
        second = item("beta", 1, 2)
        second = replace(second, document=replace(second.document, left_out=("1 note left out",), reader=1))
        store.add([first, second])
        store.add_copies([("gamma", 5.0, first.document.sha256)])


def test_no_flipped_bit_of_the_database_changes_what_is_read_unseen(tmp_path: Path) -> None:
    filled(tmp_path / "store")
    before, whole = everything(tmp_path / "store"), (tmp_path / "store" / DATABASE).read_bytes()
    rng = random.Random(0)
    seen = 0
    for at in rng.sample(range(100, len(whole)), 400):
        data = bytearray(whole)
        data[at] ^= 1 << rng.randrange(8)
        (tmp_path / "store" / DATABASE).write_bytes(data)
        try:
            with MemoryStore.open(tmp_path / "store", damaged=True) as store:
                faults = check(store).faults
            after = everything(tmp_path / "store")
        except StoreError:
            seen += 1
            continue
        finally:
            for ending in ("-wal", "-shm"):
                (tmp_path / "store" / f"{DATABASE}{ending}").unlink(missing_ok=True)
        seen += bool(faults)
        assert faults or after == before, at
    assert seen > 20


@pytest.mark.parametrize(
    ("table", "change", "damaged"),
    [
        ("passages", "text = 'Altered.' WHERE id = 3", ["beta"]),
        ("passages", 'metadata = \'{"author": "Kit"}\' WHERE id = 1', ["alpha", "gamma"]),
        ("documents", "modified = 9 WHERE source = 'beta'", ["beta"]),
        ("copies", "modified = 9", ["alpha", "gamma"]),
        ("places", "memory_row = 0 WHERE passage = 3", ["beta"]),
        ("readings", "left_out = '[]'", ["beta"]),
        ("readings", "left_out = '[', version = 'x'", ["beta"]),
    ],
)
def test_altered_rows_are_named_and_dropped(
    tmp_path: Path, table: str, change: str, damaged: list[str]
) -> None:
    filled(tmp_path)
    with MemoryStore.open(tmp_path) as store:
        store._database._connection.execute(f"UPDATE {table} SET {change}")
    with MemoryStore.open(tmp_path, read_only=True) as store:
        assert check(store).damaged == damaged
    with MemoryStore.open(tmp_path) as store:
        report = check(store, drop_damaged=True)
        assert any(f"table {table} " in fault for fault in report.faults)
        assert (report.damaged, report.removed) == (damaged, len(damaged))
        assert set(store.sources()) == {"alpha", "beta", "gamma"} - set(damaged)
        assert check(store).faults == []


def test_changes_that_a_damaged_log_took_away_are_reported(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with create(whole) as store:
        store.add([item("a", 1)])
        store.add([item("b", 2)])
        shutil.copytree(whole, broken)  # as after a power failure: the log was not moved into the database
    log = broken / f"{DATABASE}-wal"
    data = bytearray(log.read_bytes())
    data[len(data) // 3] ^= 1
    log.write_bytes(data)
    with MemoryStore.open(broken) as store:
        assert set(content(store)) < {"a", "b"}
        (fault,) = [fault for fault in check(store).faults if "missing" in fault]
        assert f"{DATABASE}-wal" in fault
        store.add([item("a", 1), item("b", 2)])
        assert content(store) == expected(item("a", 1), item("b", 2))
        assert check(store).faults == []


def test_a_store_of_format_2_gets_checksums_when_it_is_opened_for_writing(tmp_path: Path) -> None:
    zipfile.ZipFile(FIXTURES / "format-2.zip").extractall(tmp_path)
    before = everything(tmp_path)
    with MemoryStore.open(tmp_path, read_only=True) as store:
        assert (check(store).faults, store.info().format) == ([], 2)
    with MemoryStore.open(tmp_path) as store:
        assert (check(store).faults, store.info().format) == ([], 3)
        store._database._connection.execute("UPDATE passages SET text = 'Altered.' WHERE id = 3")
        assert check(store).damaged == ["/docs/notes.md"]
        store._database._connection.execute(
            "UPDATE passages SET text = 'Grüße aus Utrecht: the meeting is on Monday.' WHERE id = 3"
        )
    assert everything(tmp_path) == before


def test_a_store_is_checked_where_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with MemoryStore.open(tmp_path, read_only=True) as store:
        report = check(store)
        assert (report.faults, report.full_text, report.blocks > 0) == ([], False, True)
        with pytest.raises(StoreError, match="read-only"):
            check(store, drop_damaged=True)
    data = bytearray((tmp_path / "segments" / "memories-000001.f16").read_bytes())
    data[0] ^= 1
    (tmp_path / "segments" / "memories-000001.f16").write_bytes(data)
    with MemoryStore.open(tmp_path, read_only=True, damaged=True) as store:
        assert "alpha" in check(store).damaged


FULL = """
import os, resource, sys
from pathlib import Path
from clara.errors import StoreError
from clara.store import MemoryStore
folder = Path(sys.argv[1])
made = failed = 0
for limit in (*range(0, 160_000, 4096), 10_000, 33_333):
    path = folder / str(limit)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        MemoryStore.create(path, fingerprint="f", model="m", memory_dim=4, embedding_dim=4).close()
        made += 1
    except StoreError:
        failed += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store = MemoryStore.open_or_create(path, fingerprint="f", model="m", memory_dim=4, embedding_dim=4)
    assert store.database_faults() == []
    store.close()
print(made > 0, failed > 0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are set as POSIX has them")
def test_a_full_disk_at_creation_leaves_a_store_or_none(tmp_path: Path) -> None:
    program = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("True True\n", 0), done.stderr


@pytest.mark.parametrize("at", [slice(0, 40_000), np.arange(40_000)])
def test_a_file_that_is_cut_while_it_is_read_does_not_end_the_process(tmp_path: Path, at: object) -> None:
    path = tmp_path / "rows"
    path.write_bytes(bytes(40_000 * 8))
    rows = FileRows(path, 40_000, 8)
    os.truncate(path, 100)
    with pytest.raises(StoreError, match="ends before its rows do"):
        rows[at]  # type: ignore[index]
