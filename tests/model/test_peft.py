"""Our adapters are PEFT's: it loads ours, we load its own, and both compute the same logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from clara import roles
from clara.model.modeling import ClaraModel

# PEFT uses names that transformers has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated.*:FutureWarning")

KINDS = ("mistral", "llama", "qwen3")
IDS = torch.tensor([[2, 15, 30, 44, 61, 3], [2, 90, 12, 12, 80, 5]])


@torch.no_grad()
def logits(model: ClaraModel, name: roles.Role) -> Tensor:
    with roles.role(name):
        return model.base(input_ids=IDS).logits


@pytest.mark.parametrize("kind", KINDS)
def test_peft_loads_ours(make_model: Any, make_base: Any, tmp_path: Path, kind: str) -> None:
    model, _ = make_model(kind, base_model_name="some/base")
    for name in roles.ROLES:
        model.save_role(name, tmp_path / name)
        theirs = peft.PeftModel.from_pretrained(make_base(kind), str(tmp_path / name)).eval()
        assert theirs.peft_config["default"].base_model_name_or_path == "some/base"
        assert theirs.peft_config["default"].task_type == "CAUSAL_LM"
        with torch.no_grad():
            torch.testing.assert_close(
                theirs(input_ids=IDS).logits, logits(model, name), atol=1e-5, rtol=1e-5
            )
        # every adapted layer of ours is one of theirs
        layers = [path for path, m in theirs.named_modules() if hasattr(m, "lora_A") and len(m.lora_A)]
        assert len(layers) == len(list(roles.role_layers(model.base)))


@pytest.mark.parametrize("kind", KINDS)
def test_we_load_peft(make_model: Any, make_base: Any, tmp_path: Path, kind: str) -> None:
    config = peft.LoraConfig(
        r=4, lora_alpha=8, lora_dropout=0.1, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    theirs = peft.get_peft_model(make_base(kind), config).eval()
    torch.manual_seed(3)
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    theirs.save_pretrained(str(tmp_path))
    model, _ = make_model(kind)
    others = {name: logits(model, name) for name in (roles.COMPRESSOR, roles.QUERY_REASONER)}
    model.load_role(roles.GENERATOR, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            logits(model, roles.GENERATOR), theirs(input_ids=IDS).logits, atol=1e-5, rtol=1e-5
        )
    for name, expected in others.items():
        assert torch.equal(logits(model, name), expected)


def test_gradients_equal_pefts(make_model: Any, make_base: Any, tmp_path: Path) -> None:
    model, _ = make_model("mistral")
    model.save_role(roles.GENERATOR, tmp_path)
    theirs = peft.PeftModel.from_pretrained(make_base("mistral"), str(tmp_path), is_trainable=True).eval()
    theirs(input_ids=IDS, labels=IDS).loss.backward()
    with roles.role(roles.GENERATOR):
        model.base(input_ids=IDS, labels=IDS).loss.backward()
    expected = {
        name.removeprefix("base_model.model.").replace(".default", ""): parameter.grad
        for name, parameter in theirs.named_parameters()
        if parameter.grad is not None
    }
    ours = {name: parameter.grad for name, parameter in roles.role_parameters(model.base, roles.GENERATOR)}
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-5, rtol=1e-5)


def test_layers_named_like_others_are_listed_in_full(make_base: Any, tmp_path: Path) -> None:
    """BERT's head has a layer `dense` too, which no role adapts."""
    from clara.configuration import ClaraConfig

    base = make_base("bert")
    config = ClaraConfig(base.config, roles={"generator": "lora"}, lora_rank=4, lora_alpha=8.0)
    model = ClaraModel(config, base).eval()
    for _, parameter in roles.role_parameters(model.base, roles.GENERATOR):
        torch.nn.init.normal_(parameter, std=0.1)
    model.save_role(roles.GENERATOR, tmp_path)
    theirs = peft.PeftModel.from_pretrained(make_base("bert"), str(tmp_path)).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            theirs(input_ids=IDS).logits, logits(model, roles.GENERATOR), atol=1e-5, rtol=1e-5
        )
