"""From a file to a document: which reader a file's ending asks for, and what every document has in common."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from clara.documents.html import read_html
from clara.documents.markdown import read_markdown
from clara.documents.outline import Reading, UnreadableError
from clara.documents.pdf import read_pdf
from clara.documents.text import read_text, squeeze, tidy
from clara.errors import DocumentError
from clara.records import Document, Section

_READERS: dict[str, Callable[[bytes], Reading]] = {
    ".txt": read_text,
    ".text": read_text,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".pdf": read_pdf,
}

SUFFIXES = tuple(_READERS)
"""The endings, in lower case, of the files that are read from folders."""


def read_document(path: str | os.PathLike[str]) -> Document:
    """Read one file; an ending that is not in `SUFFIXES` is read as plain text.

    Args:
        path: The file. `Document.source` is its absolute path with symbolic links resolved.

    Returns:
        The document, with at least one section and no blank ones.

    Raises:
        DocumentError: The file cannot be opened, is empty or binary, is an encrypted, damaged or
            image-only PDF, or holds no text.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        modified = path.stat().st_mtime
        source = path.resolve()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = getattr(error, "strerror", None) or error
        raise DocumentError(
            f"{path} cannot be opened: {reason}; check the path and its permissions."
        ) from error
    title, sections = _read(path, data)
    return Document(
        source=_printable(str(source)),
        title=title or _printable(path.stem),
        sections=sections,
        sha256=hashlib.sha256(data).hexdigest(),
        modified=modified,
    )


def _read(path: Path, data: bytes) -> Reading:
    try:
        if not data.strip():
            raise UnreadableError("is empty; leave it out or give it some text")
        title, sections = _READERS.get(path.suffix.lower(), read_text)(data)
    except UnreadableError as error:
        raise DocumentError(f"{path} {error}.") from error
    tidied = (Section(tidy(part.text), squeeze(tidy(part.heading)), part.page) for part in sections)
    kept = tuple(section for section in tidied if section.text)
    if not kept:
        raise DocumentError(f"{path} holds no text to read; leave it out or give it some text.")
    return Reading(squeeze(tidy(title)), kept)


def _printable(name: str) -> str:
    """A file's name as valid Unicode; bytes that are not UTF-8 become escapes, so names stay distinct."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
