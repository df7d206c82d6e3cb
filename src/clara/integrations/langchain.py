"""LangChain: retriever, document compressor, embeddings, chat model and vector store (extra `langchain`).

The asynchronous methods run the synchronous ones in a thread, as LangChain's own do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self
from uuid import uuid4

from clara.errors import InputError
from clara.integrations import exchange, relevance
from clara.integrations.conditions import Where, expressions
from clara.integrations.exchange import Placed
from clara.integrations.extras import missing
from clara.library import Library
from clara.pipeline import Clara
from clara.records import Hit

try:
    from langchain_core.callbacks import (
        CallbackManagerForLLMRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.vectorstores import VectorStore
    from pydantic import ConfigDict
except ImportError as error:
    raise missing("langchain") from error

__all__ = ["ChatClara", "ClaraDocumentCompressor", "ClaraEmbeddings", "ClaraRetriever", "ClaraVectorStore"]


class ClaraRetriever(BaseRetriever):
    """Finds passages of a library.

    The metadata of a document that it returns has `score`, `rank` and `evidence` (the sentence that shares
    most with the question), and of a file's passage `file`, `title`, `heading`, `page` and `lines`.

    Attributes:
        library: What is searched.
        k: How many passages; the model's own number if None. `invoke` takes another.
        where: Conditions that passages must meet; `invoke` takes others.

    Example:
        >>> ClaraRetriever(library=library, k=3).invoke("When did the bridge open?")
    """

    library: Library
    k: int | None = None
    where: Where | None = None

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        where: Where | None = None,
    ) -> list[Document]:
        found = exchange.search(
            self.library, query, self.k if k is None else k, self.where if where is None else where
        )
        return [_document(placed) for placed in found]


class ClaraDocumentCompressor(BaseDocumentCompressor):
    """Orders documents that any retriever found by how well they fit the question, and keeps the best.

    A document is read below the `title` and `heading` of its metadata, as far as the model's passages reach.
    The metadata of what is returned has its `score`, 1 at most.

    Attributes:
        clara: The model.
        top_n: How many documents are kept; all if None.
        sentences: Whether a document is cut down to the sentence that best supports the model's answer. It is
            left as it is where no sentence shares a word with question or answer.

    Example:
        >>> compressor = ClaraDocumentCompressor(clara=clara, top_n=3)
        >>> compressor.compress_documents(found, "When did the bridge open?")
    """

    clara: Clara
    top_n: int | None = 3
    sentences: bool = False

    model_config = ConfigDict(arbitrary_types_allowed=True)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """See the class; the documents given are not changed."""
        texts = [document.page_content for document in documents]
        read = [exchange.content(document.page_content, document.metadata) for document in documents]
        scores = relevance.scores(self.clara, query, read)
        best = relevance.best_first(scores, self.top_n)
        if self.sentences:
            cut = relevance.sentences(
                self.clara, query, [texts[at] for at in best], [read[at] for at in best]
            )
            for place, sentence in zip(best, cut, strict=True):
                texts[place] = sentence
        return [
            Document(
                id=documents[place].id,
                page_content=texts[place],
                metadata={**documents[place].metadata, "score": scores[place]},
            )
            for place in best
        ]


class ClaraEmbeddings(Embeddings):
    """Embeddings of a model whose score compares embeddings, as the packaged models' does.

    A library's search is better than a search by these alone: it compares the words of memories too.

    Args:
        clara: The model.

    Example:
        >>> len(ClaraEmbeddings(clara).embed_query("When did the bridge open?"))
        256
    """

    def __init__(self, clara: Clara) -> None:
        self.clara = clara

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Keys of passages, each of unit length.

        Raises:
            InputError: The model compares memories and has no embeddings.
        """
        return relevance.embeddings(self.clara, texts)

    def embed_query(self, text: str) -> list[float]:
        """The embedding of a question, of unit length.

        Raises:
            InputError: The model has no embeddings, or the question is empty or too long.
        """
        return relevance.query_embedding(self.clara, text)


class ChatClara(BaseChatModel):
    """Answers the last question of a conversation from a library.

    What was said before it, and system messages, are not read. The answer's `response_metadata` has
    `sources`, `confidence`, `is_doubtful` and `taken_from`, the id of the passage whose words the answer is.
    A streamed answer has the sources alone, on its last chunk.

    Attributes:
        library: What is asked.
        k: How many passages are read; the model's own number if None.
        where: Conditions that passages must meet.
        max_tokens: Longest answer.
        stop: Texts before which an answer ends.

    Example:
        >>> ChatClara(library=library).invoke("When did the bridge open?").text
        '24 May 1883'
    """

    library: Library
    k: int | None = None
    where: Where | None = None
    max_tokens: int = 64
    stop: list[str] | None = None

    @property
    def model_name(self) -> str:
        """Name of the model."""
        return self.library.clara.name

    @property
    def _llm_type(self) -> str:
        return "clara"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer, sources = exchange.ask(
            self.library, _question(messages), self.k, self.where, **self._options(kwargs)
        )
        message = AIMessage(
            _stopped(answer.text, stop or self.stop),
            response_metadata={
                "model_name": self.model_name,
                "sources": [_told(placed) for placed in sources],
                **exchange.answer_metadata(answer, sources),
            },
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        question, where = _question(messages), expressions(self.where)
        pieces = self.library.ask_stream(question, self.k, where=where, **self._options(kwargs))
        for piece in _stream_stopped(pieces, stop or self.stop):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=piece))
            if run_manager:
                run_manager.on_llm_new_token(piece, chunk=chunk)
            yield chunk
        sources = exchange.search(self.library, question, self.k, where)
        metadata = {"model_name": self.model_name, "sources": [_told(placed) for placed in sources]}
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", response_metadata=metadata, chunk_position="last")
        )

    def _options(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"max_new_tokens": given.get("max_tokens", self.max_tokens)}


