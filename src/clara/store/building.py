"""Building an index: directions, lists, and how much of them a search must look through."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from clara.errors import MissingExtraError, StoreError
from clara.store.index import (
    FOLDER,
    MANIFEST,
    Ids,
    IndexFile,
    IndexManifest,
    current_stamp,
    faiss_module,
    save,
)
from clara.store.scoring import VectorTable, flattened
from clara.store.store import MemoryStore

logger = logging.getLogger(__name__)

EXACT_VALUES = 1 << 22
"""Values that a search compares one by one in five milliseconds; smaller stores need no index."""

TAIL_SHARE = 0.2
"""Share of passages that may lie outside the index before it is built again."""

BEST = 100
"""How many of the best the index is built to find; as many as a search fuses with lexical candidates."""

_ENERGY = 0.95
_MOST_DIMENSIONS = 512
_MOST_SLOTS = 32
_DIRECTION_SAMPLE = 8192
_SAMPLE_PER_LIST = 64
_TRIALS = 64  # searches that are made to choose how much is looked through
_TRIAL_SAMPLE = 1024
# cosine of a question and its passage, the mean of all taken off; of the small model's questions of SQuAD dev
# it is 0.54 in the median, and nine tenths have about as much as this
_NEARNESS = 0.4
_WANTED_RECALL = 0.99
_ACCEPTED_RECALL = 0.9  # where more would cost too much
_BUDGET = 24 << 20  # bytes that a search reads in about five milliseconds
_DEPTHS = (100, 200, 400, 1000, 2000, 4000)
_WITNESSES = 32
_EXTRA_DIRECTIONS = 32  # beyond those wanted, which makes the wanted ones exact
_POWER_ITERATIONS = 4

Progress = Callable[[str, int, int], None]
"""Told of each step by name, with how many passages are done and how many there are."""


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What `build_index` made; sizes are in bytes.

    Attributes:
        passages: Passages in the index.
        dimensions: Dimension of a projected vector.
        lists: Lists of the index.
        probed: Lists that a search looks through.
        depth: Candidates that it then compares exactly.
        recall: Share of the best 100 that this finds for vectors like questions.
        bytes: Size of the index.
        seconds: Time that it took.
    """

    passages: int
    dimensions: int
    lists: int
    probed: int
    depth: int
    recall: float
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """Vectors that are searched for, and the best of each so far."""

    vectors: NDArray[np.float32]
    best: Ids
    scores: NDArray[np.float32]

    @classmethod
    def like_questions(cls, passages: NDArray[np.float32], rng: np.random.Generator) -> Self:
        """Vectors that lie to passages as questions do: near one, and otherwise anywhere among all.

        Args:
            passages: A sample of unit vectors, of which the first are those that are asked about.
            rng: What chance comes from.
        """
        mean = passages.mean(axis=0)
        centred = passages - mean
        asked = centred[:_TRIALS]
        others = rng.standard_normal((len(asked), len(passages)), dtype=np.float32) @ centred
        lengths = np.linalg.norm(others, axis=1, keepdims=True)
        others *= np.linalg.norm(asked, axis=1, keepdims=True) / np.where(lengths > 0, lengths, 1)
        vectors = mean + _NEARNESS * asked + (1 - _NEARNESS**2) ** 0.5 * others
        empty = (len(vectors), BEST)
        return cls(vectors, np.full(empty, -1, np.int64), np.full(empty, -np.inf, np.float32))

    def see(self, ids: Ids, vectors: NDArray[np.float32]) -> None:
        """Take more vectors into account."""
        together = np.hstack([self.scores, self.vectors @ vectors.T])
        all_ids = np.hstack([self.best, np.broadcast_to(ids, (len(self.best), len(ids)))])
        kept = np.argpartition(-together, BEST - 1, axis=1)[:, :BEST]
        self.scores[:] = np.take_along_axis(together, kept, 1)
        self.best[:] = np.take_along_axis(all_ids, kept, 1)


class _Choice(NamedTuple):
    """How much a search looks through, the share of the best that it finds, and bytes that it reads."""

    recall: float
    cost: float
    probed: int
    depth: int


def index_is_due(store: MemoryStore) -> bool:
    """Whether a store is large enough for an index and has none, or too many passages outside it."""
    with store.snapshot():
        table = store.vectors()
    if compared_values(store, table) <= EXACT_VALUES:
        return False
    folder = store.path / FOLDER
    if current_stamp(folder) is None:
        return True
    try:
        manifest = IndexManifest.read(folder / MANIFEST)
    except StoreError:
        return True
    held = int(np.searchsorted(table.ids, manifest.last, side="right"))
    outside = len(table.ids) - held + manifest.passages - held
    return not manifest.is_of(store, table) or outside > TAIL_SHARE * len(table.ids)


