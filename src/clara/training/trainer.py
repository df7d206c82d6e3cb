"""transformers' Trainer for a stage: what it does not do by itself, and nothing else.

- a batch is examples, not tensors, since which memories stand in a prompt is decided in the forward pass;
- every share of a batch is divided by the items of the whole batch (`StageLoss.total`);
- the parts of the loss and the recall are logged as they are;
- a checkpoint is a Clara model beside the Trainer's own files, and counts once `complete.json` is there;
- weights can be sharded over processes by torch's `fully_shard` on any device: TrainingArguments' own `fsdp`
  stays silently without effect on CPUs, where it could not be tested.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from torch import nn
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from clara.errors import TrainingError
from clara.model.fingerprint import fingerprint
from clara.training.data import ExampleFile, StageExample
from clara.training.sharding import full_state, is_sharded, load_optimizer, optimizer_state, whole_model
from clara.training.stages import StageModule, measure

COMPLETE_FILE = "complete.json"
MODEL_FOLDER = "model"
_OPTIMIZER_FILE = "optimizer.safetensors.pt"


class Unwrapped(nn.Module):
    """Keeps the Trainer from wrapping a module that is sharded already."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


class StageTrainer(Trainer):
    """Trains a stage.

    Args:
        module: The stage.
        arguments: Of the Trainer.
        examples: The training data.
        validation: Measured whenever a checkpoint is saved.
        report: Called on the main process with each line of metrics.
        callbacks: Of the Trainer.
    """

    def __init__(
        self,
        module: StageModule,
        arguments: TrainingArguments,
        examples: ExampleFile,
        validation: Sequence[StageExample],
        report: Callable[[dict[str, float]], None],
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        super().__init__(
            model=module,
            args=arguments,
            train_dataset=examples,
            data_collator=_as_batch,
            callbacks=list(callbacks),
        )
        for callback in (ProgressCallback, PrinterCallback):
            self.remove_callback(callback)
        self.stage = module
        self.validation = validation
        self.report = report
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        self._parts: dict[str, list[tuple[float, int]]] = {}

    # -- a step --------------------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The shares of a step, and the items of the whole step over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        examples = [example for batch in batches for example in batch["examples"]]
        counts = self.stage.count_items(examples)
        totals = torch.tensor(list(counts.values()), device=device)
        if dist.is_initialized():
            dist.all_reduce(totals)
        return batches, dict(zip(counts, totals.tolist(), strict=True))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """A share's part of the loss of the whole batch.

        Raises:
            TrainingError: It is not finite.
        """
        seed = f"{self.args.seed}/{self.state.global_step}"
        output = model(inputs["examples"], counts=num_items_in_batch, seed=seed)
        loss = output["loss"]
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"The loss of step {self.state.global_step + 1} is {loss.item()}; training stopped, and the "
                "last checkpoint is kept. A lower learning rate or float32 may help."
            )
        for name, part in output["parts"].items():
            self._parts.setdefault(name, []).append(part)
        # gradients are averaged over processes, and the shares of a batch add up
        loss = loss * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss

    def compute_loss_context_manager(self) -> Any:
        """bfloat16 where it was asked for, also for a module that the Trainer did not wrap."""
        stack = super().compute_loss_context_manager()
        stack.enter_context(torch.autocast(self.args.device.type, torch.bfloat16, enabled=self.args.bf16))
        return stack

    def _wrap_model(self, model: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        if is_sharded(model):
            return Unwrapped(model)
        wrapped: nn.Module = super()._wrap_model(model, *args, **kwargs)
        return wrapped

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        if not is_sharded(self.stage):
            return super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.args.max_grad_norm)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    # -- what is told --------------------------------------------------------------------------------

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the parts of the loss since the last line, over all processes."""
        if "loss" in logs:
            logs = {**logs, **self._gathered_parts()}
        super().log(logs, start_time)
        if self.is_world_process_zero():
            self.report({"step": self.state.global_step, **logs})

    def _gathered_parts(self) -> dict[str, float]:
        own = {
            name: (sum(mean * count for mean, count in parts), sum(count for _, count in parts))
            for name, parts in self._parts.items()
        }
        self._parts = {}
        shares: list[Mapping[str, tuple[float, int]]] = [own]
        if dist.is_initialized():
            held: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(held, own)
            shares = held
        totals: dict[str, tuple[float, int]] = {}
        for share in shares:
            for name, (value, count) in share.items():
                before = totals.get(name, (0.0, 0))
                totals[name] = before[0] + value, before[1] + count
        return {name: value / count for name, (value, count) in sorted(totals.items()) if count}

    # -- checkpoints ---------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any = None) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            if self.args.should_save:
                shutil.rmtree(folder, ignore_errors=True)
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            raise TrainingError(
                f"The checkpoint of step {self.state.global_step} could not be written to {folder} "
                f"({reason}); the one before it is kept."
            ) from error
        if self.args.should_save:
            content = {"step": self.state.global_step, "fingerprint": self._fingerprint}
            (folder / COMPLETE_FILE).write_text(json.dumps(content) + "\n", encoding="utf-8")
        if self.validation:
            parts = measure(self.stage, self.validation, self.args.per_device_train_batch_size)
            self.log({f"validation_{name}": value for name, value in parts.items()})

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The Clara model. Every process takes part where weights are sharded."""
        folder = Path(str(output_dir or self.args.output_dir))
        self._fingerprint = save_model(self.stage, folder / MODEL_FOLDER, write=self.args.should_save)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        self._save(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Nothing: the run has loaded the weights before it sharded them."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not is_sharded(self.stage):
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = optimizer_state(self.stage, self._inner_optimizer)
        if self.args.should_save:
            torch.save(state, Path(output_dir) / _OPTIMIZER_FILE)
            torch.save(self._schedule.state_dict(), Path(output_dir) / "scheduler.pt")

    @property
    def _inner_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer without accelerate's wrapper."""
        return cast(torch.optim.Optimizer, cast(Any, self.optimizer).optimizer)

    @property
    def _schedule(self) -> torch.optim.lr_scheduler.LRScheduler:
        return cast(torch.optim.lr_scheduler.LRScheduler, self.lr_scheduler)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not is_sharded(self.stage):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        load_optimizer(self.stage, self._inner_optimizer, Path(checkpoint) / _OPTIMIZER_FILE)
        self._schedule.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))


def save_model(module: StageModule, folder: Path, *, write: bool = True) -> str:
    """Write the model and processor of a stage; returns the model's fingerprint.

    Args:
        module: The stage; sharded or not.
        folder: Made if missing.
        write: False on all processes but one, which only take part in gathering shards.
    """
    model = module.model
    if is_sharded(module):
        state = full_state(module)
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


def _as_batch(examples: Sequence[StageExample]) -> dict[str, Any]:
    return {"examples": list(examples)}
