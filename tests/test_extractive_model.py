"""The model in the package, on the project's example articles: what a new user meets first.

The floors lie below what was measured (README), by more than rounding and less than a fault would cost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clara.errors import StoreMismatchError
from clara.evaluation.metrics import f1
from clara.library import Library
from clara.models import packaged_folder
from clara.pipeline import Clara

RECALL_FLOOR = 0.95
F1_FLOOR = 0.8
MEMORY_MARGIN = 0.7

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with Library(
        Clara.from_pretrained("extractive"), tmp_path_factory.mktemp("examples") / "store"
    ) as filled:
        report = filled.add(EXAMPLES / "documents")
        assert (report.added, report.refused) == (40, [])
        yield filled


@pytest.fixture(scope="module")
def questions() -> list[dict[str, object]]:
    lines = (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_it_fits_the_package() -> None:
    size = sum(file.stat().st_size for file in packaged_folder("extractive").rglob("*") if file.is_file())
    assert size <= 60_000_000


def test_search_finds_the_article(library: Library, questions: list[dict[str, object]]) -> None:
    found = []
    for question in questions:
        sources = [hit.stored.source for hit in library.search(str(question["question"]), k=5)]
        found.append(any(source.endswith(str(question["document"])) for source in sources))
    assert len(found) == 60
    assert sum(found) / len(found) >= RECALL_FLOOR


def test_answers_come_from_the_articles(library: Library, questions: list[dict[str, object]]) -> None:
    scores = [
        f1(library.ask(str(question["question"])).text, question["answers"])  # type: ignore[arg-type]
        for question in questions
    ]
    assert sum(scores) / len(scores) >= F1_FLOOR


def test_right_memories_answer_better_than_wrong_ones(
    library: Library, questions: list[dict[str, object]]
) -> None:
    questions = questions[::3]  # each is read with ten passages
    asked = [str(question["question"]) for question in questions]
    passages = [[hit.stored.passage for hit in library.search(question, k=5)] for question in asked]
    answers = [question["answers"] for question in questions]

    def mean_f1(groups: list[list[object]]) -> float:
        given = library.clara.answer(asked, groups, text_passages=0)  # type: ignore[arg-type]
        return sum(f1(text, gold) for text, gold in zip(given, answers, strict=True)) / len(given)  # type: ignore[arg-type]

    right = mean_f1(passages)
    wrong = mean_f1([*passages[10:], *passages[:10]])
    assert right >= wrong + MEMORY_MARGIN


def test_a_passage_that_spells_special_tokens_is_read_whole() -> None:
    clara = Clara.from_pretrained("extractive")
    text = "Sequences are filled with [PAD] or end with [SEP]. The author of this guide is Emma Stone."
    from_memory, from_text = (
        clara.answer(["Who is the author of this guide?"], [[text]], text_passages=count) for count in (0, 1)
    )
    assert from_memory == from_text == ["Emma Stone"]


def test_an_answer_is_spelled_as_in_the_passage_that_it_is_from() -> None:
    passages = ["She ate an apple on the train.", "Steve Jobs founded the company Apple in 1976."]
    answers = Clara.from_pretrained("extractive").answer(["Which company did Steve Jobs found?"], [passages])
    assert answers == ["Apple"]


def test_a_library_opens_with_the_model_that_wrote_it(tmp_path: Path) -> None:
    clara = Clara.from_pretrained("extractive")
    with Library(clara, tmp_path / "store") as library:
        library.add_texts({"bridge": "The bridge was opened on 24 May 1883."})
    with Library.open(tmp_path / "store", read_only=True) as library:
        assert library.clara.fingerprint == clara.fingerprint
        assert [document.source for document in library.documents()] == ["bridge"]
    with pytest.raises(StoreMismatchError, match="written by the model extractive"):
        Library.open(tmp_path / "store", model="smollm2")
