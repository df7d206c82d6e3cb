"""Tokens of documents, questions and prompts: budgets, slots, targets, formats."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clara import prompts
from clara.errors import InputError, PromptError
from clara.extractive.cross_encoder import answer_block, question_block
from clara.model.fusion import PAD_BLOCK
from clara.model.losses import IGNORE
from clara.processing import MemorySlot, TextSlot, collate_prompts, collate_texts

FORMATS = (("mistral", "plain"), ("mistral", "apple"), ("bert", "pairs"))


def names(processor: Any, ids: list[int]) -> list[str]:
    return list(processor.tokenizer.convert_ids_to_tokens(ids))


def test_documents_are_cut_before_the_end_token(make_model: Any) -> None:
    text = " ".join(f"w{number}" for number in range(40))
    _, processor = make_model("llama")
    tokens = names(processor, processor.encode_documents([text])[0])
    assert tokens == ["<ENC>", "<s>", *(f"w{number}" for number in range(16)), "</s>"]
    # Apple's format cuts afterwards, so that a long text loses its end
    _, processor = make_model("llama", prompt_format="apple")
    tokens = names(processor, processor.encode_documents([text])[0])
    assert tokens == ["<ENC>", "<s>", *(f"w{number}" for number in range(17))]
    assert names(processor, processor.encode_documents(["w5"])[0]) == ["<ENC>", "<s>", "w5", "</s>"]
    _, processor = make_model("bert")
    assert names(processor, processor.encode_documents(["w5 w6"])[0]) == ["<s>", "w5", "w6", "</s>"]
    assert processor.encode_documents([]) == []
    assert processor.count_tokens(["w1 w2 w3", "w4"]) == [3, 1]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("w1 w2\nw3\nw4", ["w1", "w2", "</s>", "w3", "w4"]),
        ("\nw1", ["</s>", "w1"]),
        ("w1\n", ["w1"]),
        ("", []),
        ("w1\n" + "w2 " * 30, ["w1", "</s>", *["w2"] * 14]),
        ("w1 " * 30 + "\nw2", ["w1"] * 16),
    ],
)
def test_a_title_ends_with_the_end_token_in_pairs(make_model: Any, text: str, tokens: list[str]) -> None:
    _, processor = make_model("bert")
    (ids,) = processor.encode_documents([text])
    assert names(processor, ids) == ["<s>", *tokens, "</s>"]
    spans = processor.document_spans(text)
    assert [text[slice(*span)] if span else "</s>" for span in spans[1:-1]] == tokens
    assert spans[0] is spans[-1] is None
    assert len(spans) == len(ids)


@pytest.mark.parametrize(("kind", "form"), FORMATS)
def test_text_that_spells_a_special_token_is_text_but_to_released_weights(
    make_model: Any, kind: str, form: str
) -> None:
    _, processor = make_model(kind, prompt_format=form)
    end = "</s>"
    text = f"w1{end}w2"
    for (ids,) in (processor.encode_documents([text]), processor.encode_questions([text])):
        assert names(processor, ids).count(end) == 1 + (form == "apple")
    assert len(processor.document_spans(text)) == len(processor.encode_documents([text])[0])


@pytest.mark.parametrize(("kind", "form"), FORMATS)
def test_questions_are_never_cut(make_model: Any, kind: str, form: str) -> None:
    _, processor = make_model(kind, prompt_format=form)
    exact = " ".join(["w7"] * 16)
    assert names(processor, processor.encode_questions([exact])[0]).count("w7") == 16
    for use in (lambda q: processor.encode_questions([q]), lambda q: processor.prompt(q, [])):
        with pytest.raises(InputError, match="has 17 tokens, but the model reads at most 16; shorten it"):
            use(exact + " w7")
        for no_text in (None, 5, ["w7"], "w7 \udcf6"):
            with pytest.raises(InputError, match="must be a text"):
                use(no_text)
        for empty in ("", "  \n"):
            with pytest.raises(InputError, match="The question is empty"):
                use(empty)


@pytest.mark.parametrize(("kind", "form"), FORMATS[:2])
def test_linear_prompts(make_model: Any, kind: str, form: str) -> None:
    _, processor = make_model(kind, prompt_format=form)
    prompt = processor.prompt("w1 w2", [MemorySlot(2), MemorySlot(4)], "w3 w4")
    tokens = names(processor, prompt.ids)
    assert [token for token, slot in zip(tokens, prompt.slots, strict=True) if slot] == [
        *["<MEM0>", "<MEM1>"],
        *["<MEM0>", "<MEM1>", "<MEM2>", "<MEM3>"],
    ]
    first = tokens.index("<MEM0>")
    assert tokens[first : first + 8] == [
        *tokens[first : first + 2],
        "<SEP>",
        *tokens[first + 3 : first + 7],
        "<SEP>",
    ]
    assert tokens[0] == "<s>"
    assert tokens.count("<s>") == 1
    assert tokens[-3:] == ["w3", "w4", "</s>"]
    # each position is trained on the token after it
    assert prompt.targets == [IGNORE] * (len(prompt) - 4) + [*prompt.ids[-3:], IGNORE]
    assert prompt.positions == list(range(len(prompt)))
    # without the answer it is the same up to there
    asked = processor.prompt("w1 w2", [MemorySlot(2), MemorySlot(4)])
    assert asked.ids == prompt.ids[:-3]
    assert set(asked.targets) == {IGNORE}


def test_pairs_prompts(make_model: Any) -> None:
    _, processor = make_model("bert")
    text = processor.encode_documents(["w1 w2"])[0]
    turns = [("w5 w6", "w7"), ("w8", "w9 w10")]
    prompt = processor.packed_prompt([MemorySlot(2), TextSlot(text), MemorySlot(1, rate=10)], turns)
    question, answer = (question_block(0), question_block(1)), (answer_block(0), answer_block(1))
    assert prompt.blocks == [
        0,
        0,
        *[1] * 4,
        2,
        *[question[0]] * 4,
        *[answer[0]] * 2,
        *[question[1]] * 3,
        *[answer[1]] * 3,
    ]
    assert prompt.positions == [2, 6, 0, 1, 2, 3, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]
    tokens = names(processor, prompt.ids)
    assert tokens[7:] == ["<s>", "w5", "w6", "</s>", "w7", "</s>", "<s>", "w8", "</s>", "w9", "w10", "</s>"]
    trained = [(at, target) for at, target in enumerate(prompt.targets) if target != IGNORE]
    assert [at for at, _ in trained] == [12, 18]
    assert names(processor, [target for _, target in trained]) == ["</s>", "</s>"]
    assert processor.qa_prompt([MemorySlot(2)], ("w5", "w6"), ("w7", "w8")).ids
    with pytest.raises(PromptError, match="has no paraphrases"):
        processor.paraphrase_prompt([MemorySlot(2)], "w1")


@pytest.mark.parametrize(("kind", "form"), FORMATS)
def test_a_question_cannot_open_slots(make_model: Any, kind: str, form: str) -> None:
    _, processor = make_model(kind, prompt_format=form)
    for question in (f"w1 {prompts.SLOT} w2", "w1 <MEM0> <MEM1> w2", "<SEP> <MEM0>"):
        prompt = processor.prompt(question, [MemorySlot(3)], "w9")
        assert sum(prompt.slots) == 3
        first = prompt.slots.index(True)
        assert prompt.slots[first : first + 3] == [True] * 3


def test_text_slots_stand_as_text(make_model: Any) -> None:
    for form in ("plain", "apple"):
        _, processor = make_model("mistral", prompt_format=form)
        ids = processor.encode_documents(["w1 w2"])[0]
        prompt = processor.prompt("w3", [TextSlot(ids), MemorySlot(1)])
        at = prompt.ids.index(ids[0])
        assert prompt.ids[at : at + len(ids)] == ids
        assert sum(prompt.slots) == 1


def test_templates_without_a_system_role(make_model: Any) -> None:
    _, processor = make_model("mistral", prompt_format="apple")
    processor.tokenizer.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "[w1] {{ m['content'] }}{% endfor %}"
    )
    text = processor._render_chat(("w2", "w3"))
    assert text == "[w1] w2\n\nw3"
    processor.tokenizer.chat_template = None
    with pytest.raises(PromptError, match="has no chat template"):
        processor.prompt("w1", [])


def test_slots_and_documents_must_agree(make_model: Any) -> None:
    for form in ("plain", "apple"):
        _, processor = make_model("mistral", prompt_format=form)
        with pytest.raises(PromptError, match="has 1 slots for 2 documents"):
            processor.chat_prompt(prompts.apple_qa(1), [MemorySlot(1)] * 2)


def test_collate(make_model: Any) -> None:
    _, processor = make_model("mistral")
    rows = [processor.prompt("w1", [MemorySlot(1)]), processor.prompt("w1 w2", [MemorySlot(2)], "w3")]
    batch = collate_prompts(rows, pad_token_id=1)
    assert batch.lengths.tolist() == [len(row) for row in rows]
    for number, row in enumerate(rows):
        size = len(row)
        assert batch.ids[number].tolist() == row.ids + [1] * (batch.ids.shape[1] - size)
        assert batch.blocks[number, size:].eq(PAD_BLOCK).all()
        assert not batch.slots[number, size:].any()
    assert batch.targets is not None
    assert collate_prompts(rows[:1]).targets is None
    ids, lengths = collate_texts([[5], [6, 7, 8]], pad_token_id=9)
    assert ids.tolist() == [[5, 9, 9], [6, 7, 8]]
    assert lengths.tolist() == [1, 3]
    assert batch.to("cpu").ids is batch.ids or torch.equal(batch.to("cpu").ids, batch.ids)


@pytest.mark.parametrize(("kind", "form"), FORMATS)
def test_decoding_drops_special_tokens(make_model: Any, kind: str, form: str) -> None:
    _, processor = make_model(kind, prompt_format=form)
    ids = [*processor.tokenize(["w1 w2"])[0], processor.end_token_id]
    assert processor.decode_answer(ids).split() == ["w1", "w2"]
