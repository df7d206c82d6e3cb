"""Search by vectors, by words, and by both in one order: recall with the packaged small model.

    python benchmarks/hybrid.py --data DATA

1,000 random questions of SQuAD dev over its 2,067 passages, and those of Natural Questions (QED) over theirs.
Joined are the first 100 of either side: by reciprocal ranks, or by sums of the scores divided by the best.
"""

from __future__ import annotations

import json
import lzma
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conditions import conditions, parser, write
from numpy.typing import NDArray

from clara.pipeline import Clara
from clara.records import with_title
from clara.store import lexical
from clara.store.scoring import Ranking

SETS = ("squad11_dev", "nq_qed_nqdev_dev")
DEPTH = 100


def read(path: Path) -> tuple[list[tuple[str, str]], list[tuple[str, int]]]:
    """Passages with their titles, and at most 1,000 questions with the number of their passage."""
    passages: dict[tuple[str, str], int] = {}
    questions = []
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            number = passages.setdefault((record["title"], record["passage"]), len(passages))
            questions += [(qa["question"], number) for qa in record["qas"]]
    random.Random(0).shuffle(questions)
    return list(passages), questions[:1000]


def by_words(passages: Sequence[tuple[str, str]], questions: Sequence[str]) -> list[Ranking]:
    """BM25 of SQLite over a table like the store's."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE words USING fts5 (title, text, tokenize = 'porter unicode61')")
    database.executemany("INSERT INTO words (title, text) VALUES (?, ?)", passages)
    query = "SELECT rowid - 1, -bm25(words) FROM words WHERE words MATCH ? ORDER BY 2 DESC LIMIT ?"
    rankings = []
    for question in questions:
        rows = database.execute(query, (lexical.match_expression(question), DEPTH)).fetchall()
        ids, scores = zip(*rows, strict=True) if rows else ((), ())
        rankings.append((np.array(ids, np.int64), np.array(scores, np.float64)))
    return rankings


def reciprocal(near: NDArray[np.int64], words: NDArray[np.int64], offset: int) -> list[int]:
    """Numbers by the sum of their reciprocal ranks."""
    sums: dict[int, float] = {}
    for ids in (near, words):
        for rank, number in enumerate(ids.tolist(), 1):
            sums[number] = sums.get(number, 0.0) + 1 / (offset + rank)
    return sorted(sums, key=lambda number: -sums[number])


def joined(cosines: NDArray[np.float32], near: NDArray[np.int64], words: Ranking, weight: float) -> list[int]:
    """Numbers as the store's hybrid search orders them, with another weight."""
    ids = np.union1d(near, words[0])
    ids = ids[np.argsort(-cosines[ids], kind="stable")]
    lexical.VECTOR_WEIGHT = weight
    ranked: list[int] = lexical.fused((ids, cosines[ids].astype(np.float64)), words)[0].tolist()
    return ranked


def recalls(rankings: Sequence[Sequence[int]], gold: Sequence[int]) -> dict[str, float]:
    """Percentage of questions whose passage is among the first."""
    return {
        f"recall@{k}": round(
            100 * float(np.mean([own in ranking[:k] for own, ranking in zip(gold, rankings, strict=True)])), 1
        )
        for k in (1, 5, 20)
    }


def measure(clara: Clara, path: Path) -> dict[str, Any]:
    """All ways of one data set."""
    passages, asked = read(path)
    questions, gold = [question for question, _ in asked], [number for _, number in asked]
    _, keys = clara.compress([with_title(text, title) for title, text in passages])
    assert keys is not None
    unit = keys.astype(np.float32)
    queries = np.stack([clara.encode_query(question) for question in questions])
    scores = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ unit.T
    near = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    words = by_words(passages, questions)
    ways: dict[str, Any] = {"vectors": near.tolist(), "words": [own.tolist() for own, _ in words]}
    for offset in (10, 60):
        ways[f"reciprocal ranks, offset {offset}"] = [
            reciprocal(row, own, offset) for row, (own, _) in zip(near, words, strict=True)
        ]
    for weight in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        ways[f"sum, weight {weight}"] = [
            joined(*each, weight) for each in zip(scores, near, words, strict=True)
        ]
    return {
        "passages": len(passages),
        "questions": len(questions),
        **{name: recalls(rankings, gold) for name, rankings in ways.items()},
    }


def main() -> None:
    options = parser(__doc__, "hybrid").parse_args()
    torch.set_num_threads(options.threads)
    clara = Clara.from_pretrained(options.model, device="cpu")
    result = {"conditions": conditions(clara.name), "sqlite": sqlite3.sqlite_version}
    write(options.json, result | {name: measure(clara, options.data / f"{name}.jsonl.xz") for name in SETS})


if __name__ == "__main__":
    main()
