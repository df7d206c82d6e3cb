"""CSV, JSON and JSON lines: every record a section, against Python's own writers of these formats."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara.documents import ReadOptions, read_document, read_stream
from clara.errors import DocumentError
from clara.records import Section

CELLS = st.text(st.sampled_from("abc ,;|\t\"'\nä."), min_size=1, max_size=8).map(lambda text: f"x{text}x")
TABLES = st.integers(2, 5).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=3, max_size=8)
)


def read(text: str, suffix: str, **options: Any) -> tuple[Section, ...]:
    return read_stream(text.encode(), "x", suffix, ReadOptions(**options)).sections


@settings(max_examples=100, deadline=None)
@given(rows=TABLES, end=st.sampled_from(["\n", "\r\n"]))
def test_rows_are_those_that_were_written(rows: list[list[str]], end: str) -> None:
    names = [f"f{at}" for at in range(len(rows[0]))]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    text = stream.getvalue()
    sections = read(text, ".csv", metadata_fields=tuple(names))
    assert [list(each.metadata.values()) for each in sections] == rows
    lines = text.split("\n")
    for row, section in zip(rows, sections, strict=True):
        assert section.lines is not None
        first, last = section.lines
        assert list(csv.reader(io.StringIO("\n".join(lines[first - 1 : last]), newline=""))) == [row]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_told_from_the_rows(delimiter: str) -> None:
    rows = [["place", "told"], ["North, far", "a;b"], ["South", "c|d, e"], ["East", "f"]]
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows(rows)
    found = read(stream.getvalue(), ".csv", metadata_fields=("place", "told"))
    assert [list(each.metadata.values()) for each in found] == rows[1:]


def test_row_becomes_named_lines_and_facts() -> None:
    text = 'name,born,shoe,code,note\nAnn,1931,38.5,007,"likes ""tea"",\nand cake"\n\nBob,,,,\n'
    assert read(text, ".csv") == (
        Section(
            'born: 1931\nshoe: 38.5\ncode: 007\nnote: likes "tea",\nand cake',
            "Ann",
            lines=(2, 3),
            metadata={"name": "Ann", "born": 1931, "shoe": 38.5, "code": "007"},
        ),
        Section("Bob", lines=(5, 5), metadata={"name": "Bob"}),
    )


def test_first_row_of_data_is_no_header() -> None:
    assert [each.text for each in read("1;one\n2;two\n", ".csv")] == [
        "column 1: 1\ncolumn 2: one",
        "column 1: 2\ncolumn 2: two",
    ]
    assert [each.text for each in read("same,same\nx,y\n", ".csv", text_fields=("column 2",))] == [
        "same",
        "y",
    ]


def test_same_records_give_the_same_text_in_every_format() -> None:
    records = [{"title": "A", "year": 1883, "place": "York"}, {"title": "B", "year": 7, "place": "Hull"}]
    table = "title,year,place\n" + "".join(",".join(map(str, each.values())) + "\n" for each in records)
    expected = [(each.heading, each.text, each.metadata) for each in read(table, ".csv")]
    lines = "\n".join(map(json.dumps, records))
    for text, suffix in [
        (json.dumps(records), ".json"),
        (lines, ".jsonl"),
        (table.replace(",", "\t"), ".tsv"),
    ]:
        assert [(each.heading, each.text, each.metadata) for each in read(text, suffix)] == expected


RECORD = {
    "id": 7,
    "headline": "The bridge",
    "body": "Long. " * 20,
    "author": {"name": "Ann", "born": 1931},
    "tags": ["steel", "river"],
    "parts": [{"label": "a"}, {"label": "b"}],
    "open": True,
    "none": None,
    "huge": 10**40,
}


def test_fields_of_json_are_chosen_by_their_paths() -> None:
    (section,) = read(
        json.dumps(RECORD),
        ".json",
        text_fields=("body",),
        title_field="headline",
        metadata_fields=("author.name", "tags", "open", "none"),
    )
    assert section == Section(
        ("Long. " * 20).strip(),
        "The bridge",
        metadata={"author.name": "Ann", "tags": "steel, river", "open": True},
    )
    (section,) = read(json.dumps(RECORD), ".json", text_fields=("author.name", "parts.label"))
    assert section.text == "author.name: Ann\nparts.label: a, b"


def test_by_default_strings_and_numbers_are_text_and_small_scalars_facts() -> None:
    (section,) = read(json.dumps(RECORD), ".json")
    names = ["id", "headline", "body", "author.name", "author.born", "tags", "parts.label", "open", "huge"]
    assert [line.split(":")[0] for line in section.text.split("\n")] == names
    assert section.metadata == {
        "id": 7, "headline": "The bridge", "author.name": "Ann", "author.born": 1931, "open": True
    }  # fmt: skip


COMPANY: dict[str, Any] = {
    "company": "Acme",
    "city": "York",
    "employees": [
        {"name": "Ann Lee", "phone": "555-1001", "skills": ["steel", "glass"]},
        {"name": "Bob Ray", "phone": "555-2002", "posts": [{"at": "Hull", "since": 1990}, {"at": "Leeds"}]},
    ],
}


def test_elements_of_a_list_of_objects_keep_their_fields_together() -> None:
    facts = {"company": "Acme", "city": "York"}
    bob = {"employees.name": "Bob Ray", "employees.phone": "555-2002"}
    lists = "employees.posts"
    expected = (
        Section("company: Acme\ncity: York", metadata=facts),
        Section(
            "phone: 555-1001\nskills: steel, glass",
            "Acme > employees > Ann Lee",
            metadata={**facts, "employees.name": "Ann Lee", "employees.phone": "555-1001"},
        ),
        Section("phone: 555-2002", "Acme > employees > Bob Ray", metadata={**facts, **bob}),
        Section(
            "at: Hull\nsince: 1990",
            "Acme > employees > Bob Ray > posts",
            metadata={**facts, **bob, f"{lists}.at": "Hull", f"{lists}.since": 1990},
        ),
        Section(
            "at: Leeds",
            "Acme > employees > Bob Ray > posts",
            metadata={**facts, **bob, f"{lists}.at": "Leeds"},
        ),
    )
    assert read(json.dumps(COMPANY), ".json") == expected
    lines = read(json.dumps(COMPANY), ".jsonl")
    assert tuple(Section(each.text, each.heading, metadata=each.metadata) for each in lines) == expected
    assert {each.lines for each in lines} == {(1, 1)}


def test_what_a_list_is_in_heads_its_elements() -> None:
    assert [
        (each.heading, each.text) for each in read('[[{"a": 1, "b": 2}, {"a": 3, "b": 4}]]', ".json")
    ] == [
        ("", "a: 1\nb: 2"),
        ("", "a: 3\nb: 4"),
    ]
    wrapped = {"meta": {"rows": [{"title": "A", "on": True}, {"title": "B", "on": False}, "x", "y"]}}
    assert [(each.heading, each.text) for each in read(json.dumps(wrapped), ".json")] == [
        ("", "meta.rows: x, y"),
        ("meta.rows > A", "on: true"),
        ("meta.rows > B", "on: false"),
    ]
    # a title alone is said in the headings of the elements
    titled = {
        "title": "Book",
        "chapters": [{"title": "One", "text": "Long."}, {"title": "Two", "text": "So."}],
    }
    assert [(each.heading, each.text) for each in read(json.dumps(titled), ".json")] == [
        ("Book > chapters > One", "text: Long."),
        ("Book > chapters > Two", "text: So."),
    ]


def test_fields_of_elements_are_chosen_by_their_paths() -> None:
    (phone,) = read(
        json.dumps({**COMPANY, "employees": COMPANY["employees"][1:]}),
        ".json",
        text_fields=("employees.phone",),
        title_field="employees.name",
        metadata_fields=("city", "employees.name"),
    )
    assert phone == Section(
        "555-2002", "Acme > employees > Bob Ray", metadata={"city": "York", "employees.name": "Bob Ray"}
    )
    # elements without a chosen field are left out, whatever their titles
    (city,) = read(json.dumps(COMPANY), ".json", text_fields=("city",))
    assert (city.heading, city.text) == ("", "York")


def test_record_with_one_text_is_that_text() -> None:
    lines = '{"text": "One."}\n\n"Two."\n["Three.", 4]\r\n{"text": null}\n{"text": NaN}\n'
    assert [(each.text, each.lines) for each in read(lines, ".jsonl")] == [
        ("One.", (1, 1)),
        ("Two.", (3, 3)),
        ("Three., 4", (4, 4)),
    ]


def test_missing_fields_name_those_that_are_there() -> None:
    with pytest.raises(
        DocumentError, match=r"x has no field called text or body; its fields are a, b\.c: choose"
    ):
        read('{"a": 1, "b": {"c": 2}}', ".json", text_fields=("text", "body"))


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ('{"a": 1}\n{"a": ', ".json", r"^x, line 2, is not valid JSON \(Extra data\); correct it\.$"),
        ("{", ".jsonl", r"^x, line 1, is not valid JSON"),
        ("[" * 100_000, ".json", r"^x is JSON that is nested too deeply; flatten it\.$"),
        ('{"a": ' * 80 + "1" + "}" * 80, ".jsonl", r"^x, line 1, is JSON that is nested too deeply"),
        ("[1" + "0" * 5000 + "]", ".json", r"^x has a number of thousands of digits; quote it\.$"),
        ("[null, {}, []]", ".json", r"^x holds no text to read"),
        ("a\n1\n" + "y" * 10_000_001, ".csv", r"^x, line 3, holds a row that cannot be read"),
    ],
)
def test_faulty_records_are_refused(text: str, suffix: str, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        read(text, suffix)


def test_lines_that_are_no_json_are_left_out_and_told() -> None:
    read = read_stream(b'{"a": 1}\n{"a" 2}\n{"a": 3}\n', "x", ".jsonl")
    assert [(each.text, each.lines) for each in read.sections] == [("a: 1", (1, 1)), ("a: 3", (3, 3))]
    assert read.left_out == ("line 2 was left out: it is not valid JSON (Expecting ':' delimiter)",)


def test_last_line_that_was_cut_off_is_left_out() -> None:
    whole = '{"text": "One."}\n{"text": "Two."}\n'
    for cut_off in range(len(whole) - 17, len(whole)):
        texts = [each.text for each in read(whole[:cut_off], ".jsonl")]
        assert texts == (["One.", "Two."] if cut_off == len(whole) - 1 else ["One."])


def test_wrong_encodings_of_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("name,place\nJosé,Málaga\n".encode("cp1252"))
    assert read_document(path).sections[0].metadata == {"name": "José", "place": "Málaga"}
    path.write_bytes("name;place\nИван;Москва\nПётр;Тверь\nАнна;Казань\n".encode("cp1251"))
    metadata = [section.metadata for section in read_document(path).sections]
    assert metadata[1] == {"name": "Пётр", "place": "Тверь"}
