"""Pointing: against a twin that looks at one place after another, and what it is for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from clara.configuration import ClaraConfig
from clara.model.modeling import ClaraModel
from clara.model.pointing import Pointer, gather_rows
from clara.processing import TextSlot, collate_prompts

H = 6


@pytest.fixture
def pointer() -> Pointer:
    torch.manual_seed(0)
    made = Pointer(H)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape))
        made.centre.copy_(torch.randn(H))
    return made


def test_pointing_against_a_slow_twin(pointer: Pointer) -> None:
    states, words = torch.randn(2, 4, H), torch.randn(2, 4, 3, H)
    spans = torch.tensor([[3, 1, 2, 1], [1, 3, 1, 1]])
    present = torch.tensor([[True, True, True, False], [True, True, False, False]])
    answers, latest = torch.randn(2, 3, H), torch.randn(2, 3, H)
    found = pointer(answers, latest, pointer.places(states, words, spans, present))
    for row in range(2):
        for at in range(3):
            query = pointer.query(torch.cat([answers[row, at], latest[row, at] - pointer.centre]))
            scores, values = [query @ pointer.null], [torch.zeros(H)]
            before = torch.zeros(H)
            for place in range(4):
                for word in words[row, place, : spans[row, place]]:
                    if present[row, place]:
                        key = pointer.state_key(states[row, place]) + pointer.word_key(word)
                        scores.append(query @ (key + pointer.before_key(before)))
                        values.append(word)
                    before = word
            weights = (torch.stack(scores) / math.sqrt(H)).softmax(dim=0)
            expected = pointer.scale * (weights.unsqueeze(1) * torch.stack(values)).sum(dim=0)
            torch.testing.assert_close(found[row, at], expected, atol=1e-5, rtol=1e-4)


def test_a_row_without_documents_points_nowhere(pointer: Pointer) -> None:
    nowhere, ones = torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, 3, dtype=torch.long)
    places = pointer.places(torch.randn(1, 3, H), torch.randn(1, 3, 1, H), ones, nowhere)
    found = pointer(torch.randn(1, 2, H), torch.randn(1, 2, H), places)
    assert torch.equal(found, torch.zeros(1, 2, H))


def test_gather_rows_keeps_order() -> None:
    states = torch.arange(12.0).view(2, 6, 1)
    chosen = torch.tensor([[0, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 0]], dtype=torch.bool)
    gathered, real = gather_rows(states, chosen)
    assert gathered[real].flatten().tolist() == [1.0, 3.0, 4.0, 6.0]
    assert real.tolist() == [[True, True, True], [True, False, False]]


def test_a_document_makes_its_words_likelier(make_model: Any) -> None:
    """With a strong scale an untrained model prefers the words that stand in its document."""
    model, processor = make_model("bert")
    model.pointer.scale.data.fill_(50.0)
    texts = processor.encode_documents(["w60 w61 w62", "w70 w71 w72"])
    words = processor.tokenizer.convert_tokens_to_ids(["w60", "w61", "w62"])
    with torch.no_grad():
        inside, elsewhere = (
            model(collate_prompts([processor.prompt("w1", [TextSlot(text)])])).logits[0, words].mean()
            for text in texts
        )
    assert inside > elsewhere


def test_the_pointer_is_saved(make_model: Any, tmp_path: Path) -> None:
    model, _ = make_model("bert")
    model.save_pretrained(tmp_path)
    loaded = ClaraModel.from_pretrained(tmp_path)
    for name, tensor in model.pointer.state_dict().items():
        assert torch.equal(loaded.pointer.state_dict()[name], tensor)


def test_pointing_needs_blocks(make_base: Any) -> None:
    with pytest.raises(ValueError, match="pointer"):
        ClaraConfig(make_base("llama").config, pointer=True)
