"""Headings and ruled tables of PDFs that reportlab writes."""

from __future__ import annotations

import io
from typing import Any

import pytest

from clara.documents import read_stream
from clara.records import Document

platypus = pytest.importorskip("reportlab.platypus")
STYLES = pytest.importorskip("reportlab.lib.styles").getSampleStyleSheet()
LINES = ("GRID", (0, 0), (-1, -1), 0.5, "black")
TEXT = "The pump is checked by a trained person every week, and the result is written into the book. "
PARTS = [["Part", "Material", "Supplier"], ["Pump", "cast iron", "Alfa Works"], ["Seal", "", "Beta"]]


def text(words: str, style: str = "BodyText") -> Any:
    return platypus.Paragraph(words, STYLES[style])


def table(rows: list[list[Any]], *styles: Any, **options: Any) -> Any:
    return platypus.Table(rows, style=[LINES, *styles], **options)


def pdf(*story: Any, frames: int = 1) -> Document:
    stream = io.BytesIO()
    made = platypus.BaseDocTemplate(stream, pagesize=(612, 792))
    width = 510 // frames
    columns = [platypus.Frame(50 + at * width, 50, width - 20, 690) for at in range(frames)]
    made.addPageTemplates([platypus.PageTemplate("one", columns)])
    made.build(list(story))
    return read_stream(stream.getvalue(), "x", ".pdf")


def test_headings_are_told_by_their_size_and_go_on_over_pages() -> None:
    document = pdf(
        *(
            text("Pumps", "Title"),
            text(TEXT),
            text("Scope", "Heading2"),
            text("Where", "Heading3"),
            text(TEXT),
        ),
        *(platypus.PageBreak(), text(TEXT), text("Costs and all else that is paid for " * 2, "Heading2")),
        *(text(TEXT), text("Last", "Heading2")),
    )
    assert document.title == "Pumps"
    costs = "Costs and all else that is paid for Costs and all else that is paid for"
    assert [(each.page, each.heading) for each in document.sections] == [
        *((1, ""), (1, "Scope > Where"), (2, "Scope > Where"), (2, costs), (2, "")),
    ]
    assert [each.text for each in document.sections] == [TEXT.strip()] * 4 + ["Last"]


def test_letters_of_many_sizes_are_no_headings() -> None:
    document = pdf(*(text(TEXT, style) for style in ("Title", "Heading1", "BodyText", "Heading2")))
    assert {each.heading for each in document.sections} == {""}


@pytest.mark.parametrize("frames", [1, 2])
def test_ruled_tables_keep_the_names_of_their_columns_with_each_row(frames: int) -> None:
    story = [text(TEXT * 12), text("Parts", "Heading2"), table(PARTS), text(TEXT * 30)]
    document = pdf(*story, text("All", "Heading2"), text(TEXT), frames=frames)
    (section,) = (each for each in document.sections if "Alfa" in each.text)
    rows = ["Part | Material | Supplier", "Pump | cast iron | Alfa Works", "Seal |  | Beta"]
    assert section.text.startswith("\n".join(rows))
    assert section.heading == "Parts"
    assert [head for *_, head in section.units[:3]] == ["", rows[0], rows[0]]
    words = " ".join(" ".join(each.text for each in document.sections).split())
    assert words.count(TEXT.strip()) == 43


def test_cells_of_several_lines_and_cells_side_by_side_stay_apart() -> None:
    cell = text("A long description of the pump that needs several lines.")
    near = [("LEFTPADDING", (0, 0), (-1, -1), 1), ("RIGHTPADDING", (0, 0), (-1, -1), 1)]
    rows = [["Part", "Words", "Note"], ["Pumpwheel", cell, "at night"], ["Valvering", "short", "by day"]]
    document = pdf(table([*rows, ["Wordlongerthanitscell", "a", "b"]], *near, colWidths=[52, 60, 45]))
    assert document.sections[0].text.split("\n") == [
        "Part | Words | Note",
        "Pumpwheel | A long description of the pump that needs several lines. | at night",
        "Valvering | short | by day",
        "Wordlongerthanitscell | a | b",
    ]


def test_merged_cells_are_repeated_and_two_rows_of_names_are_joined() -> None:
    rows = [
        *(["Item", "2023", "", "2024", ""], ["", "Q1", "Q2", "Q1", "Q2"], ["Steel", "1", "2", "3", "4"]),
        *(["Without tax", "", "", "", ""], ["Zinc", "5", "6", "7", "8"]),
    ]
    spans = [((0, 0), (0, 1)), ((1, 0), (2, 0)), ((3, 0), (4, 0)), ((0, 3), (4, 3))]
    section = pdf(text(TEXT), table(rows, *[("SPAN", *span) for span in spans])).sections[0]
    assert section.text.split("\n")[-3:] == ["Steel | 1 | 2 | 3 | 4", "Without tax |", "Zinc | 5 | 6 | 7 | 8"]
    assert section.units[-1][2] == "Item | 2023 Q1 | 2023 Q2 | 2024 Q1 | 2024 Q2"


def test_a_table_over_two_pages_has_its_names_on_both() -> None:
    rows = [["Part", "Colour", "Place"], *([f"part{at}", f"colour{at}", f"place{at}"] for at in range(50))]
    names = "Part | Colour | Place"
    for story in ([table(rows)], [table(rows, repeatRows=1)]):
        first, second = pdf(text(TEXT), *story).sections
        assert (first.text.count(names), second.text.count(names)) == (1, 1)
        assert second.text.startswith(names)
        assert second.units[-1][2] == names
        assert "part49 | colour49 | place49" in second.text


def test_boxes_and_drawings_are_no_tables() -> None:
    from reportlab.graphics.shapes import Drawing, Line, String

    drawing = Drawing(200, 200)
    for at in range(0, 201, 20):
        drawing.add(Line(at, 0, at, 200))
        drawing.add(Line(0, at, 200, at))
    drawing.add(String(24, 24, "Peak in May"))
    document = pdf(table([[text(TEXT * 2)]]), drawing)
    assert document.sections[0].text == f"{TEXT}{TEXT.strip()}\n\nPeak in May"


def test_tables_on_turned_pages_are_read() -> None:
    from pypdf import PdfReader, PdfWriter, Transformation

    stream = io.BytesIO()
    platypus.SimpleDocTemplate(stream, pagesize=(612, 792)).build([text(TEXT), table(PARTS)])
    plain = read_stream(stream.getvalue(), "x", ".pdf").sections[0].text
    for angle, move in ((90, (792, 0)), (180, (612, 792)), (270, (0, 612))):
        writer, turned = PdfWriter(), io.BytesIO()
        page = writer.add_page(PdfReader(stream).pages[0])
        page.add_transformation(Transformation().rotate(angle).translate(*move))
        page.mediabox.upper_right = (792, 792)
        writer.write(turned)
        assert read_stream(turned.getvalue(), "x", ".pdf").sections[0].text == plain
