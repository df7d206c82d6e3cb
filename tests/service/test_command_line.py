"""Commands that ask a running server, and the server that `clara serve --background` leaves running."""

from __future__ import annotations

import io
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from clara import cli
from clara.cli.remote import find_client
from clara.service.running import Note, is_alive, model_mark

QUESTION = "When was the Brooklyn Bridge opened?"
LONG = "why " * 300
CONVERSATION = "\n".join(
    [
        "/help",
        QUESTION,
        "How long is its main span?",
        "/sources",
        "/new",
        "/documents",
        LONG,
        "",
        "What is the largest moon of Saturn?",
        "/quit",
        "What comes after the end?",
    ]
)


@dataclass(frozen=True)
class Served:
    """A server that was started in the background."""

    store: Path
    environment: dict[str, str]
    url: str

    @property
    def notes(self) -> list[Path]:
        return sorted(Path(self.environment["XDG_RUNTIME_DIR"], "clara").glob("*.json"))

    @property
    def note(self) -> Note:
        values = json.loads(self.notes[0].read_text())
        return Note(**{**values, "stores": {path: tuple(mark) for path, mark in values["stores"].items()}})

    def clara(self, *arguments: object, typed: str = "", options: tuple[str, ...] = ()) -> Any:
        """Run a command in a process of its own."""
        return subprocess.run(
            [sys.executable, *options, "-m", "clara", *map(str, arguments)],
            input=typed,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=self.environment,
            timeout=120,
        )


def started(store: Path, runtime: Path) -> Served:
    """A server of a store, whose note lies in a folder of its own."""
    runtime.mkdir(mode=0o700)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_RUNTIME_DIR": str(runtime)}
    served = Served(store, environment, "")
    done = served.clara("serve", "--background", "--store", store, "--port", 0, "--json")
    assert done.returncode == 0, done.stderr
    return replace(served, url=json.loads(done.stdout)["url"])


