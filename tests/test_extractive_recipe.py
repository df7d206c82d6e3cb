"""The recipe of the small model, on a few sentences."""

from __future__ import annotations

import importlib
import json
import lzma
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from clara import loading
from clara.errors import InputError
from clara.model.fingerprint import fingerprint
from clara.models import packaged_folder

RECIPE = Path(__file__).parent.parent / "recipes" / "extractive"
FACTS = [
    ("Ada", "Oslo"),
    ("Ben", "Lima"),
    ("Cleo", "Rome"),
    ("Dan", "Kyiv"),
    ("Eve", "Bern"),
    ("Finn", "Doha"),
]
SHARED = "a sentence of more than ten words which stands in a passage that is tested on"


def write(folder: Path, name: str, records: list[dict[str, object]]) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in records)
    with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
        file.write(lines)


def record(id: str, passage: str, question: str, answer: str, split: str) -> dict[str, object]:
    qas = [{"question": question, "answers": [answer]}]
    return {"id": id, "title": "", "passage": passage, "qas": qas, "split": split}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the recipe reads, some sentences in each."""
    folder = tmp_path_factory.mktemp("data")
    for name, split in (("squad11_train", ""), ("qamr", "dev"), ("fairytaleqa", "train")):
        some = [
            record(who, f"{who} has lived in {where}, says {name}.", f"Where has {who} lived?", where, split)
            for who, where in FACTS
        ]
        write(folder, name, some)
    write(folder, "squad11_dev", [record("dev", f"This is {SHARED}.", "What is this?", "a sentence", "")])
    documents = [{"title": "", "text": f"{who} moved to {where}."} for who, where in FACTS]
    asked = {
        "id": "t",
        "question": "Where did Ben move?",
        "answers": ["Lima"],
        "docs": documents,
        "gold": [1],
    }
    write(folder, "timeqa_human_train", [asked])
    return folder


class Recipe:
    """The recipe as it is called, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, data: Path, run: Path, *options: object) -> str:
        """What it prints."""
        command = [RECIPE / "train.py", "--data", data, "--run", run, *options]
        self._monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        self._monkeypatch.syspath_prepend(str(RECIPE))
        self._monkeypatch.delitem(sys.modules, "data", raising=False)
        runpy.run_path(str(RECIPE / "train.py"), run_name="__main__")
        return self._capsys.readouterr().out

    def further(self, data: Path, run: Path, *options: object) -> str:
        """What it prints when it goes on with reading for three steps."""
        chosen = ("--continue-from", packaged_folder("extractive"), "--parts", "reading-further")
        return self(data, run, *chosen, "--scale", "0.001", "--export", run / "model", *options)


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Recipe:
    return Recipe(monkeypatch, capsys)


def test_a_part_ends_as_the_mean_of_its_trainings_and_resumes(
    data: Path, tmp_path: Path, recipe: Recipe
) -> None:
    assert "{'reading-further': [3]}" in recipe.further(data, tmp_path, "--seeds", 1)
    assert "{'reading-further': [3, 3]}" in recipe.further(data, tmp_path)
    states = [
        load_file(tmp_path / name / "state.safetensors")
        for name in ("reading-further-0", "reading-further-1")
    ]
    before = loading.load(packaged_folder("extractive"))[0]
    model = loading.load(tmp_path / "model")[0]
    moved = 0
    for name, parameter in model.named_parameters():
        if ".base." in name:
            continue  # no role of the small model reads with these; a file without them loads the generator's
        ends = [state.get(f"parameter/{name}") for state in states]
        if ends[0] is None:
            torch.testing.assert_close(parameter, before.get_parameter(name))
            continue
        moved += not torch.equal(ends[0], ends[1])
        mean = torch.stack(ends).mean(dim=0)  # type: ignore[arg-type]
        step = mean.abs().amax(dim=-1, keepdim=True) / 127  # of int8
        assert ((parameter - mean).abs() <= 0.51 * step + 1e-6).all(), name
    assert moved > 0
    assert fingerprint(model) == fingerprint(before)
    written = load_file(tmp_path / "model" / "model.safetensors")
    recipe.further(data, tmp_path)  # all is trained already
    again = load_file(tmp_path / "model" / "model.safetensors")
    assert again.keys() == written.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in written.items())


