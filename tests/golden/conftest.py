"""The reference implementation's numbers, where they are present beside the repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

import clara
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
NAMES = ("checkpoint-cr16", "checkpoint-cr4")


@dataclass(frozen=True)
class Golden:
    """One checkpoint: the model as loaded, and what the reference computes with it."""

    folder: Path
    base: Path
    model: ClaraModel
    processor: ClaraProcessor
    facts: dict[str, Any]
    tensors: dict[str, Tensor]


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    if not GOLDEN.is_dir():
        pytest.skip(f"the reference's numbers are not at {GOLDEN}")
    return GOLDEN


@pytest.fixture(scope="session", params=NAMES)
def golden(request: pytest.FixtureRequest, golden_folder: Path) -> Golden:
    folder, base = golden_folder / request.param, golden_folder / "base"
    model, processor = clara.load(folder, base=base)
    return Golden(
        folder,
        base,
        model,
        processor,
        json.loads(folder.with_suffix(".json").read_text(encoding="utf-8")),
        load_file(folder.with_suffix(".safetensors")),
    )
