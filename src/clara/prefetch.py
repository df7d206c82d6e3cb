"""An iterator that works ahead of its user in a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def prefetch(items: Iterable[T], count: int) -> Iterator[Iterator[T]]:
    """The items of an iterable, of which up to `count` are made before they are asked for.

    What the iterable raises is raised where its next item was asked for. When the block ends early, the
    thread ends after the item that it is making.

    Args:
        items: Gone through in another thread, once.
        count: How many items wait at most.
    """
    source = iter(items)
    with ThreadPoolExecutor(max_workers=1) as thread:
        waiting = deque(thread.submit(next, source) for _ in range(count + 1))

        def results() -> Iterator[T]:
            while True:
                try:
                    item = waiting.popleft().result()
                except StopIteration:
                    return
                waiting.append(thread.submit(next, source))
                yield item

        try:
            yield results()
        finally:
            thread.shutdown(cancel_futures=True)
