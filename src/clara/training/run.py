"""A training run: a folder that says what was run, on what, and how far it came.

run/
  settings.json     the settings as resolved
  provenance.json   versions, precision, git commit, data files with their hashes, machine
  metrics.jsonl     one line per report
  checkpoints/      checkpoint-<step>/ (`clara.training.checkpoints`)
  model/            the finished model
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from clara import loading
from clara.device import Precision, native_precision, set_attention
from clara.errors import InputError, MissingExtraError
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor
from clara.provenance import file_sha256, provenance, version, write_json
from clara.training import processes
from clara.training.checkpoints import MODEL_FOLDER, Checkpoints, save_model
from clara.training.data import ExampleFile, StageExample
from clara.training.loop import Report, TrainingLoop
from clara.training.memory_cache import MemoryCache
from clara.training.objectives import ObjectiveOptions
from clara.training.settings import Settings
from clara.training.sharding import shard
from clara.training.stages import STAGE_OF, Stage, StageModule, prepare

CHECKPOINTS = "checkpoints"
METRICS_FILE = "metrics.jsonl"
PROVENANCE_FILE = "provenance.json"

logger = logging.getLogger(__name__)


def train(
    settings: Settings, stage: str, *, resume: bool, report: Report, deadline: float | None = None
) -> Path | None:
    """Run a stage to its end.

    Args:
        settings: The stage's.
        stage: Its name.
        resume: Go on from the last complete checkpoint of the run's folder; from the start if it has none.
        report: Called on the main process with each line of metrics, which has "step", "steps" and
            "seconds_left" beside what was measured.
        deadline: A time of `time.monotonic`; the first step that ends after it is the last one, and a
            checkpoint of it is saved.

    Returns:
        The folder of the finished model; None if the deadline came first.

    Raises:
        InputError: The folder holds another run, the data is faulty, or a setting does not fit the model.
        CheckpointError: The model cannot be loaded.
        TrainingError: The loss is not finite, or a checkpoint could not be written.
        KeyboardInterrupt: Interrupted; a checkpoint was saved.
    """
    folder = settings.run.folder
    model_folder = folder / MODEL_FOLDER
    checkpoints = Checkpoints(folder / CHECKPOINTS, settings.run.keep)
    checkpoint = checkpoints.newest()
    if processes.is_main():
        _check_folder(folder, settings, stage, resume)
    if resume and (model_folder / "config.json").is_file():
        return model_folder
    with ExitStack() as stack:
        examples = stack.enter_context(ExampleFile(settings.data.train, stage))
        validation = _validation(settings, stage)
        processes.join()
        if processes.is_main():
            _write_start(folder, settings, stage, examples)
        processes.wait_for_all()
        cache = (
            stack.enter_context(MemoryCache(folder / "scratch"))
            if STAGE_OF[stage].freezes_compressor
            else None
        )
        device, precision = processes.device(), _precision(settings)
        module = _module(settings, STAGE_OF[stage], checkpoint, cache).to(device)
        set_attention(module.model.base, device, precision.bfloat16)
        if settings.optimizer.sharding == "fsdp" and processes.num_processes() > 1:
            module.options = replace(module.options, rounds=processes.largest)
            shard(module, module.model.base.base_model)
        metrics = stack.enter_context(_Metrics(folder, report, tensorboard=settings.run.tensorboard))
        loop = TrainingLoop(
            module,
            settings,
            examples,
            validation,
            bfloat16=precision.bfloat16,
            checkpoints=checkpoints,
            report=metrics,
        )
        if checkpoint is not None:
            loop.restore(checkpoint)
        metrics.start(loop.step, loop.steps)
        interruption = stack.enter_context(_Interruption(deadline))
        if not loop.run(interruption.should_stop):
            if interruption.asked:
                raise KeyboardInterrupt
            return None
    temporary = folder / f"{MODEL_FOLDER}.new"
    save_model(module, temporary, write=processes.is_main())
    if processes.is_main():
        temporary.rename(model_folder)
        shutil.rmtree(folder / "scratch", ignore_errors=True)
    processes.wait_for_all()  # the next stage of a recipe reads the model
    return model_folder


def _validation(settings: Settings, stage: str) -> list[StageExample]:
    if not settings.data.validation:
        return []
    with ExampleFile(settings.data.validation, stage) as examples:
        return [examples[index] for index in range(len(examples))]


def _module(
    settings: Settings, stage: Stage, checkpoint: Path | None, cache: MemoryCache | None
) -> StageModule:
    """What is trained, as the settings or the checkpoint has it."""
    set_seed(settings.run.seed)
    model, processor = _load_model(settings, stage, checkpoint)
    if settings.optimizer.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return StageModule(model, processor, stage, _options(settings), settings.options.nested_rates, cache)


def _options(settings: Settings) -> ObjectiveOptions:
    return ObjectiveOptions(
        in_batch_negatives=settings.options.in_batch_negatives,
        contrastive_weight=settings.options.contrastive_weight,
        distillation_weight=settings.options.distillation_weight,
    )


def _load_model(
    settings: Settings, stage: Stage, checkpoint: Path | None
) -> tuple[ClaraModel, ClaraProcessor]:
    """The model to train, as the settings or the checkpoint has it, ready for the stage."""
    wanted = settings.model
    dtype = None if wanted.dtype == "auto" else getattr(torch, wanted.dtype)
    if checkpoint is not None:
        model, processor = loading.load(checkpoint / MODEL_FOLDER, dtype=dtype)
    elif wanted.path is not None:
        model, processor = loading.load(wanted.path, dtype=dtype)
    else:
        assert wanted.base is not None
        memory = ("compressor", "memory_layer", "compression_rate", "doc_max_tokens")
        names = (*memory, "query_max_tokens", "num_selected", "lora_rank", "lora_alpha", "lora_dropout")
        choices = {name: getattr(wanted, name) for name in names}
        model, processor = loading.from_base(wanted.base, dtype=dtype, **choices)
    for name in ("alignment_weight", "selection_temperature"):
        if (value := getattr(wanted, name)) is not None:
            setattr(model.config, name, value)
    if wanted.embedding_slots is not None:
        model.config.set_embedding_slots(wanted.embedding_slots or None)
    keep = wanted.keep_query_reasoner or checkpoint is not None
    prepare(model, stage, keep_query_reasoner=keep)
    return model, processor


def _precision(settings: Settings) -> Precision:
    wanted = settings.optimizer.precision
    if wanted == "auto":
        return native_precision(processes.device())
    return Precision(wanted == "bfloat16", "optimizer.precision")


# -- the folder -------------------------------------------------------------------------------------------


def _check_folder(folder: Path, settings: Settings, stage: str, resume: bool) -> None:
    """Refuse a folder that holds something else than this run."""
    known = folder / "settings.json"
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not known.is_file():
        raise InputError(f"{folder} holds something other than a training run; name another folder.")
    if not resume:
        raise InputError(f"{folder} holds a run already; go on with --resume, or name another folder.")
    before = json.loads(known.read_text(encoding="utf-8"))
    now = _resolved(settings, stage)
    changed = [
        f"{table}.{key}"
        for table, values in now.items()
        if isinstance(values, dict)
        for key, value in values.items()
        if before.get(table, {}).get(key) != value and (table, key) not in _MAY_CHANGE
    ]
    if before.get("stage") != stage:
        changed.append("stage")
    if changed:
        raise InputError(
            f"{folder} was started with another {', '.join(changed)}; resume it as it was, or name another "
            "folder."
        )


_MAY_CHANGE = {
    ("run", "folder"),
    ("run", "log_every"),
    ("run", "save_every"),
    ("run", "keep"),
    ("run", "tensorboard"),
    ("optimizer", "micro_batch_size"),
    ("optimizer", "gradient_checkpointing"),
    ("optimizer", "sharding"),
}
"""Settings that leave what is trained as it is."""


def _resolved(settings: Settings, stage: str) -> dict[str, Any]:
    return {"stage": stage, **settings.model_dump(mode="json")}


def _write_start(folder: Path, settings: Settings, stage: str, examples: ExampleFile) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "settings.json", _resolved(settings, stage))
    packages = ("torch", "transformers", "safetensors", "numpy")
    precision = _precision(settings)
    _tell_other_precision(folder / PROVENANCE_FILE, precision)
    write_json(
        folder / PROVENANCE_FILE,
        {
            **provenance(packages),
            "precision": precision.name,
            "precision_reason": precision.reason,
            "processes": processes.num_processes(),
            "examples": len(examples),
            "data": {str(path): file_sha256(path) for path in settings.data.train + settings.data.validation},
        },
    )


def _tell_other_precision(file: Path, precision: Precision) -> None:
    """Warn where the part of the run before a resume was computed in another precision."""
    if not file.is_file():
        return
    before = json.loads(file.read_text(encoding="utf-8")).get("precision", precision.name)
    if before != precision.name:
        logger.warning(
            "%s was trained in %s and goes on in %s (%s), so losses differ from an uninterrupted run.",
            file.parent,
            before,
            precision.name,
            precision.reason,
        )


# -- what goes on beside the steps ------------------------------------------------------------------------


class _Interruption:
    """Ctrl-C, a request to end and a deadline, each of which ends a run after the step in progress.

    Attributes:
        asked: Whether a signal came.
    """

    def __init__(self, deadline: float | None) -> None:
        self.asked = False
        self._deadline = deadline
        self._before: dict[int, Any] = {}

    def should_stop(self) -> bool:
        return self.asked or (self._deadline is not None and time.monotonic() >= self._deadline)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.signal(number, self._before[number])  # a second time ends it at once

    def __enter__(self) -> _Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *unused: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class _Metrics:
    """Adds rate and time left to each line of metrics, and writes it to the run's files.

    Args:
        folder: Of the run.
        report: Called with each line.
        tensorboard: Write event files too.

    Raises:
        MissingExtraError: Event files are wanted, and TensorBoard is not installed.
    """

    def __init__(self, folder: Path, report: Report, *, tensorboard: bool) -> None:
        self._report = report
        self._file = folder / METRICS_FILE
        self._events = _event_writer(folder / "tensorboard") if tensorboard and processes.is_main() else None
        self._started, self._first, self._last = time.perf_counter(), 0, 0

    def start(self, step: int, steps: int) -> None:
        """Begin to measure time, at a step of so many."""
        self._started, self._first, self._last = time.perf_counter(), step, steps

    def __call__(self, line: dict[str, float]) -> None:
        step = int(line["step"])
        seconds = (time.perf_counter() - self._started) / max(1, step - self._first)
        line = {
            **{name: round(value, 6) for name, value in line.items()},
            "step": step,
            "steps": self._last,
            "seconds_per_step": round(seconds, 4),
            "seconds_left": round((self._last - step) * seconds),
        }
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._events is not None:
            for name, value in line.items():
                self._events.add_scalar(name, value, step)
        self._report(line)

    def __enter__(self) -> _Metrics:
        return self

    def __exit__(self, *unused: object) -> None:
        if self._events is not None:
            self._events.close()


def _event_writer(folder: Path) -> Any:
    if version("tensorboard") is None:
        raise MissingExtraError("run.tensorboard needs TensorBoard; run: pip install 'clara-rag[train]'.")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))
