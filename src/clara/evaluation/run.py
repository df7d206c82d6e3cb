"""One evaluation: a folder that fills up with what a model did, question by question.

run.json                what was asked for, and where the numbers come from
memories/4x/            the corpus as memories of each rate, a memory store
rankings/NAME.jsonl     a line per question: its passages, best first
answers/NAME.jsonl      a line per question: the answer with its scores, or why there is none
paraphrases/4x.jsonl    a line per passage: what was written from its memory
latency.json            seconds of answering one question
metrics.json, report.md, report.html, *.png     made from the files above (`clara.evaluation.report`)
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clara import roles
from clara.batching import by_length
from clara.corpus_index import CorpusIndex
from clara.errors import InputError, PromptError
from clara.evaluation import ablation, metrics
from clara.evaluation.ablation import AblatedMemories
from clara.evaluation.asking import Asker
from clara.evaluation.conditions import (
    BM25,
    DENSE,
    SETTINGS,
    Condition,
    Plan,
    candidates_of,
    choose,
    joined_search,
    others,
    own_search,
    reranking,
)
from clara.evaluation.inspection import inspect_document, inspect_question
from clara.evaluation.questions import EvaluationSet, Question
from clara.evaluation.shortening import Shortener
from clara.pipeline import Clara
from clara.provenance import provenance, write_json, write_whole
from clara.ranking import Ranker, bm25_ranker, dense_ranker
from clara.reading import Document

MAX_ROW_TOKENS = 12_000
"""Positions of a batch of prompts."""

RANKED = 100
"""Passages of a ranking that are kept."""

MAPPED_QUESTIONS = 60
MAPPED_PASSAGES = 400
INSPECTED = 3

RUN_FILE = "run.json"
QUESTIONS_FILE = "questions.jsonl"
RATES_FILE = "rates.json"
LATENCY_FILE = "latency.json"
POINTS_FILE = "points.npz"
WORDS_FILE = "words.json"
PACKAGES = ("torch", "transformers", "numpy", "bm25s", "sentence-transformers")

Report = Callable[[str, int, int, int], None]
"""(what is being done, done, of how many, failed so far)."""


Ranking = Callable[[Question], list[int]]
"""The passages of a question, best first."""


Known = dict[tuple[str, tuple[int, ...]], dict[str, Any]]
"""Lines of answers by question and passages."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What a run measures.

    Attributes:
        settings: Of `SETTINGS`.
        rates: Text tokens per memory token; the model's own if empty.
        questions: How many questions are drawn; None for all.
        passages: To how many passages the corpus is cut, those of the drawn questions first; None for all.
        k: Passages that are read; the model's own number if None.
        candidates: Passages that are reranked, where a question comes without.
        seed: Draws questions and passages.
        max_new_tokens: Longest answer.
        encoder: Sentence encoder to compare with: "minilm" (all-MiniLM-L6-v2), a folder or a hub id; None for
            no such baseline.
        reading: How several passages are read, "joint" or "separate"; the model's own way if None.
        shortener: LLMLingua-2 model, folder or hub id; no such baseline if None.
        rows: Patterns of the names of conditions that are answered under; all if empty. If not, nothing is
            paraphrased and timed.
        paraphrases: Passages that are rewritten from their memories.
        timed: Questions whose answers are timed.
    """

    settings: tuple[str, ...] = SETTINGS
    rates: tuple[int, ...] = ()
    questions: int | None = None
    passages: int | None = None
    k: int | None = None
    candidates: int = 20
    seed: int = 0
    max_new_tokens: int = 32
    encoder: str | None = None
    reading: str | None = None
    shortener: str | None = None
    rows: tuple[str, ...] = ()
    paraphrases: int = 100
    timed: int = 20


@dataclass(slots=True)
class _Lines:
    """A JSON-lines file that is appended to; what it holds already is not done again."""

    path: Path
    done: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            return
        whole = self.path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]  # a killed process may have left half a line
        if kept != whole:
            self.path.write_bytes(kept)
        lines = [json.loads(line) for line in kept.splitlines()]
        self.done = {line["id"] for line in lines if "error" not in line}  # what failed is asked again

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self.done.update(line["id"] for line in lines)


def read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """The lines of a run's file by their ids; a question that failed and was asked again counts once."""
    if not path.is_file():
        return {}
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {line["id"]: line for line in lines}


