"""The written form of an answer: as it stands in a source, where it stands there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_PIECE = re.compile(r"\w+|[^\w\s]")
# what ties the parts of one name together: file names, modules, versions; not the end of a sentence
_NAME_BEFORE = re.compile(r"(?:[^\W_]+(?:\.|_+))+\Z")
_NAME_AFTER = re.compile(r"(?:(?:\.(?=[a-z0-9])|_+)[^\W_]+)+")
_LONGEST_NAME = 100
_LIST_MARK = re.compile(r"(?:[•*=]\s+(?=\S)|[-–—]\s+(?=[^\s\d.,]))")  # "- 5" may be a number


def as_written(answer: str, texts: Sequence[str], taken_from: int | None = None) -> str:
    """`answer` as the first text that contains it writes it; unchanged if none does.

    A model with an uncased vocabulary answers "32 . 5 km"; the source says "32.5 km". An answer that is a
    part of a name wherever it stands, "lock" of "Cargo.lock", becomes the whole name. A list's mark before it
    goes, and a quotation that it opens is closed.

    Args:
        answer: What the model wrote.
        texts: Sources, the likeliest first.
        taken_from: Place of the text that it was taken from, which comes before all others, if known.
    """
    for text in texts if taken_from is None else (texts[taken_from], *texts):
        places = find_written(answer, text)
        if places:
            wholes = [_whole(text, *place) for place in places]
            alone = (whole for whole, place in zip(wholes, places, strict=True) if whole == place)
            start, stop = _trimmed(text, *next(alone, wholes[0]))
            return " ".join(text[start:stop].split())
    return answer


def _whole(text: str, start: int, stop: int) -> tuple[int, int]:
    """Where the name begins and ends that a place is a part of; the place itself if it is of none."""
    if text[start].islower() or text[start].isdigit() or text[start - 1 : start] == "_":
        before = _NAME_BEFORE.search(text, max(0, start - _LONGEST_NAME), start)
        start = before.start() if before else start
    after = _NAME_AFTER.match(text, stop)
    return start, after.end() if after else stop


def _trimmed(text: str, start: int, stop: int) -> tuple[int, int]:
    """A place without the mark of a list at its beginning, and with the end of a quotation that it holds."""
    mark = _LIST_MARK.match(text, start, stop)
    start = mark.end() if mark else start
    is_open = text.count('"', start, stop) % 2 == 1 or text.count("“", start, stop) > text.count(
        "”", start, stop
    )
    return start, stop + 1 if is_open and text[stop : stop + 1] in ('"', "”") else stop


def find_written(answer: str, text: str) -> list[tuple[int, int]]:
    """Where a text contains an answer: begin and end of each place, in characters.

    Case, accents and white space do not count in the comparison; words are whole, parts of a name with
    underscores count as words.
    """
    pieces = _PIECE.findall(_without_accents(answer)[0])
    if not pieces:
        return []
    folded, places = _without_accents(text)
    pattern = r"(?<![^\W_])" + r"\s*".join(re.escape(piece) for piece in pieces) + r"(?![^\W_])"
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
