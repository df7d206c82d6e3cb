"""Spreadsheets that are put together here: cells that are repeated, and bad files."""

from __future__ import annotations

from io import BytesIO
from zipfile import ZipFile

import pytest
from openpyxl import Workbook
from openpyxl.chart import BarChart, Reference
from test_archives import packed

from clara.documents import read_stream
from clara.errors import DocumentError
from clara.records import Document

ODF = "urn:oasis:names:tc:opendocument:xmlns"
NAMES = " ".join(f'xmlns:{name}="{ODF}:{name}:1.0"' for name in ("office", "text", "table"))


def cell(text: str = "", repeated: int = 1, inner: str = "") -> str:
    times = f' table:number-columns-repeated="{repeated}"' if repeated > 1 else ""
    if not text:
        return f'<table:table-cell table:style-name="ce1"{times}>{inner}</table:table-cell>'
    said = f"{inner}<text:p>{text}</text:p>"
    return f'<table:table-cell office:value-type="string"{times}>{said}</table:table-cell>'


def row(*cells: str, repeated: int = 1) -> str:
    times = f' table:number-rows-repeated="{repeated}"' if repeated > 1 else ""
    return f"<table:table-row{times}>{''.join(cells)}</table:table-row>"


def ods(*rows: str, manifest: str = "", content: str = "") -> Document:
    content = content or (
        f'<o:c xmlns:o="{ODF}" {NAMES}><table:table table:name="Data">{"".join(rows)}</table:table></o:c>'
    )
    files: dict[str, str | bytes] = {
        "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
        "META-INF/manifest.xml": f'<m:manifest xmlns:m="{ODF}:manifest:1.0">{manifest}</m:manifest>',
        "content.xml": content,
    }
    return read_stream(packed(files), "x", ".ods")


HEAD = (row(cell("Item"), cell("Price")), row(cell("Steel"), cell("12")))


def texts(document: Document) -> list[str]:
    return [f"{each.heading.removeprefix('Data > ')}: {each.text}" for each in document.sections]


def test_rows_and_cells_on_lines_of_their_own_are_read() -> None:
    def indented(*cells: str) -> str:
        value = 'office:value-type="string"'
        made = [
            f"  <table:table-cell {value}>\n   <text:p>{one}</text:p>\n  </table:table-cell>" for one in cells
        ]
        return "\n <table:table-row>\n" + "\n".join(made) + "\n </table:table-row>\n"

    spaced = "the <text:span>North</text:span> <text:span>Sea</text:span>"
    document = ods(indented("Place", "Depth"), indented("Skarne", "31 m"), indented(spaced, "95 m"))
    assert texts(document) == ["Data: Place: Skarne\nDepth: 31 m", "Data: Place: the North Sea\nDepth: 95 m"]
    assert document.left_out == ()


def test_rows_that_repeat_a_million_times_are_cut_and_told() -> None:
    document = ods(*HEAD, row(cell("Zinc"), cell("7"), repeated=1_048_574))
    assert len(document.sections) == 1001
    assert document.left_out == ("1,047,574 repeated rows left out",)
    assert document.sections[1].text == "Item: Zinc\nPrice: 7"
    document = ods(*HEAD, row(cell("Zinc"), cell("7"), repeated=300))
    assert (len(document.sections), document.left_out) == (301, ())


def test_cells_that_repeat_to_the_last_column_are_cut_and_told() -> None:
    document = ods(row(cell("a", 300), cell("Last")), row(cell("1", 300), cell("2")))
    assert document.left_out == ("88 repeated cells left out",)
    assert document.sections[1].text.endswith("column 256: 1\ncolumn 301: 2")


def test_blank_rows_and_cells_that_only_have_a_format_cost_nothing_and_are_no_loss() -> None:
    blank = row(cell("", 16384), repeated=1_048_000)
    document = ods(*HEAD, blank, row(cell("Zinc"), cell("7"), cell("", 16382)), blank)
    assert texts(document) == texts(ods(*HEAD, row(cell()), row(cell("Zinc"), cell("7"))))
    assert document.left_out == ()


