"""What could go wrong without a word: stale files, blessed damage, lost documents. Each is provoked here."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_store import content, create, expected, item

from clara.errors import StoreError
from clara.records import Document
from clara.store import MemoryStore, NewDocument
from clara.store.codecs import plain_codec
from clara.store.maintenance import check, compact
from clara.store.segments import Appender
from clara.store.transfer import export, import_store


def copy_of(original: NewDocument, source: str) -> NewDocument:
    return replace(original, document=replace(original.document, source=source))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# files that come and go


@pytest.mark.parametrize("embedding_dim", [4, None])
def test_a_reader_never_takes_a_new_file_for_an_old_one(tmp_path: Path, embedding_dim: int | None) -> None:
    has_embeddings = embedding_dim is not None
    old, new = item("a", 3, 2, has_embeddings=has_embeddings), item("b", 2, 2, has_embeddings=has_embeddings)
    with (
        create(tmp_path, embedding_dim=embedding_dim) as store,
        MemoryStore.open(tmp_path, read_only=True) as reader,
    ):
        store.add([old])
        assert content(reader) == expected(old)
        store.remove(["a"])
        compact(store)
        store.add([new])
        assert content(reader) == expected(new)


@pytest.mark.parametrize("log", ["empty", "in use"])
def test_files_are_deleted_only_when_no_reader_sees_an_older_state(tmp_path: Path, log: str) -> None:
    def files() -> set[str]:
        return {path.name for path in (tmp_path / "segments").iterdir()}

    with create(tmp_path) as store:
        store.add([item("a", 2)])
    # closed by its last user, the database has no log; the reader's state is then that of the file alone
    with MemoryStore.open(tmp_path, read_only=True) as reader:
        if log == "in use":
            with MemoryStore.open(tmp_path) as store:
                store.add([item("b", 1)])
        with reader.snapshot():
            before, old = content(reader), files()
            with MemoryStore.open(tmp_path) as store:
                compact(store)
            MemoryStore.open(tmp_path).close()
            assert old < files()
            assert content(reader) == before
        MemoryStore.open(tmp_path).close()
        assert not old & files()
        assert content(reader) == before


def test_a_failed_addition_deletes_nothing_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        create(tmp_path, max_segment_bytes=40) as store,
        MemoryStore.open(tmp_path, read_only=True) as reader,
    ):
        store.add([item("a", 2, 2, 2)])
        with reader.snapshot():
            reader.documents()  # the reader's moment is now, and it has mapped nothing yet
            compact(store)

            def full(*_: object) -> None:
                raise OSError(28, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(Appender, "append", full)
                with pytest.raises(StoreError, match="nothing was added"):
                    store.add([item("b", 1)])
            assert content(reader) == expected(item("a", 2, 2, 2))
        assert content(reader) == expected(item("a", 2, 2, 2))


def test_a_store_can_be_opened_while_it_is_compacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that has just learned the names of the files is overtaken by a compaction."""
    from clara.store.segments import SegmentFiles

    with create(tmp_path) as store:
        store.add([item("a", 2, 2)])
        looked = SegmentFiles.check
        overtaken: list[bool] = []

        def late(self: SegmentFiles, segments: object) -> None:
            if not overtaken:
                overtaken.append(True)
                compact(store)
            looked(self, segments)  # type: ignore[arg-type]

        monkeypatch.setattr(SegmentFiles, "check", late)
        with MemoryStore.open(tmp_path, read_only=True) as reader:
            assert content(reader) == expected(item("a", 2, 2))


# damage


