"""One training step of reading: answers from documents that stand as text or as memory.

Every question is a prompt of its own; the documents beside the one that it asks about are its distractors.
A document is compressed once for all the prompts of the step.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clara.batching import by_length
from clara.model.losses import alignment_loss
from clara.model.modeling import ClaraModel
from clara.processing import (
    ClaraProcessor,
    MemorySlot,
    Prompt,
    Slot,
    TextSlot,
    collate_prompts,
    collate_texts,
)
from clara.training.cloze import cloze_turns
from clara.training.examples import ReadingExample

MAX_ROW_TOKENS = 6144
"""Padded tokens of the prompts that are read at once."""


@dataclass(frozen=True, slots=True)
class ReadingForm:
    """How the documents of a step stand in the prompts.

    Attributes:
        documents: Documents of a prompt, of which one is asked about.
        memory_share: Probability that a document stands as its memory; else as text.
        one_as_text: One document of each prompt stands as text, the others as memories, whatever
            `memory_share`.
        asked_as_text: With `one_as_text`: probability that the text is the document that is asked about.
        rate: Text tokens per memory token.
        turns: Most questions drawn per document.
        cloze_turns: Cloze questions drawn per document beside its own questions.
    """

    documents: int = 1
    memory_share: float = 0.0
    one_as_text: bool = False
    asked_as_text: float = 0.75
    rate: int = 4
    turns: int = 2
    cloze_turns: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """A question on one of a step's documents.

    Attributes:
        document: Its index.
        question: The question.
        answer: The answer to train.
    """

    document: int
    question: str
    answer: str


def reading_loss(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[ReadingExample],
    form: ReadingForm,
    rng: random.Random,
    max_tokens: int = MAX_ROW_TOKENS,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of one step and its parts.

    Args:
        model: With prompts in blocks.
        processor: Of the same configuration.
        examples: The step's passages; consecutive ones share prompts.
        form: How they stand in the prompts.
        rng: Draws questions, answers, and which documents stand as memory.
        max_tokens: Padded tokens of the prompts that are read at once.

    Returns:
        The scalar loss, a mean over answer tokens, and its parts by name.
    """
    device = model.device
    documents = processor.encode_documents([example.content for example in examples])
    prompts: list[tuple[Turn, list[tuple[int, bool]]]] = [
        (turn, _documents(turn.document, len(examples), form, rng))
        for turn in _turns(processor, examples, form, rng)
    ]
    chosen = sorted({index for _, held in prompts for index, as_memory in held if as_memory})
    memories: dict[int, Tensor] = {}
    parts: dict[str, Tensor] = {}
    if chosen:
        ids, lengths = collate_texts([documents[index] for index in chosen])
        compressed = model.compress(ids.to(device), lengths.to(device), rate=form.rate)
        memories = dict(zip(chosen, compressed.unpadded(), strict=True))
        if model.config.alignment_weight:
            parts["alignment"] = alignment_loss(compressed.text_means, compressed.means)

    rows: list[Prompt] = []
    row_memories: list[Tensor] = []
    for turn, held in prompts:
        slots: list[Slot] = [
            MemorySlot(len(memories[index]), form.rate) if as_memory else TextSlot(documents[index])
            for index, as_memory in held
        ]
        rows.append(processor.prompt(turn.question, slots, turn.answer))
        vectors = [memories[index] for index, as_memory in held if as_memory]
        row_memories.append(
            torch.cat(vectors) if vectors else torch.zeros(0, model.hidden_size, device=device)
        )
    parts["answer"] = answer_tokens_loss(model, rows, row_memories, max_tokens)
    loss = parts["answer"]
    if "alignment" in parts:
        loss = loss + model.config.alignment_weight * parts["alignment"]
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def answer_tokens_loss(
    model: ClaraModel, rows: Sequence[Prompt], memories: Sequence[Tensor], max_tokens: int
) -> Tensor:
    """The mean loss over the answer tokens of all prompts, read in batches of similar length."""
    total, count = torch.zeros((), device=model.device), 0
    for batch in by_length([len(row) for row in rows], max_tokens):
        prompts = collate_prompts([rows[index] for index in batch]).to(model.device)
        tokens = sum(rows[index].num_targets for index in batch)
        total = total + model(prompts, [memories[index] for index in batch]).loss * tokens
        count += tokens
    return total / count


def _documents(asked: int, count: int, form: ReadingForm, rng: random.Random) -> list[tuple[int, bool]]:
    """(document, whether as memory) of a prompt, in order of the step's documents."""
    start = asked - asked % form.documents
    group = range(start, min(start + form.documents, count))
    if not form.one_as_text:
        return [(index, rng.random() < form.memory_share) for index in group]
    text = asked if rng.random() < form.asked_as_text else rng.choice(group)
    return [(index, index != text) for index in group]


def _turns(
    processor: ClaraProcessor, examples: Sequence[ReadingExample], form: ReadingForm, rng: random.Random
) -> list[Turn]:
    """The questions of a step, at least one; those that in use would be refused as too long are left out."""
    blank = processor.tokenizer.mask_token or "_"
    turns: list[Turn] = []
    for index, example in enumerate(examples):
        own = [Turn(index, question, rng.choice(answers)) for question, answers in example.turns if answers]
        turns += rng.sample(own, min(form.turns, len(own)))
        if form.cloze_turns:
            cloze = cloze_turns(example.passage, form.cloze_turns, blank, rng)
            turns += [Turn(index, question, answer) for question, answer in cloze]
    counts = processor.count_tokens([turn.question for turn in turns])
    return [
        turn for turn, count in zip(turns, counts, strict=True) if 0 < count <= processor.query_max_tokens
    ]
