"""What a search did, step by step, for `explain`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from clara.records import Hit

_SHOWN = 100  # candidates of a step that are kept


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that a step put forward: its id, its rank from 1, and its score in this step."""

    id: int
    rank: int
    score: float


@dataclass(slots=True)
class Step:
    """One step of a search.

    Attributes:
        name: "filter", "index", "exact", "lexical", "fused" or "rerank".
        milliseconds: Time that it took.
        count: Passages that came out of it, or for "exact" that were compared.
        candidates: The best of them, at most 100; none for "filter". Scores are cosines as far as the index
            knows them, exact cosines, BM25, the fused
            scores, or those of the reranking.
    """

    name: str
    milliseconds: float = 0.0
    count: int = 0
    candidates: list[Candidate] = field(default_factory=list)

    def rank(self, ids: Iterable[int], scores: Iterable[float]) -> None:
        """Keep the best candidates, which come in order."""
        ranked = zip(range(_SHOWN), ids, scores, strict=False)
        self.candidates = [Candidate(int(id_), at + 1, float(score)) for at, id_, score in ranked]


@dataclass(slots=True)
class Explanation:
    """The hits of a search and how they came about.

    Attributes:
        hits: What `search` returns.
        passages: Passages in the store.
        allowed: Passages that the filter allows; all of them without one.
        steps: In the order in which they were taken; one that was repeated with more candidates comes again.
    """

    hits: list[Hit] = field(default_factory=list)
    passages: int = 0
    allowed: int = 0
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Time a step and keep it."""
        step, started = Step(name), time.perf_counter()
        yield step
        step.milliseconds = round(1000 * (time.perf_counter() - started), 3)
        self.steps.append(step)
