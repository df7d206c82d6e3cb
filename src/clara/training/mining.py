"""Training data with hard candidates: each question with the passages that a search finds most like it.

The corpus is the passages of the questions' own file. The passage that a question was asked about is always
among its candidates, at a place that is drawn.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from clara.corpus_index import CorpusIndex
from clara.errors import InputError
from clara.pipeline import Clara
from clara.ranking import bm25_ranker
from clara.training.data import END_TO_END, INSTRUCTION_TUNING
from clara.training.examples import read_reading_examples

QUESTIONS_AT_ONCE = 256

_Asked = tuple[str, str, int]
"""A question, its answer, and the number of its passage."""


@dataclass(slots=True)
class MiningReport:
    """What was mined.

    Attributes:
        passages: Passages of the corpus.
        questions: Lines written.
        left_out: Questions without an answer.
        found: Share of the questions whose own passage the search found among the candidates.
    """

    passages: int = 0
    questions: int = 0
    left_out: int = 0
    found: float = 0.0


def mine(
    source: Path | str,
    target: Path | str,
    count: int,
    clara: Clara | None = None,
    *,
    stage: str = END_TO_END,
    seed: int = 0,
) -> MiningReport:
    """Write training data with hard candidates; the target appears when it is complete.

    Args:
        source: Passages with questions (`read_reading_examples`).
        target: JSON lines to write; must not exist.
        count: Candidates of each question, its own passage among them.
        clara: Searches as `Clara.search` does; None searches by words (BM25).
        stage: End to end, or instruction tuning, whose teacher's answer the gold answer stands in for.
        seed: Draws the order of the candidates.

    Raises:
        InputError: The source is faulty or has fewer passages than candidates, the target exists, or the
            stage has no candidates.
        MissingExtraError: BM25 is not installed.
    """
    if stage not in (INSTRUCTION_TUNING, END_TO_END):
        raise InputError(f"The stage is {stage!r}, but must be {INSTRUCTION_TUNING} or {END_TO_END}.")
    target = Path(target)
    if target.exists():
        raise InputError(f"{target} exists; name a file to be made.")
    examples = list(read_reading_examples(source))
    if not 2 <= count <= len(examples):
        raise InputError(
            f"{count} candidates were asked for, but must be from 2 to the {len(examples)} passages of "
            f"{source}."
        )
    corpus = [example.content for example in examples]
    asked = [
        (question, answers[0], own)
        for own, example in enumerate(examples)
        for question, answers in example.turns
        if answers
    ]
    report = MiningReport(passages=len(corpus), questions=len(asked))
    report.left_out = sum(len(example.turns) for example in examples) - len(asked)
    if not asked:
        raise InputError(f"{source} has no question with an answer; there is nothing to train on.")
    ranked = _by_words(corpus, asked, count) if clara is None else _by_model(clara, corpus, asked, count)
    rng = random.Random(seed)
    temporary = target.with_name(target.name + ".new")
    hits = 0
    try:
        with temporary.open("w", encoding="utf-8") as lines:
            for (question, answer, own), found in zip(asked, ranked, strict=True):
                hits += own in found
                chosen = [own, *[index for index in found if index != own][: count - 1]]
                rng.shuffle(chosen)
                record = {
                    "question": question,
                    "docs": [corpus[index] for index in chosen],
                    "gold_answer": answer,
                    "pos_index": [chosen.index(own)],
                }
                if stage == INSTRUCTION_TUNING:
                    record["answer"] = answer
                lines.write(json.dumps(record, ensure_ascii=False) + "\n")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    report.found = hits / len(asked)
    return report


def _by_words(corpus: Sequence[str], asked: Sequence[_Asked], count: int) -> Iterator[list[int]]:
    rank = bm25_ranker(corpus)
    for start in range(0, len(asked), QUESTIONS_AT_ONCE):
        questions = [question for question, _, _ in asked[start : start + QUESTIONS_AT_ONCE]]
        yield from rank(questions, count).tolist()


def _by_model(
    clara: Clara, corpus: Sequence[str], asked: Sequence[_Asked], count: int
) -> Iterator[list[int]]:
    with TemporaryDirectory() as folder:
        index = CorpusIndex.filled(clara, Path(folder), corpus, None)
        try:
            yield from (index.found(question, count) for question, _, _ in asked)
        finally:
            index.close()
