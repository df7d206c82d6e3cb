"""What is trained on: examples of the paper's stages, and passages with questions, with a reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clara.datasets.json_lines import read_records
from clara.errors import InputError
from clara.records import with_title


@dataclass(frozen=True, slots=True)
class CompressionExample:
    """Documents and what is to be written from their memories.

    Attributes:
        documents: Texts.
        task: "qa": all pairs in one target. "paraphrase": `answers[0]` says the same as the documents.
            "answer": `answers[0]` answers `questions[0]` (instruction tuning).
        questions: Empty for a paraphrase.
        answers: As many as questions; one for a paraphrase.
    """

    documents: tuple[str, ...]
    task: Literal["qa", "paraphrase", "answer"]
    questions: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndToEndExample:
    """A question, candidate documents without labels, and the answer.

    Attributes:
        question: The question.
        documents: Candidates; examples may differ in how many.
        answer: What to answer.
        positives: Indices of the documents that hold the answer, for measuring recall only.
    """

    question: str
    documents: tuple[str, ...]
    answer: str
    positives: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """What is asked of a row's documents.

    Attributes:
        prompt: The question, or an instruction as it stands in the prompt.
        answer: What is trained; None if no document of the row holds the answer.
        is_question: Whether the prompt is a question, which the prompt's format encloses.
    """

    prompt: str
    answer: str | None
    is_question: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """Documents that are read together, with what is asked of them.

    Attributes:
        documents: Places among the example's documents, in the order of the prompt.
        texts: How many of them, from the first, stand as text; the rest stand as memories.
        turns: At least one. They do not see each other.
    """

    documents: tuple[int, ...]
    texts: int
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Search:
    """A question and the place of its document among the example's."""

    question: str
    document: int


@dataclass(frozen=True, slots=True)
class JointExample:
    """Neighbouring passages and rows over them (`clara.training.joint`).

    Attributes:
        documents: Texts.
        rows: At least one.
        searches: Questions that are searched with.
    """

    documents: tuple[str, ...]
    rows: tuple[Row, ...]
    searches: tuple[Search, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadingExample:
    """A passage and questions that it answers.

    Attributes:
        id: The record's own id.
        title: Title of the article, empty if none.
        passage: The text.
        turns: (question, acceptable answers) pairs; an unanswerable question has no answers.
    """

    id: str
    title: str
    passage: str
    turns: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def content(self) -> str:
        """What the model reads: title and passage."""
        return with_title(self.passage, self.title)


def read_reading_examples(path: Path | str) -> Iterator[ReadingExample]:
    """Examples of a file with records `{"id", "title", "passage", "qas": [{"question", "answers"}]}`.

    Raises:
        InputError: The file is missing or cannot be read, or a line is not such a record; the message names
            file and line.
    """
    for place, record in read_records(Path(path)):
        try:
            yield _reading_example(record)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{place}: not a reading record with id, title, passage and qas ({error})."
            ) from error


def _reading_example(record: dict[str, Any]) -> ReadingExample:
    turns = tuple((_text(qa["question"]), tuple(map(_text, _list(qa["answers"])))) for qa in record["qas"])
    return ReadingExample(
        id=str(record["id"]), title=_text(record["title"]), passage=_text(record["passage"]), turns=turns
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value
