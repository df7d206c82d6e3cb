"""Word and OpenDocument files with tables in tables, forms, hidden text and notes of several paragraphs.

pytest tests/documents/test_office.py
"""

from __future__ import annotations

import pytest
from writers import PACKAGE, R, W, packed

from clara.documents import read_stream
from clara.records import Document

W14 = "http://schemas.microsoft.com/office/word/2010/wordml"
ODF = "urn:oasis:names:tc:opendocument:xmlns"
NAMES = " ".join(f'xmlns:{one}="{ODF}:{one}:1.0"' for one in ("office", "text", "table", "style", "form"))
NAMES += f' xmlns:draw="{ODF}:drawing:1.0"'


def words(document: Document) -> str:
    return "\n\n".join(section.text for section in document.sections)


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*runs: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{''.join(runs)}</w:p>"


def table(*rows: list[str]) -> str:
    """Rows of cells, which are texts or blocks."""

    def cell(inner: str) -> str:
        return f"<w:tc>{inner if inner.startswith('<') else paragraph(run(inner))}</w:tc>"

    return "<w:tbl>" + "".join(f"<w:tr>{''.join(map(cell, row))}</w:tr>" for row in rows) + "</w:tbl>"


def docx(body: str, styles: str = "", **parts: str) -> Document:
    links = "".join(
        f'<Relationship Id="{name}" Type="{R}/aFChunk" Target="/word/{name}.html"/>' for name in parts
    )
    names = f'xmlns:w="{W}" xmlns:r="{R}" xmlns:w14="{W14}"'
    files = {
        "[Content_Types].xml": "<Types/>",
        "word/document.xml": f"<w:document {names}><w:body>{body}</w:body></w:document>",
        "word/styles.xml": f'<w:styles xmlns:w="{W}">{styles}</w:styles>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{PACKAGE}/x">{links}</Relationships>',
        **{f"word/{name}.html": content for name, content in parts.items()},
    }
    return read_stream(packed(files), suffix=".docx")


def odt(text: str, styles: str = "") -> Document:
    content = (
        f"<office:document-content {NAMES}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:text>{text}</office:text></office:body></office:document-content>"
    )
    files = {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content}
    return read_stream(packed(files), suffix=".odt")


