"""The index against a search of every passage; what happens when it is old, damaged or half built."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clara.errors import MissingExtraError, StoreError
from clara.records import Document, Passage
from clara.store import (
    Filter,
    MemoryStore,
    NewDocument,
    build_index,
    explain,
    index_is_due,
    refresh_index,
    search,
)
from clara.store.building import leading_directions

pytest.importorskip("faiss")

WIDTH = 24
Array = NDArray[np.float32]


@pytest.fixture(autouse=True)
def _index_small_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("building", "search"):
        monkeypatch.setattr(import_module(f"clara.store.{module}"), "EXACT_VALUES", 200 * WIDTH)


def grouped(seed: int, number: int, width: int = WIDTH) -> Array:
    """Vectors around forty centres, as passages lie around topics."""
    centres = np.random.default_rng(99).standard_normal((40, width))
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((number, width)) * 0.6
    return (centres[rng.integers(0, 40, number)] + noise).astype(np.float32)


def document(source: str, embeddings: Array, memories: list[Array] | None = None) -> NewDocument:
    passages = [Passage(f"{source} {at}", position=at) for at in range(len(embeddings))]
    if memories is not None:
        return NewDocument(Document(source, source, (), source), passages, memories)
    return NewDocument(
        Document(source, source, (), source),
        passages,
        [np.ones((1, 2), np.float32)] * len(embeddings),
        embeddings,
    )


def filled(path: Path, embeddings: Array) -> MemoryStore:
    store = MemoryStore.create(
        path, fingerprint="f", model="m", memory_dim=2, embedding_dim=embeddings.shape[1]
    )
    for at in range(0, len(embeddings), 500):
        store.add([document(f"/texts/{at}.txt", embeddings[at : at + 500])])
    return store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 3,000 passages with its index, to be copied."""
    path = tmp_path_factory.mktemp("made") / "store"
    with filled(path, grouped(0, 3000)) as store:
        build_index(store)
    return path


@pytest.fixture
def built(made: Path, tmp_path: Path) -> Iterator[MemoryStore]:
    shutil.copytree(made, tmp_path / "built")
    with MemoryStore.open(tmp_path / "built") as store:
        yield store


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Iterator[MemoryStore]:
    shutil.copytree(made, tmp_path / "store", ignore=shutil.ignore_patterns("index"))
    with MemoryStore.open(tmp_path / "store") as store:
        yield store


def same_hits(store: MemoryStore, queries: Array, where: Filter | None = None) -> float:
    """Share of the best ten that the index finds; what it finds has to have the same scores."""
    found = 0
    for query in queries:
        wanted = {hit.stored.id: hit.score for hit in search(store, query, 10, where=where, index=False)}
        hits = search(store, query, 10, where=where, index=True)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        for hit in hits:
            assert hit.score == wanted.get(hit.stored.id, hit.score)
        found += len(wanted.keys() & {hit.stored.id for hit in hits})
    return found / (10 * len(queries))


def test_finds_what_a_search_of_all_finds(store: MemoryStore) -> None:
    steps: list[tuple[str, int, int]] = []
    report = build_index(store, lambda *step: steps.append(step))
    assert (report.passages, report.recall >= 0.99) == (3000, True)
    assert steps[-1] == ("Indexing", 3000, 3000)
    assert report.bytes == sum(path.stat().st_size for path in (store.path / "index").glob("*-*"))
    queries = grouped(1, 40)
    assert same_hits(store, queries) >= 0.99
    assert [step.name for step in explain(store, queries[0], 10).steps] == ["index", "exact"]


