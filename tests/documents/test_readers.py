"""What readers make of files whose content is known."""

from __future__ import annotations

import codecs
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from clara.documents import READER_VERSION, cut, read_document
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


def bare(document: Document) -> tuple[Section, ...]:
    """The sections without their lines, which `test_lines.py` looks at."""
    return tuple(Section(each.text, each.heading, each.page) for each in document.sections)


# what all files have in common


def test_document_names_its_file(tmp_path: Path) -> None:
    document = read(tmp_path, "My notes.txt", "Hello.\n")
    path = tmp_path / "My notes.txt"
    assert document == Document(
        source=str(path),
        title="My notes",
        sections=(Section("Hello.", lines=(1, 1)),),
        sha256=hashlib.sha256(b"Hello.\n").hexdigest(),
        modified=path.stat().st_mtime,
        reader=READER_VERSION,
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
    def closed(path: Path, mode: str) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(DocumentError, match="cannot be opened: Permission denied; check"):
        read_document(tmp_path / "a.txt")


def test_importing_the_readers_loads_no_parser() -> None:
    program = (
        "import clara.documents, sys\n"
        "heavy = {'pypdfium2', 'selectolax', 'markdown_it', 'pptx', 'python_calamine', 'striprtf', "
        "'pathspec', 'sentencex', 'yaml', 'numpy', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")


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
    assert bare(read(tmp_path, "a.txt", data)) == (Section("naïve café – “quoted” Ω 你好"),)


def test_windows_1252_is_read_where_it_is_plausible(tmp_path: Path) -> None:
    text = "The naïve café owner’s “special” costs 5 € a cup."
    assert bare(read(tmp_path, "a.txt", text.encode("cp1252"))) == (Section(text),)


def test_encoding_that_cannot_be_told_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        DocumentError, match=r"is text in an encoding that cannot be told; save it as UTF-8\.$"
    ):
        read(tmp_path, "a.txt", bytes(range(0xA0, 0x100)) * 3)


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
    items = "- " + "first item that is long enough to be wrapped"
    items += "\n- second item"
    verse = "Tyger Tyger, burning bright,\nIn the forests of the night"
    chinese = "这" * 50 + "\n" + "是" * 10
    document = read(tmp_path, "a.txt", "\n\n".join([wrapped, items, verse, chinese]))
    joined, *others = document.sections[0].text.split("\n\n")
    assert joined == wrapped.replace("\n", " ")
    assert others == [items, verse, chinese.replace("\n", "")]


@pytest.mark.parametrize("mark", ["\u2010", "\u00ad"])
def test_words_that_a_program_broke_at_a_lines_end_are_whole(tmp_path: Path, mark: str) -> None:
    manual = (
        f"     -x, --extract  Take files from an ar{mark}  \r\n          chive. Use --name of a well{mark}\n"
        f"          known file, or of Anglo{mark}\n     Saxon ones.\n\nA well-known file.\n\n"
        f"This is a paragraph that an editor has wrapped at a wi{mark}\n"
        "dth of some sixty characters.\n\npre-\nand postfix"
    )
    (section,) = read(tmp_path, "a.txt", manual).sections
    first, _, wrapped, last = section.text.split("\n\n")
    assert first == (
        "-x, --extract  Take files from an archive. Use --name of a well\u2010known file, or of "
        "Anglo\u2010Saxon ones."
    )
    assert wrapped == "This is a paragraph that an editor has wrapped at a width of some sixty characters."
    assert last == "pre-\nand postfix"
    at = section.text.index("known")
    assert next(first for offset, first, _ in section.line_spans if offset == at) == 3


def test_hyphens_of_the_keyboard_are_breaks_where_the_whole_word_stands_elsewhere(tmp_path: Path) -> None:
    lines = "An exam-\nple of state-of-the-\nart, a com-\nmand and a --no-\nname for\nexample or noname.\n"
    (section,) = read(tmp_path, "a.txt", lines).sections
    assert section.text == (
        "An example of state-of-the-\nart, a com-\nmand and a --no-\nname for\nexample or noname."
    )
    listed = "The first half\u2010\na) of a list\u2010\n- item"
    assert read(tmp_path, "b.txt", listed).sections[0].text == listed