class EvaluationRun:
    """A run over one set of questions.

    Args:
        clara: The model.
        data: The questions and the corpus.
        folder: Of the run.
        options: What to measure.
        resume: Go on with what the folder holds.
        store: Index of a user's own store in place of indexes of the run, at the model's own rate.
        report: Told how far the run has come.

    Raises:
        InputError: The folder holds a run and `resume` is not set, or one of other options, data or model;
            or an option cannot be used with the model.
        MissingExtraError: A baseline's package is not installed.
    """

    def __init__(
        self,
        clara: Clara,
        data: EvaluationSet,
        folder: Path,
        options: EvaluationOptions,
        *,
        resume: bool = False,
        store: CorpusIndex | None = None,
        report: Report = lambda *_: None,
    ) -> None:
        if store is not None and options.passages is not None:
            raise InputError("A store is searched whole; remove --passages.")
        config = clara.model.config
        self.clara = clara
        self.data = data.sample(options.questions, options.passages, options.seed)
        self.folder = folder
        self.options = options
        self._report = report
        self._store = store
        self.has_search = roles.QUERY_REASONER in config.roles
        own = int(config.compression_rate)
        rates = dict.fromkeys([own] if own in options.rates or not options.rates else [])
        rates |= dict.fromkeys(options.rates)
        if store is not None and list(rates) != [own]:
            raise InputError(f"A store holds memories of one rate, {own}; remove --rates.")
        self.plan = Plan(
            settings=options.settings,
            rates=tuple(rates),
            searches=(BM25,) if options.encoder is None else (BM25, DENSE),
            own_search=self.has_search,
            hybrid=self.clara.is_hybrid,
            mixed=config.num_text_documents > 0,
            base=config.roles[roles.GENERATOR] == "lora",
            shortened=options.shortener is not None,
            ablated=self.clara.model.offers_rates,
        )
        # first of all, since a model that is not at hand should be told before hours of work
        self._shortener = Shortener(options.shortener, str(clara.model.device)) if options.shortener else None
        self.k = int(config.num_selected if options.k is None else options.k)
        names = [condition.name for condition in self.plan.conditions()]
        for pattern in options.rows:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise InputError(f"There is no row {pattern!r}; the rows are {', '.join(names)}.")
        self._start(resume)

    def _start(self, resume: bool) -> None:
        """Note what is asked for, or make sure that it is what was asked for before."""
        asked = {
            "data": self.data.name,
            "data_sha256": self.data.sha256,
            "model": self.clara.name,
            "fingerprint": self.clara.fingerprint,
            "precision": self.clara.precision,
            "options": json.loads(json.dumps(asdict(self.options))),
            "rates": list(self.plan.rates),
            "k": self.k,
        }
        file = self.folder / RUN_FILE
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(self.folder.iterdir()):
                raise InputError(f"The folder {self.folder} is not empty and not a run; choose another.")
            facts = {
                "questions": len(self.data.questions),
                "passages": len(self.data.passages),
                "gold_is": self.data.gold_is,
                "conditions": [asdict(condition) | {"name": condition.name} for condition in self.conditions],
            }
            lines = "".join(json.dumps(asdict(question)) + "\n" for question in self.data.questions)
            write_whole(self.folder / QUESTIONS_FILE, lines)
            write_json(file, asked | facts | {"provenance": provenance(PACKAGES)})
            return
        if not resume:
            raise InputError(
                f"The folder {self.folder} holds a run; continue it with --resume or choose another folder."
            )
        before = json.loads(file.read_text(encoding="utf-8"))
        changed = [key for key, value in asked.items() if before.get(key) != value]
        if changed:
            raise InputError(
                f"The run {self.folder} was started with another {', '.join(changed)}; resume it with "
                "the same, or choose another folder."
            )

    @property
    def conditions(self) -> list[Condition]:
        """The lines of the table of answers; none for questions whose answers are not known."""
        if all(question.answers is None for question in self.data.questions):
            return []
        planned, rows = self.plan.conditions(), self.options.rows
        return [one for one in planned if not rows or any(fnmatchcase(one.name, row) for row in rows)]

    def execute(self) -> None:
        """Do all that is not done yet."""
        indexes = dict(self._indexes())
        try:
            self._rank(indexes)
            with self.clara.model.reading_once():
                self._answer(indexes)
            if not self.options.rows:
                self._paraphrase(indexes)
                self._time(indexes)
            self._measure(indexes)
            self._map(indexes[self.plan.rates[0]])
            self._inspect()
        finally:
            for index in indexes.values():
                index.close()

    # -- memories and rankings ----------------------------------------------------------------------------

    def _indexes(self) -> Iterator[tuple[int, CorpusIndex]]:
        passages = self.data.passages
        for rate in self.plan.rates:
            if self._store is not None:
                yield rate, self._store
                continue

            def progress(done: int, what: str = f"compressing {rate}x") -> None:
                self._report(what, done, len(passages), 0)

            folder = self.folder / "memories" / f"{rate}x"
            yield rate, CorpusIndex.filled(self.clara, folder, passages, rate, progress)

    def _rank(self, indexes: dict[int, CorpusIndex]) -> None:
        passages, depth = self.data.passages, min(RANKED, len(self.data.passages))
        self._rank_by(BM25, lambda: _one_by_one(bm25_ranker(passages), depth))
        if self.options.encoder is not None:
            encoder = self.options.encoder
            self._rank_by(DENSE, lambda: _one_by_one(dense_ranker(passages, encoder), depth))
        if not self.has_search:
            return
        by_words = self.ranking(BM25)
        for rate, index in indexes.items():

            def search(question: Question, index: CorpusIndex = index) -> list[int]:
                return index.search(question.text, depth)

            def join(question: Question, index: CorpusIndex = index) -> list[int]:
                return index.joined(question.text, depth)

            def rerank(question: Question, index: CorpusIndex = index) -> list[int]:
                found = candidates_of(question, {BM25: by_words[question.id]}, self.options.candidates)
                return index.search(question.text, len(found), among=found)

            self._rank_by(own_search(rate), partial(_itself, search))
            if self.plan.hybrid:
                self._rank_by(joined_search(rate), partial(_itself, join))
            self._rank_by(reranking(rate), partial(_itself, rerank))

    def _rank_by(self, name: str, make: Callable[[], Ranking]) -> None:
        """Rank every question that is not ranked yet; the search is made only if there is one."""
        lines = _Lines(self._ranking_file(name))
        missing = [question for question in self.data.questions if question.id not in lines.done]
        if not missing:
            return
        rank = make()
        for at, question in enumerate(missing):
            if at % 50 == 0:
                self._report(f"ranking by {name}", len(lines.done), len(self.data.questions), 0)
            lines.add([{"id": question.id, "ranking": rank(question)}])
        self._report(f"ranking by {name}", len(lines.done), len(self.data.questions), 0)

    def _ranking_file(self, name: str) -> Path:
        return self.folder / "rankings" / f"{name}.jsonl"

    def ranking(self, name: str) -> dict[str, list[int]]:
        """Each question's passages, best first, by the question's id."""
        return {key: line["ranking"] for key, line in read_lines(self._ranking_file(name)).items()}

    # -- answers ------------------------------------------------------------------------------------------

    def _answer(self, indexes: dict[int, CorpusIndex]) -> None:
        lengths = self._lengths()
        asked = [question for question in self.data.questions if question.answers is not None]
        wrong = dict(zip((question.id for question in asked), others(asked), strict=True))
        known: dict[tuple[str, int | None], Known] = {}
        for condition in self.conditions:
            ranking = self.ranking(condition.ranking) if condition.ranking else {}
            groups = {
                question.id: choose(
                    condition,
                    question,
                    {condition.ranking: ranking.get(question.id, [])},
                    wrong[question.id],
                    self.k,
                )
                for question in asked
                if not condition.needs_gold or question.asked_about
            }
            asker = Asker(
                self.clara,
                condition,
                self.data.passages,
                lengths,
                indexes[condition.rate or self.plan.rates[0]],
                self.options.max_new_tokens,
                self.options.reading,
                self._shortener,
                AblatedMemories(self.clara, self.data.passages, condition.rate, condition.reading)
                if condition.reading in ablation.KINDS and condition.rate
                else None,
            )
            same = known.setdefault((condition.reading, condition.rate), {})
            self._answer_by(asker, [one for one in asked if one.id in groups], groups, same)

    def _answer_by(
        self, asker: Asker, asked: Sequence[Question], groups: dict[str, list[int]], known: Known
    ) -> None:
        """Fill the file of a condition.

        Args:
            asker: Under the condition.
            asked: The questions.
            groups: The passages of each.
            known: What was answered in the same way from the same passages under another condition, which
                holds here too; grows.
        """
        name = asker.condition.name
        lines = _Lines(self.folder / "answers" / f"{name}.jsonl")
        missing = [question for question in asked if question.id not in lines.done]
        keys = {question.id: (question.id, tuple(groups[question.id])) for question in asked}
        lines.add([known[keys[one.id]] for one in missing if keys[one.id] in known])
        missing = [question for question in missing if question.id not in lines.done]
        failed = 0
        for batch in by_length([asker.size(groups[question.id]) for question in missing], MAX_ROW_TOKENS):
            self._report(f"answering, {name}", len(lines.done), len(asked), failed)
            questions = [missing[at] for at in batch]
            new = asker.ask(questions, [groups[question.id] for question in questions])
            failed += sum("error" in line for line in new)
            lines.add(new)
        self._report(f"answering, {name}", len(lines.done), len(asked), failed)
        answered = {key: line for key, line in read_lines(lines.path).items() if "error" not in line}
        known |= {(key, tuple(line["passages"])): line for key, line in answered.items()}

    # -- paraphrases and times ----------------------------------------------------------------------------

    def _paraphrase(self, indexes: dict[int, CorpusIndex]) -> None:
        count = min(self.options.paraphrases, len(self.data.passages))
        chosen = random.Random(self.options.seed).sample(range(len(self.data.passages)), count)
        for rate, index in indexes.items():
            lines = _Lines(self.folder / "paraphrases" / f"{rate}x.jsonl")
            missing = [number for number in chosen if str(number) not in lines.done]
            for start in range(0, len(missing), 16):
                self._report(f"paraphrasing from {rate}x", len(lines.done), count, 0)
                batch = missing[start : start + 16]
                try:
                    texts = self.clara.paraphrase(index.memories(batch), rate=rate)
                except PromptError:  # the prompt format has no paraphrases
                    return
                lines.add(
                    [
                        {
                            "id": str(number),
                            "paraphrase": text,
                            "numbers": metrics.preserved(metrics.numbers(self.data.passages[number]), text),
                            "names": metrics.preserved(metrics.names(self.data.passages[number]), text),
                        }
                        for number, text in zip(batch, texts, strict=True)
                    ]
                )

    def _lengths(self) -> list[int]:
        """Tokens of every passage."""
        return [len(ids) for ids in self.clara.processor.encode_documents(self.data.passages)]

    def _measure(self, indexes: dict[int, CorpusIndex]) -> None:
        """Note what the memories take, beside the tokens that they were made of."""
        tokens = sum(self._lengths())
        figures = {
            str(rate): {
                "tokens": tokens,
                "memory_tokens": index.memory_tokens,
                "effective_rate": round(tokens / index.memory_tokens, 3),
                "bytes_per_passage": round(index.bytes_per_passage),
            }
            for rate, index in indexes.items()
        }
        write_json(self.folder / RATES_FILE, figures)

    def _map(self, index: CorpusIndex) -> None:
        """Note the vectors of some questions with their gold passages, among others of the corpus."""
        file = self.folder / POINTS_FILE
        questions = [question for question in self.data.questions if question.gold][:MAPPED_QUESTIONS]
        if file.is_file() or not questions or not self.has_search:
            return
        golds = [question.gold[0] for question in questions]
        rng = random.Random(self.options.seed)
        count = min(MAPPED_PASSAGES, len(self.data.passages))
        numbers = list(dict.fromkeys([*golds, *rng.sample(range(len(self.data.passages)), count)]))
        passages = index.vectors(numbers)
        asked = np.stack([self.clara.encode_query(question.text).ravel() for question in questions])
        temporary = file.with_suffix(".new.npz")
        np.savez(
            temporary,
            passages=passages,
            questions=asked[:, : passages.shape[1]],
            gold=np.array([numbers.index(gold) for gold in golds]),
        )
        temporary.replace(file)

    def _inspect(self) -> None:
        """Look into the memories of a few gold passages and of their questions."""
        file = self.folder / WORDS_FILE
        if file.is_file():
            return
        chosen = [question for question in self.data.questions if question.gold][:INSPECTED]
        found = []
        for question in chosen:
            if self.has_search:
                found.append(inspect_question(self.clara, question.text).to_dict())
            found.append(inspect_document(self.clara, self.data.passages[question.gold[0]]).to_dict())
        write_json(file, {"inspections": found})

    def _time(self, indexes: dict[int, CorpusIndex]) -> None:
        """Answer single questions from stored memories, from memories made on the spot, and from text."""
        file = self.folder / LATENCY_FILE
        if file.is_file() or not self.conditions:
            return
        ranking = self.ranking(own_search(self.plan.rates[0]) if self.has_search else BM25)
        chosen = [question for question in self.data.questions if question.answers is not None]
        chosen = chosen[: self.options.timed]
        seconds: dict[str, list[float]] = {}
        for at, question in enumerate([*chosen[:1], *chosen]):  # the first warms up
            self._report("timing", max(0, at - 1), len(chosen), 0)
            numbers = ranking[question.id][: self.k]
            for name, took in self._timed(question.text, numbers, indexes):
                if at:
                    seconds.setdefault(name, []).append(took)
        write_json(file, {"k": self.k, "seconds": seconds})

    def _timed(
        self, question: str, numbers: Sequence[int], indexes: dict[int, CorpusIndex]
    ) -> Iterator[tuple[str, float]]:
        """Seconds of answering a question in each way."""
        texts = [self.data.passages[number] for number in numbers]

        def took(documents: Callable[[], Sequence[Document]], rate: int | None = None) -> float:
            started = time.perf_counter()
            self.clara.read([question], [documents()], rate=rate, max_new_tokens=self.options.max_new_tokens)
            return time.perf_counter() - started

        yield "text", took(lambda: texts)
        for rate, index in indexes.items():
            yield f"{rate}x memories, stored", took(partial(index.memories, numbers), rate)
            yield (
                f"{rate}x memories, made on the spot",
                took(partial(self._made, texts, rate), rate),
            )

    def _made(self, texts: Sequence[str], rate: int) -> Sequence[Document]:
        return self.clara.compress(texts, rate=rate)[0]


def _itself(rank: Ranking) -> Ranking:
    return rank


def _one_by_one(ranker: Ranker, depth: int) -> Ranking:
    def rank(question: Question) -> list[int]:
        found: list[int] = ranker([question.text], depth)[0].tolist()
        return found

    return rank
