"""Cutting: nothing lost, nothing over the budget, and cuts at the borders where a reader would make them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara.documents import cut
from clara.errors import InputError
from clara.records import Document, Passage, Section


def count_words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def count_bytes(texts: list[str]) -> list[int]:
    return [len(text.encode()) for text in texts]


def count_like_a_model(texts: list[str]) -> list[int]:
    """Two special tokens, and pieces of at most three characters that may take in the space before them."""
    return [2 + len(re.findall(r"\s?[^\W_]{1,3}|\s?[^\w\s]|\s|_", text)) for text in texts]


def count_unevenly(texts: list[str]) -> list[int]:
    """A counter whose parts never add up: a text costs more than its halves together."""
    return [len(text) + len(text) ** 2 // 40 for text in texts]


COUNTERS = [count_words, count_bytes, count_like_a_model, count_unevenly]
Counter = Callable[[list[str]], list[int]]


def document(*sections: Section | str, title: str = "") -> Document:
    parts = tuple(Section(each) if isinstance(each, str) else each for each in sections)
    return Document("source", title, parts, "")


def characters(texts: list[str]) -> str:
    return "".join("".join(texts).split())


WORDS = st.text(st.sampled_from("abcAB.,!?\"'你好。नमस्ते مرحبا-é\u0301\u200d"), min_size=1, max_size=12)
SPACED_WORDS = st.text(st.sampled_from("abcAB.,!?\"'नमस्ते مرحبا-é\u0301\u200d".replace(" ", "")), min_size=1)
SPACES = st.sampled_from([" ", " ", " ", ". ", "\n", "\n\n", "  \n \n ", "\t"])
TEXTS = st.lists(st.tuples(WORDS, SPACES), max_size=60).map(lambda pairs: "".join(map("".join, pairs)))
SECTIONS = st.builds(
    Section, TEXTS, st.sampled_from(["", "One", "One > Two", "A " * 40]), st.sampled_from([None, 1, 2])
)


@settings(max_examples=150, deadline=None)
@given(
    sections=st.lists(SECTIONS, max_size=5),
    title=st.sampled_from(["", "Title", "A very long title " * 5, "t" * 80]),
    max_tokens=st.integers(12, 80),
    count=st.sampled_from(COUNTERS),
)
def test_no_text_is_lost_and_the_budget_is_kept(
    sections: list[Section], title: str, max_tokens: int, count: Counter
) -> None:
    passages = cut(document(*sections, title=title), max_tokens, count)
    assert characters([each.text for each in passages]) == characters([each.text for each in sections])
    assert all(size <= max_tokens for size in count([each.content for each in passages]))
    assert [each.position for each in passages] == list(range(len(passages)))
    assert all(each.text == each.text.strip() != "" for each in passages)


@settings(max_examples=60, deadline=None)
@given(words=st.lists(SPACED_WORDS, max_size=60), max_tokens=st.integers(1, 40))
def test_words_stay_whole_where_each_fits(words: list[str], max_tokens: int) -> None:
    text = " ".join(words)
    passages = cut(document(text), max_tokens, count_words)
    assert [word for each in passages for word in each.text.split()] == text.split()


def test_sections_are_never_mixed() -> None:
    sections = [Section("One.", "A", 1), Section("Two.", "A", 2), Section("  "), Section("Three.", "B > C")]
    assert cut(document(*sections, title="T"), 50, count_words) == [
        Passage("One.", "T", "A", 1, 0),
        Passage("Two.", "T", "A", 2, 1),
        Passage("Three.", "T", "B > C", None, 2),
    ]


def sentence(number: int, words: int) -> str:
    return " ".join([f"S{number}", *("w" for _ in range(words - 2)), "end."])


def test_paragraph_borders_come_before_sentence_borders() -> None:
    paragraphs = [" ".join(sentence(at * 10 + each, 5) for each in range(3)) for at in range(4)]
    text = "\n\n".join(paragraphs)
    # 22 tokens hold four sentences, but a passage filled by 15 is full enough to end with its paragraph
    assert [each.text for each in cut(document(text), 22, count_words)] == paragraphs


def test_sentences_fill_a_passage_and_stay_whole() -> None:
    sentences = [sentence(number, 5) for number in range(8)]
    passages = cut(document(" ".join(sentences)), 22, count_words)
    assert [each.text for each in passages] == [" ".join(sentences[:4]), " ".join(sentences[4:])]


def test_a_tiny_last_passage_is_evened_out() -> None:
    sentences = [sentence(number, 5) for number in range(9)]
    passages = cut(document(" ".join(sentences)), 20, count_words)
    assert [len(each.text.split()) for each in passages] == [20, 10, 15]


def test_lines_of_lists_are_cut_between_lines() -> None:
    items = [f"- item {number} without a full stop" for number in range(6)]
    passages = cut(document("\n".join(items)), 15, count_words)
    assert [line for each in passages for line in each.text.split("\n")] == items


def test_long_sentence_is_cut_between_words_and_long_word_between_letters() -> None:
    words = cut(document(" ".join(f"w{number}" for number in range(100))), 30, count_words)
    assert [len(each.text.split()) for each in words] == [30, 30, 20, 20]
    encoded = cut(document("Key: " + "QUJD" * 100), 50, count_bytes)
    assert encoded[0].text.startswith("Key: QUJD")
    assert all(25 < len(each.text) <= 50 for each in encoded)


def test_letters_keep_their_marks() -> None:
    word = "नि" * 50  # each letter is followed by its vowel sign
    passages = cut(document(word), 31, count_bytes)
    assert all(each.text.startswith("न") for each in passages)
    assert len(passages) > 5


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "今天天气很好。我们去公园吧！你想一起来吗？",
            ["今天天气很好。", "我们去公园吧！", "你想一起来吗？"],
        ),
        ("यह पहला वाक्य है। यह दूसरा वाक्य है।", ["यह पहला वाक्य है।", "यह दूसरा वाक्य है।"]),
        ("كيف حالك اليوم؟ أنا بخير شكرا.", ["كيف حالك اليوم؟", "أنا بخير شكرا."]),
        ("Dr. Smith paid 3.5 dollars. He left.", ["Dr. Smith paid 3.5 dollars.", "He left."]),
    ],
)
def test_sentences_of_other_scripts(text: str, sentences: list[str]) -> None:
    budget = max(count_bytes(sentences)) + 1
    assert [each.text for each in cut(document(text), budget, count_bytes)] == sentences


def test_documents_of_one_word_and_of_none() -> None:
    assert cut(document("word", title="T"), 10, count_words) == [Passage("word", "T")]
    assert cut(document("", " \n "), 10, count_words) == []
    assert cut(document(), 10, count_words) == []


def test_long_heads_leave_half_of_the_budget() -> None:
    text = " ".join(f"w{number}" for number in range(60))
    deep = " > ".join(f"Level {number}" for number in range(20))
    first, *_, last = cut(document(Section(text, deep), Section(text, "H"), title="Title"), 20, count_words)
    assert (first.title, first.heading) == ("Title", "Level 17 > Level 18 > Level 19")
    assert (last.title, last.heading) == ("Title", "H")
    passages = cut(document(Section(text, "word " * 50), title="name " * 50), 20, count_words)
    assert {each.title for each in passages} == {"name name name name name"}
    assert {each.heading for each in passages} == {"word word word word"}
    assert max(len(each.text.split()) for each in passages) >= 10


def test_a_head_of_one_endless_word_is_shortened() -> None:
    passages = cut(document("Some text.", title="x" * 500), 40, count_bytes)
    assert passages == [Passage("Some text.", "x" * 19)]


def test_budgets_too_small_for_text_are_errors() -> None:
    with pytest.raises(
        InputError, match=r"A passage of 0 tokens holds no text; max_tokens must be at least 1\.$"
    ):
        cut(document("word"), 0, count_words)
    with pytest.raises(InputError, match=r"A passage of 2 tokens has no room for text; raise max_tokens\.$"):
        cut(document("word"), 2, count_like_a_model)
    with pytest.raises(
        InputError, match=r"A passage of 2 tokens cannot hold the character '你' .*raise max_tokens"
    ):
        cut(document("你"), 2, count_bytes)


@pytest.mark.parametrize(
    "unit", ["Eight plain words make up this sentence here. ", "word ", "ab", "“Quote. ", "a\n\n"]
)
def test_long_documents_are_cut_in_few_calls(unit: str) -> None:
    calls = 0

    def count(texts: list[str]) -> list[int]:
        nonlocal calls
        calls += 1
        return [len(text) // 3 + 1 for text in texts]

    passages = cut(document(unit * (400_000 // len(unit))), 200, count)
    assert calls < 20
    assert len(passages) < 1200
