"""What is compared with the reference implementation: each quantity as pairs of ours and theirs.

Token ids and texts must be equal; numbers, in float32, may differ by `TOLERANCE`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clara import loading, prompts, roles
from clara.model.compression import Memories
from clara.model.generation import generate
from clara.model.losses import alignment_loss
from clara.model.modeling import ClaraModel
from clara.model.selection import straight_through_top_k
from clara.processing import ClaraProcessor, MemorySlot, Prompt, collate_prompts, collate_texts
from clara.training.examples import CompressionExample, EndToEndExample
from clara.training.objectives import compression_loss, end_to_end_loss
from tests.golden.layout import checkpoint_names, facts, write_released

TOLERANCE = 1e-4
"""Largest difference of a number."""

Pairs = Iterator[tuple[object, object]]


@dataclass(frozen=True)
class Golden:
    """One checkpoint: the model as loaded, and what the reference computes with it."""

    folder: Path
    base: Path
    model: ClaraModel
    processor: ClaraProcessor
    facts: dict[str, Any]
    tensors: dict[str, Tensor]

    @classmethod
    def load(cls, folder: Path, name: str, scratch: Path) -> Golden:
        """Load a checkpoint of a golden folder; `scratch` takes the files of Apple's format."""
        base = folder / "base"
        released = write_released(folder, name, scratch)
        model, processor = loading.load(released, base=base)
        return cls(released, base, model, processor, *facts(folder, name))

    def slots(self, count: int) -> list[MemorySlot]:
        """Placeholders of `count` documents."""
        return [MemorySlot(self.facts["n_mem_tokens"])] * count

    @torch.no_grad()
    def compress(self, texts: Sequence[str]) -> Memories:
        """Memories of documents."""
        return self.model.compress(*collate_texts(self.processor.encode_documents(texts)))

    @torch.no_grad()
    def query(self, questions: Sequence[str]) -> Memories:
        """Memories of questions."""
        return self.model.encode_query(*collate_texts(self.processor.encode_questions(questions)))

    def written(self, rows: Sequence[Prompt], memories: Sequence[Tensor]) -> list[str]:
        """12 greedy tokens for each prompt, as the reference prints them."""
        end = self.processor.end_token_id
        answers = generate(self.model, collate_prompts(rows), memories, max_new_tokens=12, end_token_id=end)
        return [self.processor.tokenizer.decode(ids, skip_special_tokens=True) for ids in answers]


# -- tokens and prompts -------------------------------------------------------------------------------


def special_tokens(golden: Golden) -> Pairs:
    tokenizer, expected = golden.processor.tokenizer, golden.facts["special_tokens"]
    yield {name: tokenizer.convert_tokens_to_ids(name) for name in expected}, expected
    yield len(tokenizer), golden.facts["vocab_size"]
    yield golden.model.config.text_config.vocab_size, golden.facts["vocab_size"]
    yield golden.model.config.max_memory_tokens, golden.facts["n_mem_tokens"]


def text_tokens(golden: Golden) -> Pairs:
    """Documents and questions as token ids; the reference pads them on the left."""
    memory = golden.model.memory_ids()
    for texts, encode, name in (
        ("documents", golden.processor.encode_documents, "encoder"),
        ("questions", golden.processor.encode_questions, "query"),
    ):
        ids = torch.tensor(golden.facts[f"{name}_input_ids"])
        # the mask of the questions is not recorded: what precedes the opening token is padding
        opening = (ids == golden.facts["special_tokens"]["<ENC>"]).int().argmax(dim=1).tolist()
        if name == "encoder":
            mask = torch.tensor(golden.facts["encoder_attention_mask"])
            yield opening, (ids.shape[1] - mask.sum(dim=1)).tolist()
        ours = [[*tokens, *memory] for tokens in encode(golden.facts[texts])]
        yield ours, [row[start:] for row, start in zip(ids.tolist(), opening, strict=True)]


def rendered_prompts(golden: Golden) -> Pairs:
    question, other = golden.facts["questions"]
    documents, processor = golden.slots(2), golden.processor
    for name, prompt in {
        "answer": processor.prompt(question, documents),
        "qa": processor.qa_prompt(documents, (question, other), ("Weldenia", "South Africa")),
        "paraphrase_seed0": processor.paraphrase_prompt(documents, golden.facts["documents"][1]),
        "selected": processor.prompt(other, documents, "South Africa"),
    }.items():
        expected = golden.facts[f"prompt_{name}"]
        text = expected if isinstance(expected, str) else expected["text"]
        yield prompt.ids, processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        yield processor.tokenizer.decode(prompt.ids), text
        if not isinstance(expected, str):
            yield sum(target < 0 for target in prompt.targets), expected["prompt_tokens"]
        yield sum(prompt.slots), 2 * golden.facts["n_mem_tokens"]


