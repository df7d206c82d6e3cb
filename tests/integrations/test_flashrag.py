"""FlashRAG: the calls of its pipelines, and its own SequentialPipeline where flashrag-dev is installed."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clara import Clara, InputError, Library
from clara.integrations import exchange
from clara.integrations.flashrag import (
    ClaraGenerator,
    ClaraPrompt,
    ClaraPromptTemplate,
    ClaraRefiner,
    ClaraRetriever,
)
from tests.integrations.conftest import ANSWER, BRIDGE, QUESTION

QUESTIONS = [QUESTION, "How long is the main span of the Brooklyn Bridge?"]
ANSWERS = [ANSWER, "486 metres"]


def test_retriever_returns_items(library: Library) -> None:
    retriever = ClaraRetriever(library, topk=3)
    items, scores = retriever.search(QUESTION, return_score=True)
    hits = library.search(QUESTION, 3)
    assert [item["text"] for item in items] == [hit.stored.passage.text for hit in hits]
    assert scores == [hit.score for hit in hits]
    first = items[0]
    assert first["contents"] == f"The Brooklyn Bridge > Opening\n{first['text']}"
    assert (first["file"], first["heading"]) == (BRIDGE, "Opening")
    assert retriever.batch_search([QUESTION, QUESTION], num=3) == [items, items]
    assert retriever.batch_search(QUESTION, 1, True) == ([items[:1]], [scores[:1]])


def test_a_passage_without_title_keeps_its_first_line(empty: Library) -> None:
    empty.add_documents([exchange.document("name", "One.\nTwo.", {})])
    (item,) = ClaraRetriever(empty).search("One?")
    # FlashRAG takes the first line of the contents for the title
    assert item["contents"].split("\n") == ["", "One.", "Two."]


def test_generator_reads_question_and_passages(clara: Clara, library: Library) -> None:
    retriever, template = ClaraRetriever(library, topk=3), ClaraPromptTemplate()
    prompts = [
        template.get_string(question=question, retrieval_result=items)
        for question, items in zip(QUESTIONS, retriever.batch_search(QUESTIONS), strict=True)
    ]
    assert ANSWER in prompts[0]
    assert prompts[0].endswith(f"Question: {QUESTION}")
    answers = ClaraGenerator(clara).generate(prompts)
    assert [answer.startswith(one) for answer, one in zip(answers, ANSWERS, strict=True)] == [True, True]
    assert ClaraGenerator(clara, batch_size=1).generate(prompts) == answers
    assert ClaraGenerator(clara).generate(prompts[0], max_new_tokens=64) == answers[:1]
    assert ClaraGenerator(clara).generate([ClaraPrompt(QUESTION)]) == [""]


def test_a_prompt_is_copied_and_kept_whole() -> None:
    prompt = ClaraPrompt("Who?", ["One.", "Two."])
    assert prompt == "One.\n\nTwo.\n\nQuestion: Who?"
    for other in (copy.deepcopy(prompt), pickle.loads(pickle.dumps(prompt))):  # noqa: S301
        assert (other, other.question, other.passages) == (prompt, "Who?", ("One.", "Two."))


def test_what_cannot_be_read_is_told(clara: Clara) -> None:
    with pytest.raises(InputError, match="prompt is plain text"):
        ClaraGenerator(clara).generate(["Question: Who?"])
    with pytest.raises(InputError, match="has no parameter logprobs"):
        ClaraGenerator(clara).generate([ClaraPrompt("Who?")], logprobs=10)
    with pytest.raises(InputError, match="also gives previous_gen"):
        ClaraPromptTemplate().get_string(question="Who?", previous_gen="He")
    with pytest.raises(InputError, match="gives no question"):
        ClaraPromptTemplate().get_string(messages=None)


def test_refiner_keeps_the_sentences_that_fit(clara: Clara, library: Library) -> None:
    items = ClaraRetriever(library, topk=5).search(QUESTION)
    refiner = ClaraRefiner(clara, topk=2)
    example = SimpleNamespace(question=QUESTION, retrieval_result=items)
    refined = refiner.run(example)
    lines = refined.split("\n")
    assert len(lines) == 2
    assert ANSWER in refined
    for line in lines:
        head, sentence = line.split(": ", 1)
        assert any(item["contents"].startswith(f"{head}\n") and sentence in item["text"] for item in items)
    assert refiner.batch_run([example, example]) == [refined, refined]
    assert (refiner.name, refiner.input_prompt_flag) == ("clara", False)


def test_the_pipeline_of_flashrag(clara: Clara, library: Library, tmp_path: Path) -> None:
    reason = "flashrag-dev is not installed; run scripts/conformance-integrations"
    pipeline_module = pytest.importorskip("flashrag.pipeline", reason=reason)
    dataset_module = pytest.importorskip("flashrag.dataset.dataset", reason=reason)
    config = {
        "device": "cpu",
        "save_retrieval_cache": False,
        "use_fid": False,
        "refiner_name": None,
        "save_dir": str(tmp_path),
        "save_metric_score": True,
        "save_intermediate_data": True,
        "metrics": ["em", "f1"],
        "dataset_name": "examples",
    }

    def run(refiner: ClaraRefiner | None) -> Any:
        data = [
            dataset_module.Item({"id": str(number), "question": question, "golden_answers": [answer]})
            for number, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))
        ]
        dataset = dataset_module.Dataset(config, data=data)
        pipeline = pipeline_module.SequentialPipeline(
            config, ClaraPromptTemplate(), ClaraRetriever(library, topk=3), ClaraGenerator(clara)
        )
        pipeline.refiner = refiner
        return pipeline.run(dataset)

    plain = run(None)
    assert plain.pred[0] == ANSWER
    assert plain.pred[1].startswith(ANSWERS[1])
    assert plain.retrieval_result[0][0]["file"] == BRIDGE
    assert plain[0].metric_score["em"] == 1.0
    assert (tmp_path / "intermediate_data.json").is_file()
    assert (tmp_path / "metric_score.txt").is_file()
    refined = run(ClaraRefiner(clara, topk=3))
    assert all(refined.refine_result)
    assert len(refined.pred) == 2
