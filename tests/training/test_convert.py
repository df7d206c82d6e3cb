"""Converted files: read back as their stage's examples, on made records and on real files."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from clara.errors import InputError
from clara.training.convert import convert_data
from clara.training.data import STAGES
from clara.training.examples import CompressionExample, EndToEndExample
from conftest import read_stage

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

READING = {
    "title": "T",
    "passage": "one two",
    "qas": [{"question": "a?", "answers": ["1", "one"]}, {"question": "b?", "answers": []}],
}
SQUAD = {
    "title": "Some_title",
    "paragraphs": [
        {"context": "one", "qas": [{"id": "1", "question": "a?", "answers": [{"text": "1"}]}]},
        {"context": "two", "qas": [{"id": "2", "question": "b?", "answers": [{"text": "2"}]}]},
    ],
}
QUESTION = {
    "question": "a?",
    "answers": ["1"],
    "docs": [{"title": "T", "text": "x"}, {"title": "", "text": "y"}],
    "gold": [1],
}
PAIRS = {"text": "one two", "paraphrases": ["two one", "2 1"]}


def written(path: Path, *records: Any) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("record", "stage", "examples"),
    [
        (READING, STAGES[0], [CompressionExample(("T\none two",), "qa", ("a?",), ("1",))]),
        (
            PAIRS,
            STAGES[0],
            [CompressionExample(("one two",), "paraphrase", (), (text,)) for text in PAIRS["paraphrases"]],
        ),
        (
            SQUAD,
            STAGES[0],
            [
                CompressionExample(("Some title\none",), "qa", ("a?",), ("1",)),
                CompressionExample(("Some title\ntwo",), "qa", ("b?",), ("2",)),
            ],
        ),
        (QUESTION, STAGES[2], [EndToEndExample("a?", ("T\nx", "y"), "1", (1,))]),
        (QUESTION, STAGES[1], [CompressionExample(("T\nx", "y"), "answer", ("a?",), ("1",))]),
    ],
)
def test_records_become_examples(tmp_path: Path, record: Any, stage: str, examples: list[object]) -> None:
    report = convert_data(written(tmp_path / "from", record), tmp_path / "to", stage)
    assert list(read_stage(tmp_path / "to", stage)) == examples
    assert (report.stage, report.records, report.written) == (stage, 1, len(examples))


def test_what_has_no_answer_is_counted(tmp_path: Path) -> None:
    source = written(tmp_path / "from", QUESTION, {**QUESTION, "answers": []})
    report = convert_data(source, tmp_path / "to")
    assert (report.stage, report.records, report.written, report.left_out) == (STAGES[2], 2, 1, 1)


@pytest.mark.parametrize(
    ("records", "stage", "reason"),
    [
        ([{"a": 1}], None, "line 1: a record with the keys a has an unknown format"),
        ([READING], STAGES[2], "passages with questions, which serve compression-pretraining, not"),
        ([READING, {"passage": "x"}], None, "line 2: a record with the keys passage has an unknown format"),
        ([{"question": "a?", "answer": "1"}], None, "line 1: the record has questions without passages"),
        ([READING, QUESTION], None, "line 2: the record holds questions with passages, which do not serve"),
        ([{"text": 1, "paraphrases": ["x"]}], None, "line 1: the record is not a text with paraphrases"),
        ([READING, [1]], None, "line 2: a JSON object is wanted"),
        ([{**QUESTION, "answers": []}], None, "no record with an answer"),
        ([], None, "holds no lines"),
    ],
)
def test_a_fault_is_told_and_leaves_nothing(
    tmp_path: Path, records: list[Any], stage: str | None, reason: str
) -> None:
    source = written(tmp_path / "from", *records)
    with pytest.raises(InputError, match=reason):
        convert_data(source, tmp_path / "to", stage)
    assert [path.name for path in tmp_path.iterdir()] == ["from"]


def test_an_existing_target_is_kept(tmp_path: Path) -> None:
    target = written(tmp_path / "to", READING)
    with pytest.raises(InputError, match="exists"):
        convert_data(written(tmp_path / "from", READING), target)
    assert json.loads(target.read_text()) == READING


@pytest.mark.parametrize("name", ["squad11_dev", "hotpotqa_dev", "2wikimultihop_dev", "paraphrase_wikisplit"])
def test_real_files(tmp_path: Path, name: str) -> None:
    source = DATA / f"{name}.jsonl.xz"
    if not source.is_file():
        pytest.skip(f"{source} is not here")
    report = convert_data(source, tmp_path / "to")
    examples = list(read_stage(tmp_path / "to", report.stage))
    with lzma.open(source, "rt", encoding="utf-8") as lines:
        assert report.records == sum(1 for _ in lines)
    assert report.left_out == 0
    assert len(examples) == report.written >= report.records
