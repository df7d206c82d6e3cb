"""Models from wherever they are: the package, a folder of either format, the hub; and new ones on a base."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from clara import prompts, roles
from clara.checkpoints import adapters, apple, bases, layout, storage
from clara.checkpoints.apple import AppleCheckpoint
from clara.checkpoints.folders import find_folder
from clara.configuration import ClaraConfig
from clara.errors import CheckpointError, InputError
from clara.extractive.configuration import ExtractiveConfig
from clara.extractive.model import ExtractiveModel
from clara.extractive.processor import ExtractiveProcessor
from clara.model.modeling import ClaraModel
from clara.models import DEFAULT, PACKAGED, packaged_folder
from clara.processing import ClaraProcessor

Name = str | os.PathLike[str]


def load(
    name_or_path: Name | None = None,
    *,
    subfolder: str | None = None,
    base: Name | None = None,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> tuple[ClaraModel, ClaraProcessor]:
    """A model with its processor, in evaluation mode.

    Args:
        name_or_path: Folder or hub id of our format or Apple's, or a name of `PACKAGED`; None for
            the default of them.
        subfolder: Folder within it, as "compression-16" of the released checkpoints.
        base: Folder or hub id of the base model, if not where the checkpoint says.
        device: torch device, or "auto" for the GPU if there is one.
        dtype: Of the weights; if None the type that the model was saved in, the base's own for Apple's
            format.
        revision: Branch, tag or commit of a hub repository.

    Raises:
        CheckpointError: The model is missing, broken or unsafe to read.
        InputError: There is no such device here, or a subfolder or revision is asked of the packaged model.
    """
    found_device = find_device(device)
    packaged = DEFAULT if name_or_path is None else str(name_or_path)
    for what, given in (("subfolder", subfolder), ("revision", revision)):
        if packaged in PACKAGED and given is not None:
            raise InputError(
                f"The packaged model has no {what}, but {given!r} is asked for; remove it or pass a model."
            )
    if name_or_path is None or packaged in PACKAGED:
        folder = packaged_folder(packaged)
    else:
        folder = find_folder(name_or_path, subfolder=subfolder, revision=revision)
    if _is_apple(folder):
        model, processor = _load_apple(folder, base, dtype)
    else:
        model_class, processor_class = _classes(folder)
        model = model_class.from_pretrained(folder, base=base, dtype=dtype)
        processor = processor_class.for_config(_load_tokenizer(folder), model.config)
    model.to(found_device)  # type: ignore[arg-type]
    return model, processor


def find_device(name: str) -> torch.device:
    """The torch device of a name, or for "auto" the GPU if there is one.

    Raises:
        InputError: This machine, or the torch that is installed, has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, count = _accelerator()
    allowed = ["cpu", *([kind] if kind else []), *(f"{kind}:{number}" for number in range(count))]
    if name not in allowed:
        raise InputError(f"There is no device {name!r} here; choose {' or '.join((*allowed, 'auto'))}.")
    return torch.device(name)


def _accelerator() -> tuple[str, int]:
    """Kind and number of the devices that torch can use beside the CPU; "" and 0 if there are none."""
    if not torch.accelerator.is_available():
        return "", 0
    found = torch.accelerator.current_accelerator()
    return (found.type, torch.accelerator.device_count()) if found is not None else ("", 0)


