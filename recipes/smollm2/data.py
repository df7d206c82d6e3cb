"""Write the examples of joint training from public data (`clara.training.joint` describes their form).

    python recipes/smollm2/data.py DATA joint.jsonl --examples 20000

DATA is a folder with `squad11_train`, `fairytaleqa`, `qamr`, `timeqa_human_train`, `text_wiki_train.0`,
`paraphrase_wikisplit` and `paraphrase_onestopenglish` as `.jsonl.xz`. Of FairytaleQA the split "train" is
used, of QAMR the split "dev"; no other file holds questions that models are measured on.

Most examples are five passages with questions: each passage is read alone, as a memory and some also as text,
with questions that it answers and one that it does not; some rows read all five together. Some examples are a
passage and the same without the sentence of an answer, so that a passage that almost answers is not taken for
one that does. The others are a Wikipedia passage, or a sentence with its paraphrase, with instructions whose
answers cover every part of the text.
"""

from __future__ import annotations

import argparse
import json
import lzma
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DOCUMENTS = 5
MAX_WORDS = 200
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“])")
NAME_OR_NUMBER = re.compile(r"(?<!\w)(?:\d[\d,.]*\d|\d|[A-Z][\w'’-]+(?: [A-Z][\w'’-]+)*)(?!\w)")


@dataclass
class Passage:
    """A passage with its questions."""

    text: str
    questions: list[tuple[str, str]] = field(default_factory=list)


