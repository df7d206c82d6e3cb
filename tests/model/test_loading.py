"""Where models come from: Apple's format, the hub, the package, a base; and what is refused."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import Tensor
from transformers import AutoTokenizer

import clara
from clara import loading, models, roles
from clara.checkpoints import folders
from clara.errors import CheckpointError, InputError, MissingRoleError
from clara.model.modeling import ClaraModel
from clara.processing import collate_texts

ROLE_OF_ADAPTER = {
    "encoder_adapter": roles.COMPRESSOR,
    "decoder_adapter": roles.GENERATOR,
    "query_reasoner_adapter": roles.QUERY_REASONER,
}
CONFIG = {
    "model_type": "CLaRa",
    "decoder_model_name": "someone/base",
    "doc_max_length": 16,
    "compr_rate": 4,
    "generation_top_k": 2,
    "lora": True,
    "lora_r": 4,
    "sep": True,
    "different_mem_tokens": True,
    "training_stage": "stage2",
}


@dataclass(frozen=True)
class Released:
    """A released checkpoint written here, and the model that it was written from."""

    folder: Path
    base: Path
    model: ClaraModel


def write_released(folder: Path, model: ClaraModel, adapters: dict[str, str], **config: Any) -> Path:
    """Write a model's weights in Apple's format."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    rows = {
        "model.embed_tokens.weight": model.input_rows.detach(),
        "lm_head.weight": model.output_rows.detach(),
    }
    torch.save(rows, folder / "decoder_first_last_layers.pth")
    content = {name: {**roles.role_state(model.base, role), **rows} for name, role in adapters.items()}
    torch.save(content, folder / "adapters.pth")
    return folder


@pytest.fixture
def write(make_model: Any, make_base: Any, make_tokenizer: Any, tmp_path: Path) -> Callable[..., Released]:
    """Write a released checkpoint of a tiny model; the base is of plain words without the added tokens."""

    def write(adapters: dict[str, str] = ROLE_OF_ADAPTER, tokens: int = 7, **config: Any) -> Released:
        base = make_base("mistral")
        base.save_pretrained(tmp_path / "base")
        make_tokenizer("mistral").save_pretrained(tmp_path / "base")
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
        names = ["<MEM>"] if not config.get("different_mem_tokens", True) else []
        added = tokenizer.add_tokens([*names, "<AE>"], special_tokens=True)
        base.resize_token_embeddings(base.config.vocab_size + added, mean_resizing=False)
        model, _ = make_model("mistral", base=base)
        return Released(
            write_released(tmp_path / "apple", model, adapters, **config), tmp_path / "base", model
        )

    return write


def memories(model: ClaraModel, processor: Any, texts: list[str]) -> Tensor:
    with torch.no_grad():
        return model.compress(*collate_texts(processor.encode_documents(texts))).vectors


# -- Apple's format -------------------------------------------------------------------------------


def test_released_weights_arrive(write: Any, texts: list[str]) -> None:
    made = write()
    model, processor = loading.load(made.folder, base=made.base)
    config = model.config
    assert config.roles == dict.fromkeys(roles.ROLES, "lora")
    assert (config.lora_rank, config.lora_alpha, config.num_selected) == (4, 8, 2)
    assert (config.max_memory_tokens, config.base_model_name) == (4, "someone/base")
    assert processor.tokenizer.convert_ids_to_tokens(
        [*config.memory_token_ids, config.encode_token_id, config.separator_token_id]
    ) == ["<MEM0>", "<MEM1>", "<MEM2>", "<MEM3>", "<ENC>", "<SEP>"]
    for name in roles.ROLES:
        expected = roles.role_state(made.model.base, name)
        assert all(torch.equal(t, expected[key]) for key, t in roles.role_state(model.base, name).items())
    assert torch.equal(model.input_rows, made.model.input_rows)
    assert not model.training
    assert memories(model, processor, texts).isfinite().all()