def training_labels(golden: Golden) -> Pairs:
    for stage in ("end_to_end", "compressor_pretraining"):
        facts, processor = golden.facts[stage], golden.processor
        for row, (questions, answers) in enumerate(zip(facts["questions"], facts["answers"], strict=True)):
            prompt = (
                processor.prompt(questions, golden.slots(facts["top_k"]), answers)
                if stage == "end_to_end"
                else processor.qa_prompt(golden.slots(1), questions, answers)
            )
            ids, labels = facts["decoder_input_ids"][row], facts["labels"][row]
            padding = len(ids) - len(prompt)
            yield prompt.ids, ids[padding:]
            # their label stands at the token itself, ours at the position that predicts it
            yield prompt.targets[:-1], labels[padding + 1 :]


# -- memories, scores, selection ----------------------------------------------------------------------


def memories(golden: Golden) -> Pairs:
    yield golden.compress(golden.facts["documents"]).vectors, golden.tensors["memory"]
    yield golden.query(golden.facts["questions"]).vectors, golden.tensors["query"]


def scores(golden: Golden) -> Pairs:
    documents, queries = golden.compress(golden.facts["documents"]), golden.query(golden.facts["questions"])
    yield golden.model.score(queries, documents), golden.tensors["scores"]


def alignment(golden: Golden) -> Pairs:
    documents = golden.compress(golden.facts["documents"])
    yield alignment_loss(documents.text_means, documents.means), golden.facts["mse"]


def selected_indices(golden: Golden) -> Pairs:
    for stage in ("generate_from_questions", "end_to_end"):
        facts = golden.facts[stage]
        documents = golden.compress([text for texts in facts["documents"] for text in texts])
        count = len(facts["documents"][0])
        scores = golden.model.score(golden.query(facts["questions"]), documents, num_candidates=count)
        yield golden.model.select(scores, facts["top_k"])[1].tolist(), facts["topk_indices"]
        yield straight_through_top_k(scores, facts["top_k"], 0.02)[1].tolist(), facts["topk_indices"]


# -- answers ------------------------------------------------------------------------------------------


def first_step_logits(golden: Golden) -> Pairs:
    facts = golden.facts["answer_step"]
    memories = golden.compress(golden.facts["documents"]).unpadded()
    rows = [golden.processor.prompt(question, golden.slots(2)) for question in facts["questions"]]
    for row, ids in zip(rows, facts["input_ids"], strict=True):
        yield row.ids, ids[len(ids) - len(row) :]
    inserted = [torch.cat([memories[index] for index in indices]) for indices in facts["document_ids"]]
    with torch.no_grad():
        yield (
            golden.model(collate_prompts(rows), inserted).logits,
            golden.tensors["answer_step_logits"],
        )


def answers_from_text(golden: Golden) -> Pairs:
    facts = golden.facts["generate_from_text"]
    inserted = [golden.compress(texts).vectors.flatten(0, 1) for texts in facts["documents"]]
    rows = [
        golden.processor.prompt(question, golden.slots(len(texts)))
        for question, texts in zip(facts["questions"], facts["documents"], strict=True)
    ]
    yield golden.written(rows, inserted), facts["output"]


def paraphrase(golden: Golden) -> Pairs:
    facts = golden.facts["generate_from_paraphrase_seed0"]
    inserted = [golden.compress(texts).vectors.flatten(0, 1) for texts in facts["documents"]]
    rows = [
        golden.processor.chat_prompt(prompts.apple_paraphrase(len(texts)), golden.slots(len(texts)))
        for texts in facts["documents"]
    ]
    # the reference draws a sentence per document; only the first draw is the one that is written down
    yield golden.written(rows, inserted)[0], facts["output"][0]


def answers_from_questions(golden: Golden) -> Pairs:
    facts = golden.facts["generate_from_questions"]
    inserted = [
        golden.compress(texts).vectors[indices].flatten(0, 1)
        for texts, indices in zip(facts["documents"], facts["topk_indices"], strict=True)
    ]
    slots = golden.slots(facts["top_k"])
    rows = [golden.processor.prompt(question, slots) for question in facts["questions"]]
    yield golden.written(rows, inserted), facts["output"]


