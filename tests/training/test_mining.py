"""Mined candidates are those that the search finds, with the question's own passage among them."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from clara.corpus_index import CorpusIndex
from clara.errors import InputError
from clara.pipeline import Clara
from clara.ranking import bm25_ranker
from clara.store import MemoryStore
from clara.training.data import check_data
from clara.training.mining import mine
from conftest import WORDS, read_stage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = random.Random(2)
    path = tmp_path / "passages.jsonl"
    records = []
    for number in range(9):
        words = rng.sample(WORDS, 8)
        turns = [{"question": " ".join(words[2:4]), "answers": [words[4]]}, {"question": "w1", "answers": []}]
        records.append({"id": str(number), "title": "", "passage": " ".join(words), "qas": turns})
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def passages(source: Path) -> list[str]:
    return [json.loads(line)["passage"] for line in source.read_text().splitlines()]


def test_mined_lines_train(source: Path, tmp_path: Path) -> None:
    report = mine(source, tmp_path / "mined.jsonl", 4)
    assert (report.passages, report.questions, report.left_out) == (9, 9, 9)
    assert report.found == 1.0  # every question's words stand in its own passage
    corpus = passages(source)
    lines = [json.loads(line) for line in (tmp_path / "mined.jsonl").read_text().splitlines()]
    for own, line in enumerate(lines):
        assert len(set(line["docs"])) == 4
        assert set(line["docs"]) <= set(corpus)
        assert line["docs"].index(corpus[own]) == line["pos_index"][0]
    assert len({line["pos_index"][0] for line in lines}) > 1
    checked = check_data(tmp_path / "mined.jsonl")
    assert (checked.stage, checked.examples, checked.num_faults) == ("end-to-end", 9, 0)
    mine(source, tmp_path / "again.jsonl", 4)
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "mined.jsonl").read_bytes()


def test_the_same_candidates_serve_instruction_tuning(source: Path, tmp_path: Path) -> None:
    mine(source, tmp_path / "asked.jsonl", 4)
    mine(source, tmp_path / "read.jsonl", 4, stage="instruction-tuning")
    asked, read = (
        list(read_stage(tmp_path / f"{name}.jsonl", stage))
        for name, stage in (("asked", "end-to-end"), ("read", "instruction-tuning"))
    )
    assert [one.documents for one in asked] == [one.documents for one in read]
    assert [(one.question, one.answer) for one in asked] == [
        (one.questions[0], one.answers[0]) for one in read
    ]


def test_bm25_equals_the_formula(source: Path) -> None:
    corpus = passages(source)
    documents = [text.split() for text in corpus]
    mean = sum(map(len, documents)) / len(documents)
    questions = ["w3 w10 w44", "w5"]
    found = bm25_ranker(corpus)(questions, len(corpus))
    for question, order in zip(questions, found, strict=True):
        scores = []
        for words in documents:
            score = 0.0
            for word in question.split():
                holding = sum(word in other for other in documents)
                idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
                count = Counter(words)[word]
                score += idf * count * 2.5 / (count + 1.5 * (0.25 + 0.75 * len(words) / mean))
            scores.append(score)
        assert order.tolist() == sorted(range(len(corpus)), key=lambda at: (-scores[at], at))


def test_stop_words_alone_find_nothing_and_break_nothing() -> None:
    corpus = ["It is what it is.", "the cat sat", "a dog ran"]
    assert bm25_ranker(corpus)(["Who is it?", "?", "Which cat?"], 2).tolist() == [[0, 1], [0, 1], [1, 0]]
    assert bm25_ranker(corpus[:1] * 2)(["Which cat?"], 2).tolist() == [[0, 1]]


@pytest.mark.parametrize("kind", ["mistral", "bert"])
def test_a_models_candidates_are_those_of_its_search(
    make_model: Any, source: Path, tmp_path: Path, kind: str
) -> None:
    clara = Clara(*make_model(kind), "tiny")
    mine(source, tmp_path / "mined.jsonl", 4, clara)
    corpus = passages(source)
    CorpusIndex.filled(clara, tmp_path / "store", corpus, None).close()
    with MemoryStore.open(tmp_path / "store", read_only=True) as store:
        for own, line in enumerate(map(json.loads, (tmp_path / "mined.jsonl").read_text().splitlines())):
            found = [hit.stored.passage.text for hit in clara.search(line["question"], store, 4)]
            others = [text for text in found if text != corpus[own]]
            assert set(line["docs"]) == {corpus[own], *others[:3]}


def test_what_cannot_be_mined_is_refused(source: Path, tmp_path: Path) -> None:
    for count in (1, 10):
        with pytest.raises(InputError, match="must be from 2 to the 9 passages"):
            mine(source, tmp_path / "mined.jsonl", count)
    with pytest.raises(InputError, match="must be instruction-tuning or end-to-end"):
        mine(source, tmp_path / "mined.jsonl", 3, stage="compression-pretraining")
    with pytest.raises(InputError, match="exists"):
        mine(source, source, 3)
    silent = tmp_path / "silent.jsonl"
    record = {"id": "1", "title": "", "passage": "a b", "qas": []}
    silent.write_text((json.dumps(record) + "\n") * 2, encoding="utf-8")
    with pytest.raises(InputError, match="no question with an answer"):
        mine(silent, tmp_path / "mined.jsonl", 2)
    assert not (tmp_path / "mined.jsonl").exists()
