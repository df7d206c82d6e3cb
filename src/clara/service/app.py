"""The application: all routes behind the gate, errors as answers, and the life of the service."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.responses import Response as HttpResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from clara import __version__
from clara.errors import CheckpointError, ClaraError, StoreError
from clara.service.agents import http_agents
from clara.service.engine import UnknownError
from clara.service.metrics import CONTENT_TYPE
from clara.service.routes_openai import openai_routes
from clara.service.routes_page import ReadOnlyError, page_routes
from clara.service.security import Gate, problem
from clara.service.service import NotReadyError, Service
from clara.service.settings import Settings
from clara.service.uploads import TooLargeError
from clara.service.worker import BusyError, StoppedError

logger = logging.getLogger(__name__)


class Failure(BaseModel):
    """What went wrong."""

    message: str
    type: str
    code: str
    param: str | None = None


class Problem(BaseModel):
    """The body of every answer that is no success."""

    error: Failure


_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (UnknownError, 404, "not_found"),
    (TooLargeError, 413, "size"),
    (ReadOnlyError, 403, "read_only"),
    (BusyError, 429, "busy"),
    (NotReadyError, 503, "not_ready"),
    (StoppedError, 503, "stopping"),
    (CheckpointError, 500, "model"),
    (StoreError, 409, "store"),
    (ClaraError, 400, "input"),
    (TimeoutError, 504, "timeout"),
)
_DECLARED = {
    400: "The request cannot be used.",
    401: "A key is needed.",
    403: "Not allowed.",
    404: "There is no such thing.",
    408: "The body did not come in time.",
    409: "The store cannot be used now.",
    413: "Too large.",
    422: "The request cannot be used.",
    429: "Too many wait; ask again after Retry-After.",
    503: "Not ready, or stopping.",
    504: "It took too long.",
}
_RETRY = {"retry-after": "1"}


def create_app(settings: Settings, *, service: Service | None = None, own_key: str = "") -> ASGIApp:
    """The application of a server; the model is loaded when it starts, in the background.

    Args:
        settings: What it serves.
        service: What answers; made from the settings by default.
        own_key: Known to commands of the same user on this machine alone; it opens the server to them.
    """
    served = service or Service(settings)
    agents, agents_life = http_agents(served)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        served.start()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(agents_life())
            yield
        served.stop()

    app = FastAPI(
        title="Clara",
        version=__version__,
        description="Question answering over your own documents.",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        responses={
            status: {"model": Problem, "description": description}
            for status, description in _DECLARED.items()
        },
    )
    app.state.service = served
    app.include_router(openai_routes(served))
    app.include_router(page_routes(served))

    @app.get("/health")
    async def health() -> JSONResponse:
        """Whether the model is loaded; 503 until then, and after it failed."""
        if served.is_ready:
            return JSONResponse({"status": "ready"})
        error = None if served.error is None else str(served.error)
        return JSONResponse({"status": "failed" if error else "loading", "error": error}, 503)

    @app.get("/metrics", response_class=HttpResponse)
    async def metrics() -> HttpResponse:
        """Numbers for Prometheus."""
        return HttpResponse(served.metrics.text(), media_type=CONTENT_TYPE)

    app.mount("/mcp", agents)
    _translate_errors(app)
    return Gate(app, settings, served.metrics, own_key)


def _translate_errors(app: FastAPI) -> None:
    """Answer every error that is foreseen in the same form."""

    async def foreseen(_: Request, error: Exception) -> JSONResponse:
        status, code = next((status, code) for kind, status, code in _STATUS if isinstance(error, kind))
        message = str(error) or "It took too long; ask again, or for less."
        kind = "invalid_request_error" if status < 429 else "server_error"
        headers = _RETRY if status in (429, 503) else None
        return problem(status, message, code, kind=kind, headers=headers)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        found: Any = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        place = ".".join(str(part) for part in found.get("loc", ()) if part != "body")
        message = f"{place}: {found.get('msg', 'cannot be used')}" if place else str(found.get("msg", ""))
        return problem(400, f"The request cannot be used: {message}.", "invalid", param=place or None)

    async def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers) if error.headers else None
        return problem(error.status_code, str(error.detail), "refused", headers=headers)

    async def failed(_: Request, error: Exception) -> JSONResponse:
        return problem(500, "The server failed; its log says why.", "internal", kind="server_error")

    app.add_exception_handler(Exception, failed)
    app.add_exception_handler(ClaraError, foreseen)
    app.add_exception_handler(TimeoutError, foreseen)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)
