"""One thread that runs the model. Requests wait in a bounded queue; those of one kind are taken together."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from clara.errors import ClaraError

logger = logging.getLogger(__name__)


class BusyError(ClaraError):
    """Too many requests wait for the model."""


class StoppedError(ClaraError):
    """The server is stopping and takes no more requests."""


@dataclass(eq=False)
class Job:
    """Work for the model.

    Attributes:
        kind: What is to be done; jobs of one kind can be done together.
        payload: What the handler of the kind takes.
        emit: Told pieces of the result as they come; None where only the whole is wanted.
        result: The result; cancelling it takes the job out of the queue.
        since: When it began to wait.
    """

    kind: str
    payload: Any
    emit: Callable[[Any], None] | None = None
    result: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)
    is_left: bool = False

    def leave(self) -> None:
        """Nobody waits for the result any more."""
        self.is_left = True
        self.result.cancel()


Handler = Callable[[Sequence[Job]], Sequence[Any]]
"""Does jobs of one kind; gives a result or an exception for each."""


class Worker:
    """Runs handlers in one thread.

    Args:
        handlers: By kind.
        queue: Jobs that may wait.
        batch: Jobs that a handler gets at once, at most.
        observe: Told the kind, the number of jobs and the seconds of every batch.
    """

    def __init__(
        self,
        handlers: dict[str, Handler],
        *,
        queue: int,
        batch: int,
        observe: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._handlers = handlers
        self._limit, self._batch = queue, batch
        self._observe = observe
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._running: list[Job] = []
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="clara-model", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Take no more jobs, refuse those that wait, let the one at work end; whether it did in that time."""
        self._end(with_running=False)
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def refuse(self) -> None:
        """Take no more jobs, and give up those that wait and those at work."""
        self._end(with_running=True)

    def _end(self, *, with_running: bool) -> None:
        with self._changed:
            self._is_stopped = True
            given_up = [*self._waiting, *(self._running if with_running else ())]
            self._waiting.clear()
            self._changed.notify_all()
        for job in given_up:
            _set(job, StoppedError("The server is stopping; ask again in a moment."))

    @property
    def waiting(self) -> int:
        """Jobs in the queue that somebody waits for."""
        with self._changed:
            return sum(not job.is_left for job in self._waiting)

    def submit(self, job: Job) -> Job:
        """Queue a job.

        Raises:
            BusyError: The queue is full.
            StoppedError: The worker was stopped.
        """
        with self._changed:
            if self._is_stopped:
                raise StoppedError("The server is stopping; ask again in a moment.")
            if len(self._waiting) >= self._limit:
                self._waiting = deque(one for one in self._waiting if not one.is_left)
            if len(self._waiting) >= self._limit:
                raise BusyError(f"{len(self._waiting)} requests wait already; ask again in a moment.")
            self._waiting.append(job)
            self._changed.notify()
        return job

    def _take(self) -> list[Job]:
        """The job that waited longest, and with it others of its kind; none when stopped."""
        with self._changed:
            while True:
                while not self._waiting and not self._is_stopped:
                    self._changed.wait()
                if not self._waiting:
                    return []
                kind = self._waiting[0].kind
                taken: list[Job] = []
                left: deque[Job] = deque()
                for job in self._waiting:
                    if job.is_left:
                        continue
                    if job.kind == kind and len(taken) < self._batch:
                        taken.append(job)
                    else:
                        left.append(job)
                self._waiting = left
                taken = [job for job in taken if job.result.set_running_or_notify_cancel()]
                if taken:
                    self._running = taken
                    return taken

    def _run(self) -> None:
        while jobs := self._take():
            started = time.perf_counter()
            results = self._done(jobs)
            self._observe(jobs[0].kind, len(jobs), time.perf_counter() - started)
            for job, result in zip(jobs, results, strict=True):
                _set(job, result)

    def _done(self, jobs: Sequence[Job]) -> Sequence[Any]:
        """Results of jobs; if one of them makes their batch fail, those of each alone."""
        try:
            return self._handlers[jobs[0].kind](jobs)
        except Exception as error:
            if len(jobs) > 1:
                return [error if job.is_left else self._done([job])[0] for job in jobs]
            if not isinstance(error, ClaraError):
                logger.exception("The model failed.")
            return [error]


def _set(job: Job, result: Any) -> None:
    """Give a result or an exception, unless the job was given up."""
    with suppress(InvalidStateError):
        if isinstance(result, Exception):
            job.result.set_exception(result)
        else:
            job.result.set_result(result)
