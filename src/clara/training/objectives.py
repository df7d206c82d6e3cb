"""The losses of the paper's stages over a batch of examples: compression pretraining, and end to end.

Shapes: B examples, N candidates of the example that has most, K selected, M memory tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from clara.batching import by_length
from clara.errors import InputError
from clara.model import selection
from clara.model.losses import alignment_loss
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor, MemorySlot, Prompt, Slot, collate_prompts, collate_texts
from clara.training.examples import CompressionExample, EndToEndExample

MAX_BATCH_TOKENS = 16384
"""Padded tokens of one compression batch."""


@dataclass(frozen=True, slots=True)
class CompressedTexts:
    """Memories of texts in their order.

    Attributes:
        vectors: One (m, H) tensor per text.
        keys: (D, ...) what is compared when searching.
        means: (D, H) mean of each memory.
        text_means: (D, H) mean state over each text.
    """

    vectors: list[Tensor]
    keys: Tensor
    means: Tensor
    text_means: Tensor


def compress_texts(
    model: ClaraModel, processor: ClaraProcessor, texts: Sequence[str], max_tokens: int = MAX_BATCH_TOKENS
) -> CompressedTexts:
    """Memories of texts, compressed in batches of similar length.

    Args:
        model: The model.
        processor: Of the same configuration.
        texts: At least one.
        max_tokens: Padded tokens of one batch.
    """
    encoded = processor.encode_documents(texts)
    batches = by_length([len(ids) for ids in encoded], max_tokens)
    vectors: list[Tensor] = []
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in batches:
        ids, lengths = collate_texts([encoded[index] for index in batch])
        ids, lengths = ids.to(model.device), lengths.to(model.device)
        memories = model.compress(ids, lengths)
        vectors += memories.unpadded()
        parts.append((model.document_keys(ids, lengths, memories), memories.means, memories.text_means))
    order = [index for batch in batches for index in batch]
    places = [0] * len(order)
    for place, index in enumerate(order):
        places[index] = place
    keys, means, text_means = (torch.cat(tensors)[places] for tensors in zip(*parts, strict=True))
    return CompressedTexts([vectors[place] for place in places], keys, means, text_means)


def compression_loss(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[CompressionExample],
    max_tokens: int = MAX_BATCH_TOKENS,
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of the targets given memories, plus the weighted alignment loss.

    Trains compressor and generator. Source: the paper's compression pretraining and instruction tuning.

    Args:
        model: The model.
        processor: Of the same configuration.
        examples: The batch.
        max_tokens: Padded tokens of one compression batch.

    Returns:
        The scalar loss, and its parts "answer" and "alignment".
    """
    texts = [text for example in examples for text in example.documents]
    memories = compress_texts(model, processor, texts, max_tokens)
    rows: list[Prompt] = []
    held: list[Tensor] = []
    start = 0
    for example in examples:
        own = memories.vectors[start : start + len(example.documents)]
        start += len(own)
        rows.append(_compression_prompt(processor, example, [MemorySlot(len(memory)) for memory in own]))
        held.append(torch.cat(own))
    answer = model(collate_prompts(rows).to(model.device), held).loss
    alignment = alignment_loss(memories.text_means, memories.means)
    loss = answer + model.config.alignment_weight * alignment
    return loss, {"answer": float(answer.detach()), "alignment": float(alignment.detach())}


def _compression_prompt(
    processor: ClaraProcessor, example: CompressionExample, slots: Sequence[Slot]
) -> Prompt:
    if example.task == "qa":
        return processor.qa_prompt(slots, example.questions, example.answers)
    if example.task == "paraphrase":
        return processor.paraphrase_prompt(slots, example.answers[0])
    return processor.prompt(example.questions[0], slots, example.answers[0])


def end_to_end_loss(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[EndToEndExample],
    k: int | None = None,
    max_tokens: int = MAX_BATCH_TOKENS,
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of the answers from the memories of the K documents that the query reasoner selects.

    Trains query reasoner (through the straight-through selection) and generator; the compressor runs
    without gradient, so that documents stay compressed offline. Source: the paper's end-to-end stage.

    Args:
        model: The model.
        processor: Of the same configuration.
        examples: The batch.
        k: Documents to select; the configuration's by default. An example with fewer uses all it has.
        max_tokens: Padded tokens of one compression batch.

    Returns:
        The scalar loss, and its parts: "answer", and "recall" (share of the positives that were selected)
        if an example names positives.

    Raises:
        InputError: An example has no documents.
        MissingRoleError: The model has no query reasoner.
    """
    if any(not example.documents for example in examples):
        raise InputError("An end-to-end example has no candidate documents; give each at least one.")
    k = k or model.config.num_selected
    mask, memories, lengths, keys = _candidates(model, processor, examples, max_tokens)
    ids, query_lengths = collate_texts(processor.encode_questions([example.question for example in examples]))
    queries = model.encode_query(ids.to(model.device), query_lengths.to(model.device))
    scores = selection.cosine_scores(model.keys(queries), keys)
    weights, indices = selection.straight_through_top_k(
        scores, min(k, mask.shape[1]), model.config.selection_temperature, mask
    )
    selected = selection.mix(weights, memories)
    rows: list[Prompt] = []
    held: list[Tensor] = []
    chosen = indices.tolist()
    for row, example in enumerate(examples):
        count = min(k, len(example.documents))
        sizes = [int(lengths[row, index]) for index in chosen[row][:count]]
        rows.append(processor.prompt(example.question, [MemorySlot(size) for size in sizes], example.answer))
        held.append(torch.cat([selected[row, slot, :size] for slot, size in enumerate(sizes)]))
    loss = model(collate_prompts(rows).to(model.device), held).loss
    parts = {"answer": float(loss.detach())}
    hits = [
        len(set(example.positives) & set(own[:k])) / len(set(example.positives))
        for example, own in zip(examples, chosen, strict=True)
        if example.positives
    ]
    if hits:
        parts["recall"] = sum(hits) / len(hits)
    return loss, parts


@torch.no_grad()
def _candidates(
    model: ClaraModel, processor: ClaraProcessor, examples: Sequence[EndToEndExample], max_tokens: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every candidate's memory, each text compressed once.

    Returns:
        Mask (B, N), memories (B, N, M, H), lengths (B, N) and keys (B, N, ...).
    """
    number = {text: at for at, text in enumerate(dict.fromkeys(t for e in examples for t in e.documents))}
    compressed = compress_texts(model, processor, list(number), max_tokens)
    width = max(len(example.documents) for example in examples)
    counts = torch.tensor([len(example.documents) for example in examples], device=model.device)
    # absent candidates stand as copies of the first text; the mask keeps them out
    index = torch.tensor(
        [[number[t] for t in e.documents] + [0] * (width - len(e.documents)) for e in examples],
        device=model.device,
    )
    lengths = torch.tensor([len(memory) for memory in compressed.vectors], device=model.device)
    memories = pad_sequence(compressed.vectors, batch_first=True)
    mask = torch.arange(width, device=model.device) < counts.unsqueeze(1)
    return mask, memories[index], lengths[index], compressed.keys[index]