@pytest.mark.parametrize(
    ("name", "title"), [("tar.1", "tar.1"), ("Apache-2.0", "Apache-2.0"), ("README", "README"), ("a.b", "a")]
)
def test_what_is_no_ending_belongs_to_the_title(tmp_path: Path, name: str, title: str) -> None:
    assert read(tmp_path, name, "Text.").title == title


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
    assert document.title == "Guide"
    assert bare(document) == (
        Section("Before everything else."),
        Section("Intro with code, a link (https://example.org) and an image."),
        Section(
            "1. First\n2. Second more\n  - inner\n  run it\n3. Third\n\ndef f():\n    return 1", "Install"
        ),
        Section("Name | Value\na | 1\nb |\n\nQuoted text.", "Use"),
        Section("In HTML", "Use > Deep"),
        Section("Line one\nline two\nline three & more", "Setext"),
    )


def test_rows_of_a_table_stand_under_the_names_of_its_columns_wherever_it_is_cut(tmp_path: Path) -> None:
    rows = [f"| row {at} | {at * at} |" for at in range(60)]
    table = "\n".join(["| Name | *Square* |", "|---|---|", *rows])
    document = read(tmp_path, "a.md", f"{table}\n\n# T\n\n## A\n\n{table}\n\nAfter.\n\n## B\n\n{table}\n")
    text = "\n".join(["Name | Square", *(row.strip("| ") for row in rows)])
    assert document.title == "T"
    assert bare(document) == (
        Section(text),
        Section(f"{text}\n\nAfter.", "A"),
        Section(text, "B"),
    )
    passages = cut(document, 60, lambda texts: [len(each.split()) for each in texts])
    with_rows = [each for each in passages if "row" in each.text]
    assert len(with_rows) > 12
    assert all(each.text.startswith("Name | Square\nrow ") for each in with_rows)
    rows = [line for each in with_rows for line in each.text.split("\n") if line.startswith("row")]
    assert rows == [f"row {at} | {at * at}" for at in range(60)] * 3


@pytest.mark.parametrize(
    ("front", "title", "facts"),
    [
        ("---\ntitle: My page\ntags:\n  - a\n  - b\n---\n", "My page", {"tags": "a, b"}),
        ("---\nlayout: x\nTitle: 'Quoted: page'\n...\n", "Quoted: page", {"layout": "x"}),
        ("---\ntitle: >\n  folded\ndate: 2025-02-17\n---\n", "folded", {"date": "2025-02-17"}),
        ("---\nauthor: {name: me}\ndraft: true\n---\n\n", "One", {"author.name": "me", "draft": True}),
        ('+++\ntitle = "Toml"\nweight = 3\n+++\n', "Toml", {"weight": 3}),
    ],
)
def test_front_matter_is_metadata_and_text(
    tmp_path: Path, front: str, title: str, facts: dict[str, object]
) -> None:
    document = read(tmp_path, "a.md", front + "# One\n\nText.\n")
    stated, text = document.sections
    assert document.title == title
    assert stated.text == "\n".join(
        f"{name}: {str(value).lower() if value is True else value}" for name, value in facts.items()
    )
    assert (text.text, text.heading) == ("Text.", "" if title == "One" else "One")
    assert stated.metadata == text.metadata == facts


def test_front_matter_that_is_none_is_kept_as_text(tmp_path: Path) -> None:
    document = read(tmp_path, "a.md", "---\na: [1\n---\n\nText.\n")
    assert [section.text for section in document.sections] == ["a: [1", "Text."]
    bomb = "---\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n---\nText.\n"
    assert read(tmp_path, "b.md", bomb).sections[0].metadata == {}


def test_rules_are_not_taken_for_front_matter(tmp_path: Path) -> None:
    document = read(tmp_path, "a.md", "---\n\nSome text\n\n---\n\nMore text\n")
    assert bare(document) == (Section("Some text\n\nMore text"),)


