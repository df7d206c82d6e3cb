"""What is compared: which passages a question gets, and how they are read.

| passages | |
|---|---|
| none | control: what the generator knows by itself |
| wrong | control: the gold passages of another question |
| gold | control: the gold passages alone |
| oracle | the gold passages among K; the others are the best of a search |
| normal | the best K of a search that is not the model's (BM25, a sentence encoder) |
| rerank | the K that the model's memories choose of N candidates, the question's own or BM25's |
| full | the K that the model finds in the whole corpus, by its memories alone or as `ask` does by default |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clara.errors import InputError
from clara.evaluation.questions import Question

CONTROLS = ("none", "wrong", "gold")
SETTINGS = ("oracle", "normal", "rerank", "full")

_ANY_SEARCH = ("oracle", "normal")
"""Settings for which the model itself need not search."""

MEMORY, TEXT, MIXED, BASE, SHORTENED = "memory", "text", "mixed", "base", "llmlingua"
NOISE, SKIP = "noise", "skip"
"""Readings: memories; text read by the generator; the model's own mix of both; text read by the base without
adapters; text that a prompt compressor shortened, read by the generator; memories by a compressor of random
weights, and by one without layers (`clara.evaluation.ablation`)."""

BM25, DENSE = "bm25", "dense"
"""Searches that are not the model's."""


def own_search(rate: int) -> str:
    """Name of the search by memories of a rate."""
    return f"memories-{rate}x"


def joined_search(rate: int) -> str:
    """Name of the search by memories of a rate, joined with one by words."""
    return f"joined-{rate}x"


def reranking(rate: int) -> str:
    """Name of the order that memories of a rate give to the candidates."""
    return f"reranked-{rate}x"


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of the table of answers.

    Attributes:
        passages: One of `CONTROLS` and `SETTINGS`.
        reading: One of the readings.
        rate: Text tokens per memory token, where memories are read; by how much a prompt is shortened; else
            None.
        ranking: Name of the ranking that the passages are of; empty for controls.
    """

    passages: str
    reading: str
    rate: int | None = None
    ranking: str = ""

    @property
    def name(self) -> str:
        """Unique within a run, and a file's name."""
        parts = [self.passages, self.ranking if self.passages == "normal" else "", self.reading]
        return "-".join([part for part in parts if part] + ([f"{self.rate}x"] if self.rate else []))

    @property
    def needs_gold(self) -> bool:
        """Whether only questions with gold passages can be asked."""
        return self.passages in ("wrong", "gold", "oracle")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run compares.

    Attributes:
        settings: Of `SETTINGS`.
        rates: Rates that memories are read at, the model's own first.
        searches: Baseline searches, of `BM25` and `DENSE`.
        own_search: Whether the model can search; if not, the first of the baselines finds the distractors of
            "oracle", and what is chosen by memories is left out.
        hybrid: Whether the model by default joins its search with one by words.
        mixed: Whether the model by default reads some passages as text.
        base: Whether there is a base without adapters to read text.
        shortened: Whether a prompt compressor is at hand.
        ablated: Whether memories by other weights of the compressor are read too.
    """

    settings: Sequence[str]
    rates: Sequence[int]
    searches: Sequence[str]
    own_search: bool = True
    hybrid: bool = False
    mixed: bool = False
    base: bool = False
    shortened: bool = False
    ablated: bool = False

    def __post_init__(self) -> None:
        for setting in self.settings:
            if setting not in SETTINGS:
                raise InputError(f"The setting is {setting!r}, but must be one of {', '.join(SETTINGS)}.")
        if not self.rates or len(set(self.rates)) < len(self.rates):
            raise InputError(f"The rates are {list(self.rates)}, but must be at least one rate, each once.")

    def conditions(self) -> list[Condition]:
        """Every line, controls first."""
        lines = [Condition("none", TEXT)]
        lines += [Condition(control, MEMORY, rate) for rate in self.rates for control in ("wrong", "gold")]
        if self.ablated:
            lines += [Condition("gold", kind, self.rates[0]) for kind in (NOISE, SKIP)]
        lines.append(Condition("gold", TEXT))
        chosen = self.settings if self.own_search else [one for one in self.settings if one in _ANY_SEARCH]
        for setting in chosen:
            for search in self._searches(setting):
                lines += self._readings(setting, search)
        return lines

    def _searches(self, setting: str) -> Sequence[str]:
        """The searches that a setting takes passages of; "" for the model's own."""
        if setting == "normal":
            return self.searches
        return [""] if self.own_search else self.searches[:1]

    def _readings(self, setting: str, search: str) -> list[Condition]:
        """Every reading of one arrangement of passages."""

        def ranking(rate: int) -> str:
            if search:
                return search
            if setting == "rerank":
                return reranking(rate)
            return joined_search(rate) if self.hybrid and setting == "full" else own_search(rate)

        own = self.rates[0]
        lines = [Condition(setting, MEMORY, rate, ranking(rate)) for rate in self.rates]
        lines.append(Condition(setting, TEXT, None, ranking(own)))
        if self.mixed:
            lines.append(Condition(setting, MIXED, own, ranking(own)))
        if self.base:
            lines.append(Condition(setting, BASE, None, ranking(own)))
        if self.shortened:
            lines += [Condition(setting, SHORTENED, rate, ranking(own)) for rate in self.rates]
        return lines


def choose(
    condition: Condition, question: Question, rankings: Mapping[str, Sequence[int]], other: Question, k: int
) -> list[int]:
    """Numbers of the passages that a question gets, best first.

    Args:
        condition: The line.
        question: The question.
        rankings: The question's passages, best first, by the name of the ranking.
        other: Another question, whose gold passages are wrong here.
        k: How many passages at most; controls have as many as there are gold.
    """
    if condition.passages == "none":
        return []
    if condition.passages == "wrong":
        return list(other.gold)[:k]
    if condition.passages == "gold":
        return list(question.asked_about)[:k]
    best = rankings[condition.ranking]
    if condition.passages == "oracle":
        return with_gold(best, question.asked_about[:k], k)
    return list(best[:k])


def with_gold(ranking: Sequence[int], gold: Sequence[int], k: int) -> list[int]:
    """The best k of a ranking; gold passages that are not among them take the last places."""
    best = list(ranking[:k])
    missing = [number for number in gold if number not in best]
    distractors = [number for number in best if number not in gold]
    kept = {*gold, *distractors[: k - len(gold)]}
    return [number for number in best if number in kept] + missing


def candidates_of(
    question: Question, rankings: Mapping[str, Sequence[int]], num_candidates: int
) -> Sequence[int]:
    """What is reranked: the passages that came with the question, or else the best of BM25."""
    return question.candidates if len(question.candidates) > 1 else rankings[BM25][:num_candidates]


def others(questions: Sequence[Question]) -> list[Question]:
    """For each question another one with gold passages, none of them shared; the question itself if none is.

    It is the next one in order, so that every run has the same.
    """
    found = []
    for at, question in enumerate(questions):
        rest = [*questions[at + 1 :], *questions[:at]]
        found.append(
            next((one for one in rest if one.gold and not set(one.gold) & set(question.gold)), question)
        )
    return found
