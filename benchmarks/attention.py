"""What a step of training takes with torch's fused attention and with plain products, by number format.

    python benchmarks/attention.py --data DATA

Steps of the packaged model's reading training, from text to updated weights, the ways taking turns.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import torch
from conditions import conditions, parser, write

from clara import loading, roles
from clara.models import packaged_folder
from clara.training.examples import read_reading_examples
from recipes.extractive.reading import ReadingForm, reading_loss

FORMS = {"one passage": ReadingForm(16), "four passages": ReadingForm(6, documents=4)}
WAYS = {
    "fused, float32": ("sdpa", False),
    "plain, float32": ("eager", False),
    "fused, bfloat16": ("sdpa", True),
    "plain, bfloat16": ("eager", True),
}
PASSAGES = 15


def main() -> None:
    arguments_parser = parser(__doc__, "attention")
    arguments_parser.add_argument("--steps", type=int, default=6, help="timed steps of each way and form")
    arguments = arguments_parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folder = arguments.model or packaged_folder("extractive")
    model, processor = loading.load(folder)
    examples = list(read_reading_examples(arguments.data / "squad11_dev.jsonl.xz"))
    model.requires_grad_(False)
    trained = [p for name, p in model.named_parameters() if f".variants.{roles.GENERATOR}." in name]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=1e-5)

    def step(form: ReadingForm, number: int, implementation: str, bfloat16: bool) -> None:
        model.base.set_attn_implementation(implementation)
        passages = examples[PASSAGES * number :][:PASSAGES]
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss, _ = reading_loss(model, processor, passages, form, random.Random(number))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    seconds = {
        label: measured(lambda number, way, form=form: step(form, number, *way), arguments.steps)
        for label, form in FORMS.items()
    }
    fused = "fused, bfloat16"
    write(
        arguments.json,
        conditions(str(arguments.model or "packaged"))
        | {
            "steps": arguments.steps,
            "median_seconds_a_step": seconds,
            "ratio_to_fused_bfloat16": {
                label: {way: round(value / found[fused], 2) for way, value in found.items()}
                for label, found in seconds.items()
            },
        },
    )


def measured(step: Callable[[int, tuple[str, bool]], None], steps: int) -> dict[str, float]:
    """Median seconds of a step of each way."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(steps + 1):
        for label, way in WAYS.items():
            started = time.perf_counter()
            step(number, way)
            if number:  # the first warms up
                times[label].append(time.perf_counter() - started)
    return {label: round(statistics.median(values), 4) for label, values in times.items()}


if __name__ == "__main__":
    main()
