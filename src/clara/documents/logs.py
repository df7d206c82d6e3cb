"""Log files: sections of lines that were written close in time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from clara.documents.charsets import decode
from clara.documents.lines import Traced, join
from clara.documents.reading import Context, Reading
from clara.documents.text import Line, numbered_lines
from clara.records import Section

_WITH_DATE, _WITHOUT_YEAR, _WITHOUT_DATE = "%Y-%m-%d %H:%M:%S", "%b %d %H:%M:%S", "%H:%M:%S"
_NO_YEAR = "1972"  # a leap year, in which every day of a log without years exists
_PREFIX = r"[\[(<]?(?:\d{1,3}>)?"  # brackets, and the priority that syslog sends
_FORMS = tuple(
    (re.compile(pattern), read, shown)
    for pattern, read, shown in (
        (
            _PREFIX + r"(\d{4})[-/.](\d{2})[-/.](\d{2})[T ](\d{2}:\d{2}:\d{2})",
            "%Y %m %d %H:%M:%S",
            _WITH_DATE,
        ),
        (
            r"[^\s\[]+ \S+ \S+ \[(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}:\d{2}:\d{2})",
            "%d %b %Y %H:%M:%S",
            _WITH_DATE,
        ),
        (_PREFIX + r"([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d{2}:\d{2}:\d{2})", "%b %d %H:%M:%S", _WITHOUT_YEAR),
        (_PREFIX + r"(\d{2}:\d{2}:\d{2})\b", "%H:%M:%S", _WITHOUT_DATE),
    )
)
"""How the lines of logs begin: with a date and time, with an address and a time (web servers), without a year
(syslog), without a date; each with the form of its groups and the form that headings show."""

# a longer silence than this begins a section, and so does a longer text than this
_SILENCE = timedelta(minutes=5)
_MAX_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class _Moment:
    """When an entry was written, by its log's own clock, and the form in which the log can say it."""

    at: datetime
    form: str

    def __str__(self) -> str:
        return self.at.strftime(self.form)


@dataclass(slots=True)
class _Run:
    """Lines of one section, and the times of its first and last entry."""

    lines: list[Line] = field(default_factory=list)
    size: int = 0
    first: _Moment | None = None
    last: _Moment | None = None


def read_log(data: bytes, context: Context) -> Reading:
    """Read a log; a section's heading is the time of its first entry and that of its last.

    A section ends where nothing was written for five minutes or where it is full. Lines without a time, such
    as those of a traceback, belong to the entry above them. Where entries have times, a section's metadata
    says "start" and "end", as in the heading.

    Raises:
        UnreadableError: The bytes are not text.
    """
    lines = numbered_lines(decode(data, losses=context.losses))
    return Reading("", tuple(map(_section, _runs(lines))))


def _runs(lines: list[Line]) -> Iterator[_Run]:
    run = _Run()
    for number, text in lines:
        moment = _moment(text)
        starts_entry = moment is not None or run.last is None
        is_silent = moment is not None and run.last is not None and abs(moment.at - run.last.at) > _SILENCE
        if run.lines and (is_silent or (starts_entry and run.size + len(text) > _MAX_CHARACTERS)):
            yield run
            run = _Run()
        run.lines.append((number, text))
        run.size += len(text) + 1
        run.first, run.last = run.first or moment, moment or run.last
    if run.lines:
        yield run


def _section(run: _Run) -> Section:
    text = join("\n", [Traced.of(line, (number, number)) for number, line in run.lines])
    if run.first is None or run.last is None:
        return text.section()
    start, end = str(run.first), str(run.last)
    section = text.section(start if start == end else f"{start} to {_short(run.first, run.last)}")
    return replace(section, metadata={"start": start, "end": end})


def _short(first: _Moment, last: _Moment) -> str:
    return last.at.strftime(_WITHOUT_DATE) if last.at.date() == first.at.date() else str(last)


def _moment(line: str) -> _Moment | None:
    """When a line says that it was written, None if it does not."""
    for pattern, form, shown in _FORMS:
        match = pattern.match(line)
        if match is not None:
            words = " ".join(match.groups())
            try:
                # days without a year are checked in that year, not in 1900, which had no 29 February
                if shown == _WITH_DATE:
                    return _Moment(datetime.strptime(words, form), shown)
                return _Moment(datetime.strptime(f"{_NO_YEAR} {words}", f"%Y {form}"), shown)
            except ValueError:  # the digits of no day, as in 2024-13-45
                return None
    return None
