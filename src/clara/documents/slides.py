"""Presentations (PPTX), through python-pptx: a section for each slide, its notes at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

from clara.documents.archives import opened
from clara.documents.body import Body, Parts, element
from clara.documents.html import outline_of_tree
from clara.documents.html_tree import Node
from clara.documents.properties import core_properties, stated_section
from clara.documents.reading import Context, Losses, Reading
from clara.documents.text import squeeze
from clara.records import Section

_KIND = "a presentation (PPTX)"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_SLIDE_NUMBER, _FOOTER = 13, 15
_MAX_DEPTH = 20


def read_slides(data: bytes, context: Context) -> Reading:
    """Read slides in order: titles, text, tables, figures of charts, and the speaker's notes.

    Raises:
        UnreadableError: The file is damaged, encrypted or no presentation.
    """
    import pptx

    with opened(data, _KIND) as archive:
        archive.getinfo("[Content_Types].xml")
        title, values = core_properties(archive)
        show = pptx.Presentation(BytesIO(data))
        sections: list[Section] = []
        said: set[str] = set()
        for number, slide in enumerate(show.slides, 1):
            try:
                found = list(_slide_sections(slide, said, context.losses))
            except (KeyError, AttributeError, ValueError, TypeError) as error:
                context.losses.say(f"slide {number} was left out: it is damaged ({type(error).__name__})")
                continue
            sections += [replace(section, page=number) for section in found]
    if not title and sections:
        title = sections[0].heading
    sections = [replace(one, heading="") if one.heading == title else one for one in sections]
    return Reading(title, (*stated_section(values), *sections), values)


def _slide_sections(slide: Any, said: set[str], losses: Losses) -> Iterator[Section]:
    body = Body()
    title = slide.shapes.title
    if title is not None and title.has_text_frame:
        body.heading(1, [squeeze(title.text_frame.text)])
    shapes = [one for one in slide.shapes if title is None or one.shape_id != title.shape_id]
    for shape in sorted(shapes, key=lambda one: (one.top or 0, one.left or 0)):
        _add_shape(shape, body, said, losses, 0)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = squeeze(slide.notes_slide.notes_text_frame.text)
        body.paragraph([f"Notes: {notes}"] if notes else [])
    yield from outline_of_tree(body.tree(), losses).sections("")


def _add_shape(shape: Any, body: Body, said: set[str], losses: Losses, depth: int) -> None:
    if depth > _MAX_DEPTH:
        return
    if shape.is_placeholder:
        kind = int(shape.placeholder_format.type or 0)
        if kind == _SLIDE_NUMBER:
            return
        if kind == _FOOTER:
            text = shape.text_frame.text if shape.has_text_frame else ""
            if text in said:
                return
            said.add(text)
    if hasattr(shape, "shapes"):
        for inner in shape.shapes:
            _add_shape(inner, body, said, losses, depth + 1)
    elif getattr(shape, "has_table", False):
        body.block(_table(shape.table))
    elif getattr(shape, "has_chart", False):
        _add_chart(shape.chart, body, losses)
    elif shape.has_text_frame:
        for paragraph in shape.text_frame.paragraphs:
            _add_paragraph(paragraph, body)
    else:
        described = shape._element.xpath(".//p:cNvPr/@descr")
        drawn = [squeeze(one.text or "") for one in shape._element.iter(f"{_A}t")]
        if described and described[0].strip():
            body.paragraph([described[0]])
        elif any(drawn):
            body.paragraph([" ".join(drawn)])
        elif shape._element.tag.endswith("}pic"):
            losses.count("picture without a description", plural="pictures without a description")
        elif shape._element.tag.endswith("}graphicFrame"):
            losses.count("diagram or embedded object", plural="diagrams or embedded objects")


def _add_paragraph(paragraph: Any, body: Body) -> None:
    parts: list[Node | str] = []
    for run in paragraph.runs:
        properties = run.font._element
        text: Node | str = run.text
        if properties.get("strike", "noStrike") != "noStrike":
            text = element("s", [run.text])
        elif int(properties.get("baseline", "0").rstrip("%") or 0):
            text = element(
                "sup" if int(properties.get("baseline", "0").rstrip("%")) > 0 else "sub", [run.text]
            )
        address = run.hyperlink.address
        parts.append(element("a", [text], href=address) if address else text)
    if not parts:
        parts = [paragraph.text]
    if paragraph.level:
        body.item(paragraph.level, "-", parts)
    else:
        body.paragraph(parts)


def _table(table: Any) -> Node:
    rows = []
    for at, row in enumerate(table.rows):
        cells = []
        for cell in row.cells:
            if cell.is_spanned:
                continue
            attributes = {"colspan": str(cell.span_width), "rowspan": str(cell.span_height)}
            tag = "th" if at == 0 and table.first_row else "td"
            cells.append(
                element(tag, [squeeze(cell.text_frame.text)], **(attributes if cell.is_merge_origin else {}))
            )
        rows.append(element("tr", cells))
    return element("table", rows)


def _add_chart(chart: Any, body: Body, losses: Losses) -> None:
    """A chart's figures as a table, categories from top to bottom."""
    try:
        title = squeeze(chart.chart_title.text_frame.text) if chart.has_title else ""
        plots = list(chart.plots)
        categories = [str(one) for one in plots[0].categories] if plots else []
        series = [one for plot in plots for one in plot.series]
        head: Parts = [element("th", [one]) for one in ["", *(str(one.name) for one in series)]]
        rows = [
            element("tr", [element("td", [name]), *(element("td", [_at(one.values, at)]) for one in series)])
            for at, name in enumerate(categories)
        ]
    except (AttributeError, ValueError, TypeError, NotImplementedError):
        losses.count("chart")
        return
    body.paragraph([title])
    if rows:
        body.block(element("table", [element("tr", head), *rows]))


def _at(values: Any, at: int) -> str:
    return f"{values[at]:g}" if at < len(values) and values[at] is not None else ""
