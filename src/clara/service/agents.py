"""The MCP server: what an agent can do with the documents, over stdio and over HTTP.

Tools answer while the model still loads: listing them needs no model, and the others wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import wraps
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp

from clara import __version__
from clara.errors import ClaraError, InputError
from clara.records import Source
from clara.service.answers import file_url, place_of
from clara.service.engine import Asked, UnknownError, document_id
from clara.service.service import Service

PAGE_CHARACTERS = 20_000
"""Longest text of one answer: clients cap what a tool says, Claude Code at 25,000 tokens."""

_LOAD_AFTER = 0.5
"""Seconds after which an agent's server begins to load the model; by then its tools are listed."""

_INSTRUCTIONS = (
    "Answers questions from the user's own documents. Use `ask` for a short factual question; use `search` "
    "and `fetch` to read passages yourself, and `read_neighbours` to read on around one. Name the sources."
)


def agent_server(service: Service, *, allow_writes: bool = False, base: str = "") -> MCPServer[Any]:
    """The server and its tools.

    Args:
        service: What answers; started or about to be.
        allow_writes: Whether agents may add and remove documents.
        base: Address under which originals are served; empty where nothing is.
    """
    server: MCPServer[Any] = MCPServer(
        "clara", title="Clara", instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING"
    )
    engine = service.engine

    def store_of(name: str | None) -> str:
        return engine.check_store(name) if name else engine.default_store

    def url(store: str, source: Source) -> str:
        return file_url(base, store, source) if base else f"clara://{store}/{source.id}"

    def tool(function: Callable[..., Awaitable[dict[str, Any]]]) -> None:
        """Offer a function as a tool; of errors that are foreseen agents read the sentence."""

        @wraps(function)
        async def told(*arguments: Any, **named: Any) -> dict[str, Any]:
            try:
                return await function(*arguments, **named)
            except ClaraError as error:
                raise ToolError(str(error)) from error
            except TimeoutError as error:
                raise ToolError("It took too long; ask again, or for less.") from error

        server.add_tool(told)

    @tool
    async def search(query: str, store: str | None = None, limit: int = 10) -> dict[str, Any]:
        """Find passages of the documents that fit a query.

        Returns results, each with an id to fetch it by, a title, a URL and an excerpt.
        """
        name = store_of(store)
        found = await service.search(Asked(name, query, k=_within(limit, 1, 50)))
        return {
            "results": [
                {
                    "id": f"{name}:{source.id}",
                    "title": place_of(source),
                    "url": url(name, source),
                    "text": source.evidence.text if source.evidence else source.text[:300],
                    "score": round(source.score, 4),
                }
                for source in found.sources
            ]
        }

    @tool
    async def fetch(id: str, page: int = 1) -> dict[str, Any]:
        """Read the whole document that a search result belongs to, page by page if it is long."""
        store, number = _passage(service, id)
        (stored, *_) = await service.in_thread(engine.around, store, number, 0)
        document = await service.in_thread(engine.document, store, document_id(stored.source))
        passages = await service.in_thread(engine.passages, store, document)
        text = "\n\n".join(one.passage.text for one in passages)
        pages = max(1, -(-len(text) // PAGE_CHARACTERS))
        start = (_within(page, 1, pages) - 1) * PAGE_CHARACTERS
        return {
            "id": id,
            "title": document.title,
            "text": text[start : start + PAGE_CHARACTERS],
            "url": file_url(base, store, document) if base else f"clara://{store}/{number}",
            "metadata": {"page": _within(page, 1, pages), "pages": pages, "passages": document.num_passages},
        }

    @tool
    async def ask(question: str, store: str | None = None, passages: int | None = None) -> dict[str, Any]:
        """Answer a short factual question from the documents, with the sources of the answer."""
        name = store_of(store)
        count = None if passages is None else _within(passages, 1, 50)
        answer = await service.ask(Asked(name, question, k=count))
        return {
            "answer": answer.text,
            "is_doubtful": answer.is_doubtful,
            "sources": [
                {
                    "id": f"{name}:{source.id}",
                    "title": place_of(source),
                    "url": url(name, source),
                    "text": source.evidence.text if source.evidence else source.text[:300],
                }
                for source in answer.sources
            ],
        }

    @tool
    async def read_neighbours(id: str, count: int = 1) -> dict[str, Any]:
        """Read the passage of a search result together with those before and after it."""
        store, number = _passage(service, id)
        found = await service.in_thread(engine.around, store, number, _within(count, 0, 10))
        return {
            "passages": [
                {"id": f"{store}:{one.id}", "heading": one.passage.heading, "text": one.passage.text}
                for one in found
            ]
        }

    @tool
    async def list_documents(store: str | None = None, page: int = 1) -> dict[str, Any]:
        """List the documents of a store, 200 a page."""
        name = store_of(store)
        documents = await service.in_thread(engine.documents, name)
        pages = max(1, -(-len(documents) // 200))
        start = (_within(page, 1, pages) - 1) * 200
        return {
            "store": name,
            "stores": list(engine.paths),
            "pages": pages,
            "documents": [
                {"id": document_id(one.source), "title": one.title, "passages": one.num_passages}
                for one in documents[start : start + 200]
            ],
        }

    if allow_writes:

        @tool
        async def add_text(name: str, text: str, store: str | None = None) -> dict[str, Any]:
            """Add a text to the documents under a name; a text of the same name is replaced."""
            if not name.strip() or name.strip().startswith("/"):
                raise InputError("The name must be a title or address, not a path.")
            report = await service.in_thread(engine.add_texts, store_of(store), {name.strip(): text})
            return {"added": report.added, "replaced": report.replaced, "passages": report.passages}

        @tool
        async def remove_document(id: str, store: str | None = None) -> dict[str, Any]:
            """Remove a document, by the id that list_documents gave; its file stays."""
            name = store_of(store)
            document = await service.in_thread(engine.document, name, id)
            return {"removed": await service.in_thread(engine.remove, name, [document.source])}

    return server


def http_agents(service: Service) -> tuple[ASGIApp, Callable[[], AbstractAsyncContextManager[None]]]:
    """The MCP server as an application to mount, and what must run while it is served.

    Hosts and origins are checked by the gate before it, which knows under which names the server is reached.
    """
    server = agent_server(service, allow_writes=service.settings.allow_writes)
    app = server.streamable_http_app(
        streamable_http_path="/",
        json_response=True,
        stateless_http=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return app, server.session_manager.run


def _passage(service: Service, number: str) -> tuple[str, int]:
    """Store and number of a passage that an identifier names."""
    store, _, digits = number.rpartition(":")
    store = store or service.engine.default_store
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise UnknownError(f"There is no passage {number!r}; use an id of a search result.")
    service.engine.check_store(store)
    return store, int(digits)


def _within(value: int, least: int, most: int) -> int:
    return max(least, min(most, value))


def serve_stdio(service: Service, *, allow_writes: bool) -> None:
    """Serve an agent at standard input and output until it hangs up; the model loads meanwhile.

    Raises:
        ClaraError: The server cannot be started.
    """
    # importing the model would keep the first answers, which need none, waiting
    loading = threading.Timer(_LOAD_AFTER, service.start)
    loading.daemon = True
    loading.start()
    try:
        agent_server(service, allow_writes=allow_writes).run("stdio")
    except* ClaraError as group:
        raise group.exceptions[0] from None
    finally:
        loading.cancel()
        service.stop()
