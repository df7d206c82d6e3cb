"""Runs of the stages: they learn, leave the rest alone, resume exactly, and are the same on two processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from clara import cli, roles
from clara.device import Precision
from clara.errors import InputError, TrainingError
from clara.loading import load
from clara.model.modeling import ClaraModel
from clara.training import run as run_module
from clara.training.run import train
from clara.training.settings import read_recipe, read_settings
from conftest import WORDS, tiny_base, tiny_tokenizer

STAGES = ("compression-pretraining", "instruction-tuning", "end-to-end")
Lines = list[dict[str, float]]


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a base, data of every stage (eight examples of each) and a recipe."""
    base = tiny_base("mistral")
    base.save_pretrained(tmp_path / "base")
    tiny_tokenizer("mistral").save_pretrained(tmp_path / "base")
    rng = random.Random(1)

    def text(count: int) -> str:
        return " ".join(rng.sample(WORDS, count))

    passages = [text(6) for _ in range(8)]
    write_lines(
        tmp_path / "compression-pretraining.jsonl",
        [
            {
                "data_type": "qa",
                "question": [text(2), text(1)],
                "answers": [text(1), text(2)],
                "docs": [passage],
            }
            if number % 2
            else {"data_type": "paraphrase", "question": [""], "answers": [text(4)], "docs": [passage]}
            for number, passage in enumerate(passages)
        ],
    )
    write_lines(
        tmp_path / "instruction-tuning.jsonl",
        [{"question": text(2), "docs": rng.sample(passages, 2), "answer": text(2)} for _ in range(8)],
    )
    write_lines(
        tmp_path / "end-to-end.jsonl",
        [
            {
                "question": text(2),
                "docs": rng.sample(passages, 2 + number % 3),
                "gold_answer": text(1),
                "pos_index": [number % 2],
            }
            for number in range(8)
        ],
    )
    tables = "".join(f'[stages.{stage}.data]\ntrain = ["{tmp_path / stage}.jsonl"]\n' for stage in STAGES)
    (tmp_path / "recipe.toml").write_text(
        f"""\
[run]
folder = "{tmp_path / "run"}"
log_every = 1
save_every = 2
[model]
base = "{tmp_path / "base"}"
doc_max_tokens = 16
compression_rate = 4
num_selected = 2
lora_dropout = 0.0
[data]
train = []
[optimizer]
learning_rate = 3e-3
batch_size = 4
micro_batch_size = 2
steps = 6
precision = "float32"
{tables}""",
        encoding="utf-8",
    )
    return tmp_path


def run(place: Path, stage: str, *changes: str, resume: bool = False) -> Lines:
    lines: Lines = []
    settings = read_settings(place / "recipe.toml", stage, changes)
    train(settings, stage, resume=resume, report=lines.append)
    return lines


def losses(lines: Lines) -> dict[int, float]:
    return {int(line["step"]): line["loss"] for line in lines if "loss" in line}


def of_roles(model: ClaraModel, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{path}": p.detach() for name in names for path, p in roles.role_parameters(model.base, name)
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_overfits_eight_examples_and_leaves_the_rest_alone(place: Path, stage: str) -> None:
    changes = (
        "optimizer.steps=120",
        "optimizer.batch_size=8",
        "optimizer.micro_batch_size=8",
        "run.save_every=500",
    )
    lines = run(place, stage, *changes, "optimizer.learning_rate=1e-2", "run.log_every=20")
    first, last = lines[0]["answer"], lines[-1]["answer"]
    assert last < 0.35 * first
    model, processor = load(place / "run" / "model")
    assert model.config.training_stage == stage
    trained = roles.ROLES[:1] + roles.ROLES[2:] if stage != STAGES[2] else roles.ROLES[1:]
    rest = tuple(name for name in roles.ROLES if name not in trained)
    # B of a fresh adapter is zero
    assert all(tensor.any() for path, tensor in of_roles(model, trained).items() if "lora_B" in path)
    assert not any(tensor.any() for path, tensor in of_roles(model, rest).items() if "lora_B" in path)
    base = tiny_base("mistral").state_dict()
    kept = roles.base_state(model.base)
    assert all(
        torch.equal(kept[name], tensor)
        for name, tensor in base.items()
        if "embed" not in name and "lm_head" not in name
    )
    rows = len(base["model.embed_tokens.weight"])
    memory_rows = model.config.memory_token_ids
    ordinary = [row for row in range(rows) if row not in memory_rows]
    assert torch.equal(model.input_rows[ordinary], base["model.embed_tokens.weight"][ordinary])
    assert processor.encode_questions(["w1 w2"])


def test_the_query_reasoner_starts_from_the_compressor(place: Path) -> None:
    run(place, STAGES[0])
    path = f"model.path={place / 'run' / 'model'}"
    alone = ("model.base={}", "")  # replaced below: a model that exists has no base
    text = (place / "recipe.toml").read_text()
    general = text.replace(text[text.index("base =") : text.index("[data]")], "").replace(
        "[model]\n", "[model]\n"
    )
    (place / "recipe.toml").write_text(general)
    del alone
    small = ("optimizer.learning_rate=1e-12", "optimizer.steps=1", f"run.folder={place / 'next'}")
    run(place, STAGES[2], path, *small)
    model, _ = load(place / "next" / "model")
    compressor, reasoner = (list(of_roles(model, (name,)).values()) for name in roles.ROLES[:2])
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(compressor, reasoner, strict=True))
    assert any(tensor.any() for tensor in compressor)


