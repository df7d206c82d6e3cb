"""The command as its user sees it: output, exit codes, and one sentence for every bad input."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from clara import cli, loading
from clara.documents import ocr
from clara.errors import InputError
from clara.library import Library
from clara.models.stored import model_of
from clara.records import Answer, Source
from clara.rendering.answers import print_answer
from clara.rendering.basics import counted
from clara.store import MemoryStore
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
    arguments = ("index", documents, "--store", store, "--model", model, "--remove-missing", "--json")
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
    (taken,) = [line for line in lines if "(source of the " in line]
    place = [source["id"] for source in answer["sources"]].index(answer["taken_from"])
    assert taken.startswith(f"{place + 1}. ")
    assert printed.startswith("Probably not") == answer["is_doubtful"] == (answer["confidence"] < 0)


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
    assert says(out, "1 example", "end-to-end", "1 document,", "1 answer.")
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
        ("No damage found", "check"),
        ("int8", "info"),
        ("memories are int8", "compact"),
        ("recall@100", "index"),
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
    assert {step["name"] for step in found("--hybrid", "--explain")["steps"]} == {"exact", "lexical", "fused"}
    assert {step["name"] for step in found("--no-hybrid", "--explain")["steps"]} == {"exact"}
    first = found("-k", 1, "--context", 1)["results"][0]
    assert first["text"] in first["context"]
    assert run(monkeypatch, "search", "w1", "-s", store, "-m", "nowhere", "-w", "nonsense") == 1
    assert "cannot be understood" in capsys.readouterr().err
    assert run(monkeypatch, "ask", "w1", "-s", store, "-m", model, "-w", "format=pdf") == 1
    assert "No passage of the store meets the conditions" in capsys.readouterr().err
    assert run(monkeypatch, "search", "w1", "-s", store, "-m", model, "--explain") == 0
    assert says(capsys.readouterr().out, "exact", "3 of 3 passages")


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


@pytest.fixture
def asking(store: Path, model: Path) -> tuple[object, ...]:
    """The options of every command that asks the store."""
    return ("--store", store, "--model", model)


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence of a command that failed."""
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    return error


def clara(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """`clara ARGUMENTS` in a process of its own."""
    command = [sys.executable, "-m", "clara", *map(str, arguments)]
    return subprocess.run(command, text=True, stderr=subprocess.PIPE, check=False, **options)


def test_a_device_that_is_not_here_is_told_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asking: tuple[object, ...]
) -> None:
    capsys.readouterr()
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    for device in ("foo", "cuda", "cuda:0"):
        assert run(monkeypatch, "ask", "w1", *asking, "--device", device) == 1
        assert f"There is no device {device!r} here; choose cpu or auto." in told(capsys)
    assert run(monkeypatch, "search", "w1", *asking, "--device", "cpu") == 0


def test_devices_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1"):
        assert str(loading.find_device(name)) == name
    with pytest.raises(InputError, match="choose cpu or cuda or cuda:0 or cuda:1 or auto"):
        loading.find_device("cuda:2")


def test_the_packaged_model_has_no_subfolders(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    capsys.readouterr()
    assert run(monkeypatch, "ask", "w1", "--store", store, "--subfolder", "compression-16") == 1
    assert "The packaged model has no subfolder, but 'compression-16' is asked for" in told(capsys)


def test_bytes_that_are_no_text_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asking: tuple[object, ...]
) -> None:
    capsys.readouterr()
    for arguments in (
        ("ask", "K\udcf6ln?", *asking),
        ("search", "K\udcf6ln?", *asking),
        ("inspect", "question", "K\udcf6ln?"),
        ("inspect", "document", "K\udcf6ln", "--text"),
    ):
        assert run(monkeypatch, *arguments) == 1
        assert says(told(capsys), "udcf6ln", "UTF-8")


def test_a_full_disk_under_the_output_is_one_sentence(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "a?", "docs": ["b"], "gold_answer": "c"}\n', encoding="utf-8")
    for arguments in (["--version"], ["--help"], ["data", "check", data], ["data", "check", data, "--json"]):
        with Path("/dev/full").open("w") as full:
            done = clara(*arguments, stdout=full)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: The output cannot be written: No space left on device"), done
        assert done.stderr.count("\n") == 1


