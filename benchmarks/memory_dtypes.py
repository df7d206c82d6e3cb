"""What fewer bytes a passage cost in answers: F1 and recall of each way of keeping memories.

    python benchmarks/memory_dtypes.py --data DATA

Questions of SQuAD dev over a sample of its passages. Each is answered from memories, the gold passage
among the five that search finds most like the question, at each of two rates. Memories are read from
stores of each dtype, made by compacting copies of one store. Differences to float16 are paired by question;
95 % bootstrap intervals. Candidates are the same for all, but they are ordered by what the stored memories
hold. A memory of the small model that spells the same words as another is read once.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from conditions import conditions, parser, write

from clara.answer_text import as_written
from clara.evaluation import metrics
from clara.evaluation.statistics import Estimate, paired_difference
from clara.pipeline import Clara
from clara.records import Document, Passage
from clara.store import MemoryStore, NewDocument, search
from clara.store.codecs import MEMORY_DTYPES
from clara.store.maintenance import compact
from clara.training.examples import ReadingExample, read_reading_examples

K = 5
BATCH = 8
RATES = (16, 4)


def sample(
    data: Path, passages: int, questions: int
) -> tuple[list[ReadingExample], list[tuple[str, Any, int]]]:
    """Passages, and questions with their answers and the number of their passage."""
    rng = random.Random(0)
    examples = rng.sample(list(read_reading_examples(data / "squad11_dev.jsonl.xz")), passages)
    asked = [
        (text, answers, number)
        for number, example in enumerate(examples)
        for text, answers in example.turns
        if answers
    ]
    return examples, rng.sample(asked, questions)


def fill(clara: Clara, store: MemoryStore, contents: Sequence[str], rate: int, first: int = 0) -> None:
    """Compress contents into a store, as documents that are named by their numbers from `first` on."""
    for start in range(0, len(contents), 256):
        part = contents[start : start + 256]
        memories, keys = clara.compress(part, rate=rate)
        store.add(
            NewDocument(
                Document(str(first + start + at), "", (), ""),
                [Passage(text)],
                [memories[at]],
                None if keys is None else keys[at : at + 1],
            )
            for at, text in enumerate(part)
        )


def groups_of(
    clara: Clara, store: MemoryStore, asked: Sequence[tuple[str, Any, int]], rate: int
) -> tuple[list[list[int]], list[float]]:
    """Numbers of the K passages of each question, the gold one among them, and whether it was found."""
    groups, found = [], []
    for question, _, gold in asked:
        query = clara.query(question, rate)
        best = [int(hit.stored.source) for hit in search(store, query.vector, K, rerank=query.rerank)]
        found.append(float(gold in best))
        groups.append(best if gold in best else [*best[:-1], gold])
    return groups, found


def scores(
    clara: Clara,
    store: MemoryStore,
    contents: Sequence[str],
    asked: Sequence[tuple[str, Any, int]],
    groups: Sequence[Sequence[int]],
    rate: int,
) -> list[float]:
    """F1 of every question from memories alone."""
    own = {int(one.source): one.id for one in store.passages(store.vectors().ids.tolist())}
    found = []
    for start in range(0, len(asked), BATCH):
        part, some = asked[start : start + BATCH], groups[start : start + BATCH]
        documents = [store.memories([own[one] for one in group]) for group in some]
        replies = clara.read([question for question, _, _ in part], documents, rate=rate)
        for reply, (_, answers, _), group in zip(replies, part, some, strict=True):
            answer = as_written(reply.text, [contents[one] for one in group], reply.taken_from)
            found.append(metrics.f1(answer, answers))
    return found


def of_rate(
    clara: Clara, rate: int, contents: Sequence[str], asked: Sequence[tuple[str, Any, int]]
) -> dict[str, Any]:
    """Figures of every dtype at a rate; a dtype that is learned from more rows than there are is left out."""
    figures: dict[str, Any] = {}
    before: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given"
        with MemoryStore.create(
            given,
            fingerprint=clara.fingerprint,
            model=clara.name,
            memory_dim=clara.model.hidden_size,
            embedding_dim=clara.embedding_dim,
        ) as store:
            fill(clara, store, contents, rate)
        for dtype in MEMORY_DTYPES:
            # each from what the model gave, not from the one before
            with MemoryStore.open(shutil.copytree(given, Path(folder) / dtype)) as store:
                report = compact(store, memory_dtype=dtype)
                if report.learns_from:
                    print(
                        f"{dtype} is learned from {report.learns_from} rows, more than there are at {rate}x."
                    )
                    continue
                groups, found = groups_of(clara, store, asked, rate)
                info = store.info()
                f1 = scores(clara, store, contents, asked, groups, rate)
                before = before or f1
                row: dict[str, Any] = {
                    "memory_bytes_per_passage": round(info.memory_bytes / info.passages),
                    "recall_at_5": asdict(Estimate.of(found)),
                    "f1": asdict(Estimate.of(f1)),
                }
                if dtype != MEMORY_DTYPES[0]:
                    row["minus_float16"] = asdict(paired_difference(before, f1))
                figures[dtype] = row
                print(rate, dtype, row, flush=True)
    return figures


def main() -> None:
    arguments = parser(__doc__, "memory_dtypes")
    arguments.add_argument("--passages", type=int, default=500)
    arguments.add_argument("--questions", type=int, default=200)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    clara = Clara.from_pretrained(options.model)
    examples, asked = sample(options.data, options.passages, options.questions)
    contents = [example.content for example in examples]
    with clara.model.reading_once():
        figures = {f"{rate}x": of_rate(clara, rate, contents, asked) for rate in RATES}
    sizes = {"passages": options.passages, "questions": options.questions, "k": K}
    write(options.json, {"conditions": conditions(clara.name) | sizes, "rates": figures})


if __name__ == "__main__":
    main()
