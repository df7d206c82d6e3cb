"""Filters against a slow twin in plain Python, over tables like the store's."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara.documents import file_of
from clara.errors import InputError
from clara.records import Document, Passage
from clara.store import Filter, MemoryStore, NewDocument
from clara.store.filters import number_in, prepare
from clara.store.schema import Manifest, create_database

NAMES = ["/a/x.pdf", "/a/y.PDF", "/b/x.md", "/b/notes%1.md", "/c/50_1.txt", "plain"]
HEADINGS = ["", "Rent > Deposit", "rent", "100% of it", "under_score", "underXscore"]
METADATA: list[dict[str, Any] | None] = [
    None,
    {},
    {"year": 1999, "author": "Kim"},
    {"year": 2001.5, "author": "kim o'hara", "read": True},
    {"year": "1999", "read": False},
    {"year": "late", "author": '"); DROP TABLE passages; --', "x.y": 1, "x": {"y": 2}},
]


def stored(rows: list[tuple[str, str, int | None, dict[str, Any] | None, float]]) -> sqlite3.Connection:
    database = sqlite3.connect(":memory:")
    prepare(database)
    database.executescript(
        "CREATE TABLE documents (id INTEGER PRIMARY KEY, source TEXT, title TEXT, modified REAL);"
        "CREATE TABLE passages (id INTEGER PRIMARY KEY, document INTEGER, title TEXT, heading TEXT,"
        " page INTEGER, metadata TEXT);"
    )
    for number, (source, heading, page, metadata, modified) in enumerate(rows, 1):
        held = None if metadata is None else json.dumps(metadata)
        database.execute("INSERT INTO documents VALUES (?, ?, '', ?)", (number, source, modified))
        database.execute(
            "INSERT INTO passages VALUES (?, ?, 'T', ?, ?, ?)", (number, number, heading, page, held)
        )
    return database


def day(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()


ROWS = [
    (name, heading, page, metadata, modified)
    for name, heading, page, metadata, modified in zip(
        NAMES,
        HEADINGS,
        [None, 1, 2, 3, 10, None],
        METADATA,
        [0.0, *(day("2026-01-01") + seconds for seconds in (-1, 0, 86399, 86400, 9e7))],
        strict=True,
    )
]


def allowed(*expressions: str) -> set[int]:
    where = Filter.parse(expressions)
    rows = stored(ROWS).execute(where.sql, where.parameters).fetchall()
    assert len(set(rows)) == len(rows)
    return {number for (number,) in rows}


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("file=/a/*", {1, 2}),
        ("file != /a/*", {3, 4, 5, 6}),
        ("file=/b/[nx]*.md", {3, 4}),
        ("format=pdf", {1, 2}),
        ("format=.PDF", {1, 2}),
        ("format!=pdf", {3, 4, 5, 6}),
        ("format=md", {3, 4}),
        ("heading~RENT", {2, 3}),
        ("heading~100%", {4}),
        ("heading~under_", {5}),
        ("heading=rent", {3}),
        ("page>=2", {3, 4, 5}),
        ("page<10", {2, 3, 4}),
        ("page!=2", {2, 4, 5}),
        ("modified>=2026-01-01", {3, 4, 5, 6}),
        ("modified=2026-01-01", {3, 4}),
        ("modified!=2026-01-01", {1, 2, 5, 6}),
        ("modified<=2026-01-01", {1, 2, 3, 4}),
        ("modified<2026-01-01", {1, 2}),
        ("modified>2026-01-01", {5, 6}),
        ("year=1999", {3, 5}),
        ("year!=1999", {1, 2, 4, 6}),
        ("year>1999", {4}),
        ("year>=1999", {3, 4, 5}),
        ("year>k", {6}),
        ("file~B/NOTES", {4}),
        ("file~50_", {5}),
        ("author=Kim", {3}),
        ("author~kim", {3, 4}),
        ("author=kim o'hara", {4}),
        ('author="); DROP TABLE passages; --', {6}),
        ("read=true", {4}),
        ("read!=true", {1, 2, 3, 5, 6}),
        ("x.y=1", {6}),
        ("x.y=2", set()),
    ],
)
def test_each_expression(expression: str, wanted: set[int]) -> None:
    assert allowed(expression) == wanted


def as_float(held: str | float) -> float | None:
    try:
        number = float(held)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def slow(metadata: dict[str, Any] | None, name: str, operator: str, value: str) -> bool:
    """Whether a passage's metadata has the value, by the rules in words."""
    held = (metadata or {}).get(name)
    if operator == "!=":
        return not slow(metadata, name, "=", value)
    if isinstance(held, bool) or held is None:
        return operator == "=" and held is not None and value == str(held).lower()
    number = as_float(value)
    left: Any = held if number is None else as_float(held)
    right: Any = value if number is None else number
    if type(left) is not type(right):
        return False
    return bool(
        {"=": left == right, "<": left < right, "<=": left <= right, ">": left > right}.get(
            operator, left >= right
        )
    )


