"""Passages compressed per second: batched by length under a token budget, against padding all to full length.

    python benchmarks/compression.py --data DATA

Both ways run the same model over the same SQuAD dev passages in one process, in turns; the figure is the
ratio of their medians. The padded way uses as many passages a batch as the token budget allows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from conditions import conditions, parser, peak_memory_mb, write

from clara.batching import by_length
from clara.pipeline import MAX_BATCH_TOKENS, Clara
from clara.processing import collate_texts
from clara.training.examples import read_reading_examples


def main() -> None:
    arguments = parser(__doc__, "compression")
    arguments.add_argument("--passages", type=int, default=500)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    clara = Clara.from_pretrained(options.model)
    examples = list(read_reading_examples(options.data / "squad11_dev.jsonl.xz"))
    step = max(1, len(examples) // options.passages)
    contents = [example.content for example in examples[::step]][: options.passages]
    encoded = clara.processor.encode_documents(contents)
    full = max(clara.passage_tokens + 2, *(len(ids) for ids in encoded))

    def by_batches(batches: Sequence[Sequence[int]], pad_to: int | None) -> None:
        with torch.inference_mode():
            for batch in batches:
                ids, lengths = collate_texts([encoded[index] for index in batch])
                if pad_to is not None:
                    ids = torch.nn.functional.pad(ids, (0, pad_to - ids.shape[1]))
                clara.model.compress(ids.to(clara.model.device), lengths.to(clara.model.device))

    per_batch = MAX_BATCH_TOKENS // full
    ways: dict[str, Callable[[], None]] = {
        "by_length": lambda: by_batches(by_length([len(ids) for ids in encoded], MAX_BATCH_TOKENS), None),
        "padded": lambda: by_batches(
            [
                range(start, min(start + per_batch, len(encoded)))
                for start in range(0, len(encoded), per_batch)
            ],
            full,
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    by_batches([range(min(4, len(encoded)))], None)  # warm-up
    for _ in range(options.rounds):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    write(
        options.json,
        {
            "conditions": conditions(clara.name),
            "passages": len(encoded),
            "mean_tokens": round(statistics.mean(len(ids) for ids in encoded), 1),
            "padded_tokens": full,
            "passages_per_second": {name: round(len(encoded) / value, 1) for name, value in medians.items()},
            "seconds": {name: [round(value, 3) for value in values] for name, values in seconds.items()},
            "ratio": round(medians["padded"] / medians["by_length"], 3),
            "peak_memory_mb": peak_memory_mb(),
        },
    )


if __name__ == "__main__":
    main()
