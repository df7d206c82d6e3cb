"""Questions that look as if a passage answered them, and that it does not: what "not here" is learnt from."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

NUMBER = re.compile(r"(?<!\w)\d[\d.,]*(?<=\d)(?!\w)")
# A run of capitalised words behind another word: what begins a sentence is capitalised whatever it is.
NAME = re.compile(r"(?<=[\w,] )[A-Z][\w'-]+(?: [A-Z][\w'-]+)*")

_OPPOSITE_PAIRS = (
    "first last|earliest latest|before after|most least|more fewer|largest smallest|biggest smallest"
    "|highest lowest|longest shortest|oldest newest|best worst|north south|northern southern|east west"
    "|eastern western|increase decrease|increased decreased|rise fall|began ended|begin end|start stop"
    "|started stopped|won lost|win lose|buy sell|bought sold|above below|inside outside|major minor"
    "|male female|internal external|upper lower|maximum minimum|early late|always never|born buried"
    "|founded dissolved|allowed forbidden"
)
OPPOSITES = {
    word: other
    for pair in _OPPOSITE_PAIRS.split("|")
    for word, other in (pair.split(), reversed(pair.split()))
}


def near_miss(question: str, passage: str, answers: Sequence[str], rng: random.Random) -> str | None:
    """The question asked about something that the passage does not tell.

    A number or a name of the question gives way to another one of the passage, or a word to its opposite: the
    kinds that people make most who write unanswerable questions on purpose (Rajpurkar et al., SQuAD 2.0,
    section 3).

    Args:
        question: That the passage answers.
        passage: Where other names and numbers are taken from.
        answers: Are not put into the question.
        rng: Chooses among what is possible.

    Returns:
        The altered question, or None where nothing of it can be exchanged.
    """
    ways = [
        *_exchanged(NUMBER, question, passage, answers),
        *_exchanged(NAME, question, passage, answers),
        *_turned(question),
    ]
    return rng.choice(ways) if ways else None


def _exchanged(kind: re.Pattern[str], question: str, passage: str, answers: Sequence[str]) -> list[str]:
    """The question with one of its names or numbers exchanged for one that only the passage has."""
    there = {match[0] for match in kind.finditer(passage)}
    taken = " ".join((question, *answers)).lower()
    others = sorted(other for other in there if not any(word in taken for word in other.lower().split()))
    return [
        question[: match.start()] + other + question[match.end() :]
        for match in kind.finditer(question)
        for other in others
    ]


def _turned(question: str) -> list[str]:
    """The question with one of its words turned into its opposite."""
    return [
        question[: match.start()] + OPPOSITES[match[0].lower()] + question[match.end() :]
        for match in re.finditer(r"\w+", question)
        if match[0].lower() in OPPOSITES
    ]
