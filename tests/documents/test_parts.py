"""Large files in parts: together they are the file, each is read as a part of it, and memory stays small."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clara.documents import (
    ReadOptions,
    cut,
    file_of,
    file_parts,
    parts,
    read_document,
    read_documents,
    read_part,
    read_stream,
)
from clara.errors import DocumentError

SMALL = 2000


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", SMALL)


def words(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [f"w{rng.randrange(10**6)}" for _ in range(count)]


def text(count: int) -> str:
    lines = [" ".join(words(rng, rng)) for rng in [1 + at % 9 for at in range(count)]]
    return "".join(line + ("\n\n" if at % 4 == 3 else "\n") for at, line in enumerate(lines))


def json_lines(count: int) -> str:
    return "".join(json.dumps({"text": " ".join(words(5, at)), "number": at}) + "\n" for at in range(count))


def table(count: int) -> str:
    rows = "".join(f'{at},"first, {at}\nsecond ""{at}"""\n' for at in range(count))
    return f'number,"some\nnote"\n{rows}'


def log(count: int) -> str:
    return "".join(f"2024-05-01 {at // 60 % 24:02}:{at % 60:02}:00 entry {at}\n" for at in range(count))


def python(count: int) -> str:
    return "".join(f"def f{at}():\n    return {at}\n\n\n" for at in range(count))


KINDS: dict[str, Callable[[int], str]] = {
    ".txt": text, ".md": text, ".jsonl": json_lines, ".csv": table, ".log": log, ".py": python
}  # fmt: skip


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_parts_together_are_the_file(tmp_path: Path, suffix: str, end: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(KINDS[suffix](400).replace("\n", end).encode())
    found = list(file_parts(path))
    assert len(found) > 3
    assert b"".join(part.data for part in found) == path.read_bytes()
    assert [part.source for part in found] == [
        str(path), *(f"{path}#part-{number}" for number in range(2, len(found) + 1))
    ]  # fmt: skip
    assert {file_of(part.source) for part in found} == {str(path)}
    assert all(part.data.endswith(b"\n") and SMALL / 2 < len(part.data) <= SMALL for part in found[:-1])
    lines = path.read_bytes().split(b"\n")
    for part in found:
        assert part.data.split(b"\n")[0] == lines[part.first_line - 1]
        assert part.sha256 == hashlib.sha256(part.head + part.data).hexdigest()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".log", ".py"])
def test_sections_of_parts_are_those_of_the_whole_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(KINDS[suffix](300))
    sections = [section for document in read_documents(path) for section in document.sections]
    whole = read_document(path).sections
    if suffix == ".log":  # its sections may end with a part
        kept = [line for section in sections for line in section.text.split("\n")]
        assert kept == [line for section in whole for line in section.text.split("\n")]
    else:
        assert tuple(sections) == whole
    bounds = [section.lines for section in sections]
    assert all(one is not None and two is not None and one[1] < two[0] for one, two in pairwise(bounds))


@pytest.mark.parametrize("suffix", [".txt", ".md", ".jsonl", ".log"])
def test_passages_of_parts_name_the_lines_of_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(KINDS[suffix](200))
    lines = path.read_text().split("\n")
    for document in read_documents(path):
        for passage in cut(document, 30, lambda texts: [len(each.split()) for each in texts]):
            assert passage.lines is not None
            first, last = passage.lines
            on_lines = "\n".join(lines[first - 1 : last])
            assert set(re.findall(r"\w+", passage.text)) <= set(re.findall(r"\w+", on_lines)) | {
                "number",
                "text",
            }