def test_memories_of_several_lengths(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    flat = grouped(0, 2000, 4 * 8).reshape(-1, 4, 8)
    memories = [rows[: rng.integers(1, 5)] for rows in flat]
    with MemoryStore.create(tmp_path, fingerprint="f", model="m", memory_dim=8, embedding_dim=None) as store:
        store.add([document("a", np.empty((2000, 0), np.float32), memories)])
        assert build_index(store).recall > 0.95
        found = 0
        for query in grouped(1, 20, 4 * 8).reshape(-1, 4, 8):
            wanted = [hit.stored.id for hit in search(store, query, 10, index=False)]
            found += len({hit.stored.id for hit in search(store, query, 10, index=True)} & set(wanted))
        assert found / 200 > 0.9


def test_passages_added_since_are_found_and_removed_ones_are_not(built: MemoryStore) -> None:
    assert not index_is_due(built)
    query = np.full(WIDTH, 7.0, np.float32)
    built.add([document("new", query[None] + grouped(3, 5) / 100)])
    assert {hit.stored.source for hit in search(built, query, 5)} == {"new"}
    gone = search(built, grouped(0, 1)[0], 1)[0].stored
    built.remove([gone.source])
    assert gone.id not in {hit.stored.id for hit in search(built, grouped(0, 1)[0], 50)}
    assert same_hits(built, grouped(1, 10)) >= 0.99


def test_all_candidates_removed_means_looking_further(store: MemoryStore) -> None:
    near = np.tile(np.full(WIDTH, 9.0, np.float32), (600, 1)) + grouped(4, 600) / 1000
    store.add([document("near", near)])
    build_index(store)
    store.remove(["near"])
    hits = search(store, near[0], 10, index=True)
    assert len(hits) == 10


def test_is_due_when_a_fifth_lies_outside(store: MemoryStore, tmp_path: Path) -> None:
    assert index_is_due(store)
    build_index(store)
    store.add([document("some", grouped(5, 500))])
    assert not index_is_due(store)
    store.add([document("more", grouped(6, 300))])
    assert index_is_due(store)
    with filled(tmp_path / "small", grouped(0, 100)) as small:
        assert not index_is_due(small)


def test_refreshing_builds_what_is_due(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "faiss", None)
        assert refresh_index(store) is None
        assert [record.message for record in caplog.records if "needs FAISS" in record.message]
    report = refresh_index(store)
    assert report is not None
    assert report.passages == 3000
    assert refresh_index(store) is None


def test_the_chosen_effort_is_the_cheapest_that_finds_enough(caplog: pytest.LogCaptureFixture) -> None:
    building = import_module("clara.store.building")
    choice, cheap, dear = building._Choice, building._BUDGET / 4, building._BUDGET * 2
    low, middle, high = (
        choice(0.7, cheap, 8, 100),
        choice(0.95, cheap * 2, 16, 100),
        choice(1.0, dear, 64, 100),
    )
    assert building._cheapest([low, middle, choice(0.995, cheap * 3, 32, 100), high]).probed == 32
    assert building._cheapest([low, middle, high]).probed == 16
    assert building._cheapest([low, high]).probed == 64
    assert not caplog.records
    assert building._cheapest([low]).probed == 8
    assert "finds 0.700 of the best 100" in caplog.text


def test_filters_with_an_index(built: MemoryStore) -> None:
    broad, narrow = Filter.parse("file!=/texts/0.txt"), Filter.parse("file=/texts/500.txt")
    assert same_hits(built, grouped(1, 20), broad) >= 0.98
    assert same_hits(built, grouped(1, 20), narrow) >= 0.98
    assert {hit.stored.source for hit in search(built, grouped(1, 1)[0], 9, where=narrow)} == {
        "/texts/500.txt"
    }


@pytest.mark.parametrize("k", [5, 60, 150])
def test_the_index_gives_as_many_candidates_as_are_ranked(built: MemoryStore, k: int) -> None:
    steps = {step.name: step for step in explain(built, grouped(1, 1)[0], k, index=True).steps}
    assert steps["index"].count >= 2 * k
    assert steps["exact"].count < 3000  # candidates sufficed


@pytest.mark.parametrize("name", ["lists-000001.faiss", "directions-000001.npy", "index.json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_a_damaged_index_is_not_used(
    built: MemoryStore, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    query = grouped(1, 1)[0]
    wanted = search(built, query, 5, index=False)
    path = built.path / "index" / name
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    with caplog.at_level(logging.WARNING, "clara.store"):
        assert search(built, query, 5) == wanted
        assert search(built, query, 5) == wanted
    is_missing = damage == "gone" and name == "index.json"
    assert len(caplog.records) == (0 if is_missing else 1)
    with pytest.raises(StoreError, match="build one first" if is_missing else "build it again"):
        search(built, query, 5, index=True)
    build_index(built)
    assert [step.name for step in explain(built, query, 5).steps] == ["index", "exact"]


def test_the_index_of_another_store_is_not_used(
    built: MemoryStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with filled(tmp_path / "other", grouped(8, 3000)) as other:
        shutil.copytree(built.path / "index", other.path / "index")
        query = grouped(1, 1)[0]
        assert [step.name for step in explain(other, query, 5).steps] == ["exact"]
        assert "is of another store" in caplog.text
        assert index_is_due(other)


def test_a_store_brought_back_from_a_copy_does_not_use_a_later_index(tmp_path: Path) -> None:
    with filled(tmp_path / "store", grouped(0, 1000)):
        pass
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    with MemoryStore.open(tmp_path / "store") as store:
        store.add([document("lost", grouped(3, 1000))])
        build_index(store)
    (tmp_path / "store" / "index").rename(tmp_path / "copy" / "index")
    query = np.full(WIDTH, 5.0, np.float32)
    with MemoryStore.open(tmp_path / "copy") as copy:
        copy.add([document("other", query + grouped(4, 1000) / 100)])  # under the numbers of those lost
        assert search(copy, query, 5) == search(copy, query, 5, index=False)
        assert [step.name for step in explain(copy, query, 5).steps] == ["exact"]


@pytest.mark.parametrize("at", ["save", "replace", "sync_folder"])
def test_killed_while_building(built: MemoryStore, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    before = json.loads((built.path / "index" / "index.json").read_text())
    built.add([document("new", grouped(5, 700))])

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if at == "save":
            patch.setattr("numpy.save", die)
        elif at == "replace":
            patch.setattr(Path, "replace", die)
        else:
            patch.setattr("clara.files.sync_folder", die)
        with pytest.raises(KeyboardInterrupt):
            build_index(built)
    after = json.loads((built.path / "index" / "index.json").read_text())
    assert (after == before) == (at != "sync_folder")
    assert same_hits(built, grouped(1, 10)) >= 0.99
    build_index(built)
    assert len(list((built.path / "index").iterdir())) == 3


def test_without_faiss(built: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    query = grouped(1, 1)[0]
    wanted = search(built, query, 5, index=False)
    with MemoryStore.open(built.path, read_only=True) as reader:
        monkeypatch.setitem(sys.modules, "faiss", None)
        assert search(reader, query, 5) == wanted
        for call in (lambda: build_index(built), lambda: search(reader, query, 5, index=True)):
            with pytest.raises(
                MissingExtraError, match=r"^An index needs FAISS, and .*'clara-rag\[index\]'\.$"
            ):
                call()


def test_no_index_where_there_can_be_none(tmp_path: Path, store: MemoryStore) -> None:
    with pytest.raises(StoreError, match="has no index; build one first"):
        search(store, np.ones(WIDTH), 1, index=True)
    with (
        MemoryStore.open(store.path, read_only=True) as reader,
        pytest.raises(StoreError, match="read-only"),
    ):
        build_index(reader)
    with (
        filled(tmp_path / "empty", np.empty((0, 4), np.float32)) as empty,
        pytest.raises(StoreError, match="holds no passages"),
    ):
        build_index(empty)


@pytest.mark.parametrize("number", [1, 2, 30])
def test_stores_of_few_passages_can_be_indexed(tmp_path: Path, number: int) -> None:
    with filled(tmp_path, grouped(0, number)) as store:
        build_index(store)
        query = grouped(1, 1)[0]
        assert search(store, query, 50, index=True) == search(store, query, 50, index=False)


def test_directions_are_those_of_a_full_decomposition() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((500, 60)) * 0.8 ** np.arange(60) + 0.3).astype(np.float32)
    found = leading_directions(vectors, 0.95, 60)
    lengths = np.linalg.svd(vectors, compute_uv=False) ** 2
    enough = int(np.searchsorted(np.cumsum(lengths) / lengths.sum(), 0.95)) + 1
    assert found.shape == (60, -(-enough // 8) * 8)
    np.testing.assert_allclose(found.T @ found, np.eye(found.shape[1]), atol=1e-5)
    held = np.square(vectors @ found).sum()
    np.testing.assert_allclose(held, lengths[: found.shape[1]].sum(), rtol=1e-5)
    few = leading_directions(vectors[:3], 1.0, 60)
    np.testing.assert_allclose(few.T @ few, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(vectors[:3] @ few @ few.T, vectors[:3], atol=1e-4)
