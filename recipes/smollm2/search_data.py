"""Writes examples of end-to-end training: a question, its answer, and 20 candidate passages found by BM25.

    python recipes/smollm2/search_data.py squad11_train.jsonl.xz OUT.jsonl --passages 600 --questions 3000

The passages are those of whole articles, drawn at random, so that neighbours that look alike are among the
candidates. The passage of the question is always one of them; `pos_index` names it, which end-to-end training
uses for measuring only and the supervised twin for its loss.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
from pathlib import Path

import bm25s
import Stemmer

CANDIDATES = 20


def main() -> None:
    """Read passages, search, write."""
    parser = argparse.ArgumentParser(description="Examples of end-to-end training from a file of passages.")
    parser.add_argument("source", type=Path, help="passages with questions, .jsonl.xz")
    parser.add_argument("target", type=Path, help="JSON lines of the stage end-to-end")
    parser.add_argument("--passages", type=int, default=600)
    parser.add_argument("--questions", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    articles: dict[str, list[dict[str, object]]] = {}
    with lzma.open(options.source, "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            articles.setdefault(record["title"], []).append(record)
    titles = sorted(articles)
    rng.shuffle(titles)
    records: list[dict[str, object]] = []
    for title in titles:
        records += articles[title]
        if len(records) >= options.passages:
            break
    texts = [f"{record['title']}\n{record['passage']}" for record in records]
    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stemmer=stemmer, show_progress=False), show_progress=False)
    asked = [(number, qa) for number, record in enumerate(records) for qa in record["qas"] if qa["answers"]]
    asked = rng.sample(asked, min(options.questions, len(asked)))
    words = bm25s.tokenize([qa["question"] for _, qa in asked], stemmer=stemmer, show_progress=False)
    found, _ = index.retrieve(words, k=min(CANDIDATES, len(texts)), show_progress=False)
    with options.target.open("w", encoding="utf-8") as out:
        for (number, qa), row in zip(asked, found.tolist(), strict=True):
            candidates = row if number in row else [*row[:-1], number]
            rng.shuffle(candidates)
            example = {
                "question": qa["question"],
                "docs": [texts[at] for at in candidates],
                "gold_answer": qa["answers"][0],
                "pos_index": [candidates.index(number)],
            }
            out.write(json.dumps(example, ensure_ascii=False) + "\n")
    print(f"{options.target}: {len(asked)} questions over {len(texts)} passages of {len(titles)} articles")


if __name__ == "__main__":
    main()
