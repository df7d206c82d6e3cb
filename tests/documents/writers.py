"""Writers of one set of documents in many formats, each with the format's own means for what is difficult to read.

A document is a title and blocks: ("heading", level, text), ("text", text), ("note", text, note), ("link", text,
address), ("raised", before, raised, after), ("table", rows of which the first names the columns), ("list", items).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from html import escape
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

Block = tuple[Any, ...]

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
ODF = "urn:oasis:names:tc:opendocument:xmlns"


def packed(files: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def opendocument(kind: str, content: str) -> bytes:
    """A package with the parts that other libraries ask for: its list of files, and styles even where there are none."""
    whole = f"application/vnd.oasis.opendocument.{kind}"
    entries = "".join(
        f'<m:file-entry m:full-path="{path}" m:media-type="{media}"/>'
        for path, media in (("/", whole), ("content.xml", "text/xml"), ("styles.xml", "text/xml"))
    )
    return packed({
        "mimetype": whole,
        "META-INF/manifest.xml": f'<m:manifest xmlns:m="{ODF}:manifest:1.0">{entries}</m:manifest>',
        "content.xml": content,
        "styles.xml": f'<office:document-styles xmlns:office="{ODF}:office:1.0"/>',
    })  # fmt: skip


def markdown(title: str, blocks: Sequence[Block]) -> bytes:
    lines, notes = [f"# {title}"], []
    for block in blocks:
        match block:
            case ("heading", level, text):
                lines.append("#" * (level + 1) + f" {text}")
            case ("text", text):
                lines.append(text)
            case ("note", text, note):
                notes.append(f"[^{len(notes) + 1}]: {note}")
                lines.append(f"{text}[^{len(notes)}]")
            case ("link", text, address):
                lines.append(f"See the [{text}]({address}).")
            case ("raised", before, raised, after):
                lines.append(f"{before}<sup>{raised}</sup>{after}")
            case ("table", rows):
                made = ["| " + " | ".join(row) + " |" for row in rows]
                lines.append("\n".join([made[0], "|---" * len(rows[0]) + "|", *made[1:]]))
            case ("list", items):
                lines.append("\n".join(f"{at}. {item}" for at, item in enumerate(items, 1)))
    return "\n\n".join([*lines, *notes]).encode()


def html_body(blocks: Sequence[Block]) -> str:
    parts, notes = [], []
    for block in blocks:
        match block:
            case ("heading", level, text):
                parts.append(f"<h{level + 1}>{escape(text)}</h{level + 1}>")
            case ("text", text):
                parts.append(f"<p>{escape(text)}</p>")
            case ("note", text, note):
                notes.append(note)
                number = len(notes)
                parts.append(
                    f'<p>{escape(text)}<sup><a href="#n{number}" epub:type="noteref">{number}</a></sup></p>'
                )
                parts.append(f'<aside epub:type="footnote" id="n{number}"><p>{escape(note)}</p></aside>')
            case ("link", text, address):
                parts.append(f'<p>See the <a href="{address}">{escape(text)}</a>.</p>')
            case ("raised", before, raised, after):
                parts.append(f"<p>{escape(before)}<sup>{raised}</sup>{escape(after)}</p>")
            case ("table", rows):
                head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
                body = "".join(
                    "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
                )
                parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
            case ("list", items):
                parts.append("<ol>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ol>")
    return "".join(parts)


def html(title: str, blocks: Sequence[Block]) -> bytes:
    menu = "<nav><ul><li><a href=/>Home</a><li><a href=/a>About us</a><li><a href=/b>Contact</a></ul></nav>"
    cookies = '<div class="cookie-banner">We use cookies. <button>Accept</button></div>'
    page = f"<!doctype html><html><head><title>{escape(title)}</title><body>{menu}{cookies}<h1>{escape(title)}</h1>"
    return f"{page}{html_body(blocks)}<footer>© 2025 All rights reserved</footer>".encode()


def epub(title: str, blocks: Sequence[Block]) -> bytes:
    container = "urn:oasis:names:tc:opendocument:xmlns:container"
    page = (
        '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">'
        f"<head><title>{escape(title)}</title></head><body><h1>{escape(title)}</h1>{html_body(blocks)}</body></html>"
    )
    return packed({
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": f'<container version="1.0" xmlns="{container}"><rootfiles><rootfile full-path="a.opf" '
        'media-type="application/oebps-package+xml"/>'
        "</rootfiles></container>",
        "a.opf": '<package version="3.0" xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{escape(title)}</dc:title></metadata><manifest>"
        '<item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/>'
        "</spine></package>",
        "a.xhtml": page,
    })  # fmt: skip


def docx(title: str, blocks: Sequence[Block]) -> bytes:
    def run(text: str, properties: str = "") -> str:
        return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{escape(text)}</w:t></w:r>'

    def paragraph(inner: str, properties: str = "") -> str:
        return f"<w:p><w:pPr>{properties}</w:pPr>{inner}</w:p>"

    parts, notes, links = [paragraph(run(title), '<w:pStyle w:val="Title"/>')], [], []
    for block in blocks:
        match block:
            case ("heading", level, text):
                parts.append(paragraph(run(text), f'<w:outlineLvl w:val="{level}"/>'))
            case ("text", text):
                parts.append(paragraph(run(text)))
            case ("note", text, note):
                notes.append(note)
                parts.append(paragraph(run(text) + f'<w:r><w:footnoteReference w:id="{len(notes)}"/></w:r>'))
            case ("link", text, address):
                links.append(address)
                link = f'<w:hyperlink r:id="l{len(links)}">{run(text)}</w:hyperlink>'
                parts.append(paragraph(run("See the ") + link + run(".")))
            case ("raised", before, raised, after):
                up = '<w:vertAlign w:val="superscript"/>'
                parts.append(paragraph(run(before) + run(raised, up) + run(after)))
            case ("table", rows):
                cells = [
                    "".join(
                        f"<w:tc><w:tcPr/>{paragraph(run(cell, '<w:b/>' * (at == 0)))}</w:tc>" for cell in row
                    )
                    for at, row in enumerate(rows)
                ]
                parts.append("<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>")
            case ("list", items):
                numbered = '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr>'
                parts += [paragraph(run(item), numbered) for item in items]
    names = f'xmlns:w="{W}" xmlns:r="{R}"'
    footnotes = "".join(
        f'<w:footnote w:id="{at}">{paragraph(run(note))}</w:footnote>' for at, note in enumerate(notes, 1)
    )
    kinds = ("footnotes", "styles", "numbering")
    relations = "".join(
        f'<Relationship Id="{kind}" Type="{R}/{kind}" Target="{kind}.xml"/>' for kind in kinds
    )
    relations += "".join(
        f'<Relationship Id="l{at}" Type="{R}/hyperlink" Target="{link}" TargetMode="External"/>'
        for at, link in enumerate(links, 1)
    )
    level = (
        '<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl>'
    )
    return packed({
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" '
        f'ContentType="application/xml"/><Override PartName="/word/document.xml" ContentType="{DOCX}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="a" '
        f'Type="{R}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f"<w:document {names}><w:body>{''.join(parts)}</w:body></w:document>",
        "word/footnotes.xml": f"<w:footnotes {names}>{footnotes}</w:footnotes>",
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">{relations}</Relationships>',
        "word/styles.xml": f'<w:styles {names}><w:style w:type="paragraph" w:styleId="Title"><w:name w:val="Title"/></w:style></w:styles>',
        "word/numbering.xml": f'<w:numbering {names}><w:abstractNum w:abstractNumId="0">{level}</w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>',
    })  # fmt: skip


def odt(title: str, blocks: Sequence[Block]) -> bytes:
    parts = [f'<text:h text:outline-level="1">{escape(title)}</text:h>']
    for block in blocks:
        match block:
            case ("heading", level, text):
                parts.append(f'<text:h text:outline-level="{level + 1}">{escape(text)}</text:h>')
            case ("text", text):
                parts.append(f"<text:p>{escape(text)}</text:p>")
            case ("note", text, note):
                body = f"<text:note-body><text:p>{escape(note)}</text:p></text:note-body>"
                parts.append(
                    f"<text:p>{escape(text)}<text:note><text:note-citation>1</text:note-citation>{body}</text:note></text:p>"
                )
            case ("link", text, address):
                parts.append(
                    f'<text:p>See the <text:a xlink:href="{address}">{escape(text)}</text:a>.</text:p>'
                )
            case ("raised", before, raised, after):
                parts.append(
                    f'<text:p>{escape(before)}<text:span text:style-name="up">{raised}</text:span>{escape(after)}</text:p>'
                )
            case ("table", rows):
                made = [
                    "".join(
                        f"<table:table-cell><text:p>{escape(cell)}</text:p></table:table-cell>"
                        for cell in row
                    )
                    for row in rows
                ]
                made = [f"<table:table-row>{row}</table:table-row>" for row in made]
                head = f"<table:table-header-rows>{made[0]}</table:table-header-rows>"
                parts.append(f"<table:table>{head}{''.join(made[1:])}</table:table>")
            case ("list", items):
                made = [f"<text:list-item><text:p>{escape(item)}</text:p></text:list-item>" for item in items]
                parts.append(f'<text:list text:style-name="n">{"".join(made)}</text:list>')
    names = " ".join(f'xmlns:{name}="{ODF}:{name}:1.0"' for name in ("office", "text", "table", "style"))
    styles = (
        '<style:style style:name="up" style:family="text"><style:text-properties style:text-position="super 58%"/></style:style>'
        '<text:list-style style:name="n"><text:list-level-style-number text:level="1" style:num-format="1" '
        'style:num-suffix="."/></text:list-style>'
    )
    content = (
        f'<office:document-content {names} xmlns:xlink="http://www.w3.org/1999/xlink"><office:automatic-styles>'
        f"{styles}</office:automatic-styles><office:body><office:text>{''.join(parts)}</office:text></office:body>"
        "</office:document-content>"
    )
    return opendocument("text", content)


def pdf(title: str, blocks: Sequence[Block]) -> bytes:
    """Two columns of running text, then tables below each other on pages of their own."""
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import (
        BaseDocTemplate,
        Frame,
        NextPageTemplate,
        PageBreak,
        PageTemplate,
        Paragraph,
        Table,
    )

    styles = getSampleStyleSheet()
    stream = io.BytesIO()
    made = BaseDocTemplate(stream, title=title, pagesize=(612, 792))
    columns = [Frame(50, 50, 240, 690), Frame(320, 50, 240, 690)]
    made.addPageTemplates([PageTemplate("two", columns), PageTemplate("one", [Frame(50, 50, 510, 690)])])
    story: list[Any] = [Paragraph(escape(title), styles["Title"])]
    tables: list[Any] = []
    for block in blocks:
        match block:
            case ("heading", _, text):
                story.append(Paragraph(escape(text), styles["Heading2"]))
            case ("text", text):
                story.append(Paragraph(escape(text), styles["BodyText"]))
            case ("note", text, note):
                story.append(Paragraph(f"{escape(text)}<super>1</super>", styles["BodyText"]))
                story.append(Paragraph(f"<super>1</super> {escape(note)}", styles["BodyText"]))
            case ("link", text, address):
                story.append(
                    Paragraph(f'See the <a href="{address}">{escape(text)}</a>.', styles["BodyText"])
                )
            case ("raised", before, raised, after):
                story.append(
                    Paragraph(f"{escape(before)}<super>{raised}</super>{escape(after)}", styles["BodyText"])
                )
            case ("table", rows):
                tables += [
                    NextPageTemplate("one"),
                    PageBreak(),
                    Table([list(row) for row in rows], repeatRows=1),
                ]
            case ("list", items):
                story += [
                    Paragraph(f"{at}. {escape(item)}", styles["BodyText"]) for at, item in enumerate(items, 1)
                ]
    made.build([*story, *tables])
    return stream.getvalue()


def rtf(title: str, blocks: Sequence[Block]) -> bytes:
    def plain(text: str) -> str:
        return "".join(one if one.isascii() else f"\\u{ord(one)}?" for one in text)

    parts = [rf"\b {plain(title)}\b0\par"]
    for block in blocks:
        match block:
            case ("heading", _, text):
                parts.append(rf"\b {plain(text)}\b0\par")
            case ("text", text):
                parts.append(rf"{plain(text)}\par")
            case ("note", text, note):
                parts.append(rf"{plain(text)}{{\super 1}}{{\footnote {plain(note)}}}\par")
            case ("link", text, address):
                field = rf'{{\field{{\*\fldinst{{HYPERLINK "{address}"}}}}{{\fldrslt{{{plain(text)}}}}}}}'
                parts.append(rf"See the {field}.\par")
            case ("raised", before, raised, after):
                parts.append(rf"{plain(before)}{{\super {raised}}}{plain(after)}\par")
            case ("table", rows):
                parts += [
                    r"\trowd " + "".join(rf"{plain(cell)}\cell " for cell in row) + r"\row" for row in rows
                ]
            case ("list", items):
                parts += [rf"{at}. {plain(item)}\par" for at, item in enumerate(items, 1)]
    return ("{\\rtf1\\ansi\n" + "\n".join(parts) + "\n}").encode()


def tex(title: str, blocks: Sequence[Block]) -> bytes:
    def plain(text: str) -> str:
        return text.replace("&", r"\&").replace("%", r"\%").replace("é", r"\'e").replace("#", r"\#")

    parts = [rf"\documentclass{{article}}\title{{{plain(title)}}}\begin{{document}}\maketitle"]
    for block in blocks:
        match block:
            case ("heading", level, text):
                parts.append("\\" + "sub" * (level - 1) + f"section{{{plain(text)}}}")
            case ("text", text):
                parts.append(f"{plain(text)} % a remark")
            case ("note", text, note):
                parts.append(rf"{plain(text)}\footnote{{{plain(note)}}}")
            case ("link", text, address):
                parts.append(rf"See the \href{{{address}}}{{{plain(text)}}}.")
            case ("raised", before, raised, after):
                parts.append(rf"{plain(before)}$^{{{raised}}}${plain(after)}")
            case ("table", rows):
                made = "\n".join(
                    " & ".join(map(plain, row)) + r" \\" + r" \hline" * (at == 0)
                    for at, row in enumerate(rows)
                )
                parts.append("\\begin{tabular}{%s}\n\\hline\n%s\n\\end{tabular}" % ("l" * len(rows[0]), made))
            case ("list", items):
                made = "\n".join(rf"\item {plain(item)}" for item in items)
                parts.append(f"\\begin{{enumerate}}\n{made}\n\\end{{enumerate}}")
    return "\n\n".join([*parts, r"\end{document}"]).encode()


def adoc(title: str, blocks: Sequence[Block]) -> bytes:
    parts = [f"= {title}\nAnn Lee <ann@example.org>"]
    for block in blocks:
        match block:
            case ("heading", level, text):
                parts.append("=" * (level + 1) + f" {text}")
            case ("text", text):
                parts.append(text)
            case ("note", text, note):
                parts.append(f"{text}footnote:[{note}]")
            case ("link", text, address):
                parts.append(f"See the {address}[{text}].")
            case ("raised", before, raised, after):
                parts.append(f"{before}^{raised}^{after}")
            case ("table", rows):
                made = ["".join(f"|{cell} " for cell in row) for row in rows]
                parts.append('[options="header"]\n|===\n' + "\n".join(made) + "\n|===")
            case ("list", items):
                parts.append("\n".join(f". {item}" for item in items))
    return "\n\n".join(parts).encode()


def notebook(title: str, blocks: Sequence[Block]) -> bytes:
    cells = [{"cell_type": "markdown", "source": [f"# {title}"]}]
    for block in blocks:
        if block[0] == "table":
            data = {"text/html": [f"<div>\n{html_body([block])}\n</div>"], "text/plain": ["a frame"]}
            output = {"output_type": "execute_result", "data": data}
            cells.append({"cell_type": "code", "source": ["frame"], "outputs": [output]})
        else:
            text = markdown("x", [block]).decode().partition("\n\n")[2]
            cells.append({"cell_type": "markdown", "source": text.splitlines(keepends=True)})
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}).encode()


def slides(title: str, blocks: Sequence[Block]) -> bytes:
    from pptx import Presentation
    from pptx.util import Inches

    show = Presentation()
    show.slides.add_slide(show.slide_layouts[0]).shapes.title.text = title
    text = None
    for block in blocks:
        if block[0] in ("heading", "table") or text is None:
            slide = show.slides.add_slide(show.slide_layouts[1])
            slide.shapes.title.text = block[2] if block[0] == "heading" else "More"
            text = slide.placeholders[1].text_frame
        if block[0] == "heading":
            continue
        if block[0] == "table":
            rows = block[1]
            table = slide.shapes.add_table(
                len(rows), len(rows[0]), Inches(1), Inches(2), Inches(8), Inches(3)
            ).table
            for at, row in enumerate(rows):
                for place, cell in enumerate(row):
                    table.cell(at, place).text = cell
            continue
        paragraph = text.add_paragraph()
        match block:
            case ("text", words):
                paragraph.text = words
            case ("note", words, note):
                paragraph.text = words
                slide.notes_slide.notes_text_frame.text = note
            case ("link", words, address):
                paragraph.add_run().text = "See the "
                linked = paragraph.add_run()
                linked.text = words
                linked.hyperlink.address = address
            case ("raised", before, raised, after):
                paragraph.add_run().text = before
                up = paragraph.add_run()
                up.text = raised
                up.font._element.set("baseline", "30000")
                paragraph.add_run().text = after
            case ("list", items):
                for at, item in enumerate(items, 1):
                    text.add_paragraph().text = f"{at}. {item}"
    stream = io.BytesIO()
    show.save(stream)
    return stream.getvalue()


def mail(title: str, blocks: Sequence[Block]) -> bytes:
    """A page as the text, and the tables attached as CSV."""
    from email.message import EmailMessage

    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "Ann <ann@example.org>", "Bo <bo@example.org>", title
    message.set_content(
        f"<html><body>{html_body([one for one in blocks if one[0] != 'table'])}</body></html>", "html"
    )
    for block in blocks:
        if block[0] == "table":
            message.add_attachment(table_text(block[1], ",").encode(), "text", "csv", filename="table.csv")
    return bytes(message)


def saved_page(title: str, blocks: Sequence[Block]) -> bytes:
    from email.message import EmailMessage

    message = EmailMessage()
    message["Subject"] = title
    message["Snapshot-Content-Location"] = "https://example.org/page"
    message.set_content(html(title, blocks).decode(), "html", cte="quoted-printable")
    message.make_related()
    return bytes(message)


def table_text(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows(rows)
    return stream.getvalue()


def records(blocks: Sequence[Block]) -> list[dict[str, str]]:
    """Tables as records; what is text otherwise in records of one field."""
    found = []
    for block in blocks:
        match block:
            case ("table", rows):
                found += [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
            case ("text", text):
                found.append({"text": text})
            case ("note", text, note):
                found.append({"text": text, "note": note})
            case ("link", text, address):
                found.append({"link": text, "address": address})
            case ("raised", before, raised, after):
                found.append({"text": f"{before}^{raised}{after}"})
            case ("list", items):
                found.append({"steps": [f"{at}. {item}" for at, item in enumerate(items, 1)]})
    return found


def as_json(title: str, blocks: Sequence[Block]) -> bytes:
    return json.dumps({"name": title, "parts": records(blocks)}).encode()


def json_lines(title: str, blocks: Sequence[Block]) -> bytes:
    return "\n".join(map(json.dumps, records(blocks))).encode()


def table_with(delimiter: str) -> Callable[[str, Sequence[Block]], bytes]:
    """A writer of the tables alone, each below a line with the title."""

    def write(title: str, blocks: Sequence[Block]) -> bytes:
        rows = next(block[1] for block in blocks if block[0] == "table")
        return f"{title}\n\n{table_text(rows, delimiter)}".encode()

    return write


def workbook(title: str, blocks: Sequence[Block]) -> bytes:
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    sheet.title = title[:31]
    for block in blocks:
        match block:
            case ("table", rows):
                for row in rows:
                    sheet.append(list(row))
            case ("text", text):
                sheet.append([text])
            case ("note", text, note):
                sheet.append([text, note])
            case ("link", text, address):
                sheet.append([text, address])
            case ("raised", before, raised, after):
                sheet.append([f"{before}^{raised}{after}"])
            case ("list", items):
                for at, item in enumerate(items, 1):
                    sheet.append([f"{at}. {item}"])
        sheet.append([])
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def sheets(title: str, blocks: Sequence[Block]) -> bytes:
    """An OpenDocument spreadsheet of the tables."""
    rows = [row for block in blocks if block[0] == "table" for row in block[1]]
    made = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
            for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    names = " ".join(f'xmlns:{name}="{ODF}:{name}:1.0"' for name in ("office", "text", "table"))
    content = (
        f"<office:document-content {names}><office:body><office:spreadsheet>"
        f'<table:table table:name="{escape(title)}">{made}</table:table></office:spreadsheet></office:body>'
        "</office:document-content>"
    )
    return opendocument("spreadsheet", content)


def lines_of(blocks: Sequence[Block]) -> list[str]:
    """All that is said, a sentence or row a line."""
    said = []
    for block in blocks:
        match block:
            case ("heading", _, text):
                said.append(text)
            case ("text", text):
                said.append(text)
            case ("note", text, note):
                said += [text, note]
            case ("link", text, address):
                said.append(f"See the {text}: {address}")
            case ("raised", before, raised, after):
                said.append(f"{before}^{raised}{after}")
            case ("table", rows):
                said += [
                    ", ".join(f"{name} {cell}" for name, cell in zip(rows[0], row, strict=True))
                    for row in rows[1:]
                ]
            case ("list", items):
                said += [f"{at}. {item}" for at, item in enumerate(items, 1)]
    return said


def subtitles(title: str, blocks: Sequence[Block]) -> bytes:
    cues = [
        f"{at + 1}\n00:{at * 5 // 60:02}:{at * 5 % 60:02},000 --> 00:{at * 5 // 60:02}:{at * 5 % 60 + 4:02},500\n<i>{line}</i>"
        for at, line in enumerate(lines_of(blocks))
    ]
    return "\n\n".join(cues).encode()


def captions(title: str, blocks: Sequence[Block]) -> bytes:
    cues = [
        f"{at * 5 // 60:02}:{at * 5 % 60:02}.000 --> {at * 5 // 60:02}:{at * 5 % 60 + 4:02}.500 align:start\n<v Ann>{line}</v>"
        for at, line in enumerate(lines_of(blocks))
    ]
    return "\n\n".join(["WEBVTT", *cues]).encode()


def log(title: str, blocks: Sequence[Block]) -> bytes:
    said = lines_of(blocks)
    return "\n".join(f"2025-05-01 10:{at:02}:00 INFO {line}" for at, line in enumerate(said[:60])).encode()


def plain(title: str, blocks: Sequence[Block]) -> bytes:
    return f"{title}\n\n{chr(10).join(lines_of(blocks))}".encode("utf-16-le")


def rst(title: str, blocks: Sequence[Block]) -> bytes:
    lines = "\n\n".join(lines_of(blocks))
    return f"{title}\n{'=' * len(title)}\n\n{lines}\n".encode()


def org(title: str, blocks: Sequence[Block]) -> bytes:
    return f"#+title: {title}\n\n{(chr(10) * 2).join(lines_of(blocks))}\n".encode()


WRITERS: dict[str, Callable[[str, Sequence[Block]], bytes]] = {
    ".md": markdown, ".html": html, ".epub": epub, ".docx": docx, ".odt": odt, ".pdf": pdf, ".rtf": rtf,
    ".tex": tex, ".adoc": adoc, ".ipynb": notebook, ".pptx": slides, ".eml": mail, ".mhtml": saved_page,
    ".json": as_json, ".jsonl": json_lines, ".csv": table_with(","), ".tsv": table_with("\t"), ".xlsx": workbook,
    ".ods": sheets, ".srt": subtitles, ".vtt": captions, ".log": log, ".txt": plain, ".rst": rst, ".org": org,
}  # fmt: skip
