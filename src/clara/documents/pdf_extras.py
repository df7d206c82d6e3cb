"""What a PDF holds besides the text of its pages: values of forms, notes, addresses of links, attached
files."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clara.documents.pdf_glyphs import Piece
from clara.documents.reading import Losses
from clara.documents.text import squeeze

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

_LINK, _WIDGET, _POPUP = 2, 20, 16
_URI = 3
_CHECK_BOX, _RADIO = 2, 3
_TEXT_FIELDS = (4, 5, 6)  # combo box, list box, text
_MAX_BYTES = 1 << 20


@dataclass(slots=True)
class PageExtras:
    """What a page holds besides its text.

    Attributes:
        links: Addresses by the rectangles (left, bottom, right, top) that lead to them.
        values: Filled fields of forms, as pieces where they stand.
        lines: Filled fields with their names, and notes, a line each.
    """

    links: dict[tuple[float, float, float, float], str] = field(default_factory=dict)
    values: list[Piece] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def extras_of(page: PdfPage, document: PdfDocument) -> PageExtras:
    """What a page holds besides its text."""
    import pypdfium2.raw as pdfium

    extras = PageExtras()
    form = document.formenv.raw if document.formenv is not None else None
    for at in range(min(pdfium.FPDFPage_GetAnnotCount(page.raw), 5000)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, at)
        if not annotation:
            continue
        kind = pdfium.FPDFAnnot_GetSubtype(annotation)
        if kind == _LINK:
            address = _address(document, annotation)
            if address:
                extras.links[_rectangle(annotation)] = address
        elif kind == _WIDGET and form is not None:
            _add_field(extras, form, annotation)
        elif kind != _POPUP:
            text, author = squeeze(_string(annotation, b"Contents")), squeeze(_string(annotation, b"T"))
            if text:
                extras.lines.append(f"[Note{f' by {author}' if author else ''}: {text}]")
        pdfium.FPDFPage_CloseAnnot(annotation)
    return extras


def attachments(document: PdfDocument, losses: Losses) -> Iterator[tuple[str, bytes]]:
    """The names and bytes of attached files; damaged ones are told of."""
    import pypdfium2

    for at in range(document.count_attachments()):
        try:
            attachment = document.get_attachment(at)
            yield attachment.get_name(), bytes(attachment.get_data())
        except pypdfium2.PdfiumError:
            losses.count("damaged attachment")


def _add_field(extras: PageExtras, form: Any, annotation: Any) -> None:
    import pypdfium2.raw as pdfium

    kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
    name = squeeze(_field_string(pdfium.FPDFAnnot_GetFormFieldAlternateName, form, annotation))
    name = name or squeeze(_field_string(pdfium.FPDFAnnot_GetFormFieldName, form, annotation))
    left, bottom, right, top = _rectangle(annotation)
    if kind in _TEXT_FIELDS:
        value = _field_string(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation).strip()
    elif kind in (_CHECK_BOX, _RADIO):
        is_checked = bool(pdfium.FPDFAnnot_IsChecked(form, annotation))
        value = "[x]" if is_checked else ""
        if is_checked and kind == _RADIO:
            chosen = _field_string(pdfium.FPDFAnnot_GetFormFieldExportValue, form, annotation)
            extras.values.append(_piece("[x]", left, bottom, right, top))
            value = chosen or value
            extras.lines.append(f"{name}: {value}" if name else value)
            return
    else:
        return
    if not value:
        return
    for at, line in enumerate(value.splitlines()):
        piece = _piece(squeeze(line), left, bottom, right, top)
        piece.line -= at * piece.size
        extras.values.append(piece)
    said = squeeze(value) if value != "[x]" else "yes"
    if name:
        extras.lines.append(f"{name}: {said}")


def _piece(text: str, left: float, bottom: float, right: float, top: float) -> Piece:
    height = max(top - bottom, 1.0)
    size = min(height, 12.0)
    line = bottom + (height - size) / 2 + 0.25 * size if height < 24 else top - size
    return Piece(text, left, max(right, left + 1), line, size)


def _rectangle(annotation: Any) -> tuple[float, float, float, float]:
    import pypdfium2.raw as pdfium

    box = pdfium.FS_RECTF()
    pdfium.FPDFAnnot_GetRect(annotation, box)
    return (
        min(box.left, box.right),
        min(box.bottom, box.top),
        max(box.left, box.right),
        max(box.bottom, box.top),
    )


def _address(document: PdfDocument, annotation: Any) -> str:
    import pypdfium2.raw as pdfium

    link = pdfium.FPDFAnnot_GetLink(annotation)
    action = pdfium.FPDFLink_GetAction(link) if link else None
    if not action or pdfium.FPDFAction_GetType(action) != _URI:
        return ""
    size = pdfium.FPDFAction_GetURIPath(document.raw, action, None, 0)
    buffer = ctypes.create_string_buffer(min(size, _MAX_BYTES))
    pdfium.FPDFAction_GetURIPath(document.raw, action, buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")


def _string(annotation: Any, key: bytes) -> str:
    import pypdfium2.raw as pdfium

    size = min(pdfium.FPDFAnnot_GetStringValue(annotation, key, None, 0), _MAX_BYTES)
    buffer = ctypes.create_string_buffer(size)
    pdfium.FPDFAnnot_GetStringValue(
        annotation, key, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size
    )
    return buffer.raw.decode("utf-16-le", "replace").rstrip("\0")


def _field_string(get: Any, form: Any, annotation: Any) -> str:
    size = min(get(form, annotation, None, 0), _MAX_BYTES)
    buffer = ctypes.create_string_buffer(size)
    get(form, annotation, ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    return buffer.raw.decode("utf-16-le", "replace").rstrip("\0")
