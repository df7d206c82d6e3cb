"""Retrieval from labels: every question against the documents of its step, where each is another's negative.

Not a stage of the paper, whose retrieval is taught by the answer alone (`clara.training.objectives`); a start
for it where labels exist.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from clara import roles
from clara.errors import InputError
from clara.model.losses import contrastive_loss
from clara.model.modeling import ClaraModel
from clara.model.selection import cosine_scores
from clara.processing import ClaraProcessor, collate_texts
from clara.training.examples import ReadingExample


def retrieval_loss(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[ReadingExample],
    rng: random.Random,
    temperature: float = 0.05,
) -> tuple[Tensor, dict[str, float]]:
    """InfoNCE of one question a document against all documents of the step.

    Trains the query reasoner, and the role of the documents' keys where that is another.

    Args:
        model: With a query reasoner.
        processor: Of the same configuration.
        examples: The step's documents; those of one source are each other's hard negatives.
        rng: Draws the questions.
        temperature: Of the softmax over cosines.

    Returns:
        The scalar loss, and its parts "contrastive" and "ranked_first" (share of the questions whose document
        ranks first).

    Raises:
        InputError: A document has no answerable question.
        MissingRoleError: The model has no query reasoner.
    """
    model.require_role(roles.QUERY_REASONER, "Training retrieval")
    questions = []
    for example in examples:
        answerable = [question for question, answers in example.turns if answers]
        if not answerable:
            raise InputError("A document of a retrieval step has no answerable question; leave it out.")
        questions.append(rng.choice(answerable))
    keys = _keys(model, processor.encode_documents([example.content for example in examples]))
    ids, lengths = collate_texts(processor.encode_questions(questions))
    queries = model.keys(model.encode_query(ids.to(model.device), lengths.to(model.device)))
    scores = cosine_scores(queries, keys)
    own = torch.eye(len(questions), dtype=torch.bool, device=scores.device)
    loss = contrastive_loss(scores, own, temperature)
    first = (scores.argmax(dim=1) == own.int().argmax(dim=1)).float().mean()
    return loss, {"contrastive": float(loss.detach()), "ranked_first": float(first)}


def _keys(model: ClaraModel, documents: Sequence[Sequence[int]]) -> Tensor:
    ids, lengths = collate_texts(documents)
    ids, lengths = ids.to(model.device), lengths.to(model.device)
    return model.document_keys(ids, lengths)
