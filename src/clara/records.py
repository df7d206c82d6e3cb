"""The plain values that layers hand to each other. No torch, no files, no behaviour beyond formatting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Metadata = Mapping[str, str | int | float | bool]
"""Facts about a passage that a search can filter on, by name."""


@dataclass(frozen=True, slots=True)
class Section:
    """A run of a document's text under one heading (and, for PDF, on one page).

    Attributes:
        text: The section's text; paragraphs are separated by a blank line.
        heading: The nearest headings above it, outermost first, joined with " > "; empty if none.
        page: Page number from 1 for paged formats, else None.
        lines: First and last line of the file that the text is made of, from 1; None where a format has none.
        metadata: Facts that the file states of this section, such as the other fields of a record.
        line_spans: (offset, first line, last line) of the pieces of `text` in order: from the offset on it is
            made of these lines. Empty where nothing finer than `lines` is known.
        units: (begin, end, head) of what stays whole when `text` is cut, in order: rows of a table, items of
            a
            list, code, quotations. The head is repeated where a cut comes right before a unit.
    """

    text: str
    heading: str = ""
    page: int | None = None
    lines: tuple[int, int] | None = None
    metadata: Metadata = field(default_factory=dict)
    line_spans: tuple[tuple[int, int, int], ...] = field(default=(), repr=False, compare=False)
    units: tuple[tuple[int, int, str], ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Document:
    """A file after reading: what it is called, where it came from, and its sections in order.

    Attributes:
        source: The absolute path of the file, or any other name unique within a store.
        title: The title that the file states, or its name without ending.
        sections: The text in order.
        sha256: Hex digest of the file's bytes, and of the fields that were chosen; tells whether it changed.
        modified: Modification time, seconds since the epoch (0 where there is no file).
        left_out: What of the file is not in the sections, a line for each kind of thing.
        reader: Version of the readers (`documents.READER_VERSION`); 0 for a text that no reader read.
    """

    source: str
    title: str
    sections: tuple[Section, ...]
    sha256: str
    modified: float = 0.0
    left_out: tuple[str, ...] = ()
    reader: int = 0


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that is compressed into one memory.

    Attributes:
        text: The passage's own words.
        title: The document's title.
        heading: The headings it stands under, outermost first, joined with " > ".
        page: Page number from 1 for paged formats, else None.
        position: Index of the passage within its document, from 0.
        lines: First and last line of the file that it is made of, from 1; None where a format has none.
        metadata: Facts that a search can filter on.
    """

    text: str
    title: str = ""
    heading: str = ""
    page: int | None = None
    position: int = 0
    lines: tuple[int, int] | None = None
    metadata: Metadata = field(default_factory=dict)

    @property
    def content(self) -> str:
        """What the model reads: the title and headings on a line of their own, then the text."""
        return with_title(self.text, " > ".join(part for part in (self.title, self.heading) if part))


def with_title(text: str, title: str) -> str:
    """A passage as the model reads it: `title` on a line of its own before `text`, or `text` alone."""
    return f"{title}\n{text}" if title else text


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage as a store returns it.

    Attributes:
        id: The store's number for it; never reused.
        source: The document's `Document.source`.
        passage: The passage itself.
    """

    id: int
    source: str
    passage: Passage


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """What a store knows of a document.

    Attributes:
        source: The document's `Document.source`, unique within the store.
        title: The document's title.
        sha256: Hex digest of the file's bytes when it was stored.
        modified: The file's modification time then, seconds since the epoch.
        num_passages: Number of its passages.
        left_out: What of the file is not stored, a line for each kind of thing.
    """

    source: str
    title: str
    sha256: str
    modified: float
    num_passages: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search returned.

    Attributes:
        stored: The passage.
        score: How well the passage fits the question, 1 at most: the cosine of their keys, or the weighted
            mean of their words' cosines where the model matches words.
        rank: 1 for the best.
        also_in: Other documents that hold a passage of the same content, as far as the search met them.
    """

    stored: StoredPassage
    score: float
    rank: int
    also_in: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """The sentence of a passage that best supports an answer.

    Attributes:
        text: The sentence.
        start: Where it begins in the passage's text, in characters.
        stop: Where it ends.
        answer: Begin and end of the answer in the passage's text; None where the sentence does not hold it.
    """

    text: str
    start: int
    stop: int
    answer: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that an answer was made from, or that a search found.

    Attributes:
        id: Its id in the store.
        file: The document's `Document.source`.
        title: The document's title.
        heading: The headings above the passage.
        page: Page number from 1 for paged formats, else None.
        lines: First and last line in the file, from 1; None for formats without lines.
        text: The passage.
        score: How well the passage matches the question, at most 1; not a probability.
        rank: 1 for the best.
        read_as: "memory", or "text" if the prompt contained the passage's text.
        metadata: Fields of the record or the front matter.
        evidence: The sentence that best supports the answer, if there is one.
        also_in: Other documents with the same passage.
    """

    id: int
    file: str
    title: str
    heading: str
    page: int | None
    lines: tuple[int, int] | None
    text: str
    score: float
    rank: int
    read_as: str
    metadata: Metadata = field(default_factory=dict)
    evidence: Evidence | None = None
    also_in: tuple[str, ...] = ()

    @classmethod
    def of(cls, hit: Hit, read_as: str) -> Source:
        """The source of a hit."""
        passage = hit.stored.passage
        return cls(
            id=hit.stored.id,
            file=hit.stored.source,
            title=passage.title,
            heading=passage.heading,
            page=passage.page,
            lines=passage.lines,
            text=passage.text,
            score=hit.score,
            rank=hit.rank,
            read_as=read_as,
            metadata=passage.metadata,
            also_in=hit.also_in,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote for one prompt.

    Attributes:
        text: The answer; empty if there is none.
        confidence: How sure the model is, higher is surer: the mean log probability of its tokens, or of a
            span the log odds against there being no answer.
        prompt_tokens: Positions that were read, of all prompts together.
        taken_from: Place of the document that the answer was read from, where it is a single one.
        texts: Places of the documents that were read as text.
    """

    text: str
    confidence: float
    prompt_tokens: int
    taken_from: int | None = None
    texts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its sources; prints as its text.

    Attributes:
        question: The question.
        text: The answer; empty if the model gave none.
        sources: The passages that the model read, best first.
        confidence: Mean log probability of the answer's tokens, or the log odds of a span against no answer.
        taken_from: Id of the source that the answer was read from, where it is a single one.
        is_doubtful: Whether the model finds it more likely that no passage contains the answer; with
            `min_confidence`, whether the probability is below it, in which case `text` is empty.
        probability: The model's estimate that a passage contains the answer, from 0 to 1; None for a model
            that was not trained to judge this.
    """

    question: str
    text: str
    sources: tuple[Source, ...]
    confidence: float | None = None
    taken_from: int | None = None
    is_doubtful: bool = False
    probability: float | None = None

    def __str__(self) -> str:
        return self.text

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