def test_compaction_gives_damaged_vectors_no_new_checksum(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.add([item("a", 2, 2)])
        store.add([item("b", 1)])
    flip(tmp_path / "segments" / "memories-000001.f16", 3)
    with MemoryStore.open(tmp_path) as store:
        with pytest.raises(StoreError, match="clara store check --drop-damaged"):
            compact(store)
        assert check(store).damaged == ["a"]


def test_dropping_a_damaged_document_drops_its_copies(tmp_path: Path) -> None:
    damaged = item("a", 2, 2)
    with create(tmp_path) as store:
        store.add([damaged])
        store.add([copy_of(damaged, "b"), item("c", 1)])
    flip(tmp_path / "segments" / "memories-000001.f16", 3)
    with MemoryStore.open(tmp_path) as store:
        assert check(store, drop_damaged=True).damaged == ["a", "b"]
        assert content(store) == expected(item("c", 1))
        assert store.sources().keys() == {"c"}
        assert check(store).faults == []


@pytest.mark.parametrize("loss", ["missing", "short"])
def test_a_lost_file_can_be_checked_and_its_documents_dropped(tmp_path: Path, loss: str) -> None:
    with create(tmp_path, max_segment_bytes=40) as store:
        store.add([item("a", 2, 2)])
        store.add([item("b", 2)])
    lost = tmp_path / "segments" / "memories-000001.f16"
    if loss == "missing":
        lost.unlink()
    else:
        os.truncate(lost, 5)
    with MemoryStore.open(tmp_path, damaged=True) as store:
        report = check(store, drop_damaged=True)
        assert report.damaged == ["a"]
        assert "memories-000001.f16" in " ".join(report.faults)
    with MemoryStore.open(tmp_path) as store:
        assert content(store) == expected(item("b", 2))
        store.add([item("a", 2, 2)])
        assert content(store) == expected(item("a", 2, 2), item("b", 2))
        assert check(store).faults == []


def test_words_that_are_not_in_their_index_are_a_fault(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.add([item("a", 1, 1)])
    with closing(sqlite3.connect(tmp_path / "store.sqlite3", isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO words (words, rowid, title, heading, text)"
            " SELECT 'delete', id, title, heading, text FROM passages LIMIT 1"
        )
    with MemoryStore.open(tmp_path) as store:
        assert any("full-text index" in fault for fault in check(store).faults)


def test_a_database_from_a_backup_does_not_meet_newer_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clara.store.reader._WORTH_KEEPING", 0)
    path = tmp_path / "store"
    with create(path) as store:
        store.add([item("a", 1, 2)])
    shutil.copytree(path, tmp_path / "backup")
    with MemoryStore.open(path) as store:
        store.add([item("b", 3, 1)])
    shutil.copy(tmp_path / "backup" / "store.sqlite3", path / "store.sqlite3")
    with MemoryStore.open(path) as store:
        assert content(store) == expected(item("a", 1, 2))
        store.add([item("c", 2)])
        assert content(store) == expected(item("a", 1, 2), item("c", 2))


# nothing is lost


def test_the_vectors_of_a_copy_take_no_space(tmp_path: Path) -> None:
    original = item("a", 2, 3)
    with create(tmp_path) as store:
        store.add([original])
        store.add([copy_of(original, "b")])
        assert store.info().dead_bytes == 0
        assert store.copies() == [("b", "a", original.document.modified)]


def test_copies_of_what_is_not_stored_remove_nothing(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.add([item("a", 1)])
        own = item("a", 1).document.sha256
        assert store.add_copies([("a", 1.0, "unknown"), ("a", 1.0, own)]) == 0
        assert content(store) == expected(item("a", 1))


def test_empty_documents_and_their_copies_are_exported(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    empty = NewDocument(Document("empty", "Empty", (), "e" * 64, 3.0), [], [], np.empty((0, 4)))
    with create(tmp_path / "one") as store:
        store.add([empty, item("a", 1)])
        store.add_copies([("copy", 4.0, "e" * 64)])
        export(store, tmp_path / "exported")
        wanted = (store.documents(), store.copies())
    import_store(tmp_path / "exported", tmp_path / "two")
    with MemoryStore.open(tmp_path / "two") as store:
        assert (store.documents(), store.copies()) == wanted
        assert content(store) == content_of(tmp_path / "one")


def content_of(path: Path) -> object:
    with MemoryStore.open(path, read_only=True) as store:
        return content(store)


def test_an_import_that_fails_leaves_no_half_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    with create(tmp_path / "one") as store:
        store.add([item(name, 1, 2) for name in "abc"])
        export(store, tmp_path / "exported")
    add = MemoryStore.add

    def failing(self: MemoryStore, items: list[NewDocument]) -> None:
        add(self, items[:1])
        raise StoreError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryStore, "add", failing)
        with suppress(StoreError):
            import_store(tmp_path / "exported", tmp_path / "two")
    with pytest.raises(StoreError, match="There is no memory store"):
        MemoryStore.open(tmp_path / "two")
    import_store(tmp_path / "exported", tmp_path / "two")
    assert content_of(tmp_path / "two") == content_of(tmp_path / "one")


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_the_largest_numbers_stay_finite(name: str) -> None:
    rows = np.array([[65504, -65504, 1, 0], [65504, 60000, 3, -2]], np.float16)
    codec = plain_codec(name, 4)
    decoded = codec.decode(codec.encode(rows)).astype(np.float64)
    step = 65504 / {"int8": 127, "int4": 7}[name]
    np.testing.assert_allclose(decoded, rows.astype(np.float64), atol=0.51 * step)
