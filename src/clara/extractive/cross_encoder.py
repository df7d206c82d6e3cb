"""Cross-encoding: every document in a row of its own, behind the question that it is read for.

A row is `[CLS] question [SEP] [CLS] document [SEP]`, as text encoders are trained to read two texts. A
document that stands as its memory is unpacked into the words that its memory tokens hold.

Shapes: B prompts, N rows, T tokens of the longest, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from clara.batching import by_length
from clara.errors import PromptError
from clara.extractive.segments import SegmentMemory
from clara.extractive.spans import DocumentWords
from clara.model.prompts import PromptBatch

MAX_ROW_TOKENS = 2_048
"""Padded tokens of pairs of question and document that are read at once."""


def question_block(turn: int) -> int:
    """Block number of the question of a turn."""
    return -1 - 2 * turn


def answer_block(turn: int) -> int:
    """Block number of the answer of a turn."""
    return -2 - 2 * turn


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a prompt.

    Attributes:
        row: Its prompt.
        ids: Token ids.
        answer: Those of the answer to be trained, None if there is none.
    """

    row: int
    ids: Tensor
    answer: list[int] | None


@dataclass(frozen=True, slots=True)
class Read:
    """A document as it is read.

    Attributes:
        ids: Token ids (n,) of its words.
        embeddings: (n, H).
    """

    ids: Tensor
    embeddings: Tensor