def test_cells_that_span_a_rectangle_beyond_memory_are_refused() -> None:
    far = row(cell("1"), cell("", 16_000), cell("2"))
    with pytest.raises(DocumentError, match="too far apart"):
        ods(*[far] * 400)


def test_comments_on_cells_are_read() -> None:
    note = "<office:annotation><text:p>Ask <text:span>Eve</text:span> &amp; Bo.</text:p></office:annotation>"
    document = ods(*HEAD, row(cell("Zinc"), cell("7", inner=note)), row(cell(), cell(inner=note)))
    assert document.sections[-1].heading == "Comments"
    assert document.sections[-1].text == "Comment on B3: Ask Eve & Bo.\nComment on B4: Ask Eve & Bo."


def test_damaged_and_encrypted_sheets_are_refused_soon() -> None:
    start = f'<o:c xmlns:o="{ODF}" {NAMES}><table:table table:name="D"><table:table-row>'
    with pytest.raises(DocumentError, match="damaged spreadsheet"):  # calamine alone never comes back
        ods(content=f'{start}<table:table-cell office:value-type="string"><text:p>A</text:p></table:x></o:c>')
    with pytest.raises(DocumentError, match="entities"):
        ods(content=f'<!DOCTYPE a [<!ENTITY b "c">]>{start}</table:table-row></table:table></o:c>')
    with pytest.raises(DocumentError, match="encrypted"):
        ods(manifest="<m:file-entry><m:encryption-data/></m:file-entry>", content="\0\1")


def xlsx(book: Workbook) -> Document:
    stream = BytesIO()
    book.save(stream)
    return read_stream(stream.getvalue(), "x", ".xlsx")


def test_numbers_keep_their_digits() -> None:
    book = Workbook()
    for row_of in (
        ["Name", "Id"],
        ["a", 1234567890123456],
        ["b", 12345678901234570],
        ["c", 3.14159265358979],
    ):
        book.active.append(row_of)
    book.active.append(["d", 0.1 + 0.2])
    assert [one.text.rpartition(" ")[2] for one in xlsx(book).sections] == [
        "1234567890123456", "12345678901234570", "3.14159265358979", "0.3"
    ]  # fmt: skip


def test_addresses_of_links_are_read() -> None:
    book = Workbook()
    for row_of in (["Name", "Page"], ["Ann", "her site"], ["Bo", "https://example.org/b"], ["Cy", None]):
        book.active.append(row_of)
    book.active["B2"].hyperlink = "https://example.org/a"
    book.active["B3"].hyperlink = "https://example.org/b"
    book.active["B4"] = '=HYPERLINK("https://example.org/c","page")'
    assert [one.text for one in xlsx(book).sections] == [
        "Page: her site (https://example.org/a)",
        "Page: https://example.org/b",
        "Page: https://example.org/c",  # openpyxl writes no results of formulas
    ]
    link = '<text:a xlink:href="https://example.org/a?b=1&amp;c=2">her site</text:a>'
    document = ods(*HEAD, row(cell("Zinc"), cell(link)))
    assert texts(document)[-1].endswith("Price: her site (https://example.org/a?b=1&c=2)")


def test_charts_are_told_and_text_boxes_are_read() -> None:
    book = Workbook()
    for row_of in (["Name", "Id"], ["a", 1], ["b", 2]):
        book.active.append(row_of)
    chart = BarChart()
    chart.add_data(Reference(book.active, min_col=2, min_row=1, max_row=3))
    book.create_chartsheet("Sales").add_chart(chart)
    document = xlsx(book)
    assert document.left_out == ("1 chart left out", "the sheet Sales was left out: it is a chart")
    assert [one.text for one in document.sections] == ["Id: 1", "Id: 2"]
    stream = BytesIO()
    book.save(stream)
    with ZipFile(stream, "a") as archive:
        main = "http://schemas.openxmlformats.org/drawingml/2006/main"
        archive.writestr(
            "xl/drawings/drawing9.xml", f'<d xmlns:a="{main}"><a:p><a:t>Net prices.</a:t></a:p></d>'
        )
    document = read_stream(stream.getvalue(), "x", ".xlsx")
    assert (document.sections[-1].heading, document.sections[-1].text) == ("Text boxes", "Net prices.")
