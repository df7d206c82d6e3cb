"""Vectors for `search.py`: real ones of the small model, and as many more made from them as are wanted.

A made vector lies between a real one and another, drawn at random, at most half way around the mean of all:
mean + cos(a) r + sin(a) s with a even in [0, 45] degrees. So each real vector stands amid a cloud that thins
out evenly and overlaps others', unlike copies with a little noise, whose clouds no index can miss, and unlike
noise alone, which has no neighbours. Questions are not made: those of SQuAD for keys, and for memories
passages that no vector was made from. The figures state how near the neighbours are, beside the real vectors
alone.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clara.pipeline import Clara

HELD_OUT = 200
BEST = 20
RATE = 16
CHUNK = 5000
_CHARACTERS = 1600  # so many hold more tokens than a passage may have
_PART = 512

Matrix = NDArray[np.float32]


def compress_real(clara: Clara, data: Path, folder: Path, count: int) -> None:
    """Compress windows of Wikipedia's articles into files of `folder`; those that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    windows = _windows(data)
    for part in range(-(-count // _PART)):
        texts = [next(windows) for _ in range(_PART)]
        path = folder / f"{part:04d}.npz"
        if not path.exists():
            memories, keys = clara.compress(texts, rate=RATE)
            whole = [at for at, memory in enumerate(memories) if len(memory) == RATE]
            assert keys is not None
            unfinished = path.with_suffix(".tmp.npz")
            kept = [texts[at] for at in whole]
            np.savez(
                unfinished, memories=np.stack([memories[at] for at in whole]), keys=keys[whole], texts=kept
            )
            unfinished.replace(path)


def _windows(data: Path) -> Iterator[str]:
    for path in sorted(data.glob("text_wiki_train.*.jsonl.xz")):
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                text = " ".join(json.loads(line)["text"].split())
                for number, start in enumerate(range(0, len(text) - _CHARACTERS, _CHARACTERS)):
                    if number < 2 or number % 3 == 0:
                        yield text[start : start + _CHARACTERS]


def load_real(folder: Path, case: str, count: int) -> tuple[Matrix, Matrix]:
    """Real vectors of unit length, shape (n, width), and those held out for questions."""
    parts = [np.load(path)[case] for path in sorted(folder.glob("????.npz"))[: -(-count // _PART)]]
    vectors = np.concatenate(parts).astype(np.float32)
    vectors = unit(vectors.reshape(len(vectors), -1))
    return vectors[HELD_OUT:], vectors[:HELD_OUT]


def load_passages(folder: Path, count: int) -> tuple[list[str], NDArray[np.float16], Matrix]:
    """The texts of the real passages, their memories (n, RATE, width) and their keys (n, width)."""
    parts = [np.load(path) for path in sorted(folder.glob("????.npz"))[: -(-count // _PART)]]
    texts = [text for part in parts for text in part["texts"].tolist()]
    memories, keys = (np.concatenate([part[case] for part in parts]) for case in ("memories", "keys"))
    return texts, memories, unit(keys.astype(np.float32))


def squad_questions(clara: Clara, data: Path) -> Matrix:
    """Keys of questions of SQuAD dev, shape (HELD_OUT, width)."""
    return unit(np.stack([clara.encode_query(question) for question in squad_texts(data)]))


def squad_texts(data: Path) -> list[str]:
    """HELD_OUT questions of SQuAD dev."""
    with lzma.open(data / "squad11_dev.jsonl.xz", "rt", encoding="utf-8") as lines:
        questions = [qa["question"] for line in lines for qa in json.loads(line)["qas"]]
    chosen = np.random.default_rng(0).choice(len(questions), HELD_OUT, replace=False)
    return [questions[at] for at in chosen]


def made(real: Matrix, number: int) -> Iterator[Matrix]:
    """The real vectors and then made ones, `number` in all, in blocks."""
    for vectors, _ in made_of(real, number):
        yield vectors


def made_of(real: Matrix, number: int) -> Iterator[tuple[Matrix, NDArray[np.int64]]]:
    """As `made`, and of each the two real ones (n, 2) that it lies between."""
    mean = real.mean(axis=0)
    centred = real - mean
    for start in range(0, number, CHUNK):
        at = np.arange(start, min(number, start + CHUNK))
        rng = np.random.default_rng([7, start])
        towards, angle = rng.integers(0, len(real), len(at)), rng.uniform(0, np.pi / 4, len(at))
        angle[at < len(real)] = 0
        first, second = centred[at % len(real)], centred[towards]
        vectors = unit(mean + np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second)
        yield vectors, np.stack([at % len(real), towards], axis=1)


class Truth:
    """The best of all vectors seen, by plain products."""

    def __init__(self, queries: Matrix, depth: int = 1000) -> None:
        self._queries = queries
        self.ids = np.full((len(queries), depth), -1)
        self.scores = np.full((len(queries), depth), -np.inf, np.float32)
        self._seen = 0

    def see(self, vectors: Matrix) -> None:
        """Take more vectors into account."""
        scores = np.hstack([self.scores, self._queries @ vectors.T])
        numbers = np.arange(self._seen, self._seen + len(vectors))
        ids = np.hstack([self.ids, np.broadcast_to(numbers, (len(scores), len(numbers)))])
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self.ids.shape[1]]
        self.ids, self.scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
        self._seen += len(vectors)

    def nearness(self) -> dict[str, float]:
        """Median cosines of questions with the vectors of some ranks."""
        ranks = [rank for rank in (1, 20, 200, 1000) if rank <= self._seen]
        return {f"rank {rank}": round(float(np.median(self.scores[:, rank - 1])), 3) for rank in ranks}


def nearness_of_real(real: Matrix, queries: Matrix) -> dict[str, Any]:
    """How near the neighbours are among the real vectors alone, ever more of them."""
    found: dict[str, Any] = {}
    for number in (len(real) // 4, len(real) // 2, len(real)):
        truth = Truth(queries)
        truth.see(real[:number])
        found[str(number)] = truth.nearness()
    return found


def unit(vectors: NDArray[np.floating]) -> Matrix:
    """Rows divided by their lengths."""
    lengths: Matrix = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return lengths
