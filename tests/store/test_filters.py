"""Filters against a slow twin in plain Python, over tables like the store's."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clara.errors import InputError
from clara.store import Filter
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
        ("year>1999", {4, 6}),
        ("year>=1999", {3, 4, 5, 6}),
        ("year>k", {6}),
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


def slow(metadata: dict[str, Any] | None, name: str, operator: str, value: str) -> bool:
    """Whether a passage's metadata has the value, by the rules in words."""
    held = (metadata or {}).get(name)
    if operator == "!=":
        return not slow(metadata, name, "=", value)
    if isinstance(held, bool) or held is None:
        return operator == "=" and held is not None and value == str(held).lower()
    if isinstance(held, str):
        pair: tuple[Any, Any] = (held, value)
    else:
        try:
            pair = (held, float(value))
        except ValueError:
            return False
        if not math.isfinite(pair[1]):
            return False
    left, right = pair
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
            | st.sampled_from(["1", "a", "", "é", "-0.5"])
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


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "cannot be understood; allowed are file=PATTERN"),
        ("format", "cannot be understood; allowed are"),
        ("format=", "cannot be understood"),
        ("=pdf", "cannot be understood"),
        ("file>a", r"compares file with >, but file takes = !=\.$"),
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
        steps = database.execute(f"EXPLAIN QUERY PLAN {chosen.sql}", chosen.parameters).fetchall()
    told = [text for *_, text in steps if "passages" in text]
    assert told
    assert all("USING COVERING INDEX" in text for text in told), told
