"""No reader is worse than linear: of inputs of twice the size twice the steps are taken, by counting calls.

    pytest tests/documents/test_linear.py

What regular expressions do within one call is not counted; `test_hostile_text_ends_soon` reads texts with
which they
would go on for minutes.
"""

from __future__ import annotations

import contextlib
import sys
import time

import pytest

from clara.documents import read_stream
from clara.errors import DocumentError

HOSTILE = {
    ".html": [
        "<header>", "<table><tr><td>", "<!--", "<ul><li>", "<sup>", "<div class=cookie>a", "<nav><a href=/>",
        "<svg><text>", "<a href=#n><sup>", "<aside id=n epub:type=footnote>", "<blockquote>", "<math><msup>",
        "<template>a", "<ruby>a<rt>",
        "<table><tr><td>a<td>b</table>", "<p>Text.", "<ol start=999999999999999999999>",
    ],
    ".md": ["> ", "- a\n", "  - b\n", "| a | b |\n|---|---|\n", "[^1] ", "[a](b) ", "`a` ", "~~", "# a\n\n"],
    ".org": ["* a\n", "*   ", "** \n"],
    ".rst": ["a\n=\n\n", ".. a\n"],
    ".adoc": ["= a\n", "|===\n", "* a\n", "footnote:[", "====\n", "*a "],
    ".tex": [
        "\\begin{tabular}{l}", "\\multirow{9}{*}{a} & b\\\\\n",
        "\\section{", "\\footnote{", "\\begin{itemize}\n", "\\item a\n", "{", "$",
    ],
    ".rtf": ["{\\footnote ", "\\strike a", "{\\super a}", "a\\cell\\row "],
    ".csv": ["a,b\n", '"a', ";"],
    ".json": ['[', '{"a":'],
    ".jsonl": ['{"a": 1}\n', "none\n"],
    ".eml": ["From: a\n", "--X\n", "=?"],
    ".srt": ["00:00:01,000 --> 00:00:02,000\nA\n\n", "<v a"],
    ".log": ["2025-05-01 10:00:00 a\n", "a\n"],
    ".txt": ["a-\n", "a\n\n", "a "],
}  # fmt: skip
START = {
    ".rtf": "{\\rtf1 ",
    ".tex": "\\begin{document}\n",
    ".eml": "Subject: a\n\n",
    ".srt": "00:00:01,000 --> 00:00:02,000\nA\n\n",
}
PAIRS = [(suffix, piece) for suffix, pieces in HOSTILE.items() for piece in pieces]


def steps(suffix: str, text: str) -> int:
    """How many calls reading takes."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        read_stream(text.encode(), "x", suffix)
    except DocumentError:
        pass
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(("suffix", "piece"), PAIRS)
def test_twice_the_size_takes_twice_the_steps(suffix: str, piece: str) -> None:
    start, number = START.get(suffix, ""), 600
    steps(suffix, start + piece)  # what is imported at first use is not counted
    once, twice = (steps(suffix, start + piece * number * factor) for factor in (1, 2))
    assert twice <= 2.3 * once + 500


@pytest.mark.parametrize(("suffix", "piece"), PAIRS)
def test_hostile_text_ends_soon(suffix: str, piece: str) -> None:
    text = (START.get(suffix, "") + piece * (60_000 // len(piece))).encode()
    began = time.perf_counter()
    with contextlib.suppress(DocumentError):
        read_stream(text, "x", suffix)
    assert time.perf_counter() - began < 20  # most take a tenth of a second