def test_file_that_grows_keeps_its_parts_but_the_last(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(log(300))
    before = {part.source: part.sha256 for part in file_parts(path)}
    path.write_text(log(400))
    after = {part.source: part.sha256 for part in file_parts(path)}
    assert list(before.items())[:-1] == list(after.items())[: len(before) - 1]
    assert len(after) > len(before)


def test_table_of_another_header_has_other_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(table(200))
    before = [part.sha256 for part in file_parts(path)]
    path.write_text(table(200).replace("some", "what"))
    assert not {part.sha256 for part in file_parts(path)} & set(before)


@pytest.mark.parametrize(
    ("suffix", "differs"), [(".csv", True), (".jsonl", True), (".json", True), (".md", False)]
)
def test_records_read_by_other_fields_are_other_parts(tmp_path: Path, suffix: str, differs: bool) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text('{"a": "some text", "b": "more text"}\n')
    chosen = [ReadOptions(), ReadOptions(text_fields=("a",)), ReadOptions(text_fields=("b",))]
    digests = [[part.sha256 for part in file_parts(path, options)] for options in chosen]
    assert digests == [[part.sha256 for part in file_parts(path, options)] for options in chosen]
    assert digests[0] == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert len(set(map(tuple, digests))) == (3 if differs else 1)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_wide_encodings_are_parted_as_utf_8(tmp_path: Path, encoding: str) -> None:
    wide, narrow = tmp_path / "a.txt", tmp_path / "b.txt"
    wide.write_text(text(300) + "Ω 你好 𝄞", encoding=encoding)
    narrow.write_text(text(300) + "Ω 你好 𝄞", encoding="utf-8")
    found, expected = list(read_documents(wide)), list(read_documents(narrow))
    assert len(found) > 2
    joined = "\n\n".join(section.text for document in found for section in document.sections)
    assert joined.split() == "\n\n".join(each.text for doc in expected for each in doc.sections).split()
    assert found[-1].sections[-1].lines == expected[-1].sections[-1].lines


def test_damaged_wide_encoding_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text(300).encode("utf-16") + b"\x00")
    with pytest.raises(DocumentError, match="is damaged: its bytes do not follow the encoding"):
        list(read_documents(path))


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv"])
def test_text_without_line_ends_is_cut_between_words(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text(" ".join(words(9000)))
    found = [part.data for part in file_parts(path)]
    assert len(found) > 2
    assert b"".join(found).decode() == path.read_text()
    assert [word for data in found for word in data.split()] == path.read_bytes().split()
    assert max(map(len, found)) <= SMALL * (1 if suffix == ".txt" else 8)


@given(st.text(st.sampled_from("aé你𝄞"), min_size=20, max_size=60))
def test_characters_are_never_parted(word: str) -> None:
    data = word.encode()
    for size in range(8, len(data)):
        at = parts.after_word(data[:size])
        assert 0 < at <= size
        assert data[:at].decode() + data[at:].decode() == word


@given(st.lists(st.text(st.sampled_from('ab\n",'), max_size=6), min_size=1, max_size=6))
def test_rows_are_never_parted(cells: list[str]) -> None:
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    data = "".join(f"{cell}\n" for cell in quoted).encode()
    ends = [sum(len(cell) + 1 for cell in quoted[:count]) for count in range(len(quoted) + 1)]
    for size in range(len(data) + 1):
        # a quotation mark that is cut from its twin looks like an end: parts are read as far as the last one
        at = parts.after_row(data[:size])
        assert at == max(end for end in ends if end <= size)


def test_memory_is_that_of_a_few_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 100_000)
    path = tmp_path / "a.txt"
    path.write_text(text(2000) * 70)
    assert path.stat().st_size > 3_000_000
    tracemalloc.start()
    try:
        count = sum(len(part.data) for part in file_parts(path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == path.stat().st_size
    assert peak < 600_000


def test_file_is_read_anew_when_it_changes_and_refused_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_bytes = parts._read

    def changing(times: int) -> Callable[..., bytes]:
        left = [times]

        def read(stream: object, start: int, size: int = -1) -> bytes:
            data = read_bytes(stream, start, size)  # type: ignore[arg-type]
            if left[0]:
                left[0] -= 1
                with path.open("a") as writer:
                    writer.write("More.\n")
            return data

        return read

    for name, content in (("a.txt", "Once.\n"), ("b.txt", text(300))):
        path = tmp_path / name
        path.write_text(content)
        monkeypatch.setattr(parts, "_read", changing(1))
        assert "".join(part.data.decode() for part in file_parts(path)) == content + "More.\n"
        monkeypatch.setattr(parts, "_read", changing(9))
        with pytest.raises(
            DocumentError, match=rf"{name} changes while it is read; wait until it is written and"
        ):
            list(file_parts(path))


@pytest.mark.parametrize(("suffix", "most"), [(".html", 50), (".json", 200), (".pdf", 500), (".epub", 500)])
def test_files_too_large_to_be_read_whole_are_refused(tmp_path: Path, suffix: str, most: int) -> None:
    path = tmp_path / f"a{suffix}"
    with path.open("wb") as stream:
        os.truncate(stream.fileno(), most * 1_000_000 + 1)  # takes no room on the disk
    refusal = rf"a\{suffix} is larger than {most} MB, which only text, .* may be; split it\.$"
    with pytest.raises(DocumentError, match=refusal):
        list(file_parts(path))
    with pytest.raises(DocumentError, match=refusal):
        read_document(path)


def test_faulty_line_of_a_later_part_has_its_number_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json_lines(200) + "{faulty}\n" + json_lines(1))
    left_out = [line for document in read_documents(path) for line in document.left_out]
    assert len(left_out) == 1
    assert left_out[0].startswith("line 201 was left out: it is not valid JSON (")


def test_document_is_read_whole_whatever_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(text(300))
    document = read_document(path)
    assert document.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert document.sections[0].text.split() == path.read_text().split()


def test_stream_is_read_as_a_file_of_its_name_would_be(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("Before.\n\n# One\n\nText.\n")
    (part,) = file_parts(path)
    stream = read_stream(path.read_bytes(), suffix=".md")
    assert (stream.source, stream.title) == ("stdin", "One")
    assert (stream.sections, stream.sha256) == (read_part(part).sections, part.sha256)
    with pytest.raises(DocumentError, match=r"^stdin is empty; leave it out"):
        read_stream(b"")