def from_base(
    base: Name,
    *,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    doc_max_tokens: int = 256,
    compression_rate: int = 16,
    **choices: Any,
) -> tuple[ClaraModel, ClaraProcessor]:
    """A new model with low-rank roles on a base, to be trained; its tokens are those of Apple's format.

    Prompts are Apple's if the base's tokenizer has a chat template, else the plain ones. Pooled
    memories (`compressor="pooled"`, which needs `memory_layer`) have prompts of their own and need no new
    tokens; a special token that ends no answer says that no document holds one.

    Args:
        base: Folder or hub id of a causal language model.
        device: torch device, or "auto" as for `load`.
        dtype: Of the weights; the base's own if None.
        doc_max_tokens: As in `ClaraConfig`.
        compression_rate: As in `ClaraConfig`.
        **choices: Other entries of `ClaraConfig`.

    Raises:
        CheckpointError: The base cannot be loaded.
        InputError: There is no such device here.
    """
    found_device = find_device(device)
    tokenizer = bases.load_tokenizer(base)
    network = bases.load_base(base, dtype=dtype)
    if choices.get("compressor") == "pooled":
        choices |= {"doc_max_tokens": doc_max_tokens, "compression_rate": compression_rate}
        return _pooled_from_base(base, network, tokenizer, found_device, choices)
    own_rows, own_fingerprint = layout.BaseRows.of(network), bases.base_fingerprint(network)
    slots = [f"<MEM{slot}>" for slot in range(max(1, doc_max_tokens // compression_rate))]
    tokens = _add_tokens(tokenizer, slots)
    network.resize_token_embeddings(_vocabulary(tokenizer, network), mean_resizing=False)
    config = ClaraConfig(
        network.config,
        doc_max_tokens=doc_max_tokens,
        compression_rate=compression_rate,
        prompt_format=choices.pop("prompt_format", "apple" if tokenizer.chat_template else "plain"),
        base_model_name=str(base),
        base_fingerprint=own_fingerprint,
        **tokens,
        **choices,
    )
    model = ClaraModel(config, network)
    model.remember_base_rows(own_rows)
    model.to(found_device)  # type: ignore[arg-type]
    return model, ClaraProcessor.for_config(tokenizer, config)


def _pooled_from_base(
    base: Name, network: Any, tokenizer: Any, device: Any, choices: dict[str, Any]
) -> tuple[ClaraModel, ClaraProcessor]:
    """A new model with pooled memories."""

    def ids(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    line_end = ids("\n")
    special = (tokenizer.unk_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id)
    unused = next(
        (token for token in special if token not in (None, tokenizer.eos_token_id)), tokenizer.eos_token_id
    )
    choices.setdefault("num_text_documents", 1)
    config = ClaraConfig(
        network.config,
        score="tokens",
        prompt_format="documents",
        document_prefix_ids=ids(prompts.DOCUMENT_PREFIX),
        query_prefix_ids=ids(prompts.documents_question("")),
        separator_token_id=line_end[-1] if line_end else None,
        memory_token_ids=[unused],
        no_answer_token_id=unused,
        base_model_name=str(base),
        base_fingerprint=bases.base_fingerprint(network),
        **choices,
    )
    model = ClaraModel(config, network)
    model.remember_base_rows()
    model.to(device)
    return model, ClaraProcessor.for_config(tokenizer, config)


def convert(source: Name, target: Name, *, base: Name | None = None, weights: str | None = None) -> None:
    """Rewrite a folder in Apple's format as one of ours, without loading the base's weights.

    Args:
        source: The released folder.
        target: Folder to write; must not exist or be empty.
        base: Folder or hub id of the base model, if not where the checkpoint says; only its configuration
            and tokenizer are read.
        weights: As for `ClaraModel.save_pretrained`; as stored in the source by default.

    Raises:
        CheckpointError: The source is missing, broken or unsafe.
        InputError: The target is not empty.
    """
    folder = Path(target)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not an empty folder; choose another.")
    checkpoint = apple.read_apple(Path(source))
    where = checkpoint.base if base is None else base
    tokenizer = bases.load_tokenizer(where)
    config = _apple_config(checkpoint, bases.load_base_config(where), tokenizer)
    with torch.device("meta"):
        skeleton = ClaraModel(config)
    _check_apple(checkpoint, skeleton, where)
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _write_converted(checkpoint, skeleton, temporary, weights)
        ClaraProcessor.for_config(tokenizer, config).save_pretrained(temporary)
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_converted(
    checkpoint: AppleCheckpoint, skeleton: ClaraModel, folder: Path, weights: str | None
) -> None:
    folder.mkdir(parents=True)
    config = skeleton.config
    for name, tensors in checkpoint.adapters.items():
        adapters.write_adapter(
            folder / layout.ADAPTERS_FOLDER / name,
            tensors,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            target_modules=roles.target_modules(skeleton.base, name),
            base_model_name=config.base_model_name,
            weights=_stored_as("float16" if weights == "int8" else weights, next(iter(tensors.values()))),
        )
    ids = torch.arange(len(checkpoint.input_rows))
    rows = {f"{layout.INPUT}.ids": ids, f"{layout.INPUT}.values": checkpoint.input_rows}
    if not layout.is_tied(skeleton.base):
        rows |= {f"{layout.OUTPUT}.ids": ids, f"{layout.OUTPUT}.values": checkpoint.output_rows}
    storage.write_tensors(folder / layout.MODEL_FILE, rows, _stored_as(weights, checkpoint.input_rows))
    config.architectures = [ClaraModel.__name__]
    config.dtype = config.text_config.dtype
    config.save_pretrained(folder)


def _stored_as(weights: str | None, tensor: torch.Tensor) -> str:
    return weights or str(tensor.dtype).removeprefix("torch.")


def _is_apple(folder: Path) -> bool:
    return adapters.read_json(folder / apple.CONFIG_FILE).get("model_type") == apple.MODEL_TYPE


def _classes(folder: Path) -> tuple[type[ClaraModel], type[ClaraProcessor]]:
    """The classes of the model in a folder of our format."""
    kind = adapters.read_json(folder / "config.json").get("model_type")
    if kind == ExtractiveConfig.model_type:
        return ExtractiveModel, ExtractiveProcessor
    return ClaraModel, ClaraProcessor


def _load_tokenizer(folder: Path) -> Any:
    # not above: transformers imports its model classes from within its tokenizers, and those then ours
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")
        raise CheckpointError(
            f"{folder} has no usable tokenizer files ({reason}); save the processor there too."
        ) from error


def _load_apple(
    folder: Path, base: Name | None, dtype: torch.dtype | None
) -> tuple[ClaraModel, ClaraProcessor]:
    checkpoint = apple.read_apple(folder)
    where = checkpoint.base if base is None else base
    tokenizer = bases.load_tokenizer(where)
    network = bases.load_base(where, dtype=dtype)
    own_rows = layout.BaseRows.of(network)
    config = _apple_config(checkpoint, network.config, tokenizer)
    network.resize_token_embeddings(config.text_config.vocab_size, mean_resizing=False)
    model = ClaraModel(config, network)
    model.remember_base_rows(own_rows)
    _check_apple(checkpoint, model, where)
    path = folder / apple.ADAPTERS_FILE
    for name, tensors in checkpoint.adapters.items():
        storage.fill(roles.role_state(model.base, name), tensors, path)
    storage.fill(
        {
            apple.INPUT_ROWS: model.input_rows,
            apple.OUTPUT_ROWS: model.output_rows,
        },
        {apple.INPUT_ROWS: checkpoint.input_rows, apple.OUTPUT_ROWS: checkpoint.output_rows},
        folder / apple.EMBEDDINGS_FILE,
    )
    model.eval()
    return model, ClaraProcessor.for_config(tokenizer, config)


def _apple_config(checkpoint: AppleCheckpoint, text_config: Any, tokenizer: Any) -> ClaraConfig:
    """Our configuration of a released checkpoint; adds its tokens to the tokenizer."""
    tokens = _add_tokens(tokenizer, checkpoint.memory_tokens)
    if not checkpoint.separator:
        tokens["separator_token_id"] = None
    config = ClaraConfig(
        text_config,
        roles={name: "lora" for name in roles.ROLES if name in checkpoint.adapters},
        prompt_format="apple",
        compression_rate=checkpoint.compression_rate,
        doc_max_tokens=checkpoint.doc_max_tokens,
        query_max_tokens=checkpoint.doc_max_tokens,
        num_selected=checkpoint.num_selected,
        lora_rank=checkpoint.rank,
        lora_alpha=apple.ALPHA_PER_RANK * checkpoint.rank,
        base_model_name=checkpoint.base,
        training_stage=checkpoint.stage,
        **tokens,
    )
    config.text_config.vocab_size = len(tokenizer)
    return config


def _add_tokens(tokenizer: Any, memory_tokens: list[str]) -> dict[str, Any]:
    """Add the format's tokens in its order; their ids by their names in `ClaraConfig`."""
    names = [*memory_tokens, "<AE>", "<ENC>", "<SEP>"]
    tokenizer.add_tokens(names, special_tokens=True)
    ids = tokenizer.convert_tokens_to_ids(names)
    return {
        "memory_token_ids": ids[: len(memory_tokens)],
        "encode_token_id": ids[-2],
        "separator_token_id": ids[-1],
    }


def _vocabulary(tokenizer: Any, network: Any) -> int:
    """Rows that the embeddings need; a base may have more of them than its tokenizer has tokens."""
    return max(len(tokenizer), len(network.get_input_embeddings().weight))


def _check_apple(checkpoint: AppleCheckpoint, model: ClaraModel, base: Name) -> None:
    """Raise CheckpointError if a checkpoint was trained on another base."""
    rows = model.input_rows.shape
    if checkpoint.input_rows.shape != rows:
        raise CheckpointError(
            f"{checkpoint.folder / apple.EMBEDDINGS_FILE} has embeddings of shape "
            f"{tuple(checkpoint.input_rows.shape)}, but {base} with the added tokens has {tuple(rows)}; pass "
            "the base that it was trained on."
        )
    if layout.is_tied(model.base) and not torch.equal(checkpoint.input_rows, checkpoint.output_rows):
        raise CheckpointError(
            f"{checkpoint.folder} has an output head apart from the embeddings, but {base} ties them; pass "
            "the base that it was trained on."
        )
    for name, tensors in checkpoint.adapters.items():
        targets = roles.role_state(model.base, name)
        storage.check(targets, tensors, checkpoint.folder / apple.ADAPTERS_FILE)
