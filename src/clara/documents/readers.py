"""From a file to a document: which reader a file's ending asks for, and what every document has in common."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from clara.documents.adoc import read_adoc
from clara.documents.code import CODE_SUFFIXES, read_code
from clara.documents.docx import read_docx
from clara.documents.epub import read_epub
from clara.documents.html import read_html
from clara.documents.json_records import read_json, read_json_lines
from clara.documents.lines import Lines
from clara.documents.logs import read_log
from clara.documents.mail import read_mail, read_saved_page
from clara.documents.markdown import read_markdown
from clara.documents.markup import read_org, read_rst
from clara.documents.notebook import read_notebook
from clara.documents.ocr import PICTURES, is_there, read_picture
from clara.documents.odt import read_odt
from clara.documents.options import ReadOptions
from clara.documents.parts import Border, FilePart, after_line, after_paragraph, after_row, divide
from clara.documents.pdf import read_pdf
from clara.documents.reading import Context, Losses, Reading, UnreadableError
from clara.documents.rtf import read_rtf
from clara.documents.slides import read_slides
from clara.documents.spreadsheets import read_spreadsheet
from clara.documents.subtitles import read_subtitles
from clara.documents.tables import read_table
from clara.documents.tex import read_tex
from clara.documents.text import printable, read_text, squeeze, tidy
from clara.errors import DocumentError, InputError
from clara.records import Document, Section

_Read = Callable[[FilePart, Context], Reading]


@dataclass(frozen=True, slots=True)
class _Format:
    """How files of a kind are read, where large ones may be parted, and how large others may be."""

    read: _Read
    border: Border | None = None
    keeps_head: bool = False
    has_fields: bool = False
    max_bytes: int = 500_000_000  # of a file that has no borders, by what its parser needs for each byte


def _plain(read: Callable[[bytes, Context], Reading], border: Border | None = None) -> _Format:
    return _Format(lambda part, context: read(part.data, context), border)


_TEXT = _plain(read_text, after_paragraph)
_MARKDOWN = _plain(read_markdown, after_paragraph)
_HTML = replace(_plain(read_html), max_bytes=50_000_000)
_TABLE = _Format(
    lambda part, context: read_table(part.data, context, part.head),
    after_row,
    keeps_head=True,
    has_fields=True,
)
_JSON = replace(_plain(read_json), has_fields=True, max_bytes=200_000_000)
_JSON_LINES = replace(_plain(read_json_lines, after_line), has_fields=True)
_PICTURE = _plain(read_picture)
_CODE = _Format(lambda part, context: read_code(part.data, context, part.path.name), after_paragraph)

_FORMATS: dict[str, _Format] = {
    ".txt": _TEXT,
    ".text": _TEXT,
    ".md": _MARKDOWN,
    ".markdown": _MARKDOWN,
    ".html": _HTML,
    ".htm": _HTML,
    ".xhtml": _HTML,
    ".pdf": _plain(read_pdf),
    ".docx": _plain(read_docx),
    ".epub": _plain(read_epub),
    **dict.fromkeys(
        (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), replace(_plain(read_spreadsheet), has_fields=True)
    ),
    **dict.fromkeys((".pptx", ".pptm"), _plain(read_slides)),
    **dict.fromkeys((".odt", ".odp", ".ott"), _plain(read_odt)),
    ".rtf": replace(_plain(read_rtf), max_bytes=50_000_000),
    ".eml": _plain(read_mail),
    ".mhtml": _plain(read_saved_page),
    ".mht": _plain(read_saved_page),
    ".ipynb": _plain(read_notebook),
    ".srt": _plain(read_subtitles),
    ".vtt": _plain(read_subtitles),
    ".tex": _plain(read_tex),
    ".adoc": _plain(read_adoc),
    ".asciidoc": _plain(read_adoc),
    ".rst": _plain(read_rst, after_paragraph),
    ".org": _plain(read_org, after_paragraph),
    ".csv": _TABLE,
    ".tsv": _TABLE,
    ".json": _JSON,
    ".jsonl": _JSON_LINES,
    ".ndjson": _JSON_LINES,
    ".log": _plain(read_log, after_line),
    **dict.fromkeys(CODE_SUFFIXES, _CODE),
}

SUFFIXES = (*_FORMATS, *(PICTURES if is_there() else ()))
"""The endings, in lower case, of the files that are read from folders, besides text without an ending."""

NO_KIND = re.compile(r"\.?\d*")
"""What files such as "README", "tar.1" and "Apache-2.0" end in, which says nothing of their kind."""

READER_VERSION = 4
"""Grows with every change of what is read of some file; documents of older readers are read again."""

_DEFAULTS = ReadOptions()
_MAX_DEPTH = 3  # files within files
_LONGEST_STATED = 200  # characters of a fact of the whole file that each of its passages keeps


def read_document(path: str | os.PathLike[str], options: ReadOptions = _DEFAULTS) -> Document:
    """Read one file whole; an ending that is not in `SUFFIXES` is read as plain text.

    Args:
        path: The file. `Document.source` is its absolute path with symbolic links resolved.
        options: Which fields of records are read as what.

    Returns:
        The document, with at least one section and no blank ones.

    Raises:
        DocumentError: The file cannot be opened, is empty, binary, damaged, encrypted or protected, changes
            while it is read, is an image-only PDF, or holds no text.
    """
    (part,) = _parts(Path(path), options, whole=True)
    return read_part(part, options)


def read_documents(path: str | os.PathLike[str], options: ReadOptions = _DEFAULTS) -> Iterator[Document]:
    """Read a file of any size: as one document, or where it is large as one for each of its parts.

    Raises:
        DocumentError: As `read_document`; the parts before one that cannot be read have been given then.
    """
    return (read_part(part, options) for part in file_parts(path, options))


def file_parts(path: str | os.PathLike[str], options: ReadOptions = _DEFAULTS) -> Iterator[FilePart]:
    """The bytes of a file, in several parts where it is large, each to be given to `read_part`.

    A caller that knows the `sha256` of a part's `source` can pass over what has not changed; that of records
    changes with the options too. Text, Markdown, tables, JSON lines, logs and code are parted, about every
    eight megabytes; other files are not.

    A part that `read_part` refuses does not end the file: the parts after it can still be read.

    Raises:
        DocumentError: The file cannot be opened, changes while it is read, or is too large.
    """
    return _parts(Path(path), options, whole=False)


def read_part(part: FilePart, options: ReadOptions = _DEFAULTS) -> Document:
    """Read a file's part as a document, whose lines are numbered as in the file.

    Raises:
        DocumentError: As `read_document`.
    """
    return _read(part, options, part.source, printable(_name(part.path)), part.path)


def read_stream(
    data: bytes, name: str = "stdin", suffix: str = ".txt", options: ReadOptions = _DEFAULTS
) -> Document:
    """Read bytes that are in no file, such as those of the standard input.

    Args:
        data: The bytes.
        name: What the document is called; its source too.
        suffix: The ending of a file of that kind, with its dot.
        options: Which fields of records are read as what.

    Raises:
        DocumentError: As `read_document`.
    """
    part = FilePart(name, Path(name + suffix), data, hashlib.sha256(data).hexdigest())
    return _read(part, options, name, name, name)


def _parts(path: Path, options: ReadOptions, *, whole: bool) -> Iterator[FilePart]:
    format = _format(path)
    try:
        for part in divide(
            path,
            format.border,
            keeps_head=format.keeps_head,
            max_whole_bytes=format.max_bytes,
            whole=whole,
        ):
            if format.has_fields and options != _DEFAULTS:
                yield replace(part, sha256=hashlib.sha256(f"{part.sha256} {options}".encode()).hexdigest())
            else:
                yield part
    except UnreadableError as error:
        raise DocumentError(f"{path} {error}.") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = getattr(error, "strerror", None) or error
        raise DocumentError(
            f"{path} cannot be opened: {reason}; check the path and its permissions."
        ) from error


def _name(path: Path) -> str:
    """A file's name without its ending; what follows a dot is none in "Apache-2.0" and "tar.1"."""
    return path.name if NO_KIND.fullmatch(path.suffix) else path.stem


