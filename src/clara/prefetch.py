"""An iterator that works ahead of its user in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Full, Queue
from typing import Generic, TypeVar

T = TypeVar("T")

_WAIT_SECONDS = 0.1


@contextmanager
def prefetch(items: Iterable[T], count: int) -> Iterator[Iterator[T]]:
    """The items of an iterable, of which up to `count` are made before they are asked for.

    What the iterable raises is raised where its next item was asked for. When the block ends early, the
    thread ends after the item that it is making.

    Args:
        items: Gone through in another thread, once.
        count: How many items wait at most.
    """
    worker = _Worker(items, count)
    worker.thread.start()
    try:
        yield worker.results()
    finally:
        worker.stop.set()
        worker.thread.join()


class _Worker(Generic[T]):
    def __init__(self, items: Iterable[T], count: int) -> None:
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self._items = items
        self._queue: Queue[tuple[T] | BaseException | None] = Queue(count)

    def results(self) -> Iterator[T]:
        while (result := self._queue.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result[0]

    def _run(self) -> None:
        last: BaseException | None = None
        try:
            for item in self._items:
                if not self._put((item,)):
                    return
        except BaseException as error:  # noqa: BLE001 - raised again by `results`
            last = error
        self._put(last)

    def _put(self, result: tuple[T] | BaseException | None) -> bool:
        """Hand a result on; False if nobody waits for it any more."""
        while not self.stop.is_set():
            try:
                self._queue.put(result, timeout=_WAIT_SECONDS)
            except Full:
                continue
            return True
        return False
