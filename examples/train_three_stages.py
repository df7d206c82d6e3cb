"""Train the three stages of the method on toy data, in about two minutes on a CPU.

    pip install 'clara-rag[train]'
    python examples/train_three_stages.py runs/toy

The base is a language model of two layers with random weights. Every passage is a record of an animal, a
place, a food and a month, in a new combination each time, so that nothing can be memorised. Questions of the
last stage name animals by words that occur in no passage: the query reasoner can learn these only from the
gradient of the answer, which reaches it through the differentiable top-k. There are no relevance labels.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

ANIMALS = {
    "bear": "bruin",
    "fox": "reynard",
    "hare": "puss",
    "cat": "tibert",
    "wolf": "isengrim",
    "ram": "belin",
}
"""Animals of the passages, and the names that questions use."""
FOODS = ["fish", "grass", "honey", "mice", "leaves", "nuts", "eggs", "fruit"]
PLACES = ["river", "forest", "meadow", "hill", "cave", "lake", "coast", "valley"]
MONTHS = ["march", "april", "may", "june", "july", "august", "september", "october"]
WORDS = [*ANIMALS, *ANIMALS.values(), *FOODS, *PLACES, *MONTHS, "food", "animal"]
CANDIDATES = 4


def make_base(folder: Path) -> None:
    """Write a tiny language model with random weights and a tokenizer of whole words."""
    special = ["<pad>", "<unk>", "<s>", "</s>"]
    words = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate([*special, *WORDS])}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.1,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        sliding_window=None,
    )
    MistralForCausalLM(config).save_pretrained(folder)


class Data:
    """Examples of the three stages.

    Args:
        seed: Of the random choices.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def passage(self, animal: str, food: str) -> str:
        return f"{animal} {self._random.choice(PLACES)} {food} {self._random.choice(MONTHS)}"

    def pretraining(self) -> dict[str, Any]:
        """A passage with a question; several would be answered in one target."""
        animal, food = self._random.choice(list(ANIMALS)), self._random.choice(FOODS)
        question, answer = self._random.choice([("food", food), ("animal", animal)])
        return {
            "data_type": "qa",
            "question": [question],
            "answers": [answer],
            "docs": [self.passage(animal, food)],
        }

    def tuning(self) -> dict[str, Any]:
        """One question about one passage."""
        animal, food = self._random.choice(list(ANIMALS)), self._random.choice(FOODS)
        question, answer = self._random.choice([("food", food), ("animal", animal)])
        return {"question": question, "docs": [self.passage(animal, food)], "answer": answer}

    def asking(self) -> dict[str, Any]:
        """A question, the passages of four animals, and the answer; `pos_index` only measures recall."""
        animals = self._random.sample(list(ANIMALS), CANDIDATES)
        foods = self._random.sample(FOODS, CANDIDATES)
        gold = self._random.randrange(CANDIDATES)
        return {
            "question": ANIMALS[animals[gold]],
            "docs": [self.passage(*pair) for pair in zip(animals, foods, strict=True)],
            "gold_answer": foods[gold],
            "pos_index": [gold],
        }


RECIPE = """\
[run]
folder = "{folder}/run"
log_every = 20
save_every = 1000

[model]
base = "{folder}/base"
doc_max_tokens = 16
compression_rate = 4
num_selected = 1
lora_rank = 16
lora_dropout = 0.0
alignment_weight = 0.0

[optimizer]
batch_size = 20
micro_batch_size = 20
precision = "float32"

[stages.compression-pretraining.data]
train = ["{folder}/pretraining.jsonl"]

[stages.compression-pretraining.optimizer]
learning_rate = 1e-3
steps = 60

[stages.instruction-tuning.data]
train = ["{folder}/tuning.jsonl"]

[stages.instruction-tuning.optimizer]
learning_rate = 5e-3
steps = 500

[stages.end-to-end.data]
train = ["{folder}/asking.jsonl"]
validation = ["{folder}/held_out.jsonl"]

[stages.end-to-end.model]
selection_temperature = 0.2

[stages.end-to-end.optimizer]
batch_size = 16
micro_batch_size = 16
learning_rate = 4e-3
steps = 500
"""


def lines_of(file: Path) -> Iterator[dict[str, float]]:
    for line in file.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder for data, base and runs")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    make_base(folder / "base")
    data, held_out = Data(seed=0), Data(seed=1)
    for name, make, count in (
        ("pretraining", data.pretraining, 2000),
        ("tuning", data.tuning, 2000),
        ("asking", data.asking, 2000),
        ("held_out", held_out.asking, 100),
    ):
        records = "".join(json.dumps(make()) + "\n" for _ in range(count))
        (folder / f"{name}.jsonl").write_text(records, encoding="utf-8")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(folder=folder.resolve().as_posix()), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "clara", "train", "recipe", str(recipe)], check=True)

    for stage in ("compression-pretraining", "instruction-tuning", "end-to-end"):
        losses = [line for line in lines_of(folder / "run" / stage / "metrics.jsonl") if "answer" in line]
        print(f"{stage}: answer loss {losses[0]['answer']:.2f} -> {losses[-1]['answer']:.2f}")
    found = [line for line in lines_of(folder / "run" / "end-to-end" / "metrics.jsonl")]
    recalls = [line["recall@1"] for line in found if "recall@1" in line]
    after = next(line["validation_recall@1"] for line in found if "validation_recall@1" in line)
    print(f"recall@1 of {CANDIDATES}: {recalls[0]:.2f} in the first steps, {after:.2f} on held-out questions")
    print(f"model: {folder / 'run' / 'end-to-end' / 'model'}")


if __name__ == "__main__":
    main()
