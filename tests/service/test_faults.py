"""Clients that leave, are slow or send what was not foreseen, and questions that make the model fail."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from starlette.testclient import TestClient

from clara.records import Answer
from clara.service.connection import LEFT, Connection
from clara.service.engine import Asked
from clara.service.service import Service
from clara.service.worker import Job, Worker
from service.servers import group, sent, wait_for

QUESTION = "When was the Brooklyn Bridge opened?"
TALK = [{"role": "user", "content": QUESTION}]
CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
ASK, SEARCH, FILTER = "/api/stores/notes/ask", "/api/stores/notes/search", "/v1/vector_stores/notes/search"
LINE = "[" * 300


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "eq", "key": "format", "value": "md"}
    for _ in range(depth):
        found = {"type": "and", "filters": [found]}
    return found


# requests


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]}),
        (CHAT, {"messages": [{"role": "user", "content": [QUESTION]}]}),
        (
            CHAT,
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image_url", "image_url": {"url": "data:"}, "text": None},
                            {"type": "text", "text": QUESTION},
                        ],
                    }
                ]
            },
        ),
        (
            CHAT,
            {
                "model": None,
                "messages": [
                    {"role": "assistant", "content": None, "tool_calls": []},
                    {"role": "user", "content": QUESTION, "name": None},
                ],
                **dict.fromkeys(
                    (
                        "stream",
                        "stream_options",
                        "max_tokens",
                        "max_completion_tokens",
                        "n",
                        "stop",
                        "temperature",
                        "tools",
                        "list_sources",
                    )
                ),
            },
        ),
        (CHAT, {"messages": TALK, "stop": "\n"}),
        (CHAT, {"messages": TALK, "stop": ["\n", "###"]}),
        (CHAT, {"messages": TALK, "n": 1, "max_tokens": 1 << 40}),
        (CHAT, {"messages": TALK, "unknown": {"a": [1]}, "tools": [{"type": "function"}], "seed": 1}),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]}),
        (RESPONSES, {"input": QUESTION, "stream": None, "metadata": None, "max_output_tokens": 9999}),
    ],
)
def test_forms_of_openais_clients_are_answered(client: TestClient, path: str, body: dict[str, Any]) -> None:
    found = client.post(path, json=body)
    assert found.status_code == 200, found.text
    said = found.json()
    text = (
        said["choices"][0]["message"]["content"] if path == CHAT else said["output"][1]["content"][0]["text"]
    )
    assert "1883" in text


@pytest.mark.parametrize(
    ("path", "body", "param", "reason"),
    [
        (CHAT, {"messages": TALK, "max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        (CHAT, {"messages": TALK, "max_tokens": "many"}, "max_tokens", "integer"),
        (CHAT, {"messages": TALK, "n": 2}, "n", "less than or equal to 1"),
        (CHAT, {"messages": TALK, "stop": {"a": 1}}, "stop.str", "string"),
        (CHAT, {"messages": TALK, "stream": "perhaps"}, "stream", "boolean"),
        (CHAT, {"messages": TALK, "stream_options": [1]}, "stream_options", "dictionary"),
        (CHAT, {"messages": QUESTION}, "messages", "list"),
        (CHAT, {"messages": [QUESTION]}, "messages.0", "dictionary"),
        (CHAT, {"messages": [{"role": "user", "content": 3}]}, "messages.0.content", "string"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None, "holds no text"),
        (CHAT, {"messages": [{"role": "user", "content": None}]}, None, "holds no text"),
        (CHAT, [], None, "dictionary"),
        (CHAT, None, None, "dictionary"),
        (CHAT, {"messages": [{"role": "user", "content": "\ud800"}]}, "messages.0.content", "unicode"),
        (RESPONSES, {"input": QUESTION, "metadata": {"a": "\ud800"}}, "metadata", "unicode"),
        (RESPONSES, {"input": QUESTION, "instructions": "\ud800"}, "instructions", "unicode"),
        (RESPONSES, {"input": QUESTION, "metadata": {"a": float("nan")}}, "metadata.a", "string"),
        (RESPONSES, {"input": 7}, "input", "string"),
        (EMBEDDINGS, {"input": [[1, 2, 3]]}, "input", "send the text itself"),
        (EMBEDDINGS, {"input": [1, 2, 3]}, "input", "send the text itself"),
        (EMBEDDINGS, {"input": "a", "encoding_format": "int8"}, "encoding_format", "float"),
        (FILTER, {"query": "a", "filters": nested(400)}, None, "filters must be"),
        (FILTER, {"query": "a", "filters": {"type": ["eq"]}}, None, "filters must be"),
        (FILTER, {"query": "a", "filters": {"type": "eq", "key": "\ud800", "value": 1}}, None, ""),
        (SEARCH, {"question": "a", "where": [LINE]}, None, ""),
        (SEARCH, {"question": "a", "k": float("inf")}, "k", ""),
        (ASK, {"question": "\x00"}, None, ""),
        (ASK, {"question": "a", "before": {"a": 1}}, "before", "list"),
    ],
)
def test_what_cannot_be_used_is_refused_in_openais_form(
    client: TestClient, path: str, body: Any, param: str | None, reason: str
) -> None:
    data = json.dumps(body)
    found = client.post(path, content=data, headers={"content-type": "application/json"})
    assert found.status_code == 400, found.text
    error = found.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["type"] == "invalid_request_error"
    assert reason in error["message"]
    assert param is None or error["param"].startswith(param)


@pytest.mark.parametrize("data", [b"{", b"[" * 100_000, b"\xff\xfe", b'{"messages": ' + b'{"a":' * 5000])
@pytest.mark.parametrize("path", [CHAT, RESPONSES, EMBEDDINGS, ASK])
def test_no_json_is_refused(client: TestClient, path: str, data: bytes) -> None:
    found = client.post(path, content=data, headers={"content-type": "application/json"})
    assert found.status_code == 400
    assert found.json()["error"]["message"]


# batches


def test_a_batch_that_one_job_makes_fail_is_done_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    batches: list[int] = []

    def double(jobs: Sequence[Job]) -> list[int]:
        batches.append(len(jobs))
        if any(job.payload < 0 for job in jobs):
            raise RuntimeError("odd")
        return [2 * job.payload for job in jobs]

    worker = Worker({"a": double}, queue=10, batch=10)
    jobs = [worker.submit(Job("a", number)) for number in (1, -1, 3)]
    worker.start()
    assert [jobs[0].result.result(10), jobs[2].result.result(10)] == [2, 6]
    with pytest.raises(RuntimeError, match="odd"):
        jobs[1].result.result(10)
    assert batches == [3, 1, 1, 1]
    assert worker.submit(Job("a", 4)).result.result(10) == 8
    assert worker.stop(10)


def test_one_question_that_the_model_fails_at_leaves_the_others_their_answers(
    client: TestClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = service.engine.ask_together

    def fail(asked: Sequence[Asked]) -> Any:
        if any("moon" in one.question for one in asked):
            raise RuntimeError("The numbers do not fit.")
        return together(asked)

    monkeypatch.setattr(service.engine, "ask_together", fail)
    monkeypatch.setattr(logging.getLogger("clara"), "propagate", False)
    jobs = [
        Job("ask", Asked("notes", question))
        for question in (QUESTION, "What is the largest moon of Saturn?", "How long is the Suez Canal?")
    ]
    worker = Worker({"ask": service._ask}, queue=10, batch=10)
    for job in jobs:
        worker.submit(job)
    worker.start()
    found = [job.result.exception(60) or job.result.result() for job in jobs]
    worker.stop(10)
    assert isinstance(found[0], Answer)
    assert "1883" in found[0].text
    assert isinstance(found[1], RuntimeError)
    assert isinstance(found[2], Answer)


# connections


def through(messages: Sequence[Any], app: Any, *, seconds: float = 30, largest: int = 100) -> Connection:
    """A connection after an application was run; `messages` comes, a number is so many seconds of nothing."""

    async def run() -> Connection:
        left = list(messages)

        async def receive() -> Any:
            while left and isinstance(left[0], int | float):
                await asyncio.sleep(left.pop(0))
            if not left:
                await asyncio.Event().wait()
            return left.pop(0)

        async def send(_: Any) -> None:
            """Nobody looks."""

        connection = Connection(receive, largest, seconds)
        await asyncio.wait_for(connection.run(app, {"type": "http"}, send), 20)
        assert len(asyncio.all_tasks()) == 1
        return connection

    return asyncio.run(run())


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


GONE = {"type": "http.disconnect"}


def test_an_application_is_cancelled_when_its_client_leaves() -> None:
    ended: list[str] = []

    async def app(_: Any, receive: Any, send: Any) -> None:
        ended.append((await receive())["body"].decode())
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    assert through([body(b"all"), 0.01, GONE], app).fault == LEFT
    assert ended == ["all", "cancelled"]


def test_a_client_that_leaves_after_its_answer_has_not_left() -> None:
    done: list[bool] = []

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        assert (await receive())["type"] == "http.disconnect"
        assert (await receive())["type"] == "http.disconnect"
        await asyncio.sleep(0.02)
        done.append(True)

    assert through([body(b""), 0.02, GONE], app).fault == 0
    assert done == [True]


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([body(b"a", more=True)], 408),
        ([body(b"a", more=True), 0.05, body(b"a", more=True), 0.05] * 20, 408),
        ([body(b"a" * 60, more=True), body(b"a" * 60)], 413),
        ([body(b"a", more=True), GONE], LEFT),
        ([], 408),
    ],
)
def test_bodies_have_limits(messages: Sequence[Any], fault: int) -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        raise AssertionError("there is no whole body")

    started = time.monotonic()
    assert through(messages, app, seconds=0.3).fault == fault
    assert time.monotonic() - started < 2


def test_errors_of_an_application_come_out() -> None:
    async def app(_: Any, receive: Any, send: Any) -> None:
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        through([body(b"")], app)


# servers


@pytest.fixture(scope="module")
def slow_server(made_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server with a time limit of six seconds and four places in its queue, and its log."""
    folder = tmp_path_factory.mktemp("slow")
    log = folder / "log"
    with (
        log.open("wb") as target,
        group(folder, "serve", *SERVED, str(made_store), "--timeout", "6", "--queue", "4", err=target) as one,
    ):
        assert one.stdout is not None
        yield json.loads(one.stdout.readline())["url"], log


