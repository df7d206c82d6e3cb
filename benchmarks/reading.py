"""How fast files of each format are read, in MB of the file a second, and the memory that a large file needs.

    python benchmarks/reading.py --megabytes 8 --large 200

The files are made of the example articles, over and over. Each format is read in a process of its own; the
median of three runs counts, without the import of the parser. The large file is plain text read in parts, and
its peak is that of the whole process. No model is loaded.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from html import escape
from itertools import cycle
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from clara.documents import read_document, read_documents

ARTICLES = Path(__file__).parent.parent / "examples" / "documents"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
OFFICE = "http://schemas.openxmlformats.org"
BOOK = "http://www.idpf.org/2007/opf"
CONTAINER = "urn:oasis:names:tc:opendocument:xmlns:container"


def paragraphs() -> Iterator[str]:
    """Paragraphs and headings ("# ...") of the articles without end."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(ARTICLES.rglob("*.md"))]
    return cycle([part.strip() for text in texts for part in text.split("\n\n") if part.strip()])


def repeated(size: int, written: Callable[[int, str], str]) -> str:
    """About `size` characters of paragraphs as `written` gives them."""
    pieces: list[str] = []
    length = 0
    for at, paragraph in enumerate(paragraphs()):
        if length >= size:
            return "".join(pieces)
        pieces.append(written(at, paragraph))
        length += len(pieces[-1])
    raise AssertionError("paragraphs end")


def html_block(_: int, paragraph: str) -> str:
    heading = paragraph.lstrip("# ")
    return f"<h2>{escape(heading)}</h2>\n" if paragraph.startswith("#") else f"<p>{escape(paragraph)}</p>\n"


def csv_row(at: int, paragraph: str) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerow([at, paragraph])
    return ("number,text\n" if at == 0 else "") + stream.getvalue()


def log_entry(at: int, paragraph: str) -> str:
    line = " ".join(paragraph.split())[:120]
    return f"2024-05-01 {at // 3600 % 24:02}:{at // 60 % 60:02}:{at % 60:02} INFO {line}\n"


def function(at: int, paragraph: str) -> str:
    return f"def f{at}(value):\n" + "".join(
        f"    # {line}\n    value += {at}\n" for line in paragraph.split("\n")
    )