def test_heading_without_text_is_kept_as_text(tmp_path: Path) -> None:
    document = read(tmp_path, "a.md", "## A\n### B\ntext\n### C\n## D\n")
    assert document.title == "a"
    assert bare(document) == (Section("text", "A > B"), Section("C", "A"), Section("D"))


def test_deeply_nested_lists_lose_nothing(tmp_path: Path) -> None:
    text = "".join(f"{'  ' * depth}- item{depth}\n" for depth in range(40))
    words = read(tmp_path, "a.md", text).sections[0].text.split()
    assert [word for word in words if word != "-"] == [f"item{depth}" for depth in range(40)]


# HTML


def test_html_structure(tmp_path: Path) -> None:
    text = """<!doctype html><html><head><title>Widgets – ACME</title><style>p {}</style></head><body>
<header><a href="/">Logo</a></header><nav><ul><li>Home</ul></nav><div role="navigation">Menu</div>
<article><header><h1>Widgets</h1></header><p>All about <b>wid</b>gets&nbsp;and hy&shy;phens.<br>New line.</p>
loose text <em>here</em><div>in a block<div>deeper</div>after</div>
<h2>Types</h2>
<ul><li>One<li><p>Two</p><p>more</p><ol start="3"><li>Inner</li><li>Last</li></ol></li></ul>
<table><tr><th>Name<th>Value<tr><td><p>a</p><p>b</p></td><td><ul><li>1</li><li>2</li></ul></td></tr></table>
<pre>def f():
    return 1
</pre><script>alert(1)</script><!-- comment --><p hidden>no</p><h3>Empty</h3></article>
<table><tr><td><h2>Layout</h2><p>cell text</p></td><td>side</td></tr></table>
<aside>Also read</aside><footer>(c)</footer></body></html>"""
    document = read(tmp_path, "a.html", text)
    assert document.title == "Widgets – ACME"
    assert bare(document) == (
        Section(
            "All about widgets and hyphens.\nNew line.\n\nloose text here\n\nin a block\n\ndeeper\n\nafter"
        ),
        Section(
            "- One\n- Two\n  more\n  3. Inner\n  4. Last\n\n"
            "Name | Value\na b | 1 2\n\ndef f():\n    return 1",
            "Types",
        ),
        Section("Empty", "Types"),
        Section("cell text\n\nside\n\nAlso read", "Layout"),
    )


def test_text_outside_main_is_read(tmp_path: Path) -> None:
    document = read(tmp_path, "a.htm", "<div>Around</div><main><h1>Head</h1><p>Text.</main><div>After</div>")
    assert (document.title, bare(document)) == ("Head", (Section("Around"), Section("Text.\n\nAfter")))


def test_html_encoding_may_be_declared(tmp_path: Path) -> None:
    text = '<meta charset="koi8-r"><p>Это обычное русское предложение.</p>'
    assert bare(read(tmp_path, "a.html", text.encode("koi8-r"))) == (
        Section("Это обычное русское предложение."),
    )
    unknown = '<meta charset="nonsense"><p>A plain café.</p>'.encode("cp1252")
    assert bare(read(tmp_path, "b.html", unknown)) == (Section("A plain café."),)


@pytest.mark.parametrize(
    "text", ["<div>" * 5000 + "deep" + "</div>" * 5000, "<p>deep", "deep", "<?xml version='1.0'?><p>deep</p>"]
)
def test_odd_html_is_read_without_remarks(tmp_path: Path, text: str) -> None:
    assert bare(read(tmp_path, "a.html", text)) == (Section("deep"),)


def test_html_without_text_of_its_own_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        DocumentError, match=r"a\.html holds no text to read \(1 menu left out\); leave it out"
    ):
        read(tmp_path, "a.html", "<title>App</title><nav>Home</nav><script>run()</script>")


# PDF

