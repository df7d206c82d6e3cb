"""An index's searches are those that a user's own would be, over the same store."""

from __future__ import annotations

from pathlib import Path

import pytest

from clara.corpus_index import CorpusIndex
from clara.pipeline import Clara
from clara.store import MemoryStore
from conftest import tiny_model


@pytest.mark.parametrize("score", ["mean", "words"])
@pytest.mark.parametrize("hybrid", [False, True])
def test_searches_are_those_of_the_model(tmp_path: Path, texts: list[str], hybrid: bool, score: str) -> None:
    clara = Clara(*tiny_model("bert", score=score), name="tiny")
    index = CorpusIndex.filled(clara, tmp_path, texts, None)
    question = " ".join(texts[4].split()[:2])
    found = {"search": index.search(question, len(texts)), "joined": index.joined(question, len(texts))}
    index.close()
    with MemoryStore.open(tmp_path) as store:
        hits = clara.search(question, store, k=len(texts), hybrid=hybrid)
    chosen = found["joined" if hybrid else "search"]
    assert [texts[number] for number in chosen] == [hit.stored.passage.text for hit in hits]
    # a match orders what either search finds, here everything
    assert (found["joined"] == found["search"]) == (score == "words")


def test_a_match_orders_some_passages_as_all(tmp_path: Path, texts: list[str]) -> None:
    index = CorpusIndex.filled(Clara(*tiny_model("bert", score="words"), name="tiny"), tmp_path, texts, 2)
    whole = index.search("w1 w2", len(texts))
    assert index.search("w1 w2", 2, among=[1, 3, 5]) == [number for number in whole if number % 2][:2]
    index.close()
