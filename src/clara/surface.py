"""The written form of an answer: as it stands in a source, where it stands there."""

from __future__ import annotations

import re
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

    Case and white space do not count in the comparison, whole words do.
    """
    pieces = _PIECE.findall(answer)
    if not pieces:
        return []
    pattern = r"(?<!\w)" + r"\s*".join(re.escape(piece) for piece in pieces) + r"(?!\w)"
    return [found.span() for found in re.finditer(pattern, text, re.IGNORECASE)]
