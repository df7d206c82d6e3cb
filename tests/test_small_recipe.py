"""The recipe of the small model, on a few sentences."""

from __future__ import annotations

import importlib.util
import json
import lzma
import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clara import loading
from clara.checkpoints.fingerprint import fingerprint

RECIPE = Path(__file__).parent.parent / "recipes" / "small"
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
        chosen = ("--continue-from", loading.packaged_folder(), "--parts", "reading-further")
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
    before = loading.load(loading.packaged_folder())[0]
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


def test_what_is_tested_on_is_not_trained_on(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("data", RECIPE / "data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    write(tmp_path, "squad11_dev", [record("dev", f"This is {SHARED}.", "What?", "a sentence", "")])
    some = [
        record("own", "Ada lives in Oslo.", "Where does Ada live?", "Oslo", "dev"),
        record("test", "Ben lives in Lima.", "Where does Ben live?", "Lima", "test"),
        record("shared", f"Here, too, is {SHARED}.", "What is here?", "a sentence", "dev"),
        record("unsaid", "Cleo lives in Rome.", "Who lives in Italy's capital?", "her", "dev"),
    ]
    write(tmp_path, "qamr", some)
    assert [example.id for example in module.qamr(tmp_path)] == ["own"]


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
