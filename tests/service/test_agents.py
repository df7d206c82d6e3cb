"""The MCP server through the protocol's own client, over standard input and output and over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from clara.library import Library
from clara.service.agents import PAGE_CHARACTERS, agent_server
from clara.service.service import Service
from clara.service.settings import Settings

mcp = pytest.importorskip("mcp", reason="the extra serve is not installed")

QUESTION = "When was the Brooklyn Bridge opened?"
READING = {"search", "fetch", "ask", "read_neighbours", "list_documents"}
WRITING = {"add_text", "remove_document"}


def stdio(store: Path, *arguments: str) -> Any:
    """How a client starts `clara mcp`."""
    environment = {
        name: value for name, value in os.environ.items() if name in ("PYTHONPATH", "HF_HUB_OFFLINE")
    }
    return mcp.StdioServerParameters(
        command=sys.executable,
        args=["-m", "clara", "mcp", "--store", str(store), *arguments],
        env={**environment, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(params=["stdio", "http"])
def target(request: pytest.FixtureRequest) -> Any:
    """What a client connects to."""
    if request.param == "http":
        return f"{request.getfixturevalue('server')}/mcp/"
    return stdio(request.getfixturevalue("made_store"))


def connected(target: Any, use: Callable[[Any], Awaitable[None]]) -> None:
    """Use a client while it is connected."""

    async def run() -> None:
        async with mcp.Client(target, read_timeout_seconds=60) as client:
            await use(client)

    asyncio.run(run())


def said(result: Any) -> dict[str, Any]:
    """The answer of a tool; the text that older clients read must say the same."""
    assert not result.is_error, result.content
    values: dict[str, Any] = json.loads(result.content[0].text)
    if result.structured_content is not None:
        assert result.structured_content == values
    return values


def test_tools_answer_as_the_library_does_and_errors_are_sentences(target: Any, library: Library) -> None:
    async def use(client: Any) -> None:
        assert client.server_info.name == "clara"
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) >= READING
        for tool in tools.values():
            assert tool.description
            assert tool.input_schema["type"] == "object"

        hits = library.search(QUESTION, 3)
        results = said(await client.call_tool("search", {"query": QUESTION, "limit": 3}))["results"]
        assert [one["id"] for one in results] == [f"notes:{hit.stored.id}" for hit in hits]
        assert all(one["title"] and one["url"] for one in results)

        answer = library.ask(QUESTION)
        found = said(await client.call_tool("ask", {"question": QUESTION}))
        assert (found["answer"], found["is_doubtful"]) == (answer.text, answer.is_doubtful)
        assert [one["id"] for one in found["sources"]] == [f"notes:{one.id}" for one in answer.sources]

        fetched = said(await client.call_tool("fetch", {"id": results[0]["id"]}))
        assert hits[0].stored.passage.text in fetched["text"]
        assert fetched["metadata"]["pages"] == 1

        near = said(await client.call_tool("read_neighbours", {"id": results[0]["id"], "count": 1}))
        around = library.store.around(hits[0].stored.id, 1)
        assert [one["text"] for one in near["passages"]] == [one.passage.text for one in around]

        listed = said(await client.call_tool("list_documents", {}))
        assert [one["title"] for one in listed["documents"]] == [one.title for one in library.documents()]

        for name, arguments, reason in (
            ("fetch", {"id": "notes:../../etc/passwd"}, "no passage"),
            ("fetch", {"id": "notes:999999"}, "999999"),
            ("search", {"query": "bridge", "store": "nowhere"}, "no store 'nowhere'"),
            ("ask", {"question": " "}, "empty"),
            ("ask", {}, "question"),
        ):
            result = await client.call_tool(name, arguments)
            assert result.is_error, (name, arguments)
            assert reason in result.content[0].text
            assert "Traceback" not in result.content[0].text
        assert said(await client.call_tool("list_documents", {}))["documents"]

    connected(target, use)


def test_documents_are_changed_only_where_it_is_allowed(store: Path) -> None:
    async def use(client: Any) -> None:
        text = "The moon is made of green cheese."
        added = said(await client.call_tool("add_text", {"name": "cheese", "text": text}))
        assert added == {"added": 1, "replaced": 0, "passages": 1}
        answer = said(await client.call_tool("ask", {"question": "What is the moon made of?"}))
        assert "cheese" in answer["answer"]
        documents = said(await client.call_tool("list_documents", {}))["documents"]
        (number,) = [one["id"] for one in documents if one["title"] == "cheese"]
        assert said(await client.call_tool("remove_document", {"id": number})) == {"removed": 1}
        refused = await client.call_tool("add_text", {"name": "/etc/passwd", "text": text})
        assert refused.is_error
        assert "not a path" in refused.content[0].text

    service = Service(Settings([store], model="extractive", device="cpu"))
    service.start()
    try:
        connected(agent_server(service, allow_writes=True), use)
    finally:
        service.stop()


def test_the_option_that_allows_writing(made_store: Path) -> None:
    async def use(client: Any) -> None:
        assert {tool.name for tool in (await client.list_tools()).tools} == READING | WRITING

    connected(stdio(made_store, "--allow-writes"), use)


def test_long_documents_are_read_page_by_page(tmp_path: Path, library: Library) -> None:
    text = "\n\n".join(f"Paragraph {number} tells of the number {number}." for number in range(900))
    with Library(library.clara, tmp_path / "long") as filled:
        filled.add_texts({"long": text})
        (first, *_) = filled.store.passages_of("long")
    service = Service(Settings([tmp_path / "long"], model="extractive", device="cpu"))

    async def use(client: Any) -> None:
        pages = [said(await client.call_tool("fetch", {"id": f"long:{first.id}"}))]
        for page in range(2, pages[0]["metadata"]["pages"] + 1):
            pages.append(said(await client.call_tool("fetch", {"id": f"long:{first.id}", "page": page})))
        assert len(pages) > 1
        assert all(len(one["text"]) <= PAGE_CHARACTERS for one in pages)
        whole = "".join(one["text"] for one in pages)
        places = [whole.index(f"Paragraph {number} tells") for number in range(900)]
        assert places == sorted(places)

    service.start()
    try:
        connected(agent_server(service), use)
    finally:
        service.stop()


def test_nothing_but_the_protocol_is_written_and_tools_are_listed_before_the_model_is_loaded(
    made_store: Path,
) -> None:
    parameters = stdio(made_store)
    process = subprocess.Popen(
        [parameters.command, *parameters.args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **parameters.env},
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def exchange(number: int, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        assert answer["id"] == number
        return answer["result"]

    def loaded() -> bool:
        maps = Path(f"/proc/{process.pid}/maps")
        return "libtorch" in maps.read_text()

    client = {"name": "test", "version": "1"}
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
    assert exchange(1, "initialize", hello)["serverInfo"]["name"] == "clara"
    process.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
    tools = exchange(2, "tools/list", {})["tools"]
    if sys.platform == "linux":
        assert not loaded(), "the model was loaded before the tools were listed"
    assert {tool["name"] for tool in tools} == READING
    asked = {"name": "ask", "arguments": {"question": QUESTION}}
    assert "1883" in exchange(3, "tools/call", asked)["content"][0]["text"]
    rest, _ = process.communicate(timeout=30)
    assert (rest, process.returncode) == (b"", 0)


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    parameters = stdio(tmp_path / "nowhere")
    done = subprocess.run([parameters.command, *parameters.args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: There is no store at")
