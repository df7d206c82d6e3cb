"""The loop: optimise step by step, report, save, and go on where a killed run stopped.

A run is a folder: `metrics.jsonl` (one line per report) and `state.safetensors` (trained parameters and the
optimizer's moments, replaced atomically; its metadata have the step and what the run was begun with). What a
step computes may depend only on its number, so a resumed run repeats what the killed one would have done.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from clara.device import native_precision
from clara.errors import InputError, TrainingError

StepLoss = Callable[[int], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How to optimise.

    Attributes:
        steps: Total number of steps.
        learning_rate: Peak rate.
        warmup: Share of the steps over which the rate rises from 0.
        decay: Share of the steps at the end over which it falls linearly to 0; constant between.
        clip: Largest gradient norm.
        averaged: What is trained ends as the mean of its weights at so many steps, spread evenly from the
            middle of the training to its last step; 1 for those of the last step alone (Izmailov et al.,
            arXiv 1803.05407; here while the rate falls).
        weight_decay: Of AdamW, on matrices only.
        rate_factors: (part of a name, factor) pairs: parameters whose name has the part train at that many
            times the rate.
        report_every: Steps between lines of metrics.
        save_every: Steps between checkpoints.
        autocast: Run the forward pass in bfloat16; None: where `native_precision` says so.
    """

    steps: int
    learning_rate: float = 2e-4
    warmup: float = 0.03
    decay: float = 0.4
    clip: float = 1.0
    averaged: int = 1
    weight_decay: float = 0.01
    rate_factors: tuple[tuple[str, float], ...] = ()
    report_every: int = 20
    save_every: int = 200
    autocast: bool | None = None


_MAY_CHANGE = {"report_every", "save_every", "autocast"}
"""Options that a resumed run may have otherwise."""


def learning_rate(step: int, options: LoopOptions) -> float:
    """Rate at a step: linear warm-up, constant, linear decay to 0."""
    rise = (step + 1) / max(1.0, options.warmup * options.steps)
    fall = (options.steps - step) / max(1.0, options.decay * options.steps)
    return options.learning_rate * min(1.0, rise, fall)


def averaged_steps(options: LoopOptions) -> set[int]:
    """The steps whose weights are averaged; fewer than asked for where there are not so many."""
    between = max(1, options.averaged - 1)
    return {options.steps - round(options.steps * back / (2 * between)) for back in range(options.averaged)}


