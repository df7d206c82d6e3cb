"""A server under load: throughput, waiting times, answers beside serial ones, bad requests, a kill.

    python benchmarks/serving.py [--requests 10000] [--soak 600]

The forty example documents and their sixty questions, over HTTP from this machine. `answer` and `search`
give requests a second with 1, 8 and 32 clients and seconds of a request (p50, p95), `first` the seconds to
the first piece of a stream, `processor_seconds` what an answer takes of all cores. `identical` counts the
answers that are what one client got. `mixed` sends good and bad requests and compares the server's memory,
threads and open files as it goes on. `command` is the time of `clara ask` beside that of the request that it
sends, `agent` that of `clara mcp` until its tools are listed. `--only` names parts; the figures of the others
are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx2
import psutil
from conditions import conditions, write

EXAMPLES = Path(__file__).parents[1] / "examples"
QUESTIONS = [
    json.loads(line)["question"]
    for line in (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
]
CLIENTS = (1, 8, 32)
PARTS = ("load", "command", "agent", "mixed", "kill")
SECONDS = 300
CLARA = [sys.executable, "-m", "clara"]


@contextmanager
def serving(store: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server's address and process."""
    command = [*CLARA, "serve", "--store", str(store), "--port", "0", "--json"]
    with (store.parent / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


async def each(count: int, clients: int, action: Callable[[int], Any]) -> None:
    """Do something for 0 .. count - 1, by as many clients as given."""
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            await action(number)

    await asyncio.gather(*(client() for _ in range(clients)))


@asynccontextmanager
async def web(url: str, clients: int) -> AsyncIterator[httpx2.AsyncClient]:
    limits = httpx2.Limits(max_connections=clients)
    async with httpx2.AsyncClient(base_url=url, timeout=SECONDS, limits=limits) as opened:
        yield opened


async def load(url: str, what: str, clients: int, expected: list[Any]) -> dict[str, float]:
    """All questions from some clients; fills `expected` in when there is one."""
    times: list[float] = []
    got: list[Any] = [None] * len(QUESTIONS)
    async with web(url, clients) as opened:

        async def ask(number: int) -> None:
            started = time.perf_counter()
            answer = await opened.post(f"/api/stores/notes/{what}", json={"question": QUESTIONS[number]})
            times.append(time.perf_counter() - started)
            answer.raise_for_status()
            found = answer.json()
            sources = [one["id"] for one in found["sources" if what == "ask" else "results"]]
            got[number] = (found.get("text"), sources[:1]) if what == "ask" else sources

        started = time.perf_counter()
        await each(len(QUESTIONS), clients, ask)
        seconds = time.perf_counter() - started
    if clients == 1:
        expected[:] = got
    return {
        "per_second": round(len(QUESTIONS) / seconds, 2),
        "p50": round(median(times), 3),
        "p95": round(quantiles(times, n=20)[-1], 3),
        "identical": sum(one == other for one, other in zip(got, expected, strict=True)),
        "of": len(QUESTIONS),
    }


async def first_piece(url: str, clients: int) -> dict[str, float]:
    """Seconds to the first event of a stream."""
    times: list[float] = []
    async with web(url, clients) as opened:

        async def ask(number: int) -> None:
            body = {"question": QUESTIONS[number], "stream": True}
            started = time.perf_counter()
            async with opened.stream("POST", "/api/stores/notes/ask", json=body) as answer:
                lines = answer.aiter_lines()
                await anext(lines)
                times.append(time.perf_counter() - started)
                async for _ in lines:
                    pass

        await each(len(QUESTIONS), clients, ask)
    return {"p50": round(median(times), 3), "p95": round(quantiles(times, n=20)[-1], 3)}


def throughput(url: str, process: psutil.Process) -> dict[str, Any]:
    """`load` and `first_piece` for every number of clients, with the processor's seconds per answer."""
    figures: dict[str, Any] = {}
    asyncio.run(load(url, "ask", 8, [None] * len(QUESTIONS)))  # warm
    for what in ("ask", "search"):
        expected: list[Any] = [None] * len(QUESTIONS)
        found: dict[str, Any] = {}
        for clients in CLIENTS:
            before = sum(process.cpu_times()[:2])
            found[f"clients_{clients}"] = asyncio.run(load(url, what, clients, expected))
            used = sum(process.cpu_times()[:2]) - before
            found[f"clients_{clients}"]["processor_seconds"] = round(used / len(QUESTIONS), 3)
        one, most = (found[f"clients_{clients}"]["per_second"] for clients in (CLIENTS[0], CLIENTS[-1]))
        figures[{"ask": "answer"}.get(what, what)] = {**found, "times_one_client": round(most / one, 2)}
    figures["first"] = {f"clients_{clients}": asyncio.run(first_piece(url, clients)) for clients in CLIENTS}
    return figures


def requests_of_all_kinds(number: int) -> tuple[str, str, dict[str, Any]]:
    """Method, path and arguments of a request, good or bad."""
    question = QUESTIONS[number % len(QUESTIONS)]
    api = "/api/stores/notes"
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", f"{api}/ask", {"json": {"question": question}}),
        ("POST", f"{api}/search", {"json": {"question": question, "k": 3}}),
        ("POST", "/v1/embeddings", {"json": {"input": question}}),
        ("GET", f"{api}/documents", {}),
        ("POST", f"{api}/ask", {"json": {"question": " "}}),
        ("POST", f"{api}/ask", {"json": {"question": "why " * 300}}),
        ("POST", f"{api}/ask", {"json": {"question": question, "where": ["colour~red"]}}),
        ("POST", f"{api}/search", {"json": {"question": question, "k": -1}}),
        ("POST", "/api/stores/none/ask", {"json": {"question": question}}),
        ("POST", "/v1/chat/completions", {"content": b"{"}),
        ("POST", "/v1/chat/completions", {"json": {"messages": [{"role": "system", "content": "?"}]}}),
        ("POST", "/v1/responses", {"json": {"input": [1, {}]}}),
        ("POST", "/v1/embeddings", {"json": {"input": [], "dimensions": 0}}),
        ("POST", "/v1/rerank", {"json": {"query": "", "documents": {}}}),
        ("POST", f"{api}/uploads/bad.exe", {"content": b"MZ"}),
        ("GET", f"{api}/documents/..%2f..%2fetc%2fpasswd/file", {}),
        ("GET", f"{api}/passages/999999999/memory", {}),
        ("DELETE", f"{api}/documents/unknown", {}),
        ("GET", "/health", {"headers": {"host": "evil.example"}}),
        ("POST", "/mcp", {"json": {"jsonrpc": "2.0", "id": 1, "method": "no/such"}}),
    ]
    return kinds[number % len(kinds)]


