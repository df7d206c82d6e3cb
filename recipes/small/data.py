"""What the small model is trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clara.json_lines import open_lines, parse_record
from clara.training.examples import ReadingExample, read_reading_examples


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
    with open_lines(data / "timeqa_human_train.jsonl.xz") as lines:
        for record in map(parse_record, lines):
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
                ]
    return examples


SOURCES: dict[str, Callable[[Path], list[ReadingExample]]] = {
    "squad": squad,
    "timeqa": timeqa,
}