class TrainingLoop:
    """Optimises named parameters for a number of steps, saving to and resuming from a run folder.

    Args:
        parameters: (name, parameter) pairs to train; names must not change between runs.
        options: How.
        folder: The run folder; made by `run` if missing.
        report: Called with each metrics line.
        begun_with: What decides what the run becomes beside the options, as JSON: its seed, say.

    Raises:
        InputError: The folder holds a run with other options, or one that was begun with something else.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[str, nn.Parameter]],
        options: LoopOptions,
        folder: Path,
        report: Callable[[dict[str, float]], None],
        begun_with: Mapping[str, Any] | None = None,
    ) -> None:
        kept = {name: value for name, value in asdict(options).items() if name not in _MAY_CHANGE}
        self._run = json.dumps({**kept, **(begun_with or {})}, sort_keys=True)
        self.parameters = dict(parameters)
        self.options = options
        self.folder = folder
        self.report = report
        self._sums: dict[str, Tensor] = {}
        self.optimizer = torch.optim.AdamW(self._groups(), lr=options.learning_rate, betas=(0.9, 0.98))
        self.step = self._resume()

    def _groups(self) -> list[dict[str, object]]:
        """Parameters by weight decay and factor of the rate."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.parameters.items():
            decay = self.options.weight_decay if parameter.dim() > 1 else 0.0
            factor = math.prod(factor for part, factor in self.options.rate_factors if part in name)
            groups.setdefault((decay, factor), []).append(parameter)
        return [
            {"params": parameters, "weight_decay": decay, "factor": factor}
            for (decay, factor), parameters in groups.items()
        ]

    def run(self, step_loss: StepLoss) -> None:
        """Train to the last step.

        Args:
            step_loss: Loss and its parts of a step, given its number.

        Raises:
            TrainingError: The loss or its gradient is not finite; the last checkpoint stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        device = next(iter(self.parameters.values())).device
        autocast = self.options.autocast
        autocast = native_precision(device).bfloat16 if autocast is None else autocast
        window: list[dict[str, float]] = []
        started, first = time.perf_counter(), self.step
        while self.step < self.options.steps:
            with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
                loss, parts = step_loss(self.step)
            self._require_finite("loss", loss.item())
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.options.clip)
            self._require_finite("gradient's norm", norm.item())
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.step, self.options) * group["factor"]
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
            self._average()
            window.append({**parts, "gradient_norm": norm.item()})
            if self.step % self.options.report_every == 0 or self.step == self.options.steps:
                self._report(window, (time.perf_counter() - started) / (self.step - first))
                window = []
            if self.step % self.options.save_every == 0 or self.step == self.options.steps:
                self.save()

    def _require_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"The {name} of step {self.step} is {value}; the last checkpoint in {self.folder} is kept."
            )

    def _report(self, window: Sequence[dict[str, float]], seconds_per_step: float) -> None:
        names = sorted({name for parts in window for name in parts})
        line: dict[str, float] = {"step": self.step, "seconds_per_step": round(seconds_per_step, 4)}
        for name in names:
            values = [parts[name] for parts in window if name in parts]
            line[name] = round(sum(values) / len(values), 5)
        line["learning_rate"] = learning_rate(self.step - 1, self.options)
        line["seconds_left"] = round((self.options.steps - self.step) * seconds_per_step)
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.report(line)

    @torch.no_grad()
    def _average(self) -> None:
        """Take the weights of this step into account, and after the last one put the mean in their place."""
        steps = averaged_steps(self.options)
        if self.options.averaged == 1 or self.step not in steps:
            return
        for name, parameter in self.parameters.items():
            self._sums[name] = self._sums[name] + parameter if name in self._sums else parameter.clone()
        if self.step == self.options.steps:
            for name, parameter in self.parameters.items():
                parameter.copy_(self._sums[name] / len(steps))
            self._sums = {}

    def save(self) -> None:
        """Write parameters and moments; a kill at any moment leaves the old or the new checkpoint."""
        tensors = {f"parameter/{name}": parameter.detach() for name, parameter in self.parameters.items()}
        tensors |= {f"sum/{name}": summed for name, summed in self._sums.items()}
        for name, parameter in self.parameters.items():
            for key in ("exp_avg", "exp_avg_sq", "step"):
                if key in self.optimizer.state.get(parameter, {}):
                    tensors[f"{key}/{name}"] = self.optimizer.state[parameter][key]
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        temporary = self.folder / "state.safetensors.new"
        save_file(tensors, temporary, metadata={"step": str(self.step), "run": self._run})
        temporary.replace(self.folder / "state.safetensors")

    def _resume(self) -> int:
        path = self.folder / "state.safetensors"
        if not path.exists():
            return 0
        with safe_open(path, "pt") as file:
            step = int(file.metadata()["step"])
            self._require_same(file.metadata().get("run", self._run))
            names = set(file.keys())
            for name, parameter in self.parameters.items():
                with torch.no_grad():
                    parameter.copy_(file.get_tensor(f"parameter/{name}"))
                if f"sum/{name}" in names:
                    self._sums[name] = file.get_tensor(f"sum/{name}").to(parameter.device)
                if f"exp_avg/{name}" in names:
                    self.optimizer.state[parameter] = {
                        key: file.get_tensor(f"{key}/{name}")
                        if key == "step"
                        else file.get_tensor(f"{key}/{name}").to(parameter.device)
                        for key in ("step", "exp_avg", "exp_avg_sq")
                    }
        self._forget_after(step)
        return step

    def _require_same(self, run: str) -> None:
        held, wanted = json.loads(run), json.loads(self._run)
        for name in sorted(held.keys() | wanted.keys()):
            if held.get(name) != wanted.get(name):
                raise InputError(
                    f"{self.folder} holds a training with {name} {held.get(name)}, not {wanted.get(name)}; "
                    "name another folder, or go on as it was begun."
                )

    def _forget_after(self, step: int) -> None:
        """Drop the lines of metrics of steps that were not saved; they come again."""
        path = self.folder / "metrics.jsonl"
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        if kept != lines:
            temporary = path.with_suffix(".new")
            temporary.write_text("".join(kept), encoding="utf-8")
            temporary.replace(path)
