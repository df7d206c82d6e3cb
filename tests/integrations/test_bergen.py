"""BERGEN: the calls of its modules, in their order and with their arguments; it is no package to install."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from clara import Clara, Library, TrainingError
from clara.integrations import exchange
from clara.integrations.bergen import ClaraContextProcessor, ClaraGenerator, ClaraRetriever
from tests.integrations.conftest import ANSWER, QUESTION

QUESTIONS = [QUESTION, "How long is the main span of the Brooklyn Bridge?", "Who designed the bridge?"]


@pytest.fixture(scope="module")
def contents(library: Library) -> list[str]:
    return [stored.passage.content for stored in exchange.passages(library)]


def encoded(retriever: ClaraRetriever, rows: list[dict[str, str]], kind: str) -> torch.Tensor:
    """As BERGEN encodes a data set: batches of a loader, the keys put together."""
    loader = DataLoader(
        rows,  # type: ignore[arg-type]
        batch_size=7,
        collate_fn=lambda batch: retriever.collate_fn(batch, kind),
    )
    return torch.cat([retriever(kind, batch)["embedding"].detach().cpu() for batch in loader])


def test_retriever_finds_what_a_search_by_keys_finds(
    clara: Clara, library: Library, contents: list[str]
) -> None:
    retriever = ClaraRetriever("clara/small", clara=clara)
    assert retriever.model_name.replace("/", "_") == "clara_small"
    retriever.model = retriever.model.to("cpu")
    documents = encoded(retriever, [{"content": text} for text in contents], "doc")
    queries = encoded(retriever, [{"generated_query": one} for one in QUESTIONS], "query")
    scores = retriever.similarity_fn(queries, documents)
    assert scores.shape == (3, len(contents))
    found = torch.topk(scores, 5, dim=1)
    for row, question in enumerate(QUESTIONS):
        vector = clara.encode_query(question)
        keys = library.store.embeddings([one.id for one in exchange.passages(library)]).astype(np.float64)
        cosines = keys @ (vector / np.linalg.norm(vector))
        np.testing.assert_allclose(found.values[row].numpy(), np.sort(cosines)[::-1][:5], atol=3e-3)
    alone = retriever(retriever.collate_fn([{"content": contents[0]}], "doc"))
    assert alone["embedding"].dtype == torch.float16


def test_generator_evaluates_a_data_set(clara: Clara, library: Library) -> None:
    rows: list[dict[str, Any]] = [
        {
            "q_id": f"q{number}",
            "query": question,
            "doc": [hit.stored.passage.content for hit in library.search(question, 3)],
            "label": ANSWER if number == 0 else ["a", "b"],
        }
        for number, question in enumerate(QUESTIONS)
    ]
    generator = ClaraGenerator(batch_size=2, prompt={"system": "unused"}, clara=clara)
    ids, queries, instructions, answers, labels, ranking = generator.eval(rows)
    assert ids == ["q0", "q1", "q2"]
    assert queries == QUESTIONS
    assert answers[0] == ANSWER
    assert answers == clara.answer(QUESTIONS, [row["doc"] for row in rows])
    assert labels == [[ANSWER], ["a", "b"], ["a", "b"]]
    assert ranking == [None, None, None]
    assert instructions[0].endswith(QUESTION)
    json.dumps([ids, queries, instructions, answers, labels, ranking])  # BERGEN writes them
    closed_book = [{"q_id": "q", "query": QUESTION, "label": ["x"]}]
    assert generator.eval(closed_book)[3] == [""]
    with pytest.raises(TrainingError, match="clara train"):
        generator.prediction_step(None, None)


def test_context_processor_orders_and_shortens(clara: Clara, library: Library) -> None:
    contexts = [
        [hit.stored.passage.content for hit in reversed(library.search(question, 4))]
        for question in QUESTIONS
    ]
    processor = ClaraContextProcessor(clara=clara)
    kept, metrics = processor.process(contexts, QUESTIONS)
    assert [len(each) for each in kept] == [4, 4, 4]
    assert ANSWER in kept[0][0]
    for shortened, whole in zip(kept, contexts, strict=True):
        assert all(any(one in text for text in whole) for one in shortened)
    lengths = [sum(map(len, each)) for each in contexts]
    left = [sum(map(len, each)) for each in kept]
    shares = [100 * (1 - one / all_) for one, all_ in zip(left, lengths, strict=True)]
    assert metrics == {"context_compression": pytest.approx(sum(shares) / 3)}
    assert 0 < metrics["context_compression"] < 100
    json.dumps([kept, metrics])
    ordered = ClaraContextProcessor(sentences=False, top_n=1, clara=clara)
    assert ANSWER in ordered.process(contexts[:1], QUESTIONS[:1])[0][0][0]
    assert processor.process([[]], [QUESTION]) == ([[]], {"context_compression": 0.0})
