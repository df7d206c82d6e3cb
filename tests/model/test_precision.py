"""A model that computes in bfloat16: the layers do, the rest keeps the type of the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clara import device, pipeline
from clara.device import Precision, native_precision
from clara.errors import InputError
from clara.model.modeling import ClaraModel
from clara.pipeline import Clara
from clara.processing import collate_texts
from conftest import WORDS, tiny_model

TEXTS = [" ".join(WORDS[at : at + 4 + at % 5]) for at in range(5)]


def products(model: ClaraModel, enabled: bool) -> tuple[set[torch.dtype], torch.Tensor]:
    """The types that the layers' products came in while texts were compressed, and their memories."""
    model.reads_in_bfloat16 = enabled
    layers = [module for module in model.base.base_model.modules() if isinstance(module, torch.nn.Linear)]
    seen: set[torch.dtype] = set()
    hooks = [
        layer.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
        for layer in layers
    ]
    processor = tiny_model(model.base.config.model_type)[1]
    ids, lengths = collate_texts(processor.encode_documents(TEXTS))
    with torch.inference_mode():
        memories = model.compress(ids, lengths)
    for hook in hooks:
        hook.remove()
    return seen, torch.cat(memories.unpadded())


@pytest.mark.parametrize("kind", ["bert", "mistral"])
def test_layers_alone_compute_in_bfloat16(kind: str) -> None:
    model, _ = tiny_model(kind)
    types, expected = products(model, enabled=False)
    assert types == {torch.float32}
    types, found = products(model, enabled=True)
    assert types == {torch.bfloat16}
    assert found.dtype == torch.float32
    difference = (found - expected).norm() / expected.norm()
    assert 0 < difference < 2e-2


def test_a_training_keeps_its_own_precision() -> None:
    model, _ = tiny_model("bert")
    with torch.autocast("cpu", torch.bfloat16):
        assert products(model, enabled=False)[0] == {torch.bfloat16}


@pytest.mark.parametrize(
    ("dtype", "native", "expected"),
    [
        (None, True, "bfloat16"),
        (None, False, "float32"),
        (torch.float32, True, "float32"),
        (torch.bfloat16, False, "bfloat16"),
    ],
)
def test_a_model_computes_in_the_native_precision_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype | None, native: bool, expected: str
) -> None:
    model, processor = tiny_model("bert")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    monkeypatch.setattr(pipeline, "native_precision", lambda device: Precision(native, ""))
    clara = Clara.from_pretrained(tmp_path, device="cpu", dtype=dtype)
    assert clara.precision == expected
    assert clara.model.dtype == (dtype or torch.float32)


def test_a_device_that_is_not_known_stays_exact() -> None:
    assert not native_precision(torch.device("mps")).bfloat16


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "amx_bf16", "avx512_bf16"}, Precision(True, "CPU has amx_bf16")),
        ({"avx2", "avx512_bf16"}, Precision(True, "CPU has avx512_bf16")),
        ({"avx2", "avx512_fp16"}, Precision(False, "CPU has neither amx_bf16 nor avx512_bf16")),
    ],
)
def test_a_cpu_is_judged_by_its_instructions(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], expected: Precision
) -> None:
    monkeypatch.setattr(device, "_cpu_flags", lambda: frozenset(flags))
    assert native_precision(torch.device("cpu")) == expected


def test_a_processor_that_contradicts_the_model_is_an_error(tmp_path: Path) -> None:
    model, processor = tiny_model("mistral")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    changed = ClaraModel.from_pretrained(tmp_path, compression_rate=8)
    with pytest.raises(InputError, match="compression_rate 4, but the model 8"):
        Clara(changed, processor, "changed")
    changed.config.save_pretrained(tmp_path)
    # a folder has one configuration, which the processor is built from
    assert Clara.from_pretrained(tmp_path).processor.compression_rate == 8
