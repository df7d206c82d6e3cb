"""Passages indexed per second from files to a store, against the compressor alone on the same passages.

    python benchmarks/indexing.py --data DATA

SQuAD dev's articles are written as one text file each. Both ways run in turns in one process; the figure is
the ratio of their medians.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import torch
from conditions import conditions, parser, peak_memory_mb, write

from clara.documents import cut, read_document
from clara.indexing import PASSAGES_PER_COMMIT
from clara.library import Library
from clara.pipeline import Clara
from clara.training.examples import read_reading_examples


def write_articles(data: Path, folder: Path, count: int) -> list[Path]:
    """Files of the first articles."""
    examples = read_reading_examples(data / "squad11_dev.jsonl.xz")
    files = []
    for number, (_, paragraphs) in enumerate(groupby(examples, key=lambda one: one.content.split("\n")[0])):
        if number == count:
            break
        files.append(folder / f"{number}.txt")
        files[-1].write_text("\n\n".join(one.content for one in paragraphs), encoding="utf-8")
    return files


def main() -> None:
    arguments = parser(__doc__, "indexing")
    arguments.add_argument("--articles", type=int, default=10)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    clara = Clara.from_pretrained(options.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_articles(options.data, folder, options.articles)
        contents = [
            passage.content
            for file in files
            for passage in cut(read_document(file), clara.passage_tokens, clara.processor.count_tokens)
        ]
        stores = iter(range(options.rounds))
        ways: dict[str, Callable[[], None]] = {
            "files to store": lambda: index(clara, files, folder / f"store-{next(stores)}"),
            "compressor alone": lambda: compress(clara, contents),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        clara.compress(contents[:4])  # warm-up
        for _ in range(options.rounds):
            for way, run in ways.items():
                started = time.perf_counter()
                run()
                seconds[way].append(time.perf_counter() - started)
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    write(
        options.json,
        {
            "conditions": conditions(clara.name),
            "files": len(files),
            "passages": len(contents),
            "passages_per_second": {way: round(len(contents) / value, 1) for way, value in medians.items()},
            "seconds": {way: [round(value, 3) for value in values] for way, values in seconds.items()},
            "ratio": round(medians["compressor alone"] / medians["files to store"], 3),
            "peak_memory_mb": peak_memory_mb(),
        },
    )


def index(clara: Clara, files: Sequence[Path], store: Path) -> None:
    with Library(clara, store) as library:
        library.add(files)


def compress(clara: Clara, contents: Sequence[str]) -> None:
    """By as many as `index` compresses at once."""
    for start in range(0, len(contents), PASSAGES_PER_COMMIT):
        clara.compress(contents[start : start + PASSAGES_PER_COMMIT])


if __name__ == "__main__":
    main()