# -- losses and gradients -----------------------------------------------------------------------------

ADAPTERS = {
    "decoder_adapter": roles.GENERATOR,
    "encoder_adapter": roles.COMPRESSOR,
    "query_reasoner_adapter": roles.QUERY_REASONER,
}


def gradient_norms(model: ClaraModel, loss: Tensor, expected: dict[str, float | None]) -> Pairs:
    """The gradient norm over each adapter's parameters."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    for adapter, role in ADAPTERS.items():
        if adapter in expected:
            parameters = roles.role_parameters(model.base, role)
            gradients = [parameter.grad for _, parameter in parameters if parameter.grad is not None]
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm() if gradients else 0.0
            yield norm, float(expected[adapter] or 0.0)
    model.zero_grad(set_to_none=True)


def end_to_end(golden: Golden) -> Pairs:
    facts = golden.facts["end_to_end"]
    rows = zip(facts["questions"], facts["documents"], facts["answers"], strict=True)
    examples = [EndToEndExample(question, tuple(texts), answer) for question, texts, answer in rows]
    yield golden.model.config.num_selected, facts["top_k"]
    yield golden.model.config.selection_temperature, facts["temperature"]
    loss = end_to_end_loss(golden.model, golden.processor, examples)
    yield loss.total().detach(), facts["loss"]
    yield set(loss.parts()), {"answer"}
    yield from gradient_norms(golden.model, loss.total(), facts["grad_norms"])


def compressor_pretraining(golden: Golden) -> Pairs:
    facts = golden.facts["compressor_pretraining"]
    rows = zip(facts["documents"], facts["questions"], facts["answers"], strict=True)
    examples = [CompressionExample(tuple(d), "qa", tuple(q), tuple(a)) for d, q, a in rows]
    loss = compression_loss(golden.model, golden.processor, examples)
    yield loss.terms["answer"].mean.detach(), facts["loss"]
    yield loss.terms["alignment"].mean.detach(), facts["mse_loss"]
    yield loss.total().detach(), facts["loss"] + facts["mse_weight"] * facts["mse_loss"]
    yield from gradient_norms(golden.model, loss.total(), facts["grad_norms"])


QUANTITIES: dict[str, Callable[[Golden], Pairs]] = {
    function.__name__: function
    for function in (
        special_tokens,
        text_tokens,
        rendered_prompts,
        training_labels,
        memories,
        scores,
        alignment,
        selected_indices,
        first_step_logits,
        answers_from_text,
        paraphrase,
        answers_from_questions,
        end_to_end,
        compressor_pretraining,
    )
}


def differentiable_top_k(folder: Path) -> Pairs:
    """The straight-through weights and the gradient at the logits; needs no checkpoint."""
    facts = json.loads((folder / "differentiable_topk.json").read_text(encoding="utf-8"))
    logits = torch.tensor(facts["logits"], requires_grad=True)
    weights, indices = straight_through_top_k(logits, facts["k"], facts["temperature"])
    (weights * torch.tensor(facts["cotangent"])).sum().backward()
    yield indices.tolist(), facts["indices"]
    yield weights.detach(), torch.tensor(facts["weights"])
    yield logits.grad, torch.tensor(facts["grad"])


def deviation(ours: object, theirs: object) -> float:
    """The largest difference of numbers; for everything else 0 if equal and infinity if not."""
    if isinstance(theirs, Tensor | float):
        first, second = torch.as_tensor(ours), torch.as_tensor(theirs)
        if first.shape != second.shape:
            return float("inf")
        return float((first.double() - second.double()).abs().max())
    return 0.0 if ours == theirs else float("inf")


def worst(pairs: Pairs) -> float:
    """The worst deviation of a quantity's pairs."""
    return max(deviation(ours, theirs) for ours, theirs in pairs)


def deviations(folder: Path, scratch: Path) -> Iterator[tuple[str, str, float]]:
    """Checkpoint, quantity and worst deviation for all of a golden folder."""
    yield "-", differentiable_top_k.__name__, worst(differentiable_top_k(folder))
    for name in checkpoint_names(folder):
        golden = Golden.load(folder, name, scratch)
        for quantity, pairs in QUANTITIES.items():
            yield name, quantity, worst(pairs(golden))
