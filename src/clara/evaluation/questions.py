"""What a model is asked: questions with their answers, and the passages that are searched for them."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from clara.datasets.formats import Item, Record, read_items, read_passage
from clara.datasets.json_lines import UNREADABLE, open_lines, parse_record
from clara.errors import InputError, MissingExtraError
from clara.evaluation.metrics import normalise

HUB = "hub:"

LABELLED = "the passages that the data names"
CONTAINING = "the passages that contain an answer"


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a corpus.

    Attributes:
        id: Unique within the set.
        text: The question.
        answers: Acceptable answers; none if the right answer is to abstain; None if they are not known and
            only the search can be measured.
        gold: Numbers of the passages that hold the answer; none if unknown or there is no answer.
        candidates: Numbers of the passages that came with it, if they are more than the gold ones.
    """

    id: str
    text: str
    answers: tuple[str, ...] | None
    gold: tuple[int, ...]
    candidates: tuple[int, ...] = ()

    @property
    def asked_about(self) -> tuple[int, ...]:
        """The gold passages; for a question without an answer those it came with, which do not hold it."""
        return self.candidates if self.answers == () else self.gold


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Questions to one corpus.

    Attributes:
        name: What the set is called in reports.
        questions: The questions.
        passages: Texts of the corpus, each once.
        gold_is: What counts as gold: `LABELLED` or `CONTAINING`.
        sha256: Hex digest of everything above.
    """

    name: str
    questions: tuple[Question, ...]
    passages: tuple[str, ...]
    gold_is: str
    sha256: str

    def sample(self, questions: int | None, passages: int | None, seed: int) -> EvaluationSet:
        """A part of the set, drawn at random, in the order of the whole.

        Args:
            questions: How many questions; None for all.
            passages: How many passages: those of the drawn questions, and others up to this number; None for
                all.
            seed: Of the draw.
        """
        rng = random.Random(seed)
        drawn = self.questions
        if questions is not None and questions < len(drawn):
            places = sorted(rng.sample(range(len(drawn)), questions))
            drawn = tuple(drawn[place] for place in places)
        if passages is None or passages >= len(self.passages):
            return replace(self, questions=drawn)
        own = {number for question in drawn for number in (*question.gold, *question.candidates)}
        others = [number for number in range(len(self.passages)) if number not in own]
        kept = sorted(own | set(rng.sample(others, max(0, passages - len(own)))))
        new = {number: place for place, number in enumerate(kept)}
        drawn = tuple(
            replace(
                question,
                gold=tuple(new[number] for number in question.gold),
                candidates=tuple(new[number] for number in question.candidates),
            )
            for question in drawn
        )
        return replace(self, questions=drawn, passages=tuple(self.passages[number] for number in kept))


def read_evaluation_set(
    sources: Sequence[str | Path],
    corpus: str | Path | None = None,
    stored: Sequence[tuple[str, str]] = (),
) -> EvaluationSet:
    """Questions of one or more sources to the passages of all of them.

    Args:
        sources: Files of the formats of `clara.datasets.formats` (JSON, JSON lines; plain, .gz or .xz), or
            `hub:OWNER/NAME[/CONFIG][:SPLIT]` of the Hugging Face hub.
        corpus: Further passages to search, of a file or the hub.
        stored: (file, text) of further passages to search. Where a question names the document that holds
            its answer, those passages of that file that contain an answer are gold, all if none does.

    Raises:
        InputError: A source is missing or faulty (the message names file, line and reason), or there are no
            questions, or no passages to search.
        MissingExtraError: A hub's data set was asked for and `datasets` is not installed.
    """
    numbers: dict[str, int] = {}

    def number(text: str) -> int:
        return numbers.setdefault(text, len(numbers))

    files: dict[int, str] = {}
    for file, text in stored:
        files.setdefault(number(text), file)
    questions, named = [], []
    for item in _named(sources):
        own = tuple(number(document) for document in item.documents)
        gold = tuple(dict.fromkeys(own[place] for place in item.gold))
        candidates = tuple(dict.fromkeys(own))
        questions.append(
            Question(
                item.id,
                item.question,
                item.answers,
                gold,
                candidates if len(candidates) > len(gold) else (),
            )
        )
        named.append(item.file)
    if corpus is not None:
        for record, place in _records(corpus):
            number(_at(place, read_passage, record))
    if not questions:
        raise InputError(f"{', '.join(map(str, sources))} has no questions.")
    if not numbers:
        raise InputError("The questions come without passages; name a corpus with --corpus or --store.")
    texts = tuple(numbers)
    questions = [_in_file(*pair, files, texts) for pair in zip(questions, named, strict=True)]
    gold_is = LABELLED
    if not any(question.gold for question in questions):
        questions, gold_is = [_with_containing(question, texts) for question in questions], CONTAINING
    name = "+".join(_short_name(source) for source in sources)
    return EvaluationSet(name, tuple(questions), texts, gold_is, _digest(questions, texts))


def _named(sources: Sequence[str | Path]) -> Iterator[Item]:
    """The items of all sources, each with an id of its own."""
    seen: Counter[str] = Counter()
    for source in sources:
        for at, item in enumerate(_read(source)):
            name = item.id or f"{_short_name(source)}-{at}"
            seen[name] += 1
            yield replace(item, id=name if seen[name] == 1 else f"{name}-{seen[name]}")


def _in_file(question: Question, file: str, files: dict[int, str], passages: Sequence[str]) -> Question:
    """A question whose gold passages are those of the file that it names."""
    own = [number for number, name in files.items() if file and Path(name).as_posix().endswith(file)]
    if question.gold or not own:
        return question
    containing = _containing(question, [passages[number] for number in own])
    return replace(question, gold=tuple(own[at] for at in containing) or tuple(own))


def _with_containing(question: Question, passages: Sequence[str]) -> Question:
    return replace(question, gold=tuple(_containing(question, passages)))


def _containing(question: Question, passages: Sequence[str]) -> list[int]:
    """Places of the passages that contain an answer, as whole words after normalisation."""
    answers = [f" {_normal(answer)} " for answer in question.answers or () if normalise(answer)]
    return [
        at
        for at, passage in enumerate(passages)
        if any(answer in f" {_normal(passage)} " for answer in answers)
    ]


_normal = lru_cache(maxsize=100_000)(normalise)


def _digest(questions: Iterable[Question], passages: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for question in questions:
        digest.update(repr((question.id, question.text, question.answers, question.gold)).encode())
    for passage in passages:
        digest.update(passage.encode() + b"\0")
    return digest.hexdigest()


# -- sources ----------------------------------------------------------------------------------------------


def _read(source: str | Path) -> Iterator[Item]:
    for record, place in _records(source):
        yield from _at(place, lambda one: list(read_items(one)), record)


def _at(place: str, read: Any, record: Record) -> Any:
    """What is read of a record; a fault names its place."""
    try:
        return read(record)
    except InputError as error:
        raise InputError(f"{place}: {error}.") from error


def _records(source: str | Path) -> Iterator[tuple[Record, str]]:
    """Records with the places where they stand."""
    if str(source).startswith(HUB):
        yield from _hub_records(str(source))
        return
    path = Path(source)
    try:
        with open_lines(path) as lines:
            if ".json" in path.suffixes:
                yield from _whole_records(path, lines)
            else:
                yield from _line_records(path, lines)
    except UNREADABLE as error:
        raise InputError(f"{path} cannot be read ({error}).") from error


def _line_records(path: Path, lines: Iterable[str]) -> Iterator[tuple[Record, str]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _parsed(line, f"{path}, line {number}"), f"{path}, line {number}"


def _whole_records(path: Path, file: IO[str]) -> Iterator[tuple[Record, str]]:
    """A .json file: a list of records, SQuAD's `{"data": [...]}`, or JSON lines under that ending."""
    text = file.read()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # the lines tell what is wrong
        yield from _line_records(path, text.splitlines())
        return
    if isinstance(content, dict):
        content = content.get("data", [content])
    for number, record in enumerate(content, start=1):
        if not isinstance(record, dict):
            raise InputError(f"{path}, record {number}: not a JSON object.")
        yield record, f"{path}, record {number}"


def _parsed(line: str, place: str) -> Record:
    try:
        return parse_record(line)
    except InputError as error:
        raise InputError(f"{place}: {error}.") from error


def _hub_records(source: str) -> Iterator[tuple[Record, str]]:
    """Rows of `hub:OWNER/NAME[/CONFIG][:SPLIT]`; the split is "validation" by default.

    A folder in the place of OWNER/NAME is read as a data set that was downloaded before.
    """
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError(
            f"{source} is read with the package datasets; run: pip install 'clara-rag[hub]'."
        ) from error
    name, _, split = source.removeprefix(HUB).partition(":")
    parts = name.split("/")
    repository, config = "/".join(parts[:2]), "/".join(parts[2:]) or None
    if Path(name).is_dir():
        repository, config = name, None
    try:
        rows = load_dataset(repository, config, split=split or "validation", streaming=True)
        for number, row in enumerate(rows, start=1):
            yield dict(row), f"{source}, row {number}"
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{source} cannot be loaded ({reason}).") from error


def _short_name(source: str | Path) -> str:
    text = str(source)
    return text.removeprefix(HUB) if text.startswith(HUB) else Path(text).name.split(".")[0]
