"""Training data: what is read, and that every kind of fault is told with its line and reason."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from clara.errors import InputError
from clara.training.data import MAX_FAULTS, STAGES, check_data
from clara.training.examples import CompressionExample, EndToEndExample
from conftest import read_stage

QA = {"data_type": "qa", "question": ["a?", "b?"], "answers": ["1", "2"], "docs": ["one two"]}
PARAPHRASE = {"data_type": "paraphrase", "question": [""], "answers": ["two one"], "docs": ["one two"]}
INSTRUCTION = {"question": "a?", "docs": ["x", "y z"], "gold_answer": "1", "answer": "It is 1."}
END_TO_END = {"question": "a?", "docs": ["x", "y z"], "gold_answer": "1", "pos_index": [1]}


def written(path: Path, *records: Any) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def test_each_stage_is_read(tmp_path: Path) -> None:
    assert list(read_stage(written(tmp_path / "a", QA, PARAPHRASE), STAGES[0])) == [
        CompressionExample(("one two",), "qa", ("a?", "b?"), ("1", "2")),
        CompressionExample(("one two",), "paraphrase", (), ("two one",)),
    ]
    assert list(read_stage(written(tmp_path / "b", INSTRUCTION), STAGES[1])) == [
        CompressionExample(("x", "y z"), "answer", ("a?",), ("It is 1.",))
    ]
    assert list(read_stage(written(tmp_path / "c", END_TO_END), STAGES[2])) == [
        EndToEndExample("a?", ("x", "y z"), "1", (1,))
    ]


def test_compressed_files_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.xz"
    with lzma.open(path, "wt", encoding="utf-8") as file:
        file.write(f"\n{json.dumps(END_TO_END)}\n\n")
    assert len(list(read_stage(path, "end-to-end"))) == 1


@pytest.mark.parametrize(
    ("stage", "record", "reason"),
    [
        (0, {**QA, "data_type": "poem"}, "data_type is 'poem'"),
        (0, {**QA, "question": ["a?"]}, "question has 1 texts, but answers has 2"),
        (0, {**QA, "docs": ["x", "y"]}, "docs has 2 texts"),
        (0, {**QA, "docs": [""]}, r'docs\[0\] is ""'),
        (0, {**PARAPHRASE, "answers": ["x", "y"]}, "a paraphrase is one"),
        (1, {**INSTRUCTION, "answer": None}, "answer is missing"),
        (1, {**INSTRUCTION, "docs": "x"}, 'docs is "x", but must be a list of texts'),
        (2, {**END_TO_END, "gold_answer": ["1"]}, "gold_answer is .* must be a text"),
        (2, {**END_TO_END, "pos_index": [2]}, "places from 0 to 1"),
        (2, {**END_TO_END, "pos_index": [True]}, "places from 0 to 1"),
        (2, [1, 2], "a JSON object is wanted, but this is a list"),
    ],
)
def test_a_faulty_line_is_told(tmp_path: Path, stage: int, record: Any, reason: str) -> None:
    good = (QA, INSTRUCTION, END_TO_END)[stage]
    path = written(tmp_path / "data.jsonl", good, record, good)
    with pytest.raises(InputError, match=rf"data.jsonl, line 2: .*{reason}"):
        list(read_stage(path, STAGES[stage]))
    report = check_data(path, STAGES[stage])
    assert (report.examples, report.num_faults, report.faults[0][0]) == (2, 1, 2)


def test_a_line_that_is_not_json_is_told(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(f"{json.dumps(QA)}\n{{'a': 1}}\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2: not JSON"):
        list(read_stage(path, STAGES[0]))


@pytest.mark.parametrize("number", range(3))
def test_a_check_tells_the_stage_and_counts(tmp_path: Path, number: int) -> None:
    record = (QA, INSTRUCTION, END_TO_END)[number]
    report = check_data(written(tmp_path / "data.jsonl", record, record))
    assert (report.stage, report.examples, report.num_faults) == (STAGES[number], 2, 0)
    assert report.documents == 2 * len(record["docs"])
    assert report.words["documents"] == ((2, 2.0, 2) if number == 0 else (1, 1.5, 2))


def test_a_check_keeps_the_first_faults(tmp_path: Path) -> None:
    report = check_data(written(tmp_path / "data.jsonl", QA, *[{}] * 30), STAGES[0])
    assert (report.num_faults, len(report.faults)) == (30, MAX_FAULTS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "holds no lines"), ("x\n", "fits no stage: not JSON"), ('{"a": 1}\n', "fits no stage")],
)
def test_a_file_of_nothing_known_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=reason):
        check_data(path)


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be one of joint, compression-pretraining"):
        check_data(written(tmp_path / "data.jsonl", QA), "pretraining")
