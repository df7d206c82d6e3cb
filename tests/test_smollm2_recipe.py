"""The recipe of the compressing model: its data on made-up files, and its settings."""

from __future__ import annotations

import json
import lzma
import random
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from clara.training.data import JOINT, STAGES, check_data
from clara.training.examples import EndToEndExample, JointExample
from clara.training.settings import read_recipe
from conftest import read_stage

RECIPE = Path(__file__).parent.parent / "recipes" / "smollm2"
NAMES = ("Ada", "Bo", "Cy", "Di", "Ed", "Flo", "Gus", "Hal")


def write(path: Path, records: list[dict[str, Any]]) -> None:
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Files of the public data's form: four articles of three passages, texts and pairs."""
    rng = random.Random(0)

    def passage(number: int) -> dict[str, Any]:
        name, year = rng.choice(NAMES), rng.randrange(1800, 1999)
        text = f"In {year} {name} built mill {number} by the river. It had {number} wheels and a red roof."
        qas = [
            {"question": f"Who built mill {number}?", "answers": [name]},
            {"question": f"When was mill {number} built?", "answers": [str(year)]},
        ]
        return {"id": str(number), "title": f"Mills {number // 3}", "passage": text, "qas": qas}

    passages = [passage(number) for number in range(12)]
    write(tmp_path / "squad11_train.jsonl.xz", passages)
    for name in ("fairytaleqa", "qamr"):
        parts = [{**record, "split": split} for record in passages for split in ("train", "dev", "test")]
        for record in parts:
            record["passage"] = f"{record['split']}: {record['passage']}"
        write(tmp_path / f"{name}.jsonl.xz", parts)
    times = [
        {
            "question": record["qas"][0]["question"],
            "answers": record["qas"][0]["answers"],
            "docs": [{"title": record["title"], "text": record["passage"]}],
            "gold": [0],
        }
        for record in passages
    ]
    write(tmp_path / "timeqa_human_train.jsonl.xz", times)
    text = " ".join(record["passage"] for record in passages)
    write(tmp_path / "text_wiki_train.0.jsonl.xz", [{"title": "Mills", "text": text}] * 20)
    for name in ("paraphrase_wikisplit", "paraphrase_onestopenglish"):
        write(tmp_path / f"{name}.jsonl.xz", [{"text": "Ada went home.", "paraphrases": ["Ada left."]}] * 9)
    return tmp_path


def run(script: str, *arguments: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(RECIPE / script), run_name="__main__")


def test_examples_of_joint_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "joint.jsonl"
    run("data.py", data, target, "--examples", "60", monkeypatch=monkeypatch)
    assert check_data(target).stage == JOINT
    examples = [example for example in read_stage(target, JOINT) if isinstance(example, JointExample)]
    assert len(examples) == 60
    # held-out parts are nowhere
    texts = {text for example in examples for text in example.documents}
    assert not any("test: " in text for text in texts)
    groups = [example for example in examples if len(example.documents) == 5]
    assert 30 < len(groups) < 50
    for example in groups:
        for search in example.searches:
            assert search.question.split()[-1] or example.documents[search.document]
        for row in example.rows:
            read = " ".join(example.documents[at] for at in row.documents)
            for turn in row.turns:
                assert turn.answer is None or turn.answer in read
    for example in examples:
        if len(example.documents) == 1:
            ((_, text),) = [(row, example.documents[0]) for row in example.rows]
            for turn in example.rows[0].turns:
                assert turn.prompt == "In other words:" or (turn.answer or "") in " ".join(text.split())


def test_examples_of_search(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "search.jsonl"
    arguments = ("--passages", "12", "--questions", "10")
    run("search_data.py", data / "squad11_train.jsonl.xz", target, *arguments, monkeypatch=monkeypatch)
    examples = [example for example in read_stage(target, STAGES[2]) if isinstance(example, EndToEndExample)]
    assert len(examples) == 10
    for example in examples:
        (gold,) = example.positives
        assert example.answer in example.documents[gold]


def test_the_recipe_trains_jointly_and_then_end_to_end() -> None:
    stages = read_recipe(RECIPE / "recipe.toml")
    assert list(stages) == [JOINT, "end-to-end"]
    assert stages[JOINT].model.compressor == "pooled"
    assert stages["end-to-end"].model.path == "runs/smollm2/joint/model"
    assert stages["end-to-end"].model.keep_query_reasoner
