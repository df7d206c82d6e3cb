"""The training loop of all stages, on one process or several.

Every step draws its randomness (rate, dropout) from the seed and its own number, and its batch is a slice of
one sequence of shuffled epochs. A resumed run is therefore exact without states of random generators.

The loss of a step is the mean over the whole batch: each share, of a process or of accumulation, is divided
by the items of the batch (`StageLoss.total`), so that processes and `micro_batch_size` change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from transformers import get_scheduler, set_seed
from transformers.trainer_utils import SchedulerType

from clara.errors import InputError, TrainingError
from clara.training import processes
from clara.training.checkpoints import Checkpoints
from clara.training.data import ExampleFile, StageExample
from clara.training.settings import OptimizerSettings, Settings
from clara.training.sharding import is_sharded
from clara.training.stages import StageModule, measure

Report = Callable[[dict[str, float]], None]

_SCHEDULES = {
    "cosine": SchedulerType.COSINE,
    "linear": SchedulerType.LINEAR,
    "constant": SchedulerType.CONSTANT_WITH_WARMUP,
}


class TrainingLoop:
    """Trains a stage.

    Args:
        module: The stage, on its device; sharded or not.
        settings: Of the run.
        examples: The training data.
        validation: Measured whenever a checkpoint is saved.
        bfloat16: Compute products in bfloat16.
        checkpoints: Where they are written.
        report: Called on the main process with each line of metrics.

    Attributes:
        step: Steps that are done.
        steps: Steps in all.
    """

    def __init__(
        self,
        module: StageModule,
        settings: Settings,
        examples: ExampleFile,
        validation: Sequence[StageExample],
        *,
        bfloat16: bool,
        checkpoints: Checkpoints,
        report: Report,
    ) -> None:
        wanted = settings.optimizer
        self._module = module
        self._called = _over_processes(module)
        self._settings = settings
        self._batches = Batches(examples, wanted.batch_size, settings.run.seed)
        self._validation = validation
        self._bfloat16 = bfloat16
        self._checkpoints = checkpoints
        self._report = report
        self.step = 0
        self.steps = wanted.steps or max(1, round(wanted.epochs * len(examples) / wanted.batch_size))
        self._micro_batch_size = _micro_batch_size(wanted)
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(
            _groups(self._parameters, wanted.weight_decay), lr=wanted.learning_rate
        )
        warmup = round(wanted.warmup * self.steps)
        self._schedule = get_scheduler(_SCHEDULES[wanted.schedule], self._optimizer, warmup, self.steps)
        self._since_line = _Means()

    def restore(self, checkpoint: Path) -> None:
        """Go on from a checkpoint, whose model the module has already."""
        self.step = self._checkpoints.restore(checkpoint, self._module, self._optimizer, self._schedule)

    def run(self, should_stop: Callable[[], bool]) -> bool:
        """Train to the last step; returns whether it was reached.

        Args:
            should_stop: Asked on every process after each step but the last. If any process says so, the run
                ends with a checkpoint.

        Raises:
            InputError: The batch cannot be divided among the processes.
            TrainingError: The loss is not finite, or a checkpoint could not be written.
        """
        run = self._settings.run
        self._module.train()
        while self.step < self.steps:
            self._train_step()
            is_last = self.step == self.steps
            stops = not is_last and bool(processes.largest(int(should_stop())))
            if self.step % run.log_every == 0:
                self._log()
            if is_last or stops or self.step % run.save_every == 0:
                self._save()
            if stops:
                return False
        return True

    def _train_step(self) -> None:
        seed = self._settings.run.seed
        count = processes.num_processes()
        examples = self._batches.share(self.step, processes.rank(), count)
        items = self._module.count_items(examples)
        totals = processes.total(torch.tensor(list(items.values()))).tolist()
        counts = dict(zip(items, totals, strict=True))
        set_seed((seed * 1_000_003 + self.step * 1_009 + processes.rank()) % 2**32)
        size = self._micro_batch_size
        shares = [examples[start : start + size] for start in range(0, len(examples), size)]
        for number, share in enumerate(shares, start=1):
            with _synchronised(self._called, number == len(shares)):
                self._accumulate(share, counts, f"{seed}/{self.step}")
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.optimizer.clip)
        norm = cast(Any, norm).full_tensor() if hasattr(norm, "full_tensor") else norm
        self._since_line.add("grad_norm", float(norm), 1)
        self._since_line.add("learning_rate", float(self._schedule.get_last_lr()[0]), 1)
        self._since_line.steps += 1
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        self.step += 1

    def _accumulate(self, share: Sequence[StageExample], counts: Mapping[str, int], seed: str) -> None:
        """Add the gradient of a share of the batch."""
        device = processes.device()
        with torch.autocast(device.type, torch.bfloat16, enabled=self._bfloat16):
            output = self._called(share, counts=counts, seed=seed)
        loss: Tensor = output["loss"]
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"The loss of step {self.step + 1} is {loss.item()}; training stopped, and the last "
                "checkpoint is kept. A lower learning rate or float32 may help."
            )
        for name, (mean, number) in output["parts"].items():
            self._since_line.add(name, mean, number)
        self._since_line.loss += loss.item()
        # gradients are averaged over processes, and the shares of a batch add up
        (loss * processes.num_processes()).backward()

    def _log(self) -> None:
        """Report the means since the last line, over all processes."""
        everyone: list[_Means] = processes.gather(self._since_line)
        self._since_line = _Means()
        loss = sum(each.loss for each in everyone) / everyone[0].steps
        self._tell({"loss": loss, **_Means.together(everyone)})

    def _save(self) -> None:
        self._checkpoints.save(self.step, self._module, self._optimizer, self._schedule)
        if self._validation:
            parts = measure(self._module, self._validation, self._micro_batch_size)
            self._tell({f"validation_{name}": value for name, value in parts.items()})

    def _tell(self, values: dict[str, float]) -> None:
        if processes.is_main():
            self._report({"step": self.step, **values})


class Batches:
    """The batches of a run: slices of a sequence of epochs, each in an order of its own.

    Every batch is full; one may begin in an epoch and end in the next.

    Args:
        examples: The data.
        size: Examples of a batch.
        seed: Of the orders.
    """

    def __init__(self, examples: ExampleFile, size: int, seed: int) -> None:
        self._examples = examples
        self._size = size
        self._seed = seed
        self._orders: dict[int, list[int]] = {}

    def share(self, step: int, rank: int, count: int) -> list[StageExample]:
        """The examples of a step (from 0) that one of `count` processes computes."""
        places = range(step * self._size + rank, (step + 1) * self._size, count)
        return [self._examples[self._index(place)] for place in places]

    def _index(self, place: int) -> int:
        epoch, within = divmod(place, len(self._examples))
        if epoch not in self._orders:
            generator = torch.Generator().manual_seed(self._seed * 1_000_003 + epoch)
            order = torch.randperm(len(self._examples), generator=generator).tolist()
            # a batch spans two epochs, or more where the data are fewer than it; older orders are not needed
            self._orders = {number: old for number, old in self._orders.items() if number == epoch - 1}
            self._orders[epoch] = order
        return self._orders[epoch][within]


class _Means:
    """Sums of named means since the last line of metrics."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.steps = 0
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, name: str, mean: float, count: int) -> None:
        total, items = self._sums.get(name, (0.0, 0))
        self._sums[name] = total + mean * count, items + count

    @staticmethod
    def together(everyone: Sequence[_Means]) -> dict[str, float]:
        """The means over all processes, by name."""
        names = sorted({name for each in everyone for name in each._sums})
        pairs = {name: [each._sums.get(name, (0.0, 0)) for each in everyone] for name in names}
        return {
            name: sum(value for value, _ in sums) / count
            for name, sums in pairs.items()
            if (count := sum(items for _, items in sums))
        }


def _micro_batch_size(settings: OptimizerSettings) -> int:
    """The largest size up to the wanted one that divides a process's share of the batch."""
    count = processes.num_processes()
    if settings.batch_size % count:
        raise InputError(
            f"optimizer.batch_size is {settings.batch_size}, but must be a multiple of the {count} processes."
        )
    share = settings.batch_size // count
    return next(size for size in range(min(share, settings.micro_batch_size), 0, -1) if share % size == 0)


def _groups(parameters: Sequence[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Groups of the optimizer: matrices decay; vectors, as those of norms and biases, do not."""
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    vectors = [parameter for parameter in parameters if parameter.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _over_processes(module: StageModule) -> nn.Module:
    """What is called in a step: averages gradients over the processes, unless the shards do."""
    if processes.num_processes() == 1 or is_sharded(module):
        return module
    device = processes.device()
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def _synchronised(module: nn.Module, is_last: bool) -> AbstractContextManager[None]:
    """Average gradients over the processes only after the last share of a batch."""
    if isinstance(module, DistributedDataParallel) and not is_last:
        return cast(AbstractContextManager[None], module.no_sync())
    return nullcontext()
