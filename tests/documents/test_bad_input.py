"""Whatever the bytes, a reader gives a document or one sentence, and what it gives holds together."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_archives import BODY, docx, epub
from test_readers import pdf_bytes

from clara.documents import SUFFIXES, cut, read_stream
from clara.documents.text import tidy
from clara.errors import DocumentError

SAMPLES: dict[str, bytes] = {
    ".docx": docx(BODY, "Title"),
    ".epub": epub(),
    ".pdf": pdf_bytes(["Some text."], ["More text."], title="T"),
}
FRAGMENTS = [
    "\n", "\n\n", "\r", "\t", " ", "word", "# ", "## ", "* ", "- ", "1. ", "```\n", "~~~", "<p>", "</p>",
    "| a | b |\n|---|---|\n| 1 | 2 |", "<table>", "<td>", "<!--", "&nbsp;", "&#x2028;", "&#12;", "[a](b)",
    "![a\nb](c)", "`a\nb`", "---\n", "title: x\n", "> ", "    ", "{", "}", "[", '"', ":", ",", ";", "NaN",
    '{"a": 1}', '{"a": {"b": ["c", null]}}', "1e999", "2024-05-01 12:00:00 ", "May  1 12:00:00 ",
    "def f():\n", "class A {\n", "fn a() {\n", "=====", "-----", ".. note::", ".. _a:", "#+title: x",
    ":PROPERTIES:", "\f", "\v", "\x85", "\u2028", "\u200b", "\x1b[31m", "é", "你好", "𝄞",
]  # fmt: skip


def check(data: bytes, suffix: str) -> None:
    document = None
    refusal = ""
    try:
        document = read_stream(data, "x", suffix)
    except DocumentError as error:
        refusal = str(error)
    if document is None:
        assert re.fullmatch(r"x(, line \d+,)? [^\n]+\.", refusal)
        return
    assert document.sections
    count = data.count(b"\n") + data.count(b"\r") + 1
    for section in document.sections:
        assert section.text == section.text.strip() != ""
        assert tidy(section.heading) == section.heading
        if section.lines is not None:
            low, high = section.lines
            assert 1 <= low <= high <= count
            assert all(low <= first <= last <= high for _, first, last in section.line_spans)
        offsets = [at for at, *_ in section.line_spans]
        assert offsets == sorted(set(offsets))
        assert all(0 <= at < len(section.text) for at in offsets)
    for passage in cut(document, 60, lambda texts: [len(text) for text in texts]):
        assert (passage.lines is None) == (document.sections[0].lines is None)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=40, deadline=None)
@given(fragments=st.lists(st.sampled_from(FRAGMENTS), max_size=25), end=st.binary(max_size=4))
def test_odd_text_is_read_or_refused(suffix: str, fragments: list[str], end: bytes) -> None:
    check("".join(fragments).encode() + end, suffix)


@pytest.mark.parametrize("suffix", SAMPLES)
def test_files_with_changed_bytes_are_read_or_refused(suffix: str) -> None:
    rng = random.Random(0)
    for _ in range(120):
        data = bytearray(SAMPLES[suffix])
        for _ in range(rng.choice([1, 3, 20])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        check(bytes(data), suffix)
