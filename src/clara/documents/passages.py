"""Cutting documents into passages that fit the model's budget of tokens.

A section's text is taken apart into atoms: the units that a reader marked, such as rows of tables, items of
lists and code, else its sentences; the lines and sentences of a unit that is too long alone, the words of a
sentence that is, the pieces of a word that is. What a unit names as its head, such as the names of a table's
columns, is repeated where a passage begins with it. Neighbouring atoms are then filled into passages, which
end at the best border
near the budget: that of a paragraph, else of a line, else of a sentence, else of a word. Atoms are counted
one by one, and
the counts of neighbours only roughly add up, so that every passage is counted whole before it is returned.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import groupby

from clara.documents.lines import lines_between
from clara.documents.text import is_wide
from clara.errors import InputError
from clara.records import Document, Passage, Section

CountTokens = Callable[[list[str]], list[int]]
"""Gives the number of tokens of each text, as the model will see it."""

_LINE = re.compile(r"[^\n]*\S[^\n]*")
_FOLLOWING = re.compile(r"\s*(?=\S)")
_WORD = re.compile(r"\S+")
_SLAB = re.compile(r".{1,10000}(?:\s+|$)|.{1,10000}", re.DOTALL)
_JOINERS = frozenset("\u200c\u200d")
_LONGEST_CLUSTER = 16  # characters; text that goes on longer with marks is no text to spare
_SEPARATOR = " > "

# a passage that is filled to this share may end early at a better border
_FULL_ENOUGH = 0.6
# a last passage below this share of the budget is evened out with the one before it
_TINY = 0.4


class _Border(IntEnum):
    """What ends at an atom's end; the higher, the better to cut there."""

    PIECE = 0
    WORD = 1
    SENTENCE = 2
    LINE = 3
    PARAGRAPH = 4


@dataclass(frozen=True, slots=True)
class _Atom:
    """Characters `start` to `stop` of a section's text, what a passage that begins with them repeats, and
    their
    number of tokens once it is known."""

    section: int
    start: int
    stop: int
    border: _Border
    head: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Head:
    """The title and headings of a section's passages, shortened to fit, and what remains for text."""

    title: str
    heading: str
    room: int


_Group = list[_Atom]


def cut(document: Document, max_tokens: int, count_tokens: CountTokens) -> list[Passage]:
    """Cut a document into passages whose `content` counts at most `max_tokens` tokens each.

    Passages never reach over a section's border, and together they hold all text of the sections in order;
    only white space between them is dropped. Units stay whole where they fit, and their heads are repeated.
    A title or heading that takes more than half of the budget is
    shortened, in `Passage.title` and `Passage.heading` too. Each passage has its section's metadata, and the
    lines of the file that its own words are made of as closely as the section tells.

    Args:
        document: What to cut; blank sections are skipped.
        max_tokens: The budget of a passage's `content`, in tokens.
        count_tokens: Gives the number of tokens of each text; called a few times with many texts.

    Returns:
        The passages in order, `position` counted from 0; empty if the document has no text.

    Raises:
        InputError: `max_tokens` is so small that single characters do not fit.
    """
    if max_tokens < 1:
        raise InputError(f"A passage of {max_tokens} tokens holds no text; max_tokens must be at least 1.")
    return _Cutter(document, max_tokens, count_tokens).run()