def test_what_the_output_cannot_encode_is_replaced_and_in_json_escaped(
    monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "stra\u00dfe.txt").write_text("w1 w2", encoding="utf-8")
    assert run(monkeypatch, "index", tmp_path / "stra\u00dfe.txt", "-s", tmp_path / "s", "-m", model) == 0
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    arguments = ("store", "list", "-s", "s")
    done = clara(*arguments, stdout=subprocess.PIPE, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("stra?e.txt\t")
    done = clara(*arguments, "--json", stdout=subprocess.PIPE, env=environment, cwd=tmp_path)
    assert json.loads(done.stdout)["documents"][0]["source"] == str(tmp_path / "stra\u00dfe.txt")


def test_stopping_tells_what_is_stored(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    documents: Path,
    asking: tuple[object, ...],
) -> None:
    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Library, "add", stop)
    monkeypatch.setattr(Library, "explain", stop)
    capsys.readouterr()
    assert run(monkeypatch, "index", documents, *asking) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert says(last, "Stopped", "2 documents")
    assert run(monkeypatch, "search", "w1", *asking) == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_checked_bytes_are_not_shown_as_passages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    capsys.readouterr()
    assert run(monkeypatch, "store", "compact", "-s", store) == 0
    lines = capsys.readouterr().err.splitlines()
    (checking,) = [line for line in lines if line.startswith("Checking")]
    (compacting,) = [line for line in lines if line.startswith("Compacting")]
    assert "bytes of" in checking or "kB of" in checking
    assert "passage" not in checking
    assert "3/3 passages" in compacting


def test_a_search_that_finds_nothing_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asking: tuple[object, ...]
) -> None:
    capsys.readouterr()
    assert run(monkeypatch, "search", "w1", "-w", "format=pdf", *asking) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says(captured.err, "Nothing found", "3 passages", "conditions")
    assert captured.err.count("\n") == 1
    assert run(monkeypatch, "search", "w1", "-w", "format=pdf", "--json", *asking) == 0
    captured = capsys.readouterr()
    assert (json.loads(captured.out)["results"], captured.err) == ([], "")


def test_a_folder_that_is_no_store_is_told_as_what_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("other").mkdir()
    Path("other", "a.txt").touch()
    for name, words in (
        ("none", ("no store at none", "clara index PATH --store none")),
        ("empty", ("folder empty is empty", "clara index PATH --store empty")),
        ("other", ("folder other holds other files", "--store")),
        ("other/a.txt", ("other/a.txt is a file", "--store")),
    ):
        for command in (("ask", "w1"), ("store", "info"), ("store", "list")):
            assert run(monkeypatch, *command, "--store", name) == 1
            assert says(told(capsys), *words)


def says(text: str, *facts: str) -> bool:
    """Whether a message states facts; how it words them is free."""
    return all(fact in text for fact in facts)


def an_answer(**fields: Any) -> Answer:
    source = Source(7, "a.txt", "a", "", None, None, "w1\n\nw2", 0.5, 1, "memory")
    return Answer("w1?", sources=(source,), taken_from=7, **fields)


