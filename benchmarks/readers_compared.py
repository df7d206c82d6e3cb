"""What libraries keep of documents whose words are known: words kept, order and time, beside our readers.

    python benchmarks/readers_compared.py           # all formats
    python benchmarks/readers_compared.py .odt .epub

The documents are those of `tests/documents/writers.py`, written in each format, so that all that must be
found and its order are known. "Kept" is the share of sentences, footnotes, addresses of links and exponents
that a library's text has; "order" the share of neighbouring rows of tables that it leaves in order, and "rows
whole" the share of rows that stand on one line.

The time is that of the processor. Of nine runs of a document after a first one the fastest counts, and of the
three documents the median. A library that returns a page of HTML is timed with html2text, which makes text of
it. Libraries that are not installed are left out and named below the table, with the versions of the others.
"""

from __future__ import annotations

import io
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "documents"))

from test_format_questions import DOCUMENTS
from writers import WRITERS

from clara.documents import read_stream

Read = Callable[[bytes], str]


def ours(suffix: str) -> Read:
    def read(data: bytes) -> str:
        return "\n".join(f"{each.heading}\n{each.text}" for each in read_stream(data, "x", suffix).sections)

    return read


def pypdf_text(data: bytes) -> str:
    from pypdf import PdfReader

    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(data)).pages)


def pdfium_text(data: bytes) -> str:
    import pypdfium2

    return "\n".join(page.get_textpage().get_text_range() for page in pypdfium2.PdfDocument(data))


def pdfplumber_text(data: bytes) -> str:
    import pdfplumber

    with pdfplumber.open(io.BytesIO(data)) as document:
        return "\n".join(page.extract_text() for page in document.pages)


def bs4_text(data: bytes) -> str:
    from bs4 import BeautifulSoup

    return BeautifulSoup(data, "html.parser").get_text("\n")


def html5lib_text(data: bytes) -> str:
    import html5lib

    return "\n".join(html5lib.parse(data, treebuilder="etree").itertext())


def lxml_text(data: bytes) -> str:
    import lxml.html

    return "\n".join(lxml.html.fromstring(data).itertext())


def trafilatura_text(data: bytes) -> str:
    import trafilatura

    return trafilatura.extract(data.decode(), include_links=True) or ""


def html2text_text(data: bytes) -> str:
    return as_text(data.decode())


def as_text(page: str) -> str:
    import html2text

    made = html2text.HTML2Text(bodywidth=0)
    made.include_sup_sub = True
    return str(made.handle(page))


@cache
def markitdown() -> Any:
    from markitdown import MarkItDown

    return MarkItDown()


def markitdown_text(suffix: str) -> Read:
    def read(data: bytes) -> str:
        stream = io.BytesIO(data)
        return str(markitdown().convert_stream(stream, file_extension=suffix, sup_symbol="^").markdown)

    return read


def ebooklib_text(data: bytes) -> str:
    import ebooklib
    from ebooklib import epub

    book = epub.read_epub(io.BytesIO(data))
    pages = book.get_items_of_type(ebooklib.ITEM_DOCUMENT)
    return "\n".join(as_text(page.get_content().decode()) for page in pages)


def unmhtml_text(data: bytes) -> str:
    import unmhtml

    return as_text(unmhtml.to_standalone_html(unmhtml.load_mhtml(data)))


def pimht_text(data: bytes) -> str:
    import pimht

    parts = pimht.from_bytes(data)
    return "\n".join(as_text(part.text) for part in parts if part.content_type == "text/html")


def mammoth_text(data: bytes) -> str:
    import mammoth

    return as_text(mammoth.convert_to_html(io.BytesIO(data)).value)


def docx2python_text(data: bytes) -> str:
    from docx2python import docx2python

    with docx2python(io.BytesIO(data)) as document:
        return str(document.text)


def openpyxl_text(data: bytes) -> str:
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(data))
    return "\n".join(" ".join(str(cell) for cell in row if cell) for sheet in book for row in sheet.values)


def calamine_text(data: bytes) -> str:
    import python_calamine

    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    rows = [row for name in book.sheet_names for row in book.get_sheet_by_name(name).to_python()]
    return "\n".join(" ".join(str(cell) for cell in row if cell) for row in rows)


def odfpy_text(data: bytes) -> str:
    from odf import teletype, text
    from odf.opendocument import load

    return "\n".join(teletype.extractText(one) for one in load(io.BytesIO(data)).getElementsByType(text.P))


def odfdo_text(data: bytes) -> str:
    from odfdo import Document

    return str(Document(io.BytesIO(data)).to_markdown())


def odfdo_sheets(data: bytes) -> str:
    from odfdo import Document

    rows = [row for table in Document(io.BytesIO(data)).body.tables for row in table.iter_values()]
    return "\n".join(" ".join(str(cell) for cell in row if cell) for row in rows)


def pandas_sheets(data: bytes) -> str:
    import pandas

    sheets = pandas.read_excel(io.BytesIO(data), engine="odf", sheet_name=None, header=None)
    rows = [row for sheet in sheets.values() for row in sheet.fillna("").to_numpy().tolist()]
    return "\n".join(" ".join(str(cell) for cell in row if cell) for row in rows)


def striprtf_text(data: bytes) -> str:
    from striprtf.striprtf import rtf_to_text

    return str(rtf_to_text(data.decode("latin-1")))


def email_text(data: bytes) -> str:
    import email
    import email.policy

    body = email.message_from_bytes(data, policy=email.policy.default).get_body(("plain", "html"))
    return str(body.get_content()) if body is not None else ""


