"""Electronic books (EPUB): the chapters in reading order, through the HTML reader."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote
from xml.etree import ElementTree
from zipfile import ZipFile

from clara.documents.archives import opened
from clara.documents.html import read_outline
from clara.documents.outline import Reading, UnreadableError
from clara.documents.text import squeeze
from clara.records import Section

_KIND = "an EPUB book"
_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGES = ("application/xhtml+xml", "text/html")
_SEPARATOR = " > "


@dataclass(frozen=True, slots=True)
class _Item:
    """A file of the book: its name in the archive, its type and what the book says of it."""

    name: str
    media_type: str
    properties: str


def read_epub(data: bytes) -> Reading:
    """Read a book's chapters; a chapter without headings of its own stands under its name in the contents.

    Raises:
        UnreadableError: The file is damaged, protected or not a book, or unpacks beyond measure.
    """
    with opened(data, _KIND) as archive:
        return _read(archive)


def _read(archive: ZipFile) -> Reading:
    rootfile = ElementTree.fromstring(archive.read(_CONTAINER)).find(".//{*}rootfile")
    path = rootfile.get("full-path", "") if rootfile is not None else ""
    package = ElementTree.fromstring(archive.read(path))
    items = {
        each.get("id", ""): _Item(
            _resolved(path, each.get("href", "")), each.get("media-type", ""), each.get("properties", "")
        )
        for each in package.iterfind("{*}manifest/{*}item")
    }
    spine = [items.get(each.get("idref", "")) for each in package.iterfind("{*}spine/{*}itemref")]
    chapters = [
        item
        for item in spine
        if item is not None and item.media_type in _PAGES and "nav" not in item.properties.split()
    ]
    _refuse_protected(archive, {item.name for item in chapters})
    title = squeeze(package.findtext("{*}metadata/{http://purl.org/dc/elements/1.1/}title") or "")
    names = _contents(archive, list(items.values()))
    return Reading(title, tuple(_sections(archive, chapters, names, title)))


def _sections(
    archive: ZipFile, chapters: list[_Item], names: dict[str, str], title: str
) -> Iterator[Section]:
    chapter = ""  # a file that the contents do not name goes on with the chapter before it
    for item in chapters:
        chapter = names.get(item.name, chapter)
        _, outline = read_outline(archive.read(item.name))
        for section in outline.sections(title):
            yield section if section.heading or chapter == title else replace(section, heading=chapter)


def _contents(archive: ZipFile, items: list[_Item]) -> dict[str, str]:
    """The name of each file's first entry in the table of contents."""
    from bs4 import BeautifulSoup

    names: dict[str, str] = {}
    for item in items:
        is_new, is_old = "nav" in item.properties.split(), item.media_type == "application/x-dtbncx+xml"
        if not (is_new or is_old):
            continue
        soup = BeautifulSoup(archive.read(item.name), "html.parser")
        for entry in soup.find_all("a" if is_new else "navpoint"):
            label, content = (entry, entry) if is_new else (entry.find("navlabel"), entry.find("content"))
            if label is not None and content is not None:
                target = str(content.get("href" if is_new else "src", ""))
                names.setdefault(_resolved(item.name, target), squeeze(label.get_text()))
    return names


def _resolved(base: str, reference: str) -> str:
    """The name in the archive of what a file `base` refers to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), unquote(reference.partition("#")[0])))


def _refuse_protected(archive: ZipFile, names: set[str]) -> None:
    if _ENCRYPTION not in archive.namelist():
        return
    listed = ElementTree.fromstring(archive.read(_ENCRYPTION)).iterfind(".//{*}CipherReference")
    if names & {unquote(each.get("URI", "")) for each in listed}:  # fonts may be, and are no matter
        raise UnreadableError(f"is {_KIND} with copy protection; its text cannot be read")