def refresh_index(store: MemoryStore, progress: Progress = lambda *_: None) -> IndexReport | None:
    """Build the index if it is due; what an indexing run ends with.

    Returns:
        What was made; None if the index is not due, or FAISS is not installed, which is logged.

    Raises:
        StoreError: As for `build_index`.
    """
    if not index_is_due(store):
        return None
    try:
        return build_index(store, progress)
    except MissingExtraError as error:
        logger.warning("%s", error)
        return None


def build_index(store: MemoryStore, progress: Progress = lambda *_: None) -> IndexReport:
    """Build the index of a store anew and put it in the place of the one before it.

    Args:
        store: Open for writing, with at least one passage.
        progress: Told how far the work is.

    Raises:
        MissingExtraError: FAISS is not installed.
        StoreError: The store is read-only, closed or empty, or its folder cannot be written.
    """
    faiss = faiss_module()
    if store.read_only:
        raise StoreError(f"The store {store.path} was opened read-only; open it for writing.")
    started = time.perf_counter()
    with store.snapshot():
        table, generation = store.vectors(), store.generation()
        if len(table.ids) == 0:
            raise StoreError(f"The store {store.path} holds no passages; index some documents first.")
        builder = _Builder(faiss, store, table, progress)
        builder.learn()
        builder.fill()
        probed, depth, recall = builder.choose()
    dimensions, lists = builder.directions.shape[1], builder.index.nlist

    def describe(files: tuple[IndexFile, IndexFile]) -> IndexManifest:
        witnesses = np.unique(np.linspace(0, len(table.ids) - 1, _WITNESSES).astype(np.int64))
        return IndexManifest(
            fingerprint=store.fingerprint,
            created=store.created,
            generation=generation,
            passages=len(table.ids),
            last=int(table.ids[-1]),
            witnesses=dict(zip(table.ids[witnesses].tolist(), table.norm[witnesses].tolist(), strict=True)),
            slots=builder.slots,
            dimensions=dimensions,
            lists=lists,
            probed=probed,
            depth=depth,
            recall=recall,
            files=files,
        )

    manifest = save(store.path / FOLDER, builder.index, builder.directions, describe)
    size = sum(file.bytes for file in manifest.files)
    seconds = time.perf_counter() - started
    return IndexReport(len(table.ids), dimensions, lists, probed, depth, recall, size, seconds)


def compared_values(store: MemoryStore, table: VectorTable) -> int:
    """How many values a search of these vectors compares."""
    return int(table.count.sum()) * (store.embedding_dim or store.memory_dim)


