"""What office files state of themselves, as their Dublin Core properties."""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from zipfile import ZipFile

from clara.documents.archives import read_xml
from clara.documents.reading import facts, facts_section
from clara.documents.text import squeeze
from clara.records import Metadata, Section

_CORE = "docProps/core.xml"
_NAMES = {
    "creator": "author", "initial-creator": "author", "subject": "subject", "keywords": "keywords",
    "keyword": "keywords", "description": "description", "category": "category", "created": "created",
    "creation-date": "created",
}  # fmt: skip
_FILE_NAME = re.compile(
    r"untitled|\(?anonymous\)?|\(?unspecified\)?|microsoft word - .*|presentation\d*|document ?\d*|"
    r"powerpoint presentation|.*\.(?:docx?|pdf|tex|dvi|indd|odt|rtf|pptx?|xlsx?|html?)",
    re.IGNORECASE,
)
_OF_PROGRAMS = re.compile(
    r"python-docx|python-pptx|openpyxl|generated (?:by|using)|"
    r"(?:\(?anonymous\)?|\(?unspecified\)?|un-named|user|admin)$",
    re.IGNORECASE,
)


def stated_title(title: str) -> str:
    """A title that properties state, "" where it is a program's or a file's name."""
    title = squeeze(title)
    return "" if _FILE_NAME.fullmatch(title) else title


def stated_facts(found: dict[str, object]) -> Metadata:
    """Facts that properties state, less those that programs write where nothing was said."""
    kept = facts(found)
    return {name: value for name, value in kept.items() if not _OF_PROGRAMS.match(str(value))}


def stated_section(values: Metadata) -> tuple[Section, ...]:
    """What properties state as a text of its own; when a file was made alone is none."""
    return facts_section(values) if set(values) - {"created"} else ()


def core_properties(archive: ZipFile, name: str = _CORE) -> tuple[str, Metadata]:
    """The title and other facts that an office file states; none if its properties are damaged."""
    if name not in archive.namelist():
        return "", {}
    try:
        return properties_of(read_xml(archive, name))
    except ElementTree.ParseError:  # properties are of no use for reading
        return "", {}


def properties_of(root: Element) -> tuple[str, Metadata]:
    """The title and other facts among the elements of a file's properties."""
    title = ""
    found: dict[str, object] = {}
    for one in root.iter():
        name = one.tag.rpartition("}")[2]
        text = squeeze(one.text or "")
        if name == "title":
            title = title or stated_title(text)
        elif name in _NAMES and text:
            found[_NAMES[name]] = text.partition("T")[0] if _NAMES[name] == "created" else text
    return title, stated_facts(found)
