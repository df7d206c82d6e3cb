"""Word files (DOCX), through mammoth's HTML."""

from __future__ import annotations

import re
from io import BytesIO
from xml.etree import ElementTree
from zipfile import ZipFile

from clara.documents.archives import is_text, opened
from clara.documents.html import read_outline
from clara.documents.outline import Reading, UnreadableError
from clara.documents.text import squeeze

_KIND = "a Word file (DOCX)"
_PROPERTIES = "docProps/core.xml"
_TITLE = ".//{http://purl.org/dc/elements/1.1/}title"
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"
_FILE_NAME = re.compile(r"untitled|document ?\d*|.*\.docx?", re.IGNORECASE)


def read_docx(data: bytes) -> Reading:
    """Read a Word file: headings, paragraphs, lists, tables and notes; images are left out.

    The title is the one in its properties, else a first paragraph in the style of a title or of a heading of
    level 1.

    Raises:
        UnreadableError: The file is damaged, encrypted or not a Word file, or unpacks beyond measure.
    """
    with opened(data, _KIND) as archive:
        archive.getinfo("[Content_Types].xml")
        title = _title(archive)
        _refuse_entities(archive)
        markup = _markup(data)
    _, outline = read_outline(markup.encode())
    title = title or outline.leading_heading
    return Reading(title, outline.sections(title))


def _markup(data: bytes) -> str:
    import mammoth

    without_images = mammoth.images.img_element(lambda image: {})
    try:
        result = mammoth.convert_to_html(
            BytesIO(data), style_map=_STYLES, include_embedded_style_map=False, convert_image=without_images
        )
    except Exception as error:  # on damaged files mammoth raises nearly anything
        raise UnreadableError(f"is {_KIND} that is damaged; open it and save it anew") from error
    return str(result.value)


def _title(archive: ZipFile) -> str:
    if _PROPERTIES not in archive.namelist():
        return ""
    try:
        title = squeeze(ElementTree.fromstring(archive.read(_PROPERTIES)).findtext(_TITLE) or "")
    except ElementTree.ParseError:  # properties are of no use for reading
        return ""
    return "" if _FILE_NAME.fullmatch(title) else title


def _refuse_entities(archive: ZipFile) -> None:
    """Refuse XML that defines names for text, which can grow without bound and no word processor writes."""
    for name in archive.namelist():
        if is_text(name) and b"<!ENTITY" in archive.read(name):
            raise UnreadableError(f"is not {_KIND} that a word processor wrote: it defines XML entities")