def test_a_doubt_stands_before_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_answer(an_answer(text="w2"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["w2", "", "Sources", "1. 0.500  a.txt  (source of the answer)", "   w1 w2"]
    print_answer(an_answer(text="w2", is_doubtful=True), {})
    shown = capsys.readouterr().out
    assert shown.startswith("Probably not ")
    assert shown.splitlines()[1:3] == ["w2", ""]
    assert "(source of the guess)" in shown
    print_answer(an_answer(text="", is_doubtful=True), {})
    assert capsys.readouterr().out.startswith("Probably not ")
    monkeypatch.setenv("FORCE_COLOR", "1")  # only a sure answer is bold
    for doubtful in (False, True):
        print_answer(an_answer(text="w2", is_doubtful=doubtful), {})
        assert ("\x1b[1mw2\x1b[0m\n" in capsys.readouterr().out) != doubtful


def test_one_is_counted_as_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    assert [counted(number, "copy", "copies") for number in (0, 1, 1000)] == [
        "0 copies",
        "1 copy",
        "1,000 copies",
    ]
    (tmp_path / "a.txt").write_text("w1", encoding="utf-8")
    (tmp_path / "b.txt").write_text("w1", encoding="utf-8")
    assert run(monkeypatch, "index", tmp_path, "-s", tmp_path / "s", "-m", model) == 0
    captured = capsys.readouterr()
    assert "1 added, 1 duplicate." in captured.out
    assert "The store holds 1 document, 1 passage, " in captured.out
    assert "2/2 files 1 passage, " in " ".join(captured.err.split())


def test_questions_that_the_command_line_takes_apart_get_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for arguments, words in (
        (("ask", "what", "is", "gzip"), r'quotes, as in: .*clara ask "What is gzip\?"'),
        (("search", "what", "is"), "in quotes, as in: .*clara search"),
        (
            ("ask", "-n means what?"),
            "begins with a hyphen after --: .*clara ask -- QUESTION",
        ),
    ):
        assert run(monkeypatch, *arguments) == 2
        assert re.search(words, " ".join(capsys.readouterr().err.split()))
    assert run(monkeypatch, "ask", "--nonsense", "w1") == 2
    assert "hyphen" not in capsys.readouterr().err


def test_an_unknown_ending_of_the_standard_input_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    assert run(monkeypatch, "index", "-", "--suffix", "xyz") == 1
    assert "--suffix is 'xyz', but must be one of .txt, " in told(capsys)
    assert run(monkeypatch, "index", tmp_path, "--suffix", ".md") == 1
    assert "no path is -" in told(capsys)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"# w7\n\nw8")))
    options = ("-s", tmp_path / "s", "-m", model)
    assert run(monkeypatch, "index", "-", "--suffix", "MD", *options) == 0
    capsys.readouterr()
    assert run(monkeypatch, "search", "w8", "--json", *options) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["title"] == "w7"


def test_what_is_typed_has_a_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    options = ("-s", tmp_path / "s", "-m", model)

    def index(text: bytes, *more: object) -> int:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
        return run(monkeypatch, "index", "-", *more, *options)

    page = "https://example.org/w7"
    assert [index(b"w1"), index(b"w2", "--name", page), index(b"w3", "--name", "b"), index(b"w4")] == [0] * 4
    capsys.readouterr()
    assert run(monkeypatch, "store", "list", "-s", tmp_path / "s") == 0
    assert sorted(line.split("\t")[0] for line in capsys.readouterr().out.splitlines()) == [
        "b",
        page,
        "stdin",
    ]
    for arguments, words in (
        (("-", "--name", "/etc/hosts"), "--name is '/etc/hosts', but must be"),
        (("-", "--name", " "), "--name is ' ', but must be"),
        ((tmp_path, "--name", "b"), "but no path is -; remove --name"),
    ):
        assert run(monkeypatch, "index", *arguments) == 1
        assert words in told(capsys)


def test_documents_are_listed_and_removed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    documents: Path,
    asking: tuple[object, ...],
    store: Path,
) -> None:
    monkeypatch.chdir(documents)
    (documents / "c.txt").write_bytes((documents / "a.txt").read_bytes())
    assert run(monkeypatch, "index", documents, *asking) == 0

    def listed() -> list[list[str]]:
        capsys.readouterr()
        assert run(monkeypatch, "store", "list", "-s", store) == 0
        return [line.split("\t") for line in capsys.readouterr().out.splitlines()]

    def removed(*names: object) -> dict[str, Any]:
        capsys.readouterr()
        assert run(monkeypatch, "store", "remove", *names, "-s", store, "--json") == 0
        return dict(json.loads(capsys.readouterr().out))

    a, copy, b = listed()
    assert (a[:2], copy) == (["a.txt", "2 passages"], ["c.txt", "copy of a.txt"])
    assert (b[0], b[1], b[3]) == ("b.md", "1 passage", "w70")
    assert run(monkeypatch, "store", "list", "-s", store, "--json") == 0
    (first, second) = json.loads(capsys.readouterr().out)["documents"]
    assert (first["source"], first["copies"]) == (str(documents / "a.txt"), [str(documents / "c.txt")])
    assert (second["title"], second["num_passages"]) == ("w70", 1)

    assert run(monkeypatch, "store", "remove", "a.txt", "nowhere.txt", "-s", store) == 1
    assert says(told(capsys), "no document nowhere.txt", "nothing was removed")
    assert listed() == [a, copy, b]
    assert run(monkeypatch, "store", "remove", "a.txt", "-s", store) == 0
    out = capsys.readouterr().out
    assert says(out, "Removed 1 document, 0 passages.", "passages are kept")
    assert [line[0] for line in listed()] == ["b.md", "c.txt"]
    (documents / "K\udcf6ln.txt").write_text("w9", encoding="utf-8")
    assert run(monkeypatch, "index", "K\udcf6ln.txt", *asking) == 0
    assert listed()[0][0] == r"K\udcf6ln.txt"
    assert removed("K\udcf6ln.txt")["documents"] == 1
    assert run(monkeypatch, "store", "remove", "b.?", "-s", store) == 1  # a pattern is of the whole name
    assert "holds no document b.?" in told(capsys)
    assert removed("c.t?t") == {"removed": [str(documents / "c.txt")], "documents": 1, "passages": 2}
    assert run(monkeypatch, "store", "remove", documents / "b.md", "-s", store) == 0
    assert says(capsys.readouterr().out, "Removed 1 document, 1 passage.", "clara store compact")
    assert listed() == []