@settings(deadline=None, max_examples=60)
@given(
    held=st.lists(
        st.none()
        | st.dictionaries(
            st.just("year"),
            st.integers(-3, 3)
            | st.floats(-3, 3)
            | st.sampled_from(["1", "a", "", "é", "-0.5", "2.50", "1 b", "1-2", "+3", "1.2.3", "nan"])
            | st.booleans(),
        ),
        min_size=1,
        max_size=8,
    ),
    operator=st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
    value=st.sampled_from(["1", "a", "-0.5", "true", "nan", "é", "2.5", "1e400"]),
)
def test_metadata_as_the_slow_twin(held: list[dict[str, Any] | None], operator: str, value: str) -> None:
    if value == "true" and operator not in ("=", "!="):
        value = "a"
    database = stored([("f", "", None, metadata, 0.0) for metadata in held])
    where = Filter.parse(f"year{operator}{value}")
    found = {number for (number,) in database.execute(where.sql, where.parameters)}
    assert found == {
        number for number, metadata in enumerate(held, 1) if slow(metadata, "year", operator, value)
    }


@settings(deadline=None, max_examples=60)
@given(pattern=st.text("ab/*?.x", min_size=1, max_size=6))
def test_file_patterns_as_in_python(pattern: str) -> None:
    names = ["a", "b/a", "a.x", "ab/x.a", "/a/b", "x"]
    database = stored([(name, "", None, None, 0.0) for name in names])
    where = Filter.parse(f"file={pattern}")
    found = {number for (number,) in database.execute(where.sql, where.parameters)}
    assert found == {number for number, name in enumerate(names, 1) if fnmatchcase(name, pattern.strip())}


VERSIONS: list[Any] = [
    5.04,
    "5.10",
    "6.06 LTS",
    "8.04 LTS",
    "14.04 LTS",
    20.04,
    "1,234.50",
    "12,34",
    "",
    True,
]


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("version>20", [20.04, "1,234.50"]),
        ("version<5.2", [5.04, "5.10"]),
        ("version=5.1", ["5.10"]),
        ("version=1,234.5", ["1,234.50"]),
        ("version<=1,234.50", [5.04, "5.10", 20.04, "1,234.50"]),
        ("version>=14.04 LTS", ["6.06 LTS", "8.04 LTS", "14.04 LTS", "5.10"]),
        ("version=6.06 LTS", ["6.06 LTS"]),
        ("version~lts", ["6.06 LTS", "8.04 LTS", "14.04 LTS"]),
    ],
)
def test_numbers_are_compared_with_numbers_alone(expression: str, wanted: list[Any]) -> None:
    database = stored([("f", "", None, {"version": version}, 0.0) for version in VERSIONS])
    where = Filter.parse(expression)
    found = [VERSIONS[number - 1] for (number,) in database.execute(where.sql, where.parameters)]
    assert sorted(map(str, found)) == sorted(map(str, wanted))


def test_a_column_of_numbers_has_no_text_to_compare_with() -> None:
    database = stored([("f", "", None, {"Close": close}, 0.0) for close in (1, 2.5)])
    for expression, count in (("Close>abc", 0), ("Close<abc", 0), ("Close!=abc", 2)):
        where = Filter.parse(expression)
        assert len(database.execute(where.sql, where.parameters).fetchall()) == count


def test_days_are_compared_with_days_alone() -> None:
    held = ["2025-12-31", "2026-01-01T10:00", "unknown", "n/a", 20260101]
    database = stored([("f", "", None, {"start": one}, 0.0) for one in held])
    for expression, wanted in (
        ("start>=2026-01-01", held[1:2]),
        ("start<2026-01", held[:1]),
        ("start>=2026", [held[1], held[4]]),
        ("start=2025", held[:1]),
        ("start>o", held[2:3]),
    ):
        where = Filter.parse(expression)
        assert [held[number - 1] for (number,) in database.execute(where.sql, where.parameters)] == wanted, (
            expression
        )


def test_numbers_that_name_things_are_compared_with_every_digit() -> None:
    held: list[Any] = [2**53, 2**53 + 1, str(2**53 + 1)]
    database = stored([("f", "", None, {"id": one}, 0.0) for one in held])
    where = Filter.parse(f"id={2**53 + 1}")
    assert database.execute(where.sql, where.parameters).fetchall() == [(2,), (3,)]


