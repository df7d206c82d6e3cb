"""A framework's documents as Clara's, and stored passages as what a framework makes documents of.

A document of a framework is stored under its id. One that is longer than a passage is stored as several: the
first has the id of the document, and the later ones have it with their number, as in `ID#passage-2`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from clara.errors import InputError
from clara.evidence import with_evidence
from clara.integrations.conditions import Where, expressions
from clara.library import Library
from clara.records import Answer, Document, Metadata, Section, Source, StoredPassage, with_title

_LATER = re.compile(r"(?P<source>.*)#passage-(?P<position>[1-9][0-9]*)", re.DOTALL)
_NESTED = "nested_json"
"""The field of the stored metadata that holds what no filter can ask for: lists, mappings and None."""
_LONGEST_HEAD = 200
"""Longest title or heading, in characters, that is stored as such; a longer one stays in the metadata."""

Placed = tuple[str, Source]
"""A passage's id in a framework, and the passage with its score and evidence."""


# -- from a framework ------------------------------------------------------------------------------------


def document(name: str, text: str, metadata: Mapping[str, Any]) -> Document:
    """A framework's document as one to store.

    Args:
        name: Its id.
        text: Its text.
        metadata: Its facts. A title, a heading and a page number become those of the passages; other texts,
            numbers and truth values can be filtered on; all else is kept as JSON and comes back as it was.

    Raises:
        InputError: A value cannot be kept as JSON.
    """
    facts = dict(metadata)
    title = facts.pop("title") if _is_head(facts.get("title")) else ""
    heading = facts.pop("heading") if _is_head(facts.get("heading")) else ""
    page = facts.pop("page") if type(facts.get("page")) is int else None
    kept = _kept(name, facts)
    described = json.dumps([text, title, heading, page, kept], sort_keys=True)
    return Document(
        name,
        title,
        (Section(text, heading, page, metadata=kept),),
        hashlib.sha256(described.encode()).hexdigest(),
    )


def changed(library: Library, source: str, facts: Mapping[str, Any]) -> Document:
    """A stored document with other values in its metadata; its passages stay as they are.

    Args:
        library: That holds it.
        source: Its name.
        facts: What is set in the metadata of all of its passages.

    Raises:
        InputError: A value cannot be kept as JSON.
    """
    passages = [stored.passage for stored in library.store.passages_of(source)]
    sections = tuple(
        Section(
            passage.text,
            passage.heading,
            passage.page,
            passage.lines,
            _kept(source, {**_restored(passage.metadata), **facts}),
        )
        for passage in passages
    )
    described = json.dumps([library.store.sources()[source], dict(facts)], sort_keys=True, default=str)
    return Document(source, passages[0].title, sections, hashlib.sha256(described.encode()).hexdigest())


def remove(library: Library, names: Iterable[str]) -> int:
    """Remove documents by their ids; those that are not stored are passed over.

    Args:
        library: That holds them.
        names: Their ids.

    Returns:
        How many documents were removed.

    Raises:
        InputError: An id is that of a later passage of a document that would stay.
    """
    each = set(names)
    known = library.store.sources()
    for name in each - known.keys():
        found = _LATER.fullmatch(name)
        if found and found["source"] in known and found["source"] not in each:
            raise InputError(
                f"{name!r} is passage {found['position']} of the document {found['source']!r} and cannot be "
                "removed alone; remove the document by its id."
            )
    return library.remove(each)


# -- to a framework --------------------------------------------------------------------------------------


def search(library: Library, question: str, k: int | None, where: Where | None) -> list[Placed]:
    """The passages that fit a question best, each with the sentence that shares most with it.

    Args:
        library: What to search.
        question: The question.
        k: How many; the model's own number if None.
        where: Conditions that passages must meet.

    Raises:
        InputError: The question is empty or too long, or a condition cannot be understood.
    """
    hits = library.search(question, k, where=expressions(where))
    sources = with_evidence([Source.of(hit, "memory") for hit in hits], question)
    return [(passage_id(hit.stored), source) for hit, source in zip(hits, sources, strict=True)]


