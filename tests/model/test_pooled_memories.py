"""Pooled memories that enter a causal model after a middle layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig

from clara.configuration import ClaraConfig
from clara.model.fingerprint import fingerprint
from clara.model.generation import NoAnswer
from clara.model.modeling import ClaraModel
from clara.model.prompts import PromptBatch


@pytest.fixture
def model() -> ClaraModel:
    torch.manual_seed(0)
    base = LlamaConfig(
        vocab_size=60,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    config = ClaraConfig(
        base,
        compressor="pooled",
        score="tokens",
        prompt_format="documents",
        memory_layer=2,
        search_size=16,
        document_prefix_ids=[3, 4],
        query_prefix_ids=[5],
        memory_token_ids=[0],
        compression_rate=2,
        lora_dropout=0.0,
    )
    return ClaraModel(config).eval()


def prompt(rows: list[tuple[list[int], list[bool]]]) -> PromptBatch:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([own + [0] * (width - len(own)) for own, _ in rows])
    slots = torch.tensor([own + [False] * (width - len(own)) for _, own in rows])
    return PromptBatch(
        ids=ids,
        positions=torch.arange(width).expand(len(rows), -1),
        blocks=torch.zeros_like(ids),
        slots=slots,
        spans=torch.ones_like(ids),
        lengths=torch.tensor([len(own) for own, _ in rows]),
    )


DOCUMENT = [3, 4, 10, 11, 12, 13, 14]
QUESTION = [6, 20, 21, 22]


@torch.no_grad()
def test_text_is_read_as_the_base_reads_it(model: ClaraModel) -> None:
    ids = DOCUMENT + QUESTION
    logits = model(prompt([(ids, [False] * len(ids))]), role=None).logits
    torch.testing.assert_close(logits, model.base(torch.tensor([ids])).logits[:, -1])


@torch.no_grad()
def test_a_memory_is_the_mean_of_its_states(model: ClaraModel) -> None:
    states = model.base(torch.tensor([DOCUMENT]), output_hidden_states=True).hidden_states[2][0, 2:]
    memories = model.compress(torch.tensor([DOCUMENT]), torch.tensor([len(DOCUMENT)]))
    assert memories.lengths.tolist() == [3]
    for slot, group in enumerate((states[:2], states[2:4], states[4:])):
        mean = group.mean(dim=0)
        expected = mean / mean.norm() * group.norm(dim=-1).mean()
        torch.testing.assert_close(memories.vectors[0, slot], expected)


@torch.no_grad()
def test_padding_changes_nothing(model: ClaraModel) -> None:
    short = [3, 4, 30, 31, 32]
    batch = torch.tensor([DOCUMENT, [*short, 0, 0]])
    both = model.compress(batch, torch.tensor([len(DOCUMENT), len(short)])).unpadded()
    alone = model.compress(torch.tensor([short]), torch.tensor([len(short)])).unpadded()
    torch.testing.assert_close(both[1], alone[0])


@torch.no_grad()
def test_cached_steps_are_those_of_a_whole_pass(model: ClaraModel) -> None:
    memory = model.compress(torch.tensor([DOCUMENT]), torch.tensor([len(DOCUMENT)])).unpadded()[0]
    long = ([3, 4, 0, 0, 0, *QUESTION], [False, False, True, True, True, *[False] * 4])
    short = ([3, 4, 0, *QUESTION[:2]], [False, False, True, False, False])
    memories: list[Tensor] = [memory, memory[:1]]
    output = model(prompt([long, short]), memories, use_cache=True)
    for token in (40, 41):
        stepped = model.decode_step(torch.tensor([token, token]), output.decoding)
        for row in (long, short):
            row[0].append(token)
            row[1].append(False)
        whole = model(prompt([long, short]), memories).logits
        torch.testing.assert_close(stepped, whole)


@torch.no_grad()
def test_a_memory_is_read(model: ClaraModel) -> None:
    row = ([3, 4, 0, 0, 0, *QUESTION], [False, False, True, True, True, *[False] * 4])
    memory = model.compress(torch.tensor([DOCUMENT]), torch.tensor([len(DOCUMENT)])).unpadded()[0]
    right, wrong = (model(prompt([row]), [one]).logits for one in (memory, memory.flip(0)))
    assert not torch.allclose(right, wrong)


def test_every_role_gets_a_gradient(model: ClaraModel) -> None:
    ids, lengths = torch.tensor([DOCUMENT, [*DOCUMENT[:5], 0, 0]]), torch.tensor([7, 5])
    memories = model.compress(ids, lengths)
    questions = model.encode_query(torch.tensor([[5, 20, 21]]), torch.tensor([3]))
    scores = model.rerank(torch.tensor([[5, 20, 21]]), torch.tensor([3]), questions, memories.unpadded())
    row = ([3, 4, 0, 0, 0, *QUESTION], [False, False, True, True, True, *[False] * 4])
    logits = model(prompt([row]), [memories.unpadded()[0]]).logits
    (logits.sum() + scores[0, 0] + model.score(questions, memories)[0, 1]).backward()
    for role in ("compressor", "query_reasoner", "generator"):
        grads = [
            p.grad for n, p in model.named_parameters() if f"variants.{role}." in n and p.grad is not None
        ]
        assert any(grad.abs().sum() > 0 for grad in grads), role


def test_no_answer_is_judged_and_not_written() -> None:
    probabilities = torch.tensor([[0.8, 0.15, 0.05], [0.1, 0.6, 0.3]])
    judge = NoAnswer(0, end_token_id=1)
    left = judge(torch.zeros(2, 0, dtype=torch.long), probabilities.log())
    expected = (torch.tensor([0.2, 0.9]) / torch.tensor([0.8, 0.1])).log().tolist()
    assert judge.log_odds == pytest.approx(expected, abs=1e-5)
    assert left.argmax(dim=1).tolist() == [2, 2]
    later = judge(torch.zeros(2, 1, dtype=torch.long), probabilities.log())
    assert later.argmax(dim=1).tolist() == [1, 1]


def test_the_fingerprint_covers_how_memories_are_pooled(model: ClaraModel) -> None:
    before = fingerprint(model)
    with torch.no_grad():
        model.pooling.residual.weight.add_(0.5)  # type: ignore[union-attr]
    assert fingerprint(model) != before
    model.config.memory_layer = 1
    with torch.no_grad():
        model.pooling.residual.weight.zero_()  # type: ignore[union-attr]
    assert fingerprint(model) != before
