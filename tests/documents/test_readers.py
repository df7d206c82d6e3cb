"""What readers make of files whose content is known."""

from __future__ import annotations

import codecs
import hashlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from clara.documents import read_document
from clara.errors import DocumentError
from clara.records import Document, Section


def pdf_bytes(*pages: list[str], title: str = "") -> bytes:
    """A minimal PDF with one line of text below the other on each page; a page without lines has no text."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    objects.append(b"<< /Title (%s) >>" % title.encode("cp1252"))
    kids = []
    for lines in pages:
        shown = b" T* ".join(b"(%s) Tj" % escaped(line) for line in lines)
        content = b"BT /F1 10 Tf 12 TL 50 740 Td %s ET" % shown if lines else b""
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    file = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    trailer = b"trailer << /Size %d /Root 1 0 R /Info 4 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(file))
    return file + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, table) + trailer


def escaped(line: str) -> bytes:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)").encode("cp1252")


def read(folder: Path, name: str, content: str | bytes) -> Document:
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return read_document(path)


# what all files have in common


def test_document_names_its_file(tmp_path: Path) -> None:
    document = read(tmp_path, "My notes.txt", "Hello.\n")
    path = tmp_path / "My notes.txt"
    assert document == Document(
        source=str(path),
        title="My notes",
        sections=(Section("Hello."),),
        sha256=hashlib.sha256(b"Hello.\n").hexdigest(),
        modified=path.stat().st_mtime,
    )


def test_source_is_the_file_behind_a_link(tmp_path: Path) -> None:
    read(tmp_path, "a.txt", "Hello.")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    assert read_document(tmp_path / "b.txt").source == str(tmp_path / "a.txt")


def test_name_that_is_not_unicode_gives_a_valid_source(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    path.write_bytes(b"Hello.")
    assert read_document(path).source.endswith(r"caf\udce9.txt")


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.pdf", "a"])
@pytest.mark.parametrize("content", [b"", b" \r\n\t "])
def test_empty_file_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DocumentError, match=rf"{name} is empty; .*\.$"):
        read(tmp_path, name, content)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html", "a.bin"])
@pytest.mark.parametrize("content", [b"\x7fELF\0\0\0\1", bytes(range(1, 32)) * 9, b"PK\x03\x04\x14\0\x06"])
def test_binary_file_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DocumentError, match=rf"{name} is a binary file, not text; .*\.$"):
        read(tmp_path, name, content)


def test_missing_file_and_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"no\.txt cannot be opened: No such file or directory; check"):
        read_document(tmp_path / "no.txt")
    with pytest.raises(DocumentError, match="cannot be opened: Is a directory; check"):
        read_document(tmp_path)


def test_closed_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", closed)
    with pytest.raises(DocumentError, match="cannot be opened: Permission denied; check"):
        read_document(tmp_path / "a.txt")


def test_importing_the_readers_loads_no_parser() -> None:
    program = (
        "import clara.documents, sys\n"
        "heavy = {'pypdf', 'bs4', 'markdown_it', 'sentencex', 'numpy', 'torch', 'transformers'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


# plain text


@pytest.mark.parametrize(
    "data",
    [
        "naïve café – “quoted” Ω 你好".encode(),
        "naïve café – “quoted” Ω 你好".encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + "naïve café – “quoted” Ω 你好".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "naïve café – “quoted” Ω 你好".encode("utf-16-be"),
        "naïve café – “quoted” Ω 你好".encode("utf-32"),
    ],
    ids=["utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32"],
)
def test_encodings_give_the_same_text(tmp_path: Path, data: bytes) -> None:
    assert read(tmp_path, "a.txt", data).sections == (Section("naïve café – “quoted” Ω 你好"),)


def test_windows_1252_is_read_where_it_is_plausible(tmp_path: Path) -> None:
    text = "The naïve café owner’s “special” costs 5 € a cup."
    assert read(tmp_path, "a.txt", text.encode("cp1252")).sections == (Section(text),)
    for encoding in ("koi8-r", "shift-jis", "cp1251"):
        words = "これは日本語の文です。" if encoding == "shift-jis" else "Это обычное русское предложение."
        with pytest.raises(DocumentError, match=r"is not text in UTF-8, UTF-16 or Windows-1252; save it as"):
            read(tmp_path, "a.txt", words.encode(encoding))


def test_broken_utf_16_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="is damaged: its bytes do not follow the encoding"):
        read(tmp_path, "a.txt", codecs.BOM_UTF16_LE + b"a\0b")


def test_lines_and_invisible_characters_are_made_uniform(tmp_path: Path) -> None:
    text = "One\u00a0two\r\nthree \r\n\r\n\r\nhy\u00adphen\u200b\x07\ftab\there\rend"
    assert read(tmp_path, "a.txt", text + "." * 60).sections[0].text == (
        "One two\nthree\n\nhyphen\n\ntab here\nend" + "." * 60
    )


def test_wrapped_paragraphs_are_joined_and_lists_and_verse_are_not(tmp_path: Path) -> None:
    wrapped = (
        "This is a paragraph that an editor has wrapped at a width\n"
        "of some sixty characters, as many text files are to this\nday."
    )
    items = "- " + "first item that is long enough for a line " * 1 + "\n- second item"
    verse = "Tyger Tyger, burning bright,\nIn the forests of the night"
    chinese = "这" * 50 + "\n" + "是" * 10
    document = read(tmp_path, "a.txt", "\n\n".join([wrapped, items, verse, chinese]))
    joined, *others = document.sections[0].text.split("\n\n")
    assert joined == wrapped.replace("\n", " ")
    assert others == [items, verse, chinese.replace("\n", "")]


# Markdown


def test_markdown_structure(tmp_path: Path) -> None:
    text = """\
Before *everything*
else.

# Guide

Intro with `code`, a [link](https://example.org) and ![an image](x.png).

## Install

1. First
2. Second
   more

   - inner
   ```sh
   run it
   ```
3. Third

```python
def f():
    return 1
```

## Use

| Name | Value |
|------|-------|
| a    | **1** |
| b    |       |

> Quoted text.

### Deep
<p align="center">In <b>HTML</b></p>

<!-- a comment -->

Setext
======

Line one\\
line two <br> line three &amp; more
"""
    document = read(tmp_path, "a.md", text)
    assert document.title == "a"  # text stands before the heading, but the heading is the first of level 1
"""The title is checked below."""
