"""A server as a process: listens, tells where, and ends in order."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import QueueHandler, QueueListener
from queue import Queue
from types import FrameType
from typing import Any, TextIO

import uvicorn

from clara.errors import ClaraError, InputError
from clara.service.app import create_app
from clara.service.running import Note, model_mark, noted, store_mark
from clara.service.service import Service
from clara.service.settings import Settings

_AFTER_REFUSAL = 5
"""Seconds for clients to be told that no answer comes, before their connections are closed."""

_LINES = 10_000
"""Lines of the log that may wait to be written."""

_LAST_LINES = 2.0
"""Seconds that the last lines of the log may take."""


class _Server(uvicorn.Server):
    """Refuses what is not answered a while after a signal, before uvicorn gives connections up.

    Args:
        config: Of uvicorn.
        service: What answers.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        super().handle_exit(sig, frame)
        refusing = threading.Timer(self._service.settings.limits.stop_seconds, self._service.worker.refuse)
        refusing.daemon = True
        refusing.start()


def serve(settings: Settings, told: Callable[[str], None], log: str | None = None) -> None:
    """Serve until a signal ends it.

    Args:
        settings: What to serve and where.
        told: Called with the server's address once it listens and the model is loaded.
        log: File that the log goes to, for the note; None for standard error as it is.

    Raises:
        InputError: The address cannot be listened at.
        ClaraError: The model or a store cannot be used.
    """
    lines = _log_lines()
    listening = _socket(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    shown = "127.0.0.1" if ipaddress.ip_address(host).is_unspecified else host
    url = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    key = secrets.token_urlsafe(24)
    service = Service(settings)
    config = uvicorn.Config(
        create_app(settings, service=service, own_key=key),
        log_config=None,
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=int(settings.limits.stop_seconds) + _AFTER_REFUSAL,
    )
    server = _Server(config, service)
    failed: list[ClaraError] = []

    def watch() -> None:
        """Tell when the model is there, and leave a note; end the server if it cannot be loaded."""
        try:
            service.wait()
        except ClaraError as error:
            failed.append(error)
            server.should_exit = True
            return
        note = Note(
            pid=os.getpid(),
            url=url,
            key=key,
            stores={str(path): store_mark(path) or (0, 0) for path in service.engine.paths.values()},
            names={str(path): name for name, path in service.engine.paths.items()},
            model=model_mark(settings.model, settings.subfolder, settings.base),
            log=log,
            since=time.time(),
        )
        with noted(note):
            with suppress(OSError):  # whoever started the server may have gone; clients still find it
                told(url)
            ended.wait()

    ended = threading.Event()
    watching = threading.Thread(target=watch, name="clara-note")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn sends itself the signal that ended it
    try:
        watching.start()
        server.run(sockets=[listening])
    finally:
        ended.set()
        listening.close()
        watching.join()
        if not failed:
            # what Python does at its end takes seconds, and aborts with a thread still within torch
            try:
                _write_out(lines)
                sys.stdout.flush()
            finally:
                os._exit(0)
    if failed:
        raise failed[0]


def _socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host.strip("[]"), port), family=family, backlog=2048)
        # asyncio does so only for sockets that name their protocol; without it each answer waits for 40 ms
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"The server cannot listen at {host} port {port}: {reason}; choose another with --port."
        ) from error


class _Lines(QueueHandler):
    """Hands lines to the thread that writes them; a reader that stops reading must not stop the server."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the line: too many are not yet written."""


class _Written(logging.StreamHandler[TextIO]):
    """Writes lines to standard error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Drop the line: nobody reads any more, and there is nowhere to say so."""


def _log_lines() -> Queue[Any]:
    """Log to standard error: requests as JSON, all else as text. Gives the lines to be written."""
    lines: Queue[Any] = Queue(_LINES)
    written = _Written()
    written.setFormatter(logging.Formatter("%(message)s"))
    QueueListener(lines, written).start()
    for name, level in (("clara", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Lines(lines)], False
        logger.setLevel(level)
    return lines


def _write_out(lines: Queue[Any]) -> None:
    """Wait a moment for lines that are not yet written."""
    end = time.monotonic() + _LAST_LINES
    while lines.unfinished_tasks and time.monotonic() < end:
        time.sleep(0.01)
