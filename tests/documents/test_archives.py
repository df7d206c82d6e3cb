"""Word files and books that are put together here, and what becomes of bad ones."""

from __future__ import annotations

import struct
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from clara.documents import archives, read_stream
from clara.errors import DocumentError
from clara.records import Section

TYPES = """<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/word/document.xml"
 ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>"""
RELATIONS = """<?xml version="1.0"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1"
 Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
 Target="word/document.xml"/></Relationships>"""
CORE = """<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{}</dc:title></cp:coreProperties>"""
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
STYLES = f"""<w:styles xmlns:w="{WORD}">
<w:style w:type="paragraph" w:styleId="Titre"><w:name w:val="Title"/></w:style>
<w:style w:type="paragraph" w:styleId="Titre1"><w:name w:val="heading 1"/></w:style>
<w:style w:type="paragraph" w:styleId="Titre2"><w:name w:val="heading 2"/></w:style></w:styles>"""


def packed(files: dict[str, str | bytes]) -> bytes:
    stream = BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def docx(body: str, title: str = "", before: str = "", **others: str | bytes) -> bytes:
    document = (
        f'<?xml version="1.0"?>{before}<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'
    )
    return packed({
        "[Content_Types].xml": TYPES,
        "_rels/.rels": RELATIONS,
        "docProps/core.xml": CORE.format(title),
        "word/styles.xml": STYLES,
        "word/document.xml": document,
        **others,
    })  # fmt: skip


def row(*cells: str) -> str:
    return "<w:tr>" + "".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in cells) + "</w:tr>"


BODY = (
    paragraph("Report", "Titre")
    + paragraph("Before all.")
    + paragraph("Findings", "Titre1")
    + paragraph("First &amp; second.")
    + paragraph("Costs", "Titre2")
    + f"<w:tbl>{row('Item', 'Price')}{row('Steel', '12')}</w:tbl>"
)
SECTIONS = (
    Section("Before all."),
    Section("First & second.", "Findings"),
    Section("Item | Price\nSteel | 12", "Findings > Costs"),
)


@pytest.mark.parametrize(
    ("stated", "title", "prefix"),
    [("", "Report", ""), ("Steel prices", "Steel prices", "Report"), ("Document1.docx", "Report", "")],
)
def test_word_file(stated: str, title: str, prefix: str) -> None:
    document = read_stream(docx(BODY, stated), "x", ".docx")
    assert document.title == title
    first, *others = document.sections
    assert (first.text, first.heading) == ("Before all.", prefix)
    # headings of level 1 stand beside the title, which is one of these too
    assert [(each.text, each.heading) for each in others] == [
        (each.text, each.heading) for each in SECTIONS[1:]
    ]


CONTAINER = """<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"
 version="1.0"><rootfiles><rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>"""
PACKAGE = """<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Book</dc:title></metadata><manifest>
<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="x" href="toc.ncx" media-type="application/x-dtbncx+xml"/>
<item id="b" href="text/b%20b.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="text/a.xhtml" media-type="application/xhtml+xml"/>
<item id="c" href="text/c.xhtml" media-type="application/xhtml+xml"/>
<item id="i" href="i.png" media-type="image/png"/></manifest>
<spine><itemref idref="n"/><itemref idref="a"/><itemref idref="b"/><itemref idref="c"/><itemref idref="i"/>
<itemref idref="gone"/></spine></package>"""
NAV = """<html xmlns="http://www.w3.org/1999/xhtml"><body><nav><ol><li><a href="text/b%20b.xhtml#start">The
 Second</a></li><li><a href="text/b%20b.xhtml#later">Later</a></li></ol></nav></body></html>"""
NCX = """<ncx><navMap><navPoint id="1"><navLabel><text>The Second</text></navLabel>
<content src="text/b%20b.xhtml"/></navPoint></navMap></ncx>"""
CHAPTERS = {
    "OPS/text/a.xhtml": "<html><head><title>One</title></head><body><h1>One</h1><p>In one.</p></body></html>",
    "OPS/text/b b.xhtml": "<html><head><title>The Book</title></head><body><p>In two.</p></body></html>",
    "OPS/text/c.xhtml": "<html><body><p>Still in two.</p><h2>Deep</h2><p>Deeper.</p></body></html>",
}


def epub(**others: str | bytes) -> bytes:
    files = {"mimetype": "application/epub+zip", "META-INF/container.xml": CONTAINER, "OPS/book.opf": PACKAGE}
    return packed({**files, "OPS/nav.xhtml": NAV, "OPS/toc.ncx": NCX, **CHAPTERS, **others})


