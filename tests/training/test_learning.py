"""The answer's gradient teaches retrieval, without labels or words shared by question and passage."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from clara.training.run import train
from clara.training.settings import read_settings
from conftest import WORDS, tiny_base, tiny_tokenizer

SUBJECTS, ANSWERS, QUESTIONS, FILLERS = WORDS[:6], WORDS[20:28], WORDS[40:46], WORDS[60:77]
CANDIDATES = 4
WHICH_ANSWER, WHICH_SUBJECT = WORDS[78:80]


class Corpus:
    """Passages that give a subject an answer, another one each time: nothing can be learnt by heart.

    Questions call each subject by a word of their own, which stands in no passage.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def passage(self, subject: int, answer: str) -> str:
        first, last = self.rng.choices(FILLERS, k=2)
        return f"{SUBJECTS[subject]} {first} {answer} {last}"

    def reading(self) -> dict[str, Any]:
        subject, answer = self.rng.randrange(len(SUBJECTS)), self.rng.choice(ANSWERS)
        asked, given = self.rng.choice([(WHICH_ANSWER, answer), (WHICH_SUBJECT, SUBJECTS[subject])])
        return {"question": asked, "docs": [self.passage(subject, answer)], "answer": given}

    def question(self) -> dict[str, Any]:
        subjects = self.rng.sample(range(len(SUBJECTS)), CANDIDATES)
        answers = self.rng.choices(ANSWERS, k=CANDIDATES)
        gold = self.rng.randrange(CANDIDATES)
        return {
            "question": QUESTIONS[subjects[gold]],
            "docs": [self.passage(*pair) for pair in zip(subjects, answers, strict=True)],
            "gold_answer": answers[gold],
            "pos_index": [gold],
        }


def written(path: Path, records: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def test_retrieval_is_learnt_from_answers_alone(tmp_path: Path) -> None:
    tiny_base("mistral", hidden_size=64, initializer_range=0.1).save_pretrained(tmp_path / "base")
    tokenizer = tiny_tokenizer("mistral")
    tokenizer.chat_template = None  # short prompts
    tokenizer.save_pretrained(tmp_path / "base")
    corpus = Corpus(seed=0)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"""\
[run]
folder = "{tmp_path / "reading"}"
log_every = 50
save_every = 1000
[model]
base = "{tmp_path / "base"}"
doc_max_tokens = 16
compression_rate = 4
num_selected = 1
lora_rank = 16
lora_alpha = 32.0
lora_dropout = 0.0
alignment_weight = 0.0
[data]
train = ["{written(tmp_path / "reading.jsonl", [corpus.reading() for _ in range(2000)])}"]
[optimizer]
steps = 300
batch_size = 20
micro_batch_size = 20
learning_rate = 5e-3
precision = "float32"
""",
        encoding="utf-8",
    )
    reading: list[dict[str, float]] = []
    train(
        read_settings(recipe, "instruction-tuning"), "instruction-tuning", resume=False, report=reading.append
    )
    assert reading[-1]["answer"] < 0.5
    text = recipe.read_text()
    start, end = text.index("[model]"), text.index("[data]")
    recipe.write_text(
        text[:start].replace("reading", "asking").replace("log_every = 50", "log_every = 5")
        + f'[model]\npath = "{tmp_path / "reading" / "model"}"\nselection_temperature = 0.2\n'
        + text[end:].replace("reading.jsonl", "asking.jsonl")
    )
    written(tmp_path / "asking.jsonl", [corpus.question() for _ in range(2000)])
    others = Corpus(seed=1)
    held_out = written(tmp_path / "held_out.jsonl", [others.question() for _ in range(100)])
    changes = [
        f'data.validation=["{held_out}"]',
        "optimizer.learning_rate=2e-3",
        "optimizer.batch_size=16",
        "optimizer.micro_batch_size=16",
        "optimizer.steps=180",
    ]
    asking: list[dict[str, float]] = []
    train(read_settings(recipe, "end-to-end", changes), "end-to-end", resume=False, report=asking.append)
    # four candidates: chance is 0.25
    assert asking[0]["recall@1"] < 0.5
    (validation,) = (line for line in asking if "validation_recall@1" in line)
    assert validation["validation_recall@1"] > 0.9
    assert validation["validation_answer"] == pytest.approx(asking[-2]["answer"], abs=0.5)