def test_a_file_is_removed_with_all_its_parts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    asking: tuple[object, ...],
    store: Path,
) -> None:
    monkeypatch.setattr("clara.documents.parts.PART_BYTES", 60)
    big = store.parent / "big.txt"
    big.write_text("\n\n".join(["w1 w2 w3 w4 w5", "w6 w7 w8 w9"] * 12), encoding="utf-8")
    assert run(monkeypatch, "index", big, *asking) == 0
    capsys.readouterr()
    assert run(monkeypatch, "store", "remove", big, "-s", store, "--json") == 0
    gone = json.loads(capsys.readouterr().out)["removed"]
    assert len(gone) > 1
    assert {name.partition("#")[0] for name in gone} == {str(big)}


def test_files_of_no_kind_to_read_are_counted_by_their_ending(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name in ("a.txt", "b.png", "c.png", "d.zip"):
        (files / name).write_text("w1", encoding="utf-8")
    assert run(monkeypatch, "index", files, "-s", tmp_path / "s", "-m", model) == 0
    err = capsys.readouterr().err
    if not ocr.is_there():  # with Tesseract, pictures are files to read
        assert says(err, "2 .png (b.png, c.png; ", "install Tesseract")
    assert "1 .zip (d.zip).\n" in err


def test_a_folder_that_is_gone_is_removed_with_remove_missing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    documents: Path,
    asking: tuple[object, ...],
) -> None:
    shutil.rmtree(documents)
    assert run(monkeypatch, "index", documents, *asking) == 1
    capsys.readouterr()
    assert run(monkeypatch, "index", documents, "--remove-missing", *asking) == 0
    assert "Documents: 2 removed." in capsys.readouterr().out


def test_lines_are_whole_where_no_terminal_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    words = " ".join(WORDS[10:23])
    options = ("-s", tmp_path / "s", "-m", model)
    name = f"{'long' * 30}.txt"
    (tmp_path / name).write_text(f"{words}\n{'x' * 90} :smile: [bold]", encoding="utf-8")
    assert run(monkeypatch, "index", tmp_path / name, *options) == 0
    for command in (("search", "w10", "--explain"), ("ask", "w10"), ("ask", "w10", "-C", 1)):
        capsys.readouterr()
        assert run(monkeypatch, *command, *options) == 0
        lines = capsys.readouterr().out.splitlines()
        assert f"   {words}" in lines or any(line.startswith(f"   {words} ") for line in lines)
        assert [line for line in lines if line != line.rstrip()] == []
        assert [line for line in lines if "..." in line] == []
    assert run(monkeypatch, "search", "w10", *options, "-k", 9) == 0
    assert ":smile: [bold]" in capsys.readouterr().out
    assert run(monkeypatch, "store", "list", "-s", tmp_path / "s") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert name in line.split("\t")[0]


def test_questions_from_the_standard_input_are_answered_one_by_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asking: tuple[object, ...]
) -> None:
    def ask(typed: bytes, *options: object, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed)))
        assert run(monkeypatch, "ask", "-", *asking, *options) == code
        return capsys.readouterr()

    loads = []
    load = loading.load
    monkeypatch.setattr(
        loading, "load", lambda *names, **rest: (loads.append(names), load(*names, **rest))[1]
    )
    out, _ = ask(b"\xef\xbb\xbfw1 w2\n\n  \nw3\n", "--json")
    assert [json.loads(line)["question"] for line in out.splitlines()] == ["w1 w2", "w3"]
    assert len(loads) == 1
    out, err = ask(b"w1 w2\nK\xf6ln\nw3\n", code=1)
    assert out.count("Sources") == 2
    assert out.startswith("w1 w2\n")
    assert err.startswith("Error: ")
    assert says(err, "udcf6ln", "UTF-8")
    assert ask(b"")[0] == ""