@pytest.fixture(scope="module")
def served(made_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("background")
    shutil.copytree(made_store, folder / "notes")
    one = started(folder / "notes", folder / "run")
    yield one
    one.clara("serve", "--stop", "--store", one.store)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command in this process, where no server is known; gives what it prints."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))

    def run(*arguments: object, typed: str = "") -> str:
        monkeypatch.setattr(sys, "argv", ["clara", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code
        return capsys.readouterr().out

    return run


def without_times(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r'"milliseconds": [\d.e-]+|(?<= )\d+\.\d(?= )', "", text))


@pytest.mark.parametrize(
    "command",
    [
        ("ask", QUESTION),
        ("ask", QUESTION, "--json", "--context", 1, "-k", 3),
        ("search", QUESTION, "--json", "--explain", "--where", "format=md"),
        ("search", "bridge", "--explain"),
        ("search", QUESTION, "--where", "format=none"),
    ],
)
def test_a_server_is_asked_without_torch_and_the_output_is_the_same(
    served: Served, alone: Any, command: tuple[object, ...]
) -> None:
    arguments = (*command, "--store", served.store)
    done = served.clara(*arguments, options=("-X", "importtime"))
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "clara.service.client" in imported
    assert not imported & {"torch", "transformers", "numpy", "fastapi"}  # typer takes pydantic
    assert without_times(done.stdout) == without_times(alone(*arguments))


def test_questions_from_the_standard_input_are_asked_one_by_one(served: Served) -> None:
    done = served.clara("ask", "-", "--store", served.store, "--json", typed=f"{QUESTION}\n{LONG}\nWho?\n")
    assert done.returncode == 1
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["question"] for one in answers] == [QUESTION, "Who?"]
    assert done.stderr.startswith("Error: ")


def test_errors_of_a_server_are_sentences(served: Served) -> None:
    done = served.clara("ask", LONG, "--store", served.store)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


def test_another_model_or_store_or_device_is_not_asked(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", served.environment["XDG_RUNTIME_DIR"])
    assert find_client(served.store, "extractive", None, None, None) is not None
    assert find_client(served.store, "extractive", None, None, "cpu") is None
    assert find_client(served.store, "extractive", None, "another-base", None) is None
    assert find_client(served.store, str(tmp_path), None, None, None) is None
    moved = Path(shutil.copytree(served.store, tmp_path / "notes"))
    assert find_client(moved, "extractive", None, None, None) is None


@pytest.mark.parametrize("fault", ["nobody listens", "wrong key", "process gone", "no note", "other model"])
def test_a_note_that_is_not_true_leads_to_the_commands_own_answer(
    served: Served, alone: Any, fault: str
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "nobody listens": {"url": "http://127.0.0.1:1"},
        "wrong key": {"key": "wrong"},
        "process gone": {"pid": 2**22 - 3},
        "no note": {},
        "other model": {"model": model_mark("another")},
    }
    note = replace(served.note, **changes[fault])
    folder = Path(os.environ["XDG_RUNTIME_DIR"]) / "clara"
    folder.mkdir(mode=0o700)
    text = "{" if fault == "no note" else json.dumps(asdict(note))
    (folder / f"{note.pid}.json").write_text(text)
    command = ("ask", QUESTION, "--store", served.store, "--json")
    expected = json.loads(served.clara(*command).stdout)
    # a store that a server has open is read all the same; another key cannot be used by this server
    assert json.loads(alone(*command)) == expected
    assert (folder / f"{note.pid}.json").exists() == (fault != "process gone")


def test_a_conversation_is_the_same_with_a_server_and_without(served: Served, alone: Any) -> None:
    arguments = ("chat", "--store", served.store)
    done = served.clara(*arguments, typed=CONVERSATION, options=("-X", "importtime"))
    assert done.returncode == 0, done.stderr
    assert "| torch" not in done.stderr
    assert "Asked as: How long is its main span? (Brooklyn Bridge)" in done.stderr
    assert re.search(r"(?m)^Error: ", done.stderr)
    assert "1883" in done.stdout
    assert "Titan" in done.stdout
    assert "after the end" not in done.stdout
    assert done.stdout == alone(*arguments, typed=CONVERSATION)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no terminals of this kind")
def test_a_person_gets_a_prompt_completion_and_history(served: Served, tmp_path: Path) -> None:
    import pty

    environment = {**served.environment, "XDG_STATE_HOME": str(tmp_path), "TERM": "xterm"}
    near, far = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "clara", "chat", "--store", str(served.store)],
        stdin=far,
        stdout=far,
        stderr=far,
        env=environment,
    )
    os.close(far)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        end = time.monotonic() + 30
        while text not in shown:
            assert time.monotonic() < end, shown
            if select.select([near], [], [], 0.2)[0]:
                shown += os.read(near, 65536).decode(errors="replace")

    def type_in(text: str) -> None:
        nonlocal shown
        shown = ""
        os.write(near, text.encode())

    until("> ")
    type_in(f"{QUESTION}\n")
    until("1883")
    until("\n> ")
    type_in("/sour\t")
    until("/sources")
    type_in("\n")
    until("brooklyn-bridge.md")
    until("\n> ")
    type_in("/quit\n")
    assert process.wait(30) == 0
    os.close(near)
    assert QUESTION in (tmp_path / "clara" / "history").read_text()


def test_the_background_server_is_shown_found_again_and_stopped(
    served: Served, made_store: Path, tmp_path: Path
) -> None:
    with urlopen(f"{served.url}/health") as answer:
        assert json.load(answer) == {"status": "ready"}
    again = served.clara("serve", "--background", "--store", served.store, "--port", 0, "--json")
    assert json.loads(again.stdout) == {"url": served.url}
    (one,) = json.loads(served.clara("serve", "--status", "--json").stdout)
    assert (one["url"], one["stores"]) == (served.url, [str(served.store)])
    assert is_alive(one["pid"])
    assert Path(one["log"]).parent.stat().st_mode & 0o077 == 0
    assert served.url in served.clara("serve", "--status").stdout
    assert served.notes[0].stat().st_mode & 0o077 == 0
    unknown = served.clara("serve", "--stop", "--store", tmp_path / "nowhere")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("Error: No server ")
    assert "nowhere" in unknown.stderr
    stopped = served.clara("serve", "--stop", "--store", served.store)
    assert (stopped.returncode, stopped.stdout) == (0, f"Stopped {served.url}.\n")
    end = time.monotonic() + 10
    while is_alive(one["pid"]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_alive(one["pid"])
    assert served.notes == []
    assert served.clara("serve", "--status").stdout == "No server is running.\n"
    assert json.loads(served.clara("serve", "--status", "--json").stdout) == []


def test_a_background_server_that_cannot_start_is_one_sentence(served: Served, tmp_path: Path) -> None:
    done = served.clara("serve", "--background", "--store", tmp_path / "new", "--model", tmp_path / "nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The server did not start: ")
    assert "Traceback" not in done.stderr
