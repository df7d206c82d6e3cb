"""Asks a model one question after another under one condition, and scores what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clara import roles
from clara.answer_text import as_written
from clara.corpus_index import CorpusIndex
from clara.evaluation import metrics
from clara.evaluation.ablation import AblatedMemories
from clara.evaluation.conditions import BASE, MEMORY, MIXED, NOISE, SHORTENED, SKIP, TEXT, Condition
from clara.evaluation.questions import Question
from clara.evaluation.shortening import Shortener
from clara.pipeline import Clara
from clara.reading import Document, FoundPassage
from clara.records import Reply


@dataclass(frozen=True, slots=True)
class Asker:
    """A model under one condition.

    Attributes:
        clara: The model.
        condition: How passages are read.
        passages: The corpus.
        lengths: Tokens of every passage.
        index: Memories of the corpus at the condition's rate; at the model's own where it has none.
        max_new_tokens: Longest answer.
        reading: "joint" or "separate"; the model's own way if None.
        shortener: Of texts, for that condition.
        ablated: Memories by other weights, for those conditions.
    """

    clara: Clara
    condition: Condition
    passages: Sequence[str]
    lengths: Sequence[int]
    index: CorpusIndex
    max_new_tokens: int
    reading: str | None = None
    shortener: Shortener | None = None
    ablated: AblatedMemories | None = None

    def size(self, numbers: Sequence[int]) -> int:
        """Positions that a prompt over these passages takes, roughly."""
        texts, memories = self._split(numbers)
        rate = self.condition.rate or 1
        return (
            64 + sum(self.lengths[one] for one in texts) + sum(self.lengths[one] // rate for one in memories)
        )

    def ask(self, questions: Sequence[Question], groups: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        """A line per question: the answer with its scores, or why there is none.

        What fails in a batch is asked again alone; what fails alone has failed.

        Args:
            questions: A batch.
            groups: Numbers of the passages that each is to be answered from, best first.
        """
        try:
            return self._ask(questions, groups)
        except Exception as error:  # noqa: BLE001 - whatever a question fails of is its result
            if len(questions) == 1:
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                return [{"id": questions[0].id, "error": reason}]
        pairs = zip(questions, groups, strict=True)
        return [line for question, group in pairs for line in self.ask([question], [group])]

    def _ask(self, questions: Sequence[Question], groups: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
        replies = self._replies(questions, groups)
        lines = []
        for question, group, reply in zip(questions, groups, replies, strict=True):
            texts = [self.passages[number] for number in group]
            answer = as_written(reply.text, texts, reply.taken_from)
            line = {"id": question.id, "answer": answer, **score(answer, question.answers or ())}
            line |= {"confidence": round(reply.confidence, 6), "prompt_tokens": reply.prompt_tokens}
            lines.append(line | {"passages": list(group)})
        return lines

    def _replies(self, questions: Sequence[Question], groups: Sequence[Sequence[int]]) -> list[Reply]:
        asked = [question.text for question in questions]
        scores = self._scores(questions, groups)
        if self.condition.reading == MIXED:
            found = [
                [
                    FoundPassage(self.passages[number], memory)
                    for number, memory in zip(group, self.index.memories(group), strict=True)
                ]
                for group in groups
            ]
            return self.clara.reader.read_found(
                asked,
                found,
                rate=self.condition.rate,
                scores=scores,
                reading=self.reading,
                max_new_tokens=self.max_new_tokens,
            )
        return self.clara.read(
            asked,
            [self._documents(group) for group in groups],
            rate=self.condition.rate if self.condition.reading in (MEMORY, NOISE, SKIP) else None,
            role=None if self.condition.reading == BASE else roles.GENERATOR,
            scores=scores,
            reading=self.reading,
            max_new_tokens=self.max_new_tokens,
        )

    def _scores(
        self, questions: Sequence[Question], groups: Sequence[Sequence[int]]
    ) -> list[list[float]] | None:
        """Of every passage in search, as a user's question would have them, where the reader heeds them."""
        if not self.clara.model.reads_scores:
            return None
        scores = [
            self.index.scores(question.text, group) for question, group in zip(questions, groups, strict=True)
        ]
        return [own or [0.0] * len(group) for own, group in zip(scores, groups, strict=True)]

    def _documents(self, group: Sequence[int]) -> list[Document]:
        texts, memories = self._split(group)
        documents: list[Document] = [self.passages[number] for number in texts]
        if self.condition.reading == SHORTENED and self.shortener is not None:
            rate = self.condition.rate or 1
            return [self.shortener(self.passages[number], rate) for number in texts]
        held = self.index if self.ablated is None else self.ablated
        return [*documents, *held.memories(memories)]

    def _split(self, numbers: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Those that are read as text, and those that are read as memories."""
        count = 0
        if self.condition.reading in (TEXT, BASE, SHORTENED):
            count = len(numbers)
        elif self.condition.reading == MIXED:
            count = int(self.clara.model.config.num_text_documents)
        return numbers[:count], numbers[count:]


def score(answer: str, golds: Sequence[str]) -> dict[str, float]:
    """Scores of an answer; where there is no answer, only an empty one is right."""
    if not golds:
        right = float(not metrics.normalise(answer))
        return {"exact_match": right, "f1": right, "cover_match": right}
    return {
        "exact_match": metrics.exact_match(answer, golds),
        "f1": metrics.f1(answer, golds),
        "cover_match": metrics.cover_match(answer, golds),
    }