@pytest.mark.parametrize("contents", ["nav", "ncx"])
def test_book_is_read_in_its_order_with_its_chapters(contents: str) -> None:
    other = {"OPS/toc.ncx": "<ncx/>"} if contents == "nav" else {"OPS/nav.xhtml": "<html/>"}
    document = read_stream(epub(**other), "x", ".epub")
    assert document.title == "The Book"
    assert document.sections == (
        Section("In one.", "One"),
        Section("In two.", "The Second"),
        Section("Still in two.", "The Second"),
        Section("Deeper.", "Deep"),
    )


def test_protected_book_is_refused_and_protected_fonts_are_no_matter() -> None:
    listed = '<e xmlns="x"><CipherReference URI="{}"/></e>'
    fonts = {"META-INF/encryption.xml": listed.format("OPS/font.otf")}
    assert len(read_stream(epub(**fonts), "x", ".epub").sections) == 4
    text = {"META-INF/encryption.xml": listed.format("OPS/text/b%20b.xhtml")}
    with pytest.raises(
        DocumentError, match=r"^x is an EPUB book with copy protection; its text cannot be read\.$"
    ):
        read_stream(epub(**text), "x", ".epub")


@pytest.mark.parametrize("suffix", [".docx", ".epub"])
def test_damaged_archives_are_refused(suffix: str) -> None:
    whole = docx(BODY) if suffix == ".docx" else epub()
    refusal = r"^x is (?:not )?an? (?:Word file \(DOCX\)|EPUB book).*damaged.*; .* anew\.$"
    for broken in (
        whole[: len(whole) // 2],
        b"plain text",
        whole[:200] + b"\0" * 400 + whole[600:],
        packed({"a": "b"}),
    ):
        with pytest.raises(DocumentError, match=refusal):
            read_stream(broken, "x", suffix)


def test_damaged_xml_within_archives_is_refused() -> None:
    with pytest.raises(
        DocumentError, match=r"^x is not a Word file \(DOCX\) or a damaged one; open it and save"
    ):
        read_stream(docx("<w:p>"), "x", ".docx")
    with pytest.raises(DocumentError, match=r"^x is not an EPUB book or a damaged one; open it and save"):
        read_stream(epub(**{"OPS/book.opf": "<package>"}), "x", ".epub")
    with pytest.raises(DocumentError, match=r"^x is not an EPUB book or a damaged one"):
        read_stream(packed({"META-INF/container.xml": CONTAINER}), "x", ".epub")


def test_encrypted_archive_is_refused() -> None:
    data = bytearray(epub())
    for mark, at in (
        (b"PK\x03\x04", 6),
        (b"PK\x01\x02", 8),
    ):  # the flag of encryption in both headers of a file
        start = 0
        while (start := data.find(mark, start)) >= 0:
            data[start + at] |= 1
            start += 1
    with pytest.raises(
        DocumentError, match=r"^x is encrypted or not an EPUB book; save a copy without a password"
    ):
        read_stream(bytes(data), "x", ".epub")


@pytest.mark.parametrize(("make", "suffix"), [(docx, ".docx"), (epub, ".epub")])
def test_archives_that_unpack_beyond_measure_are_refused(
    make: object, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "word/document.xml" if suffix == ".docx" else "OPS/text/a.xhtml"
    bomb = b" " * 3_000_000
    data = docx(BODY, **{name: bomb}) if suffix == ".docx" else epub(**{name: bomb})
    assert len(data) < 20_000
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 2_000_000)
    with pytest.raises(
        DocumentError, match=r"^x would unpack to 3 MB of text, and 2 MB is the most that is read"
    ):
        read_stream(data, "x", suffix)


def test_archive_that_lies_about_its_size_is_refused() -> None:
    name, bomb = b"OPS/text/a.xhtml", b"<p>" + b"a" * 3_000_000
    data = epub(**{name.decode(): bomb})
    true, said = struct.pack("<L", len(bomb)), struct.pack("<L", 1000)
    assert data.count(true) == 2
    read = read_stream(data.replace(true, said), "x", ".epub")
    assert read.left_out == ("the chapter OPS/text/a.xhtml is damaged and was left out",)
    assert max(len(section.text) for section in read.sections) < 1000


def test_entities_of_word_files_are_refused() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;">]>'
    with pytest.raises(
        DocumentError, match=r"^x defines XML entities, which no office program writes; open it"
    ):
        read_stream(docx(paragraph("&c;"), before=bomb), "x", ".docx")


def test_images_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 2_000_000)
    data = docx(BODY, **{"word/media/image1.png": b"\0" * 3_000_000})
    assert read_stream(data, "x", ".docx").title == "Report"
