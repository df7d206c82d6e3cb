"""`clara evaluate` as its user sees it, over files and over a store."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from clara import cli
from clara.library import Library
from clara.pipeline import Clara
from conftest import WORDS, tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    network, processor = tiny_model("bert")
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    records = [
        {"id": "q", "question": "w1 w2", "answers": ["w5"], "document": "a.txt"},
        {"id": "r", "question": "w40", "answers": ["w45"], "document": "b.txt"},
    ]
    path = tmp_path / "asked.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def store(tmp_path: Path, model: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text(" ".join(WORDS[:30]), encoding="utf-8")
    (folder / "b.txt").write_text(" ".join(WORDS[40:50]), encoding="utf-8")
    with Library(Clara.from_pretrained(model), tmp_path / "store") as library:
        library.add(folder)
    return tmp_path / "store"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["clara", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_a_store_is_evaluated_with_its_own_memories(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    asked: Path,
    store: Path,
    model: Path,
    encoder: str,
) -> None:
    folder = tmp_path / "run"
    arguments = [asked, "--store", store, "--model", model, "--run", folder, "--encoder", encoder, "-k", 2]
    assert run(monkeypatch, *arguments) == 0
    captured = capsys.readouterr()
    assert "gold among 2" in captured.out
    assert "report.md" in captured.out
    assert "answering, full-text: 2 in" in captured.err
    figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    questions = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    assert len(questions[0]["gold"]) == 1  # of the passages of a.txt the one that holds the answer
    assert figures["passages"] > 2
    assert not (folder / "memories").exists()
    assert run(monkeypatch, *arguments) == 1
    assert "--resume" in capsys.readouterr().err
    assert run(monkeypatch, *arguments, "--resume", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["answers"] == figures["answers"]
    assert run(monkeypatch, "--compare", folder, folder) == 0
    assert "full-memory-4x" in capsys.readouterr().out
    assert run(monkeypatch, *arguments[:-2], "--rates", "8", "--run", tmp_path / "other") == 1
    assert "A store holds memories of one rate, 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "No data to evaluate on"),
        (["none.jsonl"], "does not exist"),
        (["asked.jsonl"], "come without passages"),
        (["asked.jsonl", "--rates", "four"], "whole numbers"),
        (["asked.jsonl", "--corpus", "asked.jsonl"], "field text or contents"),
        (["asked.jsonl", "--store", "none"], "no memory store"),
        (["--compare", ".", "."], "no finished evaluation"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asked: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(asked.parent)
    assert run(monkeypatch, *arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not Path("runs").exists()
