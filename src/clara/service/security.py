"""What every request passes first: its name for the log, who may ask, from where, and how much at once."""

from __future__ import annotations

import hmac
import json
import logging
import time
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clara.service.connection import LEFT, Connection
from clara.service.metrics import Metrics
from clara.service.settings import Settings, is_address, is_local

access_log = logging.getLogger("clara.access")

OPEN_PATHS = frozenset({"/", "/health", "/page.js", "/page.css"})
"""What is served without a key: the empty page and whether the server is up."""

UPLOADS = "/uploads/"
"""Part of the path under which uploads come; they have a limit of their own."""

_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Gate:
    """Lets requests pass to the routes, or answers why not.

    Args:
        app: The routes.
        settings: Keys, hosts, origins and limits.
        metrics: Counts what was answered.
        own_key: Known to commands of the same user on this machine alone.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, own_key: str = "") -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._keys = [key.encode() for key in (*settings.keys, own_key) if key]
        self._needs_key = bool(settings.keys)
        self._hosts = frozenset(host.lower() for host in (settings.host, *settings.hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        number = _clean(headers.get("x-request-id", "")) or uuid4().hex
        scope.setdefault("state", {})["request_id"] = number
        started, status, has_begun = time.perf_counter(), 500, False

        async def sent(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                found = MutableHeaders(scope=message)
                found["x-request-id"] = number
                for name, value in _HEADERS.items():
                    found.setdefault(name, value)
                origin = headers.get("origin")
                if origin and origin in self._settings.origins:
                    found["access-control-allow-origin"] = origin
                    found["vary"] = "Origin"
            await send(message)

        if scope["path"] == "/mcp":  # where it is mounted ends with a slash
            scope = {**scope, "path": "/mcp/", "raw_path": b"/mcp/"}
        refusal = self._refusal(scope, headers)
        limit = self._largest(scope)
        connection = Connection(receive, limit, self._settings.limits.seconds)
        try:
            if refusal is not None:
                await refusal(scope, receive, sent)
            else:
                await connection.run(self._app, scope, sent)
                if connection.fault == LEFT:
                    status = LEFT
                elif connection.fault and not has_begun:
                    await _broken(connection.fault, limit)(scope, receive, sent)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(route, status, seconds)
            access_log.info(
                json.dumps(
                    {
                        "request": number,
                        "method": scope["method"],
                        "route": route,
                        "status": status,
                        "ms": round(1000 * seconds, 1),
                    }
                )
            )

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        """The answer to a request that may not pass."""
        host = _host(headers.get("host", ""))
        if not self._is_known_host(host):
            return problem(
                403, f"The host {host!r} is not one of this server's; name it with --allow-host.", "host"
            )
        origin = headers.get("origin")
        if origin and origin not in self._settings.origins:
            parts = urlsplit(origin)
            if f"{parts.hostname}:{parts.port or ''}" != _with_port(headers.get("host", "")):
                return problem(
                    403, "Pages of other servers may not call this one; name them with --cors.", "origin"
                )
        if scope["method"] == "OPTIONS" and origin and "access-control-request-method" in headers:
            return JSONResponse(
                {},
                headers={
                    "access-control-allow-methods": "GET, POST, DELETE",
                    "access-control-allow-headers": "authorization, content-type, x-api-key",
                },
            )
        if self._needs_key and scope["path"] not in OPEN_PATHS and not self._has_key(headers):
            return problem(
                401,
                "A key is needed; send it as Authorization: Bearer KEY.",
                "key",
                headers={"www-authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._largest(scope):
            return _broken(413, self._largest(scope))
        return None

    def _is_known_host(self, host: str) -> bool:
        """Whether a Host header may be meant for this server; an address cannot be that of a rebound name."""
        return host in self._hosts or "*" in self._settings.hosts or is_local(host) or is_address(host)

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        key = given.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        found = False
        for known in self._keys:  # all of them, so that the time tells nothing
            found |= hmac.compare_digest(known, key.encode("utf-8", "replace"))
        return found

    def _largest(self, scope: Scope) -> int:
        limits = self._settings.limits
        return limits.upload_bytes if UPLOADS in scope["path"] else limits.body_bytes


def _broken(status: int, largest: int) -> JSONResponse:
    """The answer to a body that broke a limit; the rest of it is not read."""
    if status == 413:
        message, code = f"The body has more than {largest:,} bytes; send less.", "size"
    else:
        message, code = "The body of the request did not come in time; send it again.", "slow"
    return problem(status, message, code, headers={"connection": "close"})


def problem(
    status: int,
    message: str,
    code: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """An error as OpenAI's protocol has it."""
    body: dict[str, Any] = {"error": {"message": message, "type": kind, "code": code, "param": param}}
    return JSONResponse(body, status, headers)


def _clean(number: str) -> str:
    return number if len(number) <= 64 and number.isascii() and number.replace("-", "").isalnum() else ""


def _host(value: str) -> str:
    """The name within a Host header, without its port."""
    try:
        return (urlsplit(f"//{value}").hostname or "").lower()
    except ValueError:
        return ""


def _with_port(value: str) -> str:
    try:
        parts = urlsplit(f"//{value}")
        return f"{parts.hostname}:{parts.port or ''}"
    except ValueError:
        return ""
