"""The store against what was put into it, across closing, replacing, removing and being killed."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clara.errors import InputError, StoreError, StoreMismatchError
from clara.records import Document, Passage, StoredDocument
from clara.store import Filter, MemoryStore, NewDocument, search

FINGERPRINT = "0123456789abcdef" * 4


def create(path: Path, *, embedding_dim: int | None = 4, max_segment_bytes: int = 1 << 30) -> MemoryStore:
    return MemoryStore.create(
        path,
        fingerprint=FINGERPRINT,
        model="clara-test",
        memory_dim=6,
        embedding_dim=embedding_dim,
        max_segment_bytes=max_segment_bytes,
    )


def open_or_create(path: Path, *, memory_dim: int = 6, embedding_dim: int | None = 4) -> MemoryStore:
    return MemoryStore.open_or_create(
        path, fingerprint=FINGERPRINT, model="clara-test", memory_dim=memory_dim, embedding_dim=embedding_dim
    )


def item(source: str, *rows: int, seed: int = 0, has_embeddings: bool = True) -> NewDocument:
    """A document with a passage for each of `rows`, whose memory has that many rows."""
    rng = np.random.default_rng([seed, *source.encode()])
    passages = [
        Passage(f"text {at} of {source}", f"Title {source}", "A > B" if at % 2 else "", at or None, at)
        for at in range(len(rows))
    ]
    memories = [rng.standard_normal((count, 6)).astype(np.float32) for count in rows]
    embeddings = rng.standard_normal((len(rows), 4)).astype(np.float32) if has_embeddings else None
    document = Document(source, f"Title {source}", (), f"sha-{source}-{seed}", 12.5 + seed)
    return NewDocument(document, passages, memories, embeddings)


def content(store: MemoryStore) -> dict[str, list[tuple[Passage, bytes]]]:
    """All that a store holds, read through its public calls."""
    with store.snapshot():
        found: dict[str, list[tuple[Passage, bytes]]] = {each.source: [] for each in store.documents()}
        ids = store.vectors().ids.tolist()
        for stored, memory in zip(store.passages(ids), store.memories(ids), strict=True):
            assert memory.dtype == np.float16
            found[stored.source].append((stored.passage, memory.tobytes()))
    return found


def expected(*items: NewDocument) -> dict[str, list[tuple[Passage, bytes]]]:
    return {
        each.document.source: [
            (passage, memory.astype(np.float16).tobytes())
            for passage, memory in zip(each.passages, each.memories, strict=True)
        ]
        for each in items
    }


# round trips


def test_what_is_added_is_found_again_after_closing(tmp_path: Path) -> None:
    items = [item("b", 1, 3, 2), item("a", 4), item("empty")]
    with create(tmp_path / "new" / "store") as store:
        store.add(items)
        assert content(store) == expected(*items)
    with MemoryStore.open(tmp_path / "new" / "store", fingerprint=FINGERPRINT) as store:
        assert content(store) == expected(*items)
        assert store.documents() == [
            StoredDocument("a", "Title a", "sha-a-0", 12.5, 1),
            StoredDocument("b", "Title b", "sha-b-0", 12.5, 3),
            StoredDocument("empty", "Title empty", "sha-empty-0", 12.5, 0),
        ]
        assert (store.num_passages, store.model, store.memory_dim, store.embedding_dim) == (
            4,
            "clara-test",
            6,
            4,
        )


def test_passages_and_memories_come_in_the_order_asked(tmp_path: Path) -> None:
    added = item("a", *[1 + at % 3 for at in range(1200)])
    with create(tmp_path) as store:
        store.add([added])
        ids = store.vectors().ids.tolist()
        asked = [*ids[::-1], ids[5], ids[5]]
        assert [each.id for each in store.passages(asked)] == asked
        for number, memory in zip(asked, store.memories(asked), strict=True):
            np.testing.assert_array_equal(memory, added.memories[ids.index(number)].astype(np.float16))
        memory[:] = 0  # a copy: the store keeps its own
        np.testing.assert_array_equal(store.memories([ids[5]])[0], added.memories[5].astype(np.float16))
        assert store.passages([]) == store.memories([]) == []
        with pytest.raises(
            StoreError, match=r"has no passage 99999; it may have been removed, so search again\.$"
        ):
            store.passages([99999])
        with pytest.raises(StoreError, match="has no passage 99999"):
            store.memories([99999])


def test_document_with_the_same_source_is_replaced_and_numbers_are_not_reused(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.add([item("a", 1, 2), item("b", 3)])
        before = set(store.vectors().ids.tolist())
        store.add([item("b", 2, 2, seed=1)])
        assert content(store) == expected(item("a", 1, 2), item("b", 2, 2, seed=1))
        assert store.remove(["a", "nothing"]) == 1
        store.add([item("c", 1)])
        assert content(store) == expected(item("b", 2, 2, seed=1), item("c", 1))
        assert before.isdisjoint(store.vectors().ids.tolist())
        assert store.remove(["b", "c"]) == 2
        assert content(store) == {}


def test_one_document_is_removed_by_its_name(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.add([item("note", 1), item("n", 1), item("bad\\udcff", 1)])
        assert store.remove("note") == 1
        assert store.remove(["bad\udcff"]) == 1
        assert content(store) == expected(item("n", 1))
        with pytest.raises(InputError, match=r"Path\('n'\) is of type PosixPath, but sources are strings"):
            store.remove(["n", Path("n")])  # type: ignore[list-item]
        assert content(store) == expected(item("n", 1))


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "reopen"]),
        st.sampled_from("abcd"),
        st.lists(st.integers(1, 4), max_size=4),
        st.integers(0, 5),
    ),
    max_size=10,
)


@settings(max_examples=25, deadline=None)
@given(operations=OPERATIONS, max_segment_bytes=st.sampled_from([1, 50, 1 << 20]))
def test_any_sequence_of_changes_matches_a_dict(
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[tuple[str, str, list[int], int]],
    max_segment_bytes: int,
) -> None:
    path = tmp_path_factory.mktemp("store")
    twin: dict[str, NewDocument] = {}
    store = create(path, max_segment_bytes=max_segment_bytes)
    for operation, source, rows, seed in operations:
        if operation == "add":
            twin[source] = item(source, *rows, seed=seed)
            store.add([twin[source]])
        elif operation == "remove":
            assert store.remove([source]) == (twin.pop(source, None) is not None)
        else:
            store.close()
            store = MemoryStore.open(path, max_segment_bytes=max_segment_bytes)
    assert content(store) == expected(*twin.values())
    info = store.info()
    counts = [len(memory) for each in twin.values() for memory in each.memories]
    assert (info.documents, info.passages, info.memory_rows) == (len(twin), len(counts), sum(counts))
    on_disk = sum(file.stat().st_size for file in (path / "segments").iterdir())
    assert info.memory_bytes + info.embedding_bytes + info.dead_bytes == on_disk
    store.close()


def test_segments_roll_over_and_memories_stay_whole(tmp_path: Path) -> None:
    items = [item(name, 3, 2, 5) for name in "abc"]
    with create(tmp_path, max_segment_bytes=6 * 2 * 6) as store:  # six rows a file
        for each in items:
            store.add([each])
        assert content(store) == expected(*items)
    files = sorted(path.name for path in (tmp_path / "segments").glob("memories-*"))
    assert files[:2] == ["memories-000001.f16", "memories-000002.f16"]
    assert len(files) == 6


def test_files_are_raw_little_endian_rows(tmp_path: Path) -> None:
    added = item("a", 2, 1)
    with create(tmp_path) as store:
        store.add([added])
    data = (tmp_path / "segments" / "memories-000001.f16").read_bytes()
    assert data == np.concatenate(added.memories).astype("<f2").tobytes()
    assert added.embeddings is not None
    unit = added.embeddings / np.linalg.norm(added.embeddings, axis=1, keepdims=True)
    embeddings = np.fromfile(tmp_path / "segments" / "keys-000001.f16", "<f2").reshape(2, 4)
    np.testing.assert_allclose(embeddings, unit, atol=1e-3)


def test_info_counts_what_is_alive_and_what_is_dead(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.add([item("a", 1, 2), item("b", 4)])
        store.add([item("a", 5)])
        info = store.info()
    assert (info.documents, info.passages, info.memory_rows) == (2, 2, 9)
    assert (info.memory_bytes, info.embedding_bytes) == (9 * 6 * 2, 2 * 4 * 2)
    assert info.dead_bytes == 3 * 6 * 2 + 2 * 4 * 2
    assert info.database_bytes > 0
    assert (info.fingerprint, info.model, info.path) == (FINGERPRINT, "clara-test", tmp_path)
    assert 0 < info.created <= (tmp_path / "store.sqlite3").stat().st_mtime


def test_open_or_create_makes_then_opens(tmp_path: Path) -> None:
    for _ in range(2):
        with open_or_create(tmp_path / "store") as store:
            store.add([item("a", 1)])
    assert store.path == tmp_path / "store"
    with pytest.raises(
        StoreMismatchError, match="has memory_dim 6 and embedding_dim 4, not 6 and None; index into"
    ):
        open_or_create(tmp_path / "store", embedding_dim=None)
    with MemoryStore.open(tmp_path / "store"):  # the failed call let go of the lock
        pass


# one transaction or none


def bad_items() -> list[tuple[str, NewDocument]]:
    good = item("bad", 2, 2)
    memories, embeddings = list(good.memories), good.embeddings
    assert embeddings is not None

    def with_(memories: list[NDArray[np.floating]], embeddings: NDArray[np.floating] | None) -> NewDocument:
        return NewDocument(good.document, good.passages, memories, embeddings)

    nan, huge, zeros, infinite = (
        memories[0].copy(),
        memories[0].copy(),
        embeddings.copy(),
        embeddings.copy(),
    )
    nan[1, 2], huge[0, 0], zeros[1], infinite[0, 0] = np.nan, 1e6, 0, np.inf
    surrogate = NewDocument(good.document, [Passage("\ud800"), Passage("b")], memories, embeddings)
    return [
        (
            r"bad has a memory with values not finite as float16; it cannot",
            with_([memories[0], nan], embeddings),
        ),
        (
            r"bad has a memory with values not finite",
            with_([huge, memories[0]], embeddings),
        ),
        (r"bad has 2 passages but 1 memories\.", with_(memories[:1], embeddings)),
        (
            r"bad has a memory of shape \(2, 5\); the store takes \(rows, 6\)",
            with_([memories[0][:, :5]] * 2, embeddings),
        ),
        (
            r"bad has a memory of shape \(0, 6\); .* at least one row\.",
            with_([memories[0][:0]] * 2, embeddings),
        ),
        (r"bad has a memory of shape \(6,\);", with_([memories[0][0]] * 2, embeddings)),
        (r"bad has embeddings of shape None; the store takes \(2, 4\)\.", with_(memories, None)),
        (
            r"bad has embeddings of shape \(1, 4\); the store takes \(2, 4\)\.",
            with_(memories, embeddings[:1]),
        ),
        (r"bad has an embedding of zeros", with_(memories, zeros)),
        (r"bad has an embedding with values that are not finite", with_(memories, infinite)),
        (r"'bad' holds text that is not valid Unicode", surrogate),
        (r"The document a is given twice; add it once\.", item("a", 1)),
    ]


@pytest.mark.parametrize(("message", "bad"), bad_items(), ids=[message for message, _ in bad_items()])
def test_a_bad_document_keeps_the_whole_call_out(tmp_path: Path, message: str, bad: NewDocument) -> None:
    with create(tmp_path) as store:
        store.add([item("kept", 1, 2)])
        with pytest.raises(InputError, match=message):
            store.add([item("a", 2), bad])
        assert content(store) == expected(item("kept", 1, 2))
        assert store.info().dead_bytes == 0
        store.add([item("a", 2)])
        assert content(store) == expected(item("kept", 1, 2), item("a", 2))


def test_keys_are_refused_by_a_store_without(tmp_path: Path) -> None:
    with create(tmp_path, embedding_dim=None) as store:
        with pytest.raises(InputError, match="a has embeddings but the store takes none"):
            store.add([item("a", 1)])
        store.add([item("a", 1, has_embeddings=False)])
        assert not list(tmp_path.glob("segments/keys-*"))


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk_keeps_the_whole_call_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with create(tmp_path) as store:
        store.add([item("kept", 1, 2)])
        with monkeypatch.context() as patch:
            if step == "fsync":
                patch.setattr(os, "fsync", full)
            else:
                patch.setattr("clara.store.segments.Appender.append", full)
            with pytest.raises(
                StoreError, match="could not be written: No space left on device; nothing was added"
            ):
                store.add([item("a", 2)])
        assert content(store) == expected(item("kept", 1, 2))
        store.add([item("a", 2)])
        assert content(store) == expected(item("kept", 1, 2), item("a", 2))


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_store import item
from clara.store import MemoryStore
from clara.store.database import Database
from clara.store.segments import Appender

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

store = MemoryStore.open({path!r}, max_segment_bytes={max_segment_bytes})
{patch}
store.add([item("kept", 9, 9, seed=7), item("new", 2, 2)])
"""

