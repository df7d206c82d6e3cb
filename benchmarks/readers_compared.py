"""What libraries keep of documents whose words are known: words kept, order, and time, beside this package's
readers.

    python benchmarks/readers_compared.py

The documents are those of `tests/documents/writers.py`, written in each format, so that all that must be
found and its
order are known. "Kept" is the share of sentences, footnotes, addresses of links and exponents that a
library's text
has; "order" the share of neighbouring rows of tables that it leaves in order, and "rows whole" the share of
rows that
stand on one line. Times are medians of five runs in one process. Libraries that are not
installed are left out.
"""

from __future__ import annotations

import io
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

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


def mammoth_text(data: bytes) -> str:
    import mammoth

    return re.sub(r"<[^>]+>", "\n", mammoth.convert_to_html(io.BytesIO(data)).value)


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
    },
    ".docx": {"mammoth": mammoth_text, "docx2python": docx2python_text},
    ".xlsx": {"openpyxl": openpyxl_text, "python-calamine": calamine_text},
    ".ods": {"python-calamine": calamine_text},
    ".odt": {"odfpy": odfpy_text},
    ".pptx": {"slides' XML": slides_xml_text},
    ".rtf": {"striprtf": striprtf_text},
    ".eml": {"email (Python)": email_text, "mail-parser": mailparser_text},
}


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


def measured(read: Read, suffix: str) -> tuple[float, float, float, float]:
    """Shares kept, in order and of whole rows, and milliseconds for a document."""
    kept: list[bool] = []
    order: list[bool] = []
    whole: list[bool] = []
    times = []
    for title, blocks in DOCUMENTS.items():
        data = WRITERS[suffix](title, blocks)
        read(data)
        for _ in range(5):
            began = time.perf_counter()
            text = read(data)
            times.append(time.perf_counter() - began)
        strings, rows = expected(blocks, suffix)
        flat = squeezed(text)
        kept += [squeezed(each) in flat for each in strings]
        places = [flat.find(row[0]) for row in rows]
        order += [first < second for first, second in pairwise(places)]
        lines = [squeezed(line) for line in re.split(r"\n(?=\S+: |[^:]*$)|\n", text)]
        joined = [squeezed(each) for each in text.split("\n\n")] if suffix in (".xlsx", ".ods") else lines
        whole += [any(all(cell in line for cell in row) for line in joined) for row in rows]
    return (
        *(statistics.mean(each or [True]) for each in (kept, order, whole)),
        1000 * statistics.median(times),
    )


def main() -> None:
    print("| format | library | kept | order | rows whole | ms |\n|---|---|--:|--:|--:|--:|")
    for suffix, libraries in LIBRARIES.items():
        for name, read in {**libraries, "this package": ours(suffix)}.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    kept, order, whole, taken = measured(read, suffix)
            except ImportError:
                continue
            except Exception as error:  # noqa: BLE001  # what a library refuses is part of the comparison
                print(f"| {suffix} | {name} | refuses: {type(error).__name__} | | | |")
                continue
            print(f"| {suffix} | {name} | {kept:.0%} | {order:.0%} | {whole:.0%} | {taken:.1f} |")


if __name__ == "__main__":
    main()
