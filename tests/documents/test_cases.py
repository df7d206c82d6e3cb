"""Small files that outside tests found read wrongly: what is right stands here, and what is left out is told.

pytest tests/documents/test_cases.py
"""

from __future__ import annotations

from pathlib import Path

import pytest

from clara.documents import cut, find_files, read_document, show
from clara.errors import DocumentError

CASES = Path(__file__).parent / "cases"


def texts(name: str) -> str:
    """All text of a case's file with its headings, a line for each line."""
    (path,) = CASES.glob(name)
    return "\n".join(f"{section.heading}\n{section.text}" for section in read_document(path).sections)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "01*/invoices.pdf",
            ["Invoice 2041", "Total due: 412.50 EUR", "Invoice 2043", "Total due: 233.75 EUR"],
        ),
        ("01*/weekly.pdf", ["Week 33, 2025", "Visitors: 509", "Takings: 1190 euros", "closed for painting"]),
        ("01*/statement.pdf", ["2025-02-04 | Card payment | 93.42"]),
        ("01*/running.pdf", ["sluice number 27 is opened at 13:20"]),
        ("02*/sup.html", ["in 1883 [2] by", "640 [3] kilograms", "4×10^9 joules"]),
        ("02*/super.pdf", ["in 1883 [2] by", "640 [3] kilograms", "4 x 10^9 photons", "H2O"]),
        ("02*/strike-super.docx", ["costs 39 euros", "4×10^9 joules"]),
        ("04*/no-head-end.html", ["leaves Skarvik at 22:15"]),
        ("05*/population.csv", ["Region: Southmoor\n2021: 380"]),
        ("05*/harvest.csv", ["Tuesday\nApples (t): 52", "Wednesday\nApples (t): 17\nPears (t): 9"]),
        ("05*/trees.csv", ["Department: Parks", "Tree: Plane of Dock Square\nHeight (m): 31\nPlanted: 1874"]),
        ("05*/excel.csv", ["Mayor: Una Voss", "Town: Orton\nMayor: Per Lind\nPopulation: 12500"]),
        ("07*/enc-aes-128-emptyuser.pdf", ["ends on 30 June 2031"]),
        ("07*/enc-aes-256-emptyuser.pdf", ["ends on 30 June 2031"]),
        ("07*/enc-rc4-128-emptyuser.pdf", ["ends on 30 June 2031"]),
        (
            "08*/two-columns-rowwise.pdf",
            ["which the board accepted without a vote.\n\nIn other business the ferry"],
        ),
        ("09*/table.pdf", ["Merlin | 17.8 kg | 120 km | 2,450 EUR\n", "Osprey XL | 21.0 kg |  | 3,100 EUR"]),
        ("12*/comments.docx", ["Council moved this to 14 September, please update."]),
        ("12*/header-footer.docx", ["Contract no. KV-2025-0417", "Valid until 31 March 2028"]),
        ("12*/controls.docx", ["Area: A = 14 m²", "12 May 2025", "deposit is 900 euros"]),
        ("12*/textbox.docx", ["Fish is served on Friday for 6.80 euros."]),
        ("15*/case.epub", ["The caravan had 44 camels."]),
        ("15*/missing-file.epub", ["The caravan had 44 camels."]),
        ("16*/notspine.epub", ["the guide was called Idris", "hired at Fez for 300 dinars"]),
        ("17*/aside.html", ["at 240 degrees before the loaf goes in", "Recipe by Hedda Lund, tested 2019."]),
        ("17*/aside-note.epub", ["cast in Ghent [1: It weighs 2,310 kilograms and cracked in 1871.]"]),
        ("17*/header.html", ["Effective from 1 October 2025", "NB-778"]),
        ("17*/two-mains.html", ["Opening hours\nWe are open from 10:15 to 17:45 on weekdays."]),
        ("18*/frontmatter.md", ["author: Petra Holm", "date: 2025-02-17", "location: Town hall, room 4"]),
        ("19*/a.md", ["build wiki (https://wiki.example.org/build)", "the desk (desk@example.org)", "1911"]),
        ("21*/badline.jsonl", ["The mill was sold in 1990.", "The mill was burnt in 1994."]),
        ("23*/nul.log", ["pump 77 failed with code E42"]),
        ("24*/utf16le-nobom.txt", ["The tower of Bryn is 61 metres high."]),
        ("30*/chapel.odt", ["The chapel seats 140."]),
        ("30*/mail.eml", ["repaired for 640 euros. Café bill", "from: Ada <ada@example.org>"]),
        ("30*/notes.rtf", ["The granary holds 900 sacks."]),
        ("30*/page.mhtml", ["The gate closes at nine."]),
        ("30*/plan.pptx", ["The dam opens in June."]),
        ("30*/prices.xlsx", ["Item: Lantern\nPrice: 14.5"]),
        ("30*/study.ipynb", ["The field gave 5.4 tonnes.", "hello 77"]),
    ],
)
def test_words_are_read_as_they_are_meant(name: str, words: list[str]) -> None:
    text = texts(name)
    for each in words:
        assert each in text


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("01*/invoices.pdf", ()),
        ("01*/weekly.pdf", ()),
        ("01*/running.pdf", ("9 running heads and page numbers left out",)),
        ("02*/strike-super.docx", ("1 struck-out text left out",)),
        (
            "11*/scan-mixed.pdf",
            ("1 page without text: page 2 (pictures or scans: run text recognition (OCR))",),
        ),
        ("15*/crc.epub", ("the chapter OEBPS/c2.xhtml is damaged and was left out",)),
        ("15*/missing-file.epub", ("the chapter OEBPS/c9.xhtml is missing from the book",)),
        ("21*/badline.jsonl", ("line 2 was left out: it is not valid JSON (Expecting ',' delimiter)",)),
        ("23*/nul.log", ("16 NUL bytes left out",)),
    ],
)
def test_what_is_left_out_is_told(name: str, left_out: tuple[str, ...]) -> None:
    (path,) = CASES.glob(name)
    assert read_document(path).left_out == left_out


