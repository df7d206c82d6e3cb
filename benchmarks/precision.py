"""What layers in bfloat16 bring and cost on this machine: speed, recall and F1 beside float32.

    python benchmarks/precision.py --data DATA

SQuAD dev passages are compressed to stores in both precisions, in turns; the same questions are searched and
answered in each, and in bfloat16 from the store of float32, as when a store goes to another machine. Answers
come from memories at the model's own rate, the gold passage among the five that the search finds. Times of an
answer are of one question at a time, from memories read before the clock starts, both precisions in turns.
Differences to float32 are paired by question; 95 % bootstrap intervals.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from conditions import conditions, parser, write
from memory_dtypes import K, fill, groups_of, sample, scores

from clara.evaluation.statistics import Estimate, paired_difference
from clara.pipeline import Clara
from clara.store import MemoryStore

TURN = 256
"""Passages that one precision compresses before the other has its turn."""


def load(model: str | None, bfloat16: bool) -> Clara:
    clara = Clara.from_pretrained(model, device="cpu", dtype=torch.float32)
    clara.model.reads_in_bfloat16 = bfloat16
    return clara


def fill_in_turns(
    models: dict[str, Clara], stores: dict[str, MemoryStore], contents: Sequence[str]
) -> dict[str, float]:
    """Passages a second of each precision, from text to the store."""
    seconds = dict.fromkeys(models, 0.0)
    for start in range(0, len(contents), TURN):
        for name, clara in models.items():
            started = time.perf_counter()
            fill(
                clara,
                stores[name],
                contents[start : start + TURN],
                clara.model.config.compression_rate,
                start,
            )
            seconds[name] += time.perf_counter() - started
    return {name: round(len(contents) / taken, 1) for name, taken in seconds.items()}


def time_answers(
    models: dict[str, Clara], store: MemoryStore, questions: Sequence[str], groups: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Median milliseconds of an answer in each precision."""
    own = {int(one.source): one.id for one in store.passages(store.vectors().ids.tolist())}
    times: dict[str, list[float]] = {name: [] for name in models}
    for question, group in zip(questions, groups, strict=True):
        memories = store.memories([own[one] for one in group])
        for name, clara in models.items():
            started = time.perf_counter()
            clara.read([question], [memories])
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: round(statistics.median(taken), 1) for name, taken in times.items()}


def main() -> None:
    arguments = parser(__doc__, "precision")
    arguments.add_argument("--passages", type=int, default=1000)
    arguments.add_argument("--questions", type=int, default=500)
    arguments.add_argument("--timed", type=int, default=50)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    models = {"float32": load(options.model, False), "bfloat16": load(options.model, True)}
    exact = models["float32"]
    rate = exact.model.config.compression_rate
    examples, asked = sample(options.data, options.passages, options.questions)
    contents = [example.content for example in examples]
    with tempfile.TemporaryDirectory() as folder:
        stores = {
            name: MemoryStore.create(
                Path(folder) / name,
                fingerprint=clara.fingerprint,
                model=clara.name,
                memory_dim=clara.model.hidden_size,
                embedding_dim=clara.embedding_dim,
            )
            for name, clara in models.items()
        }
        speed = fill_in_turns(models, stores, contents)
        rows: dict[str, Any] = {}
        before: tuple[list[float], list[float]] | None = None
        for of_store, name in (("float32", "float32"), ("bfloat16", "bfloat16"), ("float32", "bfloat16")):
            groups, found = groups_of(models[name], stores[of_store], asked, rate)
            f1 = scores(models[name], stores[of_store], contents, asked, groups, rate)
            row = {"recall_at_5": asdict(Estimate.of(found)), "f1": asdict(Estimate.of(f1))}
            if before is None:
                before = found, f1
                timed = [question for question, _, _ in asked[: options.timed]]
                milliseconds = time_answers(models, stores[of_store], timed, groups[: options.timed])
            else:
                row["recall_minus_float32"] = asdict(paired_difference(before[0], found))
                row["f1_minus_float32"] = asdict(paired_difference(before[1], f1))
            rows[f"{name}, store of {of_store}"] = row
            print(name, of_store, row, flush=True)
        for store in stores.values():
            store.close()
    write(
        options.json,
        {
            "conditions": conditions(exact.name)
            | {"passages": options.passages, "questions": options.questions, "k": K, "rate": rate},
            "passages_a_second": speed,
            "indexing_ratio": round(speed["bfloat16"] / speed["float32"], 3),
            "answer_ms": milliseconds,
            "answer_ratio": round(milliseconds["float32"] / milliseconds["bfloat16"], 3),
            "quality": rows,
        },
    )


if __name__ == "__main__":
    main()