def questions(prompts: PromptBatch) -> list[Asked]:
    """Every question of every prompt, in order."""
    found = []
    for row, blocks in enumerate(prompts.blocks):
        for turn in range((1 - int(blocks[: int(prompts.lengths[row])].min())) // 2):
            answer = prompts.ids[row][blocks == answer_block(turn)].tolist()
            asked = prompts.ids[row][blocks == question_block(turn)]
            found.append(Asked(row, asked, answer[:-1] if answer else None))
    return found


def read_documents(
    prompts: PromptBatch,
    embed: nn.Embedding,
    memory: SegmentMemory,
    memories: Sequence[Tensor] | None,
) -> list[list[Read]]:
    """The documents of every prompt, those that stand as memories unpacked.

    Args:
        prompts: The prompts.
        embed: The base's token embeddings.
        memory: Made the memories.
        memories: One (n_b, H) tensor a prompt; None if no prompt has a slot.

    Raises:
        PromptError: Slots and memories disagree.
    """
    rows: list[list[Read]] = []
    for row, blocks in enumerate(prompts.blocks):
        slots = int(prompts.slots[row].sum())
        held = 0 if memories is None else len(memories[row])
        if slots != held:
            raise PromptError(
                f"Row {row} of the prompt has {slots} memory slots but {held} memory vectors; "
                "build prompt and memories from the same documents."
            )
        documents: list[Read] = []
        taken = 0
        for number in range(int(blocks.max()) + 1):
            (places,) = (blocks == number).nonzero(as_tuple=True)
            if memories is not None and len(places) and prompts.slots[row, places[0]]:
                vectors = memories[row][taken : taken + len(places)]
                taken += len(places)
                words = memory.unpack(vectors, int(prompts.spans[row, places[0]]), embed.weight)
                documents.append(Read(*words))
            elif len(places):
                ids = prompts.ids[row, places]
                documents.append(Read(ids, embed(ids)))
        rows.append(documents)
    return rows


def pair_rows(asked: Sequence[Tensor], documents: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Question and document embeddings as padded rows.

    Args:
        asked: (q, H) of the question of each row.
        documents: (n, H) of the document of each row.

    Returns:
        Embeddings (N, T, H), positions (N, T), visibility (N, T, T) bool, and segments (N, T): 1 at the
        document's words, else 0.
    """
    embeddings = pad_sequence([torch.cat(pair) for pair in zip(asked, documents, strict=True)], True)
    device = embeddings.device
    places = torch.arange(embeddings.shape[1], device=device).expand(len(asked), -1)
    question = torch.tensor([len(item) for item in asked], device=device).unsqueeze(1)
    length = question + torch.tensor([len(item) for item in documents], device=device).unsqueeze(1)
    visible = (places < length).unsqueeze(1).expand(-1, places.shape[1], -1)
    return embeddings, places, visible, ((places >= question) & (places < length)).long()


Known = dict[Hashable, Tensor]
"""Scores (n, 2) of a document's words by the token ids of the question and of the document."""


def words_of_prompts(
    asked: Sequence[Asked],
    documents: Sequence[Sequence[Read]],
    embed: nn.Embedding,
    read: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    limit: int | None,
    known: Known | None = None,
) -> tuple[Tensor, Tensor, list[list[DocumentWords]]]:
    """Every document read behind every question of its prompt, a question's documents one after another.

    Args:
        asked: B questions.
        documents: Of each prompt.
        embed: The base's token embeddings.
        read: Scores (N, T, 2) of rows as `pair_rows` returns them.
        limit: Positions that the base has, if it says so.
        known: Scores of what was read before, which is not read again; grows.

    Returns:
        Scores (B, W, 2), presence (B, W) bool, False at closing tokens and the same token behind a title,
        and where the documents of each question stand.

    Raises:
        PromptError: A question and a document are longer than the limit together.
    """
    rows = [(question, document) for question in asked for document in documents[question.row]]
    sizes = [len(question.ids) + len(document.ids) for question, document in rows]
    if limit is not None and max(sizes, default=0) > limit:
        raise PromptError(
            f"A question and a document take {max(sizes)} positions together, but the model has {limit}; "
            "ask a shorter question or cut the document."
        )
    remaining = iter(_scores(rows, embed, read, known))
    # a prompt without documents has no scores, but their width
    nothing = torch.zeros(0, 2, device=embed.weight.device)
    joined = [
        _one_after_another(
            list(islice(remaining, len(documents[question.row]))), documents[question.row], nothing
        )
        for question in asked
    ]
    words, present, places = (list(items) for items in zip(*joined, strict=True))
    return pad_sequence(words, True), pad_sequence(present, True), places


def _scores(
    rows: Sequence[tuple[Asked, Read]],
    embed: nn.Embedding,
    read: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    known: Known | None,
) -> list[Tensor]:
    """Scores (n, 2) of the document's words of each row."""
    keys: Sequence[Hashable] = range(len(rows))  # every row is read: a gradient goes to each row's own memory
    if known is not None:
        keys = [(tuple(question.ids.tolist()), tuple(document.ids.tolist())) for question, document in rows]
    scores = {} if known is None else known
    missing = list({key: row for key, row in zip(keys, rows, strict=True) if key not in scores}.items())
    sizes = [len(question.ids) + len(document.ids) for _, (question, document) in missing]
    for batch in by_length(sizes, MAX_ROW_TOKENS):
        chosen = [missing[index] for index in batch]
        found = read(
            *pair_rows(
                [embed(question.ids) for _, (question, _) in chosen],
                [document.embeddings for _, (_, document) in chosen],
            )
        )
        for own, (key, (question, document)) in zip(found, chosen, strict=True):
            scores[key] = own[len(question.ids) :][: len(document.ids)]
    return [scores[key] for key in keys]


def of_words(values: Sequence[Tensor], documents: Sequence[Sequence[DocumentWords]], width: int) -> Tensor:
    """A value of every document at each of its words, (B, width); 0 where there is no word.

    Args:
        values: (n,) of each question's documents.
        documents: Of each question.
        width: Words of the question that has most.
    """
    rows = []
    for own, held in zip(values, documents, strict=True):
        sizes = torch.tensor([len(document.ids) for document in held], dtype=torch.long, device=own.device)
        spread = own.repeat_interleave(sizes)
        rows.append(nn.functional.pad(spread, (0, width - len(spread))))
    return torch.stack(rows)


def _one_after_another(
    scores: Sequence[Tensor], documents: Sequence[Read], nothing: Tensor
) -> tuple[Tensor, Tensor, list[DocumentWords]]:
    """Scores (W, 2), presence (W,) and places of one question's documents."""
    places, at = [], 0
    present = []
    for document in documents:
        ids = document.ids.tolist()
        places.append(DocumentWords(at, ids))
        present += [token != ids[-1] for token in ids]
        at += len(ids)
    joined = torch.cat([nothing, *scores])
    return joined, torch.tensor(present, dtype=torch.bool, device=joined.device), places
