"""The loss of joint training: reading text, memories, several documents, and search in one step.

Goes beyond the paper, whose stages train one thing after another on millions of examples: a small model on
little data learns faster when the text reader of the same step teaches the memory reader, and when all the
questions about a passage share one row (`ClaraProcessor.documents_prompt`).

An example is a group of neighbouring passages with rows over them. A row reads some of the passages, the
first of them as text and the rest as memories, and holds what is asked about them:

    {"docs": ["Title\\nFirst passage", "Title\\nSecond passage"],
     "rows": [{"read": [0], "texts": 1, "turns": [{"question": "When?", "answer": "1883"}]},
              {"read": [0], "texts": 0, "turns": [{"question": "When?", "answer": "1883"},
                                                  {"instruction": "Repeat:", "answer": "First passage"}]},
              {"read": [1, 0], "texts": 1, "turns": [{"question": "Who?", "answer": null}]}],
     "searches": [{"question": "When?", "doc": 0}]}

The answer null says that none of the row's documents holds one. Which rows a passage gets is the data's
choice, so that what is trained can be read in the file.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clara.batching import by_length
from clara.errors import InputError
from clara.model import selection
from clara.model.losses import contrastive_loss, distillation_loss
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor, MemorySlot, Prompt, TextSlot, collate_prompts, collate_texts
from clara.prompts import documents_answer
from clara.training.examples import JointExample, Row, Turn
from clara.training.objectives import (
    DEFAULTS,
    CompressedTexts,
    ObjectiveOptions,
    StageLoss,
    Term,
    compress_texts,
)

EMBEDDING_TEMPERATURE = 0.05
LATE_TEMPERATURE = 0.03

KINDS = ("text", "memory", "several")
"""Kinds of rows: one passage as text, one as memory, several passages. The text rows teach the others."""

_Key = tuple[int, tuple[str, ...], Turn]
"""Number of the example in the batch, documents that are read, and what is asked of them."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A row of the batch as a prompt.

    Attributes:
        kind: The term that it belongs to: "text", "memory" or "several".
        prompt: The prompt.
        documents: Texts whose memories stand in it, in order.
        turns: (documents that are read, turn) of each turn, with its number of targets.
    """

    kind: str
    prompt: Prompt
    documents: tuple[str, ...]
    turns: tuple[tuple[_Key, int], ...]


def joint_loss(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[JointExample],
    options: ObjectiveOptions = DEFAULTS,
) -> StageLoss:
    """Cross-entropy of the answers of all rows, distillation from text, and search over the batch's passages.

    Trains all three roles and the pooling.

    Args:
        model: Of the compressor "pooled".
        processor: Of the same configuration.
        examples: The batch. A passage that several rows read is compressed once.
        options: `rate` is that of all memories; `distillation_weight` weighs the divergence of the answers
            that are read from memories, or among several documents, from the same answers read from their
            own passage as text, in rows of the same example; `contrastive_weight` weighs the two search
            losses (late interaction and single vector).

    Returns:
        The terms "text", "memory" and "several" as far as there are such rows, and "distillation", "search"
        and "embedding" where they are asked for.

    Raises:
        InputError: The model's memories are not pooled.
    """
    if model.pooling is None:
        raise InputError(
            "Joint training needs a model with pooled memories; make one with compressor=pooled."
        )
    texts = list(dict.fromkeys(text for example in examples for text in example.documents))
    place = {text: number for number, text in enumerate(texts)}
    memories = compress_texts(model, processor, texts, options)
    parts = joint_prompts(model, processor, examples, options, [len(memory) for memory in memories.vectors])
    loss = StageLoss()
    taught: dict[_Key, Tensor] = {}
    for kind in KINDS:
        rows = [part for part in parts if part.kind == kind]
        if not rows:
            continue
        total = memories.vectors[0].new_zeros(())
        divergence, with_teacher = total, 0
        for batch in by_length([len(row.prompt) for row in rows], options.max_tokens):
            chosen = [rows[index] for index in batch]
            held = [_held(memories, [place[text] for text in row.documents], model) for row in chosen]
            output = model(collate_prompts([row.prompt for row in chosen]).to(model.device), held)
            tokens = sum(row.prompt.num_targets for row in chosen)
            total = total + output.loss * tokens
            logits = output.logits.split([count for row in chosen for _, count in row.turns])
            asked = [key for row in chosen for key, _ in row.turns]
            for key, own in zip(asked, logits, strict=True):
                if kind == "text":
                    taught[key] = own.detach()
                elif options.distillation_weight and (same := _teacher(taught, key)):
                    divergence = divergence + distillation_loss(own, taught[same]) * len(own)
                    with_teacher += len(own)
        count = sum(row.prompt.num_targets for row in rows)
        loss.terms[kind] = Term(total / count, count)
        if with_teacher:
            loss.terms[f"{kind}_distillation"] = Term(
                divergence / with_teacher, with_teacher, options.distillation_weight
            )
    if options.contrastive_weight:
        _add_search(loss, model, processor, examples, place, memories, options)
    return loss


def joint_prompts(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[JointExample],
    options: ObjectiveOptions,
    lengths: Sequence[int] | None = None,
) -> list[_Part]:
    """The rows of a batch as prompts.

    Args:
        model: Its configuration names the token for "no document holds the answer".
        processor: Of the same configuration.
        examples: The batch.
        options: `rate` counts.
        lengths: Memory tokens of each distinct text in order of first occurrence; 1 each if None, which is
            enough to count targets.
    """
    texts = list(dict.fromkeys(text for example in examples for text in example.documents))
    encoded = dict(zip(texts, processor.encode_documents(texts), strict=True))
    sizes = dict(zip(texts, lengths or [1] * len(texts), strict=True))
    nothing = model.config.no_answer_token_id
    parts = []
    for number, example in enumerate(examples):
        for row in example.rows:
            read = [example.documents[index] for index in row.documents]
            slots = [
                TextSlot(encoded[text]) if at < row.texts else MemorySlot(sizes[text], options.rate)
                for at, text in enumerate(read)
            ]
            turns = [turn for turn in row.turns if turn.answer is not None or nothing is not None]
            if not turns:
                continue
            missing = [] if nothing is None else [nothing]
            prompt = processor.documents_prompt(
                slots, [(_asked(turn), missing if turn.answer is None else turn.answer) for turn in turns]
            )
            counts = [
                1 if turn.answer is None else len(processor.tokenize([f" {turn.answer}"])[0]) + 1
                for turn in turns
            ]
            documents = tuple(read)
            parts.append(
                _Part(
                    kind=_kind(row),
                    prompt=prompt,
                    documents=tuple(read[row.texts :]),
                    turns=tuple(
                        ((number, documents, turn), count) for turn, count in zip(turns, counts, strict=True)
                    ),
                )
            )
    return parts


def count_joint_items(
    model: ClaraModel, processor: ClaraProcessor, examples: Sequence[JointExample], options: ObjectiveOptions
) -> dict[str, int]:
    """The items of each term of a batch, without running the model."""
    counts = dict.fromkeys(KINDS, 0)
    taught: set[_Key] = set()
    distilled = {"memory": 0, "several": 0}
    parts = joint_prompts(model, processor, examples, options)
    for part in sorted(parts, key=lambda part: part.kind != "text"):
        counts[part.kind] += part.prompt.num_targets
        for key, count in part.turns:
            if part.kind == "text":
                taught.add(key)
            elif _teacher(taught, key):
                distilled[part.kind] += count
    searches = sum(len(example.searches) for example in examples)
    return {
        **counts,
        **{f"{kind}_distillation": count for kind, count in distilled.items()},
        "search": searches,
        "embedding": searches,
    }


def _teacher(known: Collection[_Key], key: _Key) -> _Key | None:
    """The text row that answers the same from one of the documents alone; None where there is none."""
    example, documents, turn = key
    if turn.answer is None:
        return None
    return next((same for text in documents if (same := (example, (text,), turn)) in known), None)


def _kind(row: Row) -> str:
    if len(row.documents) > 1:
        return "several"
    return "text" if row.texts else "memory"


def _asked(turn: Turn) -> str:
    return documents_answer(turn.prompt) if turn.is_question else turn.prompt


def _held(memories: CompressedTexts, places: Sequence[int], model: ClaraModel) -> Tensor:
    """(n, H) memories of a row's documents, one after another."""
    if not places:
        return memories.vectors[0].new_zeros((0, model.hidden_size))
    return torch.cat([memories.vectors[place] for place in places])


def _add_search(
    loss: StageLoss,
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[JointExample],
    place: dict[str, int],
    memories: CompressedTexts,
    options: ObjectiveOptions,
) -> None:
    """Both search losses of the batch's questions over the batch's passages."""
    asked = [
        (search.question, place[example.documents[search.document]])
        for example in examples
        for search in example.searches
    ]
    if not asked:
        return
    ids, lengths = collate_texts(
        processor.encode_questions([question for question, _ in asked]), device=model.device
    )
    queries = model.encode_query(ids, lengths)
    gold = torch.tensor([number for _, number in asked], device=model.device)
    positives = gold[:, None] == torch.arange(len(place), device=model.device)
    late = model.rerank(ids, lengths, queries, memories.vectors, options.rate)
    single = selection.cosine_scores(model.query_embeddings(queries), memories.embeddings)
    for name, scores, temperature in (
        ("search", late, LATE_TEMPERATURE),
        ("embedding", single, EMBEDDING_TEMPERATURE),
    ):
        value = contrastive_loss(scores, positives, temperature)
        loss.terms[name] = Term(value, len(asked), options.contrastive_weight)
    best = late.detach().argmax(dim=1)
    loss.metrics["found"] = float((best == gold).float().mean()), len(asked)