@settings(deadline=None)
@given(st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_it_was_written(number: float) -> None:
    assert number_in(str(number)) == number
    if abs(number) < 1e15:
        assert number_in(f"{number:,}") == number


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "1,23", "1234,567", ",123", "1_000", " 1", "1.2.3", "0x1", "nan", "inf", "1e999", "٣"],
)
def test_what_is_no_number_as_a_whole(text: str) -> None:
    assert number_in(text) is None


def test_a_relative_path_is_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my [1] files"
    (folder / "docs").mkdir(parents=True)
    monkeypatch.chdir(folder)
    names = [f"{folder}/docs/tqdm.md", f"{folder}/docs/a[1].md", "/other/docs/tqdm.md", "docs/tqdm.md"]
    database = stored([(name, "", None, None, 0.0) for name in names])
    for expression, wanted in (
        ("file=docs/tqdm.md", {1, 4}),
        ("file!=docs/tqdm.md", {2, 3}),
        ("file=./docs/../docs/t*", {1}),
        ("file=../my*/docs/t*", {1}),
        ("file=docs/a[1].md", {2}),
        (f"file={folder}/docs/tqdm.md", {1}),
        ("file=*tqdm*", {1, 3, 4}),
        ("file~tqdm", {1, 3, 4}),
    ):
        where = Filter.parse(expression)
        found = {number for (number,) in database.execute(where.sql, where.parameters)}
        assert found == wanted, expression


def test_a_filter_is_parsed_where_the_working_folder_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    where = Filter.parse("file=a")
    assert stored([("a", "", None, None, 0.0)]).execute(where.sql, where.parameters).fetchall() == [(1,)]


def test_bytes_that_are_no_text_are_compared_as_they_are_stored() -> None:
    database = stored([("/bad\\udcffname.txt", "", None, None, 0.0)])
    where = Filter.parse("file=*/bad\udcffname.txt")
    assert database.execute(where.sql, where.parameters).fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"format": "md", "page": 3},
            r"is of type dict, .*\['format=md', 'page=3'\]",
        ),
        (
            [("format", "md")],
            r"filter \('format', 'md'\) is of type tuple, but must be a string",
        ),
        (5, "filter 5 is of type int, but must be a string"),
    ],
)
def test_what_is_no_text_is_refused_in_a_sentence(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Filter.parse(given)


def test_a_filter_may_be_given_for_its_expressions() -> None:
    where = Filter.parse("format=md")
    assert Filter.parse(where) == where


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    """Two passages with metadata and one without."""
    with MemoryStore.create(
        tmp_path / "store", fingerprint="f", model="m", memory_dim=2, embedding_dim=None
    ) as opened:
        held: list[dict[str, Any]] = [{"Version": 5.04, "author": "Kim"}, {"Größe": 1}, {}]
        for number, metadata in enumerate(held):
            document = Document(f"{number}.md", "T", (), str(number))
            passage = Passage(f"text {number} formt", metadata=metadata)
            opened.add([NewDocument(document, [passage], [np.ones((1, 2))])])
        yield opened


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (
            "version>20",
            r"filter version>20 asks for the field version, which no passage has; perhaps Version is meant, "
            r"and there are file, format, title, heading, page, modified, and of the metadata author, Größe, "
            r"Version\.$",
        ),
        ("formt=md", "field formt, which no passage has; perhaps format is meant, and there are file"),
        ("formt!=md", "perhaps format is meant"),
        ("Format=md", "perhaps format is meant"),
        ("xyz~md", r"which no passage has; there are .* of the metadata author, Größe, Version\.$"),
    ],
)
def test_a_field_that_no_passage_has_is_refused(store: MemoryStore, expression: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        store.filtered(Filter.parse(expression))
    with pytest.raises(InputError, match="which no passage has"):
        store.filtered(Filter.parse(["format=md", expression]))


def test_fields_that_there_are_may_hold_of_nothing(store: MemoryStore) -> None:
    for expression, count in (("Version>20", 0), ("Größe=7", 0), ("Größe!=1", 2), ("author=Kim", 1)):
        assert len(store.filtered(Filter.parse(expression))) == count
    store.remove(f"{number}.md" for number in range(2))
    with pytest.raises(InputError, match="page, modified, and no passage has metadata"):
        store.filtered(Filter.parse("Version>20"))
    store.remove("2.md")
    assert len(store.filtered(Filter.parse("Version>20"))) == 0  # of an empty store nothing is known


@pytest.mark.parametrize(
    "name", ["Unit price (EUR)", "100 m", "2024", "profit/loss", "naïve é", "a.b", "$", "it's"]
)
def test_fields_are_called_as_tables_call_them(tmp_path: Path, name: str) -> None:
    with MemoryStore.create(tmp_path, fingerprint="f", model="m", memory_dim=2, embedding_dim=None) as store:
        for number in range(4):
            passage = Passage("text", metadata={name: number, "other": 9})
            store.add(
                [NewDocument(Document(f"{number}", "T", (), str(number)), [passage], [np.ones((1, 2))])]
            )
        for expression in (f"{name}>1", f" {name}  >= 2 "):
            found = store.filtered(Filter.parse(expression))
            assert len(found) == sum(number > 1 for number in range(4))


def test_of_many_fields_a_few_are_told(tmp_path: Path) -> None:
    with MemoryStore.create(tmp_path, fingerprint="f", model="m", memory_dim=2, embedding_dim=None) as store:
        passage = Passage("text", metadata={f"field{number:02}": number for number in range(25)})
        store.add([NewDocument(Document("a", "T", (), "a"), [passage], [np.ones((1, 2))])])
        with pytest.raises(InputError, match=r"field08, field09 and 15 more\.$"):
            store.filtered(Filter.parse("other=1"))


@pytest.mark.parametrize("pattern", ["/a/[1].csv", "/a/*", "*.csv", "/b/x.csv"])
def test_parts_go_with_their_file(pattern: str) -> None:
    sources = [
        "/a/[1].csv",
        "/a/[1].csv#part-2",
        "/a/[1].csv#part-12",
        "/b/x.csv#part-3",
        "/b/x.csv#part",
        "/c",
    ]
    rows = stored([(source, "", None, None, 0.0) for source in sources])

    def found(expression: str) -> list[str]:
        where = Filter.parse(expression)
        return [sources[number - 1] for (number,) in rows.execute(where.sql, where.parameters)]

    def fits(source: str) -> bool:
        return file_of(source) == pattern or fnmatchcase(file_of(source), pattern)

    assert sorted(found(f"file={pattern}")) == sorted(filter(fits, sources))
    assert sorted(found(f"file!={pattern}")) == sorted(source for source in sources if not fits(source))
    assert len(found("format=csv")) == 4
    assert len(found("format!=csv")) == 2


def test_several_must_all_hold() -> None:
    both = allowed("heading~rent", "page>=2")
    assert both == allowed("heading~rent") & allowed("page>=2") == {3}
    assert str(Filter.parse(["page >= 2", "year=1999"])) == "page>=2 and year=1999"


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=20) | st.text("abfile.='\"~<>!% 2", max_size=20))
def test_any_text_is_a_filter_or_an_error(expression: str) -> None:
    with suppress(InputError):
        where = Filter.parse(expression)
        assert where.sql.count("?") == len(where.parameters)
        stored(ROWS).execute(where.sql, where.parameters).fetchall()


