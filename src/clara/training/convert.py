"""Common question answering files as training data of the stages (`clara.training.data`).

Three kinds of records are read, each told by its keys:

- a passage with questions: `{"title", "passage", "qas": [{"question", "answers"}]}`
- a question with passages: `{"question", "answers", "docs": [{"title", "text"}], "gold": [places]}`
- a text with paraphrases: `{"text", "paraphrases"}`

Answers are alternatives; the first is trained. What has no answer is left out and counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clara.errors import InputError
from clara.json_lines import read_records
from clara.records import with_title
from clara.training.data import STAGES

Record = dict[str, Any]


@dataclass(slots=True)
class ConvertReport:
    """What a conversion wrote.

    Attributes:
        stage: The stage that the target is for.
        records: Records read.
        written: Lines written.
        left_out: Records of which no line came, since they have no answer.
    """

    stage: str
    records: int = 0
    written: int = 0
    left_out: int = 0


def convert_data(source: Path | str, target: Path | str, stage: str | None = None) -> ConvertReport:
    """Rewrite a file as training data; the target appears when it is complete.

    Args:
        source: JSON lines, plain or .xz.
        target: File to write; must not exist.
        stage: One of `STAGES`; the first that the records can serve if None.

    Raises:
        InputError: The source is missing, a line is faulty, its kind cannot serve the stage, nothing has an
            answer, or the target exists.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise InputError(f"{target} exists; name a file to be made.")
    kind, stage = _choose(source, stage)
    rewrite = _KINDS[kind][stage]
    report = ConvertReport(stage)
    temporary = target.with_name(target.name + ".new")
    try:
        with temporary.open("w", encoding="utf-8") as lines:
            for place, record in read_records(source):
                try:
                    made = list(rewrite(record))
                except (KeyError, TypeError, AttributeError, IndexError) as error:
                    raise InputError(
                        f"{place}: not a record of {kind} ({type(error).__name__}: {error})."
                    ) from error
                report.records += 1
                report.written += len(made)
                report.left_out += not made
                lines.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in made)
        if not report.written:
            raise InputError(f"{source} holds no record with an answer; there is nothing to train on.")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return report


def _choose(source: Path, stage: str | None) -> tuple[str, str]:
    """The kind of a file's records, told from the first, and the stage to write for."""
    _, first = next(read_records(source), ("", None))
    if first is None:
        raise InputError(f"{source} holds no lines; give it one JSON object a line.")
    kind = next((kind for kind, keys in _KEYS.items() if keys <= first.keys()), None)
    if kind is None:
        wanted = "; ".join(f"{', '.join(sorted(keys))} ({kind})" for kind, keys in _KEYS.items())
        raise InputError(f"{source} has records of no known kind; one needs the keys {wanted}.")
    stages = _KINDS[kind]
    if stage is not None and stage not in stages:
        raise InputError(
            f"{source} holds {kind}, which serve {' and '.join(stages)}, not {stage!r}; the stages are "
            f"{', '.join(STAGES)}, and 'clara data mine' gives questions passages to answer from."
        )
    return kind, stage or next(iter(stages))


def _reading(record: Record) -> Iterator[Record]:
    """All pairs of a passage in one line."""
    pairs = [(qa["question"], qa["answers"][0]) for qa in record["qas"] if qa["answers"]]
    if pairs:
        questions, answers = map(list, zip(*pairs, strict=True))
        text = with_title(record["passage"], record.get("title", ""))
        yield {"data_type": "qa", "question": questions, "answers": answers, "docs": [text]}


def _paraphrases(record: Record) -> Iterator[Record]:
    for paraphrase in record["paraphrases"]:
        yield {
            "data_type": "paraphrase",
            "question": [""],
            "answers": [paraphrase],
            "docs": [record["text"]],
        }


def _question(record: Record) -> Record | None:
    if not record["answers"]:
        return None
    texts = [with_title(document["text"], document.get("title", "")) for document in record["docs"]]
    return {"question": record["question"], "docs": texts, "gold_answer": record["answers"][0]}


def _end_to_end(record: Record) -> Iterator[Record]:
    if (line := _question(record)) is not None:
        yield {**line, "pos_index": record["gold"]}


def _instruction(record: Record) -> Iterator[Record]:
    """The gold answer stands in for a teacher's."""
    if (line := _question(record)) is not None:
        yield {**line, "answer": line["gold_answer"]}


Rewrite = Callable[[Record], Iterator[Record]]
_KEYS = {
    "passages with questions": {"passage", "qas"},
    "texts with paraphrases": {"text", "paraphrases"},
    "questions with passages": {"question", "answers", "docs", "gold"},
}
_KINDS: dict[str, dict[str, Rewrite]] = {
    "passages with questions": {STAGES[0]: _reading},
    "texts with paraphrases": {STAGES[0]: _paraphrases},
    "questions with passages": {STAGES[2]: _end_to_end, STAGES[1]: _instruction},
}
