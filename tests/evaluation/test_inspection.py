"""Weights of words against finite differences, nearest words against a loop, pages and pictures of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from clara import cli
from clara.errors import InputError, MissingRoleError
from clara.evaluation.inspection import Inspection, inspect_document, inspect_question
from clara.evaluation.wordpage import STEPS, mean_weight, step_of, write_page, write_picture
from clara.pipeline import Clara
from clara.processing import collate_texts
from conftest import WORDS, tiny_model

TEXT = "w3 w41, w7\nw12 w3 w60 w61"


@pytest.fixture(scope="module", params=["bert", "mistral"])
def clara(request: pytest.FixtureRequest) -> Clara:
    return Clara(*tiny_model(request.param), name=request.param)


def change(clara: Clara, ids: Sequence[int], tokens: Sequence[int], step: float) -> float:
    """Length of the memory's change, per step, when some tokens move towards the mean embedding."""
    layer = clara.model.get_input_embeddings()
    mean = clara.model.input_rows.mean(dim=0)

    def moved(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        for token in tokens:
            output[:, token] += step * (mean - output[:, token])
        return output

    batch = collate_texts([ids])
    with torch.no_grad():
        before = clara.model.compress(*batch).vectors
        hook = layer.register_forward_hook(moved)
        after = clara.model.compress(*batch).vectors
        hook.remove()
    return float((after - before).norm()) / step


def test_weights_are_those_of_finite_differences(clara: Clara) -> None:
    found = inspect_document(clara, TEXT, draws=3000)
    (ids,) = clara.processor.encode_documents([TEXT])
    spans = clara.processor.document_spans(TEXT)
    expected = []
    for word in found.words:
        tokens = [at for at, span in enumerate(spans) if span is not None and span[0] == word.start]
        expected.append(change(clara, ids, tokens, 1e-2) if tokens else 0.0)
    shares = torch.tensor(expected) / sum(expected)
    weights = torch.tensor([word.weight for word in found.words])
    torch.testing.assert_close(weights, shares.float(), rtol=0.08, atol=2e-3)
    assert weights.sum().item() == pytest.approx(1)


def test_words_are_those_of_the_text(clara: Clara) -> None:
    found = inspect_document(clara, TEXT)
    assert [word.text for word in found.words] == ["w3", "w41", ",", "w7", "w12", "w3", "w60", "w61"]
    assert all(TEXT[word.start :].startswith(word.text) for word in found.words)


def test_words_beyond_the_model_have_no_weight(clara: Clara) -> None:
    found = inspect_document(clara, " ".join(WORDS[:30]))
    beyond = [word.weight for word in found.words[clara.processor.doc_max_tokens :]]
    assert beyond
    assert set(beyond) == {0.0}
    assert all(word.weight > 0 for word in found.words[: clara.processor.doc_max_tokens])


def test_spans_are_where_the_tokens_stand(clara: Clara) -> None:
    (ids,) = clara.processor.encode_documents([TEXT])
    spans = clara.processor.document_spans(TEXT)
    assert len(spans) == len(ids)
    for token, span in zip(ids, spans, strict=True):
        if span is not None and token != clara.processor.tokenizer.unk_token_id:
            assert clara.processor.tokenizer.decode([token]).strip() == TEXT[slice(*span)].strip()
    assert sum(span is None for span in spans) == len(ids) - 8


def test_nearest_words_are_those_of_a_loop(clara: Clara) -> None:
    found = inspect_document(clara, TEXT, nearest=3)
    if clara.model.answers_at_once:
        tokens = clara.processor.tokenizer.convert_ids_to_tokens(clara.processor.encode_documents([TEXT])[0])
        spelled = [tokens[start : start + 3] for start in range(0, len(tokens), 4)]
        assert [[one.text for one in words] for words in found.nearest] == spelled
        assert all(one.cosine == pytest.approx(1, abs=1e-3) for words in found.nearest for one in words)
        return
    memories, _ = clara.compress([TEXT])
    rows = clara.model.output_rows.detach()
    centre = rows.mean(dim=0)
    special = {*clara.processor.tokenizer.all_special_ids, *clara.model.config.memory_token_ids}
    for memory, nearest in zip(torch.from_numpy(memories[0]).float(), found.nearest, strict=True):
        scores = {
            token: torch.cosine_similarity(memory - centre, row - centre, dim=0).item()
            for token, row in enumerate(rows)
            if token not in special
        }
        best = sorted(scores, key=lambda token: -scores[token])[:3]
        assert [one.text for one in nearest] == [clara.processor.tokenizer.decode([token]) for token in best]
        assert [one.cosine for one in nearest] == pytest.approx([scores[t] for t in best], abs=1e-3)


def test_the_paraphrase_tells_which_names_and_numbers_are_kept(
    monkeypatch: pytest.MonkeyPatch, clara: Clara
) -> None:
    if clara.name == "bert":
        assert inspect_document(clara, TEXT).paraphrase is None
        return
    written = "It says that 1,203 men lived in old Ghent"
    monkeypatch.setattr(Clara, "paraphrase", lambda self, memories, rate: [written])
    found = inspect_document(clara, "In old Ghent lived 1203 men, and 77 of Bruges")
    assert (found.kept, found.lost) == (("ghent", "1203"), ("bruges", "77"))
    assert found.paraphrase == written
    assert Inspection.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_a_question_has_a_memory_too(clara: Clara) -> None:
    found = inspect_question(clara, "w3 w4", nearest=2)
    assert found.words == ()
    assert all(len(tokens) == 2 for tokens in found.nearest)
    assert Inspection.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_what_cannot_be_inspected(clara: Clara) -> None:
    with pytest.raises(InputError, match="The text is empty"):
        inspect_document(clara, " \n")
    model, processor = tiny_model("mistral", roles={"compressor": "lora", "generator": "lora"})
    with pytest.raises(MissingRoleError):
        inspect_question(Clara(model, processor, name="instruct"), "w1")


def test_a_page_escapes_and_shades(clara: Clara, tmp_path: Path) -> None:
    found = inspect_document(clara, "w1 <b>w2</b> & w3")
    write_page([found, inspect_question(clara, "w1")], tmp_path / "a.html", "A <title>")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<b>w2" not in page
    assert "A &lt;title&gt;" in page
    assert page.count("<mark ") == len(found.words)
    assert "://" not in page  # nothing is fetched from elsewhere
    steps = [step_of(word, mean_weight(found)) for word in found.words]
    assert max(steps) <= STEPS
    heaviest = max(found.words, key=lambda word: word.weight)
    assert step_of(heaviest, mean_weight(found)) == max(steps)
    write_picture(found, tmp_path / "a.png", columns=20)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["clara", "inspect", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    network, processor = tiny_model("bert")
    network.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    file = tmp_path / "a.txt"
    file.write_text(" ".join(WORDS[:40]), encoding="utf-8")
    model = ("--model", tmp_path / "model")
    written = ("--html", tmp_path / "a.html", "--png", tmp_path / "a.png")
    assert run(monkeypatch, "document", file, *model, *written) == 0
    assert "Most weight" in capsys.readouterr().out
    assert (tmp_path / "a.html").is_file()
    assert (tmp_path / "a.png").is_file()
    assert run(monkeypatch, "document", "w1 w2", "--text", "--json", *model) == 0
    assert json.loads(capsys.readouterr().out)[0]["text"] == "w1 w2"
    assert run(monkeypatch, "question", "w1", *model) == 0
    assert "nearest words" in capsys.readouterr().out
    for arguments, message in (
        (("document", "w1"), "does not exist or is not a file"),
        (("document", "", "--text"), "The text is empty"),
        (("document", file, "--passage", 99, *model), "There is no passage 99"),
        (("document", file, "--html", tmp_path / "no" / "a.html", *model), "cannot be written"),
        (("question", " "), "The question is empty"),
    ):
        assert run(monkeypatch, *arguments) == 1
        assert message in capsys.readouterr().err
