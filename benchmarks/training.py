"""Training speed of each stage against the bare base, and the memory that gradient checkpointing saves.

    python benchmarks/training.py --data DATA

A stage's step runs from texts to gradients. Beside it the base without roles runs forward and backward over
the very same numbers of tokens, every sequence at its own length in batches of similar length: forward alone
where the stage has no gradient (frozen memories), backward through the activations where it has. Both train
nothing of the base itself. The base has random weights, since its size is what counts.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from conditions import conditions, parser, peak_memory_mb, write
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from clara.batching import by_length
from clara.configuration import ClaraConfig
from clara.model.modeling import ClaraModel
from clara.models import packaged_folder
from clara.processing import ClaraProcessor
from clara.training.examples import CompressionExample, EndToEndExample, read_reading_examples
from clara.training.objectives import MAX_BATCH_TOKENS, ObjectiveOptions
from clara.training.stages import STAGE_OF, StageModule, prepare

PRETRAINING, INSTRUCTION, END_TO_END = STAGE_OF
MEMORY_TOKENS = 16


def new_model(hidden: int, layers: int) -> tuple[ClaraModel, ClaraProcessor]:
    """A Llama of the given size with low-rank roles, on the tokenizer of the packaged model."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(packaged_folder("extractive"))
    tokenizer.add_tokens([f"<MEM{slot}>" for slot in range(MEMORY_TOKENS)], special_tokens=True)
    base = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 64,
            num_key_value_heads=hidden // 64,
            max_position_embeddings=4096,
        )
    )
    config = ClaraConfig(
        base.config,
        doc_max_tokens=256,
        compression_rate=256 // MEMORY_TOKENS,
        lora_dropout=0.0,
        memory_token_ids=list(range(len(tokenizer) - MEMORY_TOKENS, len(tokenizer))),
    )
    return ClaraModel(config, base), ClaraProcessor.for_config(tokenizer, config)


class Meter:
    """Lengths of the sequences that a model's base reads, with whether they get a gradient."""

    def __init__(self, model: ClaraModel) -> None:
        self.sequences: list[tuple[int, bool]] = []
        whole, memorise = model.forward, model._memorise

        def forward(prompts: Any, *more: Any, **also: Any) -> Any:
            self.sequences += [(length, True) for length in prompts.lengths.tolist()]
            return whole(prompts, *more, **also)

        def memory(name: str, ids: Any, lengths: Any, count: int | None, rate: int | None) -> Any:
            added = len(model.memory_ids(count))
            self.sequences += [(length + added, torch.is_grad_enabled()) for length in lengths.tolist()]
            return memorise(name, ids, lengths, count, rate)

        model.forward, model._memorise = forward, memory


def plain_step(base: Any, sequences: Sequence[tuple[int, bool]]) -> None:
    """The base over sequences of these lengths, each batch of similar ones."""
    for with_gradient in (False, True):
        lengths = [length for length, gradient in sequences if gradient is with_gradient]
        for batch in by_length(lengths, MAX_BATCH_TOKENS):
            width = max(lengths[index] for index in batch)
            embeddings = torch.randn(len(batch), width, base.config.hidden_size)
            with torch.set_grad_enabled(with_gradient):
                states = base.model(inputs_embeds=embeddings.requires_grad_(with_gradient)).last_hidden_state
            if with_gradient:
                states.sum().backward()


def examples_of(records: Sequence[Any], stage: str, rng: random.Random, count: int) -> list[Any]:
    chosen = rng.sample([record for record in records if any(answers for _, answers in record.turns)], count)
    made: list[Any] = []
    for record in chosen:
        turns = [(question, answers[0]) for question, answers in record.turns if answers]
        question, answer = rng.choice(turns)
        if stage == PRETRAINING:
            questions, answers = zip(*turns, strict=True)
            made.append(CompressionExample((record.content,), "qa", questions, answers))
            continue
        others = [other.content for other in rng.sample(records, 4 if stage == INSTRUCTION else 19)]
        documents = (record.content, *others)
        if stage == INSTRUCTION:
            made.append(CompressionExample(documents, "answer", (question,), (answer,)))
        else:
            made.append(EndToEndExample(question, documents, answer, (0,)))
    return made


def median_seconds(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Both ways in turns; the first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def saved_bytes(run: Callable[[], Any]) -> int:
    """Bytes that the forward pass keeps for the backward pass, each storage once."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = run()["loss"]
    del loss
    return sum(kept.values())


def main() -> None:
    arguments = parser(__doc__, "training")
    arguments.add_argument("--hidden", type=int, default=512)
    arguments.add_argument("--layers", type=int, default=8)
    arguments.add_argument("--examples", type=int, default=8, help="of a step; 2 end to end")
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    records = list(read_reading_examples(options.data / "squad11_dev.jsonl.xz"))
    stages: dict[str, Any] = {}
    for stage in STAGE_OF:
        model, processor = new_model(options.hidden, options.layers)
        prepare(model, STAGE_OF[stage])
        model.train()
        module = StageModule(model, processor, STAGE_OF[stage], ObjectiveOptions())
        count = max(1, options.examples // 4) if stage == END_TO_END else options.examples
        examples = examples_of(records, stage, random.Random(0), count)

        meter = Meter(model)
        module(examples)
        sequences = list(meter.sequences)

        def step(module: StageModule = module, examples: list[Any] = examples) -> None:
            module(examples)["loss"].backward()
            module.zero_grad(set_to_none=True)

        bare = LlamaForCausalLM(model.base.config).requires_grad_(False).train()
        seconds = median_seconds(
            {"stage": step, "plain": lambda base=bare, lengths=sequences: plain_step(base, lengths)},
            options.rounds,
        )
        tokens = sum(length for length, _ in sequences)
        plain_bytes = saved_bytes(lambda module=module, examples=examples: module(examples))
        model.gradient_checkpointing_enable()
        saving_bytes = saved_bytes(lambda module=module, examples=examples: module(examples))
        saving = median_seconds({"stage": step}, max(1, options.rounds // 2))
        stages[stage] = {
            "examples": count,
            "tokens": tokens,
            "tokens_without_gradient": sum(length for length, gradient in sequences if not gradient),
            "tokens_per_second": {name: round(tokens / value) for name, value in seconds.items()},
            "ratio": round(seconds["plain"] / seconds["stage"], 3),
            "kept_for_backward_mb": {
                "plain": round(plain_bytes / 2**20, 1),
                "gradient_checkpointing": round(saving_bytes / 2**20, 1),
            },
            "gradient_checkpointing_slowdown": round(saving["stage"] / seconds["stage"], 3),
        }
        print(stage, stages[stage], flush=True)
    write(
        options.json,
        {
            "conditions": conditions(f"Llama, hidden {options.hidden}, {options.layers} layers, float32"),
            "stages": stages,
            "peak_memory_mb": peak_memory_mb(),
        },
    )


if __name__ == "__main__":
    main()