class KilledError(Exception):
    """Ends a run without letting it clean up."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_goes_on_as_if_it_had_not_been(place: Path, stage: str) -> None:
    whole = losses(run(place, stage, f"run.folder={place / 'whole'}"))
    settings = read_settings(place / "recipe.toml", stage)

    def dying(line: dict[str, float]) -> None:
        if line["step"] == 5:
            raise KilledError

    with pytest.raises(KilledError):
        train(settings, stage, resume=False, report=dying)
    # a checkpoint that was being written when the run was killed does not count
    broken = place / "run" / "checkpoints" / "checkpoint-6"
    broken.mkdir()
    with pytest.raises(InputError, match="holds a run already; go on with --resume"):
        run(place, stage)
    again = losses(run(place, stage, resume=True))
    assert list(again) == [5, 6]
    assert again == {step: whole[step] for step in again}
    one, other = (load(place / name / "model")[0] for name in ("run", "whole"))
    for (name, left), (_, right) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(left, right), name
    assert run(place, stage, resume=True) == []  # finished: nothing to do


def test_a_run_stops_at_its_deadline_and_goes_on_as_if_it_had_not(place: Path) -> None:
    stage = STAGES[0]
    whole = losses(run(place, stage, f"run.folder={place / 'whole'}"))
    settings = read_settings(place / "recipe.toml", stage, ())
    lines: Lines = []
    assert train(settings, stage, resume=False, report=lines.append, deadline=time.monotonic()) is None
    first, *rest = whole
    assert list(losses(lines)) == [first]
    again = losses(run(place, stage, resume=True))
    assert list(again) == rest
    assert losses(lines) | again == pytest.approx(whole, abs=1e-6)


def test_a_resumed_run_must_be_the_same(place: Path) -> None:
    run(place, STAGES[1], "optimizer.steps=2")
    (place / "other").mkdir()
    (place / "other" / "file").write_text("x")
    with pytest.raises(InputError, match=r"started with another optimizer\.learning_rate"):
        run(place, STAGES[1], "optimizer.steps=2", "optimizer.learning_rate=0.1", resume=True)
    with pytest.raises(InputError, match="something other than a training run"):
        run(place, STAGES[1], f"run.folder={place / 'other'}")


def test_a_folder_says_what_was_run(place: Path) -> None:
    lines = run(place, STAGES[2])
    folder = place / "run"
    assert json.loads((folder / "settings.json").read_text())["optimizer"]["steps"] == 6
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["examples"] == 8
    assert len(next(iter(provenance["data"].values()))) == 64
    assert [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] == lines
    complete = json.loads((folder / "checkpoints" / "checkpoint-6" / "complete.json").read_text())
    assert complete["step"] == 6
    assert len(complete["fingerprint"]) == 32
    assert {"recall@1", "recall@3", "recall@5"} <= lines[0].keys()
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "checkpoint-2",
        "checkpoint-4",
        "checkpoint-6",
    ]


def test_event_files_are_written_where_asked(place: Path) -> None:
    run(place, STAGES[1], "run.tensorboard=true", "optimizer.steps=2")
    (events,) = (place / "run" / "tensorboard").iterdir()
    assert events.stat().st_size > 0


def test_a_loss_that_is_not_finite_stops_with_a_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_module.StageModule.stage_loss
    calls: list[int] = []

    def failing(self: Any, examples: Any, options: Any) -> Any:
        loss = whole(self, examples, options)
        calls.append(1)
        if len(calls) == 7:  # the first share of step 4
            term = loss.terms["answer"]
            loss.terms["answer"] = type(term)(term.mean * float("nan"), term.count)
        return loss

    monkeypatch.setattr(run_module.StageModule, "stage_loss", failing)
    with pytest.raises(TrainingError, match="loss of step 4 is nan"):
        run(place, STAGES[1])
    monkeypatch.undo()
    assert list(losses(run(place, STAGES[1], resume=True))) == [3, 4, 5, 6]


def test_a_full_disk_keeps_the_checkpoint_before(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ClaraModel.save_pretrained

    def failing(self: Any, folder: Any, *arguments: Any, **options: Any) -> None:
        if "checkpoint-4" in str(folder):
            raise OSError(28, "No space left on device")
        whole(self, folder, *arguments, **options)

    monkeypatch.setattr(ClaraModel, "save_pretrained", failing)
    with pytest.raises(TrainingError, match=r"step 4 could not be written .* No space left on device"):
        run(place, STAGES[0])
    monkeypatch.undo()
    checkpoints = place / "run" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["checkpoint-2"]
    assert list(losses(run(place, STAGES[0], resume=True))) == [3, 4, 5, 6]


def test_the_precision_is_recorded_and_a_resume_in_another_one_is_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run_in(precision: Precision, resume: bool) -> dict[str, Any]:
        monkeypatch.setattr(run_module, "native_precision", lambda device: precision)
        run(place, STAGES[0], "optimizer.precision=auto", "optimizer.steps=4", resume=resume)
        return json.loads((place / "run" / "provenance.json").read_text())  # type: ignore[no-any-return]

    def told() -> list[str]:
        return [one.message for one in caplog.records if one.name == run_module.__name__]

    recorded = run_in(Precision(False, "CPU lacks it"), resume=False)
    assert (recorded["precision"], recorded["precision_reason"]) == ("float32", "CPU lacks it")
    assert not told()
    shutil.rmtree(place / "run" / "model")
    shutil.rmtree(place / "run" / "checkpoints" / "checkpoint-4")
    recorded = run_in(Precision(True, "CPU has it"), resume=True)
    assert recorded["precision"] == "bfloat16"
    (message,) = told()
    assert all(fact in message for fact in (str(place / "run"), "in float32", "in bfloat16", "CPU has it"))


def test_ctrl_c_saves(place: Path) -> None:
    arguments = ["train", STAGES[1], str(place / "recipe.toml"), "--set", "run.save_every=1000"]
    steps = ["--set", "optimizer.steps=100000", "--set", "optimizer.schedule=constant"]
    process = subprocess.Popen(
        [sys.executable, "-m", "clara", *arguments, *steps],
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    metrics = place / "run" / "metrics.jsonl"
    until = time.monotonic() + 120
    while not (metrics.is_file() and metrics.read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors.decode()
    assert b"Interrupted" in errors
    assert b"Traceback" not in errors
    (checkpoint,) = (place / "run" / "checkpoints").iterdir()
    assert (checkpoint / "complete.json").is_file()


def test_gradient_checkpointing_changes_nothing(place: Path) -> None:
    for stage in STAGES:
        plain = losses(run(place, stage, f"run.folder={place / stage / 'plain'}", "optimizer.steps=3"))
        saving = losses(
            run(
                place,
                stage,
                f"run.folder={place / stage / 'saving'}",
                "optimizer.steps=3",
                "optimizer.gradient_checkpointing=true",
            )
        )
        assert saving == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("sharding", ["none", "fsdp"])
def test_two_processes_are_one_with_their_batches_together(place: Path, sharding: str) -> None:
    for stage, settings in read_recipe(place / "recipe.toml").items():
        train(settings, stage, resume=False, report=lambda line: None)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "clara", "train"]
    options = [f"run.folder={place / 'two'}", f"optimizer.sharding={sharding}"]
    changes = [part for option in options for part in ("--set", option)]
    result = subprocess.run(
        [sys.executable, *command, "recipe", str(place / "recipe.toml"), *changes],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for stage in STAGES:
        alone, together = (
            [json.loads(line) for line in (place / name / stage / "metrics.jsonl").read_text().splitlines()]
            for name in ("run", "two")
        )
        assert len(alone) == len(together) == 6
        for left, right in zip(alone, together, strict=True):
            for name in ("loss", "answer", "grad_norm"):
                assert right[name] == pytest.approx(left[name], abs=2e-4), (stage, name)
        models = [load(place / name / stage / "model")[0] for name in ("run", "two")]
        for name, left in models[0].named_parameters():
            torch.testing.assert_close(dict(models[1].named_parameters())[name], left, atol=1e-3, rtol=1e-3)


def test_a_sharded_run_goes_on_as_if_it_had_been_one_process(place: Path) -> None:
    stage = STAGES[1]
    whole = losses(run(place, stage, f"run.folder={place / 'whole'}"))
    result = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
            *("-m", "clara", "train", stage, str(place / "recipe.toml"), "--minutes", "0"),
            *("--set", "optimizer.sharding=fsdp"),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "The time is up" in result.stdout
    again = losses(run(place, stage, resume=True))
    assert list(again) == [2, 3, 4, 5, 6]
    assert again == pytest.approx({step: whole[step] for step in again}, abs=1e-5)


def test_from_a_base_and_data_to_an_answer(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def clara(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["clara", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    recipe, model, store = place / "recipe.toml", place / "run/end-to-end/model", place / "store"
    broken = place / "broken.jsonl"
    broken.write_text('{"question": "w1"}\n')
    change = f'stages.end-to-end.data.train=["{broken}"]'
    assert clara("train", "recipe", recipe, "--set", change) == 1
    assert "broken.jsonl, line 1" in capfd.readouterr().err
    assert not (place / "run").exists()  # told before the first stage
    assert clara("train", "recipe", recipe) == 0
    documents = place / "documents"
    documents.mkdir()
    (documents / "a.txt").write_text(" ".join(WORDS[:12]))
    assert clara("index", documents, "--store", store, "--model", model) == 0
    capfd.readouterr()
    assert clara("ask", "w3 w4", "--store", store, "--model", model, "--json") == 0
    printed, noise = capfd.readouterr()
    assert json.loads(printed)["sources"][0]["file"].endswith("a.txt")
    assert noise == ""
