"""One training step of reading: answers from documents that stand as text or as memory, among distractors."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
from clara.training.examples import ReadingExample


@dataclass(frozen=True, slots=True)
class ReadingForm:
    """How the questions of a step are asked.

    Attributes:
        questions: Questions of a step, drawn from all of its passages.
        documents: Documents of each, the one asked about and neighbours of it, in any order.
        memory_share: Probability that a document stands as its memory; else as text.
        rate: Text tokens per memory token.
        unanswerable: Probability that the document asked about is left out (neighbours stay), and the answer
            is that no document has one. Needs two documents or more.
    """

    questions: int = 16
    documents: int = 1
    memory_share: float = 0.0
    rate: int = 4
    unanswerable: float = 0.0


@dataclass(frozen=True, slots=True)
class _Asked:
    question: str
    answer: str
    places: tuple[int, ...]


def reading_loss(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[ReadingExample],
    form: ReadingForm,
    rng: random.Random,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of one step and its parts.

    Args:
        model: That answers with spans.
        processor: Of the same configuration.
        examples: The step's passages; consecutive ones are each other's neighbours.
        form: How they are asked about.
        rng: Draws questions, answers of several, neighbours, and which documents stand as memory.

    Returns:
        The scalar loss, and its parts by name.
    """
    documents = processor.encode_documents([example.content for example in examples])
    asked = _draw(processor, examples, form, rng)
    used = sorted({place for item in asked for place in item.places})
    as_memory = {place for place in used if rng.random() < form.memory_share}
    memories: dict[int, Tensor] = {}
    if as_memory:
        chosen = sorted(as_memory)
        ids, lengths = collate_texts([documents[place] for place in chosen])
        compressed = model.compress(ids.to(model.device), lengths.to(model.device), rate=form.rate)
        memories = dict(zip(chosen, compressed.unpadded(), strict=True))
    prompts, held = [], []
    nothing = torch.zeros(0, model.hidden_size, device=model.device)
    for item in asked:
        prompts.append(_prompt(processor, item, documents, memories, form.rate))
        held.append(torch.cat([nothing, *(memories[place] for place in item.places if place in memories)]))
    output = model(collate_prompts(prompts).to(model.device), held)
    return output.loss, {"answer": float(output.loss.detach())}


def _draw(
    processor: ClaraProcessor, examples: Sequence[ReadingExample], form: ReadingForm, rng: random.Random
) -> list[_Asked]:
    """The questions of a step, of those that the model reads whole."""
    turns = [
        (place, question, answers)
        for place, example in enumerate(examples)
        for question, answers in example.turns
        if answers
    ]
    counts = processor.count_tokens([question for _, question, _ in turns])
    turns = [turn for turn, count in zip(turns, counts, strict=True) if count <= processor.query_max_tokens]
    asked = []
    for place, question, answers in rng.sample(turns, min(form.questions, len(turns))):
        # the nearest first, before or behind
        others = sorted(set(range(len(examples))) - {place}, key=lambda other: abs(other - place))
        neighbours = others[: form.documents - 1]
        has_answer = not neighbours or rng.random() >= form.unanswerable
        places = [place, *neighbours] if has_answer else neighbours
        rng.shuffle(places)
        asked.append(_Asked(question, rng.choice(answers) if has_answer else "", tuple(places)))
    return asked


def _prompt(
    processor: ClaraProcessor,
    asked: _Asked,
    documents: Sequence[list[int]],
    memories: dict[int, Tensor],
    rate: int,
) -> Prompt:
    slots: list[Slot] = [
        MemorySlot(len(memories[place]), rate) if place in memories else TextSlot(documents[place])
        for place in asked.places
    ]
    return processor.prompt(asked.question, slots, asked.answer)
