"""How a base attends in training changes its speed, not what is learnt, and is not saved."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from clara import loading
from clara.device import set_attention
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor
from clara.training.examples import ReadingExample
from conftest import WORDS, tiny_model
from recipes.extractive.reading import ReadingForm, reading_loss

CPU = torch.device("cpu")


def loss_and_gradient(
    model: ClaraModel, processor: ClaraProcessor, autocast: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss and the gradient of all parameters, one after another."""
    passages = [" ".join(WORDS[at : at + 4 + at % 7]) for at in range(6)]  # rows of different lengths
    examples = [ReadingExample("", "", text, ((text[:2], (text.split()[1],)),)) for text in passages]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss, _ = reading_loss(model, processor, examples, ReadingForm(6, documents=2), random.Random(0))
    model.zero_grad()
    loss.backward()
    whole = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return loss.detach(), whole


@pytest.mark.parametrize("autocast", [False, True])
def test_both_ways_of_attending_have_the_same_gradient(autocast: bool) -> None:
    model, processor = tiny_model("bert")
    loss, expected = loss_and_gradient(model, processor, autocast)
    set_attention(model.base, CPU, bfloat16=True)
    assert model.base.config._attn_implementation == "eager"
    plain, found = loss_and_gradient(model, processor, autocast)
    tolerance = 2e-2 if autocast else 1e-5
    torch.testing.assert_close(plain, loss, atol=tolerance, rtol=tolerance)
    assert (found - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize(("device", "bfloat16"), [(CPU, False), (torch.device("cuda"), True)])
def test_the_fused_attention_stays_where_it_is_fastest(device: torch.device, bfloat16: bool) -> None:
    model, _ = tiny_model("bert")
    before = model.base.config._attn_implementation
    set_attention(model.base, device, bfloat16)
    assert model.base.config._attn_implementation == before == "sdpa"


def test_a_saved_model_attends_as_one_that_was_not_trained(tmp_path: Path) -> None:
    model, processor = tiny_model("bert")
    set_attention(model.base, CPU, bfloat16=True)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert loading.load(tmp_path)[0].base.config._attn_implementation == "sdpa"