@pytest.fixture
def module_of_recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of the recipe by its name."""
    monkeypatch.syspath_prepend(str(RECIPE))

    def imported(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return imported


def test_what_is_tested_on_is_not_trained_on(
    tmp_path: Path, module_of_recipe: Callable[[str], ModuleType]
) -> None:
    module = module_of_recipe("data")
    write(tmp_path, "squad11_dev", [record("dev", f"This is {SHARED}.", "What?", "a sentence", "")])
    some = [
        record("own", "Ada lives in Oslo.", "Where does Ada live?", "Oslo", "dev"),
        record("test", "Ben lives in Lima.", "Where does Ben live?", "Lima", "test"),
        record("shared", f"Here, too, is {SHARED}.", "What is here?", "a sentence", "dev"),
        record("unsaid", "Cleo lives in Rome.", "Who lives in Italy's capital?", "her", "dev"),
    ]
    write(tmp_path, "qamr", some)
    assert [example.id for example in module.qamr(tmp_path)] == ["own"]


NAMES = [
    f"{first} {last}" for first in ("Ada", "Ben", "Cleo", "Dan") for last in ("Moss", "Nord", "Orr", "Pike")
]


def test_questions_on_made_up_tables_have_one_answer(module_of_recipe: Callable[[str], ModuleType]) -> None:
    """It stands in the passage once, in a row that the question names, as reading line by line finds it."""
    passages = module_of_recipe("made_up_tables").made_up_tables(NAMES, 600)
    assert passages == module_of_recipe("made_up_tables").made_up_tables(NAMES, 600)
    asked = looked_up = 0
    for passage in passages:
        for question, (answer,) in passage.turns:
            assert passage.content.count(answer) == 1, (passage, question)
            asked += 1
            looked_up += answer in cells_of_rows_named(passage.content, question)
    assert asked > 1_000
    assert looked_up == asked


def cells_of_rows_named(text: str, question: str) -> set[str]:
    """Cells that are not in the question, of rows that have one that is."""
    first, *lines = text.split("\n")
    heading = first.rpartition(" > ")[2]
    if " | " in text:
        fields, *lines = [heading, *lines] if " | " in heading else lines
        rows = [dict(zip(fields.split(" | "), line.split(" | "), strict=True)) for line in lines]
    else:
        cells = (re.split(r" = |=|: ", line, maxsplit=1) for line in lines if not line.startswith("["))
        rows = [{"": heading} | {name.rpartition(".")[2]: value.strip('"') for name, value in cells}]
    return {
        value
        for row in rows
        if any(other in question for other in row.values())
        for value in row.values()
        if value not in question
    }


def test_too_few_names_for_made_up_tables(module_of_recipe: Callable[[str], ModuleType]) -> None:
    with pytest.raises(InputError, match="need 12 names or more; the data give 1"):
        module_of_recipe("made_up_tables").made_up_tables(["Ada"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--scale", 0.002), "reading-further-0 holds a training with steps 3, not 6; "),
        (("--only-export", "--seed", 5), "reading-further-5 holds no checkpoint to export; "),
        (("--scale", 0.0001), "reading-further has 33 passages and 0 steps; "),
    ],
)
def test_what_cannot_go_on_is_told_in_a_sentence(
    data: Path, tmp_path: Path, recipe: Recipe, options: tuple[object, ...], told: str
) -> None:
    recipe.further(data, tmp_path, "--seeds", 1)
    with pytest.raises(SystemExit, match=told):
        recipe.further(data, tmp_path, *options)


def test_data_that_are_missing_are_told_in_a_sentence(tmp_path: Path, recipe: Recipe) -> None:
    with pytest.raises(SystemExit, match=r"squad11_train.jsonl.xz does not exist or is not a file\."):
        recipe(tmp_path, tmp_path / "run")
