"""Numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "clara_requests", "Requests by route and status.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "clara_request_seconds",
            "From request to end of answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "clara_batch_jobs",
            "Requests that the model took at once.",
            ["kind"],
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        self._model = Counter(
            "clara_model_seconds", "Time that the model worked.", ["kind"], registry=self._registry
        )
        self._waiting = Gauge(
            "clara_queue_jobs", "Requests that wait for the model.", registry=self._registry
        )

    def watch_queue(self, count: Callable[[], float]) -> None:
        """Ask this for the length of the queue whenever it is wanted."""
        self._waiting.set_function(count)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, kind: str, jobs: int, seconds: float) -> None:
        """Count a batch that the model did."""
        self._batches.labels(kind).observe(jobs)
        self._model.labels(kind).inc(seconds)

    def text(self) -> bytes:
        """All numbers in Prometheus' format."""
        return generate_latest(self._registry)
