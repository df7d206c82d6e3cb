"""Question answering files as training data of the stages (`clara.training.data`).

Records are read in every format of `clara.datasets.formats`: questions about one passage train compression,
questions with several passages train the later stages. Texts with paraphrases, `{"text", "paraphrases"}`,
train compression too. Answers are alternatives; the first is trained. What has no answer is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from clara.datasets.formats import Item, Record, read_items
from clara.datasets.json_lines import read_records
from clara.errors import InputError
from clara.training.data import END_TO_END, INSTRUCTION_TUNING, PRETRAINING, STAGES

_STAGES = {
    "texts with paraphrases": (PRETRAINING,),
    "passages with questions": (PRETRAINING,),
    "questions with passages": (END_TO_END, INSTRUCTION_TUNING),
}
"""The stages that each kind of record can serve, the default first."""


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
        source: JSON lines, plain, .gz or .xz.
        target: File to write; must not exist.
        stage: One of `STAGES`; the first that the records can serve if None.

    Raises:
        InputError: The source is missing, a line is faulty, its kind cannot serve the stage, nothing has an
            answer, or the target exists.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise InputError(f"{target} exists; name a file to be made.")
    report = ConvertReport(_stage(source, stage))
    temporary = target.with_name(target.name + ".new")
    try:
        with temporary.open("w", encoding="utf-8") as lines:
            for place, record in read_records(source):
                try:
                    made = list(_rewritten(record, report.stage))
                except InputError as error:
                    raise InputError(f"{place}: {error}.") from error
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


def _stage(source: Path, stage: str | None) -> str:
    """The stage to write for: the one given, or the first that the file's first record can serve."""
    place, first = next(read_records(source), ("", None))
    if first is None:
        raise InputError(f"{source} holds no lines; give it one JSON object a line.")
    try:
        kind = _kind(first, [] if "paraphrases" in first else list(read_items(first)))
    except InputError as error:
        raise InputError(f"{place}: {error}.") from error
    if stage is not None and stage not in _STAGES[kind]:
        raise InputError(
            f"{source} holds {kind}, which serve {' and '.join(_STAGES[kind])}, not {stage!r}; the stages "
            f"are {', '.join(STAGES)}, and 'clara data mine' gives questions passages to answer from."
        )
    return stage or _STAGES[kind][0]


def _kind(record: Record, items: Sequence[Item]) -> str:
    if "paraphrases" in record:
        return "texts with paraphrases"
    if not items or not items[0].documents:
        raise InputError("the record has questions without passages, which train nothing")
    return "passages with questions" if len(items[0].documents) == 1 else "questions with passages"


def _rewritten(record: Record, stage: str) -> Iterator[Record]:
    """The lines of a record."""
    if "paraphrases" in record:
        yield from _paraphrases(record, stage)
        return
    items = list(read_items(record))
    kind = _kind(record, items)
    if stage not in _STAGES[kind]:
        raise InputError(f"the record holds {kind}, which do not serve {stage}")
    answered = [item for item in items if item.answers]
    if stage == PRETRAINING:
        for (text,), group in groupby(answered, key=lambda item: item.documents):
            pairs = [(item.question, item.answers[0]) for item in group if item.answers]
            questions, answers = zip(*pairs, strict=True)
            yield {"data_type": "qa", "question": questions, "answers": answers, "docs": [text]}
        return
    for item in answered:
        answer = (item.answers or ("",))[0]
        line: Record = {"question": item.question, "docs": item.documents, "gold_answer": answer}
        # in instruction tuning the gold answer stands in for a teacher's
        yield line | ({"pos_index": item.gold} if stage == END_TO_END else {"answer": answer})


def _paraphrases(record: Record, stage: str) -> Iterator[Record]:
    text, paraphrases = record.get("text"), record["paraphrases"]
    texts = [text, *paraphrases] if isinstance(paraphrases, list) else [None]
    if stage != PRETRAINING or not all(isinstance(one, str) for one in texts):
        raise InputError("the record is not a text with paraphrases for compression pretraining")
    for paraphrase in paraphrases:
        yield {"data_type": "paraphrase", "question": [""], "answers": [paraphrase], "docs": [text]}
