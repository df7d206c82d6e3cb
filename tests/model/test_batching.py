"""Properties of batches by length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clara.batching import by_length

LENGTHS = st.lists(st.integers(0, 300), max_size=60)


@given(LENGTHS, st.integers(1, 1000))
def test_by_length(lengths: list[int], budget: int) -> None:
    batches = by_length(lengths, budget)
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(len(lengths)))
    # shortest first, equal lengths in their order
    assert [(lengths[i], i) for i in order] == sorted((lengths[i], i) for i in order)
    for number, batch in enumerate(batches):
        size = max(lengths[index] for index in batch)
        assert len(batch) == 1 or size * len(batch) <= budget
        # no batch could have taken the first of the next
        if number + 1 < len(batches):
            assert lengths[batches[number + 1][0]] * (len(batch) + 1) > budget


def test_nothing_gives_no_batches() -> None:
    assert by_length([], 10) == []
