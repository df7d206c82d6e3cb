"""Stores whose memories have another rate than the model's own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from clara.errors import InputError
from clara.library import Library
from clara.pipeline import Clara
from clara.store.transfer import export, import_store
from conftest import WORDS, tiny_model

QUESTION = "w3 w10 w17"


@pytest.fixture(scope="module")
def clara() -> Clara:
    model, processor = tiny_model(
        "llama",
        compressor="pooled",
        score="tokens",
        prompt_format="documents",
        memory_layer=1,
        search_size=8,
        document_prefix_ids=[1],
        query_prefix_ids=[2],
        compression_rate=2,
        num_text_documents=1,
    )
    return Clara(model, processor, "tiny-pooled")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(3):
        words = [WORDS[(number * 17 + place * 7) % len(WORDS)] for place in range(30)]
        (documents / f"{number}.txt").write_text(" ".join(words), encoding="utf-8")
    return documents


def rows_at(library: Library, rate: int) -> int:
    """Memory tokens that the store's passages take at a rate."""
    contents = [
        stored.passage.content
        for document in library.documents()
        for stored in library.store.passages_of(document.source)
    ]
    return sum(math.ceil(len(ids) / rate) for ids in _document_tokens(library.clara, contents))


def _document_tokens(clara: Clara, contents: list[str]) -> list[list[int]]:
    prefix = len(clara.model.config.document_prefix_ids)
    return [ids[prefix:] for ids in clara.processor.encode_documents(contents)]


def test_a_store_keeps_its_rate(clara: Clara, folder: Path, tmp_path: Path) -> None:
    with Library(clara, tmp_path / "store", rate=4) as library:
        library.add(folder / "0.txt")
    with Library(clara, tmp_path / "store") as library:
        library.add(folder)
        assert library.store.info().rate == 4
        assert library.store.info().memory_rows == rows_at(library, 4) < rows_at(library, 2)
    with Library(clara, tmp_path / "own") as library:
        library.add(folder)
        assert library.store.info().rate is None
        assert library.store.info().memory_rows == rows_at(library, 2)


def test_search_and_answer_read_memories_at_the_rate_of_the_store(
    clara: Clara, folder: Path, tmp_path: Path
) -> None:
    with Library(clara, tmp_path / "store", rate=4) as library:
        library.add(folder)
        hits = library.search(QUESTION, 3)
        texts = [hit.stored.passage.content for hit in hits]
        rerank = clara.query(QUESTION, 4).rerank
        assert rerank is not None
        scores = rerank(clara.compress(texts, rate=4)[0])
        assert [hit.score for hit in hits] == pytest.approx(scores.tolist(), abs=2e-3)
        answer = library.ask(QUESTION, 3, max_new_tokens=4)
        memories, _ = clara.compress(texts[1:], rate=4)
        (reply,) = clara.read([QUESTION], [[texts[0], *memories]], rate=4, max_new_tokens=4)
        assert answer.confidence == pytest.approx(reply.confidence, abs=1e-2)
        other = clara.read([QUESTION], [[texts[0], *memories]], rate=2, max_new_tokens=4)[0]
        assert not np.isclose(other.confidence, reply.confidence, atol=1e-3)  # the rate places the memories


def test_a_rate_that_does_not_fit_is_refused(clara: Clara, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rate is 0"):
        Library(clara, tmp_path / "store", rate=0)
    assert not (tmp_path / "store").exists()
    with Library(clara, tmp_path / "store", rate=4) as library:
        library.add(folder)
    with pytest.raises(InputError, match=r"the rate 4, not of the rate 8"):
        Library(clara, tmp_path / "store", rate=8)
    with Library(clara, tmp_path / "store", rate=4) as library:
        assert library.store.num_passages > 0


def test_the_rate_is_exported_and_imported(clara: Clara, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with Library(clara, tmp_path / "store", rate=4) as library:
        library.add(folder)
        export(library.store, tmp_path / "exported")
    import_store(tmp_path / "exported", tmp_path / "again")
    with Library(clara, tmp_path / "again") as library:
        assert library.store.rate == 4
        assert library.store.info().memory_rows == rows_at(library, 4)
