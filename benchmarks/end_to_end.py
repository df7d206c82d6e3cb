"""What the answer alone teaches search, beside labels: two trainings of the query reasoner from one start.

    python benchmarks/end_to_end.py --data DATA --model MODEL

Questions of SQuAD train; the candidates of each are the ten passages of a part of SQuAD train that the start
finds best, whatever they hold. One training has the answers alone: the reader reads the best five memories,
and where the answer stands tells which should have scored higher. Its twin has the labels alone: the
question's own passage against the other candidates. Both take the same questions in the same order, and
leave documents and reader as they are. Recall on SQuAD dev, by memories, before and after.
"""

from __future__ import annotations

import copy
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conditions import conditions, parser, write
from numpy.typing import NDArray
from retrieval import figures, found, read

from clara import roles
from clara.pipeline import Clara
from clara.records import with_title
from clara.store.search import RERANKED
from clara.training.examples import EndToEndExample, ReadingExample, read_reading_examples
from clara.training.memory_cache import MemoryCache
from clara.training.objectives import ObjectiveOptions, end_to_end_loss
from recipes.extractive.loop import LoopOptions, TrainingLoop

CANDIDATES = 10
WAYS = ("answers", "labels")


class Corpus:
    """Passages whose memories and keys stay as they are."""

    def __init__(self, clara: Clara, contents: Sequence[str]) -> None:
        self.memories, keys = clara.compress(contents)
        assert keys is not None
        self._keys = keys.astype(np.float32)

    def ranked(self, clara: Clara, question: str) -> list[int]:
        """The best 50 by their keys, in the order of their match."""
        query = clara.query(question)
        assert query.rerank is not None
        best = np.argsort(-self._keys @ query.vector, kind="stable")[:RERANKED]
        scores = query.rerank([self.memories[number] for number in best])
        return best[np.argsort(-scores, kind="stable")].tolist()  # type: ignore[no-any-return]


def examples_of(
    clara: Clara, passages: Sequence[ReadingExample], count: int, rng: random.Random
) -> list[EndToEndExample]:
    """Questions with what the start finds for them; those whose own passage is not found have no label."""
    contents = [passage.content for passage in passages]
    corpus = Corpus(clara, contents)
    turns = [
        (place, question, answers[0])
        for place, passage in enumerate(passages)
        for question, answers in passage.turns
        if answers
    ]
    made = []
    for place, question, answer in rng.sample(turns, count):
        best = corpus.ranked(clara, question)[:CANDIDATES]
        positives = (best.index(place),) if place in best else ()
        documents = tuple(contents[number] for number in best)
        made.append(EndToEndExample(question, documents, answer, positives))
    return made


def trained(
    clara: Clara, examples: Sequence[EndToEndExample], way: str, options: Any, cache: MemoryCache
) -> Clara:
    """A copy of the start whose query reasoner has learnt from the examples."""
    model = copy.deepcopy(clara.model).train()
    asked = ObjectiveOptions(contrastive_weight=1.0, contrastive_temperature=0.03)

    def parameters() -> Any:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(f".variants.{roles.QUERY_REASONER}." in name)
            if parameter.requires_grad:
                yield name, parameter

    def step_loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        batch = examples[step * options.batch :][: options.batch]
        loss = end_to_end_loss(model, clara.processor, batch, asked, cache)
        term = loss.terms.get({"answers": "answer", "labels": "contrastive"}[way])
        parts = {name: mean for name, (mean, _) in loss.parts().items()}
        # a batch in which no question's own passage was found has no label
        return loss.terms["answer"].mean * 0 if term is None else term.mean, parts

    with tempfile.TemporaryDirectory() as folder:
        steps = LoopOptions(len(examples) // options.batch, options.learning_rate, report_every=10)
        TrainingLoop(parameters(), steps, Path(folder), lambda line: print(way, line, flush=True)).run(
            step_loss
        )
    return Clara(model, clara.processor, way)


def main() -> None:
    arguments = parser(__doc__, "end_to_end")
    arguments.add_argument("--passages", type=int, default=1000, help="of SQuAD train, in runs of articles")
    arguments.add_argument("--steps", type=int, default=150)
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--learning-rate", type=float, default=3e-5)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    clara = Clara.from_pretrained(options.model, device="cpu")
    train = list(read_reading_examples(options.data / "squad11_train.jsonl.xz"))
    first = rng.randrange(len(train) - options.passages)
    examples = examples_of(clara, train[first : first + options.passages], options.steps * options.batch, rng)
    passages, asked = read([options.data / "squad11_dev.jsonl.xz"])
    corpus = Corpus(clara, [with_title(text, title) for title, text in passages])
    gold = [number for _, number in asked]

    def hits(model: Clara) -> dict[int, NDArray[np.float64]]:
        return found([corpus.ranked(model, question) for question, _ in asked], gold)

    start = hits(clara)
    result: dict[str, Any] = {
        "conditions": conditions(clara.name),
        "questions": len(examples),
        "labelled": sum(bool(example.positives) for example in examples),
        "start": figures(start, start),
    }
    with tempfile.TemporaryDirectory() as folder, MemoryCache(Path(folder)) as cache:
        for way in WAYS:
            began = time.perf_counter()
            model = trained(clara, examples, way, options, cache)
            result[way] = figures(hits(model), start) | {"seconds": round(time.perf_counter() - began)}
    write(options.json, result)


if __name__ == "__main__":
    main()
