"""What a training run is told: a TOML file, checked whole before anything is loaded.

An unknown key, a value of another type or out of its range is refused with the line it stands in. A recipe
is the same file with a table per stage: `[stages.end-to-end.optimizer]` says what differs in that stage.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from clara.errors import InputError, MissingExtraError
from clara.training.data import ALL_STAGES

try:
    from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator
except ImportError as error:
    raise MissingExtraError("Training needs more packages; run: pip install 'clara-rag[train]'.") from error

Table = dict[str, Any]
# a text is not taken for a number, nor a number for a switch
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Switch = Annotated[bool, Strict()]


_MADE_WITH = {"compression_rate", "doc_max_tokens", "query_max_tokens", "num_selected"}
_MADE_WITH |= {"lora_rank", "lora_alpha", "lora_dropout"}
"""Settings of a new model that one which goes on keeps."""


class _Section(BaseModel):
    """A table; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Section):
    """The model to train.

    Attributes:
        path: Folder or hub id of a Clara model to go on from.
        base: Folder or hub id of a causal language model to make a new one on; instead of `path`.
        dtype: Of the weights that are not trained; those that are trained are always float32.
        compression_rate: Of a new model; this and the following as in `ClaraConfig`.
        doc_max_tokens: Of a new model.
        query_max_tokens: Of a new model.
        num_selected: Of a new model.
        compressor: Of a new model: "appended" or "pooled".
        memory_layer: Of a new model with pooled memories.
        lora_rank: Of a new model.
        lora_alpha: Of a new model.
        lora_dropout: Of a new model.
        alignment_weight: Of any model.
        embedding_slots: Of any model: search by the first r slots alone; 0 for all.
        selection_temperature: Of any model.
        keep_query_reasoner: End to end, go on with the model's query reasoner instead of starting it from the
            compressor.
    """

    path: str | None = None
    base: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    compression_rate: Whole = Field(16, ge=1)
    doc_max_tokens: Whole = Field(256, ge=1)
    query_max_tokens: Whole = Field(256, ge=1)
    num_selected: Whole = Field(5, ge=1)
    compressor: Literal["appended", "pooled"] = "appended"
    memory_layer: Whole = Field(0, ge=0)
    lora_rank: Whole = Field(16, ge=1)
    lora_alpha: Number = Field(32.0, gt=0)
    lora_dropout: Number = Field(0.1, ge=0, lt=1)
    alignment_weight: Number | None = Field(None, ge=0)
    embedding_slots: Whole | None = Field(None, ge=0)
    selection_temperature: Number | None = Field(None, gt=0)
    keep_query_reasoner: Switch = False

    @model_validator(mode="after")
    def _one_source(self) -> ModelSettings:
        if (self.path is None) == (self.base is None):
            raise ValueError("give either path (a Clara model) or base (a language model to start from)")
        if self.path is not None and (fixed := _MADE_WITH & self.model_fields_set):
            raise ValueError(f"{', '.join(sorted(fixed))} cannot change in a model that exists; give base")
        return self


class DataSettings(_Section):
    """Files of training data (`clara.training.data`).

    Attributes:
        train: JSON lines, plain or .xz.
        validation: Likewise; measured at every checkpoint.
    """

    train: list[Path] = Field(min_length=1)
    validation: list[Path] = []


