"""Answers from the passages that a search found: all in one prompt, or each in a prompt of its own.

The paper reads the found documents together ("joint"). A small model mixes up several documents, but it can
tell whether a single one holds the answer. With "separate" reading it judges each document alone, and answers
from the one that most likely holds the answer (`docs/evaluation.md` compares both).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clara import roles
from clara.batching import by_length
from clara.errors import InputError, PromptError
from clara.model.generation import log_odds_of_answer, stream
from clara.model.modeling import ClaraModel
from clara.model.prompts import PromptBatch
from clara.processing import ClaraProcessor, MemorySlot, Prompt, Slot, TextSlot, collate_prompts
from clara.records import Reply

Document = str | NDArray[np.float16]
"""What a prompt holds of a passage: its text, or its memory (m, H)."""

TextPassages = int | Literal["auto"]
"""How many of the found passages are read as text, or "auto" (`Reader.read_found`)."""

MAX_BATCH_POSITIONS = 8192
"""Padded positions of one batch of prompts that are judged."""

RANK_WEIGHT = 0.25
"""Weight of log(1 / rank) beside the log probability that a document holds the answer."""

AUTO_MARGIN = 2.0
"""With "auto", passages are read as text whose memories score at most so many nats below the best one."""

AUTO_TOKENS = 768
"""With "auto", tokens of the passages that are read as text, together; the first is read in any case."""


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A passage as it can be read: its text and its stored memory (m, H)."""

    text: str
    memory: NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class _Row:
    """A prompt that answers a question.

    Attributes:
        prompt: The prompt.
        memory: (n, H) memories for its slots.
        document: Place of the document, where the prompt holds only one of several.
        texts: Places of the documents that were read as text.
        judged: Positions that were read to choose the document.
    """

    prompt: Prompt
    memory: Tensor
    document: int | None = None
    texts: tuple[int, ...] = ()
    judged: int = 0


