"""Sources and answers as clients get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from clara.records import Answer, Source, StoredDocument
from clara.service.engine import document_id


def name_of(source: str) -> str:
    """What a document is called: the last part of its path, or all of a name that is no path."""
    return PurePath(source).name if PurePath(source).is_absolute() else source


def file_url(base: str, store: str, source: Source | StoredDocument) -> str:
    """Where the original of a document is served, for PDF at its page."""
    name = source.file if isinstance(source, Source) else source.source
    page = source.page if isinstance(source, Source) else None
    url = f"{base.rstrip('/')}/api/stores/{quote(store)}/documents/{document_id(name)}/file"
    return f"{url}#page={page}" if page is not None else url


def source_dict(source: Source, store: str, base: str = "") -> dict[str, Any]:
    """A source with what a client needs to show and open it."""
    return {
        **asdict(source),
        "metadata": dict(source.metadata),
        "name": name_of(source.file),
        "document": document_id(source.file),
        "url": file_url(base, store, source),
    }


def answer_dict(answer: Answer, store: str, base: str = "") -> dict[str, Any]:
    """An answer with its sources."""
    return {
        **answer.to_dict(),
        "sources": [source_dict(source, store, base) for source in answer.sources],
        "store": store,
    }


def text_of(answer: Answer) -> str:
    """What a plain client shows: the answer, or that there is none."""
    return answer.text or "The documents do not answer this."


def place_of(source: Source) -> str:
    """Where a passage stands: name, heading, page or lines."""
    parts = [name_of(source.file)]
    if source.heading:
        parts.append(source.heading)
    if source.page is not None:
        parts.append(f"page {source.page}")
    elif source.lines is not None:
        first, last = source.lines
        parts.append(f"line {first}" if first == last else f"lines {first}-{last}")
    return " · ".join(parts)


def source_list(sources: Sequence[Source], store: str, base: str) -> str:
    """A numbered list of sources in Markdown, to stand behind an answer."""
    lines = [f"{source.rank}. [{place_of(source)}]({file_url(base, store, source)})" for source in sources]
    return "\n\nSources:\n" + "\n".join(lines) if lines else ""


def cited(answer: Answer) -> list[Source]:
    """The sources that bear an answer: the one that it was taken from, or those that hold its words."""
    taken = [source for source in answer.sources if source.id == answer.taken_from]
    holding = [
        source
        for source in answer.sources
        if source.evidence is not None and source.evidence.answer is not None
    ]
    return taken or holding or list(answer.sources[:1])
