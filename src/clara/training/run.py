"""A training run: a folder that says what was run, on what, and how far it came.

run/
  settings.json     the settings as resolved
  provenance.json   versions, precision, git commit, data files with their hashes, machine
  metrics.jsonl     one line per report
  checkpoints/      checkpoint-<step>/: the model, the Trainer's state, complete.json
  model/            the finished model
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_utils import SchedulerType

from clara import loading
from clara.device import Precision, native_precision, set_attention
from clara.errors import InputError, MissingExtraError
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor
from clara.provenance import file_sha256, provenance, version, write_json
from clara.training.data import ExampleFile, StageExample
from clara.training.memory_cache import MemoryCache
from clara.training.objectives import ObjectiveOptions
from clara.training.settings import Settings
from clara.training.sharding import most, shard
from clara.training.stages import STAGE_OF, Stage, StageModule, prepare
from clara.training.trainer import COMPLETE_FILE, MODEL_FOLDER, StageTrainer, save_model

Report = Callable[[dict[str, float]], None]
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
    if version("accelerate") is None:
        raise MissingExtraError("Training needs more packages; run: pip install 'clara-rag[train]'.")
    folder = settings.run.folder
    model_folder = folder / MODEL_FOLDER
    checkpoint = _last_checkpoint(folder / CHECKPOINTS)
    if _is_main():
        _check_folder(folder, settings, stage, resume)
    if resume and (model_folder / "config.json").is_file():
        return model_folder
    with ExitStack() as files:
        examples = files.enter_context(ExampleFile(settings.data.train, stage))
        validation = _validation(settings, stage)
        arguments = _arguments(settings, len(examples))  # joins the processes
        _log_directory(folder, settings)
        if _is_main():
            _write_start(folder, settings, stage, examples)
        _wait_for_all()
        cache = files.enter_context(MemoryCache(folder / "scratch")) if stage == "end-to-end" else None
        module = _module(settings, STAGE_OF[stage], checkpoint, cache)
        set_attention(module.model.base, arguments.device, arguments.bf16)
        if settings.optimizer.sharding == "fsdp" and dist.is_initialized():
            module.options = replace(module.options, rounds=most)
            shard(module.to(arguments.device), module.model.base.base_model)
        clock = _Clock(report, folder / METRICS_FILE)
        interruption = _Interruption(deadline)
        trainer = StageTrainer(module, arguments, examples, validation, clock, [interruption, clock])
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.state.global_step < trainer.state.max_steps:
        if interruption.asked:
            raise KeyboardInterrupt
        return None
    temporary = folder / f"{MODEL_FOLDER}.new"
    save_model(module, temporary, write=_is_main())
    if _is_main():
        temporary.rename(model_folder)
        shutil.rmtree(folder / "scratch", ignore_errors=True)
    _wait_for_all()  # the next stage of a recipe reads the model
    return model_folder


def _wait_for_all() -> None:
    if dist.is_initialized():
        dist.barrier()


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


def _arguments(settings: Settings, num_examples: int) -> TrainingArguments:
    wanted, run = settings.optimizer, settings.run
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if wanted.batch_size % processes:
        raise InputError(
            f"optimizer.batch_size is {wanted.batch_size}, but must be a multiple of the {processes} "
            "processes."
        )
    share = wanted.batch_size // processes
    micro = next(size for size in range(min(share, wanted.micro_batch_size), 0, -1) if share % size == 0)
    steps = wanted.steps or max(1, round(wanted.epochs * num_examples / wanted.batch_size))
    device = _device()
    return TrainingArguments(
        output_dir=str(run.folder / CHECKPOINTS),
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=share // micro,
        learning_rate=wanted.learning_rate,
        lr_scheduler_type={
            "cosine": SchedulerType.COSINE,
            "linear": SchedulerType.LINEAR,
            "constant": SchedulerType.CONSTANT_WITH_WARMUP,
        }[wanted.schedule],
        warmup_steps=round(wanted.warmup * steps),
        max_grad_norm=wanted.clip,
        weight_decay=wanted.weight_decay,
        bf16=_precision(settings).bfloat16,
        use_cpu=device.type == "cpu",
        deepspeed=None if wanted.deepspeed is None else str(wanted.deepspeed),
        ddp_find_unused_parameters=False,
        ddp_backend="gloo" if device.type == "cpu" and processes > 1 else None,
        seed=run.seed,
        data_seed=run.seed,
        logging_steps=run.log_every,
        logging_nan_inf_filter=False,
        save_steps=run.save_every,
        save_total_limit=run.keep + 1,
        dataloader_drop_last=num_examples >= wanted.batch_size,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=["tensorboard"] if run.tensorboard else [],
    )


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _precision(settings: Settings) -> Precision:
    wanted = settings.optimizer.precision
    if wanted == "auto":
        return native_precision(_device())
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
    ("optimizer", "deepspeed"),
}
"""Settings that leave what is trained as it is."""


def _resolved(settings: Settings, stage: str) -> dict[str, Any]:
    return {"stage": stage, **settings.model_dump(mode="json")}


def _write_start(folder: Path, settings: Settings, stage: str, examples: ExampleFile) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "settings.json", _resolved(settings, stage))
    packages = ("torch", "transformers", "accelerate", "safetensors", "numpy")
    precision = _precision(settings)
    _tell_other_precision(folder / PROVENANCE_FILE, precision)
    write_json(
        folder / PROVENANCE_FILE,
        {
            **provenance(packages),
            "precision": precision.name,
            "precision_reason": precision.reason,
            "processes": dist.get_world_size() if dist.is_initialized() else 1,
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


def _last_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint of the latest step."""
    found = [
        (int(match[1]), path)
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and (path / COMPLETE_FILE).is_file()
    ]
    return max(found)[1] if found else None


