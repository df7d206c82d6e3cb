"""What the small model is trained on: questions people wrote, and cloze questions from Wikipedia's text."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from clara.training.examples import ReadingExample, open_lines, parse_record, read_reading_examples
from clara.training.near_misses import NAME, NUMBER

SENTENCE_END = re.compile(r"(?<=[.!?]) +(?=[A-Z\"])")
WORD = re.compile(r"[^\W_]+")
YEAR = re.compile(r"1\d{3}|20\d\d")
SENTENCE_WORDS = range(8, 36)
PASSAGE_WORDS = range(40, 180)
SHARED_WORDS = 4
"""Words of a sentence, besides the answer, that a paragraph must share for the one to ask about the other."""
COPIED = 0.8
"""Share of them from which on the paragraph is taken to repeat the sentence."""
CLOZES = 3
"""Cloze questions of a paragraph at most."""


def squad(data: Path) -> list[ReadingExample]:
    """SQuAD's passages with the questions that they answer."""
    return [
        example
        for example in read_reading_examples(data / "squad11_train.jsonl.xz")
        if any(answers for _, answers in example.turns)
    ]


def timeqa(data: Path) -> list[ReadingExample]:
    """Paragraphs of one article after another, with the question on those that hold its answer."""
    examples = []
    with open_lines(data / "timeqa_human_train.jsonl.xz") as lines:
        for record in map(parse_record, lines):
            for number, document in enumerate(record["docs"]):
                answers = [answer for answer in record["answers"] if answer in document["text"]]
                asked = number in record["gold"] and answers
                examples.append(
                    ReadingExample(
                        id=f"{record['id']}/{number}",
                        title=document["title"],
                        passage=document["text"],
                        turns=((record["question"], tuple(answers)),) if asked else (),
                    )
                )
    return examples


def cloze(data: Path) -> list[ReadingExample]:
    """Paragraphs of Wikipedia, asked with sentences that stand elsewhere in the same article.

    The sentence says in other words what the paragraph says (Dhingra et al. 2018, arXiv 1804.00720, asks an
    article's introduction of its body), and a question word stands for a name or a number of both.
    """
    with open_lines(data / "text_wiki_train.0.jsonl.xz") as lines:
        return [
            example
            for record in map(parse_record, lines)
            for example in _cloze_of_article(record["title"], record["text"])
        ]


SOURCES: dict[str, Callable[[Path], list[ReadingExample]]] = {
    "squad": squad,
    "timeqa": timeqa,
    "cloze": cloze,
}


def _cloze_of_article(title: str, text: str) -> Iterator[ReadingExample]:
    paragraphs = text.split("\n")
    sentences = [
        (number, sentence, _words(sentence))
        for number, paragraph in enumerate(paragraphs)
        for sentence in SENTENCE_END.split(paragraph)
        if len(sentence.split()) in SENTENCE_WORDS
    ]
    common = _words(title)
    for number, paragraph in enumerate(paragraphs):
        if len(paragraph.split()) not in PASSAGE_WORDS:
            continue
        there = _words(paragraph)
        near = sorted(
            ((len(words & there - common), sentence) for at, sentence, words in sentences if at != number),
            reverse=True,
        )
        turns = [
            turn
            for _, sentence in near[: 2 * CLOZES]
            for turn in _turns(sentence, paragraph, there, common, random.Random(sentence))
        ]
        if turns:
            yield ReadingExample(f"{title}/{number}", title, paragraph, tuple(turns[:CLOZES]))


def _turns(
    sentence: str, paragraph: str, there: set[str], common: set[str], rng: random.Random
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The question that a sentence makes for a paragraph, if it makes one."""
    spans = [
        match
        for kind in (NAME, NUMBER)
        for match in kind.finditer(sentence)
        if not _words(match[0]) & common and re.search(rf"(?<!\w){re.escape(match[0])}(?!\w)", paragraph)
    ]
    if not spans:
        return
    span = rng.choice(spans)
    words = _words(sentence) - _words(span[0]) - common
    shared = len(words & there)
    if shared >= SHARED_WORDS and shared <= COPIED * len(words):
        stop = sentence.rstrip(" .!?")
        yield stop[: span.start()] + _question_word(span[0]) + stop[span.end() :], (span[0],)


def _question_word(answer: str) -> str:
    if YEAR.fullmatch(answer):
        return "what year"
    return "how many" if NUMBER.fullmatch(answer) else "what"


def _words(text: str) -> set[str]:
    """Words of four letters or more, and numbers: those that say what a text is about."""
    return {word.lower() for word in WORD.findall(text) if len(word) > 3 or word.isdigit()}