def pdf(size: int) -> bytes:
    """Pages of 50 lines in a standard font, uncompressed."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    lines = [line for text in [repeated(size, lambda _, each: each + "\n")] for line in text.split("\n")]
    lines = [line[at : at + 90] for line in lines for at in range(0, len(line), 90)]
    writer = PdfWriter()
    font = DictionaryObject({
        NameObject("/Type"): NameObject("/Font"),
        NameObject("/Subtype"): NameObject("/Type1"),
        NameObject("/BaseFont"): NameObject("/Helvetica"),
        NameObject("/Encoding"): NameObject("/WinAnsiEncoding"),
    })  # fmt: skip
    for start in range(0, len(lines), 50):
        page = writer.add_blank_page(612, 792)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        shown = [line.translate({92: "", 40: "", 41: ""}) for line in lines[start : start + 50]]
        stream = DecodedStreamObject()
        text = " T* ".join(f"({line}) Tj" for line in shown)
        stream.set_data(f"BT /F1 10 Tf 12 TL 50 740 Td {text} ET".encode("cp1252", "replace"))
        page[NameObject("/Contents")] = writer._add_object(stream)
    made = io.BytesIO()
    writer.write(made)
    return made.getvalue()


def packed(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def docx(size: int) -> bytes:
    def block(_: int, paragraph: str) -> str:
        style = '<w:pPr><w:pStyle w:val="Heading2"/></w:pPr>' if paragraph.startswith("#") else ""
        return f"<w:p>{style}<w:r><w:t>{escape(paragraph.lstrip('# '))}</w:t></w:r></w:p>"

    body = repeated(size, block)
    return packed({
        "[Content_Types].xml": f'<Types xmlns="{OFFICE}/package/2006/content-types"><Override '
        f'PartName="/word/document.xml" ContentType="{DOCX}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{OFFICE}/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{OFFICE}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/>'
        "</Relationships>",
        "word/document.xml": f'<w:document xmlns:w="{OFFICE}/wordprocessingml/2006/main"><w:body>{body}'
        "</w:body></w:document>",
    })  # fmt: skip


def epub(size: int) -> bytes:
    names = [f"{at}.xhtml" for at in range(10)]
    chapter = f"<html><body>{repeated(size // len(names), html_block)}</body></html>"
    items = "".join(f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in names)
    spine = "".join(f'<itemref idref="{name}"/>' for name in names)
    return packed({
        "META-INF/container.xml": f'<container xmlns="{CONTAINER}"><rootfile full-path="b.opf"/></container>',
        "b.opf": f'<package xmlns="{BOOK}"><metadata/><manifest>{items}</manifest><spine>{spine}</spine>'
        "</package>",
        **dict.fromkeys(names, chapter),
    })  # fmt: skip


FORMATS: dict[str, Callable[[int], str | bytes]] = {
    ".txt": lambda size: repeated(size, lambda _, each: each.lstrip("# ") + "\n\n"),
    ".md": lambda size: repeated(size, lambda _, each: each + "\n\n"),
    ".html": lambda size: f"<title>Articles</title>{repeated(size, html_block)}",
    ".jsonl": lambda size: repeated(size, lambda at, each: json.dumps({"number": at, "text": each}) + "\n"),
    ".csv": lambda size: repeated(size, csv_row),
    ".log": lambda size: repeated(size, log_entry),
    ".py": lambda size: repeated(size, function),
    ".pdf": pdf,
    ".docx": docx,
    ".epub": epub,
}


def speed(path: Path) -> float:
    """Seconds to read a file, the median of three."""
    small = path.with_stem("small")
    read_document(small)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        read_document(path)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def large(path: Path) -> tuple[float, float]:
    """Seconds to read a file in parts, and the peak memory of this process, which knows no torch, in MB."""
    started = time.perf_counter()
    for document in read_documents(path):
        assert document.sections
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--megabytes", type=float, default=4, help="text of the file of each format")
    arguments.add_argument("--large", type=int, default=200, help="MB of the file that is read in parts")
    arguments.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "reading.json")
    options = arguments.parse_args()
    processes = multiprocessing.get_context("spawn")
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, make in FORMATS.items():
            for name, size in (("small", 10_000), ("made", int(options.megabytes * 1e6))):
                content = make(size)
                data = content.encode() if isinstance(content, str) else content
                Path(folder, name + suffix).write_bytes(data)
            with processes.Pool(1) as pool:
                seconds = pool.apply(speed, (Path(folder, f"made{suffix}"),))
            figures[suffix] = {
                "file_mb": round(len(data) / 1e6, 2),
                "mb_per_second": round(len(data) / 1e6 / seconds, 2),
                "text_mb_per_second": round(options.megabytes / seconds, 2),
            }
        path = Path(folder, "large.txt")
        block = repeated(10_000_000, lambda _, each: each.lstrip("# ") + "\n\n").encode()
        with path.open("wb") as stream:
            for _ in range(options.large // 10):
                stream.write(block)
        with processes.Pool(1) as pool:
            seconds, peak = pool.apply(large, (path,))
        megabytes = path.stat().st_size / 1e6
    from conditions import conditions, write

    kept = {
        key: value for key, value in conditions("none").items() if key not in ("model", "torch", "threads")
    }
    write(
        options.json,
        {
            "conditions": kept | {"text_mb": options.megabytes},
            "formats": figures,
            "in_parts": {
                "file_mb": round(megabytes, 1),
                "mb_per_second": round(megabytes / seconds, 2),
                "peak_memory_mb": round(peak, 1),
            },
        },
    )


if __name__ == "__main__":
    main()