class ClaraVectorStore(VectorStore):
    """A library as a vector store: documents are compressed when they are added.

    A document that is longer than a passage is stored as several; the later ones have ids as in
    `ID#passage-2`, and removing the document removes them. A filter is an expression of `clara.Filter`, a
    list of them, or a mapping as in `{"author": "Kim", "year": {"$gte": 2020}}`. Questions are searched for
    as in the library and not by a given vector: there is no search by vector and no marginal relevance.

    Args:
        library: Opened for writing, to add and remove.

    Example:
        >>> store = ClaraVectorStore(library)
        >>> store.add_texts(["The bridge opened in 1883."], [{"author": "Kim"}], ids=["bridge"])
        ['bridge']
        >>> store.similarity_search("When did the bridge open?", k=1, filter={"author": "Kim"})
    """

    def __init__(self, library: Library) -> None:
        self.library = library

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings of the library's model."""
        return ClaraEmbeddings(self.library.clara)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Store texts; one under a known id takes its place.

        Args:
            texts: The texts.
            metadatas: Of each.
            ids: Of each; one is made where there is None.
            kwargs: Passed over.

        Returns:
            The ids.

        Raises:
            InputError: A text is blank (the others are stored), a number of metadatas or ids differs, or a
                value cannot be kept as JSON.
        """
        each = list(texts)
        facts = metadatas if metadatas is not None else [{}] * len(each)
        names = [name or str(uuid4()) for name in (ids if ids is not None else [None] * len(each))]
        if not len(each) == len(facts) == len(names):
            raise InputError(
                f"There are {len(each)} texts, {len(facts)} metadatas and {len(names)} ids; give one of each."
            )
        new = {
            name: exchange.document(name, text, fact)
            for name, text, fact in zip(names, each, facts, strict=True)
        }
        self.library.add_documents(new.values())
        return names

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Remove documents; ids that are not stored are passed over.

        Args:
            ids: Of the documents; all if None.
            kwargs: Passed over.

        Raises:
            InputError: An id is that of a later passage of a document that would stay.
        """
        exchange.remove(self.library, self.library.store.sources() if ids is None else ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The stored passages with these ids, in that order; those that are not stored are passed over."""
        return [
            Document(
                id=exchange.passage_id(stored),
                page_content=stored.passage.text,
                metadata=exchange.metadata(stored),
            )
            for stored in exchange.passages_by_id(self.library, ids)
        ]

    def similarity_search(
        self, query: str, k: int = 4, filter: Where | None = None, **kwargs: Any
    ) -> list[Document]:
        """The documents that fit a question best.

        Args:
            query: The question.
            k: How many.
            filter: Conditions that they must meet.
            kwargs: Passed over.

        Raises:
            InputError: The question is empty or too long, or a condition cannot be understood.
        """
        return [document for document, _ in self.similarity_search_with_score(query, k, filter)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Where | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """As `similarity_search`, each with its score, 1 at most."""
        hits = self.library.search(query, k, where=expressions(filter))
        return [(_stored_document(hit), hit.score) for hit in hits]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[Any, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        library: Library | None = None,
        **kwargs: Any,
    ) -> Self:
        """A vector store with these texts.

        Args:
            texts: The texts.
            embedding: Not used: the library's model makes the embeddings.
            metadatas: Of each.
            ids: Of each.
            library: What holds them; required.
            kwargs: Passed over.

        Raises:
            InputError: There is no library.
        """
        if library is None:
            raise InputError(
                "The vector store needs a library; give it as library=clara.Library(model, folder)."
            )
        store = cls(library)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def _select_relevance_score_fn(self) -> Any:
        return lambda score: max(0.0, score)


def _document(placed: Placed) -> Document:
    name, source = placed
    return Document(id=name, page_content=source.text, metadata=exchange.found_metadata(source))


def _stored_document(hit: Hit) -> Document:
    """A hit with what was stored alone, so that what was added comes back as it was."""
    return Document(
        id=exchange.passage_id(hit.stored),
        page_content=hit.stored.passage.text,
        metadata=exchange.metadata(hit.stored),
    )


def _told(placed: Placed) -> dict[str, Any]:
    """A source in the metadata of an answer."""
    name, source = placed
    return {"id": name, "text": source.text, **exchange.found_metadata(source)}


def _question(messages: Sequence[BaseMessage]) -> str:
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return str(message.text)
    raise InputError("The conversation has no question; its last human message is the one that is answered.")


def _stopped(text: str, stop: Sequence[str] | None) -> str:
    """A text as far as the first of the texts that end it."""
    return min((text.split(end)[0] for end in stop or () if end), key=len, default=text)


def _stream_stopped(pieces: Iterable[str], stop: Sequence[str] | None) -> Iterator[str]:
    """The pieces of a text as far as the first of the texts that end it."""
    if not stop:
        yield from pieces
        return
    longest, written, sent = max(map(len, stop)), "", 0
    for piece in pieces:
        written += piece
        kept = _stopped(written, stop)
        # what may still become one of the texts that end it is held back
        until = len(kept) if len(kept) < len(written) else max(sent, len(written) - longest + 1)
        yield written[sent:until]
        sent = until
        if len(kept) < len(written):
            return
    yield written[sent:]
