"""Files of JSON lines: compressed or not they read the same, and what is damaged is told in a sentence."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from clara.datasets.json_lines import read_records
from clara.errors import InputError
from clara.evaluation.questions import read_evaluation_set
from clara.training.convert import convert_data
from clara.training.data import ExampleFile, check_data
from clara.training.examples import read_reading_examples

RECORD: dict[str, Any] = {
    "id": "1",
    "title": "",
    "passage": "Ada lives in Oslo.",
    "qas": [{"question": "Where does Ada live?", "answers": ["Oslo"]}],
}
LINE = json.dumps(RECORD).encode()
DAMAGED = {
    "cut.jsonl.xz": lzma.compress(LINE * 99)[:-20],
    "page.jsonl.xz": b"<html>not found</html>",
    "cut.jsonl.gz": gzip.compress(LINE * 99)[:-20],
    "page.jsonl.gz": b"<html>not found</html>",
    "latin.jsonl": '{"title": "é"}'.encode("latin-1"),
}
READERS: dict[str, Callable[[Path], Iterable[Any]]] = {
    "records": read_records,
    "reading examples": read_reading_examples,
    "check": lambda path: [check_data(path)],
    "train": lambda path: ExampleFile([path], "compression-pretraining"),
    "convert": lambda path: [convert_data(path, path.with_name("converted"))],
    "evaluate": lambda path: [read_evaluation_set([str(path)])],
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_file_is_told(tmp_path: Path, name: str, reader: str) -> None:
    path = tmp_path / name
    path.write_bytes(DAMAGED[name])
    with pytest.raises(InputError, match=name):
        list(READERS[reader](path))


def test_compressed_or_not(tmp_path: Path) -> None:
    text = b"\n" + LINE + b"\n\n" + LINE
    (tmp_path / "plain.jsonl").write_bytes(text)
    (tmp_path / "x.jsonl.xz").write_bytes(lzma.compress(text))
    (tmp_path / "g.jsonl.gz").write_bytes(gzip.compress(text))
    for name in ("plain.jsonl", "x.jsonl.xz", "g.jsonl.gz"):
        path = tmp_path / name
        assert list(read_records(path)) == [(f"{path}, line 2", RECORD), (f"{path}, line 4", RECORD)]


@pytest.mark.parametrize(
    "change",
    [
        {"qas": [{"question": "Where?", "answers": "Oslo"}]},
        {"qas": [{"question": None, "answers": ["Oslo"]}]},
        {"qas": [{"question": "Where?", "answers": [7]}]},
        {"qas": ["Where?"]},
        {"passage": None},
        {"title": 3},
    ],
)
def test_a_reading_record_of_other_kinds_of_values_is_told(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "passages.jsonl"
    path.write_bytes(LINE + b"\n" + json.dumps({**RECORD, **change}).encode())
    with pytest.raises(InputError, match=r"passages\.jsonl, line 2: not a reading record"):
        list(read_reading_examples(path))