def records(data: Path, name: str) -> Iterator[dict[str, Any]]:
    """The records of a file of DATA."""
    with lzma.open(data / f"{name}.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def titled(title: str, text: str) -> str:
    """A passage below the title of its article."""
    title = title.replace("_", " ").strip()
    return f"{title}\n{text.strip()}" if title else text.strip()


def articles(data: Path, rng: random.Random) -> dict[str, list[list[Passage]]]:
    """Passages with questions, in their order, by article and data set."""
    found: dict[str, dict[str, list[Passage]]] = {}

    def add(name: str, article: str, title: str, record: dict[str, Any], qas: list[dict[str, Any]]) -> None:
        questions = [
            (qa["question"].strip(), rng.choice(qa["answers"]).strip())
            for qa in qas
            if qa["answers"] and len(qa["question"].split()) <= 40
        ]
        questions = [(question, answer) for question, answer in questions if 0 < len(answer.split()) <= 25]
        if questions and len(record["passage"].split()) <= MAX_WORDS:
            passage = Passage(titled(title, record["passage"]), questions)
            found.setdefault(name, {}).setdefault(article, []).append(passage)

    for record in records(data, "squad11_train"):
        add("squad", record["title"], record["title"], record, record["qas"])
    for record in records(data, "fairytaleqa"):
        if record["split"] == "train":
            add("fairytale", record["title"], record["title"], record, record["qas"])
    # sentences stand alone: four neighbours of the file make a group
    kept = (record for record in records(data, "qamr") if record["split"] == "dev")
    for number, record in enumerate(kept):
        add("qamr", str(number // DOCUMENTS), "", record, record["qas"])
    for record in records(data, "timeqa_human_train"):
        gold = record["docs"][record["gold"][0]]
        qas = [{"question": record["question"], "answers": record["answers"]}]
        add("timeqa", gold["title"], gold["title"], {"passage": gold["text"]}, qas)
    return {name: list(groups.values()) for name, groups in found.items()}


def question_example(
    group: list[Passage], others: list[list[Passage]], rng: random.Random, several: float
) -> dict[str, Any]:
    """Five passages, as many as there are from one article and the rest from others.

    Each passage is read alone as a memory, and two also as text: with questions of its own, and with one of a
    neighbour that it does not answer. With the probability `several` a row reads all five together, the first
    of them as text or all as memories.
    """
    near = rng.choice((2, 3, 4, 5, 5))
    start = rng.randrange(max(1, len(group) - near + 1))
    chosen = group[start : start + near]
    while len(chosen) < DOCUMENTS:
        other = rng.choice(rng.choice(others))
        if all(other.text != passage.text for passage in chosen):
            chosen.append(other)
    rng.shuffle(chosen)
    inside = [number for number, passage in enumerate(chosen) if passage in group] or [0]
    own: list[list[dict[str, Any]]] = []
    for passage in chosen:
        asked = rng.sample(passage.questions, min(3, len(passage.questions)))
        own.append([{"question": question, "answer": answer} for question, answer in asked])
    as_text = set(rng.sample(range(DOCUMENTS), 2))
    rows = []
    for number in range(DOCUMENTS):
        # the passages of one article are hard to tell apart, so their questions are the better negatives
        near_ones = [other for other in inside if other != number]
        far_ones = [other for other in range(DOCUMENTS) if other != number]
        other = rng.choice(near_ones or far_ones)
        missing = {"question": rng.choice(own[other])["question"], "answer": None}
        turns = [*own[number], missing]
        rng.shuffle(turns)
        if number in as_text:
            rows.append({"read": [number], "texts": 1, "turns": turns})
        rows.append({"read": [number], "texts": 0, "turns": turns})
    if rng.random() < several:
        gold = rng.choice(inside)
        order = [gold, *(number for number in range(DOCUMENTS) if number != gold)]
        every = [*own[gold], *own[order[1]][:1]]
        rows.append({"read": order, "texts": rng.choice((0, 1, 1)), "turns": every})
    searches = [
        {"question": turn["question"], "doc": number} for number, turns in enumerate(own) for turn in turns
    ]
    return {"docs": [passage.text for passage in chosen], "rows": rows, "searches": searches}


def almost_example(passage: Passage, rng: random.Random) -> dict[str, Any] | None:
    """A passage and the same passage without the sentence that answers one of its questions.

    None if every answer stands in several sentences, or in the only one.
    """
    title, _, body = passage.text.rpartition("\n")
    sentences = SENTENCE_END.split(body)
    places = {
        answer: [number for number, sentence in enumerate(sentences) if answer.lower() in sentence.lower()]
        for _, answer in passage.questions
    }
    alone = sorted({found[0] for found in places.values() if len(found) == 1})
    if not alone or len(sentences) < 3:
        return None
    gone = rng.choice(alone)
    rest = "\n".join(filter(None, [title, " ".join(sentences[:gone] + sentences[gone + 1 :])]))
    lost = [question for question, answer in passage.questions if places[answer] == [gone]]
    held = [(question, answer) for question, answer in passage.questions if set(places[answer]) - {gone}]
    asked = rng.sample(lost, min(2, len(lost)))
    own = [{"question": q, "answer": a} for q, a in passage.questions if q in asked]
    kept = [{"question": q, "answer": a} for q, a in rng.sample(held, min(2, len(held)))]
    turns = ([*own, *kept], [*({"question": q, "answer": None} for q in asked), *kept])
    rows = []
    for number, about in enumerate(turns):
        rng.shuffle(about)
        if rng.random() < 0.5:
            rows.append({"read": [number], "texts": 1, "turns": about})
        rows.append({"read": [number], "texts": 0, "turns": about})
    searches = [{"question": question, "doc": 0} for question in asked]
    return {"docs": [passage.text, rest], "rows": rows, "searches": searches}


def text_example(title: str, text: str, rng: random.Random) -> dict[str, Any]:
    """A passage and instructions whose answers stand in it word by word."""
    sentences = SENTENCE_END.split(text)
    turns = []
    for sentence in rng.sample(sentences, min(4, len(sentences))):
        gaps = [gap for gap in NAME_OR_NUMBER.finditer(sentence) if gap.start() > 0]
        if gaps and len(sentence.split()) <= 40:
            gap = rng.choice(gaps)
            blank = f"{sentence[: gap.start()]}____{sentence[gap.end() :]}"
            turns.append({"instruction": f"Question: Complete: {blank}\nAnswer:", "answer": gap.group()})
    words = text.split(" ")
    if len(words) > 24:
        at = rng.randrange(4, len(words) - 16)
        before, after = " ".join(words[at - 4 : at]), " ".join(words[at : at + rng.randrange(6, 16)])
        turns.append({"instruction": f"Text after: {before}\nAnswer:", "answer": after})
    if rng.random() < 0.15 or not turns:
        turns.append({"instruction": "Repeat the document.\nAnswer:", "answer": " ".join(words[:72])})
    return {
        "docs": [titled(title, text)],
        "rows": [{"read": [0], "texts": 0, "turns": turns}],
    }


def paraphrase_example(text: str, paraphrase: str) -> dict[str, Any]:
    """A sentence and what says the same."""
    turn = {"instruction": "In other words:", "answer": paraphrase.strip()}
    return {"docs": [text.strip()], "rows": [{"read": [0], "texts": 0, "turns": [turn]}]}


def texts(data: Path, rng: random.Random) -> Iterator[dict[str, Any]]:
    """Examples without questions: Wikipedia passages and, one of five, sentences with a paraphrase."""
    pairs = [
        (record["text"], record["paraphrases"][0])
        for name in ("paraphrase_wikisplit", "paraphrase_onestopenglish")
        for record in records(data, name)
    ]
    rng.shuffle(pairs)
    for record in records(data, "text_wiki_train.0"):
        for paragraph in record["text"].split("\n"):
            words = paragraph.split()
            for start in range(0, len(words), 120):
                part = words[start : start + 120]
                if len(part) >= 30:
                    yield text_example(record["title"], " ".join(part), rng)
                    if pairs and rng.random() < 0.25:
                        yield paraphrase_example(*pairs.pop())


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("target", type=Path, help="JSON lines of the stage joint")
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--several", type=float, default=0.3, help="part of the groups that are also read together"
    )
    parser.add_argument("--plain", type=float, default=0.2, help="part of examples without questions")
    parser.add_argument(
        "--almost",
        type=float,
        default=0.3,
        help="part of the other examples that hold a passage without an answer",
    )
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    groups = articles(chosen.data, rng)
    names = list(groups)
    weights = [{"squad": 0.75, "fairytale": 0.11, "qamr": 0.1, "timeqa": 0.04}[name] for name in names]
    plain = texts(chosen.data, rng)
    written = 0
    with chosen.target.open("w", encoding="utf-8") as out:
        while written < chosen.examples:
            if rng.random() < chosen.plain:
                example = next(plain)
            else:
                (name,) = rng.choices(names, weights)
                group = rng.choice(groups[name])
                if rng.random() < chosen.almost:
                    example = almost_example(rng.choice(group), rng)
                else:
                    example = question_example(group, groups[name], rng, chosen.several)
            if example is not None:
                out.write(json.dumps(example, ensure_ascii=False) + "\n")
                written += 1
    print(f"{chosen.target}: {written:,} examples")


if __name__ == "__main__":
    main()