def _format(path: Path) -> _Format:
    suffix = path.suffix.lower()
    return _FORMATS.get(suffix, _PICTURE if suffix in PICTURES else _TEXT)


def _read(part: FilePart, options: ReadOptions, source: str, title: str, named: str | Path) -> Document:
    """Read a part; `title` is for a file that states none, and messages call the file as it was `named`."""
    losses = Losses()
    try:
        if not part.data.strip():
            raise UnreadableError("is empty; leave it out or give it some text")
        reading = _reading(part, options, losses, 0)
    except UnreadableError as error:
        at = "" if error.line is None else f", line {error.line + part.first_line - 1},"
        raise DocumentError(f"{named}{at} {error}.") from error
    sections = tuple(_from_line(section, part.first_line) for section in reading.sections)
    if not sections:
        said = "".join(f" ({line})" for line in losses.lines()[:1])
        raise DocumentError(f"{named} holds no text to read{said}; leave it out or give it some text.")
    return Document(
        source=source,
        title=squeeze(tidy(reading.title)) or title,
        sections=sections,
        sha256=part.sha256,
        modified=part.modified,
        left_out=losses.lines(),
        reader=READER_VERSION,
    )


def _reading(part: FilePart, options: ReadOptions, losses: Losses, depth: int) -> Reading:
    """What a part's reader finds in it, its sections tidy and none of them blank.

    Raises:
        UnreadableError: It cannot be read.
    """

    def embedded(name: str, data: bytes) -> tuple[Section, ...]:
        return _embedded(name, data, options, losses, depth + 1)

    try:
        reading = _format(part.path).read(part, Context(options, losses, embedded, part.first_line))
    except (UnreadableError, InputError):
        raise
    except Exception as error:  # whatever a parser does not foresee must end neither a run nor other files
        raise UnreadableError(f"cannot be read ({type(error).__name__}); it may be damaged") from error
    facts = {name: value for name, value in reading.metadata.items() if len(str(value)) <= _LONGEST_STATED}
    sections = (
        replace(section, metadata={**facts, **section.metadata}) if facts else section
        for section in map(_tidied, reading.sections)
        if section.text
    )
    return reading._replace(sections=tuple(sections))


