"""One training step of reading: answers from documents that stand as text or as memory.

A row of the batch holds a few documents and every question on them; each question sees all documents of its
row, so the others are its distractors, and each document is read once for all its questions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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


@dataclass(frozen=True, slots=True)
class ReadingForm:
    """How the documents of a step stand in the prompts.

    Attributes:
        documents_per_row: Documents that share a row (and all its questions).
        memory_share: Probability that a document stands as its memory; else as text.
        one_as_text: In every row one document, drawn, stands as text and is asked about; the others are
            distractors as memories, and `memory_share` does not matter.
        rate: Text tokens per memory token.
        cloze_turns: Cloze questions drawn per document beside its own questions.
    """

    documents_per_row: int = 1
    memory_share: float = 0.0
    one_as_text: bool = False
    rate: int = 4
    cloze_turns: int = 0


def reading_loss(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[ReadingExample],
    form: ReadingForm,
    rng: random.Random,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of one step and its parts.

    Args:
        model: With attention in blocks.
        processor: Of the same configuration.
        examples: The step's passages; consecutive ones share rows.
        form: How they stand in the prompts.
        rng: Draws which documents stand as memory and which answer of several is trained.

    Returns:
        The scalar loss, and its parts by name.
    """
    device = model.device
    documents = processor.encode_documents([example.content for example in examples])
    as_memory = _memory_documents(len(examples), form, rng)
    chosen = [index for index, is_memory in enumerate(as_memory) if is_memory]
    memories: dict[int, Tensor] = {}
    parts: dict[str, Tensor] = {}
    if chosen:
        ids, lengths = collate_texts([documents[index] for index in chosen])
        compressed = model.compress(ids.to(device), lengths.to(device), rate=form.rate)
        memories = dict(zip(chosen, compressed.unpadded(), strict=True))
        if model.config.alignment_weight:
            parts["alignment"] = alignment_loss(compressed.text_means, compressed.means)

    rows, row_memories = [], []
    for start in range(0, len(examples), form.documents_per_row):
        group = range(start, min(start + form.documents_per_row, len(examples)))
        rows.append(_row(processor, examples, documents, memories, as_memory, group, form, rng))
        held = [memories[index] for index in group if as_memory[index]]
        row_memories.append(torch.cat(held) if held else torch.zeros(0, model.hidden_size, device=device))
    output = model(collate_prompts(rows).to(device), row_memories if any(as_memory) else None)
    parts["answer"] = output.loss
    loss = output.loss
    if "alignment" in parts:
        loss = loss + model.config.alignment_weight * parts["alignment"]
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def _memory_documents(count: int, form: ReadingForm, rng: random.Random) -> list[bool]:
    """Which of a step's documents stand as memory."""
    if not form.one_as_text:
        return [rng.random() < form.memory_share for _ in range(count)]
    as_memory = [True] * count
    for start in range(0, count, form.documents_per_row):
        as_memory[rng.randrange(start, min(start + form.documents_per_row, count))] = False
    return as_memory


def _row(
    processor: ClaraProcessor,
    examples: Sequence[ReadingExample],
    documents: Sequence[list[int]],
    memories: dict[int, Tensor],
    as_memory: Sequence[bool],
    group: range,
    form: ReadingForm,
    rng: random.Random,
) -> Prompt:
    """The prompt of a group of documents with every question on them."""
    slots: list[Slot] = [
        MemorySlot(len(memories[index]), form.rate) if as_memory[index] else TextSlot(documents[index])
        for index in group
    ]
    turns = [
        (question, rng.choice(answers))
        for index in group
        if not (form.one_as_text and as_memory[index])
        for question, answers in examples[index].turns
        if answers
    ]
    blank = processor.tokenizer.mask_token or "_"
    for index in group if form.cloze_turns else ():
        turns += cloze_turns(examples[index].passage, form.cloze_turns, blank, rng)
    return processor.packed_prompt(slots, _short_enough(processor, turns))


def _short_enough(processor: ClaraProcessor, turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The turns whose question the model reads whole; in use a longer one is refused."""
    counts = processor.count_tokens([question for question, _ in turns])
    return [
        turn for turn, count in zip(turns, counts, strict=True) if 0 < count <= processor.query_max_tokens
    ]
