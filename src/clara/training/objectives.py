"""The losses of the paper's stages over a batch of examples: compression pretraining, and end to end.

A loss is a sum of terms, each a mean over its items (answer tokens, documents, labelled questions). Where a
batch is spread over processes or over steps of accumulation, every share is divided by the items of the
whole, so that the gradient is that of the whole batch.

Shapes: B examples, N candidates of the example that has most, K selected, M memory tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from clara import roles
from clara.batching import by_length
from clara.errors import InputError
from clara.model import selection
from clara.model.losses import alignment_loss, contrastive_loss, distillation_loss
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
from clara.training.examples import CompressionExample, EndToEndExample
from clara.training.memory_cache import MemoryCache

MAX_BATCH_TOKENS = 16384
"""Padded tokens of one compression batch."""

RECALL_AT = (1, 3, 5)


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a loss.

    Attributes:
        mean: Scalar, the mean over the items.
        count: How many they are.
        weight: In the loss.
    """

    mean: Tensor
    count: int
    weight: float = 1.0


@dataclass(slots=True)
class StageLoss:
    """The loss of a batch.

    Attributes:
        terms: Its parts by name.
        metrics: What is only measured: (mean, count) by name.
    """

    terms: dict[str, Term] = field(default_factory=dict)
    metrics: dict[str, tuple[float, int]] = field(default_factory=dict)

    def total(self, counts: Mapping[str, int] | None = None) -> Tensor:
        """The scalar loss.

        Args:
            counts: Items of each term in the whole batch, where these terms are of a share of it; the shares'
                totals then add up to the whole's.
        """
        parts = [
            term.weight * term.mean * (1.0 if counts is None else term.count / max(1, counts[name]))
            for name, term in self.terms.items()
        ]
        return torch.stack([part.float() for part in parts]).sum()

    def parts(self) -> dict[str, tuple[float, int]]:
        """(mean, count) of every term and metric by name."""
        return {
            **{name: (float(term.mean.detach()), term.count) for name, term in self.terms.items()},
            **self.metrics,
        }


@dataclass(frozen=True, slots=True)
class ObjectiveOptions:
    """What goes beyond the paper, each off by default.

    Attributes:
        k: Documents to select end to end; the configuration's K by default.
        rate: Text tokens per memory token in this step, where memories are trained at several (nested
            memories); the configuration's by default. An appended memory is cut to its first tokens.
        in_batch_negatives: Every document of the batch is a candidate of each of its questions.
        contrastive_weight: Of the contrastive loss over the examples that name positives.
        contrastive_temperature: Of its softmax.
        distillation_weight: Of the divergence from the text reader: the base, or the generator where that has
            weights of its own, reading the documents as text.
        max_tokens: Padded tokens of one compression batch.
        rounds: Given how many batches this process compresses, how many it has to run: where weights are
            sharded, all processes run as many, since each run gathers the weights.
    """

    k: int | None = None
    rate: int | None = None
    in_batch_negatives: bool = False
    contrastive_weight: float = 0.0
    contrastive_temperature: float = 0.05
    distillation_weight: float = 0.0
    max_tokens: int = MAX_BATCH_TOKENS
    rounds: Callable[[int], int] | None = None


DEFAULTS = ObjectiveOptions()


@dataclass(frozen=True, slots=True)
class CompressedTexts:
    """Memories of texts in their order.

    Attributes:
        vectors: One (m, H) tensor per text.
        embeddings: (D, ...) what is compared when searching.
        means: (D, H) mean of each memory.
        text_means: (D, H) mean state over each text.
    """

    vectors: list[Tensor]
    embeddings: Tensor
    means: Tensor
    text_means: Tensor


def compress_texts(
    model: ClaraModel,
    processor: ClaraProcessor,
    texts: Sequence[str],
    options: ObjectiveOptions = DEFAULTS,
) -> CompressedTexts:
    """Memories of texts, compressed in batches of similar length.

    Args:
        model: The model.
        processor: Of the same configuration.
        texts: At least one.
        options: `rate`, `max_tokens` and `rounds` count here.
    """
    encoded = processor.encode_documents(texts)
    batches = by_length([len(ids) for ids in encoded], options.max_tokens)
    idle = _idle_rounds(model, processor, len(batches), options)
    vectors: list[Tensor] = []
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in batches:
        ids, lengths = collate_texts([encoded[index] for index in batch], device=model.device)
        memories = model.compress(ids, lengths, memory_length(model, options.rate), options.rate)
        vectors += memories.unpadded()
        parts.append((model.document_embeddings(ids, lengths, memories), memories.means, memories.text_means))
    # runs for the other processes' sake take part in the backward pass too
    vectors[0] = vectors[0] + 0 * idle
    order = [index for batch in batches for index in batch]
    places = [0] * len(order)
    for place, index in enumerate(order):
        places[index] = place
    embeddings, means, text_means = (torch.cat(tensors)[places] for tensors in zip(*parts, strict=True))
    return CompressedTexts([vectors[place] for place in places], embeddings, means, text_means)