SERVED = ("--port", "0", "--json", "--store")


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def counted(url: str, status: int) -> int:
    found = httpx2.get(f"{url}/metrics").text.splitlines()
    return sum(int(float(line.split()[-1])) for line in found if "total{" in line and f'"{status}"' in line)


@pytest.mark.parametrize("path", [ASK, CHAT, "/api/stores/notes/uploads/a.txt", "/mcp"])
def test_a_body_that_does_not_end_gets_408_and_holds_no_place(slow_server: Any, path: str) -> None:
    url, _ = slow_server
    with ExitStack() as opened:
        sockets = []
        for _ in range(5):  # more than the queue holds
            one = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=20)
            sockets.append(opened.enter_context(one))
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            one.sendall(f"{head}Accept: application/json\r\nContent-Length: 999\r\n\r\n{{".encode())
        found = httpx2.post(f"{url}{ASK}", json={"question": QUESTION}, timeout=20)
        assert found.status_code == 200, found.text
        for one in sockets:
            said = b""
            while chunk := one.recv(65536):  # the server closes the connection
                said += chunk
            assert said.startswith(b"HTTP/1.1 408 ")
            assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "slow"


def test_clients_that_leave_are_counted_and_logged_as_such(slow_server: Any) -> None:
    url, log = slow_server
    before, failed = counted(url, LEFT), counted(url, 500)
    asked = {"question": QUESTION}
    for path, question in ((ASK, asked), (ASK, {**asked, "stream": True}), (CHAT, {"messages": TALK})):
        texts = {"input": [f"{one}: {'the bridge spans the river. ' * 40}" for one in range(100)]}
        busy = sent(url, EMBEDDINGS, texts)
        one = sent(url, path, question)
        time.sleep(0.1)
        one.close()
        busy.close()
    half = socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))
    half.sendall(f"POST {ASK} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{{".encode())
    half.close()
    wait_for(lambda: counted(url, LEFT) == before + 7)
    assert counted(url, 500) == failed
    wait_for(lambda: sum(one["status"] == LEFT for one in lines(log)) >= 7)
    assert "Traceback" not in log.read_text()