def test_show_tells_what_would_be_indexed_without_a_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text('{"title": "T", "n": 1}\nnone\n{"text": "Two."}\n', encoding="utf-8")
    assert run(monkeypatch, "show", tmp_path / "a.jsonl") == 0
    out = capsys.readouterr().out
    assert "1. T · line 1  title=T, n=1\n   n: 1\n2. line 3  text=Two.\n   Two.\n" in out
    assert says(out, "line 2 was left out", "not valid JSON (Expecting value)")
    assert run(monkeypatch, "show", tmp_path / "a.jsonl", "--text-fields", "n", "--json") == 0
    (document,) = json.loads(capsys.readouterr().out)["documents"]
    assert [each["text"] for each in document["passages"]] == ["1"]
    assert document["left_out"] == ["line 2 was left out: it is not valid JSON (Expecting value)"]
    assert run(monkeypatch, "show", tmp_path / "none.md", tmp_path / "a.jsonl") == 1
    out, err = capsys.readouterr()
    assert "none.md cannot be opened" in err
    assert "2. line 3" in out
    assert run(monkeypatch, "show", tmp_path / "a.jsonl", "-m", tmp_path) == 1
    assert "is no model's folder" in capsys.readouterr().err


def test_show_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# One\n\nText.", encoding="utf-8")
    program = (
        "import sys; sys.argv = ['clara', 'show', sys.argv[1]]\n"
        "from clara.cli import app\n"
        "app(standalone_mode=False)\n"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "a.md"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_strict_fails_where_something_was_not_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    files, options = tmp_path / "files", ("-s", tmp_path / "s", "-m", model)
    files.mkdir()
    (files / "a.md").write_text("w1 ~~w2~~", encoding="utf-8")
    (files / "b.md").write_text("w3", encoding="utf-8")
    (files / ".gitignore").write_text("b.md\n", encoding="utf-8")
    assert run(monkeypatch, "index", files, *options, "--strict") == 1
    out, err = capsys.readouterr()
    assert "Documents: 1 added." in out
    assert says(err, f"{files / 'a.md'}: 1 struck-out text")
    assert says(err, f"{files / '.gitignore'}: 1 file ({files / 'b.md'})", "--no-ignore")
    assert run(monkeypatch, "index", files, *options, "--strict", "--no-ignore") == 1  # it is unchanged
    (files / "a.md").write_text("w1", encoding="utf-8")
    assert run(monkeypatch, "index", files, *options, "--strict", "--no-ignore") == 0
    assert "Documents: 1 added, 1 unchanged." in capsys.readouterr().out
    (files / "b.md").unlink()
    assert run(monkeypatch, "index", files, *options, "--no-ignore") == 0
    assert says(capsys.readouterr().err, "1 stored document", f"({files / 'b.md'})", "--remove-missing")
    (files / "a.md").rename(files / "c.md")
    assert run(monkeypatch, "index", files, *options, "--no-ignore") == 0
    assert f"Moved: {files / 'a.md'} is now {files / 'c.md'}.\n" in capsys.readouterr().err


def test_a_passage_elsewhere_is_named_once_and_an_endless_word_is_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = Source(
        1, "a.pdf", "", "", 1, None, "x" * 20_000, 0.5, 1, "memory", also_in=("a.pdf", "a.pdf", "b.pdf")
    )
    print_answer(Answer("q", "x", (source,)), {})
    out = capsys.readouterr().out
    assert "also 2 more times in this file and in b.pdf\n" in out
    assert len(out) < 500


@pytest.mark.parametrize(
    ("recorded", "found"),
    [("smollm2", "smollm2"), ("extractive", "extractive"), ("small", "extractive"), ("a/b", None)],
)
def test_a_store_of_a_packaged_model_names_it(tmp_path: Path, recorded: str, found: str | None) -> None:
    path = tmp_path / "store"
    assert model_of(path, None) is None
    MemoryStore.open_or_create(
        path, fingerprint="f", model=recorded, memory_dim=4, embedding_dim=None
    ).close()
    assert model_of(path, None) == found
    assert model_of(path, "other") == "other"
    (path / "store.sqlite3").write_bytes(b"no database")
    assert model_of(path, None) is None