def test_exponents_are_never_glued_to_numbers() -> None:
    for name in ("02*/sup.html", "02*/super.pdf", "02*/strike-super.docx"):
        for wrong in ("18832", "6403", "109 "):
            assert wrong not in texts(name)


def test_pdf_whose_fonts_say_nothing_is_refused() -> None:
    (path,) = CASES.glob("34*/*.pdf")
    with pytest.raises(DocumentError, match="fonts do not say which letters they draw; run text recognition"):
        read_document(path)


def test_front_matter_is_metadata_of_every_passage() -> None:
    (path,) = CASES.glob("18*/frontmatter.md")
    for section in read_document(path).sections:
        assert (section.metadata["author"], section.metadata["tags"]) == ("Petra Holm", "river, budget")


@pytest.mark.parametrize(
    ("name", "head", "rows"),
    [
        (
            "26*/long-table.html",
            "Part | Pieces in stock | Weight of one | Place",
            ["Part 050 | 151 |", "Part 072 |"],
        ),
        ("26*/longtable.md", "Ship | Port | Tons", ["Ship 43 | Port "]),
    ],
)
def test_passages_of_long_tables_know_the_names_of_the_columns(name: str, head: str, rows: list[str]) -> None:
    (path,) = CASES.glob(name)
    (document,) = show(path)
    assert len(document.passages) > 1
    for passage in document.passages:
        assert passage.text.startswith(head)
    for row in rows:
        assert any(row.split(" |")[0] in passage.text for passage in document.passages)


def test_ignored_files_are_named() -> None:
    (folder,) = CASES.glob("29*")
    found = find_files(folder)
    assert found == [folder / "notes.md"]
    assert all(not name.endswith("notes.md") for names in found.ignored.values() for name in names)


def test_units_stay_whole_and_heads_are_repeated() -> None:
    (path,) = CASES.glob("26*/longtable.md")
    document = read_document(path)
    passages = cut(document, 40, lambda all_of: [len(text.split()) for text in all_of])
    rows = [
        line
        for each in passages
        for line in each.text.split("\n")
        if line.startswith("Ship ") and "Port |" not in line
    ]
    assert all(row.count("|") == 2 for row in rows)
    assert len(rows) == len(set(rows)) == 60