async def many(url: str, count: int, clients: int, seconds: float = float("inf")) -> Counter[str]:
    """Statuses of requests of all kinds; some clients leave before their answer."""
    statuses: Counter[str] = Counter()
    end = time.monotonic() + seconds
    async with web(url, clients) as opened:

        async def one(number: int) -> None:
            if time.monotonic() > end:
                return
            method, path, arguments = requests_of_all_kinds(number)
            try:
                patience = 0.05 if number % 37 == 0 else SECONDS
                answer = await opened.request(method, path, **arguments, timeout=patience)
                statuses[str(answer.status_code)] += 1
            except httpx2.TimeoutException:
                statuses["left"] += 1

        await each(count, clients, one)
    return statuses


def state(url: str, process: psutil.Process | None) -> dict[str, float]:
    """What a server holds: MB, threads, open files, requests that wait."""
    waiting = re.search(r"(?m)^clara_queue_jobs (\S+)", httpx2.get(f"{url}/metrics", timeout=60).text)
    found = {"queue": float(waiting[1]) if waiting else 0.0}
    if process is not None:
        found["mb"] = round(process.memory_info().rss / 2**20, 1)
        found["threads"] = process.num_threads()
        found["files"] = process.num_fds()
    return found


def mixed(
    url: str, count: int, process: psutil.Process | None = None, clients: int = 16, seconds: float = 1e9
) -> dict[str, Any]:
    """Good and bad requests; the server's state after a first tenth, at the half, and after all."""
    started = time.monotonic()
    statuses = asyncio.run(many(url, max(1, count // 10), clients, seconds / 10))
    states = []
    for share in (0.0, 0.45, 0.45):
        statuses += asyncio.run(many(url, int(count * share), clients, seconds * share))
        time.sleep(1)
        states.append(state(url, process))
    return {
        "seconds": round(time.monotonic() - started),
        "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "after_a_tenth": states[0],
        "at_half": states[1],
        "after_all": states[2],
    }


def command(url: str, store: Path) -> dict[str, float]:
    """Seconds of `clara ask` less those of the request that it sends."""
    beside, whole, processor = [], [], []
    for question in QUESTIONS[:12]:
        started = time.perf_counter()
        httpx2.post(f"{url}/api/stores/notes/ask", json={"question": question}, timeout=60).raise_for_status()
        asked = time.perf_counter() - started
        started, before = time.perf_counter(), os.times()
        subprocess.run([*CLARA, "ask", question, "--store", store], check=True, capture_output=True)
        took, after = time.perf_counter() - started, os.times()
        whole.append(took)
        beside.append(took - asked)
        processor.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    return {
        "whole": round(median(whole), 3),
        "beside_the_answer": round(median(beside), 3),
        "processor": round(median(processor), 3),
        "least_beside_the_answer": round(min(beside), 3),
    }


def agent(store: Path) -> dict[str, float]:
    """Seconds from the start of `clara mcp` until its tools are listed."""
    times, processor = [], []
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "benchmark", "version": "1"},
    }
    for _ in range(7):
        started = time.perf_counter()
        process = subprocess.Popen(
            [*CLARA, "mcp", "--store", str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        for message in (
            {"id": 1, "method": "initialize", "params": hello},
            {"method": "notifications/initialized"},
            {"id": 2, "method": "tools/list"},
        ):
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            process.stdin.flush()
            if "id" in message:
                process.stdout.readline()
        times.append(time.perf_counter() - started)
        used = psutil.Process(process.pid).cpu_times()
        processor.append(used.user + used.system)
        process.kill()
        process.wait()
    return {
        "median": round(median(times), 3),
        "least": round(min(times), 3),
        "processor": round(median(processor), 3),
    }


def kill(store: Path) -> dict[str, Any]:
    """Uploads that a server confirmed and was killed before it added them; what is there after a restart."""
    names = [f"note-{number}.txt" for number in range(20)]
    with serving(store) as (url, process):
        uploads = f"{url}/api/stores/notes/uploads"
        confirmed = [
            name
            for name in names
            if httpx2.post(f"{uploads}/{name}", content=f"{name} is here. " * 300).is_success
        ]
        process.kill()
    with serving(store) as (url, _):
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            found = httpx2.get(f"{url}/api/stores/notes/documents", timeout=60).json()
            stored = {one["name"] for one in found["documents"]}
            if stored >= set(confirmed):
                break
            time.sleep(0.2)
    return {"confirmed": len(confirmed), "stored_after_restart": len(stored & set(confirmed))}


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--requests", type=int, default=10_000, help="good and bad requests to mix")
    arguments.add_argument("--soak", type=float, default=0, help="seconds to go on mixing requests")
    arguments.add_argument("--only", action="append", choices=PARTS, help="parts to measure; all by default")
    arguments.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "serving.json")
    arguments.add_argument("--note", default="", help="what else the machine does, for the conditions")
    options = arguments.parse_args()
    parts = options.only or PARTS
    figures: dict[str, Any] = {}
    if options.only and options.json.exists():
        figures = json.loads(options.json.read_text(encoding="utf-8"))
        figures.pop("conditions")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        store = Path(folder) / "notes"
        indexing = [*CLARA, "index", str(EXAMPLES / "documents"), "--store", str(store), "--json"]
        subprocess.run(indexing, check=True, capture_output=True)
        if "agent" in parts:
            figures["agent"] = agent(store)
        with serving(store) as (url, process):
            if "load" in parts:
                figures |= throughput(url, process)
            if "command" in parts:
                figures["command"] = command(url, store)
            if "mixed" in parts:
                figures["mixed"] = mixed(url, options.requests, process)
            if options.soak:
                figures["soak"] = mixed(url, 10_000_000, process, seconds=options.soak)
        if "kill" in parts:
            figures["kill"] = kill(store)
    described = {**conditions("packaged"), "load_average": round(os.getloadavg()[0], 1), "note": options.note}
    write(options.json, {"conditions": described, **figures})


if __name__ == "__main__":
    main()
