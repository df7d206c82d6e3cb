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
_CLOSED = {'"': '"', "“": "”", "(": ")", "[": "]"}
_FIELD = re.compile(r"[^\n:]{1,60}: ")  # begins a line of a record
_LIST_MARK = re.compile(r"(?:[•*=]\s+(?=\S)|[-–—]\s+(?=[^\s\d.,]))")  # "- 5" may be a number


def as_written(answer: str, texts: Sequence[str], taken_from: int | None = None) -> str:
    """`answer` as the first text that contains it writes it; unchanged if none does.

    A model with an uncased vocabulary answers "32 . 5 km"; the source says "32.5 km". An answer that is a
    part of a name wherever it stands, "lock" of "Cargo.lock", becomes the whole name. A list's mark before it
    goes, a quotation or bracket that it opens is closed, and in a record ("name: value" lines) it ends with
    its line.

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
    """A place without a list's mark before it or a record's next line, and with the end of what it opens."""
    mark = _LIST_MARK.match(text, start, stop)
    start = mark.end() if mark else start
    line_end = text.find("\n", start, stop)
    if line_end > start and _is_field(text, start) and _is_field(text, line_end + 1):
        stop = line_end
    return start, stop + 1 if text[stop : stop + 1] in _opened(text[start:stop]) else stop


def _is_field(text: str, at: int) -> bool:
    """Whether a place is in a line of a record."""
    return _FIELD.match(text, text.rfind("\n", 0, at) + 1) is not None


def _opened(answer: str) -> list[str]:
    """The marks that would close what an answer leaves open."""
    return [
        last
        for first, last in _CLOSED.items()
        if (answer.count(first) % 2 if first == last else answer.count(first) > answer.count(last))
    ]


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
