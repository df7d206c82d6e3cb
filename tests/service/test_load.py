"""Servers under load, and at their end: short versions of benchmarks/serving.py."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from service.servers import group, sent, wait_for

QUESTION = "When was the Brooklyn Bridge opened?"


@contextmanager
def running(store: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server's process and address; it is killed if it is still there at the end."""
    with group(store.parent, "serve", "--store", str(store), "--port", "0", "--json") as process:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())["url"]


def number(url: str, name: str) -> float:
    """A number of /metrics, 0 if it is not there yet."""
    found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", httpx2.get(f"{url}/metrics").text)
    return float(found[1]) if found else 0.0


def test_requests_of_clients_that_leave_are_not_worked_on(server: str) -> None:
    waiting, asked = "clara_queue_jobs", 'clara_batch_jobs_sum{kind="ask"}'
    httpx2.post(f"{server}/api/stores/notes/ask", json={"question": QUESTION}, timeout=60)
    before = number(server, asked)
    # passages enough for seconds of work, during which the others wait
    texts = [f"{one}: {'the bridge spans the river. ' * 40}" for one in range(60)]
    busy = sent(server, "/v1/embeddings", {"input": texts})
    wait_for(lambda: number(server, 'clara_requests_total{route="/metrics",status="200"}') > 0)
    opened = [
        sent(server, "/api/stores/notes/ask", {"question": QUESTION, "stream": bool(one % 2)})
        for one in range(12)
    ]
    wait_for(lambda: number(server, waiting) >= 12)
    for one in opened:
        one.close()
    busy.settimeout(60)
    assert busy.recv(15) == b"HTTP/1.1 200 OK"
    busy.close()
    wait_for(lambda: number(server, waiting) == 0)
    time.sleep(0.3)
    assert number(server, asked) == before
    found = httpx2.post(f"{server}/api/stores/notes/ask", json={"question": QUESTION}, timeout=60).json()
    assert "1883" in found["text"]
    assert number(server, asked) == before + 1


def test_a_stop_lets_answers_end(store: Path) -> None:
    with running(store) as (process, url):
        answers: list[httpx2.Response] = []

        def ask() -> None:
            asked = {"question": QUESTION}
            answers.append(httpx2.post(f"{url}/api/stores/notes/ask", json=asked, timeout=60))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        wait_for(lambda: answers)  # the others wait, or are worked on
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert process.wait(60) == 0
    assert [(answer.status_code, answer.json()["text"]) for answer in answers] == [(200, "24 May 1883")] * 6


def test_a_stop_during_long_work_ends_in_time_and_says_so(store: Path) -> None:
    with running(store) as (process, url):
        texts = ["the bridge spans the river. " * 60] * 500
        opened = [sent(url, "/v1/embeddings", {"input": texts}) for _ in range(6)]
        time.sleep(1)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        seconds = time.monotonic() - started
        said = {one.recv(12) for one in opened}
        for one in opened:
            one.close()
    assert (status, seconds < 40) == (0, True)
    assert said <= {b"HTTP/1.1 200", b"HTTP/1.1 503"}  # done in time, or refused; never a fault or nothing


def test_a_killed_server_loses_no_upload_that_it_confirmed(store: Path) -> None:
    names = [f"note-{one}.txt" for one in range(6)]
    with running(store) as (process, url):
        for name in names:
            text = f"{name} says that the cheese number {name} is green. " * 200
            assert httpx2.post(f"{url}/api/stores/notes/uploads/{name}", content=text).status_code == 202
        half = sent(url, "/api/stores/notes/uploads/half.txt", {"text": "half"})
        process.kill()
        process.wait(30)
        half.close()

    def stored() -> set[str]:
        documents = httpx2.get(f"{url}/api/stores/notes/documents", timeout=60).json()["documents"]
        return {document["name"] for document in documents}

    with running(store) as (_, url):
        wait_for(lambda: stored() >= set(names))
        assert not list((store / "files").glob(".*"))
        question = {"question": "Which cheese does note-3.txt say is green?"}
        assert httpx2.post(f"{url}/api/stores/notes/ask", json=question, timeout=60).status_code == 200
