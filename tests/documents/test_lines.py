"""Lines of passages: their words stand on the lines of the file that they name, and on no fewer of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara.documents import cut, read_stream
from clara.documents.lines import Traced, concatenate, join, lines_between
from clara.documents.text import numbered_lines, tidy
from clara.records import Document, Passage, Section

NAME = re.compile(r"\bw\d+")
WORD = re.compile(r"\w+")
WIDTHS = st.lists(st.integers(1, 14), min_size=1, max_size=6)  # words on each line of a block
BLOCKS = st.lists(
    st.tuples(
        st.sampled_from(["plain", "heading", "list", "fence", "quote", "table", "html", "indented"]), WIDTHS
    ),
    min_size=1,
    max_size=8,
)


def count_words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def blocks_of_words(blocks: list[tuple[str, list[int]]]) -> list[tuple[str, list[str]]]:
    """The blocks with words that are all different."""
    number = iter(range(10**6))
    return [
        (kind, [" ".join(f"w{next(number)}" for _ in range(width)) for width in widths])
        for kind, widths in blocks
    ]


def markdown(kind: str, lines: list[str]) -> list[str]:
    match kind:
        case "heading":
            return [f"## {lines[0]}", "", *lines[1:]]
        case "list":
            return [
                f"- {lines[0]}",
                *(f"  {line}" if at % 2 else f"- *{line}*" for at, line in enumerate(lines[1:])),
            ]
        case "fence":
            return ["```", *lines, "", lines[0].upper(), "```"]
        case "quote":
            return [f"> {line}" for line in lines]
        case "table":
            return ["| A | B |", "|---|---|", *(f"| {line} | `{at}` |" for at, line in enumerate(lines))]
        case "html":
            return ["<p>", *lines, "</p>"]
        case "indented":
            return [f"    {line}" for line in lines]
        case _:
            return lines


def org(kind: str, lines: list[str]) -> list[str]:
    return [f"** {lines[0]}", *lines[1:]] if kind == "heading" else lines


def rst(kind: str, lines: list[str]) -> list[str]:
    return [lines[0], "=" * len(lines[0]), "", *lines[1:]] if kind == "heading" else lines


def code(kind: str, lines: list[str]) -> list[str]:
    return [f"def f_{NAME.findall(lines[0])[0]}():", *(f"\t'{line}'" for line in lines)]


def log(kind: str, lines: list[str]) -> list[str]:
    return [
        f"2024-05-01 {12 + (kind == 'heading')}:00:00 {lines[0]}",
        *(f"  at {line}" for line in lines[1:]),
    ]


FORMS = {".txt": lambda _, lines: lines, ".md": markdown, ".org": org, ".rst": rst, ".py": code, ".log": log}


@pytest.mark.parametrize("suffix", FORMS)
@settings(max_examples=60, deadline=None)
@given(
    blocks=BLOCKS,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    blanks=st.integers(1, 3),
    room=st.integers(8, 40),
)
def test_words_of_passages_stand_on_their_lines(
    suffix: str, blocks: list[tuple[str, list[int]]], end: str, blanks: int, room: int
) -> None:
    lines: list[str] = [""] * (blanks - 1)
    exact = True
    for kind, words in blocks_of_words(blocks):
        lines += [*FORMS[suffix](kind, words), *[""] * blanks]
        exact = exact and not (suffix == ".md" and kind == "html")  # known by its block only
    document = read_stream(end.join(lines).encode(), "x", suffix)
    for passage in cut(document, room, count_words):
        assert passage.lines is not None
        first, last = passage.lines
        found = [set(WORD.findall(line)) for line in lines[first - 1 : last]]
        assert set(NAME.findall(passage.text)) <= set().union(*found)
        if exact:
            assert set(WORD.findall(passage.text)) & found[0]
            assert set(WORD.findall(passage.text)) & found[-1]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("ab \t\n\r\f\v\x85\u2028\u2029\u00a0\u200b\x07.")))
def test_numbered_lines_are_those_of_tidy_text(text: str) -> None:
    lines = numbered_lines(text)
    assert "\n".join(line for _, line in lines) == tidy(text)
    raw = re.split("\r\n|\r|\n", text)
    for number, line in lines:
        assert set(line.split()) <= set(re.split(r"\s+", tidy(raw[number - 1])))


PIECES = st.lists(
    st.tuples(st.sampled_from(["", " ", "a", "bb ", "  c"]), st.integers(1, 9), st.integers(0, 2))
)


@given(
    pieces=PIECES, separator=st.sampled_from(["", ", "]), start=st.integers(0, 12), length=st.integers(1, 12)
)
def test_lines_between_are_those_of_the_characters(
    pieces: list[tuple[str, int, int]], separator: str, start: int, length: int
) -> None:
    parts = [Traced.of(text, (first, first + more)) for text, first, more in pieces]
    owners: list[tuple[int, int]] = []  # of each character; a separator belongs to the piece before it
    for at, part in enumerate(parts):
        text = part.text + (separator if at < len(parts) - 1 else "")
        owners += [part.spans[0][1:]] * len(text)
    joined = join(separator, parts)
    assert joined.text == separator.join(part.text for part in parts)
    stop = min(start + length, len(owners))
    if start < stop:
        mine = owners[start:stop]
        assert lines_between(joined.spans, start, stop) == (min(mine)[0], max(last for _, last in mine))
    stripped = joined.stripped()
    assert stripped.text == joined.text.strip()
    if stripped.text:
        before = len(joined.text) - len(joined.text.lstrip())
        assert lines_between(stripped.spans, 0, 1) == lines_between(joined.spans, before, before + 1)


def test_text_of_unknown_lines_has_none() -> None:
    assert lines_between((), 0, 5) is None
    assert concatenate([Traced("a"), Traced("b")]).section("H") == Section("ab", "H")


def test_passages_have_metadata_and_at_least_the_lines_of_their_section() -> None:
    section = Section("One two three. Four five six.", lines=(3, 9), metadata={"year": 1883})
    passages = cut(Document("s", "", (section,), ""), 3, count_words)
    assert passages == [
        Passage("One two three.", position=0, lines=(3, 9), metadata={"year": 1883}),
        Passage("Four five six.", position=1, lines=(3, 9), metadata={"year": 1883}),
    ]


def test_wrapped_paragraph_is_cut_with_the_lines_of_each_half() -> None:
    lines = [f"Sentence number {at} is one of those that make up this long paragraph." for at in range(8)]
    document = read_stream("\n".join(["", *lines]).encode())
    assert "\n" not in document.sections[0].text
    passages = cut(document, 60, count_words)
    assert [each.lines for each in passages] == [(2, 5), (6, 9)]
