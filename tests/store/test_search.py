"""Search against a slow twin that follows the definition with plain loops."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clara.errors import InputError
from clara.records import Document, Passage
from clara.store import Filter, MemoryStore, NewDocument, explain, search

Array = NDArray[np.floating]


def create(
    path: Path, memory_dim: int, embedding_dim: int | None, max_segment_bytes: int = 1 << 30
) -> MemoryStore:
    return MemoryStore.create(
        path,
        fingerprint="f",
        model="m",
        memory_dim=memory_dim,
        embedding_dim=embedding_dim,
        max_segment_bytes=max_segment_bytes,
    )


def item(source: str, memories: Sequence[Array], embeddings: Array | None = None) -> NewDocument:
    passages = [Passage(f"{source} {at}", position=at) for at in range(len(memories))]
    return NewDocument(Document(source, source, (), ""), passages, memories, embeddings)


def slow_cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """Of two vectors, the shorter one taken to go on with zeros."""
    dot = math.fsum(a * b for a, b in zip(left, right, strict=False))
    lengths = math.sqrt(math.fsum(a * a for a in left)) * math.sqrt(math.fsum(b * b for b in right))
    return dot / lengths if lengths else 0.0


def slow_search(vectors: dict[int, Array], query: Array, k: int) -> list[tuple[int, float]]:
    """The best numbers and scores; `vectors` holds float16 arrays of any shape by number."""
    flat = [float(value) for value in query.ravel()]
    scores = {
        number: slow_cosine([float(value) for value in vector.ravel()], flat)
        for number, vector in vectors.items()
    }
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))[:k]


def assert_same(store: MemoryStore, vectors: dict[int, Array], query: Array, k: int) -> None:
    hits = search(store, query, k)
    wanted = slow_search(vectors, query, k)
    assert [hit.rank for hit in hits] == list(range(1, len(wanted) + 1))
    np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in wanted], atol=1e-9)
    # passages whose scores differ by no more than rounding may change places, and no others
    own = dict(slow_search(vectors, query, len(vectors)))
    for hit, (number, score) in zip(hits, wanted, strict=True):
        assert hit.stored.id == number or math.isclose(own[hit.stored.id], score, abs_tol=1e-9)
        assert store.passages([hit.stored.id]) == [hit.stored]
        assert -1 <= hit.score <= 1


def stored_vectors(store: MemoryStore) -> dict[int, Array]:
    """What is compared, read row by row from the table."""
    table = store.vectors()
    return {
        int(number): np.array(table.rows(int(segment))[first : first + count])
        for number, segment, first, count in zip(
            table.ids, table.segment, table.first, table.count, strict=True
        )
    }


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    numbers=st.lists(st.integers(0, 12), min_size=1, max_size=6),
    removed=st.sets(st.integers(0, 5)),
    max_segment_bytes=st.sampled_from([40, 200, 1 << 20]),
    k=st.integers(1, 30),
)
def test_keys_match_the_slow_twin(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    numbers: list[int],
    removed: set[int],
    max_segment_bytes: int,
    k: int,
) -> None:
    rng = np.random.default_rng(seed)
    with create(tmp_path_factory.mktemp("store"), 1, 8, max_segment_bytes) as store:
        for at, number in enumerate(numbers):
            # few different values, so that there are equal embeddings
            embeddings = rng.integers(-1, 2, (number, 8)).astype(np.float32)
            embeddings[:, 0] += 3
            store.add([item(str(at), [np.ones((1, 1), np.float32)] * number, embeddings)])
        store.remove(map(str, removed))
        assert_same(store, stored_vectors(store), rng.standard_normal(8), k)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    rows=st.lists(st.lists(st.integers(1, 5), max_size=6), min_size=1, max_size=5),
    removed=st.sets(st.integers(0, 4)),
    query_rows=st.integers(1, 6),
    max_segment_bytes=st.sampled_from([40, 200, 1 << 20]),
    k=st.integers(1, 30),
)
def test_memories_match_the_slow_twin(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    rows: list[list[int]],
    removed: set[int],
    query_rows: int,
    max_segment_bytes: int,
    k: int,
) -> None:
    rng = np.random.default_rng(seed)
    with create(tmp_path_factory.mktemp("store"), 3, None, max_segment_bytes) as store:
        for at, counts in enumerate(rows):
            store.add([item(str(at), [rng.standard_normal((count, 3)) * 5 for count in counts])])
        store.remove(map(str, removed))
        ids = store.vectors().ids.tolist()
        memories: dict[int, Array] = dict(zip(ids, store.memories(ids), strict=True))
        assert_same(store, memories, rng.standard_normal((query_rows, 3)), k)


def test_many_blocks_match_the_slow_twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("clara.store.scoring"), "_BLOCK_VALUES", 64)
    rng = np.random.default_rng(3)
    with create(tmp_path, 4, None) as store:
        store.add([item("a", [rng.standard_normal((1 + at % 4, 4)) for at in range(200)])])
        store.add([item("b", [rng.standard_normal((20, 4))])])  # larger than a block
        ids = store.vectors().ids.tolist()
        memories: dict[int, Array] = dict(zip(ids, store.memories(ids), strict=True))
        assert_same(store, memories, rng.standard_normal((3, 4)), 50)


def test_equal_vectors_come_by_number_wherever_they_lie(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    same = rng.standard_normal(384).astype(np.float32)
    with create(tmp_path, 1, 384) as store:
        for at in range(30):
            others = rng.standard_normal((at % 7, 384)).astype(np.float32)
            embeddings = np.vstack([others, same[None] * (1 + at)])  # the length of a key does not matter
            store.add([item(str(at), [np.ones((1, 1), np.float32)] * len(embeddings), embeddings)])
        hits = search(store, same + 0.1 * rng.standard_normal(384), 30)
        numbers = [hit.stored.id for hit in hits]
        assert numbers == sorted(numbers)
        assert {hit.stored.passage.position for hit in hits} == {at % 7 for at in range(30)}
        assert len({hit.score for hit in hits}) == 1
        assert [hit.stored.id for hit in search(store, same, 7)] == numbers[:7]


def test_score_is_a_cosine_whatever_the_lengths(tmp_path: Path) -> None:
    with create(tmp_path, 1, 2) as store:
        embeddings = np.array([[3, 0], [0, 0.001], [-5, 0], [1, 1]], np.float32)
        store.add([item("a", [np.ones((1, 1), np.float32)] * 4, embeddings)])
        hits = search(store, np.array([1000.0, 0.0]), 9)
    assert [hit.stored.passage.text for hit in hits] == ["a 0", "a 3", "a 1", "a 2"]
    np.testing.assert_allclose([hit.score for hit in hits], [1, math.sqrt(0.5), 0, -1], atol=1e-12)


def test_memory_of_zeros_scores_zero(tmp_path: Path) -> None:
    with create(tmp_path, 2, None) as store:
        store.add([item("a", [np.zeros((2, 2)), np.array([[-1.0, 0.0]]), np.array([[1.0, 0.0]])])])
        hits = search(store, np.array([[1.0, 0.0], [0.0, 1.0]]), 3)
    assert [hit.stored.passage.position for hit in hits] == [2, 0, 1]
    assert hits[1].score == 0


def test_empty_stores_give_no_hits(tmp_path: Path) -> None:
    with create(tmp_path / "keys", 1, 4) as store:
        assert search(store, np.ones(4), 3) == []
        store.add([item("a", [np.ones((1, 1))], np.ones((1, 4)))])
        store.remove(["a"])
        assert search(store, np.ones(4), 3) == []
    with create(tmp_path / "memories", 4, None) as store:
        assert search(store, np.ones((2, 4)), 3) == []


def test_search_follows_changes(tmp_path: Path) -> None:
    with create(tmp_path, 1, 2) as store:
        for at in range(5):
            store.add([item(str(at), [np.ones((1, 1))], np.array([[1.0, at]]))])
            assert [hit.stored.source for hit in search(store, np.array([0.0, 1.0]), 1)] == [str(at)]
        store.remove(["4"])
        assert [hit.stored.source for hit in search(store, np.array([0.0, 1.0]), 2)] == ["3", "2"]


@pytest.mark.parametrize(
    ("query", "k", "message"),
    [
        (np.ones(3), 1, r"The query has shape \(3,\) and the store is searched with shape \(4,\)\.$"),
        (np.ones((1, 4)), 1, r"The query has shape \(1, 4\) and the store is searched with shape \(4,\)\.$"),
        (np.zeros(4), 1, "is zero or not finite"),
        (np.array([1, np.nan, 0, 0]), 1, "is zero or not finite"),
        (np.ones(4), 0, r"k is 0, but must be at least 1"),
    ],
)
def test_bad_queries_are_errors(tmp_path: Path, query: Array, k: int, message: str) -> None:
    with create(tmp_path, 1, 4) as store, pytest.raises(InputError, match=message):
        search(store, query, k)


@pytest.mark.parametrize("query", [np.ones(4), np.ones((2, 3)), np.ones((0, 4))])
def test_bad_memory_queries_are_errors(tmp_path: Path, query: Array) -> None:
    with (
        create(tmp_path, 4, None) as store,
        pytest.raises(InputError, match=r"and the store is searched with shape \(rows, 4\)\.$"),
    ):
        search(store, query, 1)


def test_large_stores_are_searched_quickly(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    number = 20_000
    embeddings = rng.standard_normal((number, 384)).astype(np.float32)
    with create(tmp_path, 1, 384) as store:
        store.add([item("a", [np.ones((1, 1), np.float16)] * number, embeddings)])
        search(store, embeddings[7], 5)
        start = time.perf_counter()
        hits = search(store, embeddings[7], 5)
        assert time.perf_counter() - start < 0.5
    assert (hits[0].stored.passage.position, round(hits[0].score, 3)) == (7, 1.0)
    exact = embeddings @ embeddings[7] / np.linalg.norm(embeddings, axis=1) / np.linalg.norm(embeddings[7])
    assert [hit.stored.passage.position for hit in hits] == np.argsort(-exact)[:5].tolist()


def test_passages_of_the_same_content_are_one_hit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((4, 8)).astype(np.float32)
    memory = np.ones((1, 1), np.float32)
    with create(tmp_path, 1, 8) as store:
        for source in "abc":
            passages = [Passage(f"text {at}", title="t", position=at) for at in range(4)]
            store.add([NewDocument(Document(source, "t", (), source), passages, [memory] * 4, embeddings)])
        other = [Passage("text 0", title="another", position=0)]
        store.add([NewDocument(Document("d", "another", (), "d"), other, [memory], embeddings[:1])])
        for hits in (
            search(store, embeddings[0], 3),
            search(store, embeddings[0], 50)[:3],
        ):
            assert [(hit.stored.source, hit.rank) for hit in hits[:2]] == [("a", 1), ("d", 2)]
            assert hits[0].also_in == ("b", "c")
            assert len(hits) == 3
        assert len(search(store, embeddings[0], 50)) == 5


def test_an_explanation_tells_every_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    with create(tmp_path, 1, 8) as store:
        store.add([item("a.md", [np.ones((1, 1))] * 30, rng.standard_normal((30, 8)))])
        store.add([item("b.txt", [np.ones((1, 1))] * 9, rng.standard_normal((9, 8)))])
        query = rng.standard_normal(8)
        told = explain(store, query, 4, where=Filter.parse("format=md"))
        assert told.hits == search(store, query, 4, where=Filter.parse("format=md"))
        assert {hit.stored.source for hit in told.hits} == {"a.md"}
        assert (told.passages, told.allowed) == (39, 30)
        assert [(step.name, step.count) for step in told.steps] == [("filter", 30), ("exact", 30)]
        best = [(one.id, one.rank, one.score) for one in told.steps[1].candidates[:4]]
        assert best == [(hit.stored.id, hit.rank, hit.score) for hit in told.hits]
        assert all(step.milliseconds >= 0 for step in told.steps)


def test_a_match_orders_the_best_candidates_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own scores, from the memories as they are stored; the candidates are those of the embeddings."""
    monkeypatch.setattr(import_module("clara.store.search"), "RERANKED", 6)
    rng = np.random.default_rng(0)
    memories = [rng.normal(size=(2, 4)).astype(np.float16) for _ in range(20)]
    embeddings = rng.normal(size=(20, 3)).astype(np.float16)
    query = rng.normal(size=3)

    def match(given: Sequence[Array]) -> Array:
        return np.array([float(memory[1, 2]) for memory in given])

    with create(tmp_path, 4, 3) as store:
        store.add([item(str(at), [memories[at]], embeddings[at : at + 1]) for at in range(20)])
        numbers = {store.passages([number])[0].source: number for number in store.vectors().ids.tolist()}
        candidates = [int(hit.stored.source) for hit in search(store, query, 6)]
        wanted = sorted(candidates, key=lambda at: -float(memories[at][1, 2]))
        trace = explain(store, query, 3, rerank=match)
        assert [int(hit.stored.source) for hit in trace.hits] == wanted[:3]
        assert [hit.score for hit in trace.hits] == [float(memories[at][1, 2]) for at in wanted[:3]]
        assert [step.name for step in trace.steps] == ["exact", "rerank"]
        assert [one.id for one in trace.steps[1].candidates] == [numbers[str(at)] for at in wanted]
        # more are wanted than are matched: all of them are
        deep = search(store, query, 20, rerank=match)
        scores = [hit.score for hit in deep]
        assert len(deep) == 20
        assert scores == sorted(scores, reverse=True)
        equal = search(store, query, 20, rerank=lambda given: np.zeros(len(given)))
        assert [hit.stored.id for hit in equal] == sorted(numbers.values())
