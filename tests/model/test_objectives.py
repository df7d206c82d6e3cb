"""The stages' losses on tiny models: a batch means what its examples mean, gradients go where they should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clara import roles
from clara.errors import InputError, MissingRoleError
from clara.model.selection import top_k
from clara.processing import MemorySlot, collate_prompts, collate_texts
from clara.training.examples import CompressionExample, EndToEndExample
from clara.training.objectives import ObjectiveOptions, compress_texts, compression_loss, end_to_end_loss

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def trained(model: Any) -> set[str]:
    """Roles that got a gradient other than zero."""
    found = {
        name
        for name in model.config.roles
        if any(p.grad is not None and p.grad.any() for _, p in roles.role_parameters(model.base, name))
    }
    model.zero_grad(set_to_none=True)
    return found


@pytest.fixture
def end_to_end(texts: list[str]) -> list[EndToEndExample]:
    """Examples with 5, 1 and 2 candidates, whose answers stand in them."""
    answers = [text.split()[0] for text in texts]
    return [
        EndToEndExample("w1 w2", tuple(texts[:5]), " ".join(texts[0].split()[:2]), positives=(0, 3)),
        EndToEndExample("w5", (texts[5],), answers[5]),
        EndToEndExample("w7 w8 w9", (texts[1], texts[4]), answers[4], positives=(1,)),
    ]


@pytest.mark.parametrize("kind", ["mistral", "bert"])
def test_compress_texts_keeps_the_order(make_model: Any, texts: list[str], kind: str) -> None:
    model, processor = make_model(kind)
    with torch.no_grad():
        expected = model.compress(*collate_texts(processor.encode_documents(texts)))
        for budget in (1, 30, 10_000):
            found = compress_texts(model, processor, texts, ObjectiveOptions(max_tokens=budget))
            for left, right in zip(found.vectors, expected.unpadded(), strict=True):
                torch.testing.assert_close(left, right, **CLOSE)
            torch.testing.assert_close(found.embeddings, model.embeddings(expected), **CLOSE)
            torch.testing.assert_close(found.means, expected.means, **CLOSE)
            torch.testing.assert_close(found.text_means, expected.text_means, **CLOSE)


@pytest.mark.parametrize(("kind", "score"), [("mistral", "slots"), ("bert", "mean"), ("bert", "words")])
def test_end_to_end_equals_one_example_at_a_time(
    make_model: Any, end_to_end: list[EndToEndExample], kind: str, score: str
) -> None:
    model, processor = make_model(kind, score=score)
    result = end_to_end_loss(model, processor, end_to_end)
    loss = result.total()
    total, tokens = torch.zeros(()), 0
    for example in end_to_end:
        with torch.no_grad():
            documents = model.compress(*collate_texts(processor.encode_documents(example.documents)))
            asked = collate_texts(processor.encode_questions([example.question]))
            query = model.encode_query(*asked)
            scores = (
                model.rerank(*asked, query, documents.unpadded())
                if score == "words"
                else model.score(query, documents)
            )
            chosen = top_k(scores, min(2, len(example.documents)))[0].tolist()
            memories = [documents.unpadded()[index] for index in chosen]
            row = processor.prompt(example.question, [MemorySlot(len(m)) for m in memories], example.answer)
            count = sum(target >= 0 for target in row.targets)
            priors = [(scores[0, chosen] / model.config.selection_temperature).softmax(dim=0).log()]
            given = {} if kind == "mistral" else {"priors": priors}
            total += model(collate_prompts([row]), [torch.cat(memories)], **given).loss * count
            tokens += count
    torch.testing.assert_close(loss.detach(), total / tokens, **CLOSE)
    loss.backward()
    assert trained(model) == {roles.QUERY_REASONER, roles.GENERATOR}
    # one candidate leaves nothing to choose, so nothing to learn for the query reasoner
    end_to_end_loss(model, processor, end_to_end[1:2]).total().backward()
    assert trained(model) == {roles.GENERATOR}


def test_end_to_end_gradient_is_that_of_the_soft_choice(make_model: Any, texts: list[str]) -> None:
    """At a high temperature the straight-through gradient moves scores towards the better document."""
    model, processor = make_model("mistral", num_selected=1, selection_temperature=1.0)
    example = EndToEndExample("w1", tuple(texts[:4]), "w2")
    end_to_end_loss(model, processor, [example]).total().backward()
    norms = [p.grad.norm() for _, p in roles.role_parameters(model.base, roles.QUERY_REASONER)]
    assert torch.stack(norms).isfinite().all()
    assert max(norms) > 0
    for k in (4, 9):
        assert end_to_end_loss(model, processor, [example], ObjectiveOptions(k=k)).total().isfinite()


def test_end_to_end_says_what_it_needs(make_model: Any, end_to_end: list[EndToEndExample]) -> None:
    model, processor = make_model("mistral")
    with pytest.raises(InputError, match="has no candidate documents"):
        end_to_end_loss(model, processor, [*end_to_end, EndToEndExample("w1", (), "w2")])
    model, processor = make_model("mistral", roles={"compressor": "lora", "generator": "lora"})
    with pytest.raises(MissingRoleError):
        end_to_end_loss(model, processor, end_to_end)


def compression_examples(texts: list[str], paraphrase: bool) -> list[CompressionExample]:
    examples = [
        CompressionExample((texts[0],), "qa", ("w1", "w2 w3"), (texts[0].split()[0], "w5")),
        CompressionExample((texts[1], texts[2]), "answer", ("w6",), (texts[2].split()[0],)),
    ]
    return (
        [*examples, CompressionExample((texts[3],), "paraphrase", (), ("w9 w10",))]
        if paraphrase
        else examples
    )


@pytest.mark.parametrize(("kind", "form"), [("mistral", "plain"), ("llama", "apple"), ("bert", "pairs")])
def test_compression_loss(make_model: Any, texts: list[str], kind: str, form: str) -> None:
    model, processor = make_model(kind, prompt_format=form, alignment_weight=0.5)
    examples = compression_examples(texts, paraphrase=form != "pairs")
    result = compression_loss(model, processor, examples)
    loss, parts = result.total(), {name: mean for name, (mean, _) in result.parts().items()}
    assert loss.item() == pytest.approx(parts["answer"] + 0.5 * parts["alignment"], abs=1e-5)
    loss.backward()
    assert trained(model) == {roles.COMPRESSOR, roles.GENERATOR}
    small = compression_loss(model, processor, examples, ObjectiveOptions(max_tokens=1)).total()
    torch.testing.assert_close(small, loss, **CLOSE)
    # the mean over a batch is the mean over its tokens and its documents
    sums, tokens, aligned, documents = 0.0, 0, 0.0, 0
    for example in examples:
        own = compression_loss(model, processor, [example]).parts()
        count = target_count(processor, example)
        assert own["answer"][1] == count
        sums, tokens = sums + own["answer"][0] * count, tokens + count
        aligned += own["alignment"][0] * len(example.documents)
        documents += len(example.documents)
    assert parts["answer"] == pytest.approx(sums / tokens, abs=1e-5)
    assert parts["alignment"] == pytest.approx(aligned / documents, abs=1e-5)


def target_count(processor: Any, example: CompressionExample) -> int:
    slots = [MemorySlot(1)] * len(example.documents)
    if example.task == "qa":
        row = processor.qa_prompt(slots, example.questions, example.answers)
    elif example.task == "paraphrase":
        row = processor.paraphrase_prompt(slots, example.answers[0])
    else:
        row = processor.prompt(example.questions[0], slots, example.answers[0])
    return sum(target >= 0 for target in row.targets)


def test_a_few_steps_learn(make_model: Any, texts: list[str]) -> None:
    model, processor = make_model("mistral")
    examples = compression_examples(texts, paraphrase=True)
    parameters = [
        parameter
        for name in (roles.COMPRESSOR, roles.GENERATOR)
        for _, parameter in roles.role_parameters(model.base, name)
    ]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    losses: list[Tensor] = []
    for _ in range(12):
        loss = compression_loss(model, processor, examples).total()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    assert losses[-1] < losses[0] * 0.8
