"""Training data of the three stages: JSON lines in the released data set's layout, read and checked.

- compression pretraining: `{"data_type": "qa" or "paraphrase", "question", "answers", "docs": [text]}`, where
  question and answers are lists of texts
- instruction tuning: `{"question", "docs": [texts], "answer"}`; the teacher's answer is trained
- end to end: `{"question", "docs": [texts], "gold_answer"}`; with `pos_index`, recall can be measured
- joint: `{"docs": [texts], "rows": [...], "searches": [...]}`, see `clara.training.joint`

Files may be xz-compressed. A faulty line is named with its number and the reason, before anything is trained.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from clara.datasets.json_lines import COMPRESSED, UNREADABLE, parse_record, read_lines
from clara.errors import InputError
from clara.training.examples import CompressionExample, EndToEndExample, JointExample, Row, Search, Turn

StageExample = CompressionExample | EndToEndExample | JointExample

PRETRAINING, INSTRUCTION_TUNING, END_TO_END = "compression-pretraining", "instruction-tuning", "end-to-end"
STAGES = (PRETRAINING, INSTRUCTION_TUNING, END_TO_END)
"""The paper's, in its order."""

JOINT = "joint"
"""The stage that goes beyond the paper (`clara.training.joint`)."""

ALL_STAGES = (JOINT, *STAGES)
"""In the order in which a recipe runs them."""

MAX_FAULTS = 20
"""Faults of a file that a check keeps; the rest is counted."""


@dataclass(slots=True)
class DataReport:
    """What a check found in a file.

    Attributes:
        stage: The stage that the file was read as.
        examples: Good lines.
        documents: Documents in them.
        answers: Targets in them.
        words: Least, mean and largest number of words of documents, questions and answers.
        faults: (line, reason) of the first bad lines.
        num_faults: Bad lines.
    """

    stage: str
    examples: int = 0
    documents: int = 0
    answers: int = 0
    words: dict[str, tuple[int, float, int]] = field(default_factory=dict)
    faults: list[tuple[int, str]] = field(default_factory=list)
    num_faults: int = 0


class ExampleFile:
    """The examples of files, by number: only the lines' places are held, so that files may exceed memory.

    Every line is checked when the files are opened. Random access gives each epoch an order over the whole
    data and lets a resumed run go on where it was at once, which reading in sequence could not.

    Args:
        paths: JSON lines; .xz files are unpacked beside the process first.
        stage: One of `STAGES`.

    Raises:
        InputError: A file is missing or empty, or a line is faulty; the message names file, line and reason.
    """

    def __init__(self, paths: Sequence[Path], stage: str) -> None:
        self._parse = _parser(stage)
        self._files: list[IO[bytes]] = []
        self._places: list[tuple[int, int]] = []
        try:
            for path in paths:
                self._index(Path(path))
            if not self._places:
                raise InputError(
                    f"{', '.join(map(str, paths))} holds no lines; give it one JSON object a line."
                )
        except InputError:
            self.close()
            raise

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def __enter__(self) -> ExampleFile:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _index(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path} does not exist or is not a file.")
        file = _plain(path)
        self._files.append(file)
        start = 0
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    self._parse(parse_record(_decoded(line)))
                except InputError as error:
                    raise InputError(f"{path}, line {number}: {error}.") from error
                self._places.append((len(self._files) - 1, start))
            start += len(line)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> StageExample:
        number, start = self._places[index]
        file = self._files[number]
        file.seek(start)
        return self._parse(parse_record(_decoded(file.readline())))


def _plain(path: Path) -> IO[bytes]:
    """A file open for reading at any place."""
    if path.suffix not in COMPRESSED:
        return path.open("rb")
    unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the others
    try:
        with COMPRESSED[path.suffix](path) as packed:
            shutil.copyfileobj(packed, unpacked)
    except UNREADABLE as error:
        unpacked.close()
        raise InputError(f"{path} cannot be read ({error}).") from error
    unpacked.seek(0)
    return unpacked


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 (byte {error.start})") from error


def check_data(path: Path | str, stage: str | None = None) -> DataReport:
    """Read a whole file and count.

    Args:
        path: JSON lines, plain or .xz.
        stage: One of `STAGES`; told from the first line if None.

    Raises:
        InputError: The file is missing or empty, or its first line fits no stage.
    """
    path = Path(path)
    report = DataReport(stage=stage or _stage_of(path))
    lengths: dict[str, list[int]] = {"documents": [], "questions": [], "answers": []}
    for number, example in _lines(path, _parser(report.stage)):
        if isinstance(example, str):
            report.num_faults += 1
            if len(report.faults) < MAX_FAULTS:
                report.faults.append((number, example))
            continue
        questions, answers = _turns(example)
        report.examples += 1
        report.documents += len(example.documents)
        report.answers += len(answers)
        for name, texts in (
            ("documents", example.documents),
            ("questions", questions),
            ("answers", answers),
        ):
            lengths[name] += [len(text.split()) for text in texts]
    if not report.examples and not report.num_faults:
        raise InputError(f"{path} holds no lines; give it one JSON object a line.")
    report.words = {
        name: (min(counts), sum(counts) / len(counts), max(counts))
        for name, counts in lengths.items()
        if counts
    }
    return report


def _turns(example: StageExample) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(example, EndToEndExample):
        return (example.question,), (example.answer,)
    if isinstance(example, JointExample):
        turns = [turn for row in example.rows for turn in row.turns]
        return tuple(turn.prompt for turn in turns), tuple(turn.answer or "" for turn in turns)
    return example.questions, example.answers


