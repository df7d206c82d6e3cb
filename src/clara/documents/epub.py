"""Electronic books (EPUB): the chapters in reading order, through the HTML reader."""

from __future__ import annotations

import posixpath
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import unquote
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

from clara.documents.archives import opened, read_xml
from clara.documents.charsets import decode
from clara.documents.html import read_outline
from clara.documents.html_tree import parse
from clara.documents.properties import properties_of, stated_section
from clara.documents.reading import Context, Losses, Reading, UnreadableError
from clara.documents.text import squeeze
from clara.records import Section

_KIND = "an EPUB book"
_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGES = ("application/xhtml+xml", "text/html")
_PAGE_ENDINGS = (".xhtml", ".html", ".htm")
_DAMAGED = (BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


@dataclass(frozen=True, slots=True)
class _Item:
    """A file of the book: its name in the archive, its type and what the book says of it."""

    name: str
    media_type: str
    properties: str

    @property
    def is_contents(self) -> bool:
        return "nav" in self.properties.split()


def read_epub(data: bytes, context: Context) -> Reading:
    """Read a book's chapters; a chapter without headings of its own stands under its name in the contents.

    A chapter that is missing or damaged is told of, and the others are read.

    Raises:
        UnreadableError: The file is damaged, protected or not a book, or unpacks beyond measure.
    """
    with opened(data, _KIND) as archive:
        return _Book(archive, context.losses).read()


class _Book:
    """One archive, whose names are looked up without regard to case where nothing else fits."""

    def __init__(self, archive: ZipFile, losses: Losses) -> None:
        self._archive = archive
        self._losses = losses
        self._names = set(archive.namelist())
        self._folded = {name.casefold(): name for name in reversed(archive.namelist())}

    def read(self) -> Reading:
        path = self._package()
        package = read_xml(self._archive, path)
        found = package.find("{*}metadata")
        title, values = properties_of(found) if found is not None else ("", {})
        items = {
            each.get("id", ""): _Item(
                self._resolved(path, each.get("href", "")),
                each.get("media-type", ""),
                each.get("properties", ""),
            )
            for each in package.iterfind("{*}manifest/{*}item")
        }
        spine = [items.get(each.get("idref", "")) for each in package.iterfind("{*}spine/{*}itemref")]
        drawn = sum(item is not None and item.media_type == "image/svg+xml" for item in spine)
        self._losses.count("page that is a drawing", drawn, plural="pages that are drawings")
        pages = [item for item in (*spine, *items.values()) if item is not None and item.media_type in _PAGES]
        chapters = list({item.name: item for item in pages if not item.is_contents}.values())
        self._refuse_protected({item.name for item in chapters})
        names = self._contents(list(items.values()))
        sections = tuple(self._sections(chapters, names, title))
        if chapters and not sections and not any(item.name in self._names for item in chapters):
            raise UnreadableError(f"is {_KIND} without any of its chapters; fetch it anew")
        return Reading(title, (*stated_section(values), *sections), values)

    def _package(self) -> str:
        """The name of the part that lists all others."""
        try:
            rootfile = read_xml(self._archive, self._actual(_CONTAINER)).find(".//{*}rootfile")
            path = self._actual(rootfile.get("full-path", "")) if rootfile is not None else ""
        except (KeyError, ElementTree.ParseError):
            path = ""
        if path in self._names:
            return path
        return next(name for name in sorted(self._names) if name.lower().endswith(".opf"))

    def _sections(self, chapters: list[_Item], names: dict[str, str], title: str) -> Iterator[Section]:
        chapter = ""  # a file that the contents do not name goes on with the chapter before it
        for item in chapters:
            chapter = names.get(item.name, chapter)
            data = self._content(item.name)
            if data is None:
                continue
            try:
                _, outline, _ = read_outline(data, self._losses, is_site=False)
            except UnreadableError as error:
                self._losses.say(f"the chapter {item.name} was left out: it {error}")
                continue
            for section in outline.sections(title):
                yield section if section.heading or chapter == title else replace(section, heading=chapter)

    def _content(self, name: str) -> bytes | None:
        if name not in self._names:
            self._losses.say(f"the chapter {name} is missing from the book")
            return None
        try:
            return self._archive.read(name)
        except _DAMAGED:
            self._losses.say(f"the chapter {name} is damaged and was left out")
            return None

    def _contents(self, items: list[_Item]) -> dict[str, str]:
        """The name of each file's first entry in the table of contents."""
        names: dict[str, str] = {}
        for item in items:
            is_old = item.media_type == "application/x-dtbncx+xml"
            if not (item.is_contents or is_old) or item.name not in self._names:
                continue
            try:
                tree = parse(decode(self._archive.read(item.name)))
            except (*_DAMAGED, UnreadableError):
                self._losses.say(f"the table of contents {item.name} is damaged")
                continue
            for entry in tree.all("navpoint" if is_old else "a"):
                label = next(entry.all("navlabel"), None) if is_old else entry
                target = next(entry.all("content"), None) if is_old else entry
                if label is not None and target is not None:
                    to = target.get("src" if is_old else "href")
                    names.setdefault(self._resolved(item.name, to), squeeze(label.words()))
        return names

    def _actual(self, name: str) -> str:
        return name if name in self._names else self._folded.get(name.casefold(), name)

    def _resolved(self, base: str, reference: str) -> str:
        """The name in the archive of what a file `base` refers to."""
        path = unquote(reference.partition("#")[0])
        return self._actual(posixpath.normpath(posixpath.join(posixpath.dirname(base), path)))

    def _refuse_protected(self, names: set[str]) -> None:
        if _ENCRYPTION not in self._names:
            return
        listed = read_xml(self._archive, _ENCRYPTION).iterfind(".//{*}CipherReference")
        if names & {unquote(each.get("URI", "")) for each in listed}:  # fonts may be, and are no matter
            raise UnreadableError(f"is {_KIND} with copy protection; its text cannot be read")
