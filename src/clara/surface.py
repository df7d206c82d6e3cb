"""The written form of an answer: as it stands in a source, where it stands there."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PIECE = re.compile(r"\w+|[^\w\s]")


def as_written(answer: str, texts: Sequence[str]) -> str:
    """`answer` as the first text that contains it writes it; unchanged if none does.

    A model with an uncased vocabulary answers "32 . 5 km"; the source says "32.5 km". Case and white space
    do not count in the comparison, whole words do.

    Args:
        answer: What the model wrote.
        texts: Sources, the likeliest first.
    """
    pieces = _PIECE.findall(answer)
    if not pieces:
        return answer
    pattern = re.compile(
        r"(?<!\w)" + r"\s*".join(re.escape(piece) for piece in pieces) + r"(?!\w)", re.IGNORECASE
    )
    for text in texts:
        found = pattern.search(text)
        if found:
            return " ".join(found.group().split())
    return answer
