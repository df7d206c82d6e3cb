"""The written form of an answer: as it stands in a source, where it stands there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_PIECE = re.compile(r"\w+|[^\w\s]")


def as_written(answer: str, texts: Sequence[str]) -> str:
    """`answer` as the first text that contains it writes it; unchanged if none does.

    A model with an uncased vocabulary answers "32 . 5 km"; the source says "32.5 km".

    Args:
        answer: What the model wrote.
        texts: Sources, the likeliest first.
    """
    for text in texts:
        for start, stop in find_written(answer, text):
            return " ".join(text[start:stop].split())
    return answer


def find_written(answer: str, text: str) -> list[tuple[int, int]]:
    """Where a text contains an answer: begin and end of each place, in characters.

    Case, accents and white space do not count in the comparison, whole words do.
    """
    pieces = _PIECE.findall(_without_accents(answer)[0])
    if not pieces:
        return []
    folded, places = _without_accents(text)
    pattern = r"(?<!\w)" + r"\s*".join(re.escape(piece) for piece in pieces) + r"(?!\w)"
    found = re.finditer(pattern, folded, re.IGNORECASE)
    return [(places[one.start()], places[one.end() - 1] + 1) for one in found]


def _without_accents(text: str) -> tuple[str, Sequence[int]]:
    """The text without combining marks, and the place in the text of each character that is left."""
    if text.isascii():
        return text, range(len(text))
    kept = [
        (part, place)
        for place, character in enumerate(text)
        for part in unicodedata.normalize("NFD", character)
        if not unicodedata.combining(part)
    ]
    return "".join(part for part, _ in kept), [place for _, place in kept]
