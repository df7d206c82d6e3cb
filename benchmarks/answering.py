"""Time to the first token and to the whole answer: from 5 stored memories, against the same 5 as text.

    python benchmarks/answering.py --data DATA

A store of SQuAD dev passages is written to a temporary folder; the same questions are answered both ways in
turns in one process. Encoding the question and searching the store count in neither. Every answer is made to
run to a fixed number of tokens, so that both ways do the same decoding work. Also reports the store's bytes
per passage.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch
from conditions import conditions, parser, peak_memory_mb, write

from clara.library import Library
from clara.pipeline import Clara
from clara.training.examples import read_reading_examples

K = 5


def main() -> None:
    arguments = parser(__doc__, "answering")
    arguments.add_argument("--passages", type=int, default=500)
    arguments.add_argument("--questions", type=int, default=60)
    arguments.add_argument("--answer-tokens", type=int, default=8)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    clara = Clara.from_pretrained(options.model)
    examples = list(read_reading_examples(options.data / "squad11_dev.jsonl.xz"))[: options.passages]
    step = max(1, len(examples) // options.questions)
    questions = [example.turns[0][0] for example in examples[::step]][: options.questions]
    with tempfile.TemporaryDirectory() as folder, Library(clara, Path(folder) / "store") as library:
        library.add_texts({example.id: example.passage for example in examples})
        info = library.store.info()

        def answer(question: str, num_text: int) -> tuple[float, float]:
            """Seconds to the first token and to the last; reads the stored memories inside the clock."""
            hits = library.search(question, K)
            started = time.perf_counter()
            first = 0.0
            for _ in clara.stream_from(
                question, hits, library.store, text_passages=num_text, max_new_tokens=options.answer_tokens
            ):
                first = first or time.perf_counter() - started
            return first, time.perf_counter() - started

        times: dict[str, list[tuple[float, float]]] = {"memories": [], "text": []}
        answer(questions[0], 0), answer(questions[0], K)  # warm-up
        for question in questions:
            times["memories"].append(answer(question, 0))
            times["text"].append(answer(question, K))
    first = {name: statistics.median(pair[0] for pair in pairs) for name, pairs in times.items()}
    total = {name: statistics.median(pair[1] for pair in pairs) for name, pairs in times.items()}
    write(
        options.json,
        {
            "conditions": conditions(clara.name),
            "questions": len(questions),
            "documents_per_question": K,
            "answer_tokens": options.answer_tokens,
            "first_token_ms": {name: round(1000 * value, 2) for name, value in first.items()},
            "total_ms": {name: round(1000 * value, 2) for name, value in total.items()},
            "first_token_ratio": round(first["text"] / first["memories"], 3),
            "total_ratio": round(total["text"] / total["memories"], 3),
            "store": {
                "passages": info.passages,
                "bytes_per_passage": round(
                    (info.memory_bytes + info.embedding_bytes + info.database_bytes) / info.passages, 1
                ),
                "memory_bytes_per_passage": round(info.memory_bytes / info.passages, 1),
                "embedding_bytes_per_passage": round(info.embedding_bytes / info.passages, 1),
                "database_bytes_per_passage": round(info.database_bytes / info.passages, 1),
            },
            "peak_memory_mb": peak_memory_mb(),
        },
    )


if __name__ == "__main__":
    main()
