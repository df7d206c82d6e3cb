"""Which sentence of a passage best supports an answer, so that a person can check it at a glance.

A sentence that holds the answer comes before all that do not; among the rest, and among several that hold it,
the one that shares most with the question wins, words that few of the passages' sentences have counting more.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from clara.answer_text import find_written
from clara.records import Evidence, Source

_WORD = re.compile(r"\w+")
_LINE = re.compile(r"[^\n]+")
_STEM = 5
"""Letters that two forms of a word share, roughly: "opened" and "opening", "bridges" and "bridge"."""


def with_evidence(sources: Sequence[Source], question: str, answer: str = "") -> tuple[Source, ...]:
    """The sources, each with the sentence of it that best supports the answer.

    Args:
        sources: Passages that were found.
        question: What was asked.
        answer: What was answered; empty where passages were searched for alone.

    Returns:
        The same sources with `Source.evidence`; None where a passage shares no word with question or answer.
    """
    sentences = [list(sentence_spans(source.text)) for source in sources]
    stems = [
        [_stems(source.text[start:stop]) for start, stop in spans]
        for source, spans in zip(sources, sentences, strict=True)
    ]
    counts = Counter(stem for of_source in stems for of_sentence in of_source for stem in of_sentence)
    total = sum(map(len, stems))
    weights = {stem: math.log(1 + total / count) for stem, count in counts.items()}
    asked = _stems(question)
    made = []
    for source, spans, of_sentences in zip(sources, sentences, stems, strict=True):
        shared = [sum(weights[stem] for stem in asked & found) for found in of_sentences]
        made.append(replace(source, evidence=_best(source.text, spans, shared, answer)))
    return tuple(made)


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the sentences of a text begin and end, without white space around them; a line's end ends one."""
    from sentencex import segment  # takes long to import

    for line in _LINE.finditer(text):
        at = line.start()
        for sentence in segment("en", line[0]):
            words = sentence.strip()
            found = text.find(words, at, line.end()) if words else -1
            if found >= 0:
                at = found + len(words)
                yield found, at


def _best(
    text: str, spans: Sequence[tuple[int, int]], shared: Sequence[float], answer: str
) -> Evidence | None:
    """The best of a passage's sentences by what each shares with the question."""
    places = find_written(answer, text)
    held = [next((place for place in places if start <= place[0] < stop), None) for start, stop in spans]
    ranked = max(range(len(spans)), key=lambda at: (held[at] is not None, shared[at], -at), default=None)
    if ranked is None or (held[ranked] is None and not shared[ranked]):
        return None
    start, stop = spans[ranked]
    place = held[ranked]
    if place is not None:
        stop = max(stop, place[1])  # an answer may go on over what was taken for a sentence's end
    return Evidence(text[start:stop], start, stop, place)


def _stems(text: str) -> set[str]:
    return {word.lower()[:_STEM] for word in _WORD.findall(text)}