class OptimizerSettings(_Section):
    """How the weights move.

    Attributes:
        learning_rate: Peak.
        batch_size: Examples of a step, over all processes.
        micro_batch_size: Examples that a process computes at once; the rest of its share is accumulated.
        epochs: Passes over the data, where `steps` is not given.
        steps: Steps in all.
        schedule: How the rate falls after the warm-up.
        warmup: Share of the steps over which the rate rises.
        clip: Largest norm of the gradient.
        weight_decay: Of AdamW.
        precision: Of the products; "auto" is bfloat16 where that is faster. float16 is not offered: it
            overflows.
        gradient_checkpointing: Recompute the layers in the backward pass to save memory.
        sharding: "fsdp" spreads weights, gradients and moments over the processes.
    """

    learning_rate: Number = Field(1e-4, gt=0)
    batch_size: Whole = Field(32, ge=1)
    micro_batch_size: Whole = Field(8, ge=1)
    epochs: Number = Field(1.0, gt=0)
    steps: Whole | None = Field(None, ge=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Number = Field(0.03, ge=0, lt=1)
    clip: Number = Field(1.0, gt=0)
    weight_decay: Number = Field(0.0, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    gradient_checkpointing: Switch = False
    sharding: Literal["none", "fsdp"] = "none"


class OptionSettings(_Section):
    """What goes beyond the paper (`clara.training.objectives.ObjectiveOptions`), off by default.

    Attributes:
        nested_rates: Rates of which each step draws one, so that one model serves them all.
        in_batch_negatives: Every document of the batch is a candidate of each question (end to end).
        contrastive_weight: Of the loss over labelled positives (end to end).
        distillation_weight: Of the divergence from the base reading plain text.
    """

    nested_rates: list[Whole] = []
    in_batch_negatives: Switch = False
    contrastive_weight: Number = Field(0.0, ge=0)
    distillation_weight: Number = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _positive_rates(self) -> OptionSettings:
        if any(rate < 1 for rate in self.nested_rates):
            raise ValueError(f"nested_rates are {self.nested_rates}, but must each be at least 1")
        return self


class RunSettings(_Section):
    """Where a run is kept and what it reports.

    Attributes:
        folder: Of the run; relative to where the command is started.
        seed: Of everything that is drawn.
        log_every: Steps between lines of metrics.
        save_every: Steps between checkpoints.
        keep: Checkpoints that are kept.
        tensorboard: Write event files too.
    """

    folder: Path
    seed: Whole = 0
    log_every: Whole = Field(10, ge=1)
    save_every: Whole = Field(500, ge=1)
    keep: Whole = Field(2, ge=1)
    tensorboard: Switch = False


class Settings(_Section):
    """Everything that one stage is told."""

    run: RunSettings
    model: ModelSettings
    data: DataSettings
    optimizer: OptimizerSettings = OptimizerSettings()
    options: OptionSettings = OptionSettings()


def read_settings(path: Path | str, stage: str, changes: Sequence[str] = ()) -> Settings:
    """The settings of a stage.

    Args:
        path: TOML file.
        stage: One of `ALL_STAGES`; of a recipe, its table is laid over the common ones.
        changes: "table.key=value" texts that override the file.

    Raises:
        InputError: The file is missing or not TOML, or a key or value is refused; the message has the line.
    """
    path = Path(path)
    text, table = _read(path)
    _apply(table, changes)
    stages = table.pop("stages", {})
    _check_stage_names(path, text, stages)
    return _checked(path, text, _laid_over(table, stages.get(stage, {})), ("stages", stage))


def read_recipe(path: Path | str, changes: Sequence[str] = ()) -> dict[str, Settings]:
    """The settings of every stage of a recipe, in the order of the method; each goes on from the one before.

    Args:
        path: TOML file with `[stages.<stage>...]` tables; a stage without a table is left out.
        changes: As for `read_settings`.

    Raises:
        InputError: As for `read_settings`, or the file names no stage.
    """
    path = Path(path)
    text, table = _read(path)
    _apply(table, changes)
    stages = table.pop("stages", {})
    _check_stage_names(path, text, stages)
    if not stages:
        raise InputError(f"{path} names no stage; add a [stages.<stage>] table for each.")
    made: dict[str, Settings] = {}
    root = Path(str(table.get("run", {}).get("folder", "")))
    before: Path | None = None
    for stage in (name for name in ALL_STAGES if name in stages):
        folder = root / stage
        chain: Table = {"run": {"folder": str(folder)}}
        if before is not None:
            chain["model"] = {"path": str(before / "model")}
        common = table if before is None else _of_any_model(table)
        own = _laid_over(_laid_over(common, stages[stage]), chain)
        made[stage] = _checked(path, text, own, ("stages", stage))
        before = folder
    return made


def _of_any_model(table: Table) -> Table:
    """The tables that all stages share without what is said there of a new model alone."""
    model = table.get("model")
    if not isinstance(model, dict):
        return table
    return {**table, "model": {key: model[key] for key in model.keys() - _MADE_WITH - {"base"}}}


def _read(path: Path) -> tuple[str, Table]:
    if not path.is_file():
        raise InputError(f"{path} does not exist or is not a file; name a TOML file.")
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}.") from error


def _apply(table: Table, changes: Sequence[str]) -> None:
    """Set "table.key=value" in place; a value that is no TOML is a text."""
    for change in changes:
        name, found, value = change.partition("=")
        keys = name.strip().split(".")
        if not found or not all(keys):
            raise InputError(f"--set has {change!r}, but takes table.key=value, as optimizer.steps=100.")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
        inner = table
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise InputError(f"--set has {change!r}, but {key} is not a table.")
        inner[keys[-1]] = parsed


def _check_stage_names(path: Path, text: str, stages: object) -> None:
    if not isinstance(stages, dict) or not all(isinstance(own, dict) for own in stages.values()):
        raise InputError(f"{path}: stages must hold a table per stage ({', '.join(ALL_STAGES)}).")
    for name in stages:
        if name not in ALL_STAGES:
            line = _line(text, ("stages", name))
            raise InputError(
                f"{path}{line}: {name!r} is not a stage; the stages are {', '.join(ALL_STAGES)}."
            )


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> Table:
    """The tables of `below` with those of `above` in their place, key by key."""
    made = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(made.get(key), dict):
            made[key] = _laid_over(made[key], value)
        else:
            made[key] = value
    return made


def _checked(path: Path, text: str, table: Table, prefix: tuple[str, str]) -> Settings:
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        keys = tuple(str(key) for key in first["loc"])
        line = _line(text, (*prefix, *keys)) or _line(text, keys)
        raise InputError(f"{path}{line}: {'.'.join(keys)} {_reason(first)}.") from error


def _reason(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "is not a setting"
    if error["type"] == "missing":
        return "is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"is refused: {message}"
    return f"is {error['input']!r}: {message[0].lower()}{message[1:]}"


def _line(text: str, keys: Sequence[str]) -> str:
    """ ", line N" of a key or, where it has none of its own, of the table nearest above; "" if none has."""
    table: tuple[str, ...] = ()
    places: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+([^\]]+)\]", line):
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            for end in range(1, len(table) + 1):
                places.setdefault(table[:end], number)
        elif entry := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            names = tuple(part.strip("\"'") for part in entry[1].split("."))
            places.setdefault((*table, *names), number)
    keys = tuple(keys)
    while keys:
        if keys in places:
            return f", line {places[keys]}"
        keys = keys[:-1]
    return ""
