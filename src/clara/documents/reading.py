"""What every reader is given and gives: a file's text, what was left out of it, and why it cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from clara.documents.options import ReadOptions
from clara.records import Metadata, Section

_MAX_SENTENCES = 20


class Reading(NamedTuple):
    """What a reader finds in a file's bytes.

    Attributes:
        title: The title that the file states, or "".
        sections: Its text in order; it may be blank.
        metadata: Facts that the file states of all of it, such as its author.
    """

    title: str
    sections: tuple[Section, ...]
    metadata: Metadata = MappingProxyType({})


class UnreadableError(Exception):
    """A file's bytes cannot be read; the message goes on from the file's name, as in "is encrypted".

    `read_document` makes a `DocumentError` of it, so it never leaves this package.

    Args:
        message: What is wrong and what to do, without a full stop.
        line: The line of the file that it is about, from 1.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class Losses:
    """What is not taken of a file, each kind said once, with its number."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}
        self._sentences: dict[str, None] = {}
        self._unsaid = 0

    def count(self, noun: str, number: int = 1, *, plural: str = "", what: str = "left out") -> None:
        """So many of something were left out, as in "3 comments left out"; of nothing nothing is said."""
        if number:
            key = (noun, plural or f"{noun}s", what)
            self._counts[key] = self._counts.get(key, 0) + number

    def say(self, sentence: str) -> None:
        """What numbers alone do not tell, in one line; of very many lines the first are kept."""
        if len(self._sentences) < _MAX_SENTENCES:
            self._sentences[" ".join(sentence.split())] = None
        else:
            self._unsaid += sentence not in self._sentences

    def add(self, others: Losses, name: str) -> None:
        """What was left out of a file within this one."""
        for line in others.lines():
            self.say(f"{name}: {line}")

    def lines(self) -> tuple[str, ...]:
        """A line for each kind of thing that was left out."""
        counts = (
            f"{number:,} {one if number == 1 else several} {what}".strip()
            for (one, several, what), number in self._counts.items()
        )
        more = [f"and {self._unsaid:,} more of this kind"] if self._unsaid else []
        return (*counts, *self._sentences, *more)


def _refuse(_: str, __: bytes) -> tuple[Section, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Context:
    """What a reader needs besides the bytes.

    Attributes:
        options: Which fields of records are read as what.
        losses: Where what is left out is told.
        embedded: Reads a file within the file, such as an attachment, by its name and bytes: its sections
            under its name. What cannot be read of it is told to `losses`.
        first_line: The file's line that the bytes begin on, from 1.
    """

    options: ReadOptions = ReadOptions()  # noqa: RUF009  # immutable
    losses: Losses = field(default_factory=Losses)
    embedded: Callable[[str, bytes], tuple[Section, ...]] = _refuse
    first_line: int = 1


def facts(found: Mapping[str, object]) -> Metadata:
    """Values as facts to filter on: lists joined by commas, empty ones left out, what is no scalar as
    text."""
    kept: dict[str, str | int | float | bool] = {}
    for name, value in found.items():
        if isinstance(value, (list, tuple)):
            value = ", ".join(" ".join(str(one).split()) for one in value if one not in (None, ""))
        if isinstance(value, str):
            value = value.strip()
        if value is None or value == "":
            continue
        kept[str(name)] = value if isinstance(value, (str, int, float, bool)) else str(value)
    return kept


def facts_section(found: Metadata, lines: tuple[int, int] | None = None) -> tuple[Section, ...]:
    """Facts as a text of their own, so that questions find them; none if there are none."""
    text = "\n".join(f"{name}: {written(value)}" for name, value in found.items())
    return (Section(text, lines=lines),) if text else ()


def written(value: str | int | float | bool) -> str:
    """A value as files write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def numbers(found: Iterable[int]) -> str:
    """Numbers in words, runs joined: "2, 5-7 and 9"."""
    runs: list[list[int]] = []
    for number in sorted(found):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
