"""A loaded model with its stores. All that the service asks of `Clara` and `Library` is asked here.

Stores are read through one library each that stays open; to write, another is opened for as long as it takes,
so that `clara index` can add to a store that is being served.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clara.errors import ClaraError, InputError
from clara.records import Answer, Hit, Source, StoredDocument, StoredPassage
from clara.service.settings import Settings, store_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clara.indexing import AddReport, Progress
    from clara.library import Library
    from clara.pipeline import Clara, Query
    from clara.reading import TextPassages

_T = TypeVar("_T")

FILES = "files"
"""Folder within a store's in which uploaded files are kept."""

_WORDS_PER_ROW = 64
"""More than a row of a memory spells, so that the words shown as lost are those that are."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to a store.

    Attributes:
        store: Name of the store.
        question: The question.
        k: Passages to find or to answer from; the model's own number by default.
        where: Conditions on passages, as of `Clara.search`.
        hybrid: As of `Clara.search`.
        text_passages: As of `Clara.ask`.
        reading: As of `Clara.ask`.
        min_confidence: As of `Clara.ask`.
        max_new_tokens: Longest answer; the library's own limit by default.
    """

    store: str
    question: str
    k: int | None = None
    where: tuple[str, ...] = ()
    hybrid: bool | None = None
    text_passages: TextPassages | None = None
    reading: str | None = None
    min_confidence: float | None = None
    max_new_tokens: int | None = None

    def search_options(self) -> dict[str, Any]:
        """What `Library.search` takes besides question and k."""
        return {"where": self.where, "hybrid": self.hybrid}

    def reading_options(self) -> dict[str, Any]:
        """What `Library.ask` takes besides question, k and what `Library.search` takes."""
        longest = {} if self.max_new_tokens is None else {"max_new_tokens": self.max_new_tokens}
        return {
            "text_passages": self.text_passages,
            "reading": self.reading,
            "min_confidence": self.min_confidence,
            **longest,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        sources: Passages, best first, each with the sentence that bears on the question.
        passages: Passages in the store.
        allowed: Passages that the conditions allow.
        steps: Of `clara.store.Explanation`, as plain values.
    """

    sources: tuple[Source, ...]
    passages: int
    allowed: int
    steps: list[dict[str, Any]]


class UnknownError(ClaraError, KeyError):
    """A client named a store, document or passage that there is not."""

    def __str__(self) -> str:
        return str(self.args[0])


class Engine:
    """A model and the stores that it wrote. `load` before anything else; threads may share it.

    Args:
        settings: Which model and stores.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.paths = store_names(settings.stores)
        self._libraries: dict[str, Library] = {}
        self._clara: Clara | None = None

    @property
    def default_store(self) -> str:
        """Name of the store that is asked where none is named."""
        return next(iter(self.paths))

    def load(self) -> None:
        """Load the model and open the stores, making those that are missing.

        Raises:
            ClaraError: Of the model or of a store.
        """
        from clara.library import Library
        from clara.models.stored import DATABASE
        from clara.pipeline import Clara

        settings = self._settings
        clara = Clara.from_pretrained(
            settings.model, subfolder=settings.subfolder, base=settings.base, device=settings.device
        )
        for name, path in self.paths.items():
            if not (path / DATABASE).exists():
                Library(clara, path).close()
            self._libraries[name] = Library(clara, path, read_only=True)
        self._clara = clara

    def close(self) -> None:
        """Close the stores."""
        for library in self._libraries.values():
            library.close()
        self._libraries.clear()

    @property
    def clara(self) -> Clara:
        """The model."""
        if self._clara is None:
            raise InputError("The model is not loaded yet; ask again in a moment.")
        return self._clara

    def check_store(self, name: str) -> str:
        """The name of a store that there is.

        Raises:
            UnknownError: There is none of that name.
        """
        if name not in self.paths:
            raise UnknownError(f"There is no store {name!r}; there are {', '.join(self.paths)}.")
        return name

    def library(self, name: str) -> Library:
        """An open store, for reading."""
        self.check_store(name)
        if name not in self._libraries:
            raise InputError("The stores are not open yet; ask again in a moment.")
        return self._libraries[name]

    # questions

    def search(self, asked: Asked, query: Query | None = None) -> Found:
        """The best passages for a question, and how they were found.

        Args:
            asked: The question.
            query: Of `Clara.queries`; None to encode it here.
        """
        from clara.evidence import with_evidence

        library = self.library(asked.store)
        found = library.explain(asked.question, asked.k, **asked.search_options(), query=query)
        sources = with_evidence([Source.of(hit, "memory") for hit in found.hits], asked.question)
        return Found(sources, found.passages, found.allowed, [asdict(step) for step in found.steps])

    def search_together(self, asked: Sequence[Asked]) -> list[Found | Exception]:
        """What `search` finds for several questions, encoded as one batch; errors in their places."""
        return [
            _caught(self.search, one, query) for one, query in zip(asked, self._queries(asked), strict=True)
        ]

    def _queries(self, asked: Sequence[Asked]) -> list[Query | None]:
        """The questions as they are searched with; None for those that their search is left to encode."""
        queries: list[Query | None] = [None] * len(asked)
        rates: dict[int | None, list[int]] = {}
        for at, one in enumerate(asked):
            if one.store in self._libraries:
                rates.setdefault(self._libraries[one.store].store.rate, []).append(at)
        for rate, places in rates.items():
            try:
                encoded = self.clara.queries([asked[at].question for at in places], rate)
            except ClaraError:  # one of them spoils the batch; alone each is encoded or has its own error
                continue
            for at, query in zip(places, encoded, strict=True):
                queries[at] = query
        return queries

    def ask(self, asked: Asked) -> Answer:
        """An answer with its sources."""
        return self.library(asked.store).ask(
            asked.question, asked.k, **asked.search_options(), **asked.reading_options()
        )

    def ask_together(self, asked: Sequence[Asked]) -> list[Answer | Exception]:
        """Answers to several questions, read as one batch where the model can; errors in their places."""
        if len(asked) == 1:
            return [_caught(self.ask, asked[0])]
        answers: list[Answer | Exception] = [InputError("Not answered.")] * len(asked)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for at, one in enumerate(asked):
            groups.setdefault((one.store, *one.reading_options().items()), []).append(at)
        for places in groups.values():
            together = [asked[at] for at in places]
            try:
                found: Sequence[Answer | Exception] = self._ask_group(together)
            except ClaraError:  # one of them spoils the batch; alone each has its own answer or error
                found = [_caught(self.ask, one) for one in together]
            for at, answer in zip(places, found, strict=True):
                answers[at] = answer
        return answers

    def _ask_group(self, asked: Sequence[Asked]) -> list[Answer | Exception]:
        """Answers to questions to one store, each searched for and then all read in one batch."""
        library, clara = self.library(asked[0].store), self.clara
        found: list[tuple[int, Asked, list[Hit]]] = []
        answers: list[Answer | Exception] = [InputError("Not answered.")] * len(asked)
        for at, (one, query) in enumerate(zip(asked, self._queries(asked), strict=True)):
            try:
                hits = clara.find_passages(
                    one.question, library.store, one.k, **one.search_options(), query=query
                )
            except ClaraError as error:
                answers[at] = error
                continue
            found.append((at, one, hits))
        written = clara.answers_from(
            [one.question for _, one, _ in found],
            [hits for _, _, hits in found],
            library.store,
            **asked[0].reading_options(),
        )
        for (at, _, _), answer in zip(found, written, strict=True):
            answers[at] = answer
        return answers

    def stream(self, asked: Asked) -> Iterator[tuple[Source, ...] | str | Answer]:
        """The sources of an answer, then its text piece by piece, then the whole answer."""
        if self.clara.model.answers_at_once:
            yield from whole(self.ask(asked))
            return
        library, clara = self.library(asked.store), self.clara
        hits = clara.find_passages(asked.question, library.store, asked.k, **asked.search_options())
        yield tuple(Source.of(hit, "memory") for hit in hits)
        yield from clara.stream_from(asked.question, hits, library.store, **asked.reading_options())

    # vectors

    @property
    def vector_size(self) -> int:
        """Numbers in an embedding; 0 where memories themselves are compared and there are none."""
        return self.clara.embedding_dim or 0

    def embed(self, texts: Sequence[str], *, are_questions: bool) -> NDArray[np.float32]:
        """Unit vectors (n, H) of passages or of questions; their products are search's cosines.

        Raises:
            InputError: The model compares memories, which are no single vectors.
        """
        import numpy as np

        if not self.vector_size:
            raise InputError("This model compares whole memories and has no embeddings; use search instead.")
        if are_questions:
            vectors = np.stack([self.clara.encode_query(text) for text in texts]).astype(np.float32)
        else:
            embeddings = self.clara.compress(texts)[1]
            vectors = np.asarray(embeddings, np.float32)
        lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        unit: NDArray[np.float32] = vectors / lengths
        return unit

    def rerank(self, question: str, documents: Sequence[str]) -> list[float]:
        """How well each document fits a question, as search scores them."""
        import numpy as np

        query = self.clara.query(question)
        memories, embeddings = self.clara.compress(documents)
        if query.rerank is not None:
            return [float(score) for score in query.rerank(memories)]
        rows = np.stack([memory.reshape(-1) for memory in memories]) if embeddings is None else embeddings
        unit = np.asarray(rows, np.float32)
        unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        vector = query.vector.reshape(-1)
        return [float(score) for score in unit @ (vector / max(float(np.linalg.norm(vector)), 1e-12))]

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, for the usage that protocols report."""
        return int(self.clara.processor.count_tokens([text])[0])

    def model_info(self) -> dict[str, Any]:
        """The model in words and numbers."""
        clara = self.clara
        return {
            "name": clara.name,
            "fingerprint": clara.fingerprint,
            "precision": clara.precision,
            "device": str(clara.model.device),
            "parameters": sum(parameter.numel() for parameter in clara.model.parameters()),
            "vector_size": self.vector_size,
            "passage_tokens": clara.passage_tokens,
        }

    # documents

    def documents(self, store: str) -> list[StoredDocument]:
        """All documents of a store."""
        return self.library(store).documents()

    def document(self, store: str, number: str) -> StoredDocument:
        """The document of an identifier that `document_id` gave.

        Raises:
            UnknownError: There is none.
        """
        for document in self.documents(store):
            if document_id(document.source) == number:
                return document
        raise UnknownError(f"The store {store!r} has no document {number!r}; it may have been removed.")

    def passages(self, store: str, document: StoredDocument) -> list[StoredPassage]:
        """The passages of a document in order."""
        return self.library(store).store.passages_of(document.source)

    def passage(self, store: str, number: int) -> StoredPassage:
        """A passage by its number."""
        return self.library(store).store.passages([number])[0]

    def around(self, store: str, number: int, count: int) -> list[StoredPassage]:
        """A passage with those before and after it."""
        return self.library(store).store.around(number, count)

    def info(self, store: str) -> dict[str, Any]:
        """A store in numbers."""
        return {**asdict(self.library(store).store.info()), "path": str(self.paths[store])}

    def add(self, store: str, paths: Sequence[Path], progress: Callable[[Progress], None]) -> AddReport:
        """Add files to a store; see `Library.add`."""
        from clara.library import Library

        self.check_store(store)
        with Library(self.clara, self.paths[store]) as library:
            return library.add(paths, progress=progress)

    def add_texts(self, store: str, texts: dict[str, str]) -> AddReport:
        """Add texts to a store; see `Library.add_texts`."""
        from clara.library import Library

        self.check_store(store)
        with Library(self.clara, self.paths[store]) as library:
            return library.add_texts(texts)

    def remove(self, store: str, sources: Sequence[str]) -> int:
        """Remove documents from a store."""
        from clara.library import Library

        self.check_store(store)
        with Library(self.clara, self.paths[store]) as library:
            return library.remove(sources)

    def inspect(self, store: str, number: int) -> dict[str, Any]:
        """What the memory of a passage holds: its shape, words by weight, and words nearest to its rows."""
        from clara.evaluation.inspection import inspect_document

        library = self.library(store)
        (stored,) = library.store.passages([number])
        (memory,) = library.store.memories([number])
        inspection = inspect_document(
            self.clara, stored.passage.content, rate=library.store.rate, nearest=_WORDS_PER_ROW
        )
        return {
            "id": number,
            "rows": int(memory.shape[0]),
            "size": int(memory.shape[1]),
            "bytes": int(memory.nbytes),
            "text": stored.passage.content,
            "inspection": asdict(inspection),
        }


def whole(answer: Answer) -> Iterator[tuple[Source, ...] | str | Answer]:
    """An answer that is there as it would be streamed."""
    yield answer.sources
    if answer.text:
        yield answer.text
    yield answer


def document_id(source: str) -> str:
    """An identifier of a document that tells nothing of where it lies."""
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _caught(function: Callable[..., _T], *arguments: Any) -> _T | Exception:
    try:
        return function(*arguments)
    except ClaraError as error:
        return error