def test_an_agents_call_ends_with_its_connection(slow_server: Any) -> None:
    url, _ = slow_server
    before = counted(url, LEFT)
    busy = sent(url, EMBEDDINGS, {"input": ["the bridge spans the river. " * 40] * 100})
    call = {"name": "ask", "arguments": {"question": QUESTION}}
    one = sent(url, "/mcp/", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    time.sleep(0.3)
    one.close()
    wait_for(lambda: counted(url, LEFT) == before + 1)
    busy.close()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no signals of this kind")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_server_whose_output_nobody_reads_answers_rests_and_ends(
    made_store: Path, tmp_path: Path, when: str
) -> None:
    with group(tmp_path, "serve", *SERVED, str(made_store), err=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if when == "after":
            process.stdout.readline()
        process.stdout.close()
        process.stderr.close()
        notes = tmp_path / "clara"
        wait_for(lambda: list(notes.glob("*.json")))
        url = json.loads(next(notes.glob("*.json")).read_text())["url"]
        for number in range(20):
            asked = {"question": QUESTION if number % 2 else " "}
            found = httpx2.post(f"{url}{ASK}", json=asked, timeout=60)
            assert found.status_code == (200 if number % 2 else 400)
        one = psutil.Process(process.pid)
        started = sum(one.cpu_times()[:2])
        time.sleep(2)
        assert sum(one.cpu_times()[:2]) - started < 0.4
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not list(notes.glob("*.json"))


def test_a_log_that_is_not_read_on_does_not_stop_the_server(made_store: Path, tmp_path: Path) -> None:
    with group(tmp_path, "serve", *SERVED, str(made_store), err=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        with httpx2.Client(base_url=url, timeout=20) as opened:
            started = time.monotonic()
            for _ in range(1500):  # more lines than a pipe holds
                assert opened.get("/health").status_code == 200
        # 40 ms a request would be those of an answer that waits for the acknowledgement of its first packet
        assert time.monotonic() - started < 50
        process.terminate()
        assert process.wait(30) == 0
