"""What reaches a store's report besides documents, on a tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from clara.errors import InputError
from clara.indexing import AddReport
from clara.library import Library
from clara.pipeline import Clara
from conftest import tiny_model


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with Library(Clara(*tiny_model("bert"), "tiny"), tmp_path / "store") as opened:
        yield opened


@pytest.mark.parametrize(
    ("blank", "message"),
    [
        ({"n": ""}, r"^'n' holds no text and was not stored"),
        ({"n": " \n", "o": ""}, r"^'n', 'o' hold no text and were not stored"),
        (dict.fromkeys("abcdefg", ""), r"^'a', 'b', 'c', 'd', 'e' and 2 more hold no text and"),
    ],
)
def test_texts_without_text_are_refused_and_the_others_stored(
    library: Library, blank: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        library.add_texts({"first": "w1 w2", **blank, "last": "w3"})
    assert set(library.store.sources()) == {"first", "last"}


def test_report_tells_what_was_passed_over_and_refused(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("README", "a.txt", "b.svg", "c.SVG", "d.xyz"):
        (folder / name).write_text(f"w1 w2 {name}")
    (folder / ".gitignore").write_text("!\n")
    report = library.add(folder)
    assert (report.added, report.passed_over) == (2, {".svg": 2, ".xyz": 1})
    assert [file for file, _ in report.refused] == [str(folder / ".gitignore")]
    both = report + AddReport(added=1, passed_over={".svg": 1, "": 4}) + AddReport()
    assert (both.added, both.passed_over) == (3, {".svg": 3, ".xyz": 1, "": 4})
    assert asdict(both)["passed_over"] == both.passed_over
    assert len(both.refused) == 1
