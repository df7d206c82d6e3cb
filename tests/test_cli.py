"""The command as its user sees it: output, exit codes, and one sentence for every bad input."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from clara import cli
from conftest import WORDS, tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    network, processor = tiny_model("bert")
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.txt").write_text(" ".join(WORDS[:20]), encoding="utf-8")
    (folder / "b.md").write_text("# w70\n\n" + " ".join(WORDS[20:30]), encoding="utf-8")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of `clara ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["clara", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, documents: Path, model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    assert run(monkeypatch, "index", documents, "--store", folder, "--model", model) == 0
    return folder


def test_index_tells_what_it_did(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    documents: Path,
    model: Path,
    store: Path,
) -> None:
    out = capsys.readouterr().out
    assert "Documents: 2 added." in out
    assert "The store holds 2 documents" in out
    (documents / "c.txt").write_text("w3", encoding="utf-8")
    (documents / "a.txt").unlink()
    arguments = ("index", documents, "--store", store, "--model", model, "--remove-vanished", "--json")
    assert run(monkeypatch, *arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["added"], report["unchanged"], report["removed"]) == (1, 1, 1)
    assert report["store"]["documents"] == 2


def test_ask_prints_the_answer_then_its_sources(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, store: Path
) -> None:
    capsys.readouterr()
    assert run(monkeypatch, "ask", "w1 w2", "--store", store, "--model", model, "-k", 2, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["question"] == "w1 w2"
    assert [source["rank"] for source in answer["sources"]] == [1, 2]
    assert run(monkeypatch, "ask", "w1 w2", "--store", store, "--model", model, "-k", 2) == 0
    printed = capsys.readouterr().out
    assert printed.index(answer["text"] or "(no answer)") < printed.index("Sources")
    for source in answer["sources"]:
        assert Path(source["file"]).name in printed
        assert f"{source['score']:.3f}" in printed
    lines = printed.splitlines()
    (taken,) = [line for line in lines if "(the answer is from here)" in line]
    place = [source["id"] for source in answer["sources"]].index(answer["taken_from"])
    assert taken.startswith(f"{place + 1}. ")
    assert ("Doubtful" in printed) == answer["is_doubtful"] == (answer["confidence"] < 0)


def test_search_shows_the_ranking(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, store: Path
) -> None:
    capsys.readouterr()
    assert run(monkeypatch, "search", "w1 w2", "--store", store, "--model", model, "--json") == 0
    results = json.loads(capsys.readouterr().out)["results"]
    scores = [result["score"] for result in results]
    assert scores == sorted(scores, reverse=True)
    assert run(monkeypatch, "search", "w1 w2", "--store", store, "--model", model) == 0
    assert "1. " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "nowhere"], "nowhere does not exist"),
        (["index", "."], "holds no file to read"),
        (["ask", "  "], "question is empty"),
        (["ask", "w1", "--store", "nowhere"], "There is no store at nowhere"),
        (["search", "w1", "--store", "nowhere"], "There is no store at nowhere"),
        (["convert", "nowhere", "target"], "nowhere is not a folder"),
        (["train", "pretraining", "nowhere.toml"], "The stage is 'pretraining', but must be one of"),
        (["train", "end-to-end", "nowhere.toml"], "nowhere.toml does not exist"),
        (["data", "mine", "nowhere", "target"], "nowhere does not exist"),
        (["data", "mine", "nowhere", "target", "--by", "luck"], "--by is 'luck'"),
    ],
)
def test_bad_input_is_one_sentence_and_a_failure(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("Error: ")
    assert error.count("\n") == 1


def test_a_named_file_that_cannot_be_read_fails_but_the_others_are_stored(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    documents: Path,
    model: Path,
    tmp_path: Path,
) -> None:
    binary = tmp_path / "x.txt"
    binary.write_bytes(bytes(range(256)))
    store = tmp_path / "store"
    assert run(monkeypatch, "index", documents, binary, "--store", store, "--model", model) == 1
    captured = capsys.readouterr()
    assert "Documents: 2 added, 1 skipped." in captured.out
    assert "Skipped: " in captured.err


def test_names_of_files_neither_break_lines_nor_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "a\n\x1b[31mb.txt").write_text("w1 \x1b[1mw2\x1b[0m w3 w4 w5\n", encoding="utf-8")
    (files / "c\n\x1b[31md.txt").write_bytes(bytes(range(32)) * 9)
    arguments = ("--store", tmp_path / "store", "--model", model)
    assert run(monkeypatch, "index", files, *arguments) == 0
    assert "c\\n\\x1b[31md.txt is a binary file" in capsys.readouterr().err
    assert run(monkeypatch, "search", "w1", *arguments) == 0
    shown = capsys.readouterr().out
    assert "a\\n\\x1b[31mb.txt" in shown
    assert "w1 w2 w3 w4 w5" in shown


def test_a_missing_model_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path
) -> None:
    capsys.readouterr()
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(monkeypatch, "ask", "w1", "--store", store, "--model", empty) == 1
    assert capsys.readouterr().err.startswith("Error: ")


def commands(group: Any, *names: str) -> Iterator[tuple[str, ...]]:
    """The names of every command and group, from the top."""
    yield names
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *names, name)


@pytest.mark.parametrize("names", list(commands(typer.main.get_command(cli.app))))
def test_every_command_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *names, "--help") == 0
    assert f"clara {' '.join(names)}".strip() in " ".join(capsys.readouterr().out.split())


def test_help_and_input_errors_load_neither_torch_nor_transformers(tmp_path: Path) -> None:
    code = (
        "import sys; from clara import cli; sys.argv = ['clara', *sys.argv[1:]]\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
        "print('heavy' if heavy else 'light', file=sys.stderr)"
    )
    (tmp_path / "data.jsonl").write_text('{"question": "a?", "docs": ["b"], "gold_answer": "c"}\n')
    for arguments in (
        ["--help"],
        ["--version"],
        ["index", "nowhere"],
        ["ask", "", "--store", "nowhere"],
        ["data", "check", "data.jsonl"],
        ["train", "end-to-end", "nowhere.toml"],
        ["evaluate", "nowhere.jsonl"],
    ):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stderr.splitlines()[-1] == "light", arguments


def test_data_check_fails_where_lines_are_faulty(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text('{"question": "a?", "docs": ["b"], "gold_answer": "c"}\nnonsense\n')
    assert run(monkeypatch, "data", "check", file) == 1
    out = capsys.readouterr().out
    assert "1 examples of end-to-end" in out
    assert "Line 2: not JSON" in out
    assert run(monkeypatch, "data", "check", file, "--json") == 1
    assert json.loads(capsys.readouterr().out)["faults"][0][0] == 2


def test_a_store_that_lost_a_file_is_mended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(store, broken)
    (broken / "segments" / "memories-000001.f16").unlink()
    assert run(monkeypatch, "store", "info", "-s", broken) == 1
    assert "memories-000001.f16 is damaged" in capsys.readouterr().err
    assert run(monkeypatch, "store", "check", "-s", broken, "--json") == 1
    assert json.loads(capsys.readouterr().out)["damaged"]
    assert run(monkeypatch, "store", "check", "-s", broken, "--drop-damaged") == 1
    assert run(monkeypatch, "store", "check", "-s", broken) == 0
    assert run(monkeypatch, "store", "info", "-s", broken) == 0


def test_a_store_is_looked_after(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path
) -> None:
    def told(*arguments: object) -> dict[str, Any]:
        capsys.readouterr()
        assert run(monkeypatch, "store", *arguments, "--json") == 0
        return dict(json.loads(capsys.readouterr().out))

    before = told("info", "-s", store)
    assert before["passages"] > 0
    assert told("check", "-s", store)["faults"] == []
    assert told("compact", "-s", store, "--memory-dtype", "int8")["memory_dtype"] == "int8"
    assert told("info", "-s", store)["memory_bytes"] < before["memory_bytes"]
    assert told("index", "-s", store)["passages"] == before["passages"]
    exported, again = tmp_path / "exported", tmp_path / "again"
    assert told("export", exported, "-s", store)["documents"] == before["documents"]
    assert told("import", exported, "-s", again)["passages"] == before["passages"]
    assert run(monkeypatch, "store", "import", exported, "-s", again) == 1
    assert "already holds a memory store" in capsys.readouterr().err
    for words, command in (
        ("All is well", "check"),
        ("int8", "info"),
        ("memories are int8", "compact"),
        ("of the best 100", "index"),
    ):
        capsys.readouterr()
        assert run(monkeypatch, "store", command, "-s", again) == 0
        assert words in " ".join(capsys.readouterr().out.split())
    segment = next((again / "segments").glob("memories-*"))
    segment.write_bytes(b"\xff" + segment.read_bytes()[1:])
    assert run(monkeypatch, "store", "check", "-s", again) == 1
    assert "--drop-damaged" in capsys.readouterr().out
    assert run(monkeypatch, "store", "info", "-s", tmp_path / "none") == 1
    assert "There is no store" in capsys.readouterr().err


def test_search_options_change_what_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path, model: Path
) -> None:
    def found(*options: object) -> dict[str, Any]:
        capsys.readouterr()
        assert run(monkeypatch, "search", "w25 w26", "-s", store, "-m", model, "--json", *options) == 0
        return dict(json.loads(capsys.readouterr().out))

    assert {one["file"][-2:] for one in found("-k", 9)["results"]} == {"xt", "md"}
    assert {one["file"][-2:] for one in found("-k", 9, "-w", "format=md")["results"]} == {"md"}
    assert "steps" not in found()
    assert {step["name"] for step in found("--hybrid", "--explain")["steps"]} == {"exact", "words", "fused"}
    assert {step["name"] for step in found("--no-hybrid", "--explain")["steps"]} == {"exact"}
    first = found("-k", 1, "--context", 1)["results"][0]
    assert first["text"] in first["context"]
    assert run(monkeypatch, "search", "w1", "-s", store, "-m", model, "-w", "nonsense") == 1
    assert "cannot be understood" in capsys.readouterr().err
    assert run(monkeypatch, "ask", "w1", "-s", store, "-m", model, "-w", "format=pdf") == 1
    assert "No passage of the store meets the conditions" in capsys.readouterr().err
    assert run(monkeypatch, "search", "w1", "-s", store, "-m", model, "--explain") == 0
    assert "passages could be returned" in capsys.readouterr().out


def test_records_and_the_standard_input_are_indexed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"body": "w1 w2 w3", "author": "Kim", "note": "w9"}\n')
    (tmp_path / "in" / "b.csv").write_text("body,author\nw4 w5,Lee\n")
    (tmp_path / "in" / "skipped.txt").write_text("w6")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"w7 w8")))
    fields = ("--text-fields", "body", "--metadata-fields", "author", "--ignore", "skipped*")
    arguments = ("index", tmp_path / "in", "-", "-s", tmp_path / "s", "-m", model, *fields, "--json")
    assert run(monkeypatch, *arguments, "--memory-dtype", "int4") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["added"], report["store"]["memory_dtype"]) == (3, "int4")
    search = ("search", "w1", "-s", tmp_path / "s", "-m", model, "--json")
    assert run(monkeypatch, *search, "-w", "author=Kim") == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["metadata"], result["lines"]) == ({"author": "Kim"}, [1, 1])
    assert "w9" not in result["text"]
    # the same files are passed over, unless they are read by other fields
    again = ("index", tmp_path / "in", "-s", tmp_path / "s", "-m", model, *fields[2:], "--json")
    for other, unchanged in ((fields[:2], 2), (("--text-fields", "note,body"), 0)):
        assert run(monkeypatch, *again, *other) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["unchanged"], report["replaced"]) == (unchanged, 2 - unchanged)
    assert run(monkeypatch, *search, "-w", "author=Kim") == 0
    assert "w9" in json.loads(capsys.readouterr().out)["results"][0]["text"]
    assert run(monkeypatch, "index", tmp_path / "in", "-s", tmp_path / "s", "--text-fields", ",") == 1
    assert "No field is named" in capsys.readouterr().err
    assert run(monkeypatch, "index", tmp_path / "in", "-s", tmp_path / "t", "--memory-dtype", "int2") == 1
    assert "must be one of" in capsys.readouterr().err
