"""Joint training: against its parts computed one by one, on data that is read, and as it learns."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from clara import loading, roles
from clara.errors import InputError
from clara.model.losses import distillation_loss
from clara.model.modeling import ClaraModel
from clara.pipeline import Clara
from clara.processing import ClaraProcessor, MemorySlot, TextSlot, collate_prompts, collate_texts
from clara.prompts import documents_answer
from clara.training.data import JOINT, check_data
from clara.training.examples import JointExample, Row, Search, Turn
from clara.training.joint import count_joint_items, joint_loss
from clara.training.objectives import ObjectiveOptions, StageLoss
from clara.training.run import train
from clara.training.settings import read_recipe, read_settings
from clara.training.stages import STAGE_OF, StageModule, prepare
from conftest import WORDS, read_stage, tiny_base, tiny_model, tiny_tokenizer

FIRST, SECOND = "w1 w2 w3 w4 w5 w6 w7", "w8 w9 w10"
WHEN, WHO, REPEAT = Turn("w3 w4", "w5 w6"), Turn("w9", "w10"), Turn("w20 w21", "w1 w2 w3", is_question=False)
NOTHING = Turn("w30", None)
EXAMPLE = JointExample(
    documents=(FIRST, SECOND),
    rows=(
        Row((0,), 1, (WHEN,)),
        Row((1,), 1, (WHO,)),
        Row((0,), 0, (WHEN, REPEAT)),
        Row((1, 0), 1, (WHEN, WHO, NOTHING)),
        Row((0, 1), 0, (NOTHING,)),
    ),
    searches=(Search("w3 w4", 0), Search("w9", 1)),
)
OPTIONS = ObjectiveOptions(rate=2, distillation_weight=0.5, contrastive_weight=0.25)


@pytest.fixture
def pooled() -> tuple[ClaraModel, ClaraProcessor]:
    return tiny_model(
        "llama",
        compressor="pooled",
        score="tokens",
        prompt_format="documents",
        memory_layer=1,
        search_size=8,
        document_prefix_ids=[1],
        query_prefix_ids=[2],
        compression_rate=4,
        no_answer_token_id=3,
        lora_dropout=0.0,
    )


def one_by_one(
    model: ClaraModel, processor: ClaraProcessor, example: JointExample, rate: int
) -> dict[str, Any]:
    """Losses of every turn alone in a prompt of its own, without batches: sums and counts by kind of row."""
    memories = [
        model.compress(*collate_texts([ids]), rate=rate).vectors[0]
        for ids in processor.encode_documents(example.documents)
    ]
    encoded = processor.encode_documents(example.documents)
    sums: dict[str, Any] = {}
    taught: dict[tuple[int, Turn], Any] = {}
    for row in example.rows:
        slots = [
            TextSlot(encoded[at]) if number < row.texts else MemorySlot(len(memories[at]), rate)
            for number, at in enumerate(row.documents)
        ]
        held = [memories[at] for at in row.documents[row.texts :]]
        kind = "several" if len(row.documents) > 1 else "text" if row.texts else "memory"
        for turn in row.turns:
            asked = documents_answer(turn.prompt) if turn.is_question else turn.prompt
            prompt = processor.documents_prompt(slots, [(asked, [3] if turn.answer is None else turn.answer)])
            output = model(
                collate_prompts([prompt]),
                [torch.cat(held) if held else torch.zeros(0, model.hidden_size)],
            )
            loss, count = sums.get(kind, (0.0, 0))
            sums[kind] = loss + output.loss * prompt.num_targets, count + prompt.num_targets
            if kind == "text":
                taught[row.documents[0], turn] = output.logits
            for at in row.documents if kind != "text" else ():
                if (at, turn) in taught:
                    name = f"{kind}_distillation"
                    loss, count = sums.get(name, (0.0, 0))
                    size = prompt.num_targets
                    sums[name] = (
                        loss + distillation_loss(output.logits, taught[at, turn]) * size,
                        count + size,
                    )
    return sums


@torch.no_grad()
def test_the_loss_is_that_of_every_turn_alone(pooled: tuple[ClaraModel, ClaraProcessor]) -> None:
    model, processor = pooled
    loss = joint_loss(model, processor, [EXAMPLE], OPTIONS)
    expected = one_by_one(model, processor, EXAMPLE, 2)
    assert set(loss.terms) == {*expected, "search", "embedding"}
    for name, (total, count) in expected.items():
        assert loss.terms[name].count == count
        assert float(loss.terms[name].mean) == pytest.approx(float(total / count), rel=1e-4)
    assert loss.terms["memory_distillation"].weight == 0.5
    assert float(loss.terms["memory_distillation"].mean) > 1e-4


@torch.no_grad()
def test_search_is_a_softmax_over_the_passages_of_the_batch(
    pooled: tuple[ClaraModel, ClaraProcessor],
) -> None:
    model, processor = pooled
    loss = joint_loss(model, processor, [EXAMPLE], OPTIONS)
    memories = [
        model.compress(*collate_texts([ids]), rate=2) for ids in processor.encode_documents([FIRST, SECOND])
    ]
    late, single = [], []
    for question, gold in (("w3 w4", 0), ("w9", 1)):
        ids, lengths = collate_texts(processor.encode_questions([question]))
        query = model.encode_query(ids, lengths)
        scores = model.rerank(ids, lengths, query, [memory.vectors[0] for memory in memories], 2)[0]
        late.append(-(scores / 0.03).log_softmax(0)[gold])
        asked = model.query_embeddings(query)[0]
        stored = [model.embeddings(memory)[0] for memory in memories]
        cosines = torch.stack([torch.cosine_similarity(asked, embedding, 0) for embedding in stored])
        single.append(-(cosines / 0.05).log_softmax(0)[gold])
    assert float(loss.terms["search"].mean) == pytest.approx(float(torch.stack(late).mean()), rel=1e-3)
    assert float(loss.terms["embedding"].mean) == pytest.approx(float(torch.stack(single).mean()), rel=1e-3)


def test_items_are_counted_without_the_model(pooled: tuple[ClaraModel, ClaraProcessor]) -> None:
    model, processor = pooled
    other = JointExample((SECOND,), (Row((0,), 0, (WHO,)),))
    counts = count_joint_items(model, processor, [EXAMPLE, other], OPTIONS)
    terms = joint_loss(model, processor, [EXAMPLE, other], OPTIONS).terms
    assert {name: term.count for name, term in terms.items()} == counts


def test_shares_of_a_batch_add_up_to_the_whole(pooled: tuple[ClaraModel, ClaraProcessor]) -> None:
    model, processor = pooled
    other = JointExample((SECOND, FIRST), (Row((1,), 1, (WHEN,)), Row((0, 1), 0, (WHO, WHEN))))
    options = ObjectiveOptions(rate=2, distillation_weight=0.5)
    counts = count_joint_items(model, processor, [EXAMPLE, other], options)

    def gradient(batches: list[list[JointExample]]) -> list[Any]:
        model.zero_grad()
        for batch in batches:
            joint_loss(model, processor, batch, options).total(counts).backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    for whole, shares in zip(gradient([[EXAMPLE, other]]), gradient([[EXAMPLE], [other]]), strict=True):
        torch.testing.assert_close(whole, shares, rtol=1e-4, atol=1e-6)


def test_everything_but_the_base_learns(pooled: tuple[ClaraModel, ClaraProcessor]) -> None:
    model, processor = pooled
    trained = prepare(model, STAGE_OF[JOINT])
    names = {name for name, _ in trained}
    assert all(any(f".variants.{role}." in name for name in names) for role in roles.ROLES)
    assert {name for name in names if name.startswith("pooling.")} == {
        f"pooling.{part}.weight" for part in ("residual", "document_projection", "query_projection")
    }
    assert not any("memory_tokens" in name for name in names)
    module = StageModule(model, processor, STAGE_OF[JOINT], OPTIONS)
    optimizer = torch.optim.Adam([parameter for _, parameter in trained], lr=1e-2)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = module([EXAMPLE])["loss"]
        loss.backward()
        assert all(parameter.grad is not None for _, parameter in trained)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_only_pooled_memories_are_trained_so() -> None:
    model, processor = tiny_model("llama")
    with pytest.raises(InputError, match="pooled"):
        joint_loss(model, processor, [EXAMPLE])


RECORD = {
    "docs": [FIRST, SECOND],
    "rows": [
        {"read": [0], "texts": 1, "turns": [{"question": "w3 w4", "answer": "w5 w6"}]},
        {"read": [1, 0], "texts": 1, "turns": [{"question": "w30", "answer": None}]},
        {"read": [0], "texts": 0, "turns": [{"instruction": "w20 w21", "answer": "w1 w2 w3"}]},
    ],
    "searches": [{"question": "w3 w4", "doc": 0}],
}


def test_records_are_read(tmp_path: Path) -> None:
    path = tmp_path / "joint.jsonl"
    path.write_text(json.dumps(RECORD) + "\n", encoding="utf-8")
    (example,) = read_stage(path, JOINT)
    assert example == JointExample(
        (FIRST, SECOND),
        (Row((0,), 1, (WHEN,)), Row((1, 0), 1, (NOTHING,)), Row((0,), 0, (REPEAT,))),
        (Search("w3 w4", 0),),
    )
    report = check_data(path)
    assert (report.stage, report.examples, report.answers) == (JOINT, 1, 3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"docs": []}, "docs"),
        ({"rows": []}, "rows"),
        ({"rows": "all"}, "rows"),
        ({"rows": [{"read": [2], "texts": 0, "turns": []}]}, r"rows\[0\].read is 2, but must be from 0 to 1"),
        (
            {"rows": [{"read": [0], "texts": 2, "turns": []}]},
            r"rows\[0\].texts is 2, but must be from 0 to 1",
        ),
        ({"rows": [{"read": [0], "texts": 0, "turns": []}]}, r"rows\[0\].turns is empty"),
        (
            {"rows": [{"read": [0], "texts": 0, "turns": [{"instruction": "a", "answer": None}]}]},
            r"rows\[0\].turns\[0\]",
        ),
        ({"rows": [{"read": [0], "texts": 0, "turns": [{"question": "a"}]}]}, "answer is missing"),
        ({"searches": [{"question": "a", "doc": True}]}, r"searches\[0\].doc"),
    ],
)
def test_faulty_records_are_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = tmp_path / "joint.jsonl"
    path.write_text(json.dumps(RECORD | change) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"line 1: .*{named}"):
        list(read_stage(path, JOINT))


def test_a_new_model_with_pooled_memories(make_base: Any, make_tokenizer: Any, tmp_path: Path) -> None:
    make_base("llama").save_pretrained(tmp_path / "base")
    make_tokenizer("llama").save_pretrained(tmp_path / "base")
    model, processor = loading.from_base(
        tmp_path / "base",
        compressor="pooled",
        memory_layer=1,
        doc_max_tokens=24,
        compression_rate=4,
        lora_rank=2,
    )
    assert model.config.no_answer_token_id != processor.end_token_id
    joint_loss(model, processor, [EXAMPLE], OPTIONS).total().backward()
    model.save_pretrained(tmp_path / "new")
    processor.save_pretrained(tmp_path / "new")
    again, _ = loading.load(tmp_path / "new")
    assert again.config.memory_layer == 1
    with pytest.raises(ValueError, match="memory_layer"):
        loading.from_base(tmp_path / "base", compressor="pooled")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a base, eight records and a recipe of joint and end-to-end training."""
    tiny_base("mistral").save_pretrained(tmp_path / "base")
    tiny_tokenizer("mistral").save_pretrained(tmp_path / "base")
    rng = random.Random(1)
    with (
        (tmp_path / "joint.jsonl").open("w", encoding="utf-8") as joint,
        (tmp_path / "search.jsonl").open("w", encoding="utf-8") as search,
    ):
        for _ in range(8):
            first, second, question, answer = (" ".join(rng.sample(WORDS, count)) for count in (7, 4, 2, 1))
            turn = {"question": question, "answer": answer}
            rows = [
                {"read": [0], "texts": 1, "turns": [turn]},
                {"read": [0], "texts": 0, "turns": [turn, {"question": answer, "answer": None}]},
                {"read": [1, 0], "texts": 1, "turns": [turn]},
            ]
            record = {"docs": [first, second], "rows": rows, "searches": [{"question": question, "doc": 0}]}
            joint.write(json.dumps(record) + "\n")
            record = {"question": question, "docs": [first, second], "gold_answer": answer, "pos_index": [0]}
            search.write(json.dumps(record) + "\n")
    (tmp_path / "recipe.toml").write_text(
        f"""\
[run]
folder = "{tmp_path / "run"}"
log_every = 1
save_every = 2
[model]
base = "{tmp_path / "base"}"
compressor = "pooled"
memory_layer = 1
doc_max_tokens = 16
compression_rate = 4
num_selected = 2
lora_dropout = 0.0
[data]
train = []
[optimizer]
learning_rate = 3e-3
batch_size = 4
micro_batch_size = 2
steps = 4
precision = "float32"
[stages.joint.data]
train = ["{tmp_path / "joint.jsonl"}"]
[stages.joint.options]
nested_rates = [2, 4]
contrastive_weight = 0.2
distillation_weight = 0.5
[stages.end-to-end.data]
train = ["{tmp_path / "search.jsonl"}"]
""",
        encoding="utf-8",
    )
    return tmp_path


