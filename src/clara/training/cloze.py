"""Cloze questions: a stretch of a passage with a few words blanked, which are the answer.

They need no labels, share their words with the passage, and so teach looking up and copying long before
questions do.
"""

from __future__ import annotations

import random

CONTEXT_WORDS = 10
"""Words kept on each side of the blank."""


def cloze_turns(passage: str, count: int, blank: str, rng: random.Random) -> list[tuple[str, str]]:
    """Up to `count` (question, answer) pairs, names and numbers preferred as answers.

    Args:
        passage: The text.
        count: How many to draw.
        blank: What stands for the answer in the question.
        rng: Draws places and lengths.
    """
    words = passage.split()
    if len(words) < 2 * CONTEXT_WORDS:
        return []
    turns = []
    for _ in range(count):
        start = max((rng.randrange(len(words)) for _ in range(3)), key=lambda at: _is_telling(words[at]))
        stop = min(start + rng.choice((1, 1, 2, 2, 3, 4)), len(words))
        before = words[max(0, start - rng.randint(2, CONTEXT_WORDS)) : start]
        after = words[stop : stop + rng.randint(2, CONTEXT_WORDS)]
        answer = " ".join(words[start:stop]).strip(".,;:()\"'")
        if answer and len(before) + len(after) >= 4:
            turns.append((" ".join([*before, blank, *after]), answer))
    return turns


def _is_telling(word: str) -> bool:
    return word[:1].isupper() or any(character.isdigit() for character in word)
