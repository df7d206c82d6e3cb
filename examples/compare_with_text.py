"""Answer the same questions from memories and from text, and compare F1 and time.

    python examples/compare_with_text.py --questions 20
    python examples/compare_with_text.py --model extractive      # restores the words: no compression

Both ways read the same five passages. `clara evaluate` does this on public data sets, with controls and
intervals.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import mean

from clara import Clara, Library

EXAMPLES = Path(__file__).parent
PASSAGES = 5


def f1(answer: str, gold: list[str]) -> float:
    """Best word F1 with an accepted answer."""

    def words(text: str) -> Counter[str]:
        return Counter(re.findall(r"\w+", text.lower()))

    def of(one: Counter[str], other: Counter[str]) -> float:
        return 2 * (one & other).total() / max(1, one.total() + other.total())

    return max(of(words(answer), words(accepted)) for accepted in gold)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--model", help="folder or hub id; the default model if not given")
    options = parser.parse_args()
    lines = (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()[: options.questions]
    records = [json.loads(line) for line in lines]
    documents = [EXAMPLES / "documents" / name for name in sorted({record["document"] for record in records})]

    scores: dict[str, list[float]] = {"memories": [], "text": []}
    seconds: dict[str, list[float]] = {"memories": [], "text": []}
    same = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        Library(Clara.from_pretrained(options.model), folder) as library,
    ):
        library.add(documents)
        library.ask(records[0]["question"])  # the first call loads what is loaded on demand
        for record in records:
            answers = []
            for way, count in (("memories", 0), ("text", PASSAGES)):
                start = time.perf_counter()
                answer = library.ask(record["question"], PASSAGES, text_passages=count)
                seconds[way].append(time.perf_counter() - start)
                scores[way].append(f1(answer.text, record["answers"]))
                answers.append(answer.text)
            same += answers[0] == answers[1]
    print(f"{len(records)} questions, {PASSAGES} passages each, {same} equal answers")
    for way in scores:
        print(f"{way}: F1 {100 * mean(scores[way]):.1f}, {1000 * mean(seconds[way]):.0f} ms per question")


if __name__ == "__main__":
    main()
