"""Server-sent events."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, TypeVar

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from clara.errors import ClaraError

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


DESCRIPTION: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
"""Of a route that answers with JSON or, where a client asks for it, with such a stream."""


class EventStream(StreamingResponse):
    """A stream of events.

    Args:
        events: Each one line of JSON.
        named: Whether an event's "type" stands in a line of its own before it.
        ends: Whether "[DONE]" stands at the end.
    """

    def __init__(
        self, events: AsyncIterator[Mapping[str, Any]], *, named: bool = False, ends: bool = False
    ) -> None:
        self._lines = _lines(events, named=named, ends=ends)
        super().__init__(
            self._lines,
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; where the client leaves this is cancelled."""
        try:
            await self.stream_response(send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._lines.aclose()


async def _lines(
    events: AsyncIterator[Mapping[str, Any]], *, named: bool, ends: bool
) -> AsyncGenerator[str, None]:
    try:
        async for event in events:
            yield _line(event, named=named)
    except (ClaraError, TimeoutError) as error:
        message = str(error) or "The answer took too long."
        yield _line({"type": "error", "error": {"message": message, "type": "server_error"}}, named=named)
    except Exception:
        logger.exception("A stream failed.")
        failure = {"message": "The server failed; its log says why.", "type": "server_error"}
        yield _line({"type": "error", "error": failure}, named=named)
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
    if ends:
        yield "data: [DONE]\n\n"


def _line(event: Mapping[str, Any], *, named: bool) -> str:
    data = f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
    return f"event: {event['type']}\n{data}" if named else data


async def begun(pieces: AsyncGenerator[_T, None]) -> AsyncGenerator[_T, None]:
    """The same pieces, of which the first is there already: what fails before it fails here."""
    first = await anext(pieces)

    async def again() -> AsyncGenerator[_T, None]:
        try:
            yield first
            async for piece in pieces:
                yield piece
        finally:
            await pieces.aclose()

    return again()
