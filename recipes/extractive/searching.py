"""One training step of search with labels: a question's own passage against the others of the step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clara.model import selection
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor, collate_texts
from clara.training.examples import ReadingExample

MATCH_TEMPERATURE = 0.03
KEY_TEMPERATURE = 0.05


@dataclass(frozen=True, slots=True)
class SearchForm:
    """How a step is searched.

    Attributes:
        questions: Questions of a step at most, drawn from all of its passages.
        rate: Text tokens per memory token.
    """

    questions: int = 48
    rate: int = 16


def search_loss(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[ReadingExample],
    form: SearchForm,
    rng: random.Random,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of one step and its parts: "match" by the words of memories, "key" by the keys.

    Args:
        model: Of the score "words".
        processor: Of the same configuration.
        examples: The step's passages, each one's negatives being all others.
        form: How they are searched.
        rng: Draws the questions.

    Returns:
        The scalar loss, and its parts by name; "found" is the share of questions whose own passage matches
        best.
    """
    turns = [(question, place) for place, example in enumerate(examples) for question, _ in example.turns]
    counts = processor.count_tokens([question for question, _ in turns])
    turns = [turn for turn, count in zip(turns, counts, strict=True) if count <= processor.query_max_tokens]
    turns = rng.sample(turns, min(form.questions, len(turns)))
    gold = torch.tensor([place for _, place in turns], device=model.device)
    asked = collate_texts(
        processor.encode_questions([question for question, _ in turns]), device=model.device
    )
    read = collate_texts(
        processor.encode_documents([example.content for example in examples]), device=model.device
    )
    documents = model.compress(*read, rate=form.rate)
    queries = model.encode_query(*asked)
    matches = model.rerank(*asked, queries, documents.unpadded(), form.rate)
    cosines = selection.cosine_scores(model.embeddings(queries), model.document_embeddings(*read, documents))
    match = F.cross_entropy(matches / MATCH_TEMPERATURE, gold)
    key = F.cross_entropy(cosines / KEY_TEMPERATURE, gold)
    found = (matches.argmax(dim=1) == gold).float().mean()
    parts = {"match": float(match.detach()), "key": float(key.detach()), "found": float(found)}
    return match + key, parts
