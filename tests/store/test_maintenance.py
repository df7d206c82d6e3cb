"""Looking after a store: damage is found, space comes back, copies survive, exports return."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from test_store import content, create, expected, item

from clara.errors import InputError, StoreError
from clara.records import Document, Passage
from clara.store import MemoryStore, NewDocument
from clara.store.maintenance import check, compact
from clara.store.offsets import OFFSETS_NAME
from clara.store.transfer import export, import_store


def test_lines_and_metadata_come_back(tmp_path: Path) -> None:
    passage = Passage("text", "T", "H", None, 0, (3, 9), {"author": "Kim", "year": 1999, "draft": True})
    with create(tmp_path) as store:
        store.add([replace(item("a", 1), passages=[passage])])
        assert [one.passage for one in store.passages_of("a")] == [passage]


def test_neighbours_are_those_of_the_document(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.add([item("a", 1, 1, 1, 1, 1), item("b", 1, 1)])
        ids = [one.id for one in store.passages_of("a")]
        assert [one.id for one in store.around(ids[0], 2)] == ids[:3]
        assert [one.id for one in store.around(ids[3], 1)] == ids[2:5]
        assert [one.source for one in store.around(store.passages_of("b")[1].id, 9)] == ["b", "b"]
        with pytest.raises(StoreError, match="no passage 99"):
            store.around(99, 1)


# copies and shared memories


def copy_of(original: NewDocument, source: str) -> NewDocument:
    return replace(original, document=replace(original.document, source=source))


def test_the_same_bytes_are_stored_once(tmp_path: Path) -> None:
    first = item("a", 2, 3)
    with create(tmp_path) as store:
        store.add([first])
        store.add([copy_of(first, "b"), copy_of(first, "c")])
        assert store.info().copies == 2
        assert content(store) == expected(first)
        assert store.sources() == dict.fromkeys("abc", first.document.sha256)
        assert store.remove(["a"]) == 1
        assert content(store) == expected(copy_of(first, "b")) | {}
        assert store.sources() == dict.fromkeys("bc", first.document.sha256)
        changed = item("b", 1, seed=4)
        store.add([changed])
        assert set(content(store)) == {"b", "c"}
        assert content(store)["b"] == expected(changed)["b"]
        store.remove(["b", "c"])
        assert content(store) == {}
        assert store.sources() == {}


def test_copies_are_noted_only_of_what_is_stored(tmp_path: Path) -> None:
    first = item("a", 2)
    with create(tmp_path) as store:
        store.add([first])
        sha256 = first.document.sha256
        assert store.add_copies([("b", 1.0, sha256), ("c", 1.0, "unknown")]) == 1
        assert store.copies() == [("b", "a", 1.0)]


def test_a_changed_document_keeps_the_memories_of_passages_that_did_not_change(tmp_path: Path) -> None:
    old = item("a", 2, 3)
    with create(tmp_path) as store:
        store.add([old])
        before = [
            (one.id, memory)
            for one, memory in zip(store.passages_of("a"), store.memories([1, 2]), strict=True)
        ]
        document = replace(old.document, sha256="changed")
        passages = [replace(old.passages[1], position=0), Passage("new", position=1)]
        new = np.ones((1, 6), np.float16)
        embeddings = np.ones((2, 4), np.float32)
        store.add([NewDocument(document, passages, [before[1][0], new], embeddings)])
        compact(store)
        found = store.memories([one.id for one in store.passages_of("a")])
        assert [memory.tolist() for memory in found] == [before[1][1].tolist(), new.tolist()]
        assert store.embeddings([one.id for one in store.passages_of("a")])[0] == pytest.approx(
            old.embeddings[1] / np.linalg.norm(old.embeddings[1]), abs=1e-3
        )
        with pytest.raises(InputError, match="shares the memory of passage 1, which is"):
            store.add([NewDocument(document, passages[:1], [1], embeddings[:1])])


# damage


def spoil(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["memories", "keys"])
def test_a_flipped_bit_is_found_and_its_documents_can_be_dropped(tmp_path: Path, kind: str) -> None:
    first, second = item("first", 2, 3), item("second", 2)
    with create(tmp_path) as store:
        store.add([first])
        store.add([second])
        assert check(store).faults == []
    spoil(tmp_path / "segments" / f"{kind}-000001.f16", 3)
    with MemoryStore.open(tmp_path) as store:
        report = check(store)
        assert report.damaged == ["first"]
        assert kind in report.faults[0]
        assert check(store, drop_damaged=True).removed == 1
        assert content(store) == expected(second)
        assert check(store).faults == []
        store.add([first])
        assert content(store) == expected(second, first)


# compaction


def test_compaction_gives_space_back_and_changes_nothing_else(tmp_path: Path) -> None:
    items = [item(f"d{at}", 2, 1, 3) for at in range(30)]
    with create(tmp_path, max_segment_bytes=200) as store:
        store.add(items)
        store.remove([f"d{at}" for at in range(0, 30, 2)])
        assert store.info().dead_bytes > 0
        before = content(store)
        report = compact(store)
        assert report.after < report.before
        assert content(store) == before == expected(*items[1::2])
        info = store.info()
        assert info.dead_bytes == 0
        files = list((tmp_path / "segments").iterdir())
        assert sum(file.stat().st_size for file in files) == info.memory_bytes + info.embedding_bytes
    with MemoryStore.open(tmp_path, read_only=True) as store:
        assert content(store) == before


def test_a_reader_keeps_what_it_reads_while_a_store_is_compacted(tmp_path: Path) -> None:
    with (
        create(tmp_path, max_segment_bytes=100) as store,
        MemoryStore.open(tmp_path, read_only=True) as reader,
    ):
        store.add([item("a", 5), item("b", 5), item("c", 5)])
        with reader.snapshot():
            before = content(reader)
            store.remove(["a"])
            compact(store)
            store.add([item("d", 5)])
            reader._files["memories"].close()  # what was mapped before has to be found again
            assert content(reader) == before
        assert set(content(reader)) == {"b", "c", "d"}
    with MemoryStore.open(tmp_path) as store:
        info = store.info()
        files = list((tmp_path / "segments").iterdir())
        assert sum(file.stat().st_size for file in files) == info.memory_bytes + info.embedding_bytes


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from clara.store import MemoryStore
from clara.store.maintenance import compact
from clara.store.{module} import {owner}

calls = 0
real = {owner}.{name}
def dying(self, *values, **named):
    global calls
    calls += 1
    if calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *values, **named)
{owner}.{name} = dying
compact(MemoryStore.open({path!r}))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no SIGKILL")
@pytest.mark.parametrize(
    ("module", "owner", "name", "call"),
    [
        ("segments", "Appender", "append", 3),
        ("database", "Database", "set_segments", 2),
        ("database", "Database", "shrink", 1),
        ("segments", "SegmentFiles", "trim", 4),
    ],
)
def test_a_killed_compaction_leaves_the_store_whole(
    tmp_path: Path, module: str, owner: str, name: str, call: int
) -> None:
    with create(tmp_path) as store:
        store.add([item("a", 5), item("b", 5), item("c", 2, 2)])
        store.remove(["a"])
        before = content(store)
    program = KILLED.format(
        tests=str(Path(__file__).parent), path=str(tmp_path), module=module, owner=owner, name=name, call=call
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (-signal.SIGKILL, "")
    with MemoryStore.open(tmp_path) as store:
        assert content(store) == before
        assert check(store).faults == []
        compact(store)
        assert content(store) == before


# the file of places


def test_the_file_of_places_is_used_and_never_believed_when_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clara.store.reader._WORTH_KEEPING", 0)
    with create(tmp_path) as store:
        store.add([item("a", 1), item("b", 2)])
    kept = (tmp_path / OFFSETS_NAME).read_bytes()
    with MemoryStore.open(tmp_path, read_only=True) as store:
        monkeypatch.setattr(
            "clara.store.database.Database.searched", lambda *_, after: np.empty(int(after == 0), _dtype())
        )
        assert store.vectors().ids.tolist() == [1, 2]
    monkeypatch.undo()
    with MemoryStore.open(tmp_path) as store:
        store.remove(["a"])
        store.add([item("c", 3)])
    for data in (kept, b"rubbish", b""):
        (tmp_path / OFFSETS_NAME).write_bytes(data)
        with MemoryStore.open(tmp_path, read_only=True) as store:
            assert content(store) == expected(item("b", 2), item("c", 3))


def _dtype() -> np.dtype[np.void]:
    from clara.store.database import SEARCHED

    return SEARCHED


# export and import


@pytest.mark.parametrize("embedding_dim", [4, None])
def test_an_exported_store_comes_back(
    tmp_path: Path, embedding_dim: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clara.store.transfer._PASSAGES_A_FILE", 4)
    monkeypatch.setattr("clara.store.transfer._PASSAGES_A_COMMIT", 3)
    items = [item(f"d{at}", 2, 1, 3, has_embeddings=embedding_dim is not None) for at in range(5)]
    items[2] = replace(
        items[2], passages=[replace(one, lines=(1, 2), metadata={"a": 1}) for one in items[2].passages]
    )
    with create(tmp_path / "one", embedding_dim=embedding_dim) as store:
        store.add([*items, copy_of(items[0], "copy")])
        report = export(store, tmp_path / "out")
        assert (report.documents, report.passages) == (5, 15)
        with pytest.raises(InputError, match="not empty"):
            export(store, tmp_path / "out")
        copies, embeddings = store.copies(), None if embedding_dim is None else store.embeddings(range(1, 16))
    import_store(tmp_path / "out", tmp_path / "two")
    with MemoryStore.open(tmp_path / "two", read_only=True) as store:
        assert content(store) == expected(*items)
        assert store.copies() == copies
        if embeddings is not None:
            np.testing.assert_allclose(store.embeddings(range(1, 16)), embeddings, atol=1e-3)
    spoil(next((tmp_path / "out").glob("vectors-00002*")), 200)
    with pytest.raises(InputError, match="is missing or damaged"):
        import_store(tmp_path / "out", tmp_path / "three")
    with pytest.raises(InputError, match="holds no exported store"):
        import_store(tmp_path, tmp_path / "three")
    assert not (tmp_path / "three").exists()


# killed at any moment

FILLING = """
import sys
sys.path.insert(0, {tests!r})
from test_store import item
from clara.store import MemoryStore
with MemoryStore.open({path!r}, max_segment_bytes=2000) as store:
    stored = {{document.source for document in store.documents()}}
    for at in range({count}):
        if f"d{{at}}" not in stored:
            store.add([item(f"d{{at}}", 3, 2, 4)])
            print(at, flush=True)
