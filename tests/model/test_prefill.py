"""Reading document by document against the whole rows, and step by step against all at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clara.model.generation import generate
from clara.processing import MemorySlot, Prompt, TextSlot, collate_prompts, collate_texts

TEXTS = ["w1 w2 w3 w4 w5 w6 w7", "w8 w9", "w10 w11 w12 w13"]
TURNS = [("w1 w2", "w3 w4"), ("w9", "w8"), ("w5 w6 w7", "w10")]


def mixed_rows(model: Any, processor: Any) -> tuple[list[Prompt], list[Tensor]]:
    """Three documents of which two are memories, a single text, and no document at all."""
    ids, lengths = collate_texts(processor.encode_documents(TEXTS))
    memories = model.compress(ids, lengths).unpadded()
    texts = [TextSlot(tokens) for tokens in processor.encode_documents(TEXTS)]
    slots = [MemorySlot(len(memory)) for memory in memories]
    rows = [
        processor.packed_prompt([slots[0], texts[1], slots[2]], TURNS),
        processor.packed_prompt([texts[2]], TURNS[:1]),
        processor.packed_prompt([], TURNS[1:]),
    ]
    nothing = torch.zeros(0, model.hidden_size)
    return rows, [torch.cat([memories[0], memories[2]]), nothing, nothing]


def trained(model: Any, processor: Any, subset: slice) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of rows, and the gradient of every parameter that has one."""
    model.zero_grad()
    rows, memories = mixed_rows(model, processor)
    loss = model(collate_prompts(rows[subset]), memories[subset]).loss
    loss.backward()
    return loss.detach(), {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("subset", [slice(0, 3), slice(0, 1), slice(2, 3)], ids=["mixed", "one", "none"])
def test_document_by_document_equals_whole_rows(make_model: Any, subset: slice) -> None:
    model, processor = make_model("bert")
    model.train()
    loss, gradients = trained(model, processor, subset)
    # recomputed layers keep no cache, so then every prompt is one row under the block mask
    model.gradient_checkpointing_enable()
    whole_loss, whole_gradients = trained(model, processor, subset)
    torch.testing.assert_close(loss, whole_loss, atol=1e-5, rtol=1e-5)
    points = any(name.startswith("pointer.state_key") for name in gradients)
    assert points == (subset.start == 0)
    for name in gradients.keys() | whole_gradients.keys():
        zero = torch.zeros_like(model.get_parameter(name))
        found, expected = gradients.get(name, zero), whole_gradients.get(name, zero)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_generation_equals_reading_every_prefix_anew(make_model: Any, kind: str) -> None:
    model, processor = make_model(kind)
    with torch.no_grad():
        ids, lengths = collate_texts(processor.encode_documents(TEXTS))
        memories = model.compress(ids, lengths).unpadded()
        slots = [MemorySlot(len(memories[0])), TextSlot(processor.encode_documents(TEXTS[1:2])[0])]
        prompt = processor.prompt("w3 w4", slots)
        tokens = generate(model, collate_prompts([prompt]), memories[:1], end_token_id=-1, max_new_tokens=6)[
            0
        ]
        anew: list[int] = []
        for _ in range(6):
            logits = model(collate_prompts([prompt]), memories[:1]).logits
            anew.append(int(logits.argmax()))
            prompt.add([anew[-1]], [prompt.positions[-1] + 1], prompt.blocks[-1])
    assert tokens == anew