class _Builder:
    """The steps of building, in order: `learn`, `fill`, `choose`."""

    def __init__(self, faiss: Any, store: MemoryStore, table: VectorTable, progress: Progress) -> None:
        self._faiss = faiss
        self._table = table
        self._progress = progress
        self._width = store.embedding_dim or store.memory_dim
        self._rng = np.random.default_rng(0)
        self.slots = min(_MOST_SLOTS, int(table.count.max()))
        self.directions: NDArray[np.float32]
        self.index: Any
        self._trial: _Trial

    def learn(self) -> None:
        """Learn the directions and the centres of the lists from samples."""
        passages = len(self._table.ids)
        lists = max(1, min(round(2 * passages**0.5), passages // 8))
        sample = np.concatenate([vectors for _, vectors in self._vectors(self._sample(_DIRECTION_SAMPLE))])
        self.directions = leading_directions(sample, _ENERGY, _MOST_DIMENSIONS)
        del sample
        training = self._sample(_SAMPLE_PER_LIST * lists)
        short = np.empty((len(training.ids), self.directions.shape[1]), np.float32)
        for start, vectors in self._vectors(training, "Learning"):
            short[start : start + len(vectors)] = vectors @ self.directions
        faiss = self._faiss
        self.index = faiss.index_factory(short.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        self.index.cp.min_points_per_centroid = 1
        self.index.train(short)

    def fill(self) -> None:
        """Put every vector into its list, and find out meanwhile what a search should find."""
        sample = np.concatenate([vectors for _, vectors in self._vectors(self._sample(_TRIAL_SAMPLE))])
        self._trial = _Trial.like_questions(self._rng.permutation(sample), self._rng)
        for start, vectors in self._vectors(self._table, "Indexing"):
            ids = self._table.ids[start : start + len(vectors)]
            self.index.add_with_ids(vectors @ self.directions, ids)
            self._trial.see(ids, vectors)

    def choose(self) -> tuple[int, int, float]:
        """The cheapest counts of lists and candidates that reach the wanted recall, and their recall."""
        steps = (round(8 * 1.5**power) for power in range(30))
        tried = [*(probed for probed in steps if probed < self.index.nlist), self.index.nlist]
        choices = [
            _Choice(recall, self._cost(probed, depth), probed, depth)
            for probed in tried
            for depth, recall in zip(_DEPTHS, self._recalls(probed), strict=True)
        ]
        recall, _, probed, depth = _cheapest(choices)
        return probed, depth, round(recall, 4)

    def _recalls(self, probed: int) -> list[float]:
        """The share of what should be found among the candidates, for each of `_DEPTHS`."""
        parameters = self._faiss.SearchParametersIVF(nprobe=probed)
        _, ids = self.index.search(self._trial.vectors @ self.directions, _DEPTHS[-1], params=parameters)
        wanted = [set(row[row >= 0].tolist()) for row in self._trial.best]
        total = sum(map(len, wanted))
        found = np.zeros(len(_DEPTHS))
        for own, row in zip(wanted, ids, strict=True):
            found += [len(own.intersection(row[:depth].tolist())) for depth in _DEPTHS]
        return (found / total).tolist() if total else [1.0] * len(_DEPTHS)

    def _cost(self, probed: int, depth: int) -> float:
        """Bytes that a search reads; those of candidates lie apart and count twice."""
        rows = float(self._table.count.mean())
        share = min(1.0, probed / float(self.index.nlist))
        scanned = len(self._table.ids) * share * self.directions.shape[1]
        return float(scanned + 2 * depth * rows * self._width * 2)

    def _sample(self, count: int) -> VectorTable:
        passages = len(self._table.ids)
        if count >= passages:
            return self._table
        return self._table.take(np.sort(self._rng.choice(passages, count, replace=False)))

    def _vectors(self, table: VectorTable, step: str = "") -> Iterator[tuple[int, NDArray[np.float32]]]:
        for start, vectors in flattened(table, self.slots, self._width):
            yield start, vectors
            if step:
                self._progress(step, start + len(vectors), len(table.ids))


def _cheapest(choices: Sequence[_Choice]) -> _Choice:
    """The cheapest choice that finds what it should, or the best of those that are not too dear."""
    most = max(choice.recall for choice in choices)
    if most < _WANTED_RECALL:
        logger.warning("The index finds %.3f of the best %d passages, which differ little.", most, BEST)
    enough = [choice for choice in choices if choice.recall >= min(most, _WANTED_RECALL)]
    chosen = min(enough, key=lambda choice: choice.cost)
    affordable = [choice for choice in choices if choice.cost <= _BUDGET]
    best = max(affordable, key=lambda choice: (choice.recall, -choice.cost), default=chosen)
    return best if chosen.cost > _BUDGET and best.recall >= _ACCEPTED_RECALL else chosen


def leading_directions(vectors: NDArray[np.float32], energy: float, most: int) -> NDArray[np.float32]:
    """Orthonormal directions, by the randomised method of Halko, Martinsson and Tropp (SIAM Review 2011).

    A cosine of unit vectors is a dot product, and the directions that preserve dot products best, on average
    over such vectors, are the leading ones of their second moments. The mean is not subtracted: it takes part
    in every dot product, so that a projection of centred vectors would need a correction for each vector.

    Args:
        vectors: A sample, shape (n, width).
        energy: Share of the sample's squared length that the directions shall hold together.
        most: No more directions than this, even if they hold less.

    Returns:
        Shape (width, m), m a multiple of 8 if it is below the width.
    """
    width = vectors.shape[1]
    rank = min(width, most + _EXTRA_DIRECTIONS)
    basis = np.random.default_rng(0).standard_normal((width, rank), dtype=np.float32)
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(vectors.T @ (vectors @ basis)).Q
    _, lengths, turned = np.linalg.svd(vectors @ basis, full_matrices=False)
    held = np.cumsum(lengths.astype(np.float64) ** 2) / max(float(np.square(vectors).sum()), 1e-30)
    enough = int(np.searchsorted(held, energy)) + 1
    count = min(most, width, -(-enough // 8) * 8)
    # a sample smaller than that has fewer directions, and the rest of the basis serves as well
    directions = (
        basis @ np.linalg.qr(turned.T, mode="complete").Q if len(turned) < count else basis @ turned.T
    )
    return np.ascontiguousarray(directions[:, :count], dtype=np.float32)
