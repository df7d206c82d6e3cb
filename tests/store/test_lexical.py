"""Questions as queries of full-text search, and rankings in one, against plain loops."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara.records import Document, Passage
from clara.store import Filter, MemoryStore, NewDocument, explain, search
from clara.store.lexical import VECTOR_WEIGHT, fused, fused_ranks, match_expression, query_terms, rarest_terms

TEXTS = [
    "the lease was signed by Kim",
    "near or far",
    "a NOT in the text",
    "über den Wolken",
    "naïve café 42",
]


def matching(question: str) -> set[int]:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'porter unicode61')")
    database.executemany("INSERT INTO words VALUES (?)", [(text,) for text in TEXTS])
    expression = match_expression(query_terms(question))
    if not expression:
        return set()
    return {row for (row,) in database.execute("SELECT rowid FROM words WHERE words MATCH ?", (expression,))}


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Who signed the lease?", {1}),
        ('"lease" AND NOT (kim*', {1}),
        ("NEAR(far, 2)", {2}),
        ("text: -lease ^far", {1, 2, 3}),
        ("signing leases", {1}),
        ("Über café", {4, 5}),
        ("42?", {5}),
        ("the", {1, 3}),  # common words count where there are no others
        ("?!", set()),
        ("", set()),
        ("\0", set()),
    ],
)
def test_questions_match_by_their_words(question: str, wanted: set[int]) -> None:
    assert matching(question) == wanted


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40) | st.text('"*()^:-+ ANDORNOTEAR{}', max_size=40))
def test_any_question_is_a_query(question: str) -> None:
    matching(question)
    assert bool(query_terms(question)) == bool(re.search(r"\w", question))


@given(
    cosines=st.dictionaries(st.integers(1, 50), st.floats(-1, 1), max_size=12),
    words=st.dictionaries(st.integers(1, 50), st.floats(0.01, 30), max_size=12),
)
def test_joined_as_by_plain_loops(cosines: dict[int, float], words: dict[int, float]) -> None:
    words = {number: score for number, score in words.items() if number in cosines}

    def ranked(scores: dict[int, float]) -> list[tuple[int, float]]:
        return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))

    best = [max([*each.values(), 1e-3]) for each in (cosines, words)]
    sums = {
        number: VECTOR_WEIGHT * score / best[0] + (1 - VECTOR_WEIGHT) * words.get(number, 0.0) / best[1]
        for number, score in cosines.items()
    }
    arrays = [
        (np.array([number for number, _ in ranked(each)], np.int64), np.array([s for _, s in ranked(each)]))
        for each in (cosines, words)
    ]
    ids, scores = fused(arrays[0], arrays[1])
    wanted = ranked(sums)
    np.testing.assert_allclose(scores, [score for _, score in wanted], rtol=1e-9, atol=1e-12)
    assert sorted(ids.tolist()) == sorted(cosines)
    np.testing.assert_allclose([sums[number] for number in ids.tolist()], scores, rtol=1e-9, atol=1e-12)


@given(
    counts=st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(0, 9), max_size=6),
    most=st.integers(0, 30),
)
def test_the_rarest_words_within_a_number_of_passages(counts: dict[str, int], most: int) -> None:
    kept = rarest_terms(counts, most)
    assert len(set(kept)) == len(kept)
    left = [counts[word] for word in counts if word not in kept]
    together = sum(counts[word] for word in kept)
    held = [counts[word] for word in kept if counts[word]]
    assert together <= most or len(held) == 1
    assert max(held, default=0) <= min(left, default=9)
    if left:  # and the next would have been too much
        assert held
        assert together + min(left) > most


def test_in_a_large_store_common_words_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def document(source: str, texts: list[str]) -> NewDocument:
        passages = [Passage(text, position=at) for at, text in enumerate(texts)]
        return NewDocument(Document(source, "", (), source), passages, [np.ones((1, 1))] * len(texts), None)

    with MemoryStore.create(tmp_path, fingerprint="f", model="m", memory_dim=1, embedding_dim=None) as store:
        store.add([document("a", ["a lease", "weather", *["filler"] * 20, "filler lease"])])
        words = ["filler", "lease", "nowhere"]
        assert len(store.lexical(words, 99)[0]) == 22
        monkeypatch.setattr("clara.store.reader.MOST_LOOKED_UP", 22)
        assert sorted(store.lexical(words, 99)[0]) == [1, 23]
        assert store.lexical(["filler"], 99)[0].size == 21
        assert store.lexical([], 99)[0].size == 0
        store.add([document("b", ["nowhere"] * 23)])  # what is rare changes with the store
        assert sorted(store.lexical(["lease", "nowhere"], 99)[0]) == [1, 23]


def test_search_of_a_store_by_words_and_vectors(tmp_path: Path) -> None:
    embeddings = np.eye(4, dtype=np.float32)
    texts = ["a lease of land", "the lease was signed by Kim", "weather", "signed and sealed"]
    passages = [Passage(text, position=at) for at, text in enumerate(texts)]
    query = np.array([0.0, 0.5, 0.9, 0.1], np.float32)
    with MemoryStore.create(tmp_path, fingerprint="f", model="m", memory_dim=1, embedding_dim=4) as store:
        store.add([NewDocument(Document("a.md", "", (), "1"), passages, [np.ones((1, 1))] * 4, embeddings)])
        others = [Passage(f"filler {at}", position=at) for at in range(20)]  # so that words tell something
        store.add(
            [
                NewDocument(
                    Document("b.md", "", (), "2"), others, [np.ones((1, 1))] * 20, -embeddings[[2] * 20]
                )
            ]
        )

        def found(question: str | None, where: Filter | None = None) -> list[int]:
            return [hit.stored.id for hit in search(store, query, 4, question=question, where=where)]

        assert found(None) == [3, 2, 4, 1]
        assert found("Who signed the lease?") == [2, 3, 4, 1]
        assert found("?") == found("nothing here fits") == found(None)
        assert found("lease", Filter.parse("format=pdf")) == []
        every = zip(*store.lexical(["lease", "signed"], 9), strict=True)
        ranking = [(int(number), float(score)) for number, score in every]
        assert {number for number, _ in ranking} == {1, 2, 4}
        for allowed in ([], [2], [1, 4], [1, 2, 3, 4], [2, 99]):
            among = store.lexical(["lease", "signed"], 9, np.array(allowed, np.int64))
            assert list(zip(*among, strict=True)) == [one for one in ranking if one[0] in allowed]
        told = explain(store, query, 4, question="Who signed the lease?")
        assert [step.name for step in told.steps] == ["exact", "lexical", "fused"]
        assert [one.id for one in told.steps[1].candidates][:1] == [2]
        assert {hit.stored.id: hit.score for hit in told.hits} == {
            hit.stored.id: hit.score for hit in search(store, query, 4)
        }
        store.remove(["a.md", "b.md"])
        assert found("lease") == []


@given(
    st.lists(st.integers(1, 60), unique=True, max_size=20),
    st.lists(st.integers(1, 60), unique=True, max_size=20),
)
def test_ranks_are_fused_as_by_plain_loops(dense: list[int], lexical: list[int]) -> None:
    sums = dict.fromkeys(sorted(dense), 0.0)
    for ranked in (dense, lexical):
        for place, number in enumerate(ranked):
            if number in sums:
                sums[number] += 1 / (20 + place + 1)
    expected = sorted(sums, key=lambda number: -sums[number])
    ids, scores = fused_ranks(ranking(dense), ranking(lexical))
    assert ids.tolist() == expected
    np.testing.assert_allclose(scores, [sums[number] for number in expected])


def ranking(ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(ids, np.int64), np.linspace(1, 0, len(ids))
