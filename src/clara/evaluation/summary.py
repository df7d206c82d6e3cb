"""All figures of a run, from its files: `metrics.json`. Every mean has its interval."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from clara.errors import InputError
from clara.evaluation import metrics
from clara.evaluation.run import LATENCY_FILE, QUESTIONS_FILE, RATES_FILE, RUN_FILE, read_lines
from clara.evaluation.statistics import Estimate, paired_difference
from clara.provenance import write_json

METRICS_FILE = "metrics.json"
ANSWER_METRICS = ("f1", "exact_match", "cover_match")

SIGNIFICANCE = 0.05
"""Of the test that gold memories are better than wrong ones."""

Figures = dict[str, Any]


def summarise(folder: Path) -> Figures:
    """Compute and write the figures of a run whose work is done.

    Args:
        folder: Of the run.
    """
    facts = _read_json(folder / RUN_FILE)
    questions = read_lines(folder / QUESTIONS_FILE)
    names = [condition["name"] for condition in facts["conditions"]]
    answers = {name: read_lines(folder / "answers" / f"{name}.jsonl") for name in names}
    unanswerable = {key for key, question in questions.items() if question["answers"] == []}
    figures = facts | {
        "unanswerable": len(unanswerable),
        "answers": {name: _answers(lines) for name, lines in answers.items() if lines},
        "abstention": _abstention(answers, unanswerable),
        "controls": _controls(answers, facts["rates"]),
        "against_text": _against_text(answers, facts["conditions"]),
        "retrieval": _retrieval(folder / "rankings", questions),
        "rates": _read_json(folder / RATES_FILE),
        "preservation": _preservation(folder / "paraphrases"),
        "latency": _latency(folder / LATENCY_FILE),
    }
    write_json(folder / METRICS_FILE, figures)
    return figures


def _read_json(file: Path) -> Figures:
    figures: Figures = json.loads(file.read_text(encoding="utf-8"))
    return figures


def read_figures(folder: Path) -> Figures:
    """The figures of a finished run.

    Raises:
        InputError: The folder holds none.
    """
    file = folder / METRICS_FILE
    if not file.is_file():
        raise InputError(f"The folder {folder} holds no finished evaluation; choose a run of clara evaluate.")
    return _read_json(file)


def _estimate(values: Iterable[float]) -> dict[str, float]:
    return {key: round(value, 6) for key, value in asdict(Estimate.of(list(values))).items()}


def _answers(lines: Mapping[str, Figures]) -> Figures:
    """Figures over the questions that did not fail, and how many did."""
    good = [line for line in lines.values() if "error" not in line]
    found: Figures = {"questions": len(lines), "failed": len(lines) - len(good)}
    if good:
        found |= {metric: _estimate(line[metric] for line in good) for metric in ANSWER_METRICS}
        found["answer_words"] = _estimate(len(line["answer"].split()) for line in good)
        found["prompt_tokens"] = _estimate(line["prompt_tokens"] for line in good)
    return found


def _paired(
    first: Mapping[str, Figures], second: Mapping[str, Figures], metric: str = "f1"
) -> Figures | None:
    """F1, second minus first, over the questions that neither failed; None if there are none."""
    both = [key for key, line in first.items() if key in second and "error" not in {**line, **second[key]}]
    if not both:
        return None
    difference = paired_difference([first[key]["f1"] for key in both], [second[key]["f1"] for key in both])
    return {key: round(value, 6) for key, value in asdict(difference).items()}


def _controls(answers: Mapping[str, Mapping[str, Figures]], rates: Sequence[int]) -> Figures:
    """Whether the gold memory is better than another question's, at every rate."""
    found: Figures = {}
    for rate in rates:
        wrong, gold = answers.get(f"wrong-memory-{rate}x"), answers.get(f"gold-memory-{rate}x")
        difference = _paired(wrong, gold) if wrong and gold else None
        if difference is not None:
            # few questions with a score above 0 can give an interval above 0 that the test does not confirm
            clear = difference["low"] > 0 and difference["p"] < SIGNIFICANCE
            found[str(rate)] = {"gold_minus_wrong": difference, "reads_memories": clear}
    return found


def _against_text(answers: Mapping[str, Mapping[str, Figures]], conditions: Sequence[Figures]) -> Figures:
    """Every reading that is not text, against text from the same arrangement of passages."""
    texts = {
        _arrangement(one): answers[one["name"]]
        for one in conditions
        if one["reading"] == "text" and one["passages"] != "none"
    }
    found: Figures = {}
    for one in conditions:
        text = texts.get(_arrangement(one))
        if one["reading"] != "text" and text:
            difference = _paired(text, answers[one["name"]])
            if difference is not None:
                found[one["name"]] = difference
    return found


def _arrangement(condition: Figures) -> tuple[str, str]:
    return condition["passages"], condition["ranking"] if condition["passages"] == "normal" else ""


def _abstention(answers: Mapping[str, Mapping[str, Figures]], unanswerable: set[str]) -> Figures:
    """Risk when the least sure answers are held back, beside the risk of answering everything."""
    found: Figures = {}
    for name, lines in answers.items():
        good = {key: line for key, line in lines.items() if "error" not in line}
        if not unanswerable & good.keys():
            continue
        sure = [line["confidence"] for line in good.values()]
        losses = [1 - line["f1"] for line in good.values()]
        coverage, risk = metrics.risk_coverage(sure, losses)
        every = max(1, len(coverage) // 50)
        found[name] = {
            "area": round(metrics.area_under_risk(sure, losses), 6),
            "never_abstaining": _estimate(losses),
            "unanswerable": len(unanswerable & good.keys()),
            "curve": [[round(float(c), 4), round(float(r), 4)] for c, r in zip(coverage, risk, strict=True)][
                ::every
            ],
        }
    return found


RANKING_METRICS: dict[str, Callable[[Sequence[int], Sequence[int]], float]] = {
    **{f"recall@{k}": partial(metrics.recall_at, k=k) for k in metrics.DEPTHS},
    "precision@5": partial(metrics.precision_at, k=5),
    "mrr": metrics.reciprocal_rank,
    "ndcg@10": partial(metrics.ndcg_at, k=10),
}


def _retrieval(folder: Path, questions: Mapping[str, Figures]) -> Figures:
    """Figures of every ranking over the questions with gold passages."""
    found: Figures = {}
    for file in sorted(folder.glob("*.jsonl")):
        lines = read_lines(file)
        pairs = [
            (line["ranking"], questions[key]["gold"]) for key, line in lines.items() if questions[key]["gold"]
        ]
        if pairs:
            found[file.stem] = {
                name: _estimate(measure(ranking, gold) for ranking, gold in pairs)
                for name, measure in RANKING_METRICS.items()
            }
    return found


def _preservation(folder: Path) -> Figures:
    """Share of the numbers and names of passages that their memories' paraphrases hold."""
    found: dict[str, Figures] = defaultdict(dict)
    for file in sorted(folder.glob("*.jsonl")):
        lines = list(read_lines(file).values())
        for kind in ("numbers", "names"):
            shares = [line[kind] for line in lines if line[kind] is not None]
            if shares:
                found[file.stem][kind] = _estimate(shares)
    return dict(found)


def _latency(file: Path) -> Figures:
    if not file.is_file():
        return {}
    measured = _read_json(file)
    return {
        "k": measured["k"],
        "milliseconds": {
            name: _estimate(1000 * second for second in seconds)
            for name, seconds in measured["seconds"].items()
        },
    }