def odt_table(*rows: list[str]) -> str:
    def cell(inner: str) -> str:
        block = inner if inner.startswith("<") else f"<text:p>{inner}</text:p>"
        return f"<table:table-cell>{block}</table:table-cell>"

    made = (f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
    return f"<table:table>{''.join(made)}</table:table>"


NESTED = "Name | Ann\nItems | Item, Price; Lamp, 3; Rope, 4\nCity | Riga"


def test_table_within_a_table_keeps_its_rows() -> None:
    inner = ["Item", "Price"], ["Lamp", "3"], ["Rope", "4"]
    outer = ["Name", "Ann"], ["Items", table(*inner)], ["City", "Riga"]
    assert words(docx(table(*outer))) == NESTED
    outer = ["Name", "Ann"], ["Items", odt_table(*inner)], ["City", "Riga"]
    assert words(odt(odt_table(*outer))) == NESTED


def test_html_table_within_a_table_keeps_its_rows() -> None:
    inner = "<table><tr><th>Item<th>Price</tr><tr><td>Lamp<td>3</tr><tr><td>Rope<td>4</tr></table>"
    rows = f"<tr><td>Name<td>Ann</tr><tr><td>Items<td>{inner}</td></tr><tr><td>City<td>Riga</tr>"
    assert words(read_stream(f"<table>{rows}</table>".encode(), suffix=".html")) == NESTED
    layout = f"<table><tr><td>{inner}<td>{inner}</tr></table>"
    alone = "Item | Price\nLamp | 3\nRope | 4"
    assert words(read_stream(layout.encode(), suffix=".html")) == f"{alone}\n\n{alone}"
    listed = f"<ul><li>One<li>Two: {inner}</ul>"
    assert words(read_stream(listed.encode(), suffix=".html")) == (
        "- One\n- Two:\n  Item | Price\n  Lamp | 3\n  Rope | 4"
    )


def test_part_of_a_word_file_in_html_is_read() -> None:
    document = docx(
        paragraph(run("Before.")) + '<w:altChunk r:id="c1"/>', c1="<p>The mill was sold in 1990.</p>"
    )
    assert [(one.heading, one.text) for one in document.sections] == [
        ("", "Before."),
        ("c1.html", "The mill was sold in 1990."),
    ]
    assert docx(paragraph(run("Before.")) + '<w:altChunk r:id="c9"/>').left_out == (
        "1 part in another format left out",
    )


def test_boxes_to_check_and_choices_of_forms() -> None:
    def field(inner: str) -> str:
        begin = f'<w:r><w:fldChar w:fldCharType="begin"><w:ffData>{inner}</w:ffData></w:fldChar></w:r>'
        return f'{begin}<w:r><w:instrText>FORM</w:instrText></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>'

    def control(value: int) -> str:
        box = f'<w14:checkbox><w14:checked w14:val="{value}"/></w14:checkbox>'
        return f"<w:sdt><w:sdtPr>{box}</w:sdtPr><w:sdtContent>{run('☐☒'[value])}</w:sdtContent></w:sdt>"

    entries = '<w:listEntry w:val="red"/><w:listEntry w:val="blue"/>'
    sign = '<w:r><w:sym w:font="Wingdings" w:char="F0FE"/></w:r>'
    document = docx(
        paragraph(field('<w:checkBox><w:default w:val="0"/><w:checked/></w:checkBox>'), run(" paid"))
        + paragraph(field('<w:checkBox><w:default w:val="0"/></w:checkBox>'), run(" sent"))
        + paragraph(control(1), run(" dry"), control(0), run(" wet"))
        + paragraph(run("Color: "), field(f'<w:ddList><w:result w:val="1"/>{entries}</w:ddList>'))
        + paragraph(sign, run(" new"))
    )
    assert words(document) == "[x] paid\n\n[ ] sent\n\n[x] dry[ ] wet\n\nColor: blue\n\n[x] new"


@pytest.mark.parametrize("kind", ["character", "paragraph"])
def test_text_of_hidden_styles_of_word_is_counted(kind: str) -> None:
    style = f'<w:style w:type="{kind}" w:styleId="H"><w:name w:val="H"/><w:rPr><w:vanish/></w:rPr></w:style>'
    based = f'<w:style w:type="{kind}" w:styleId="B"><w:name w:val="B"/><w:basedOn w:val="H"/></w:style>'
    if kind == "character":
        body = paragraph(run("Shown, "), run("hidden, ", '<w:rStyle w:val="B"/>'), run("shown."))
    else:
        body = paragraph(
            run("hidden, "), run("Shown, shown.", '<w:vanish w:val="0"/>'), properties='<w:pStyle w:val="B"/>'
        )
    document = docx(body, style + based)
    assert (words(document), document.left_out) == ("Shown, shown.", ("1 hidden text left out",))


def test_notes_of_several_paragraphs_in_odt() -> None:
    note = (
        "<text:note><text:note-citation>1</text:note-citation><text:note-body>{}</text:note-body></text:note>"
    )
    body = "<text:p>First part.</text:p><text:p>Second<text:line-break/>part.</text:p>"
    document = odt(f"<text:p>The mill{note.format(body)} stands.</text:p>")
    assert words(document) == "The mill [1: First part. Second part.] stands."


def test_hidden_text_of_odt_is_counted() -> None:
    styles = (
        '<style:style style:name="H"><style:text-properties text:display="none"/></style:style>'
        '<style:style style:name="P" style:parent-style-name="H"/>'
        '<style:style style:name="S" style:parent-style-name="H">'
        '<style:text-properties text:display="true"/></style:style>'
    )
    document = odt(
        '<text:p>Shown<text:span text:style-name="P"> one</text:span>.</text:p>'
        '<text:p text:style-name="P">two</text:p>'
        '<text:p text:style-name="S">Shown too.</text:p>'
        '<text:p><text:hidden-text text:is-hidden="true">three</text:hidden-text>Third.</text:p>'
        '<text:p><text:hidden-paragraph text:is-hidden="true"/>four</text:p>'
        '<text:section text:display="none"><text:p>five</text:p></text:section>'
        '<text:list><text:list-item><text:p text:style-name="P">six</text:p></text:list-item></text:list>',
        styles,
    )
    assert (words(document), document.left_out) == (
        "Shown.\n\nShown too.\n\nThird.", ("6 hidden texts left out",)
    )  # fmt: skip


def test_list_item_with_a_table_is_read_once() -> None:
    inner = odt_table(["a", "b"], ["c", "d"])
    items = "<text:list-item><text:p>One</text:p>{}<text:p>after</text:p></text:list-item>"
    document = odt(f"<text:list>{items.format(inner)}</text:list>")
    assert words(document) == "- One\n\na | b\nc | d\n\nafter"


def test_formula_of_odt_stands_in_its_sentence() -> None:
    frame = '<draw:frame><draw:object xlink:href="./Formula-0/"/></draw:frame>'
    names = f'{NAMES} xmlns:xlink="http://www.w3.org/1999/xlink"'
    text = f"<text:p>Since {frame.replace('./', '')}, it holds.</text:p>"
    math = "<math xmlns='http://www.w3.org/1998/Math/MathML'><mi>E</mi><mo>=</mo><mi>m</mi></math>"
    content = f"<office:document-content {names}><office:body><office:text>{text}</office:text></office:body>"
    files = {
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": f"{content}</office:document-content>",
        "Formula-0/content.xml": math,
    }
    assert words(read_stream(packed(files), suffix=".odt")) == "Since E=m , it holds."


def test_lines_of_code_keep_their_indents() -> None:
    style = '<w:style w:type="paragraph" w:styleId="C"><w:name w:val="Source Code"/></w:style>'
    code = [
        paragraph(run(line), properties='<w:pStyle w:val="C"/>') for line in ("def f(x):", "    return x")
    ]
    assert words(docx("".join(code), style)) == "def f(x):\n    return x"
    styles = '<style:style style:name="P1" style:parent-style-name="Preformatted_20_Text"/>'
    lines = (
        '<text:p text:style-name="P1">def f(x):</text:p>'
        '<text:p text:style-name="P1"><text:s text:c="4"/>return x</text:p>'
    )
    assert words(odt(lines, styles)) == "def f(x):\n    return x"


def test_notes_of_word_are_numbered_as_they_are_shown() -> None:
    notes = "".join(
        f'<w:footnote w:id="{number}">{paragraph(run(text))}</w:footnote>'
        for number, text in ((9, "A."), (3, "B."))
    )
    body = paragraph(
        run("One"),
        '<w:r><w:footnoteReference w:id="9"/></w:r>',
        run(" two"),
        '<w:r><w:footnoteReference w:id="3"/></w:r>',
    )
    files = {
        "[Content_Types].xml": "<Types/>",
        "word/document.xml": f'<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>',
        "word/footnotes.xml": f'<w:footnotes xmlns:w="{W}">{notes}</w:footnotes>',
    }
    assert words(read_stream(packed(files), suffix=".docx")) == "One [Footnote 1: A.] two [Footnote 2: B.]"


def test_parts_of_word_files_that_are_not_read_are_counted() -> None:
    body = paragraph(run("Text.")) + paragraph('<w:subDoc r:id="rId7"/>')
    names = f'xmlns:w="{W}" xmlns:r="{R}"'
    files = {
        "[Content_Types].xml": "<Types/>",
        "word/document.xml": f"<w:document {names}><w:body>{body}</w:body></w:document>",
        "word/embeddings/oleObject1.bin": "\0",
    }
    document = read_stream(packed(files), suffix=".docx")
    assert sorted(document.left_out) == [
        "1 embedded object left out",
        "1 part in a file of its own left out",
    ]


def test_drawn_words_and_rows_that_begin_later() -> None:
    drawn = '<w:r><w:pict xmlns:v="urn:schemas-microsoft-com:vml"><v:textpath string="DRAFT"/></w:pict></w:r>'
    start = f"<w:tr><w:tc>{paragraph(run('5'))}"
    later = start.replace("<w:tr>", '<w:tr><w:trPr><w:gridBefore w:val="1"/></w:trPr>')
    rows = table(["Item", "Price"], ["5"]).replace(start, later)
    assert words(docx(paragraph(drawn) + rows)) == "DRAFT\n\nItem | Price\n | 5"


def test_groups_forms_titles_and_first_numbers_of_odt() -> None:
    text = (
        '<office:forms><form:form><form:textarea form:id="c1" form:current-value="typed"/><form:checkbox '
        'form:id="c2" form:label="paid" form:current-state="checked"/></form:form></office:forms>'
        '<text:list text:style-name="L"><text:list-item text:start-value="5"><text:p>five</text:p>'
        "</text:list-item><text:list-item><text:p>six</text:p></text:list-item></text:list>"
        "<table:table><table:title>Costs</table:title><table:table-row><table:table-cell><text:p>a</text:p>"
        "</table:table-cell><table:table-cell><text:p>b</text:p></table:table-cell></table:table-row>"
        '</table:table><text:p>Form: <draw:control draw:control="c1"/>, <draw:control draw:control="c2"/>'
        "</text:p><text:p>Drawn:<draw:g><draw:g><draw:rect><text:p>in a group</text:p></draw:rect></draw:g>"
        "</draw:g></text:p>"
    )
    level = '<text:list-level-style-number text:level="1" style:num-suffix="." style:num-format="1"/>'
    document = odt(text, f'<text:list-style style:name="L">{level}</text:list-style>')
    assert words(document) == (
        "5. five\n6. six\n\nCosts\n\na | b\n\nForm: typed , [x] paid\n\nDrawn:\n\nin a group"
    )
