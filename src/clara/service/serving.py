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

import uvicorn

from clara.errors import ClaraError, InputError
from clara.service.app import create_app
from clara.service.running import Note, model_mark, noted, store_mark
from clara.service.service import Service
from clara.service.settings import Settings


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
    _log_lines()
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
        timeout_graceful_shutdown=int(settings.limits.stop_seconds),
    )
    server = uvicorn.Server(config)
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
        if not service.has_ended:
            # Python would abort with a thread still within torch; what was uploaded is on the disk
            logging.shutdown()
            os._exit(0)
    if failed:
        raise failed[0]


def _socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"The server cannot listen at {host} port {port}: {reason}; choose another with --port."
        ) from error


def _log_lines() -> None:
    """Log to standard error: requests as JSON, all else as text."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name, level in (("clara", logging.INFO), ("uvicorn.error", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
