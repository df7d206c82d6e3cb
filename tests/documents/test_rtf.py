"""Rich text as Word, WordPad and others write it.

pytest tests/documents/test_rtf.py
"""

from __future__ import annotations

import pytest

from clara.documents import read_stream
from clara.records import Document


def read(markup: str | bytes) -> Document:
    return read_stream(markup if isinstance(markup, bytes) else markup.encode("latin-1"), suffix=".rtf")


def words(markup: str | bytes) -> str:
    return "\n".join(section.text for section in read(markup).sections)


@pytest.mark.parametrize(
    ("page", "encoding", "text"),
    [
        (1251, "cp1251", "Отчёт за март"),
        (1250, "cp1250", "Příliš žluťoučký kůň"),
        (932, "cp932", "予定表の一覧 アイウ"),
        (936, "cp936", "火车晚上九点出发"),
        (1252, "cp1252", "Café “noir” 5 €"),
    ],
)
def test_bytes_are_read_in_the_code_page_that_is_stated(page: int, encoding: str, text: str) -> None:
    coded = text.encode(encoding)
    raw = coded.replace(b"\\", b"\\\\").replace(b"{", b"\\{").replace(b"}", b"\\}")
    hexes = "".join(f"\\'{byte:02x}" for byte in coded).encode()
    # as Word does, which leaves bytes that are ASCII as they are
    mixed = "".join(
        f"\\'{byte:02x}" if byte > 127 else "\\" * (chr(byte) in "\\{}") + chr(byte) for byte in coded
    ).encode()
    for written in (raw, hexes, mixed):
        markup = b"{\\rtf1\\ansi\\ansicpg%d{\\info{\\title %s}}\\pard %s\\par}" % (page, hexes, written)
        document = read(markup)
        assert (document.title, document.sections[0].text) == (text, text)


def test_deleted_text_is_left_out_and_counted() -> None:
    document = read(r"{\rtf1\ansi The price is {\deleted\revauthdel1 30}{\revised 40} euros.\par}")
    assert document.sections[0].text == "The price is 40 euros."
    assert document.left_out == ("1 deleted text left out",)


def test_text_boxes_follow_their_paragraph() -> None:
    box = (
        r"{\shp{\*\shpinst\shpleft0{\sp{\sn shapeType}{\sv 202}}"
        r"{\shptxt \pard\plain The ferry leaves at nine.\par From pier two.\par}}"
        r"{\shprslt{\*\do\dptxbx{\dptxbxtext\pard The ferry leaves at nine.\par}}}}"
    )
    assert words(rf"{{\rtf1\ansi\pard Before {box}the box.\par After.\par}}") == (
        "Before the box.\n\nThe ferry leaves at nine.\n\nFrom pier two.\n\nAfter."
    )
    assert words(rf"{{\rtf1\ansi\pard Last {box}}}") == "Last\n\nThe ferry leaves at nine.\n\nFrom pier two."
    table = rf"\trowd\cellx1\cellx2\pard\intbl A {box}\cell B\cell\row\pard End.\par"
    assert words(rf"{{\rtf1\ansi{table}}}") == (
        "A | B\n\nThe ferry leaves at nine.\n\nFrom pier two.\n\nEnd."
    )


def test_paragraphs_of_a_cell_stay_in_its_row() -> None:
    table = r"\trowd\cellx1\cellx2\pard\intbl Open\par daily\cell nine\line ten\cell\row"
    assert (
        words(rf"{{\rtf1\ansi\pard Hours:\par{table}\pard End.\par}}")
        == "Hours:\n\nOpen daily | nine ten\n\nEnd."
    )


def test_bytes_of_a_picture_are_no_text() -> None:
    picture = rb"{\pict\jpegblip\bin9 }}{{\x\xff\xfea }"
    document = read(rb"{\rtf1\ansi Before. " + picture + rb"After.\par}")
    assert document.sections[0].text == "Before. After."
    assert document.left_out == ("1 picture left out",)


def test_addresses_of_links_follow_their_text() -> None:
    code = r'{\*\fldinst {\f0 HYPERLINK "https://example.org/a" }{{\*\datafield 00}}}'
    word = rf"{{\field{code}{{\fldrslt {{\ul the mill}}}}}}"
    own = r'{\field{\*\fldinst{HYPERLINK "https://example.org/b"}}{\fldrslt{https://example.org/b}}}'
    inside = r'{\field{\*\fldinst{HYPERLINK \\l "here"}}{\fldrslt{below}}}'
    assert words(rf"{{\rtf1 See {word}, {own} and {inside}.\par}}") == (
        "See the mill (https://example.org/a), https://example.org/b and below."
    )


def test_boxes_to_check() -> None:
    def box(result: int, default: int) -> str:
        form = rf"{{\*\formfield{{\fftype1\ffres{result}\fftypetxt0\ffdefres{default}}}}}"
        return rf"{{\field{{\*\fldinst FORMCHECKBOX{form}}}{{\fldrslt}}}}"

    assert (
        words(rf"{{\rtf1 {box(1, 0)} paid {box(25, 0)} sent {box(25, 1)} dry\par}}")
        == "[x] paid [ ] sent [x] dry"
    )


def test_notes_of_several_paragraphs_stay_whole() -> None:
    note = r"{\footnote\pard\plain First.\par\pard Second.\par}"
    assert words(rf"{{\rtf1 The mill{note} stands.\par}}") == "The mill [Note: First. Second.] stands."


def test_rows_of_pandoc() -> None:
    cells = (
        r"{{\pard\intbl Open\par}"
        "\n"
        r"{\pard\intbl\sa180 daily\sa180\par}"
        "\n"
        r"\cell}{{\pard\intbl nine\par}\cell}"
    )
    row = rf"{{\trowd\cellx1\cellx2\trkeep\intbl{{{cells}}}\intbl\row}}"
    assert words(rf"{{\rtf1 {row}{{\pard End.\par}}}}") == "Open daily | nine\n\nEnd."


def test_merged_cells_are_repeated_and_results_of_objects_are_read() -> None:
    rows = (
        r"\trowd\clvmgf\cellx1\cellx2\pard\intbl North\cell Alba\cell\row"
        r"\trowd\clvmrg\cellx1\cellx2\pard\intbl\cell Berg\cell\row"
    )
    assert words(rf"{{\rtf1 {rows}\pard End.\par}}") == "North | Alba\nNorth | Berg\n\nEnd."
    thing = r"{\object\objemb{\*\objclass Excel.Sheet}{\*\objdata 0105}{\result{\pard Total 5\par}}}"
    picture = r"{\*\shppict{\pict\pngblip 89}}{\nonshppict{\pict\wmetafile8 01}}"
    document = read(rf"{{\rtf1 See {thing}below.{picture}\par}}")
    assert document.sections[0].text == "See below.\n\nTotal 5"
    assert document.left_out == ("1 picture left out", "1 embedded object left out")
