"""Subtitles (SRT, WebVTT): what is said, in sections of a minute under the times that it is said at."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from clara.documents.charsets import decode
from clara.documents.lines import Traced, join
from clara.documents.reading import Context, Losses, Reading, UnreadableError
from clara.documents.text import Line, numbered_lines, squeeze, tidy_piece
from clara.records import Section

_TIMES = re.compile(
    r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})\s*-->\s*(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
)
_SPEAKER = re.compile(r"<v(?:\.[^ <>]{0,60})? ([^<>]{1,100})>")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,100}>|<[\d:.]{5,16}>|\{\\[^{}]{0,100}\}")
_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)\b")
_NOTE = re.compile(r"NOTE(?: |$)")
_INSTANT = 50  # milliseconds
_SECONDS = 60  # that a section lasts at most


@dataclass(frozen=True, slots=True)
class _Cue:
    start: int
    stop: int
    text: Traced


def read_subtitles(data: bytes, context: Context) -> Reading:
    """Read subtitles; a section's metadata says when it starts and ends, in seconds.

    Raises:
        UnreadableError: The bytes are not text, or there is no time in them.
    """
    lines = numbered_lines(decode(data, losses=context.losses))
    cues = list(_cues(lines, context.losses))
    if not cues:
        raise UnreadableError("holds no times of subtitles; give it the ending that fits its content")
    return Reading("", tuple(map(_section, _groups(cues))))


def _cues(lines: list[Line], losses: Losses) -> Iterator[_Cue]:
    at = 0
    last, ended = "", 0
    while at < len(lines):
        times = _TIMES.match(lines[at][1])
        losses.count("comment", int(_NOTE.match(lines[at][1]) is not None and not lines[at - 1][1]))
        at += 1
        if times is None:
            continue
        values = [
            int((one or "0").ljust(3, "0") if place in (3, 7) else one or 0)
            for place, one in enumerate(times.groups())
        ]
        begin, end = (
            (values[n] * 3600 + values[n + 1] * 60 + values[n + 2]) * 1000 + values[n + 3] for n in (0, 4)
        )
        # captions that roll on begin with what was said last, or show it again for an instant
        rolls_on, is_instant = abs(begin - ended) <= _INSTANT, end - begin <= _INSTANT
        ended = end
        said: list[Traced] = []
        repeated: Traced | None = None
        while at < len(lines) and not _ends_cue(lines, at):
            number, line = lines[at]
            words = squeeze(tidy_piece(html.unescape(_TAG.sub("", _SPEAKER.sub(r"\1: ", line)))))
            if words and words == last and rolls_on and not said and repeated is None:
                repeated = Traced.of(words, (number, number))
            elif words:
                said.append(Traced.of(words, (number, number)))
                last = words
            at += 1
        if not said and repeated is not None and not is_instant:
            said = [repeated]
        if said:
            yield _Cue(begin // 1000, end // 1000, join(" ", said))


def _ends_cue(lines: list[Line], at: int) -> bool:
    """Whether a cue's text ends before a line; a blank line ends it only where another block begins."""
    if _TIMES.match(lines[at][1]):
        return True
    if lines[at][1]:
        return False
    soon = range(at + 1, min(at + 4, len(lines)))
    after = next((one for one in soon if lines[one][1]), None)
    return (
        after is None
        or bool(_BLOCK.match(lines[after][1]))
        or any(_TIMES.match(line) for _, line in lines[after : after + 2])
    )


def _groups(cues: list[_Cue]) -> Iterator[list[_Cue]]:
    group: list[_Cue] = []
    for cue in cues:
        if group and not 0 <= cue.stop - group[0].start <= _SECONDS:
            yield group
            group = []
        group.append(cue)
    yield group


def _section(cues: list[_Cue]) -> Section:
    start, stop = cues[0].start, max(cue.stop for cue in cues)
    text = join("\n", [cue.text.whole() for cue in cues])
    return replace(text.section(f"{_clock(start)} to {_clock(stop)}"), metadata={"start": start, "end": stop})


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