def test_without_query_reasoner(write: Any, texts: list[str], tmp_path: Path) -> None:
    two = {name: role for name, role in ROLE_OF_ADAPTER.items() if role != roles.QUERY_REASONER}
    made = write(two, training_stage="stage1_2")
    model, processor = loading.load(made.folder, base=made.base)
    assert set(model.config.roles) == {roles.COMPRESSOR, roles.GENERATOR}
    assert memories(model, processor, texts).shape == (6, 4, 32)
    with pytest.raises(
        MissingRoleError, match=r"needs the role query_reasoner, which .* \(stage1_2\) does not have"
    ):
        model.encode_query(*collate_texts(processor.encode_questions(["w1"])))
    loading.convert(made.folder, tmp_path / "ours", base=made.base)
    again, _ = loading.load(tmp_path / "ours", base=made.base)
    assert set(again.config.roles) == {roles.COMPRESSOR, roles.GENERATOR}
    assert torch.equal(memories(again, processor, texts), memories(model, processor, texts))


def test_one_memory_token_for_all_slots_and_no_separator(write: Any, texts: list[str]) -> None:
    made = write(different_mem_tokens=False, sep=False)
    model, processor = loading.load(made.folder, base=made.base)
    [token] = model.config.memory_token_ids
    assert processor.tokenizer.convert_ids_to_tokens(token) == "<MEM>"
    assert model.memory_ids() == [token] * 4
    prompt = processor.prompt("w1 w2", [clara.processing.MemorySlot(4)] * 2)
    slots = [at for at, is_slot in enumerate(prompt.slots) if is_slot]
    assert slots == list(range(slots[0], slots[0] + 8))
    assert [prompt.ids[at] for at in slots] == [token] * 8
    assert memories(model, processor, texts).isfinite().all()


def test_convert_types_and_targets(write: Any, texts: list[str], tmp_path: Path) -> None:
    made = write()
    model, processor = loading.load(made.folder, base=made.base)
    for weights in (None, "int8", "float16"):
        target = tmp_path / f"as-{weights}"
        loading.convert(made.folder, target, base=made.base, weights=weights)
        again, _ = loading.load(target, base=made.base)
        difference = (memories(again, processor, texts) - memories(model, processor, texts)).abs().max()
        assert difference == 0 if weights is None else 0 < difference < 0.3
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        loading.convert(made.folder, target, base=made.base)
    (tmp_path / "empty").mkdir()
    loading.convert(made.folder, tmp_path / "empty", base=made.base)
    # nothing is left of a conversion that failed
    (made.folder / "adapters.pth").unlink()
    with pytest.raises(CheckpointError, match=r"adapters\.pth is missing"):
        loading.convert(made.folder, tmp_path / "failed", base=made.base)
    assert not list(tmp_path.glob("failed*"))


