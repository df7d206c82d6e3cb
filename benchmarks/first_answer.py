"""What a person waits for: imports, the model, the first answer from a stored corpus, and the next ones.

    python benchmarks/first_answer.py

The forty example articles in a store of each dtype that needs no learning; medians over 12 of their
questions after the first. `whole command` is `clara ask` from the shell, by the float16 store.
"""

from __future__ import annotations

import time

_STARTED = time.perf_counter()

import argparse  # noqa: E402 - imports are what is timed
import json  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from statistics import median  # noqa: E402
from typing import Any  # noqa: E402

from clara import Clara, Library  # noqa: E402

_IMPORTED = time.perf_counter()

from conditions import conditions, write  # noqa: E402

EXAMPLES = Path(__file__).parents[1] / "examples"
DTYPES = ("float16", "int8", "int4")
QUESTIONS = 13


def seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return round(time.perf_counter() - start, 3)


def of_store(clara: Clara, folder: Path, dtype: str, questions: list[str]) -> dict[str, float]:
    """Seconds of indexing, of a first answer, and of searches and answers after it."""
    with Library(clara, folder, memory_dtype=dtype) as library:
        indexing = seconds(lambda: library.add(EXAMPLES / "documents"))
        passages = library.store.info().passages
        first = seconds(lambda: library.ask(questions[0]))
        searches = [seconds(lambda asked=one: library.search(asked)) for one in questions[1:]]
        answers = [seconds(lambda asked=one: library.ask(asked)) for one in questions[1:]]
    return {
        "passages_per_second": round(passages / indexing, 1),
        "first_answer": first,
        "search": round(median(searches), 3),
        "answer": round(median(answers), 3),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument(
        "--json", type=Path, default=Path(__file__).parent / "results" / "first_answer.json"
    )
    options = arguments.parse_args()
    start = time.perf_counter()
    clara = Clara.from_pretrained("extractive")
    figures: dict[str, Any] = {
        "imports": round(_IMPORTED - _STARTED, 2),
        "from_pretrained": round(time.perf_counter() - start, 2),
    }
    lines = (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()[:QUESTIONS]
    questions = [json.loads(line)["question"] for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        for dtype in DTYPES:
            figures[dtype] = of_store(clara, Path(folder) / dtype, dtype, questions)
        command = [sys.executable, "-m", "clara", "ask", questions[0], "--store", f"{folder}/{DTYPES[0]}"]
        figures["whole command"] = seconds(lambda: subprocess.run(command, check=True, capture_output=True))
    write(options.json, {"conditions": conditions(clara.name), "seconds": figures})


if __name__ == "__main__":
    main()