@pytest.mark.parametrize("expression", ["a" + " " * 200_000, "a=" + " " * 200_000 + "b", " " * 200_000])
def test_long_expressions_of_blanks_are_read_in_linear_time(expression: str) -> None:
    started = time.process_time()
    with suppress(InputError):
        Filter.parse(expression)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "cannot be understood; allowed are file=PATTERN"),
        ("format", "cannot be understood; allowed are"),
        ("format=", "cannot be understood"),
        ("=pdf", "cannot be understood"),
        ("na\0me<0", "cannot be understood"),
        ('na"me=1', "cannot be understood"),
        ("file>a", r"compares file with >, but file takes = != ~\.$"),
        ("format~pdf", r"compares format with ~, but format takes = !=\.$"),
        ("page=two", "page 'two' is not a number; write it as in page=3"),
        ("modified>=yesterday", "day 'yesterday' is not a date; write it as in modified>=2026-01-01"),
        ("modified=2026-13-01", "is not a date"),
    ],
)
def test_faulty_expressions(expression: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Filter.parse(expression)
    with pytest.raises(InputError, match="filter is empty; allowed are"):
        Filter.parse([])


@pytest.mark.parametrize(
    "expressions", [["year>2000"], ["page<=3"], ["heading~rent"], ["title=T", "file=/a/*"], ["format=pdf"]]
)
def test_no_filter_reads_past_the_texts(tmp_path: Path, expressions: list[str]) -> None:
    path = tmp_path / "store.sqlite3"
    create_database(path, Manifest("fingerprint", "model", 4, None, 0.0))
    chosen = Filter.parse(expressions)
    with closing(sqlite3.connect(path)) as database:
        prepare(database)
        steps = database.execute(f"EXPLAIN QUERY PLAN {chosen.sql}", chosen.parameters).fetchall()
    told = [text for *_, text in steps if "passages" in text]
    assert told
    assert all("USING COVERING INDEX" in text for text in told), told