def _idle_rounds(model: ClaraModel, processor: ClaraProcessor, own: int, options: ObjectiveOptions) -> Tensor:
    """The runs that this process lacks to as many as the one that has most; a number without meaning."""
    total = torch.zeros((), device=model.device)
    if options.rounds is not None:
        ids, lengths = collate_texts(processor.encode_documents(["."]), device=model.device)
        for _ in range(options.rounds(own) - own):
            memories = model.compress(ids, lengths)
            total = total + memories.vectors.sum() + memories.text_means.sum()
    return total


def memory_length(model: ClaraModel, rate: int | None) -> int | None:
    """Memory tokens of an appended memory at a rate; None for its whole length."""
    return None if rate is None else max(1, model.config.doc_max_tokens // rate)


def compression_loss(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[CompressionExample],
    options: ObjectiveOptions = DEFAULTS,
) -> StageLoss:
    """Cross-entropy of the targets given memories ("answer"), plus the alignment loss ("alignment").

    Trains compressor and generator. Source: the paper's compression pretraining and instruction tuning.

    Args:
        model: The model.
        processor: Of the same configuration.
        examples: The batch. A text that several of them share is compressed once.
        options: Beyond the paper: `rate`, `distillation_weight`.
    """
    number = _numbers(text for example in examples for text in example.documents)
    memories = compress_texts(model, processor, list(number), options)
    rows: list[Prompt] = []
    held: list[Tensor] = []
    for example in examples:
        own = [memories.vectors[number[text]] for text in example.documents]
        rows.append(compression_prompt(processor, example, [MemorySlot(len(m), options.rate) for m in own]))
        held.append(torch.cat(own))
    output = model(collate_prompts(rows).to(model.device), held)
    tokens = sum(row.num_targets for row in rows)
    loss = StageLoss({"answer": Term(output.loss, tokens)})
    # a text counts once for every example that it stands in
    places = [number[text] for example in examples for text in example.documents]
    aligned = alignment_loss(memories.text_means[places], memories.means[places])
    loss.terms["alignment"] = Term(aligned, len(places), model.config.alignment_weight)
    if options.distillation_weight:
        texts = [
            compression_prompt(processor, example, _as_text(processor, example.documents))
            for example in examples
        ]
        loss.terms["distillation"] = _distillation(model, texts, output.logits, options)
    return loss


def compression_prompt(
    processor: ClaraProcessor, example: CompressionExample, slots: Sequence[Slot]
) -> Prompt:
    """The prompt that trains an example, its documents standing in `slots`."""
    if example.task == "qa":
        return processor.qa_prompt(slots, example.questions, example.answers)
    if example.task == "paraphrase":
        return processor.paraphrase_prompt(slots, example.answers[0])
    return processor.prompt(example.questions[0], slots, example.answers[0])


def end_to_end_loss(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[EndToEndExample],
    options: ObjectiveOptions = DEFAULTS,
    cache: MemoryCache | None = None,
) -> StageLoss:
    """Cross-entropy of the answers from the memories of the K documents that the query reasoner selects.

    Trains query reasoner (through the straight-through selection) and generator; the compressor runs
    without gradient or dropout, so that documents stay compressed offline. Source: the paper's end-to-end
    stage.

    Args:
        model: The model.
        processor: Of the same configuration.
        examples: The batch. An example with fewer than K candidates uses all it has.
        options: Beyond the paper.
        cache: Where the documents' memories are kept from step to step.

    Returns:
        The term "answer", and "contrastive" and "distillation" where they are asked for; the metrics
        "recall@1", "recall@3", "recall@5" (share of the positives among the best candidates) over the
        examples that name positives.

    Raises:
        InputError: An example has no documents.
        MissingRoleError: The model has no query reasoner.
    """
    if any(not example.documents for example in examples):
        raise InputError("An end-to-end example has no candidate documents; give each at least one.")
    k = options.k or model.config.num_selected
    candidates = _candidates(model, processor, examples, options, cache)
    encoded = processor.encode_questions([example.question for example in examples])
    ids, query_lengths = collate_texts(encoded, device=model.device)
    queries = model.encode_query(ids, query_lengths, memory_length(model, options.rate), options.rate)
    if not model.reranks:
        scores = selection.cosine_scores(model.query_embeddings(queries), candidates.embeddings)
    else:
        matches = model.rerank(ids, query_lengths, queries, candidates.distinct, options.rate)
        scores = matches.gather(1, candidates.index)
    mask = candidates.mask
    weights, indices = selection.straight_through_top_k(
        scores, min(k, mask.shape[1]), model.config.selection_temperature, mask
    )
    chosen = [
        own[: min(k, count)] for own, count in zip(indices.tolist(), mask.sum(dim=1).tolist(), strict=True)
    ]
    selected = model.mix_selected(weights, indices, candidates.memories)
    priors = model.document_priors([scores[row, own] for row, own in enumerate(chosen)])
    rows: list[Prompt] = []
    held: list[Tensor] = []
    for row, example in enumerate(examples):
        sizes = [int(candidates.lengths[row, index]) for index in chosen[row]]
        slots = [MemorySlot(size, options.rate) for size in sizes]
        rows.append(processor.prompt(example.question, slots, example.answer))
        held.append(torch.cat([selected[row, slot, :size] for slot, size in enumerate(sizes)]))
    output = model(collate_prompts(rows).to(model.device), held, priors=priors)
    loss = StageLoss({"answer": Term(output.loss, sum(row.num_targets for row in rows))})
    labelled = [row for row, example in enumerate(examples) if example.positives]
    if labelled:
        loss.metrics = _recall(scores.detach(), mask, examples, labelled)
        if options.contrastive_weight:
            positives = candidates.positives[labelled]
            value = contrastive_loss(
                scores[labelled], positives, options.contrastive_temperature, mask[labelled]
            )
            loss.terms["contrastive"] = Term(value, len(labelled), options.contrastive_weight)
    if options.distillation_weight:
        texts = [
            processor.prompt(
                example.question,
                _as_text(processor, [candidates.texts[row][at] for at in chosen[row]]),
                example.answer,
            )
            for row, example in enumerate(examples)
        ]
        loss.terms["distillation"] = _distillation(model, texts, output.logits, options)
    return loss


def _recall(
    scores: Tensor, mask: Tensor, examples: Sequence[EndToEndExample], labelled: Sequence[int]
) -> dict[str, tuple[float, int]]:
    """Mean recall@k over the labelled examples; an example's own documents come first in its row."""
    best = scores.masked_fill(~mask, float("-inf")).argsort(dim=1, descending=True, stable=True).tolist()
    found = {
        f"recall@{k}": [
            len(set(examples[row].positives) & set(best[row][:k])) / len(set(examples[row].positives))
            for row in labelled
        ]
        for k in RECALL_AT
    }
    return {name: (sum(values) / len(values), len(values)) for name, values in found.items()}


def _as_text(processor: ClaraProcessor, texts: Sequence[str]) -> list[Slot]:
    return [TextSlot(ids) for ids in processor.encode_documents(texts)]


def _distillation(
    model: ClaraModel, prompts: Sequence[Prompt], logits: Tensor | None, options: ObjectiveOptions
) -> Term:
    """Divergence of the answers' distribution from that of the text reader: the base under an adapter.

    A generator with weights of its own has no base that answers; it is its own text reader, without gradient.
    """
    if logits is None:
        raise InputError("Distillation needs a generator that writes; this model's answers are spans.")
    reader = roles.GENERATOR if model.config.roles[roles.GENERATOR] == "full" else None
    with torch.no_grad(), without_dropout(model):
        teacher = model(collate_prompts(prompts).to(model.device), role=reader).logits
    return Term(distillation_loss(logits, teacher), len(logits), options.distillation_weight)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Every example's candidates.

    Attributes:
        texts: By example.
        mask: (B, N) bool, True where a candidate exists.
        memories: (B, N, M, H).
        lengths: (B, N) memory tokens.
        embeddings: (B, N, ...).
        distinct: (m, H) memory of every distinct candidate.
        index: (B, N) number of each candidate among them.
        positives: (B, N) bool, True at documents that are known to hold the answer.
    """

    texts: list[list[str]]
    mask: Tensor
    memories: Tensor
    lengths: Tensor
    embeddings: Tensor
    distinct: list[Tensor]
    index: Tensor
    positives: Tensor


@torch.no_grad()
def _candidates(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[EndToEndExample],
    options: ObjectiveOptions,
    cache: MemoryCache | None,
) -> _Candidates:
    """Every example's candidates with their memories, each text compressed once."""
    number = _numbers(text for example in examples for text in example.documents)
    texts = [list(example.documents) for example in examples]
    if options.in_batch_negatives:
        texts = [own + [text for text in number if text not in own] for own in map(list, texts)]
    with without_dropout(model):
        vectors, document_embeddings = _frozen_memories(model, processor, list(number), options, cache)
    width = max(map(len, texts))
    device = model.device
    counts = torch.tensor([len(own) for own in texts], device=device)
    # absent candidates stand as copies of the first text; the mask keeps them out
    index = torch.tensor(
        [[number[text] for text in own] + [0] * (width - len(own)) for own in texts], device=device
    )
    lengths = torch.tensor([len(memory) for memory in vectors], device=device)
    memories = pad_sequence(vectors, batch_first=True)
    positives = torch.zeros(len(examples), width, dtype=torch.bool, device=device)
    for row, example in enumerate(examples):
        held = {example.documents[at] for at in example.positives}
        positives[row, [at for at, text in enumerate(texts[row]) if text in held]] = True
    return _Candidates(
        texts=texts,
        mask=torch.arange(width, device=device) < counts.unsqueeze(1),
        memories=memories[index],
        lengths=lengths[index],
        embeddings=document_embeddings[index],
        distinct=vectors,
        index=index,
        positives=positives,
    )


def _frozen_memories(
    model: ClaraModel,
    processor: ClaraProcessor,
    texts: Sequence[str],
    options: ObjectiveOptions,
    cache: MemoryCache | None,
) -> tuple[list[Tensor], Tensor]:
    """Memories (m, H) and embeddings (D, ...) of texts, those that were seen before from the cache."""
    if cache is None or not cacheable(model):
        compressed = compress_texts(model, processor, texts, options)
        return compressed.vectors, compressed.embeddings
    missing = [text for text in texts if (text, options.rate) not in cache]
    if missing:
        # one by one: in a batch, rounding would depend on its neighbours, and a resumed run has others
        compressed = compress_texts(model, processor, missing, replace(options, max_tokens=1))
        for text, vectors, embedding in zip(missing, compressed.vectors, compressed.embeddings, strict=True):
            cache.add((text, options.rate), vectors, embedding)
    else:
        _idle_rounds(model, processor, 0, options)
    kept = [cache.get((text, options.rate), model.device) for text in texts]
    return [vectors for vectors, _ in kept], torch.stack([embedding for _, embedding in kept])


def cacheable(model: ClaraModel) -> bool:
    """Whether the documents' embeddings stay as they are while the query reasoner trains."""
    return bool(model.config.embedding_role != "query_reasoner")


@contextmanager
def without_dropout(model: ClaraModel) -> Iterator[None]:
    """Run what is not trained as in use: the same text has the same memory in every step."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _numbers(texts: Iterator[str]) -> dict[str, int]:
    """Every distinct text with its number, in order of first occurrence."""
    return {text: at for at, text in enumerate(dict.fromkeys(texts))}


def count_compression_items(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[CompressionExample],
    options: ObjectiveOptions = DEFAULTS,
) -> dict[str, int]:
    """The items of each term of a batch of `compression_loss`, without running the model."""
    tokens = documents = 0
    for example in examples:
        slots = [MemorySlot(1)] * len(example.documents)
        tokens += compression_prompt(processor, example, slots).num_targets
        documents += len(example.documents)
    return {"answer": tokens, "alignment": documents, "distillation": tokens}


def count_end_to_end_items(
    model: ClaraModel,
    processor: ClaraProcessor,
    examples: Sequence[EndToEndExample],
    options: ObjectiveOptions = DEFAULTS,
) -> dict[str, int]:
    """The items of each term of a batch of `end_to_end_loss`, without running the model."""
    slot = [MemorySlot(1)]
    tokens = sum(processor.prompt(example.question, slot, example.answer).num_targets for example in examples)
    labelled = sum(bool(example.positives) for example in examples)
    return {"answer": tokens, "contrastive": labelled, "distillation": tokens}