"""


def kill_while_filling(path: Path, kills: int, count: int) -> None:
    """Fill a store, killing the process at random moments; what it had reported must be there every time."""
    wanted = expected(*(item(f"d{at}", 3, 2, 4) for at in range(count)))
    create(path).close()
    program = FILLING.format(tests=str(Path(__file__).parent), path=str(path), count=count)
    rng = random.Random(0)
    reported: set[str] = set()
    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = process.stdout.readline()  # it has begun to write
            time.sleep(rng.random() * 0.02)
            os.kill(process.pid, signal.SIGKILL)
            reported |= {f"d{one}" for one in (line + process.stdout.read()).split()}
        with MemoryStore.open(path) as store:
            found = content(store)
            assert check(store).faults == []
        assert reported <= found.keys()
        assert all(wanted[source] == passages for source, passages in found.items())
        if len(found) == count:
            with MemoryStore.open(path) as store:
                store.remove([f"d{at}" for at in range(0, count, 2)])
            reported = {f"d{at}" for at in range(1, count, 2)}
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    with MemoryStore.open(path) as store:
        assert content(store) == wanted
        assert check(store).faults == []


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no SIGKILL")
def test_a_store_survives_kills(tmp_path: Path) -> None:
    kill_while_filling(tmp_path, kills=6, count=200)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no SIGKILL")
@pytest.mark.slow
def test_a_store_survives_a_hundred_kills(tmp_path: Path) -> None:
    kill_while_filling(tmp_path, kills=100, count=400)


def test_the_manifest_of_an_export_names_every_file(tmp_path: Path) -> None:
    with create(tmp_path / "store") as store:
        store.add([item("a", 1)])
        export(store, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "store.json").read_text())
    assert {*manifest["files"], "store.json"} == {file.name for file in (tmp_path / "out").iterdir()}


def test_an_import_in_another_order_is_refused(tmp_path: Path) -> None:
    with create(tmp_path / "store") as store:
        store.add([item("a", 1), item("b", 2)])
        export(store, tmp_path / "out")
    file, manifest = tmp_path / "out" / "documents.parquet", tmp_path / "out" / "store.json"
    table = parquet.read_table(file)
    parquet.write_table(table.take([1, 0]), file)
    told = json.loads(manifest.read_text())
    told["files"][file.name] = zlib.crc32(file.read_bytes())
    manifest.write_text(json.dumps(told))
    with pytest.raises(InputError, match="is not in the order of documents"):
        import_store(tmp_path / "out", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_documents_without_a_hash_are_no_copies(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.add([replace(item(name, 1), document=Document(name, name, (), "")) for name in "ab"])
        assert store.info().copies == 0
        assert set(content(store)) == {"a", "b"}