class Malicious:
    """Unpickled without care, this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def harms(target: Path) -> list[tuple[str, Callable[[Path], object], str]]:
    """(file, what is done to it, what is said)."""

    def change(path: Path, function: Callable[[Any], Any]) -> None:
        content = torch.load(path, weights_only=True)
        torch.save(function(content), path)

    def configure(path: Path, **fields: Any) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    def without(content: dict[str, Any], *names: str) -> dict[str, Any]:
        return {name: value for name, value in content.items() if name not in names}

    def in_adapter(content: dict[str, Any], key: str, tensor: Tensor | None) -> dict[str, Any]:
        adapter = without(content["encoder_adapter"], key)
        return {**content, "encoder_adapter": adapter if tensor is None else {**adapter, key: tensor}}

    key = "model.layers.1.mlp.down_proj.lora_A.weight"
    adapters, rows, config = "adapters.pth", "decoder_first_last_layers.pth", "config.json"
    embed, head = "model.embed_tokens.weight", "lm_head.weight"
    return [
        *((name, lambda p: p.unlink(), f"{name} is missing") for name in (adapters, rows)),
        *(
            (name, lambda p: p.write_bytes(p.read_bytes()[:-200]), "cut off or damaged")
            for name in (adapters, rows)
        ),
        *(
            (name, lambda p: p.write_bytes(p.read_bytes()[:300]), "cut off or damaged")
            for name in (adapters, rows)
        ),
        (adapters, lambda p: p.write_bytes(b""), "cut off or damaged"),
        (adapters, lambda p: p.write_bytes(b"no pickle at all"), "something other than tensors"),
        (adapters, lambda p: torch.save({"encoder_adapter": Malicious(target)}, p), "possibly code"),
        (adapters, lambda p: p.write_bytes(pickle.dumps(Malicious(target))), "something other than tensors"),
        (adapters, lambda p: p.write_bytes(pickle.dumps({"a": 1})[:-4]), "cannot be read"),
        (adapters, lambda p: torch.save([1, 2], p), "holds no dictionary by name"),
        (adapters, lambda p: torch.save({1: 2}, p), "holds no dictionary by name"),
        (
            adapters,
            lambda p: torch.save({"encoder_adapter": 3}, p),
            "adapter encoder_adapter is not a dictionary",
        ),
        (
            adapters,
            lambda p: torch.save({"encoder_adapter": {"x": "y"}}, p),
            "is not a dictionary of tensors",
        ),
        (
            adapters,
            lambda p: change(p, lambda c: without(c, "decoder_adapter")),
            "lacks the adapter decoder_adapter",
        ),
        (adapters, lambda p: change(p, lambda c: {**c, "other": {}}), "'other', which is not an adapter"),
        (
            adapters,
            lambda p: change(p, lambda c: in_adapter(c, key, None)),
            f"lacks {key}, which the model needs",
        ),
        (
            adapters,
            lambda p: change(p, lambda c: in_adapter(c, key, torch.zeros(2, 64))),
            r"with shape \(2, 64\), but the model needs \(4, 64\)",
        ),
        (
            adapters,
            lambda p: change(p, lambda c: in_adapter(c, "extra", torch.zeros(1))),
            "holds extra, which",
        ),
        (rows, lambda p: change(p, lambda c: without(c, embed)), f"lacks the matrix {embed}"),
        (rows, lambda p: change(p, lambda c: without(c, head)), f"lacks the matrix {head}"),
        (rows, lambda p: change(p, lambda c: {**c, head: c[head][:-1]}), "but lm_head.weight of shape"),
        (
            rows,
            lambda p: change(p, lambda c: {name: t[:-1] for name, t in c.items()}),
            "with the added tokens has .* pass the base that it was trained on",
        ),
        (config, lambda p: p.write_text("{"), "not readable as JSON"),
        (config, lambda p: configure(p, doc_max_length=None), "no usable decoder_model_name"),
        (config, lambda p: configure(p, compr_model_name="bert"), "a compressor other than LoRA on the base"),
        (config, lambda p: configure(p, lora_r=8), "but the model needs"),
        (config, lambda p: configure(p, model_type="other"), "says model_type 'other'"),
    ]


@pytest.mark.parametrize(
    "read",
    [
        lambda folder, base, target: loading.load(folder, base=base),
        lambda folder, base, target: loading.convert(folder, target, base=base),
    ],
    ids=["load", "convert"],
)
def test_broken_released_checkpoints(write: Any, tmp_path: Path, read: Callable[..., object]) -> None:
    made = write()
    touched = tmp_path / "touched"
    for number, (file, harm, message) in enumerate(harms(touched)):
        folder = shutil.copytree(made.folder, tmp_path / f"bad{number}")
        harm(folder / file)
        with pytest.raises(CheckpointError, match=message) as caught:
            read(folder, made.base, tmp_path / "target")
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value)
        assert not touched.exists()


def test_wrong_base(write: Any, make_base: Any, make_tokenizer: Any, tmp_path: Path) -> None:
    made = write()
    make_base("mistral", hidden_size=48, intermediate_size=96).save_pretrained(tmp_path / "other")
    make_tokenizer("mistral").save_pretrained(tmp_path / "other")
    with pytest.raises(CheckpointError, match="pass the base that it was trained on"):
        loading.load(made.folder, base=tmp_path / "other")
    with pytest.raises(CheckpointError, match="The base model someone/base could not be loaded") as caught:
        loading.load(made.folder)
    assert "\n" not in str(caught.value)


# -- hub and package -----------------------------------------------------------------------------------


def test_hub_fetches_the_subfolder_only(write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write()
    calls: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        calls.append({"name": name, **options})
        snapshot = tmp_path / "snapshot"
        shutil.copytree(made.folder, snapshot / "compression-4", dirs_exist_ok=True)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model, _ = loading.load("apple/CLaRa-7B-E2E", subfolder="compression-4", base=made.base, revision="v1")
    assert model.config.max_memory_tokens == 4
    [call] = calls
    assert (call["name"], call["revision"]) == ("apple/CLaRa-7B-E2E", "v1")
    assert all(pattern.startswith("compression-4/") for pattern in call["allow_patterns"])
    assert {"compression-4/adapters.pth", "compression-4/adapters/*"} < set(call["allow_patterns"])
    with pytest.raises(
        CheckpointError, match=r"has no config.json; pass one of its subfolders compression-4"
    ):
        loading.load("apple/CLaRa-7B-E2E", base=made.base)


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, **options: Any) -> str:
        raise LocalEntryNotFoundError("a long\nexplanation")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CheckpointError) as caught:
        loading.load("someone/model")
    assert str(caught.value) == (
        "someone/model is not a folder here and could not be fetched from the Hugging Face hub (not in the "
        "cache, and the hub cannot be reached); check the name and the connection."
    )


def test_offline_and_misspelt_names(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="could not be fetched from the Hugging Face hub"):
        folders.find_folder("someone/there-is-none", local_files_only=True, cache_dir=tmp_path)
    with pytest.raises(CheckpointError, match="neither a folder nor a hub id"):
        loading.load("/no/such/folder")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file; name the folder"):
        loading.load(tmp_path / "file")


def test_packaged_model(monkeypatch: pytest.MonkeyPatch, make_model: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(models, "__file__", str(tmp_path / "models" / "__init__.py"))
    with pytest.raises(CheckpointError, match="model folder or hub id"):
        loading.load()
    model, processor = make_model("bert")
    model.save_pretrained(tmp_path / "models" / "smollm2", weights="int8")
    processor.save_pretrained(tmp_path / "models" / "smollm2")
    loaded, _ = loading.load(device="auto")
    assert loaded.config.compressor == "segment"


# -- new models ----------------------------------------------------------------------------------------


def test_from_base(make_base: Any, make_tokenizer: Any, texts: list[str], tmp_path: Path) -> None:
    base = make_base("llama")
    base.save_pretrained(tmp_path / "base")
    make_tokenizer("llama").save_pretrained(tmp_path / "base")
    model, processor = loading.from_base(
        tmp_path / "base", doc_max_tokens=24, compression_rate=4, lora_rank=2, num_selected=3
    )
    assert model.config.max_memory_tokens == 6
    assert (model.config.lora_rank, model.config.num_selected, processor.prompt_format) == (2, 3, "apple")
    # the base's own rows stay, and its roles start as the base
    assert torch.equal(model.input_rows[: base.config.vocab_size], base.get_input_embeddings().weight)
    assert len(model.input_rows) == base.config.vocab_size + 3  # <MEM4>, <MEM5>, <AE>
    ids = torch.tensor([processor.encode_documents(texts)[3]])
    with torch.no_grad(), roles.role(roles.GENERATOR):
        ours = model.base.model(input_ids=ids).last_hidden_state
        torch.testing.assert_close(ours, base.model(input_ids=ids).last_hidden_state)
    model.save_pretrained(tmp_path / "new")
    processor.save_pretrained(tmp_path / "new")
    assert (tmp_path / "new" / "model.safetensors").stat().st_size < 4000
    again, _ = loading.load(tmp_path / "new")
    assert torch.equal(memories(again, processor, texts), memories(model.eval(), processor, texts))


def test_another_base_of_the_same_shape_is_loaded_with_a_warning(
    make_base: Any, make_tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, seed in (("base", 0), ("other", 1)):
        make_base("llama", seed=seed).save_pretrained(tmp_path / name)
        make_tokenizer("llama").save_pretrained(tmp_path / name)
    model, processor = loading.from_base(
        tmp_path / "base", doc_max_tokens=24, compression_rate=4, lora_rank=2
    )
    model.save_pretrained(tmp_path / "new")
    processor.save_pretrained(tmp_path / "new")
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        loading.load(tmp_path / "new", dtype=dtype)
    assert not caplog.records
    loading.load(tmp_path / "new", base=tmp_path / "other")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(tmp_path / "other") in record.getMessage()
