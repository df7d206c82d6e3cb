"""What the small model is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from made_up_tables import made_up_tables, names_among

from clara.datasets.json_lines import read_records
from clara.errors import InputError
from clara.training.examples import ReadingExample, read_reading_examples

SHARED = 10
"""Words in a row that a passage of QAMR or FairytaleQA may not share with SQuAD dev, which is tested on."""


def squad(data: Path) -> list[ReadingExample]:
    """SQuAD's passages with the questions that they answer."""
    return [
        example
        for example in read_reading_examples(data / "squad11_train.jsonl.xz")
        if any(answers for _, answers in example.turns)
    ]


def timeqa(data: Path) -> list[ReadingExample]:
    """Paragraphs with the question that they answer, each between its neighbours in the article."""
    examples = []
    for place, record in read_records(data / "timeqa_human_train.jsonl.xz"):
        if not {"id", "question", "answers", "docs", "gold"} <= record.keys() or not record["gold"]:
            raise InputError(f"{place}: a question needs id, question, answers, docs and gold.")
        documents = record["docs"]
        gold = record["gold"][0]
        answers = tuple(answer for answer in record["answers"] if answer in documents[gold]["text"])
        if answers:
            examples += [
                ReadingExample(
                    id=f"{record['id']}/{number}",
                    title=documents[number]["title"],
                    passage=documents[number]["text"],
                    turns=((record["question"], answers),) if number == gold else (),
                )
                for number in range(max(0, gold - 1), min(gold + 2, len(documents)))
                if number == gold or number not in record["gold"]
            ]
    return examples


def qamr(data: Path) -> list[ReadingExample]:
    """Sentences with questions on their parts: QAMR's own dev part, its test part is tested on."""
    return _part(data, "qamr", "dev")


def fairytaleqa(data: Path) -> list[ReadingExample]:
    """Sections of old tales: the training part, with the questions whose answer stands in the text."""
    return _part(data, "fairytaleqa", "train")


def tables(data: Path) -> list[ReadingExample]:
    """Made-up tables, records and settings, about names that SQuAD's questions ask for."""
    return made_up_tables(names_among(squad(data)))


def _part(data: Path, name: str, part: str) -> list[ReadingExample]:
    """One part of a set, without what shares a run of words with SQuAD's dev passages."""
    path = data / f"{name}.jsonl.xz"
    wanted = [record.get("split") == part for _, record in read_records(path)]
    if not any(wanted):
        raise InputError(f"{path} has no record with the split {part!r}.")
    dev = read_reading_examples(data / "squad11_dev.jsonl.xz")
    tested = {run for example in dev for run in _runs(example.passage)}
    examples = (
        _with_spans(example)
        for example, is_wanted in zip(read_reading_examples(path), wanted, strict=True)
        if is_wanted and tested.isdisjoint(_runs(example.passage))
    )
    return [example for example in examples if example.turns]


def _with_spans(example: ReadingExample) -> ReadingExample:
    """An example with what its passage answers word for word."""
    turns = (
        (question, tuple(a for a in answers if a in example.passage)) for question, answers in example.turns
    )
    return replace(example, turns=tuple(turn for turn in turns if turn[1]))


def _runs(text: str) -> set[str]:
    """Every run of `SHARED` words."""
    words = text.split()
    return {" ".join(words[at : at + SHARED]) for at in range(len(words) - SHARED + 1)}


SOURCES: dict[str, Callable[[Path], list[ReadingExample]]] = {
    "squad": squad,
    "timeqa": timeqa,
    "qamr": qamr,
    "fairytaleqa": fairytaleqa,
    "tables": tables,
}