def ask(
    library: Library, question: str, k: int | None, where: Where | None, **options: Any
) -> tuple[Answer, list[Placed]]:
    """The answer to a question, and its sources with their ids.

    Args:
        library: What to ask.
        question: The question.
        k: How many passages are read; the model's own number if None.
        where: Conditions that passages must meet.
        options: As for `clara.Clara.ask`.

    Raises:
        InputError: As for `clara.Clara.ask`.
    """
    answer = library.ask(question, k, where=expressions(where), **options)
    stored = library.store.passages([source.id for source in answer.sources])
    return answer, list(zip(map(passage_id, stored), answer.sources, strict=True))


def passages(library: Library) -> Iterator[StoredPassage]:
    """All stored passages, by document and in order, as they are at one moment."""
    with library.store.snapshot():
        for stored in library.documents():
            yield from library.store.passages_of(stored.source)


def passages_by_id(library: Library, names: Iterable[str]) -> list[StoredPassage]:
    """The stored passages with these ids, in that order; those that are not stored are passed over."""
    found = []
    with library.store.snapshot():
        for name in names:
            of_document = library.store.passages_of(name)
            later = _LATER.fullmatch(name)
            if of_document:
                found.append(of_document[0])
            elif later:
                found += library.store.passages_of(later["source"])[int(later["position"]) :][:1]
    return found


def passage_id(stored: StoredPassage) -> str:
    """A passage's id in a framework."""
    position = stored.passage.position
    return f"{stored.source}#passage-{position}" if position else stored.source


def metadata(stored: StoredPassage) -> dict[str, Any]:
    """What a framework is told of a stored passage: the given metadata, and where it stands in a file."""
    passage = stored.passage
    return _described(
        stored.source, passage.title, passage.heading, passage.page, passage.lines, passage.metadata
    )


def found_metadata(source: Source) -> dict[str, Any]:
    """What a framework is told of a passage that was found: that, and how well it fits."""
    described = _described(
        source.file, source.title, source.heading, source.page, source.lines, source.metadata
    )
    described |= {"score": source.score, "rank": source.rank}
    if source.evidence is not None:
        described["evidence"] = source.evidence.text
    if source.also_in:
        described["also_in"] = list(source.also_in)
    return described


def answer_metadata(answer: Answer, sources: Sequence[Placed]) -> dict[str, Any]:
    """What a framework is told of an answer beside its text and sources."""
    taken = next((name for name, source in sources if source.id == answer.taken_from), None)
    return {"confidence": answer.confidence, "is_doubtful": answer.is_doubtful, "taken_from": taken}


def content(text: str, facts: Mapping[str, Any]) -> str:
    """A framework's text as the model reads a passage: below the title and heading of its metadata.

    A passage often does not name what it is about, so that search and answers are worse without them.
    """
    heads = (str(facts[name]) for name in ("title", "heading") if facts.get(name))
    return with_title(text, " > ".join(heads))


# -- inside ----------------------------------------------------------------------------------------------


def _described(
    source: str,
    title: str,
    heading: str,
    page: int | None,
    lines: tuple[int, int] | None,
    facts: Metadata,
) -> dict[str, Any]:
    described = _restored(facts)
    if os.path.isabs(source):  # what comes from a framework has an id that is no file
        described["file"] = source
    if title:
        described["title"] = title
    if heading:
        described["heading"] = heading
    if page is not None:
        described["page"] = page
    if lines is not None:
        described["lines"] = list(lines)
    return described


def _is_head(value: object) -> bool:
    """Whether a value can stand before the text as its title or heading and come back unchanged."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_HEAD and value == " ".join(value.split())


def _kept(name: str, facts: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Metadata as it is stored."""
    plain: dict[str, str | int | float | bool] = {}
    nested: dict[str, Any] = {}
    for key, value in facts.items():
        is_plain = isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
        (plain if is_plain else nested)[key] = value
    if nested:
        try:
            plain[_NESTED] = json.dumps(nested, allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"The metadata of the document {name!r} cannot be kept as JSON ({error}); leave out or "
                f"change one of {', '.join(map(repr, nested))}."
            ) from error
    return plain


def _restored(facts: Metadata) -> dict[str, Any]:
    """Metadata as it was given."""
    plain = dict(facts)
    nested = plain.pop(_NESTED, None)
    return {**plain, **json.loads(nested)} if isinstance(nested, str) else dict(plain)
