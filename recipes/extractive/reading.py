"""One training step of reading: answers from documents that stand as text, among distractors."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor, TextSlot, collate_prompts
from clara.training.examples import ReadingExample


@dataclass(frozen=True, slots=True)
class ReadingForm:
    """How the questions of a step are asked.

    Attributes:
        questions: Questions of a step, drawn from all of its passages.
        documents: Documents of each, the one asked about and neighbours of it, in any order.
        unanswerable: Probability that the document asked about is left out (neighbours stay), and the answer
            is that no document has one. Needs two documents or more.
        bare: Probability that a question comes without its question mark, as people type them.
    """

    questions: int = 16
    documents: int = 1
    unanswerable: float = 0.0
    bare: float = 0.0


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
        rng: Draws questions, answers of several, and the order of documents.

    Returns:
        The scalar loss, and its parts by name.
    """
    documents = processor.encode_documents([example.content for example in examples])
    prompts = [
        processor.prompt(asked.question, [TextSlot(documents[place]) for place in asked.places], asked.answer)
        for asked in _draw(processor, examples, form, rng)
    ]
    output = model(collate_prompts(prompts).to(model.device))
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
    return [
        _ask(examples, place, question, answers, form, rng)
        for place, question, answers in rng.sample(turns, min(form.questions, len(turns)))
    ]


def _ask(
    examples: Sequence[ReadingExample],
    place: int,
    question: str,
    answers: Sequence[str],
    form: ReadingForm,
    rng: random.Random,
) -> _Asked:
    # the nearest first, before or behind
    others = sorted(set(range(len(examples))) - {place}, key=lambda other: abs(other - place))
    neighbours = others[: form.documents - 1]
    places = [place, *neighbours]
    answer = rng.choice(answers)
    if neighbours and rng.random() < form.unanswerable:
        places, answer = neighbours, ""
    if rng.random() < form.bare:
        question = question.removesuffix("?").rstrip()
    rng.shuffle(places)
    return _Asked(question, answer, tuple(places))
