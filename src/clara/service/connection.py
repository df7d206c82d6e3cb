"""A request's connection: its body within limits of size and time, and a client that leaves."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEFT = 499
"""Status under which requests are counted whose client left before its answer, as nginx does."""

_SLOWEST = 1 << 16
"""Bytes a second at which a body may go on after its time, so that large uploads have more of it."""


class Connection:
    """Runs an application for one request, until its client leaves or its body breaks a limit.

    Args:
        receive: What the client sends.
        largest: Bytes of the largest body.
        seconds: How long a body may take; more by a second for each 64 KiB.

    Attributes:
        fault: 0, or why the application was not let end: 408, 413 or `LEFT`.
    """

    def __init__(self, receive: Receive, largest: int, seconds: float) -> None:
        self._receive = receive
        self._largest, self._seconds = largest, seconds
        self._messages: asyncio.Queue[Message] = asyncio.Queue(1)
        self._is_gone = self._is_answered = False
        self.fault = 0

    async def run(self, app: ASGIApp, scope: Scope, send: Send) -> None:
        """Call the application; what it does is cancelled at a fault."""

        async def sent(message: Message) -> None:
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            self._is_answered |= last
            await send(message)

        work = asyncio.ensure_future(app(scope, self._next, sent))
        reading = asyncio.ensure_future(self._read())
        try:
            await asyncio.wait((work, reading), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            if self.fault:
                work.cancel()
            await asyncio.wait((work,))
            if not self.fault:
                work.result()
        finally:
            work.cancel()
            reading.cancel()

    async def _next(self) -> Message:
        """The next message, as the application reads it."""
        if self._is_gone and self._messages.empty():
            return {"type": "http.disconnect"}
        return await self._messages.get()

    async def _read(self) -> None:
        """Read messages until the client leaves, no faster than the application does."""
        end = asyncio.get_running_loop().time() + self._seconds
        size, is_whole = 0, False
        while True:
            try:
                async with asyncio.timeout_at(None if is_whole else end + size / _SLOWEST):
                    message = await self._receive()
            except TimeoutError:
                self.fault = 408
                return
            if message["type"] == "http.disconnect":
                self._is_gone = True
                self.fault = 0 if self._is_answered else LEFT
                with suppress(asyncio.QueueFull):
                    self._messages.put_nowait(message)
                return
            size += len(message.get("body", b""))
            if size > self._largest:
                self.fault = 413
                return
            is_whole = not message.get("more_body", False)
            await self._messages.put(message)
