"""Checkpoints of a run: model, optimizer and schedule. One counts once `complete.json` is written.

checkpoint-<step>/
  model/            the Clara model, with float32 weights
  optimizer.pt      moments by parameter name, and the schedule; whole, whatever the sharding
  complete.json     step and fingerprint of the model
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from clara.errors import TrainingError
from clara.model.fingerprint import fingerprint
from clara.training import processes
from clara.training.sharding import full_state, is_sharded, load_optimizer, optimizer_state, whole_model
from clara.training.stages import StageModule

MODEL_FOLDER = "model"
_COMPLETE_FILE = "complete.json"
_OPTIMIZER_FILE = "optimizer.pt"


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: Where they lie.
        keep: How many are kept besides the newest.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def complete(self) -> dict[int, Path]:
        """The complete checkpoints by step, the oldest first."""
        found = {
            int(match[1]): path
            for path in (self._folder.iterdir() if self._folder.is_dir() else ())
            if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and (path / _COMPLETE_FILE).is_file()
        }
        return dict(sorted(found.items()))

    def newest(self) -> Path | None:
        """The complete checkpoint of the latest step."""
        return next(reversed(self.complete().values()), None)

    def save(self, step: int, module: StageModule, optimizer: Optimizer, schedule: LRScheduler) -> None:
        """Write a checkpoint and delete those that are not kept. All processes must call it.

        Raises:
            TrainingError: It could not be written; nothing of it is left.
        """
        folder = self._folder / f"checkpoint-{step}"
        moments = optimizer_state(module, optimizer)
        error = ""
        try:
            if processes.is_main():
                shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed
            identity = save_model(module, folder / MODEL_FOLDER, write=processes.is_main())
            if processes.is_main():
                state = {"optimizer": moments, "schedule": schedule.state_dict()}
                torch.save(state, folder / _OPTIMIZER_FILE)
                content = json.dumps({"step": step, "fingerprint": identity})
                (folder / _COMPLETE_FILE).write_text(content + "\n", encoding="utf-8")
        except (OSError, RuntimeError, SafetensorError) as failure:
            shutil.rmtree(folder, ignore_errors=True)
            error = (str(failure) or type(failure).__name__).splitlines()[0].rstrip(".")
        if reason := next(filter(None, processes.gather(error)), ""):
            raise TrainingError(
                f"The checkpoint of step {step} could not be written to {folder} ({reason}); the one before "
                "it is kept."
            )
        if processes.is_main():
            for path in list(self.complete().values())[: -1 - self._keep]:
                shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def restore(path: Path, module: StageModule, optimizer: Optimizer, schedule: LRScheduler) -> int:
        """Load optimizer and schedule of a checkpoint, whose model is loaded already; returns its step."""
        state = torch.load(path / _OPTIMIZER_FILE, map_location="cpu", weights_only=True)
        load_optimizer(module, optimizer, state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        return int(json.loads((path / _COMPLETE_FILE).read_text(encoding="utf-8"))["step"])


def save_model(module: StageModule, folder: Path, *, write: bool = True) -> str:
    """Write the model and processor of a stage; returns the model's fingerprint.

    Args:
        module: The stage; sharded or not.
        folder: Made if missing.
        write: False on all processes but one, which only take part in gathering shards.
    """
    model = module.model
    if is_sharded(module):
        state: dict[str, Any] = full_state(module)
        if not write:
            return ""
        model = whole_model(model, state)
    elif not write:
        return ""
    model.keep_memory_tokens()
    model.config.training_stage = module.stage.name
    model.save_pretrained(folder, weights="float32")
    module.processor.save_pretrained(folder)
    return fingerprint(model)
