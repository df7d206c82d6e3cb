"""Haystack 2: document store, retriever, answerer and embedders (extra `haystack`).

The asynchronous methods run the synchronous ones in a thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self

from clara.errors import InputError
from clara.integrations import exchange, relevance
from clara.integrations.conditions import expression
from clara.integrations.exchange import Placed
from clara.integrations.extras import missing
from clara.library import Library
from clara.pipeline import Clara
from clara.records import StoredPassage

try:
    from haystack import Document, GeneratedAnswer, component, default_from_dict, default_to_dict
    from haystack.document_stores.errors import DuplicateDocumentError
    from haystack.document_stores.types import DuplicatePolicy
    from haystack.errors import FilterError
    from haystack.utils.filters import document_matches_filter
except ImportError as error:
    raise missing("haystack") from error

__all__ = [
    "ClaraAnswerer",
    "ClaraDocumentEmbedder",
    "ClaraDocumentStore",
    "ClaraRetriever",
    "ClaraTextEmbedder",
]

Filters = dict[str, Any]
"""As Haystack writes them."""

_OPERATORS = {"==": "=", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}


class ClaraDocumentStore:
    """A library as a document store: documents are compressed when they are written.

    A document that is longer than a passage is stored as several, each of which counts. The later ones have
    ids as in `ID#passage-2`, and deleting the document deletes them. Embeddings and binary data of documents
    are not kept. `filter_documents` takes all of Haystack's filters and reads every passage for it; a search
    takes those whose conditions must all hold.

    Args:
        path: The library's folder; made if it does not exist.
        model: Where the model is, as for `clara.Library.open`.
        read_only: Never write; the store must exist.
        library: Instead of the folder, a library that is open; `model` then says what a saved pipeline loads.

    Raises:
        InputError: Neither folder nor library is given.
        CheckpointError: The model is missing, broken or unsafe.
        StoreError: The folder is not a store, is broken, or (to write) is being written by another process.

    Example:
        >>> store = ClaraDocumentStore("my-library")
        >>> store.write_documents([Document(id="bridge", content="The bridge opened in 1883.")])
        1
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        model: str | None = None,
        *,
        read_only: bool = False,
        library: Library | None = None,
    ) -> None:
        if library is None:
            if path is None:
                raise InputError("The document store needs the folder of a library; give it as path.")
            library = Library.open(path, model=model, read_only=read_only)
        self.library = library
        self.model = model

    def to_dict(self) -> dict[str, Any]:
        """What a saved pipeline keeps of it: folder and model."""
        store = self.library.store
        return default_to_dict(self, path=str(store.path), model=self.model, read_only=store.read_only)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Open it again."""
        return default_from_dict(cls, data)

    def close(self) -> None:
        """Close the library, so that another process may write."""
        self.library.close()

    # -- Haystack's protocol -----------------------------------------------------------------------------

    def count_documents(self) -> int:
        """How many passages are stored."""
        return self.library.store.num_passages

    def filter_documents(self, filters: Filters | None = None) -> list[Document]:
        """The stored passages that meet Haystack's filters; all without.

        Raises:
            FilterError: The filters are malformed.
        """
        return [document for _, document in self._matching(filters)]

    def write_documents(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Compress and store documents.

        Args:
            documents: With text.
            policy: What to do with one whose id is stored; NONE as FAIL.

        Returns:
            How many were written.

        Raises:
            DuplicateDocumentError: One is stored under the id, and none may be replaced; nothing is written.
            InputError: One has no text (the others are stored), or its metadata cannot be kept as JSON.
        """
        _check_documents(documents)
        known = self.library.store.sources()
        new = {document.id: document for document in documents}
        again = [name for name in new if name in known]
        if again and policy in (DuplicatePolicy.NONE, DuplicatePolicy.FAIL):
            raise DuplicateDocumentError(
                f"The document {again[0]!r} is stored already; use DuplicatePolicy.OVERWRITE or SKIP."
            )
        if policy == DuplicatePolicy.SKIP:
            new = {name: document for name, document in new.items() if name not in known}
        self.library.add_documents(
            [exchange.document(name, document.content or "", document.meta) for name, document in new.items()]
        )
        return len(new)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents; ids that are not stored are passed over.

        Raises:
            InputError: An id is that of a later passage of a document that would stay.
        """
        exchange.remove(self.library, document_ids)

    # -- beside the protocol, as other stores have it ----------------------------------------------------

    def delete_all_documents(self) -> None:
        """Delete all documents."""
        self.library.remove(self.library.store.sources())

    def delete_by_filter(self, filters: Filters) -> int:
        """Delete the documents that have a passage that meets Haystack's filters.

        Returns:
            How many documents were deleted.

        Raises:
            FilterError: The filters are malformed.
        """
        return self.library.remove({stored.source for stored, _ in self._matching(filters)})

    def update_by_filter(self, filters: Filters, meta: dict[str, Any]) -> int:
        """Set metadata of the documents that have a passage that meets Haystack's filters.

        Their passages are not compressed again.

        Returns:
            How many documents were changed.

        Raises:
            FilterError: The filters are malformed.
            InputError: A value cannot be kept as JSON.
        """
        sources = dict.fromkeys(stored.source for stored, _ in self._matching(filters))
        self.library.add_documents([exchange.changed(self.library, source, meta) for source in sources])
        return len(sources)

    # -- in a thread -------------------------------------------------------------------------------------

    async def count_documents_async(self) -> int:
        """As `count_documents`."""
        return await asyncio.to_thread(self.count_documents)

    async def filter_documents_async(self, filters: Filters | None = None) -> list[Document]:
        """As `filter_documents`."""
        return await asyncio.to_thread(self.filter_documents, filters)

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """As `write_documents`."""
        return await asyncio.to_thread(self.write_documents, documents, policy)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """As `delete_documents`."""
        await asyncio.to_thread(self.delete_documents, document_ids)

    async def delete_all_documents_async(self) -> None:
        """As `delete_all_documents`."""
        await asyncio.to_thread(self.delete_all_documents)

    async def delete_by_filter_async(self, filters: Filters) -> int:
        """As `delete_by_filter`."""
        return await asyncio.to_thread(self.delete_by_filter, filters)

    async def update_by_filter_async(self, filters: Filters, meta: dict[str, Any]) -> int:
        """As `update_by_filter`."""
        return await asyncio.to_thread(self.update_by_filter, filters, meta)

    def _matching(self, filters: Filters | None) -> Iterator[tuple[StoredPassage, Document]]:
        for stored in list(exchange.passages(self.library)):
            document = Document(
                id=exchange.passage_id(stored), content=stored.passage.text, meta=exchange.metadata(stored)
            )
            if not filters or document_matches_filter(filters, document):
                yield stored, document


@component
class ClaraRetriever:
    """Finds passages of a document store.

    The `meta` of a document that it returns has `score`, `rank` and `evidence` (the sentence that shares
    most with the question), and of a file's passage `file`, `title`, `heading`, `page` and `lines`.

    Args:
        document_store: What is searched.
        filters: Conditions that must all hold; those given to `run` take their place.
        top_k: How many documents.

    Example:
        >>> ClaraRetriever(store, top_k=3).run("When did the bridge open?")["documents"]
    """

    def __init__(
        self, document_store: ClaraDocumentStore, filters: Filters | None = None, top_k: int = 5
    ) -> None:
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k

    def to_dict(self) -> dict[str, Any]:
        """What a saved pipeline keeps of it."""
        return default_to_dict(
            self, document_store=_to_read(self.document_store), filters=self.filters, top_k=self.top_k
        )

    @component.output_types(documents=list[Document])
    def run(self, query: str, filters: Filters | None = None, top_k: int | None = None) -> dict[str, Any]:
        """Search.

        Args:
            query: The question.
            filters: Instead of the component's.
            top_k: Instead of the component's.

        Returns:
            `documents`, best first.

        Raises:
            FilterError: The filters are not conditions that must all hold.
            InputError: The question is empty or too long, or no passage has a field of the filters.
        """
        found = exchange.search(
            self.document_store.library,
            query,
            self.top_k if top_k is None else top_k,
            _where(self.filters if filters is None else filters),
        )
        return {"documents": [_document(placed) for placed in found]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: Filters | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """As `run`."""
        return await asyncio.to_thread(self.run, query, filters, top_k)


@component
class ClaraAnswerer:
    """Answers questions from a document store, or from the documents that it is given.

    From the store the stored memories are read, and the answer's `meta` has `confidence`, `is_doubtful` and
    `taken_from`, the id of the document whose words it is. Given documents are compressed first, below the
    `title` and `heading` of their `meta`.

    Args:
        document_store: What is asked.
        filters: Conditions that must all hold; those given to `run` take their place.
        top_k: How many passages are read.
        max_new_tokens: Longest answer.

    Example:
        >>> ClaraAnswerer(store).run("When did the bridge open?")["answers"][0].data
        '24 May 1883'
    """

    def __init__(
        self,
        document_store: ClaraDocumentStore,
        filters: Filters | None = None,
        top_k: int = 5,
        max_new_tokens: int = 64,
    ) -> None:
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k
        self.max_new_tokens = max_new_tokens

    def to_dict(self) -> dict[str, Any]:
        """What a saved pipeline keeps of it."""
        return default_to_dict(
            self,
            document_store=_to_read(self.document_store),
            filters=self.filters,
            top_k=self.top_k,
            max_new_tokens=self.max_new_tokens,
        )

    @component.output_types(answers=list[GeneratedAnswer])
    def run(
        self,
        query: str,
        documents: list[Document] | None = None,
        filters: Filters | None = None,
        top_k: int | None = None,
    ) -> dict[str, Any]:
        """Answer.

        Args:
            query: The question.
            documents: What is read, best first; None to search the store.
            filters: Instead of the component's, for the search.
            top_k: Instead of the component's: how many passages are found, or read of those given.

        Returns:
            `answers`, of which there is one; none from an empty list of documents.

        Raises:
            FilterError: The filters are not conditions that must all hold.
            InputError: The question is empty or too long, or the store has nothing to answer from.
            PromptError: The documents are more than the model reads.
        """
        count = self.top_k if top_k is None else top_k
        library = self.document_store.library
        if documents is not None:
            read = documents[:count]
            texts = [exchange.content(document.content or "", document.meta) for document in read]
            written = (
                library.clara.answer([query], [texts], max_new_tokens=self.max_new_tokens) if read else []
            )
            return {"answers": [GeneratedAnswer(text, query, read) for text in written]}
        where = _where(self.filters if filters is None else filters)
        answer, sources = exchange.ask(library, query, count, where, max_new_tokens=self.max_new_tokens)
        meta = exchange.answer_metadata(answer, sources)
        return {"answers": [GeneratedAnswer(answer.text, query, [_document(one) for one in sources], meta)]}

    @component.output_types(answers=list[GeneratedAnswer])
    async def run_async(
        self,
        query: str,
        documents: list[Document] | None = None,
        filters: Filters | None = None,
        top_k: int | None = None,
    ) -> dict[str, Any]:
        """As `run`."""
        return await asyncio.to_thread(self.run, query, documents, filters, top_k)


class _Embedder:
    """A model that is loaded when it is first needed."""

    def __init__(self, model: str | None = None, *, clara: Clara | None = None) -> None:
        self.model = model
        self.clara = clara

    def to_dict(self) -> dict[str, Any]:
        """What a saved pipeline keeps of it: the model."""
        return default_to_dict(self, model=self.model)

    def warm_up(self) -> Clara:
        """Load the model."""
        self.clara = self.clara or Clara.from_pretrained(self.model)
        return self.clara


@component
class ClaraDocumentEmbedder(_Embedder):
    """Gives documents the embeddings of a model, for other document stores.

    A document is read below the `title` and `heading` of its `meta`, as far as the model's passages reach.

    Args:
        model: Where the model is, as for `clara.Clara.from_pretrained`; the default model if None.
        clara: The model where it is loaded already; `model` then says what a saved pipeline loads.
    """

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Embed.

        Returns:
            `documents`, copies with `embedding`, of unit length.

        Raises:
            InputError: The model compares memories and has no embeddings.
        """
        texts = [exchange.content(document.content or "", document.meta) for document in documents]
        vectors = relevance.embeddings(self.warm_up(), texts)
        pairs = zip(documents, vectors, strict=True)
        return {"documents": [replace(document, embedding=vector) for document, vector in pairs]}

    @component.output_types(documents=list[Document])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """As `run`."""
        return await asyncio.to_thread(self.run, documents)