def mailparser_text(data: bytes) -> str:
    import mailparser

    return str(mailparser.parse_from_bytes(data).body)


def slides_xml_text(data: bytes) -> str:
    from zipfile import ZipFile

    with ZipFile(io.BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if re.fullmatch(r"ppt/slides/[^/]+\.xml", name)]
        return "\n".join(re.sub(r"<[^>]+>+", "\n", archive.read(name).decode()) for name in sorted(names))


LIBRARIES: dict[str, dict[str, Read]] = {
    ".pdf": {"pypdf": pypdf_text, "pypdfium2": pdfium_text, "pdfplumber": pdfplumber_text},
    ".html": {
        "bs4 html.parser": bs4_text,
        "html5lib": html5lib_text,
        "lxml": lxml_text,
        "trafilatura": trafilatura_text,
        "html2text": html2text_text,
        "markitdown": markitdown_text(".html"),
    },
    ".mhtml": {"unmhtml, html2text": unmhtml_text, "pimht, html2text": pimht_text},
    ".epub": {"EbookLib, html2text": ebooklib_text, "markitdown": markitdown_text(".epub")},
    ".docx": {
        "mammoth, html2text": mammoth_text,
        "docx2python": docx2python_text,
        "markitdown": markitdown_text(".docx"),
    },
    ".xlsx": {
        "openpyxl": openpyxl_text,
        "python-calamine": calamine_text,
        "markitdown": markitdown_text(".xlsx"),
    },
    ".ods": {"python-calamine": calamine_text, "odfdo": odfdo_sheets, "pandas, odfpy": pandas_sheets},
    ".odt": {"odfpy": odfpy_text, "odfdo": odfdo_text},
    ".pptx": {"slides' XML": slides_xml_text, "markitdown": markitdown_text(".pptx")},
    ".rtf": {"striprtf": striprtf_text},
    ".eml": {"email (Python)": email_text, "mail-parser": mailparser_text},
}
DISTRIBUTIONS = (
    *("pypdf", "pypdfium2", "pdfplumber", "beautifulsoup4", "html5lib", "lxml", "trafilatura", "html2text"),
    *("markitdown", "unmhtml", "pimht", "EbookLib", "mammoth", "docx2python", "openpyxl", "python-calamine"),
    *("odfdo", "odfpy", "pandas", "striprtf", "mail-parser"),
)


def expected(blocks: list[tuple[object, ...]], suffix: str) -> tuple[list[str], list[list[str]]]:
    """Strings that must be found, in their order, and the rows of tables."""
    found: list[str] = []
    rows: list[list[str]] = []
    for block in blocks:
        match block:
            case ("table", list(table)):
                rows += table
            case ("note", str(text), str(note)) if suffix != ".ods":
                found += [text, note]
            case ("link", str(text), str(address)) if suffix != ".ods":
                found += [text, address]
            case ("raised", str(before), str(exponent), str(_)) if suffix != ".ods":
                found.append(f"{before.split()[-1]}^{exponent}")
            case ("text", str(text)) if suffix != ".ods":
                found.append(text)
    return found, rows


def squeezed(text: str) -> str:
    return " ".join(text.split())


def measured(read: Read, suffix: str) -> tuple[float | None, float | None, float | None, float]:
    """Shares kept, in order and of whole rows (None: there were none), and milliseconds for a document."""
    kept: list[bool] = []
    order: list[bool] = []
    whole: list[bool] = []
    times = []
    for title, blocks in DOCUMENTS.items():
        data = WRITERS[suffix](title, blocks)
        read(data)
        taken = []
        for _ in range(9):
            began = time.process_time()
            text = read(data)
            taken.append(time.process_time() - began)
        times.append(min(taken))
        strings, rows = expected(blocks, suffix)
        flat = squeezed(text).replace("<sup>", "^")
        kept += [squeezed(each) in flat for each in strings]
        places = [flat.find(row[0]) for row in rows]
        order += [first < second for first, second in pairwise(places)]
        lines = [squeezed(line) for line in re.split(r"\n(?=\S+: |[^:]*$)|\n", text)]
        joined = [squeezed(each) for each in text.split("\n\n")] if suffix in (".xlsx", ".ods") else lines
        whole += [any(all(cell in line for cell in row) for line in joined) for row in rows]
    return (
        *(statistics.mean(each) if each else None for each in (kept, order, whole)),
        1000 * statistics.median(times),
    )


def main(suffixes: list[str]) -> None:
    print("| format | library | kept | order | rows whole | ms |\n|---|---|--:|--:|--:|--:|")
    missing: list[str] = []
    for suffix in suffixes or LIBRARIES:
        for name, read in {**LIBRARIES[suffix], "this package": ours(suffix)}.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    *shares, taken = measured(read, suffix)
            except ImportError:
                missing.append(f"{name} ({suffix})")
                continue
            except Exception as error:  # noqa: BLE001  # what a library refuses is part of the comparison
                print(f"| {suffix} | {name} | refuses: {type(error).__name__} | | | |")
                continue
            cells = ["" if share is None else f"{share:.0%}" for share in shares]
            print(f"| {suffix} | {name} | {' | '.join(cells)} | {taken:.1f} |")
    print(f"\nNot installed, left out: {', '.join(missing) or 'none'}")
    print(f"Versions: {', '.join(filter(None, map(stated_version, DISTRIBUTIONS)))}")


def stated_version(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main(sys.argv[1:])
