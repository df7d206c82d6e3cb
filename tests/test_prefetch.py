"""What is made ahead is what would have been made in turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from clara.prefetch import prefetch


@pytest.mark.parametrize("count", [1, 3, 100])
def test_items_come_whole_and_in_order(count: int) -> None:
    with prefetch(range(50), count) as items:
        assert list(items) == list(range(50))


def test_no_more_than_asked_are_made_before() -> None:
    made: list[int] = []
    waiting = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            if number == 3:  # two wait, one is held, and this one has been begun
                waiting.set()
            yield number

    with prefetch(numbers(), 2) as items:
        assert next(items) == 0
        assert waiting.wait(10)
        assert made == [0, 1, 2, 3]
        assert list(items) == list(range(1, 10))


def test_an_error_comes_after_the_items_before_it() -> None:
    def faulty() -> Iterator[int]:
        yield 1
        raise ValueError("the second one")

    with prefetch(faulty(), 5) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="the second one"):
            next(items)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    with prefetch(iter(int, 1), 2) as items:
        assert next(items) == 0
    assert threading.active_count() == before
