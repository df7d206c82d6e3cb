"""What goes beyond the paper: each option equals a slow twin of itself, and none is without effect."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clara import roles
from clara.errors import InputError
from clara.model.losses import contrastive_loss, distillation_loss
from clara.model.selection import cosine_scores
from clara.processing import TextSlot, collate_prompts, collate_texts
from clara.training.examples import CompressionExample, EndToEndExample
from clara.training.memory_cache import MemoryCache
from clara.training.objectives import (
    ObjectiveOptions,
    compress_texts,
    compression_loss,
    end_to_end_loss,
)
from clara.training.stages import STAGE_OF, StageModule, measure, prepare

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
STAGES = ("compression-pretraining", "instruction-tuning", "end-to-end")


@pytest.fixture
def asked(texts: list[str]) -> list[EndToEndExample]:
    return [
        EndToEndExample("w1 w2", tuple(texts[:4]), "w3 w4", positives=(0, 3)),
        EndToEndExample("w5", (texts[5], texts[1]), "w6", positives=(1,)),
        EndToEndExample("w7 w8", (texts[4], texts[2]), "w9"),
    ]


@pytest.fixture
def read(texts: list[str]) -> list[CompressionExample]:
    return [
        CompressionExample((texts[0],), "qa", ("w1", "w2 w3"), ("w4", "w5")),
        CompressionExample((texts[3], texts[4]), "answer", ("w6",), ("w7 w8",)),
    ]


@pytest.mark.parametrize("kind", ["mistral", "bert"])
@pytest.mark.parametrize("rate", [2, 8, 16])
def test_a_nested_memory_is_the_memory_at_its_rate(
    make_model: Any, texts: list[str], kind: str, rate: int
) -> None:
    model, processor = make_model(kind)
    with torch.no_grad():
        nested = compress_texts(model, processor, texts, ObjectiveOptions(rate=rate)).vectors
        whole = compress_texts(model, processor, texts).vectors
        if kind == "mistral":  # causal: the first tokens of a longer memory
            expected = [memory[: 16 // rate] for memory in whole]
        else:
            ids = collate_texts(processor.encode_documents(texts))
            expected = model.compress(*ids, rate=rate).unpadded()
    for left, right in zip(nested, expected, strict=True):
        size = min(len(left), len(right))  # a rate below the configuration's has no longer memory appended
        torch.testing.assert_close(left[:size], right[:size], **CLOSE)
    assert kind == "mistral" or [len(m) for m in nested] != [len(m) for m in whole]


def test_nested_rates_are_drawn_by_step_alone(make_model: Any, read: list[CompressionExample]) -> None:
    model, processor = make_model("mistral")
    module = StageModule(model, processor, STAGE_OF[STAGES[0]], ObjectiveOptions(), nested_rates=(4, 8, 16))
    with torch.no_grad():
        drawn = [module(read, seed=f"0/{step}")["loss"].item() for step in range(12)]
        again = [module(read, seed=f"0/{step}")["loss"].item() for step in range(12)]
        fixed = {
            compression_loss(model, processor, read, ObjectiveOptions(rate=rate)).total().item()
            for rate in (4, 8, 16)
        }
    assert drawn == again
    assert set(drawn) == fixed


def test_a_key_of_the_first_slots(make_model: Any, texts: list[str]) -> None:
    model, processor = make_model("mistral", embedding_slots=2)
    with torch.no_grad():
        memories = model.compress(*collate_texts(processor.encode_documents(texts)))
        query = model.encode_query(*collate_texts(processor.encode_questions(["w1 w2"])))
        expected = torch.nn.functional.cosine_similarity(
            query.vectors[:, :2].flatten(1), memories.vectors[:, :2].flatten(1)
        )
        torch.testing.assert_close(model.score(query, memories)[0], expected, **CLOSE)
    whole = model.embeddings(memories).shape[1]
    model.config.set_embedding_slots(None)
    assert model.embeddings(memories).shape[1] == 2 * whole
    for wrong in (0, 5):
        with pytest.raises(ValueError, match="must be from 1 to 4"):
            model.config.set_embedding_slots(wrong)
    with pytest.raises(ValueError, match="with score 'mean'"):
        make_model("bert", embedding_slots=1)


def test_in_batch_negatives_are_everybody_elses_documents(
    make_model: Any, asked: list[EndToEndExample]
) -> None:
    model, processor = make_model("mistral")
    everything = list(dict.fromkeys(text for example in asked for text in example.documents))
    spelt_out = [
        replace(
            example,
            documents=(*example.documents, *(text for text in everything if text not in example.documents)),
        )
        for example in asked
    ]
    options = ObjectiveOptions(in_batch_negatives=True)
    found = end_to_end_loss(model, processor, asked, options)
    expected = end_to_end_loss(model, processor, spelt_out)
    torch.testing.assert_close(found.total(), expected.total(), **CLOSE)
    assert found.metrics == expected.metrics
    assert not torch.isclose(found.total(), end_to_end_loss(model, processor, asked).total())


def test_recall_is_logged_as_it_is(make_model: Any, asked: list[EndToEndExample]) -> None:
    model, processor = make_model("mistral")
    metrics = end_to_end_loss(model, processor, asked).metrics
    expected: dict[int, list[float]] = {1: [], 3: [], 5: []}
    for example in asked[:2]:
        with torch.no_grad():
            documents = model.compress(*collate_texts(processor.encode_documents(example.documents)))
            query = model.encode_query(*collate_texts(processor.encode_questions([example.question])))
            order = model.score(query, documents)[0].argsort(descending=True).tolist()
        for k, values in expected.items():
            values.append(len(set(order[:k]) & set(example.positives)) / len(example.positives))
    assert metrics == {f"recall@{k}": (sum(values) / 2, 2) for k, values in expected.items()}
    # a hit that is known: the only candidate
    alone = EndToEndExample("w1", (asked[0].documents[0],), "w2", positives=(0,))
    assert end_to_end_loss(model, processor, [alone]).metrics["recall@1"] == (1.0, 1)
    assert end_to_end_loss(model, processor, asked[2:]).metrics == {}


def test_contrastive_loss_equals_a_slow_twin() -> None:
    torch.manual_seed(0)
    scores, temperature = torch.rand(3, 5), 0.3
    positives = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]], dtype=torch.bool)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], dtype=torch.bool)
    values = []
    for row in range(3):
        powers = (scores[row] / temperature).exp()
        held, all_of_them = powers[positives[row]].sum(), powers[mask[row]].sum()
        values.append(-(held / all_of_them).log())
    torch.testing.assert_close(
        contrastive_loss(scores, positives, temperature, mask), torch.stack(values).mean(), **CLOSE
    )


def test_the_contrastive_term_teaches_the_query_reasoner(
    make_model: Any, asked: list[EndToEndExample]
) -> None:
    model, processor = make_model("mistral")
    options = ObjectiveOptions(contrastive_weight=0.5, contrastive_temperature=0.2)
    loss = end_to_end_loss(model, processor, asked, options)
    values = []
    for example in asked[:2]:
        with torch.no_grad():
            documents = model.compress(*collate_texts(processor.encode_documents(example.documents)))
        query = model.encode_query(*collate_texts(processor.encode_questions([example.question])))
        scores = cosine_scores(model.embeddings(query), model.embeddings(documents))[0] / 0.2
        values.append(scores.logsumexp(0) - scores[list(example.positives)].logsumexp(0))
    term = loss.terms["contrastive"]
    torch.testing.assert_close(term.mean, torch.stack(values).mean(), **CLOSE)
    assert term.count == 2
    torch.testing.assert_close(loss.total(), loss.terms["answer"].mean + 0.5 * term.mean, **CLOSE)


def test_spans_cannot_be_distilled(make_model: Any, read: list[CompressionExample]) -> None:
    model, processor = make_model("bert")
    options = ObjectiveOptions(distillation_weight=0.3)
    with pytest.raises(InputError, match="answers are spans"):
        StageModule(model, processor, STAGE_OF[STAGES[1]], options).stage_loss(read[1:], options)


@pytest.mark.parametrize("stage", STAGES)
def test_distillation_compares_with_the_text_reader(
    make_model: Any,
    asked: list[EndToEndExample],
    read: list[CompressionExample],
    stage: str,
) -> None:
    model, processor = make_model("mistral", num_selected=1)
    options = ObjectiveOptions(distillation_weight=0.3)
    module = StageModule(model, processor, STAGE_OF[stage], options)
    examples: Any = asked[1:2] if stage == STAGES[2] else read[1:]
    readers: list[str | None] = []
    forward = model.forward

    def recorded(prompts: Any, memories: Any = None, **choices: Any) -> Any:
        readers.append(choices.get("role", roles.GENERATOR))
        return forward(prompts, memories, **choices)

    model.forward = recorded
    loss = module.stage_loss(examples, options)
    model.forward = forward
    assert readers == [roles.GENERATOR, None]
    (example,) = examples
    documents = list(example.documents)
    if stage == STAGES[2]:
        with torch.no_grad():
            memories = model.compress(*collate_texts(processor.encode_documents(documents)))
            query = model.encode_query(*collate_texts(processor.encode_questions([example.question])))
            best = int(model.score(query, memories)[0].argmax())
        documents, question, answer = [documents[best]], example.question, example.answer
    else:
        question, answer = example.questions[0], example.answers[0]
    slots = [TextSlot(ids) for ids in processor.encode_documents(documents)]
    with torch.no_grad():
        row = collate_prompts([processor.prompt(question, slots, answer)])
        teacher = model(row, role=None).logits.softmax(dim=-1)
        other = model(row).logits.softmax(dim=-1)
    assert not torch.allclose(teacher, other)  # who reads makes a difference
    without = module.stage_loss(examples, ObjectiveOptions())
    term = loss.terms["distillation"]
    assert term.count == len(teacher) == without.terms["answer"].count
    torch.testing.assert_close(loss.total(), without.total() + 0.3 * term.mean, **CLOSE)
    student = torch.rand(4, 7).softmax(dim=-1)
    wanted = torch.rand(4, 7).softmax(dim=-1)
    slow = sum((wanted[i] * (wanted[i] / student[i]).log()).sum() for i in range(4)) / 4
    torch.testing.assert_close(distillation_loss(student.log(), wanted.log()), slow, **CLOSE)


@pytest.mark.parametrize("stage", STAGES)
def test_shares_of_a_batch_add_up_to_its_loss(
    make_model: Any, asked: list[EndToEndExample], read: list[CompressionExample], stage: str
) -> None:
    model, processor = make_model("mistral")
    options = ObjectiveOptions(contrastive_weight=0.2, distillation_weight=0.1)
    module = StageModule(model, processor, STAGE_OF[stage], options)
    examples: Any = asked if stage == STAGES[2] else read
    counts = module.count_items(examples)
    whole = module.stage_loss(examples, options)
    assert {name: term.count for name, term in whole.terms.items()} == {
        name: counts[name] for name in whole.terms
    }
    shares = sum(module([example], counts=counts)["loss"] for example in examples)
    torch.testing.assert_close(shares, whole.total(), **CLOSE)
    measured = measure(module, examples, batch_size=2)
    for name, term in whole.terms.items():
        assert measured[name] == pytest.approx(term.mean.item(), abs=1e-5)


@pytest.mark.parametrize("kind", ["mistral", "bert"])
def test_kept_memories_are_those_that_were_made(
    make_model: Any, asked: list[EndToEndExample], kind: str, tmp_path: Path
) -> None:
    model, processor = make_model(kind)
    calls: list[int] = []
    whole = model.compress

    def counting(ids: Tensor, *more: Any) -> Any:
        calls.append(len(ids))
        return whole(ids, *more)

    model.compress = counting
    expected = end_to_end_loss(model, processor, asked).total()
    calls.clear()
    with MemoryCache(tmp_path) as cache:
        for _ in range(2):
            found = end_to_end_loss(model, processor, asked, cache=cache).total()
            torch.testing.assert_close(found, expected, **CLOSE)
        distinct = {text for example in asked for text in example.documents}
        assert len(cache) == len(distinct) == sum(calls)
    assert not list(tmp_path.iterdir())


def test_the_compressor_has_no_dropout_where_it_does_not_train(
    make_model: Any, asked: list[EndToEndExample]
) -> None:
    model, processor = make_model("mistral", lora_dropout=0.5)
    prepare(model, STAGE_OF[STAGES[2]])
    model.train()
    kept: list[Tensor] = []
    whole = model.compress

    def watching(*arguments: Any) -> Any:
        memories = whole(*arguments)
        kept.append(memories.vectors)
        return memories

    model.compress = watching
    for _ in range(2):
        end_to_end_loss(model, processor, asked)
    assert torch.equal(kept[0], kept[1])
    assert model.training