class Reader:
    """Asks the generator about passages.

    Args:
        model: In evaluation mode.
        processor: Of the same configuration.
    """

    def __init__(self, model: ClaraModel, processor: ClaraProcessor) -> None:
        self.model = model
        self.processor = processor

    def read(
        self,
        questions: Sequence[str],
        documents: Sequence[Sequence[Document]],
        *,
        max_new_tokens: int,
        rate: int | None = None,
        role: str | None = roles.GENERATOR,
        scores: Sequence[Sequence[float]] | None = None,
        reading: str | None = None,
    ) -> list[Reply]:
        """Answers to a batch of questions from documents as they are given; see `clara.Clara.read`."""
        rows = self._rows(questions, documents, rate, self._reading(reading, role))
        return self._write(rows, max_new_tokens, role, scores)

    def read_found(
        self,
        questions: Sequence[str],
        found: Sequence[Sequence[FoundPassage]],
        *,
        max_new_tokens: int,
        text_passages: TextPassages | None = None,
        rate: int | None = None,
        scores: Sequence[Sequence[float]] | None = None,
        reading: str | None = None,
    ) -> list[Reply]:
        """Answers to a batch of questions from passages that a search found.

        Read jointly, the first `text_passages` stand in the prompt as text and the rest as memories. Read
        separately, the memories are judged first; the best `text_passages` of them are then judged as text,
        and the best of these is read. With "auto", as many are read as text as the memories leave in doubt
        (`AUTO_MARGIN`, `AUTO_TOKENS`). With 0 the best memory is read.

        Args:
            questions: B questions.
            found: Passages of each, best first.
            max_new_tokens: Longest answer.
            text_passages: See above; the model's own number if None.
            rate: Of the memories, if not the model's own.
            scores: Of each passage in search, where the model takes them into account.
            reading: "joint" or "separate"; the model's own if None.

        Raises:
            InputError: A question is empty or too long, or an argument is out of range.
            PromptError: A prompt is longer than the model reads.
        """
        rows = self._rows_of_found(questions, found, text_passages, rate, self._reading(reading))
        return self._write(rows, max_new_tokens, roles.GENERATOR, scores)

    def stream_found(
        self,
        question: str,
        found: Sequence[FoundPassage],
        *,
        max_new_tokens: int,
        text_passages: TextPassages | None = None,
        rate: int | None = None,
        reading: str | None = None,
    ) -> Iterator[str | Reply]:
        """The answer's text piece by piece, then the whole reply; arguments as for `read_found`.

        The model writes token by token (not `answers_at_once`).
        """
        require_tokens(max_new_tokens)
        (row,) = self._rows_of_found([question], [found], text_passages, rate, self._reading(reading))
        confidence = self.model.confidence(self.processor.end_token_id)
        tokens: list[int] = []
        written = ""
        for (token,) in stream(
            self.model,
            self.collate([row.prompt]),
            [row.memory],
            end_token_id=self.processor.end_token_id,
            max_new_tokens=max_new_tokens,
            logits_processor=confidence.processors,
        ):
            if token is not None:
                tokens.append(token)
            text = self.processor.decode_answer(tokens)
            # a character may need several tokens; what can still change is held back
            if text.startswith(written) and not text.endswith("\N{REPLACEMENT CHARACTER}"):
                yield text[len(written) :]
                written = text
        (sure,) = confidence.of([tokens])
        yield self._reply(row, tokens, sure, len(row.prompt), None)

    # -- which documents are read ----------------------------------------------------------------------

    def _reading(self, reading: str | None, role: str | None = roles.GENERATOR) -> str:
        config = self.model.config
        if role != roles.GENERATOR:
            return "joint"  # the base was not taught to judge
        reading = config.reading if reading is None else reading
        if reading not in config.readings:
            raise InputError(f"reading is {reading!r}, but must be one of {', '.join(config.readings)}.")
        if reading == "separate" and config.no_answer_token_id is None:
            raise InputError(
                "This model cannot judge whether a document holds an answer, so it reads no documents "
                "separately; leave reading out."
            )
        return reading

    def _rows(
        self,
        questions: Sequence[str],
        documents: Sequence[Sequence[Document]],
        rate: int | None,
        reading: str,
        ranks: Sequence[Sequence[int]] | None = None,
    ) -> list[_Row]:
        """One prompt per question over documents as they are given.

        Args:
            questions: The questions.
            documents: Of each.
            rate: Of the memories.
            reading: How they are read.
            ranks: Places of the documents in search, from 0; their order if None.
        """
        if reading == "joint":
            return [
                self._row(question, own, rate) for question, own in zip(questions, documents, strict=True)
            ]
        judgements = self._judge(questions, documents, rate, ranks)
        rows = []
        for question, own, (scores, judged) in zip(questions, documents, judgements, strict=True):
            best = int(np.argmax(scores)) if len(own) > 1 else None
            row = self._row(question, own if best is None else [own[best]], rate)
            # what was judged as text counts as read as text
            texts = tuple(place for place, document in enumerate(own) if isinstance(document, str))
            document = best if best is not None else (0 if own else None)
            rows.append(replace(row, document=document, texts=texts, judged=judged))
        return rows

    def _rows_of_found(
        self,
        questions: Sequence[str],
        found: Sequence[Sequence[FoundPassage]],
        text_passages: TextPassages | None,
        rate: int | None,
        reading: str,
    ) -> list[_Row]:
        """One prompt per question over found passages."""
        count = self._count(text_passages, reading)
        if reading == "joint":
            assert isinstance(count, int)
            return self._rows(
                questions,
                [[*(one.text for one in own[:count]), *(one.memory for one in own[count:])] for own in found],
                rate,
                reading,
            )
        memories: list[list[Document]] = [[one.memory for one in own] for own in found]
        if count == 0:
            return self._rows(questions, memories, rate, reading)
        # where all are read as text, there is nothing to choose
        offered = [own if count == "auto" or len(own) > count else [] for own in memories]
        judgements = self._judge(questions, offered, rate)
        chosen = [
            sorted(self._chosen(own, scores, count)) if len(scores) else list(range(len(own)))
            for own, (scores, _) in zip(found, judgements, strict=True)
        ]
        texts: list[list[Document]] = [
            [own[place].text for place in places] for own, places in zip(found, chosen, strict=True)
        ]
        rows = self._rows(questions, texts, rate, reading, chosen)
        return [
            replace(
                row,
                document=None if row.document is None else places[row.document],
                texts=tuple(places),
                judged=row.judged + positions,
            )
            for row, places, (_, positions) in zip(rows, chosen, judgements, strict=True)
        ]

    def _count(self, text_passages: TextPassages | None, reading: str) -> TextPassages:
        """How many passages are read as text.

        Raises:
            InputError: The number is negative, or "auto" is asked of joint reading.
        """
        count = self.model.config.num_text_documents if text_passages is None else text_passages
        if count == "auto":
            if reading == "joint":
                raise InputError(
                    'text_passages is "auto", but the passages are read jointly, so that none is judged '
                    "before; give a number."
                )
            return count
        if not isinstance(count, int) or count < 0:
            raise InputError(
                f'The number of passages read as text is {count!r}, but must be at least 0, or "auto".'
            )
        return count

    def _chosen(
        self, found: Sequence[FoundPassage], scores: NDArray[np.float64], count: TextPassages
    ) -> list[int]:
        """Places of the passages to read as text, by the scores of their memories."""
        order = [int(place) for place in np.argsort(-scores, kind="stable")]
        if isinstance(count, int):
            return order[:count]
        near = [place for place in order if scores[place] >= scores[order[0]] - AUTO_MARGIN]
        sizes = self.processor.count_tokens([found[place].text for place in near])
        kept = np.searchsorted(np.cumsum(sizes), AUTO_TOKENS, side="right")
        return near[: max(1, int(kept))]

    def _judge(
        self,
        questions: Sequence[str],
        documents: Sequence[Sequence[Document]],
        rate: int | None,
        ranks: Sequence[Sequence[int]] | None = None,
    ) -> list[tuple[NDArray[np.float64], int]]:
        """For each question a score of each document, and the positions that were read.

        A score is the log probability that the document holds the answer, with a part of the logarithm of
        1 / rank. A single document is not judged.
        """
        rows: list[_Row] = []
        for question, own in zip(questions, documents, strict=True):
            rows += [self._row(question, [document], rate) for document in own if len(own) > 1]
        log_odds = np.zeros(len(rows))
        for batch in by_length([len(row.prompt) for row in rows], MAX_BATCH_POSITIONS):
            chosen = [rows[index] for index in batch]
            prompts = self.collate([row.prompt for row in chosen])
            log_odds[list(batch)] = log_odds_of_answer(self.model, prompts, [row.memory for row in chosen])
        judgements, first = [], 0
        for number, own in enumerate(documents):
            stop = first + (len(own) if len(own) > 1 else 0)
            odds = log_odds[first:stop] if stop > first else np.zeros(len(own))
            places = np.arange(len(own)) if ranks is None else np.array(ranks[number])
            scores = -np.logaddexp(0, -odds) - RANK_WEIGHT * np.log1p(places)
            judgements.append((scores, sum(len(row.prompt) for row in rows[first:stop])))
            first = stop
        return judgements

    # -- prompts and answers -----------------------------------------------------------------------------

    def _row(self, question: str, documents: Sequence[Document], rate: int | None) -> _Row:
        """The prompt over texts and memories, in one."""
        slots: list[Slot] = []
        vectors = [self.tensor(np.zeros((0, self.model.hidden_size), np.float16))]
        for document in documents:
            if isinstance(document, str):
                slots.append(TextSlot(self.processor.encode_documents([document])[0]))
            else:
                slots.append(MemorySlot(len(document), rate))
                vectors.append(self.tensor(document))
        texts = tuple(place for place, document in enumerate(documents) if isinstance(document, str))
        return _Row(self.processor.prompt(question, slots), torch.cat(vectors), texts=texts)

    def tensor(self, memory: NDArray[np.float16]) -> Tensor:
        """A stored memory as the model takes it."""
        return torch.from_numpy(memory).to(self.model.device, self.model.dtype)

    def collate(self, rows: Sequence[Prompt]) -> PromptBatch:
        """Prompts as a batch on the model's device.

        Raises:
            PromptError: One of them is longer than the model reads.
        """
        limit = getattr(self.model.config.text_config, "max_position_embeddings", None)
        longest = max(max(row.positions) + 1 for row in rows)
        if limit is not None and longest + 1 > limit:
            raise PromptError(
                f"The prompt takes {longest} positions, but the model has {limit}; "
                "read fewer or shorter passages."
            )
        return collate_prompts(rows).to(self.model.device)

    def _write(
        self,
        rows: Sequence[_Row],
        max_new_tokens: int,
        role: str | None,
        scores: Sequence[Sequence[float]] | None,
    ) -> list[Reply]:
        """The reply of each row."""
        require_tokens(max_new_tokens)
        if not rows:
            return []
        replies = self.model.write(
            self.collate([row.prompt for row in rows]),
            [row.memory for row in rows],
            end_token_id=self.processor.end_token_id,
            max_new_tokens=max_new_tokens,
            role=role,
            scores=scores,
        )
        return [
            self._reply(row, written.ids, written.confidence, written.num_positions, written.document)
            for row, written in zip(rows, replies, strict=True)
        ]

    def _reply(
        self, row: _Row, ids: Sequence[int], confidence: float, positions: int, document: int | None
    ) -> Reply:
        return Reply(
            self.processor.decode_answer(ids),
            confidence,
            positions + row.judged,
            row.document if document is None else document,
            row.texts,
        )


def require_tokens(count: int) -> None:
    """Raise InputError if the longest answer has no token."""
    if count < 1:
        raise InputError(f"The longest answer is {count} tokens, but must be at least 1.")
