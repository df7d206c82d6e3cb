"""The thread of the model: batches, limits, cancellation."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from clara.service.worker import BusyError, Job, StoppedError, Worker


class Echo:
    """A handler that waits until it may go on, and notes its batches."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.is_at_work = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, jobs: Sequence[Job]) -> list[object]:
        self.batches.append([job.payload for job in jobs])
        self.is_at_work.set()
        assert self.may_go.wait(10)
        return [ValueError("odd") if job.payload < 0 else job.payload * 2 for job in jobs]


def test_waiting_jobs_of_one_kind_are_done_together_in_order() -> None:
    echo, other = Echo(), Echo()
    other.may_go.set()
    worker = Worker({"a": echo, "b": other}, queue=10, batch=3)
    worker.start()
    jobs = [worker.submit(Job("a", 0))]
    assert echo.is_at_work.wait(10)
    jobs += [worker.submit(Job(kind, number)) for number, kind in enumerate("aabaa", start=1)]
    echo.may_go.set()
    assert [job.result.result(10) for job in jobs] == [0, 2, 4, 6, 8, 10]
    assert (echo.batches, other.batches) == ([[0], [1, 2, 4], [5]], [[3]])
    worker.stop(10)


def test_an_error_is_its_own_jobs_and_no_other() -> None:
    echo = Echo()
    echo.may_go.set()
    worker = Worker({"a": echo}, queue=10, batch=3)
    jobs = [worker.submit(Job("a", number)) for number in (-1, 1)]
    worker.start()
    with pytest.raises(ValueError, match="odd"):
        jobs[0].result.result(10)
    assert jobs[1].result.result(10) == 2
    worker.stop(10)


def test_the_queue_is_bounded_and_those_who_leave_make_room() -> None:
    worker = Worker({"a": Echo()}, queue=2, batch=3)
    first, _ = (worker.submit(Job("a", number)) for number in range(2))
    with pytest.raises(BusyError, match="wait already"):
        worker.submit(Job("a", 3))
    first.leave()
    worker.submit(Job("a", 3))
    assert worker.waiting == 2


def test_stopping_refuses_what_waits() -> None:
    worker = Worker({"a": Echo()}, queue=2, batch=3)
    job = worker.submit(Job("a", 1))
    worker.stop(1)
    with pytest.raises(StoppedError):
        job.result.result(1)
    with pytest.raises(StoppedError):
        worker.submit(Job("a", 1))


def test_refusing_gives_up_what_waits_and_what_is_at_work() -> None:
    echo = Echo()
    worker = Worker({"a": echo}, queue=10, batch=1)
    worker.start()
    jobs = [worker.submit(Job("a", number)) for number in range(3)]
    assert echo.is_at_work.wait(10)
    worker.refuse()
    for job in jobs:
        with pytest.raises(StoppedError):
            job.result.result(1)
    echo.may_go.set()  # its result comes too late and harms nothing
    assert worker.stop(10)
    assert echo.batches == [[0]]