BODY = [
    "The first paragraph of this page is long enough to be wrapped over some lines, with a hyphen-",
    "ated word, a well-known compound, the well-",
    "known compound once more, and the Anglo-",
    "Saxon name (in parentheses), before it comes to an end in a line that is short.",
    "It ends here.",
    "The second paragraph then begins and goes on for a line or so, until its own end is near as well.",
    "Done.",
]


def test_pdf_lines_become_paragraphs(tmp_path: Path) -> None:
    document = read(tmp_path, "a.pdf", pdf_bytes(["A heading", *BODY, "• one", "• two"], title="The title"))
    assert document.title == "The title"
    assert bare(document) == (
        Section(
            "A heading\n"
            "The first paragraph of this page is long enough to be wrapped over some lines, with a "
            "hyphenated word, a well-known compound, the well-known compound once more, and the "
            "Anglo-Saxon name (in parentheses), before it comes to an end in a line that is short. "
            "It ends here.\n\n"
            "The second paragraph then begins and goes on for a line or so, until its own end is near as "
            "well. Done.\n• one\n• two",
            page=1,
        ),
    )


def test_pdf_pages_keep_their_numbers_and_lose_their_running_heads(tmp_path: Path) -> None:
    names = ["North", "South", "East", "West", "Centre"]
    pages = [
        ["ACME report", f"{name} is first.", *BODY, f"{name} is last.", f"Page {number} of 5"]
        for number, name in enumerate(names, 1)
    ]
    pages.insert(2, [])
    document = read(tmp_path, "report.pdf", pdf_bytes(*pages, title="Microsoft Word - report.doc"))
    assert document.title == "report"
    assert [section.page for section in document.sections] == [1, 2, 4, 5, 6]
    assert document.left_out == ("9 running heads and page numbers left out",)
    for name, section in zip(names, document.sections, strict=True):
        assert section.text.removeprefix("ACME report\n").startswith(f"{name} is first.")
        assert section.text.startswith("ACME") == (name == "North")
        assert section.text.endswith(f"{name} is last.")


def test_sentence_over_a_page_end_stays_whole(tmp_path: Path) -> None:
    document = read(tmp_path, "a.pdf", pdf_bytes(["A sentence runs"], ["over the page. Next one."]))
    assert bare(document) == (
        Section("A sentence runs over the page.", page=1),
        Section("Next one.", page=2),
    )


def test_encrypted_pdf_is_an_error_unless_its_password_is_empty(tmp_path: Path) -> None:
    for password in ("secret", ""):
        (tmp_path / "plain.pdf").write_bytes(pdf_bytes(["Hidden words."]))
        writer = PdfWriter(clone_from=PdfReader(tmp_path / "plain.pdf"))
        writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
        writer.write(tmp_path / f"locked{password}.pdf")
    with pytest.raises(DocumentError, match=r"lockedsecret\.pdf is an encrypted PDF; save a copy without"):
        read_document(tmp_path / "lockedsecret.pdf")
    assert read_document(tmp_path / "locked.pdf").sections == (Section("Hidden words.", page=1),)


def test_pdf_of_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"a\.pdf is a PDF of images without text; run text recognition"):
        read(tmp_path, "a.pdf", pdf_bytes([], []))


def test_damaged_pdf_is_an_error_and_the_library_stays_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    whole = pdf_bytes(["Some text."], ["More text."])
    for broken in (whole[:150], b"%PDF-1.4\nnothing", whole.replace(b"/Pages", b"/Pagan")):
        with pytest.raises(DocumentError, match=r"a\.pdf is a damaged PDF; open it in a viewer"):
            read(tmp_path, "a.pdf", broken)
    # what pypdf can repair is read, and what it says about it is kept from the user
    repaired = read(tmp_path, "a.pdf", whole.replace(b"startxref\n", b"startxref\n9"))
    assert [section.text for section in repaired.sections] == ["Some text.", "More text."]
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_pdf_by_name_only_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"a\.pdf is not a PDF file, whatever its name says; give it"):
        read(tmp_path, "a.pdf", "plain text")
