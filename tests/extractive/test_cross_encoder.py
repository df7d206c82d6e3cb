"""Every document behind its question: the batch equals each pair alone, in text and in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clara import roles
from clara.errors import PromptError
from clara.extractive.spans import best_span
from clara.processing import MemorySlot, TextSlot, collate_prompts, collate_texts

TOLERANCE = {"atol": 2e-5, "rtol": 1e-5}
QUESTIONS = ("w1 w2 w3", "w9")
TEXTS = ("w4 w5 w6 w7 w8", "w10 w11", "w12 w4 w5 w1 w2 w3 w20")


def alone(model: Any, processor: Any, question: str, text: str) -> torch.Tensor:
    """Scores (n, 2) of one document's words behind a question, as plain BERT reads two texts."""
    asked, document = processor.encode_questions([question])[0], processor.encode_documents([text])[0]
    with roles.role(roles.GENERATOR):
        states = model.base.bert(
            input_ids=torch.tensor([asked + document]),
            token_type_ids=torch.tensor([[0] * len(asked) + [1] * len(document)]),
            attention_mask=torch.ones(1, 1, *[len(asked) + len(document)] * 2, dtype=torch.bool),
        ).last_hidden_state[0, len(asked) :]
    return model.span_head.score(states)


@pytest.fixture
def model_and_processor(make_model: Any) -> Any:
    model, processor = make_model("bert")
    model.memory.fit(model.get_input_embeddings().weight)
    return model, processor


