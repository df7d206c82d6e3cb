"""Roles: separate weights on one base, whatever the order, the batch, the thread or the recomputation."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from clara import roles
from clara.model.modeling import ClaraModel

KINDS = ("mistral", "qwen3", "bert")


def states(model: ClaraModel, name: roles.Role, embeddings: Tensor) -> Tensor:
    """Final states of the body under a role."""
    width = embeddings.shape[1]
    positions = torch.arange(width).expand(len(embeddings), -1)
    visible = torch.ones(len(embeddings), width, width, dtype=torch.bool).tril()
    return model._read(embeddings, positions, visible, name)  # type: ignore[arg-type]


def inputs(rows: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(rows, 5, 32, generator=torch.Generator().manual_seed(seed))


def gradients(model: ClaraModel) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_roles_differ_and_an_exception_restores_the_role(make_model: Any, kind: str) -> None:
    model, _ = make_model(kind)
    results = [states(model, name, inputs()) for name in (*roles.ROLES, None)]
    for number, left in enumerate(results):
        for right in results[number + 1 :]:
            assert (left - right).abs().max() > 1e-3
    with pytest.raises(RuntimeError, match="inside"), roles.role(roles.GENERATOR):
        raise RuntimeError("inside")
    assert torch.equal(results[-1], states(model, None, inputs()))
    with roles.role(roles.COMPRESSOR):
        with pytest.raises(RuntimeError, match="inside"), roles.role(roles.GENERATOR):
            raise RuntimeError("inside")
        assert roles._current.get() == roles.COMPRESSOR


@pytest.mark.parametrize("kind", KINDS)
def test_a_later_role_leaves_earlier_gradients_alone(make_model: Any, kind: str) -> None:
    model, _ = make_model(kind)
    expected: dict[str, Tensor] = {}
    for number, name in enumerate(roles.ROLES):
        states(model, name, inputs(seed=number)).square().sum().backward()
        for key, gradient in gradients(model).items():
            expected[key] = expected[key] + gradient if key in expected else gradient
    losses = [
        states(model, name, inputs(seed=number)).square().sum() for number, name in enumerate(roles.ROLES)
    ]
    with roles.role(roles.GENERATOR):
        torch.stack(losses).sum().backward()
    found = gradients(model)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-5, rtol=1e-5)
    for name in roles.ROLES:
        assert any(f".variants.{name}." in key for key in found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*roles.ROLES, None, (roles.COMPRESSOR, roles.GENERATOR, roles.COMPRESSOR)])
def test_gradient_checkpointing_changes_nothing(make_model: Any, kind: str, name: roles.Role) -> None:
    model, _ = make_model(kind)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0

    def loss() -> Tensor:
        first = states(model, name, inputs()).square().sum()
        return first + states(model, roles.QUERY_REASONER, inputs(seed=1)).square().sum()

    plain = loss()
    plain.backward()
    expected = gradients(model)
    model.gradient_checkpointing_enable()
    recomputed = loss()
    with roles.role(roles.GENERATOR):
        recomputed.backward()
    found = gradients(model)
    model.gradient_checkpointing_disable()
    assert torch.equal(plain, recomputed)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, atol=1e-6, rtol=1e-6)


def test_checkpointing_recomputes(make_model: Any) -> None:
    """The test above would pass if checkpointing never happened."""
    model, _ = make_model("mistral")
    model.train()
    calls = []
    model.base.model.layers[0].self_attn.register_forward_pre_hook(
        lambda *_: calls.append(roles._current.get())
    )
    model.gradient_checkpointing_enable()
    loss = states(model, roles.COMPRESSOR, inputs()).sum()
    with roles.role(roles.GENERATOR):
        loss.backward()
    assert calls == [roles.COMPRESSOR] * 2


@pytest.mark.parametrize("kind", ["mistral", "bert"])
def test_threads_do_not_see_each_others_role(make_model: Any, kind: str) -> None:
    model, _ = make_model(kind)
    with torch.no_grad():
        expected = {name: states(model, name, inputs()) for name in roles.ROLES}
    wrong: list[str] = []
    barrier = threading.Barrier(len(roles.ROLES))

    def work(name: str) -> None:
        barrier.wait()
        with torch.no_grad():
            wrong.extend(
                name for _ in range(40) if not torch.equal(states(model, name, inputs()), expected[name])
            )

    threads = [threading.Thread(target=work, args=(name,)) for name in roles.ROLES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_merged_roles_compute_the_same(make_model: Any) -> None:
    model, _ = make_model("mistral")
    stored = {name: roles.role_state(model.base, name) for name in roles.ROLES}
    before = {name: states(model, name, inputs()) for name in (*roles.ROLES, None)}
    roles.merge_roles(model)
    assert not any(isinstance(module, roles.LowRank) for module in model.modules())
    for name, expected in before.items():
        torch.testing.assert_close(states(model, name, inputs()), expected, atol=1e-5, rtol=1e-5)
    for name, tensors in stored.items():
        kept = roles.role_state(model.base, name)
        assert kept.keys() == tensors.keys()
        assert all(torch.equal(kept[key], tensors[key]) for key in tensors)


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_copy_role(make_model: Any, kind: str) -> None:
    model, _ = make_model(kind)
    roles.copy_role(model, roles.COMPRESSOR, roles.QUERY_REASONER)
    compressor = states(model, roles.COMPRESSOR, inputs())
    assert torch.equal(compressor, states(model, roles.QUERY_REASONER, inputs()))
    # a copy, not the same tensors
    for _, parameter in roles.role_parameters(model, roles.QUERY_REASONER):
        parameter.data.add_(0.01)
    assert torch.equal(compressor, states(model, roles.COMPRESSOR, inputs()))


def test_a_fresh_low_rank_role_is_the_base_and_a_full_one_a_copy(make_base: Any) -> None:
    from clara.configuration import ClaraConfig

    for kind, how in (("llama", "lora"), ("llama", "full"), ("bert", "full")):
        base = make_base(kind)
        model = ClaraModel(ClaraConfig(base.config, roles={"generator": how}, lora_rank=2), base).eval()
        assert torch.equal(states(model, None, inputs()), states(model, roles.GENERATOR, inputs()))
        # a role that was not asked for is the base
        assert torch.equal(states(model, None, inputs()), states(model, roles.COMPRESSOR, inputs()))


def test_base_state_has_the_base_models_own_names(make_base: Any) -> None:
    from clara.configuration import ClaraConfig

    for kind in ("mistral", "bert"):
        base = make_base(kind)
        before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
        ClaraModel(ClaraConfig(base.config, roles={"generator": "full", "compressor": "lora"}), base)
        after = roles.base_state(base)
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], before[name]) for name in before)