class _Cutter:
    """One call of `cut`: the document, the budget and the counter, which nearly every step needs."""

    def __init__(self, document: Document, max_tokens: int, count_tokens: CountTokens) -> None:
        self._title = document.title
        self._sections = [section for section in document.sections if section.text.strip()]
        self._max_tokens = max_tokens
        self._count_tokens = count_tokens
        self._empty = count_tokens([""])[0]  # special tokens, which come once a passage and not once an atom
        self._heads = self._fit_heads()
        self._repeated: dict[str, int] = {"": 0}  # what each repeated head costs

    def run(self) -> list[Passage]:
        atoms = [atom for at, section in enumerate(self._sections) for atom in _atoms(at, section)]
        atoms = self._below_heads(self._sized(atoms))
        atoms = self._split(atoms, _sentences_of)
        atoms = self._split(atoms, _words)
        atoms = self._split(atoms, self._pieces)
        while any(map(self._is_long, atoms)):  # the parts of a word need not be equal in tokens
            atoms = self._split(atoms, self._pieces)
        groups = [
            group
            for at, of_section in groupby(atoms, key=lambda atom: atom.section)
            for group in _fill(list(of_section), self._heads[at].room, self._repeated)
        ]
        passages = map(self._passage, self._fitting(groups))
        return [replace(passage, position=position) for position, passage in enumerate(passages)]

    def _fitting(self, groups: list[_Group]) -> list[_Group]:
        """The groups, those that are too long when counted whole in halves, in order."""
        fitting: list[_Group] = []
        while groups:
            sizes = self._count_tokens([self._passage(group).content for group in groups])
            halves: list[_Group] = []
            for group, size in zip(groups, sizes, strict=True):
                if size <= self._max_tokens:
                    fitting.append(group)
                else:
                    halves += self._halve(group)
            groups = halves
        return sorted(fitting, key=lambda group: (group[0].section, group[0].start))

    def _halve(self, group: _Group) -> tuple[_Group, ...]:
        if len(group) == 1:
            text = self._sections[group[0].section].text
            parts = _sentences_of(group[0], text)
            parts = parts if len(parts) > 1 else _words(group[0], text)
            group = self._sized(parts if len(parts) > 1 else self._pieces(group[0], text))
            if len(group) == 1:
                return (group,)
        middle = _middle(group)
        return group[:middle], group[middle:]

    def _passage(self, group: _Group) -> Passage:
        section = self._sections[group[0].section]
        head = self._heads[group[0].section]
        start, stop = group[0].start, group[-1].stop
        text = section.text[start:stop].strip()
        lines = lines_between(section.line_spans, section.text.index(text, start), stop) or section.lines
        if group[0].head:
            text = f"{group[0].head}\n{text}"
        return Passage(text, head.title, head.heading, section.page, lines=lines, metadata=section.metadata)

    def _sized(self, atoms: list[_Atom]) -> list[_Atom]:
        """The atoms with their sizes, each counted with the white space before it."""
        texts = [self._sections[atom.section].text[atom.start : atom.stop] for atom in atoms]
        sizes = self._count_tokens(texts) if texts else []
        return [replace(atom, size=size - self._empty) for atom, size in zip(atoms, sizes, strict=True)]

    def _below_heads(self, atoms: list[_Atom]) -> list[_Atom]:
        """The atoms, those whose head would take more than half of a passage without it."""
        heads = list(dict.fromkeys(atom.head for atom in atoms if atom.head))
        counts = self._count_tokens([f"{head}\n" for head in heads]) if heads else []
        self._repeated |= {head: count - self._empty for head, count in zip(heads, counts, strict=True)}
        return [
            replace(atom, head="")
            if atom.head and self._repeated[atom.head] * 2 > self._heads[atom.section].room
            else atom
            for atom in atoms
        ]

    def _room(self, atom: _Atom) -> int:
        """What an atom may take of a passage that begins with it."""
        return self._heads[atom.section].room - self._repeated[atom.head]

    def _is_long(self, atom: _Atom) -> bool:
        return atom.size > self._room(atom)

    def _split(self, atoms: list[_Atom], split: Callable[[_Atom, str], list[_Atom]]) -> list[_Atom]:
        """The atoms, those that do not fit into a passage alone replaced by their parts."""
        parts = [split(atom, self._sections[atom.section].text) for atom in atoms if self._is_long(atom)]
        sized = iter(self._sized([part for each in parts for part in each]))
        lengths = map(len, parts)
        split_atoms: list[_Atom] = []
        for atom in atoms:
            if self._is_long(atom):
                split_atoms += (next(sized) for _ in range(next(lengths)))
            else:
                split_atoms.append(atom)
        return split_atoms

    def _pieces(self, atom: _Atom, text: str) -> list[_Atom]:
        """Equal pieces of a single word, as many as should fit, and two at least."""
        start = atom.stop - len(text[atom.start : atom.stop].lstrip())
        length = atom.stop - start
        if length == 1:
            if start == atom.start:
                raise InputError(
                    f"A passage of {self._max_tokens} tokens cannot hold the character {text[start]!r} below "
                    "its title; raise max_tokens."
                )
            return [replace(atom, start=start)]  # it was the white space before it that took the room
        number = min(length, max(2, math.ceil(atom.size / self._room(atom))))
        ideal = (start + length * at // number for at in range(1, number))
        borders = sorted({_outside_cluster(text, start, border) for border in ideal})
        starts, stops = [atom.start, *borders], [*borders, atom.stop]
        kinds = [_Border.PIECE] * len(borders) + [atom.border]
        return [_Atom(atom.section, *span, atom.head) for span in zip(starts, stops, kinds, strict=True)]

    def _fit_heads(self) -> list[_Head]:
        """The head of each section's passages, for which at most half of the budget is used."""
        headings = list(dict.fromkeys(section.heading for section in self._sections))
        costs = self._costs([(self._title, heading) for heading in headings])
        heads = {}
        short_title: str | None = None
        for heading, cost in zip(headings, costs, strict=True):
            title, kept = self._title, heading
            if cost > self._max_tokens // 2:
                if short_title is None:
                    share = 4 if any(headings) else 2
                    short_title = self._longest(
                        self._title, lambda text: (text, ""), self._max_tokens // share
                    )
                title, kept = short_title, self._shorten(short_title, heading)
                cost = self._costs([(title, kept)])[0]
            room = self._max_tokens - self._empty - cost
            if room < 1:
                raise InputError(
                    f"A passage of {self._max_tokens} tokens has no room for text; raise max_tokens."
                )
            heads[heading] = _Head(title, kept, room)
        return [heads[section.heading] for section in self._sections]

    def _shorten(self, title: str, heading: str) -> str:
        """The innermost headings that fit into half of the budget below `title`, or the start of the last."""
        names = heading.split(_SEPARATOR)
        inner = [_SEPARATOR.join(names[at:]) for at in range(len(names))]
        for candidate, cost in zip(inner, self._costs([(title, each) for each in inner]), strict=True):
            if cost <= self._max_tokens // 2:
                return candidate
        return self._longest(inner[-1], lambda text: (title, text), self._max_tokens // 2)

    def _longest(self, text: str, head: Callable[[str], tuple[str, str]], budget: int) -> str:
        """The longest start of `text`, whole words if possible, whose head costs at most `budget` tokens."""
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if self._costs([head(text[:middle])])[0] <= budget:
                low = middle
            else:
                high = middle - 1
        start = text[:low]
        if low < len(text) and not text[low].isspace() and " " in start:
            start = start[: start.rindex(" ")]
        return start.strip()

    def _costs(self, heads: Sequence[tuple[str, str]]) -> list[int]:
        """What each (title, heading) takes of a passage's tokens."""
        contents = [Passage("", title, heading).content for title, heading in heads]
        return [count - self._empty for count in self._count_tokens(contents)] if contents else []


def _atoms(number: int, section: Section) -> Iterator[_Atom]:
    """A section's units, and the sentences of the text between them."""
    text, start = section.text, 0
    for begin, stop, head in section.units:
        begin, stop = max(begin, start), min(stop, len(text))
        if not text[begin:stop].strip():
            continue
        yield from _sentences(number, text, start, begin)
        following = _FOLLOWING.match(text, stop)
        is_last = following is None or following[0].count("\n") > 1
        blank = len(text[start:begin]) - len(text[start:begin].rstrip())
        yield _Atom(number, begin - blank, stop, _Border.PARAGRAPH if is_last else _Border.LINE, head)
        start = stop
    yield from _sentences(number, text, start, len(text))


def _sentences(section: int, text: str, start: int, end: int, head: str = "") -> Iterator[_Atom]:
    """The sentences of a stretch of text; a line's end ends a sentence too, as in lists and verse."""
    lines = list(_LINE.finditer(text, start, end))
    for line, following in zip(lines, [*lines[1:], None], strict=False):
        after = following.start() if following is not None else end
        blank = text.count("\n", line.end(), after) > 1 or (following is None and end == len(text))
        stops = list(_sentence_stops(line[0], line.start()))
        for stop in stops:
            is_last = stop == stops[-1]
            border = (_Border.PARAGRAPH if blank else _Border.LINE) if is_last else _Border.SENTENCE
            yield _Atom(section, start, stop, border, head)
            start = stop


def _sentences_of(atom: _Atom, text: str) -> list[_Atom]:
    """The lines of an atom, or the sentences where it is one line; a sentence alone."""
    parts = list(_sentences(atom.section, text, atom.start, atom.stop, atom.head))
    return [*parts[:-1], replace(parts[-1], border=atom.border, stop=atom.stop)]


def _sentence_stops(line: str, offset: int) -> Iterator[int]:
    """Where the sentences of a line end, without the white space after them."""
    from sentencex import segment

    for slab in _SLAB.finditer(line):  # the segmenter takes quadratic time on quotes that are never closed
        sentences = segment("en", slab[0])
        if "".join(sentences) != slab[0]:
            sentences = [slab[0]]
        end = slab.start()
        for sentence in sentences:
            stop = end + len(sentence.rstrip())
            end += len(sentence)
            if sentence.strip() and (end == slab.end() or _may_end(line, stop)):
                yield offset + stop


def _may_end(line: str, stop: int) -> bool:
    """Whether white space follows, as after "end." but not in "example.Com", or the script has none."""
    return line[stop].isspace() or is_wide(line[stop - 1]) or is_wide(line[stop])


def _words(atom: _Atom, text: str) -> list[_Atom]:
    stops = [word.end() for word in _WORD.finditer(text, atom.start, atom.stop)]
    starts = [atom.start, *stops[:-1]]
    kinds = [_Border.WORD] * (len(stops) - 1) + [atom.border]
    return [_Atom(atom.section, *span, atom.head) for span in zip(starts, stops, kinds, strict=True)]


def _outside_cluster(text: str, start: int, border: int) -> int:
    """The last border up to `border` that does not part a letter from its marks, if there is one near."""
    for at in range(border, max(start, border - _LONGEST_CLUSTER), -1):
        if not (
            unicodedata.category(text[at]).startswith("M") or _JOINERS.intersection(text[at - 1 : at + 1])
        ):
            return at
    return border


def _fill(atoms: _Group, room: int, repeated: Mapping[str, int]) -> list[_Group]:
    """A section's atoms in groups of at most `room` tokens, by the sum of their sizes and of a repeated
    head."""
    groups: list[_Group] = []
    start = 0
    while start < len(atoms):
        stop = _stop(atoms, start, room - repeated[atoms[start].head])
        groups.append(atoms[start:stop])
        start = stop
    if len(groups) > 1 and _total(groups[-1]) < _TINY * room:
        last = groups.pop()
        both = groups.pop() + last
        room -= max(repeated[atom.head] for atom in both)
        middle = len(both) if _total(both) <= room else _middle(both, room)
        groups += [group for group in (both[:middle], both[middle:]) if group]
    return groups


def _stop(atoms: _Group, start: int, room: int) -> int:
    """Where the group that begins at `start` ends best."""
    filled = 0
    best = start + 1
    best_border = _Border.PIECE
    for stop in range(start + 1, len(atoms) + 1):
        atom = atoms[stop - 1]
        filled += atom.size
        if filled > room:
            return best
        if filled < _FULL_ENOUGH * room:
            best = stop
        elif atom.border >= best_border:
            best, best_border = stop, atom.border
    return len(atoms)


def _middle(atoms: _Group, room: int | None = None) -> int:
    """Where to part two or more atoms in halves, at a sentence's end if possible, each within `room`."""
    total = _total(atoms)
    left = 0
    choices = []
    for at, atom in enumerate(atoms[:-1], 1):
        left += atom.size
        larger = max(left, total - left)
        is_over = room is not None and larger > room
        choices.append((is_over, -min(atom.border, _Border.SENTENCE), larger, at))
    return min(choices)[-1]


def _total(atoms: _Group) -> int:
    return sum(atom.size for atom in atoms)
