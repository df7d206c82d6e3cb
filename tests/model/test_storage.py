"""Tensors on disk: exact, or within what rounding allows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clara.checkpoints.layout import row_checksums
from clara.checkpoints.storage import pack, read_tensors, unpack, write_tensors
from clara.errors import CheckpointError


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(-6, 2, 7).unsqueeze(1)
    return {
        "matrix": torch.randn(7, 33, generator=generator) * scales,
        "stack": torch.randn(2, 3, 5, generator=generator),
        "zeros": torch.zeros(3, 4),
        "vector": torch.randn(9, generator=generator),
        "ids": torch.arange(4),
        "flags": torch.tensor([True, False]),
        "norm.scale": torch.ones(3),
    }


@pytest.mark.parametrize("weights", ["float32", "float16", "bfloat16", "int8"])
def test_round_trip(tmp_path: Path, weights: str) -> None:
    given = tensors()
    write_tensors(tmp_path / "file.safetensors", given, weights)
    found = read_tensors(tmp_path / "file.safetensors")
    assert found.keys() == given.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["file.safetensors"]
    for name in ("ids", "flags"):
        assert torch.equal(found[name], given[name])
    relative = {"float32": 0.0, "float16": 2**-11, "bfloat16": 2**-8, "int8": 2**-11}[weights]
    for name in ("vector", "norm.scale", "matrix", "stack", "zeros"):
        bound = given[name].abs() * relative
        if weights == "int8" and given[name].dim() > 1:
            # half a step, and a step is a 127th of the row's largest
            bound = given[name].abs().amax(dim=-1, keepdim=True) / 127 / 2 * 1.0001
        elif weights == "float16":
            bound = bound + 2**-25  # half a step of its subnormals
        assert ((found[name].float() - given[name]).abs() <= bound).all(), name


def test_int8_keeps_a_scale_for_every_row() -> None:
    packed = pack(tensors(), "int8")
    assert packed["matrix"].dtype == torch.int8
    assert packed["matrix.scale"].shape == (7, 1)
    assert packed["matrix"].abs().amax(dim=1).tolist() == [127] * 7
    assert packed["vector"].dtype == torch.float16
    # packing what was unpacked changes nothing
    again = pack(unpack(packed), "int8")
    assert torch.equal(again["matrix"], packed["matrix"])


def test_nothing_is_shared() -> None:
    given = {"a": torch.ones(2, 2), "b": torch.ones(2, 2)}
    given["b"] = given["a"]
    packed = pack(given, "float32")
    assert packed["a"].data_ptr() != packed["b"].data_ptr() != given["a"].data_ptr()


def test_float16_does_not_overflow_silently() -> None:
    with pytest.raises(CheckpointError, match="big has values beyond float16"):
        pack({"big": torch.tensor([1e6])}, "float16")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_tensors(path, {"a": torch.ones(2)}, "float32")
    with pytest.raises(CheckpointError):
        write_tensors(path, {"a": torch.full((2,), 1e9)}, "float16")
    assert read_tensors(path)["a"].tolist() == [1.0, 1.0]


def test_row_checksums_see_single_bits_and_no_types() -> None:
    weight = torch.randn(50, 16, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    sums = row_checksums(weight)
    assert len(set(sums.tolist())) == 50
    assert torch.equal(row_checksums(weight.bfloat16()), sums)
    changed = weight.clone()
    changed[3, 5] = torch.nextafter(changed[3, 5], torch.tensor(9.0))
    changed[4] = weight[4].flip(0)
    assert (row_checksums(changed) != sums).nonzero().flatten().tolist() == [3, 4]