@component
class ClaraTextEmbedder(_Embedder):
    """Gives a question its embedding, beside documents of `ClaraDocumentEmbedder`; arguments as there."""

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """Embed.

        Returns:
            `embedding`, of unit length.

        Raises:
            InputError: The model has no embeddings, or the question is empty or too long.
        """
        return {"embedding": relevance.query_embedding(self.warm_up(), text)}

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str) -> dict[str, Any]:
        """As `run`."""
        return await asyncio.to_thread(self.run, text)


def _document(placed: Placed) -> Document:
    name, source = placed
    return Document(id=name, content=source.text, meta=exchange.found_metadata(source), score=source.score)


def _to_read(store: ClaraDocumentStore) -> dict[str, Any]:
    """A store as a component keeps it that only reads, since only one of a pipeline's may write."""
    saved = store.to_dict()
    return {**saved, "init_parameters": {**saved["init_parameters"], "read_only": True}}


def _check_documents(documents: object) -> None:
    """Haystack's stores refuse what is no list of documents with a ValueError, which this is."""
    if not isinstance(documents, list) or not all(isinstance(one, Document) for one in documents):
        raise InputError("The documents are not a list of haystack.Document; give them as one.")


def _where(filters: Filters | None) -> list[str]:
    """Haystack's filters as conditions that must all hold."""
    if not filters:
        return []
    if "field" not in filters:
        operator, conditions = filters.get("operator"), filters.get("conditions")
        if operator != "AND" or not isinstance(conditions, list):
            raise FilterError(
                f"The filter's operator is {operator!r}, but a search takes conditions that must all hold; "
                "join them with 'AND'."
            )
        return [one for condition in conditions for one in _where(condition)]
    name, operator = str(filters["field"]), filters.get("operator")
    if operator not in _OPERATORS or "value" not in filters:
        raise FilterError(
            f"The filter's operator is {operator!r}; a search takes {' '.join(_OPERATORS)}, with a value."
        )
    if not name.startswith("meta."):
        raise FilterError(
            f"The filter asks for {name}; a search takes fields of the metadata, as 'meta.year'."
        )
    try:
        return [expression(name.removeprefix("meta."), _OPERATORS[operator], filters["value"])]
    except InputError as error:
        raise FilterError(str(error)) from error
