"""Which words are known: those of the packaged model's vocabulary, which has the thirty thousand most
frequent."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

_FILE = Path(__file__).parent.parent / "models" / "extractive" / "tokenizer.json"


def is_known(word: str) -> bool:
    """Whether a word is among the most frequent ones of English; whole, in any case."""
    return word.lower() in _words()


@cache
def _words() -> frozenset[str]:
    try:
        found = json.loads(_FILE.read_text(encoding="utf-8"))["model"]["vocab"]
    except (OSError, ValueError, KeyError):  # an installation without the packaged model
        return frozenset()
    return frozenset(word for word in found if word.isalpha() and len(word) > 2)
