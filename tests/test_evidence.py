"""The sentence that supports an answer: where it stands, which one it is, how often it is the right one."""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from clara.answer_text import find_written
from clara.evidence import sentence_spans, with_evidence
from clara.records import Source
from clara.rendering.answers import print_sources

DATA = Path(__file__).parents[2] / "shared" / "data" / "squad11_dev.jsonl.xz"
TEXT = (
    "The bridge has two towers. It was opened on 24 May 1883 by President Arthur.\n"
    "A ferry crushed the engineer's foot. Dr. Smith saw 24\nMay 1883 come and go."
)


def source(text: str) -> Source:
    return Source(1, "a.txt", "", "", None, (3, 9), text, 0.5, 1, "memory")


def test_the_sentence_that_holds_the_answer_and_fits_the_question_wins() -> None:
    evidence = with_evidence([source(TEXT)], "When was the bridge opened?", "24 may 1883")[0].evidence
    assert evidence is not None
    assert evidence.text == "It was opened on 24 May 1883 by President Arthur."
    assert evidence.answer is not None
    assert TEXT[slice(*evidence.answer)] == "24 May 1883"


def test_without_an_answer_the_question_decides() -> None:
    evidence = with_evidence([source(TEXT)], "Whose foot did a ferry crush?")[0].evidence
    assert evidence is not None
    assert (evidence.text, evidence.answer) == ("A ferry crushed the engineer's foot.", None)


def test_an_answer_over_two_lines_is_held_whole() -> None:
    evidence = with_evidence([source(TEXT)], "What did Smith see?", "saw 24 may 1883")[0].evidence
    assert evidence is not None
    assert evidence.text.endswith("saw 24\nMay 1883")
    assert evidence.answer is not None
    assert evidence.stop == evidence.answer[1]


def test_what_shares_nothing_supports_nothing() -> None:
    evidence = [one.evidence for one in with_evidence([source(TEXT), source("")], "zebras", "stripes")]
    assert evidence == [None, None]


@given(st.lists(st.sampled_from(["Dr. Who", "came.", "at 5 p.m.", "(no", "end", "\n", "\n\n", "¿Qué?", "…"])))
def test_sentences_are_in_order_and_hold_every_word(words: list[str]) -> None:
    text = " ".join(words)
    spans = list(sentence_spans(text))
    assert all(start < stop for start, stop in spans)
    assert sorted(spans) == spans
    assert "".join("".join(text[a:b].split()) for a, b in spans) == "".join(text.split())


def test_a_terminal_shows_the_sentence_and_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    far = "Nothing of note stands here at all. " * 20
    print_sources(with_evidence([source(far + TEXT)], "When was it opened?", "24 May 1883"))
    out = " ".join(capsys.readouterr().out.split())
    assert "It was opened on 24 May 1883 by President Arthur." in out
    assert "lines 3-9" in out
    assert len(out) < 260


@given(
    st.lists(st.sampled_from(["a", "word", "longer-one"]), min_size=40, max_size=90),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_window_holds_what_it_should_in_whole_words(words: list[str], one: float, other: float) -> None:
    from clara.rendering.answers import EXCERPT_CHARACTERS, _window

    text = " ".join(words)
    if len(text) <= EXCERPT_CHARACTERS:
        return
    borders = [0, *(at for at, character in enumerate(text) if character == " "), len(text)]
    places = sorted((round(one * (len(borders) - 1)), round(other * (len(borders) - 1))))
    start, stop = (borders[place] + bool(borders[place] < len(text) and place) for place in places)
    stop = max(start, borders[places[1]])
    first, last = _window(text, start, stop)
    assert 0 <= first <= start
    assert stop <= last <= len(text)
    assert last - first <= max(EXCERPT_CHARACTERS, stop - start)
    assert set(text[first:last].split()) <= set(words)


@pytest.mark.parametrize("text", ["x" * 400, "short"])
def test_text_without_spaces_is_shown(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_sources([source(text)])
    assert text[:150] in capsys.readouterr().out.replace("\n", "").replace(" ", "")


def test_the_answer_stands_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from clara.rendering import answers

    console = Console(force_terminal=True, record=True, width=200, color_system="standard")
    monkeypatch.setattr(answers, "console", lambda: console)
    print_sources(with_evidence([source(TEXT)], "When was the bridge opened?", "24 May 1883"))
    assert "\x1b[1m24 May 1883\x1b[0m" in console.export_text(styles=True)


@pytest.mark.skipif(not DATA.is_file(), reason=f"the public data are not at {DATA}")
def test_the_sentence_is_the_right_one_of_squad() -> None:
    """Of the gold passage, by the question alone; a random sentence holds the answer in 32 % of the cases."""
    with lzma.open(DATA, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    asked = [(record["passage"], qa) for record in records for qa in record["qas"] if qa["answers"]]
    right = []
    for passage, qa in random.Random(0).sample(asked, 200):
        evidence = with_evidence([source(passage)], qa["question"])[0].evidence
        right.append(evidence is not None and any(find_written(one, evidence.text) for one in qa["answers"]))
    assert sum(right) / len(right) > 0.8
