"""Settings are checked whole before anything is loaded, and a refusal names the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from clara.errors import InputError
from clara.training.settings import read_recipe, read_settings

GOOD = """\
[run]
folder = "run"
[model]
base = "somewhere"
[data]
train = ["a.jsonl"]
[optimizer]
learning_rate = 1e-3
batch_size = 4
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "train.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_and_overridden(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    settings = read_settings(
        path, "end-to-end", ["optimizer.steps=7", "run.folder=other", "data.train=['b']"]
    )
    assert settings.optimizer.learning_rate == 1e-3
    assert settings.optimizer.steps == 7
    assert settings.run.folder == Path("other")
    assert settings.data.train == [Path("b")]


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("batch_size = 4", "batch_sise = 4", 9, "optimizer.batch_sise is not a setting"),
        (
            "batch_size = 4",
            'batch_size = "4"',
            9,
            "optimizer.batch_size is '4': input should be a valid integer",
        ),
        ("batch_size = 4", "batch_size = 0", 9, "greater than or equal to 1"),
        ("1e-3", "true", 8, "optimizer.learning_rate is True"),
        ("[data]", "[date]", 5, "date is not a setting"),
        ('train = ["a.jsonl"]', "train = []", 6, "at least 1 item"),
        ('base = "somewhere"', 'base = "a"\npath = "b"', 3, "give either path"),
        (
            'base = "somewhere"',
            'path = "a"\nlora_rank = 3',
            3,
            "lora_rank cannot change in a model that exists",
        ),
        ("batch_size = 4", 'sharding = "zero"', 9, "optimizer.sharding is 'zero'"),
        ("batch_size = 4", 'precision = "float16"', 9, "optimizer.precision is 'float16'"),
        ("batch_size = 4", "[options]\nnested_rates = [4, 0]", 9, "nested_rates are"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, reason: str) -> None:
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError) as error:
        read_settings(path, "end-to-end")
    message = str(error.value)
    missing_table = "[date]" in new
    assert reason in message or (missing_table and "data is missing" in message)
    assert missing_table or f"train.toml, line {line}:" in message
    assert "\n" not in message


def test_what_is_no_settings_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_settings(tmp_path / "none.toml", "end-to-end")
    with pytest.raises(InputError, match="is not TOML"):
        read_settings(written(tmp_path, "= 3"), "end-to-end")
    path = written(tmp_path, GOOD)
    for change in ("steps", "optimizer..steps=1", "run.folder.x=1"):
        with pytest.raises(InputError, match="--set has"):
            read_settings(path, "end-to-end", [change])


RECIPE = (
    GOOD
    + """\
[stages.end-to-end.optimizer]
learning_rate = 1e-5
[stages.compression-pretraining.data]
train = ["p.jsonl"]
"""
)


def test_a_recipe_chains_its_stages(tmp_path: Path) -> None:
    stages = read_recipe(written(tmp_path, RECIPE))
    first, last = stages.values()
    assert list(stages) == ["compression-pretraining", "end-to-end"]
    assert (first.model.base, first.model.path) == ("somewhere", None)
    assert (last.model.base, last.model.path) == (None, "run/compression-pretraining/model")
    assert (first.data.train, last.data.train) == ([Path("p.jsonl")], [Path("a.jsonl")])
    assert (first.optimizer.learning_rate, last.optimizer.learning_rate) == (1e-3, 1e-5)
    alone = read_settings(written(tmp_path, RECIPE), "end-to-end")
    assert alone.optimizer.learning_rate == 1e-5


def test_a_later_stage_of_a_recipe_takes_what_is_said_of_any_model(tmp_path: Path) -> None:
    own = "[stages.end-to-end.model]\nkeep_query_reasoner = true\n"
    common = RECIPE.replace('base = "somewhere"', 'base = "somewhere"\nembedding_slots = 2\nlora_rank = 4')
    first, last = read_recipe(written(tmp_path, common + own)).values()
    assert (first.model.lora_rank, first.model.embedding_slots, last.model.embedding_slots) == (4, 2, 2)
    assert last.model.keep_query_reasoner
    for wrong in ("bogus = 3", "lora_rank = 4"):
        with pytest.raises(InputError, match=rf"model.*{wrong.split()[0]}"):
            read_recipe(written(tmp_path, RECIPE + own + wrong))


def test_a_fault_in_a_recipe_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 11: optimizer\.learning_rate is -1"):
        read_recipe(written(tmp_path, RECIPE.replace("1e-5", "-1")))
    with pytest.raises(InputError, match=r"line 10: 'end2end' is not a stage"):
        read_recipe(written(tmp_path, RECIPE.replace("stages.end-to-end", "stages.end2end")))
    with pytest.raises(InputError, match="names no stage"):
        read_recipe(written(tmp_path, GOOD))
