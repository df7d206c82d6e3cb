"""Spans of OpenTelemetry, where its interface is installed; without it nothing happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def span(name: str, **attributes: int | str) -> Iterator[None]:
    """A span around some work."""
    try:
        from opentelemetry import trace
    except ImportError:
        yield
        return
    with trace.get_tracer("clara").start_as_current_span(name, attributes=attributes):
        yield
