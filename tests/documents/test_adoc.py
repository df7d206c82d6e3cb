"""AsciiDoc with conditions, quotations, admonitions and tables in other formats.

pytest tests/documents/test_adoc.py
"""

from __future__ import annotations

from clara.documents import read_stream
from clara.records import Document


def read(markup: str) -> Document:
    return read_stream(markup.encode(), suffix=".adoc")


def words(markup: str) -> str:
    return "\n\n".join(section.text for section in read(markup).sections)


def test_lines_under_conditions_that_are_not_met_are_counted() -> None:
    document = read(
        ":product: Zorblax\n\nifdef::product[]\nKnown {product}.\nendif::[]\n\n"
        "ifndef::product[]\nUnknown.\n\nifdef::product[Inner.]\nTwo.\nendif::product[]\n"
        "ifdef::draft,product[One of them.]\nifdef::draft+product[Both of them.]\nifndef::draft[Final.]\n"
    )
    assert document.sections[-1].text == "Known Zorblax.\n\nOne of them. Final."
    assert document.left_out == ("4 lines under conditions that are not met left out",)


def test_who_is_quoted_is_read() -> None:
    assert words(
        '[quote, "Smith, John", The Book]\nRain is water.\n\n[quote, Ann Lee]\n____\nFirst.\n\n'
        "Second.\n____\n\n"
        "[verse, Carl Sandburg, Fog]\nThe fog comes\non little cat feet.\n\nAfter.\n"
    ) == (
        "Rain is water.\n\n— Smith, John, The Book\n\nFirst.\n\nSecond.\n\n— Ann Lee\n\n"
        "The fog comes\non little cat feet.\n\n— Carl Sandburg, Fog\n\nAfter."
    )


def test_labels_of_admonitions_are_read() -> None:
    assert (
        words("[WARNING]\nMind the gap.\n\n[NOTE]\n====\nOne.\n\nTwo.\n====\n\n[TIP]\n* a\n* b\n\nAfter.\n")
        == "WARNING: Mind the gap.\n\nNOTE: One.\n\nTwo.\n\nTIP:\n\n- a\n- b\n\nAfter."
    )


def test_tables_in_other_formats() -> None:
    assert (
        words(
            '.Prices\n[format=csv,options="header"]\n|===\nItem,Price\n"Lamp, red",3\n|===\n\n'
            ',===\na,b\n\nc,"d\ne"\n,===\n\n:===\nx:y\n1:2\n:===\n\n[format=csv,separator=;]\n|===\np;q\n|===\n'
        )
        == "Prices\n\nItem | Price\nLamp, red | 3\n\na | b\nc | d e\n\nx | y\n1 | 2\n\np | q"
    )


def test_table_within_a_table_keeps_its_rows() -> None:
    assert words("[cols=2]\n|===\n|1\na|\n!===\n!x !y\n!z !w\n!===\n|2 |c\n|===\n") == "1 | x, y; z, w\n2 | c"


def test_numbers_of_lists_go_on_after_what_belongs_to_an_item() -> None:
    assert (
        words(
            ". one\n+\n----\ncode\n----\n. two\n+\nMore on two.\n. three\n\nText.\n\n"
            "[start=4]\n. four\n\nText.\n\n7. seven\n"
        )
        == "1. one\n\ncode\n\n2. two\n\nMore on two.\n\n3. three\n\nText.\n\n4. four\n\nText.\n\n7. seven"
    )


def test_titles_of_code_are_read() -> None:
    assert words(".Greeting\n[source,ruby]\n----\nputs 1\n----\n") == "Greeting\n\nputs 1"
