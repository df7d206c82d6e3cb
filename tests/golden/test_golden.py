"""Ours against the reference implementation: ids and texts exactly, numbers in float32 within 1e-4."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import clara
from clara import loading
from clara.checkpoints.storage import read_tensors
from clara.model.fingerprint import fingerprint
from clara.model.modeling import ClaraModel
from clara.processing import MemorySlot, collate_prompts, collate_texts
from tests.golden.__main__ import main
from tests.golden.layout import DATA, ROWS, checkpoint_names, write_released
from tests.golden.quantities import QUANTITIES, TOLERANCE, Golden, deviation, differentiable_top_k, worst


@pytest.fixture(scope="session", params=checkpoint_names(DATA))
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Golden:
    return Golden.load(DATA, request.param, tmp_path_factory.mktemp("apple"))


@pytest.mark.parametrize("name", QUANTITIES)
def test_quantity(golden: Golden, name: str) -> None:
    for ours, theirs in QUANTITIES[name](golden):
        if isinstance(theirs, Tensor | float):
            assert deviation(ours, theirs) <= TOLERANCE
        else:
            assert ours == theirs


def test_differentiable_top_k() -> None:
    assert worst(differentiable_top_k(DATA)) <= TOLERANCE


# -- the data and its check ---------------------------------------------------------------------------


def test_released_files_hold_what_the_golden_files_hold(tmp_path: Path) -> None:
    base = load_file(DATA / "base" / "model.safetensors")
    for name, added in (("checkpoint-cr16", 7), ("checkpoint-cr4", 19)):
        released = write_released(DATA, name, tmp_path)
        rows = torch.load(released / "decoder_first_last_layers.pth", weights_only=True)
        adapters = torch.load(released / "adapters.pth", weights_only=True)
        kept = load_file(DATA / name / "adapters.safetensors")
        assert {row: tensor.shape for row, tensor in rows.items()} == dict.fromkeys(ROWS, (900 + added, 48))
        assert all(torch.equal(rows[row][:900], base[row]) for row in ROWS)
        assert len(kept) == 3 * 3 * 7 * 2  # adapters, layers, projections, A and B
        for key, tensor in kept.items():
            adapter, parameter = key.split("/")
            assert torch.equal(adapters[adapter][parameter], tensor)


def test_command_prints_each_quantity_and_fails_beyond_the_tolerance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "golden"
    shutil.copytree(DATA, folder)
    for path in folder.glob("checkpoint-cr4*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    # in Apple's format itself, as the reference's own folders are
    released = write_released(folder, "checkpoint-cr16", tmp_path)
    shutil.rmtree(folder / released.name)
    released.rename(folder / released.name)
    assert main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["differentiable_top_k", *QUANTITIES]
    tensors = load_file(folder / "checkpoint-cr16.safetensors")
    save_file({**tensors, "scores": tensors["scores"] + 0.5}, folder / "checkpoint-cr16.safetensors")
    assert main([str(folder)]) == 1
    (changed,) = [line for line in capsys.readouterr().out.splitlines() if "above" in line]
    assert changed.split()[:3] == ["checkpoint-cr16", "scores", "5.0e-01"]


def test_deviation() -> None:
    assert deviation(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0])) == 0.5
    assert deviation(torch.zeros(2), torch.zeros(3)) == deviation([1], [2]) == float("inf")
    assert deviation([1], [1]) == 0.0


# -- conversion ---------------------------------------------------------------------------------------


def outputs(model: ClaraModel, processor: Any, golden: Golden) -> Tensor:
    ids = collate_texts(processor.encode_documents(golden.facts["documents"]))
    with torch.no_grad():
        memories = model.compress(*ids).vectors
        prompt = processor.prompt(golden.facts["questions"][0], [MemorySlot(memories.shape[1])])
        logits = model(collate_prompts([prompt]), [memories[0]]).logits
    return torch.cat([memories.flatten(), logits.flatten()])


def test_convert_gives_identical_numbers(golden: Golden, tmp_path: Path) -> None:
    loading.convert(golden.folder, tmp_path / "ours", base=golden.base)
    model, processor = loading.load(tmp_path / "ours", base=golden.base)
    assert not list((tmp_path / "ours").rglob("*.pth"))
    assert torch.equal(outputs(model, processor, golden), outputs(golden.model, golden.processor, golden))
    assert model.config.to_dict() == clara.ClaraConfig.from_pretrained(tmp_path / "ours").to_dict()
    assert fingerprint(model) == fingerprint(golden.model)


def test_save_stores_only_changed_rows(golden: Golden, tmp_path: Path) -> None:
    golden.model.save_pretrained(tmp_path)
    golden.processor.save_pretrained(tmp_path)
    model, processor = loading.load(tmp_path, base=golden.base)
    assert torch.equal(outputs(model, processor, golden), outputs(golden.model, golden.processor, golden))
    added = len(golden.facts["special_tokens"])
    assert len(read_tensors(tmp_path / "model.safetensors")["rows.input.ids"]) == added
