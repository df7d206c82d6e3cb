"""Folders of our format: what is saved is what is loaded, through our names and through the Auto classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoProcessor

import clara
from clara import loading
from clara.errors import CheckpointError
from clara.model.fingerprint import fingerprint
from clara.model.modeling import ClaraModel
from clara.processing import MemorySlot, collate_prompts, collate_texts

KINDS = ("mistral", "llama", "qwen3", "bert")


@torch.no_grad()
def outputs(model: ClaraModel, processor: Any, texts: list[str]) -> Tensor:
    """Memories, query memories and the scores of the answer's first token, or of its place, as one vector."""
    batch = collate_texts(processor.encode_documents(texts))
    memories, queries = model.compress(*batch), model.encode_query(*batch)
    rows = [processor.prompt("w1 w2", [MemorySlot(int(length))]) for length in memories.lengths]
    output = model(collate_prompts(rows), memories.unpadded())
    scores = output.logits if output.logits is not None else output.words.clamp(min=-100)
    return torch.cat([part.float().flatten() for part in (memories.vectors, queries.vectors, scores)])


def save(folder: Path, model: ClaraModel, processor: Any, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_is_exact(make_model: Any, texts: list[str], tmp_path: Path, kind: str) -> None:
    model, processor = make_model(kind)
    save(tmp_path, model, processor)
    for loaded in (
        loading.load(tmp_path)[0],
        type(model).from_pretrained(tmp_path),
        AutoModel.from_pretrained(tmp_path),
    ):
        assert type(loaded) is type(model)
        assert not loaded.training
        assert torch.equal(outputs(loaded, processor, texts), outputs(model, processor, texts))
        assert fingerprint(loaded) == fingerprint(model)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is type(model.config)
    assert config.roles == model.config.roles
    assert config.text_config.model_type == kind
    again = AutoProcessor.from_pretrained(tmp_path)
    assert type(again) is type(processor)
    assert {k: v for k, v in vars(again).items() if k != "tokenizer"} == {
        k: v for k, v in vars(processor).items() if k != "tokenizer"
    }
    assert again.encode_documents(texts) == processor.encode_documents(texts)
    assert again.prompt("w3", [MemorySlot(2)]).ids == processor.prompt("w3", [MemorySlot(2)]).ids
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_names_in_the_file_are_the_base_models_own(make_model: Any, tmp_path: Path) -> None:
    for kind in ("mistral", "bert"):
        model, processor = make_model(kind)
        names = load_file(save(tmp_path / kind, model, processor) / "model.safetensors").keys()
        assert not [name for name in names if ".base." in name or ".variants." in name]
    assert "roles.generator.bert.encoder.layer.0.attention.self.query.weight" in names
    # every role has its own, so that nothing reads the base's
    assert "base.bert.encoder.layer.0.attention.self.query.weight" not in names
    assert "base.bert.embeddings.word_embeddings.weight" in names
    assert {"memory.basis", "memory.context.weight", "span_head.score.weight"} <= names
    assert (tmp_path / "mistral" / "adapters" / "generator" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_tied_embeddings_stay_tied(
    make_model: Any, make_base: Any, texts: list[str], tmp_path: Path, kind: str
) -> None:
    model, processor = make_model(kind, base=make_base(kind, tie_word_embeddings=True))
    assert model.input_rows is model.output_rows
    save(tmp_path, model, processor)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.input_rows is loaded.output_rows
    assert torch.equal(outputs(loaded, processor, texts), outputs(model, processor, texts))
    # and are stored once
    names = [
        n for n, t in load_file(tmp_path / "model.safetensors").items() if t.shape == model.input_rows.shape
    ]
    assert len(names) == 1


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", ["mistral", "bert"])
def test_base_stays_elsewhere(
    make_model: Any, make_base: Any, texts: list[str], tmp_path: Path, kind: str, tied: bool
) -> None:
    base = make_base(kind, tie_word_embeddings=tied)
    base.save_pretrained(tmp_path / "base")
    model, processor = make_model(kind, base=base, base_model_name=str(tmp_path / "base"))
    model.remember_base_rows()
    with torch.no_grad():
        model.input_rows[[5, 7]] += 1.0
        model.output_rows[9] += 1.0
    model.base.resize_token_embeddings(len(model.input_rows) + 3, mean_resizing=False)
    folder = save(tmp_path / "clara", model, processor)
    tensors = load_file(folder / "model.safetensors")
    size = len(model.input_rows)
    added = [size - 3, size - 2, size - 1]
    assert tensors["rows.input.ids"].tolist() == ([5, 7, 9, *added] if tied else [5, 7, *added])
    assert not any(name.startswith("base.") for name in tensors)
    for loaded in (
        type(model).from_pretrained(folder),
        type(model).from_pretrained(folder, base=tmp_path / "base"),
    ):
        assert torch.equal(outputs(loaded, processor, texts), outputs(model, processor, texts))
        assert (loaded.input_rows is loaded.output_rows) is tied
    # what was loaded saves as little again
    save(tmp_path / "again", loaded, processor)
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    # without knowledge of the base's rows all are stored
    model.base_rows = None
    save(tmp_path / "all", model, processor)
    assert len(load_file(tmp_path / "all" / "model.safetensors")["rows.input.ids"]) == size
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(CheckpointError, match=r"The base model .* could not be loaded .* pass base="):
        type(model).from_pretrained(folder)


@pytest.mark.parametrize("kind", ["mistral", "bert"])
@pytest.mark.parametrize(("weights", "bound"), [("float16", 3e-3), ("bfloat16", 3e-2), ("int8", 6e-2)])
def test_smaller_weights_stay_close(
    make_model: Any, texts: list[str], tmp_path: Path, kind: str, weights: str, bound: float
) -> None:
    model, processor = make_model(kind)
    save(tmp_path / "small", model, processor, weights=weights)
    save(tmp_path / "whole", model, processor)
    loaded = type(model).from_pretrained(tmp_path / "small")
    assert loaded.dtype == torch.float32
    ours, theirs = outputs(loaded, processor, texts), outputs(model, processor, texts)
    assert (ours - theirs).norm() / theirs.norm() < bound
    assert not torch.equal(ours, theirs)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("small", "whole")]
    assert sizes[0] < sizes[1] * (0.40 if weights == "int8" else 0.6)


def test_a_model_in_half_precision_keeps_its_type(make_model: Any, tmp_path: Path) -> None:
    model, processor = make_model("llama")
    model.to(torch.bfloat16)
    save(tmp_path, model, processor)
    assert ClaraModel.from_pretrained(tmp_path).dtype == torch.bfloat16
    assert ClaraModel.from_pretrained(tmp_path, dtype="float32").dtype == torch.float32
    assert AutoModel.from_pretrained(tmp_path, dtype=torch.float32).dtype == torch.float32
    # the fingerprint does not depend on the type that a checkpoint is loaded in
    assert fingerprint(ClaraModel.from_pretrained(tmp_path, dtype=torch.float32)) == fingerprint(model)
    with pytest.raises(ValueError, match="dtype is 'half-ish'"):
        ClaraModel.from_pretrained(tmp_path, dtype="half-ish")


def test_merged_roles_save_their_adapters(make_model: Any, texts: list[str], tmp_path: Path) -> None:
    model, processor = make_model("mistral")
    expected, mark = outputs(model, processor, texts), fingerprint(model)
    model.merge()
    assert fingerprint(model) == mark
    save(tmp_path, model, processor)
    assert torch.equal(outputs(ClaraModel.from_pretrained(tmp_path), processor, texts), expected)


def test_configuration_can_be_overridden(make_model: Any, tmp_path: Path) -> None:
    model, processor = make_model("llama")
    save(tmp_path, model, processor)
    assert ClaraModel.from_pretrained(tmp_path, num_selected=7).config.num_selected == 7
    assert AutoModel.from_pretrained(tmp_path, num_selected=7).config.num_selected == 7
    config = clara.ClaraConfig.from_pretrained(tmp_path, num_selected=8)
    assert AutoModel.from_pretrained(tmp_path, config=config).config.num_selected == 8
    with pytest.raises(TypeError, match="unknown arguments colour"):
        ClaraModel.from_pretrained(tmp_path, colour="red")


def test_saving_says_what_it_cannot_do(make_model: Any, tmp_path: Path) -> None:
    model, _ = make_model("llama")
    with pytest.raises(CheckpointError, match=r"cannot be left out unless config\.base_model_name"):
        model.save_pretrained(tmp_path, include_base=False)
    with pytest.raises(ValueError, match="weights is 'int4', but must be one of float32"):
        model.save_pretrained(tmp_path, weights="int4")
    with pytest.raises(TypeError, match="push_to_hub"):
        model.save_pretrained(tmp_path, push_to_hub=True)
    model.save_pretrained(tmp_path / "other", is_main_process=False)
    assert not (tmp_path / "other").exists()


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_broken_folders(make_model: Any, tmp_path: Path) -> None:
    model, processor = make_model("llama")
    good = save(tmp_path / "good", model, processor)
    weights, adapter = Path("model.safetensors"), Path("adapters/generator/adapter_model.safetensors")
    settings = Path("adapters/compressor/adapter_config.json")

    def drop(path: Path, name: str) -> None:
        tensors = load_file(path)
        save_file({key: value for key, value in tensors.items() if key != name}, path)

    def add(path: Path, name: str, shape: tuple[int, ...]) -> None:
        save_file({**load_file(path), name: torch.zeros(shape)}, path)

    norm = "base.model.norm.weight"
    lora = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    for number, (file, harm, message) in enumerate(
        (
            (weights, lambda path: path.unlink(), "model.safetensors is missing"),
            (weights, lambda path: path.write_bytes(path.read_bytes()[:-50]), "cut off or not a safetensors"),
            (weights, lambda path: path.write_bytes(b""), "cut off or not a safetensors"),
            (
                weights,
                lambda path: path.write_bytes(b"PK\x03\x04 something else"),
                "cut off or not a safetensors",
            ),
            (weights, lambda path: drop(path, norm), f"lacks base tensor {norm[5:]}"),
            (weights, lambda path: add(path, norm, (7,)), "base weights of other shapes"),
            (weights, lambda path: add(path, "base.model.extra", (1,)), "unknown base tensor model.extra"),
            (
                weights,
                lambda path: add(path, "surprise", (1,)),
                "holds surprise",
            ),
            (adapter, lambda path: path.unlink(), "adapter_model.safetensors is missing"),
            (adapter, lambda path: path.write_bytes(path.read_bytes()[:99]), "cut off or not a safetensors"),
            (adapter, lambda path: drop(path, lora), "lacks model.layers.0.mlp.up_proj.lora_A.weight"),
            (
                adapter,
                lambda path: add(path, lora, (3, 32)),
                r"with shape \(3, 32\), but the model needs \(4, 32\)",
            ),
            (settings, lambda path: edit(path, r=8), "has rank 8 and alpha 8, but the model has 4 and 8"),
            (settings, lambda path: edit(path, peft_type="IA3"), "a IA3 adapter; only LORA"),
            (settings, lambda path: edit(path, use_dora=True), "sets use_dora, which is not supported"),
            (settings, lambda path: edit(path, r=None), "no usable r and lora_alpha"),
            (Path("config.json"), lambda path: path.write_text("{"), "not readable as JSON"),
            (Path("config.json"), lambda path: path.write_text("[]"), "holds a list where an object belongs"),
            (Path("config.json"), lambda path: edit(path, model_type="bert"), "says model_type 'bert'"),
            (Path("config.json"), lambda path: edit(path, score="vibes"), "score is 'vibes'"),
            (Path("config.json"), lambda path: path.unlink(), "has no config.json"),
            (Path("tokenizer.json"), lambda path: path.write_text("{"), "no usable tokenizer"),
        )
    ):
        folder = shutil.copytree(good, tmp_path / f"bad{number}")
        harm(folder / file)
        with pytest.raises(CheckpointError, match=message) as caught:
            loading.load(folder)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="includes its base model, so no other can be used"):
        loading.load(good, base=good)