@torch.no_grad()
def test_a_batch_equals_each_pair_alone(model_and_processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, processor = model_and_processor
    documents = [TextSlot(ids) for ids in processor.encode_documents(TEXTS)]
    prompts = collate_prompts(
        [
            processor.packed_prompt(documents, [(QUESTIONS[0], "w4"), (QUESTIONS[1], "w11")]),
            processor.prompt(QUESTIONS[1], documents[1:2]),
            processor.prompt(QUESTIONS[0], []),
        ]
    )
    pairs = [(QUESTIONS[0], TEXTS), (QUESTIONS[1], TEXTS), (QUESTIONS[1], TEXTS[1:2])]
    for budget in (1, 40, 10_000):
        monkeypatch.setattr("clara.extractive.cross_encoder.MAX_ROW_TOKENS", budget)
        output = model(prompts)
        for row, (question, texts) in enumerate(pairs):
            kept = [alone(model, processor, question, text)[:-1] for text in texts]
            expected = torch.cat(kept).log_softmax(dim=0)
            places = [
                document.start + at
                for document in output.documents[row]
                for at in range(len(document.ids) - 1)
            ]
            torch.testing.assert_close(output.words[row, places], expected, **TOLERANCE)
    assert output.documents[3] == []
    assert best_span(output.words[3], output.documents[3], 64) is None
    prompts = collate_prompts([processor.prompt(question, documents) for question in QUESTIONS])
    written = model.write(prompts, None, end_token_id=processor.end_token_id, max_new_tokens=3)
    answers = [answer.ids for answer in written]
    output = model(prompts)
    spans = [best_span(*pair, 3) for pair in zip(output.words, output.documents, strict=True)]
    assert answers == [span.ids if span else [] for span in spans]
    assert all(answers)


@torch.no_grad()
@pytest.mark.parametrize("rate", [1, 2, 4])
def test_memories_read_as_the_text_that_they_spell(model_and_processor: Any, rate: int) -> None:
    """Beside texts and in any order."""
    model, processor = model_and_processor
    encoded = processor.encode_documents(TEXTS)
    memories = model.compress(*collate_texts(encoded), rate=rate).unpadded()
    texts = [TextSlot(ids) for ids in encoded]
    slots = [MemorySlot(len(memory), rate) for memory in memories]
    expected = model(collate_prompts([processor.prompt(QUESTIONS[0], texts)] * 2)).words
    mixed = collate_prompts(
        [
            processor.prompt(QUESTIONS[0], slots),
            processor.prompt(QUESTIONS[0], [slots[0], texts[1], slots[2]]),
        ]
    )
    held = [torch.cat(memories), torch.cat([memories[0], memories[2]])]
    torch.testing.assert_close(model(mixed, held).words, expected, **TOLERANCE)


@torch.no_grad()
def test_what_was_read_is_not_read_again(model_and_processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a document stands as text or as memory, but behind every question and in every role."""
    model, processor = model_and_processor
    encoded = processor.encode_documents(TEXTS)
    texts = [TextSlot(ids) for ids in encoded]
    memories = model.compress(*collate_texts(encoded), rate=2).unpadded()
    slots = [MemorySlot(len(memory), 2) for memory in memories]
    asked: list[tuple[Any, Any, str | None, int]] = [  # with the rows that are new
        (collate_prompts([processor.prompt(QUESTIONS[0], texts)]), None, roles.GENERATOR, len(texts)),
        (collate_prompts([processor.prompt(QUESTIONS[0], texts[1:])]), None, roles.GENERATOR, 0),
        (collate_prompts([processor.prompt(QUESTIONS[0], slots)]), [torch.cat(memories)], roles.GENERATOR, 0),
        (collate_prompts([processor.prompt(QUESTIONS[1], texts[:1])] * 2), None, roles.GENERATOR, 1),
        (collate_prompts([processor.prompt(QUESTIONS[0], texts)]), None, None, len(texts)),
    ]
    plain = [model(prompts, held, role=role).words for prompts, held, role, _ in asked]
    rows: list[int] = []
    read = model._read

    def counted(embeddings: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
        rows.append(len(embeddings))
        return read(embeddings, *others, **named)

    monkeypatch.setattr(model, "_read", counted)
    with model.reading_once():
        for (prompts, held, role, new), expected in zip(asked, plain, strict=True):
            torch.testing.assert_close(model(prompts, held, role=role).words, expected, **TOLERANCE)
            assert sum(rows) == new
            rows.clear()
    model(*asked[0][:2])
    assert sum(rows) == len(texts)


@torch.no_grad()
def test_a_title_ends_with_the_closing_token_and_no_answer_runs_over_it(model_and_processor: Any) -> None:
    model, processor = model_and_processor
    (plain,), (titled,) = (processor.encode_documents([text]) for text in ("w1 w2 w3", "w1 w2\nw3"))
    assert titled == [*plain[:3], plain[-1], *plain[3:]]
    prompts = collate_prompts([processor.prompt(QUESTIONS[1], [TextSlot(titled)])])
    output = model(prompts)
    assert output.words[0].exp().gt(0).all(dim=1).tolist() == [True] * 3 + [False, True, False]
    # the likeliest begin is in the title, the likeliest end in the text
    scores = torch.full((len(titled), 2), -9.0)
    scores[1, 0] = scores[4, 1] = -0.1
    (document,) = output.documents[0]
    for words, wanted in (([1], titled[1:2]), ([4], titled[4:5])):
        scores[words, :] += 0.01
        found = best_span(scores, [document], 9)
        assert found is not None
        assert found.ids == wanted
        scores[words, :] -= 0.01


def test_memories_that_do_not_fit_the_prompt_are_refused(model_and_processor: Any) -> None:
    model, processor = model_and_processor
    prompts = collate_prompts([processor.prompt(QUESTIONS[0], [MemorySlot(2)])])
    with pytest.raises(PromptError, match="has 2 memory slots but 3 memory vectors"):
        model(prompts, [torch.zeros(3, model.hidden_size)])
    with pytest.raises(PromptError, match="has 2 memory slots but 0 memory vectors"):
        model(prompts)


def test_a_pair_longer_than_the_model_is_refused(model_and_processor: Any) -> None:
    model, processor = model_and_processor
    (document,) = processor.encode_documents(TEXTS[:1])
    prompts = collate_prompts([processor.prompt(QUESTIONS[0], [TextSlot(document)])])
    model.config.text_config.max_position_embeddings = 12
    model(prompts)  # five tokens and seven
    model.config.text_config.max_position_embeddings = 11
    with pytest.raises(PromptError, match="take 12 positions together, but the model has 11"):
        model(prompts)


@torch.no_grad()
def test_positions_are_those_that_the_network_reads(model_and_processor: Any) -> None:
    """Memories are turned into words before they are read, so they count as many as the text."""
    model, processor = model_and_processor
    question = QUESTIONS[0]
    texts = processor.encode_documents(TEXTS)
    expected = sum(len(processor.encode_questions([question])[0]) + len(ids) for ids in texts)
    memories = [model.compress(*collate_texts([ids]), rate=2).vectors[0] for ids in texts]
    prompts = collate_prompts(
        [
            processor.prompt(question, [TextSlot(ids) for ids in texts]),
            processor.prompt(question, [MemorySlot(len(memory), 2) for memory in memories]),
        ]
    )
    held = [torch.zeros(0, model.hidden_size), torch.cat(memories)]
    written = model.write(prompts, held, end_token_id=processor.end_token_id, max_new_tokens=3)
    assert [answer.num_positions for answer in written] == [expected, expected]