def _is_main() -> bool:
    """Whether this is the first process; known before they are joined."""
    return int(os.environ.get("RANK", "0")) == 0


def _log_directory(folder: Path, settings: Settings) -> None:
    if settings.run.tensorboard:
        if version("tensorboard") is None:
            raise MissingExtraError("run.tensorboard needs TensorBoard; run: pip install 'clara-rag[train]'.")
        os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")


# -- what goes on beside the steps ------------------------------------------------------------------------


class _Interruption(TrainerCallback):
    """Ctrl-C, a request to end and a deadline give a checkpoint after the step in progress, and the end."""

    def __init__(self, deadline: float | None) -> None:
        self.asked = False
        self._deadline = deadline
        self._before: dict[int, Any] = {}

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.signal(number, self._before[number])  # a second time ends it at once

    def on_train_begin(self, *unused: Any, **also: Any) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)

    def on_step_end(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        asked = torch.tensor(int(self.asked or is_late), device=args.device)
        if dist.is_initialized():
            dist.all_reduce(asked, dist.ReduceOp.MAX)
        if asked and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(self, *unused: Any, **also: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class _Clock(TrainerCallback):
    """Adds rate and time left to each line of metrics, and writes it to the run's file."""

    def __init__(self, report: Report, file: Path) -> None:
        self._report = report
        self._file = file
        self._started, self._first, self._last = time.perf_counter(), 0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **unused: Any) -> None:
        self._started, self._first, self._last = time.perf_counter(), state.global_step, state.max_steps

    def __call__(self, line: dict[str, float]) -> None:
        step = int(line["step"])
        seconds = (time.perf_counter() - self._started) / max(1, step - self._first)
        if "train_runtime" in line:  # the Trainer's summary, which says nothing new
            return
        line = {
            **{name: round(value, 6) for name, value in line.items()},
            "step": step,
            "steps": self._last,
            "seconds_per_step": round(seconds, 4),
            "seconds_left": round((self._last - step) * seconds),
        }
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._report(line)
