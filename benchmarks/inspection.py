"""Whether the weights of `clara inspect` are what they say: their rank correlation with leaving words out.

    python benchmarks/inspection.py --data DATA

For passages of SQuAD dev, each word's weight (first order, from gradients) is compared with the change of the
memory when the word's embeddings are the vocabulary's mean embedding. Both depend on the model alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import torch
from conditions import conditions, parser, write
from scipy.stats import spearmanr

from clara.batching import by_length
from clara.evaluation.inspection import inspect_document
from clara.evaluation.statistics import Estimate
from clara.pipeline import Clara
from clara.processing import collate_texts
from clara.training.examples import read_reading_examples


@torch.inference_mode()
def left_out(clara: Clara, text: str, starts: Sequence[int], ends: Sequence[int]) -> list[float]:
    """Length of the memory's change when each word's embeddings are the mean embedding."""
    (ids,) = clara.processor.encode_documents([text])
    spans = clara.processor.document_spans(text)
    groups = [
        [at for at, span in enumerate(spans) if span is not None and start <= span[0] < end]
        for start, end in zip(starts, ends, strict=True)
    ]
    mean = clara.model.input_rows.mean(dim=0)
    whole = clara.model.compress(*collate_texts([ids])).vectors[0]
    found: list[float] = []
    for batch in by_length([len(ids)] * len(groups), 4096):
        chosen = [groups[at] for at in batch]

        def moved(module: object, inputs: object, output: torch.Tensor, chosen: Any = chosen) -> torch.Tensor:
            output = output.clone()
            for row, tokens in enumerate(chosen):
                output[row, tokens] = mean
            return output

        hook = clara.model.get_input_embeddings().register_forward_hook(moved)
        vectors = clara.model.compress(*collate_texts([ids] * len(chosen))).vectors
        hook.remove()
        found += (vectors - whole).flatten(1).norm(dim=1).tolist()
    return found


def main() -> None:
    arguments = parser(__doc__, "inspection")
    arguments.add_argument("--passages", type=int, default=50)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    clara = Clara.from_pretrained(options.model, device="cpu")
    examples = list(read_reading_examples(options.data / "squad11_dev.jsonl.xz"))
    correlations, gradient_seconds, twin_seconds = [], 0.0, 0.0
    for example in random.Random(0).sample(examples, options.passages):
        started = time.perf_counter()
        words = [word for word in inspect_document(clara, example.content).words if word.weight]
        between = time.perf_counter()
        ends = [word.start + len(word.text) for word in words]
        changes = left_out(clara, example.content, [word.start for word in words], ends)
        gradient_seconds += between - started
        twin_seconds += time.perf_counter() - between
        correlations.append(float(spearmanr([word.weight for word in words], changes).statistic))
    estimate = Estimate.of(correlations)
    write(
        options.json,
        {
            "conditions": conditions(clara.name) | {"passages": options.passages},
            "spearman": {
                "mean": round(estimate.mean, 3),
                "low": round(estimate.low, 3),
                "high": round(estimate.high, 3),
            },
            "times_faster_than_leaving_out": round(twin_seconds / gradient_seconds, 1),
        },
    )


if __name__ == "__main__":
    main()