def _lines(
    path: Path, parse: Callable[[dict[str, Any]], StageExample]
) -> Iterator[tuple[int, StageExample | str]]:
    """(number, example or what is wrong) of every line that is not blank."""
    for number, line in read_lines(path):
        try:
            yield number, parse(parse_record(line))
        except InputError as error:
            yield number, str(error)


def _parser(stage: str) -> Callable[[dict[str, Any]], StageExample]:
    parsers: dict[str, Callable[[dict[str, Any]], StageExample]] = dict(
        zip(ALL_STAGES, (_joint, _pretraining, _instruction, _end_to_end), strict=True)
    )
    if stage not in parsers:
        raise InputError(f"The stage is {stage!r}, but must be one of {', '.join(ALL_STAGES)}.")
    return parsers[stage]


def _stage_of(path: Path) -> str:
    """The stage whose keys the first line has."""
    _, first = next(read_lines(path), (0, None))
    if first is None:
        raise InputError(f"{path} holds no lines; give it one JSON object a line.")
    try:
        keys = parse_record(first).keys()
    except InputError as error:
        raise InputError(f"{path} has a first line that fits no stage: {error}.") from error
    for key, stage in zip(("rows", "data_type", "answer", "gold_answer"), ALL_STAGES, strict=True):
        if key in keys:
            return stage
    raise InputError(
        f"{path} has a first line that fits no stage: it needs data_type ({PRETRAINING}), answer "
        f"({INSTRUCTION_TUNING}), gold_answer ({END_TO_END}) or rows ({JOINT}); name the stage with --stage."
    )


def _pretraining(record: dict[str, Any]) -> CompressionExample:
    kind = record.get("data_type")
    documents, answers = _texts(record, "docs"), _texts(record, "answers")
    if len(documents) != 1:
        raise InputError(f"docs has {len(documents)} texts, but pretraining compresses one")
    if kind == "paraphrase":
        if len(answers) != 1:
            raise InputError(f"answers has {len(answers)} texts, but a paraphrase is one")
        return CompressionExample(documents, "paraphrase", (), answers)
    if kind != "qa":
        raise InputError(f"data_type is {kind!r}, but must be 'qa' or 'paraphrase'")
    questions = _texts(record, "question")
    if len(questions) != len(answers):
        raise InputError(f"question has {len(questions)} texts, but answers has {len(answers)}")
    return CompressionExample(documents, "qa", questions, answers)


def _instruction(record: dict[str, Any]) -> CompressionExample:
    return CompressionExample(
        _texts(record, "docs"), "answer", (_text(record, "question"),), (_text(record, "answer"),)
    )


def _end_to_end(record: dict[str, Any]) -> EndToEndExample:
    documents = _texts(record, "docs")
    positives = record.get("pos_index", [])
    if not isinstance(positives, list) or not all(
        type(index) is int and 0 <= index < len(documents) for index in positives
    ):
        raise InputError(f"pos_index is {positives!r}, but must list places from 0 to {len(documents) - 1}")
    return EndToEndExample(
        _text(record, "question"), documents, _text(record, "gold_answer"), tuple(positives)
    )


def _joint(record: dict[str, Any]) -> JointExample:
    documents = _texts(record, "docs")
    rows = tuple(
        _row(row, f"rows[{number}]", len(documents)) for number, row in enumerate(_objects(record, "rows"))
    )
    if not rows:
        raise InputError("rows is empty, but must hold at least one")
    searches = tuple(
        Search(_text(each, "question"), _place(each.get("doc"), f"searches[{number}].doc", len(documents)))
        for number, each in enumerate(_objects(record, "searches"))
    )
    return JointExample(documents, rows, searches)


def _row(record: dict[str, Any], name: str, num_documents: int) -> Row:
    read, texts = record.get("read"), record.get("texts")
    if not isinstance(read, list) or not read:
        raise InputError(f"{name}.read is {_shown(read)}, but must list documents")
    places = tuple(_place(place, f"{name}.read", num_documents) for place in read)
    if type(texts) is not int or not 0 <= texts <= len(places):
        raise InputError(f"{name}.texts is {_shown(texts)}, but must be from 0 to {len(places)}")
    turns = []
    for number, turn in enumerate(_objects(record, "turns")):
        kind = "question" if "question" in turn else "instruction"
        answer = None if turn.get("answer", 0) is None else _text(turn, "answer")
        if answer is None and kind == "instruction":
            raise InputError(f"{name}.turns[{number}] has an instruction without answer")
        turns.append(Turn(_text(turn, kind), answer, kind == "question"))
    if not turns:
        raise InputError(f"{name}.turns is empty, but must hold at least one")
    return Row(places, texts, tuple(turns))


def _place(value: object, name: str, count: int) -> int:
    if type(value) is not int or not 0 <= value < count:
        raise InputError(f"{name} is {_shown(value)}, but must be from 0 to {count - 1}")
    return value


def _objects(record: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = record.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise InputError(f"{key} is {_shown(value)}, but must be a list of objects")
    return value


def _text(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key} is {_shown(value)}, but must be a text")
    return value


def _texts(record: dict[str, Any], key: str) -> tuple[str, ...]:
    value = record.get(key)
    if not isinstance(value, list) or not value:
        raise InputError(f"{key} is {_shown(value)}, but must be a list of texts")
    for number, text in enumerate(value):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{key}[{number}] is {_shown(text)}, but must be a text")
    return tuple(value)


def _shown(value: object) -> str:
    """A value for a message; "missing" for none."""
    if value is None:
        return "missing"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}…"