PATCHES = {
    "between append and commit": "Database.set_segments = die",
    "during append": (
        "append = Appender.append\n"
        "def some(self, rows):\n"
        "    place = append(self, rows)\n"
        "    self._file.flush()\n"
        "    return die() if len(rows) == 2 else place\n"
        "Appender.append = some"
    ),
    "before the last step of the commit": (
        "class Dying:\n"
        "    def __init__(self, real): self.real = real\n"
        "    def __getattr__(self, name): return getattr(self.real, name)\n"
        "    def execute(self, query, *values):\n"
        "        return die() if query == 'COMMIT' else self.real.execute(query, *values)\n"
        "store._database._connection = Dying(store._database._connection)"
    ),
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no SIGKILL")
@pytest.mark.parametrize("max_segment_bytes", [40, 1 << 30])
@pytest.mark.parametrize("moment", PATCHES)
def test_a_killed_writer_leaves_the_store_as_it_was(
    tmp_path: Path, moment: str, max_segment_bytes: int
) -> None:
    path = tmp_path / "store"
    with create(path, max_segment_bytes=max_segment_bytes) as store:
        store.add([item("kept", 1, 3)])
        committed = store.info().memory_bytes + store.info().embedding_bytes
    program = KILLED.format(
        tests=str(Path(__file__).parent),
        path=str(path),
        max_segment_bytes=max_segment_bytes,
        patch=PATCHES[moment],
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (-signal.SIGKILL, "")

    def size() -> int:
        return sum(file.stat().st_size for file in (path / "segments").iterdir())

    assert size() > committed  # it died late enough to leave something behind
    with MemoryStore.open(path, read_only=True) as reader:
        assert content(reader) == expected(item("kept", 1, 3))
    with MemoryStore.open(path, max_segment_bytes=max_segment_bytes) as store:
        assert size() == committed
        assert content(store) == expected(item("kept", 1, 3))
        store.add([item("new", 2, 2)])
        assert content(store) == expected(item("kept", 1, 3), item("new", 2, 2))
        assert store.info().dead_bytes == 0


def test_a_store_whose_making_was_interrupted_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    for name in ("lock", "store.sqlite3.new", "store.sqlite3.new-wal"):
        (tmp_path / name).write_bytes(b"half")
    with pytest.raises(StoreError, match="There is no memory store at"):
        MemoryStore.open(tmp_path)
    with create(tmp_path) as store:
        store.add([item("a", 1)])
        assert content(store) == expected(item("a", 1))
    assert not list(tmp_path.glob("*.new*"))


# readers and writers


def test_second_writer_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        with pytest.raises(
            StoreError, match=r"is being written by another process; wait until it is done\.$"
        ):
            MemoryStore.open(tmp_path)
        with MemoryStore.open(tmp_path, read_only=True) as reader:
            store.add([item("a", 1)])
            assert content(reader) == expected(item("a", 1))
            for change in (lambda: reader.add([item("b", 1)]), lambda: reader.remove(["a"])):
                with pytest.raises(StoreError, match="read-only"):
                    change()
    with MemoryStore.open(tmp_path) as store:
        store.add([item("b", 1)])


def test_a_snapshot_outlasts_changes(tmp_path: Path) -> None:
    with (
        create(tmp_path, max_segment_bytes=40) as store,
        MemoryStore.open(tmp_path, read_only=True) as reader,
    ):
        store.add([item("a", 1, 2)])
        with reader.snapshot():
            assert content(reader) == expected(item("a", 1, 2))
            store.add([item("a", 3, seed=1), item("b", 1)])
            store.remove(["b"])
            assert content(reader) == expected(item("a", 1, 2))
            assert len(search(reader, np.ones(4), 9)) == 2
        assert content(reader) == expected(item("a", 3, seed=1))


def test_readers_see_whole_documents_while_a_writer_works(tmp_path: Path) -> None:
    rounds = 40
    failures: list[BaseException] = []
    seen: set[int] = set()
    done = threading.Event()
    writer = create(tmp_path, max_segment_bytes=400)
    writer.add([item("a", 1, seed=0)])

    def read() -> None:
        try:
            with MemoryStore.open(tmp_path, read_only=True) as reader:
                while not done.is_set():
                    found = content(reader)
                    (version,) = (int(each.modified - 12.5) for each in reader.documents())
                    number = len(found["a"])
                    seen.add(number)
                    assert found == expected(item("a", *[2] * (number - 1), 1, seed=number - 1))
                    assert version >= number - 1
                    assert len(search(reader, np.ones(4), 100)) >= number
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    number = 0
    while number < rounds or (len(seen) < 2 and not failures):
        number += 1
        writer.add([item("a", *[2] * number, 1, seed=number)])
    done.set()
    for thread in threads:
        thread.join()
    writer.close()
    assert failures == []


def test_threads_may_share_a_store(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.add([item("a", *[1] * 50)])
        wanted = search(store, np.ones(4), 10)
        found: list[object] = []
        threads = [
            threading.Thread(target=lambda: found.append(search(store, np.ones(4), 10))) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        store.add([item("b")])
        for thread in threads:
            thread.join()
        assert found == [wanted] * 8


def test_a_folder_that_cannot_be_written_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with create(tmp_path) as store:
        store.add([item("a", 1, 2)])
    connect = sqlite3.connect
    addresses: list[str] = []

    def watched(address: str, **options: object) -> sqlite3.Connection:
        addresses.append(address)
        return connect(address, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(sqlite3, "connect", watched)
    before = sorted(path.name for path in tmp_path.iterdir())
    with MemoryStore.open(tmp_path, read_only=True) as reader:
        assert content(reader) == expected(item("a", 1, 2))
        assert sorted(path.name for path in tmp_path.iterdir()) == before  # no files of the reader's own
    assert addresses[0].endswith("?immutable=1")


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = create(tmp_path)
    store.close()
    store.close()
    for call in (store.documents, store.info, lambda: store.add([]), lambda: store.passages([1])):
        with pytest.raises(StoreError, match=r"is closed; open it again\.$"):
            call()


# stores that cannot be opened


def stored(path: Path) -> Path:
    with create(path) as store:
        store.add([item("a", 3, 3)])
    return path


def test_another_model_is_told_which_one_to_load(tmp_path: Path) -> None:
    stored(tmp_path)
    for read_only in (False, True):
        with pytest.raises(
            StoreMismatchError,
            match=r"written by the model clara-test \(fingerprint 0123456789ab\) and not by the one in use "
            r"\(ffffffffffff\); load that model with --model, or index into a new store\.$",
        ):
            MemoryStore.open(tmp_path, fingerprint="f" * 64, read_only=read_only)
    MemoryStore.open(tmp_path).close()


def test_nothing_that_exists_is_overwritten(tmp_path: Path) -> None:
    path = stored(tmp_path / "store")
    with pytest.raises(StoreError, match="already holds a memory store; open it or choose another folder"):
        create(path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="is not empty"):
        create(tmp_path / "mine")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(StoreError, match=r"thesis\.txt is a file and not a folder; choose another path"):
        create(tmp_path / "mine" / "thesis.txt")
    with pytest.raises(StoreError, match="cannot be made: Not a directory; choose another path"):
        create(tmp_path / "mine" / "thesis.txt" / "store")
    (path / "store.sqlite3").unlink()
    with pytest.raises(StoreError, match="is not empty"):  # segments without their tables
        create(path)


def test_missing_stores_and_sizes_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"There is no memory store at .*; index some documents into it first\.$"
    ):
        MemoryStore.open(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(InputError, match="memory_dim is 0; it must be at least 1"):
        open_or_create(tmp_path / "s", memory_dim=0)
    with pytest.raises(InputError, match="embedding_dim is 0; it must be at least 1"):
        open_or_create(tmp_path / "s", embedding_dim=0)


def edit(path: Path, query: str) -> None:
    with closing(sqlite3.connect(path / "store.sqlite3", isolation_level=None)) as connection:
        connection.execute(query)


def overwrite(path: Path, data: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "newer": (
        r"has format 99 and this version of Clara reads up to 3; install a newer version\.$",
        lambda path: edit(path, "UPDATE meta SET value = 99 WHERE key = 'format'"),
    ),
    "older": (
        r"has format 1, which a development version wrote; index the documents into a new store\.$",
        lambda path: edit(path, "UPDATE meta SET value = 1 WHERE key = 'format'"),
    ),
    "manifest": (
        r"is damaged: its manifest is incomplete; restore it from a backup",
        lambda path: edit(path, "DELETE FROM meta WHERE key = 'model'"),
    ),
    "other program's database": (
        r"is not a memory store's; choose another folder\.$",
        lambda path: edit(path, "PRAGMA application_id = 1"),
    ),
    "empty database": (
        r"is not a memory store's; choose another folder\.$",
        lambda path: os.truncate(path / "store.sqlite3", 0),
    ),
    "no database": (
        r"is damaged: file is not a database; restore it from a backup or index into a new store\.$",
        lambda path: overwrite(path / "store.sqlite3", b"rubbish " * 100),
    ),
    "broken pages": (
        r"is damaged: database disk image is malformed; restore it from a backup",
        lambda path: overwrite(path / "store.sqlite3", b"\xff" * 40000, at=100),
    ),
    "no table": (
        r"cannot be used \(no such table: segments\); check",
        lambda path: edit(path, "DROP TABLE segments"),
    ),
    "short segment": (
        r"memories-000001\.f16 is damaged: it has 71 bytes of the 72 recorded; restore it from a backup",
        lambda path: os.truncate(path / "segments" / "memories-000001.f16", 71),
    ),
    "missing segment": (
        r"keys-000001\.f16 is damaged: it cannot be opened \(No such file or directory\); restore",
        lambda path: (path / "segments" / "keys-000001.f16").unlink(),
    ),
    "missing segments": (
        r"memories-000001\.f16 is damaged: it cannot be opened",
        lambda path: shutil.rmtree(path / "segments"),
    ),
}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_stores_say_so_and_stay_as_they_are(tmp_path: Path, damage: str, read_only: bool) -> None:
    message, spoil = DAMAGES[damage]
    spoil(stored(tmp_path))
    (tmp_path / "lock").touch()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for _ in range(2):  # the failed call lets go of the lock
        with pytest.raises(StoreError, match=message) as raised:
            MemoryStore.open(tmp_path, read_only=read_only)
        assert str(raised.value).count("\n") == 0
    for path, data in before.items():
        assert path.read_bytes() == data


def test_a_segment_cut_while_open_is_an_error(tmp_path: Path) -> None:
    with MemoryStore.open(stored(tmp_path), read_only=True) as store:
        os.truncate(tmp_path / "segments" / "memories-000001.f16", 10)
        with pytest.raises(StoreError, match=r"memories-000001\.f16 is damaged: it cannot be read"):
            store.memories(store.vectors().ids.tolist())


def test_a_filter_follows_changes_of_the_store(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.add([item("a.md", 1, 1), item("b.pdf", 1)])
        filters = [Filter.parse(f"page<={page}") for page in range(20)]
        markdown = Filter.parse("format=md")
        for _ in range(2):  # more of them than are kept
            assert [len(store.filtered(where)) for where in filters[:3]] == [0, 1, 1]
            assert {len(store.filtered(where)) for where in filters[3:]} == {1}
            assert len(store.filtered(markdown)) == 2
        store.add([item("c.md", 1)])
        assert len(store.filtered(markdown)) == 3
        store.remove(["a.md"])
        assert len(store.filtered(markdown)) == 1