def _embedded(
    name: str, data: bytes, options: ReadOptions, losses: Losses, depth: int
) -> tuple[Section, ...]:
    """The sections of a file within another, under its name; what cannot be read of it is told."""
    path = Path(printable(name).replace("\0", "").replace("/", "_") or "unnamed")
    own = Losses()
    if path.suffix.lower() not in SUFFIXES:
        losses.say(f"{path.name}: left out, no kind of document that is read")
        return ()
    if depth > _MAX_DEPTH:
        losses.say(f"{path.name}: left out, it is within too many others")
        return ()
    try:
        reading = _reading(FilePart(path.name, path, data, ""), options, own, depth)
    except UnreadableError as error:
        losses.say(f"{path.name}: left out, it {error}")
        return ()
    losses.add(own, path.name)
    return tuple(
        replace(
            section,
            heading=" > ".join(filter(None, (path.name, section.heading))),
            page=None,
            lines=None,
            line_spans=(),
        )
        for section in reading.sections
    )


def _tidied(section: Section) -> Section:
    # where offsets count, the reader has tidied the text itself
    text = section.text if section.line_spans or section.units else tidy(section.text)
    return replace(section, text=text, heading=squeeze(tidy(section.heading)) if section.heading else "")


def _from_line(section: Section, first_line: int) -> Section:
    """A section whose lines are counted from the file's beginning and not from the part's."""
    if section.lines is None or first_line == 1:
        return section
    shift = first_line - 1
    lines: Lines = (section.lines[0] + shift, section.lines[1] + shift)
    spans = tuple((at, first + shift, last + shift) for at, first, last in section.line_spans)
    return replace(section, lines=lines, line_spans=spans)