def losses(place: Path, *, resume: bool = False) -> dict[int, float]:
    lines: list[dict[str, float]] = []
    settings = read_settings(place / "recipe.toml", JOINT, [f"run.folder={place / 'alone'}"])
    train(settings, JOINT, resume=resume, report=lines.append)
    return {int(line["step"]): line["loss"] for line in lines if "loss" in line}


def test_a_killed_run_repeats_what_it_would_have_done(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = losses(place)
    assert list(whole) == [1, 2, 3, 4]
    shutil.rmtree(place / "alone")
    calls: list[int] = []

    def failing(self: StageModule, examples: Any, options: Any) -> StageLoss:
        calls.append(1)
        if len(calls) > 6:  # step 4
            raise RuntimeError("killed")
        return joint_loss(self.model, self.processor, examples, options)

    monkeypatch.setattr(StageModule, "stage_loss", failing)
    with pytest.raises(RuntimeError, match="killed"):
        losses(place)
    monkeypatch.undo()
    assert losses(place, resume=True) == {step: whole[step] for step in (3, 4)}


def test_a_recipe_goes_on_end_to_end(place: Path) -> None:
    for stage, settings in read_recipe(place / "recipe.toml").items():
        folder = train(settings, stage, resume=False, report=lambda _: None)
    model, processor = loading.load(folder)
    assert model.config.training_stage == "end-to-end"
    clara = Clara(model, processor, "trained")
    assert isinstance(clara.answer(["w1 w2"], [["w1 w2 w3", "w4 w5"]], max_new_tokens=3)[0], str)
