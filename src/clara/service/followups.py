"""Follow-up questions: one that leaves its subject out is asked with that of the question before it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_POINTS_BACK = re.compile(
    r"\b(it|its|they|them|their|he|him|his|she|her|this|that|these|those|there|then|one)\b", re.IGNORECASE
)
_NAME = re.compile(r"\b[A-Z][\w'’-]*(?:\s+(?:of|the|de|von|van|and)\s+(?=[A-Z])|\s+(?=[A-Z])|[A-Z][\w'’-]*)*")
_ASKING = frozenset(
    [
        "a",
        "an",
        "the",
        "who",
        "whom",
        "whose",
        "what",
        "which",
        "when",
        "where",
        "why",
        "how",
        "is",
        "are",
        "was",
        "were",
        "do",
        "does",
        "did",
        "can",
        "could",
        "will",
        "would",
        "has",
        "have",
        "had",
        "in",
        "on",
        "at",
        "of",
        "for",
        "by",
        "to",
        "and",
        "or",
        "tell",
        "give",
        "name",
        "list",
        "show",
        "explain",
        "please",
    ]
)
_SHORT = 4


def with_subject(question: str, before: Sequence[str]) -> str:
    """A question that can be understood alone.

    Args:
        question: As it was asked.
        before: The questions before it, oldest first.

    Returns:
        The question, with the subject of the nearest earlier one in brackets behind it if it has none of its
        own and points back or is very short.
    """
    words = question.split()
    if not before or names(question) or not (_POINTS_BACK.search(question) or len(words) <= _SHORT):
        return question
    for earlier in reversed(before):
        subject = names(earlier)
        if subject:
            return f"{question.rstrip()} ({', '.join(subject)})"
    return question


def names(question: str) -> list[str]:
    """The capitalised names of a question, less the word that begins it if it only asks."""
    found = []
    for match in _NAME.finditer(question):
        parts = match.group().split()
        while parts and parts[0].lower() in _ASKING:
            parts.pop(0)
        if parts:
            found.append(" ".join(parts))
    return list(dict.fromkeys(found))
