"""The bodies of requests, as OpenAI's, Jina's and Cohere's clients and the page send them.

What a client sends besides is passed over: clients send much that says nothing here, as temperatures.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from clara.errors import InputError
from clara.service.followups import with_subject

Question = Annotated[str, Field(min_length=1, max_length=20_000)]
Count = Annotated[int, Field(ge=1, le=100)]
Text = Annotated[str, Field(max_length=200_000)]


class Body(BaseModel):
    """Of any request."""

    model_config = ConfigDict(extra="ignore")


class Part(Body):
    """A part of a message; only texts are read."""

    type: str = "text"
    text: Text = ""


class Message(Body):
    """A message of a conversation."""

    role: str = "user"
    content: Text | list[Part] | None = None

    @property
    def words(self) -> str:
        """Its text."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class StreamOptions(Body):
    """What a stream holds besides the answer."""

    include_usage: bool = False


class ChatRequest(Body):
    """Of `/v1/chat/completions`."""

    model: str = "clara"
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    list_sources: bool | None = None


class ResponsesRequest(Body):
    """Of `/v1/responses`."""

    model: str = "clara"
    input: Text | Annotated[list[Message], Field(min_length=1, max_length=1000)]
    instructions: str | None = None
    stream: bool = False
    max_output_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    metadata: dict[str, Any] | None = None

    @property
    def messages(self) -> list[Message]:
        """The input as messages."""
        return [Message(content=self.input)] if isinstance(self.input, str) else self.input


class EmbeddingsRequest(Body):
    """Of `/v1/embeddings`; `input_type` says whether questions or passages are embedded."""

    model: str = "clara"
    input: Question | Annotated[list[Question], Field(min_length=1, max_length=512)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, le=100_000)] | None = None
    input_type: Literal["query", "search_query", "passage", "document", "search_document"] = "passage"


class RerankDocument(Body):
    """A document as an object."""

    text: Question


class RerankRequest(Body):
    """Of `/rerank`."""

    model: str = "clara"
    query: Question
    documents: Annotated[list[Question | RerankDocument], Field(min_length=1, max_length=512)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = True


class VectorSearchRequest(Body):
    """Of `/v1/vector_stores/{store}/search`."""

    query: Question | Annotated[list[Question], Field(min_length=1, max_length=8)]
    filters: dict[str, Any] | None = None
    max_num_results: Annotated[int, Field(ge=1, le=50)] = 10


class SearchRequest(Body):
    """Of the page's search."""

    question: Question
    k: Count | None = None
    where: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=20)] = []
    hybrid: bool | None = None
    context: Annotated[int, Field(ge=0, le=20)] = 0


class AskRequest(SearchRequest):
    """Of the page's question; `before` are the questions before it, oldest first."""

    text_passages: Annotated[int, Field(ge=0, le=100)] | None = None
    stream: bool = False
    before: Annotated[list[Text], Field(max_length=100)] = []


def question_of(messages: list[Message]) -> str:
    """The question of a conversation: its last user message, with the subject of earlier ones if need be.

    Raises:
        InputError: No user message holds text.
    """
    asked = [message.words.strip() for message in messages if message.role == "user"]
    if not asked or not asked[-1]:
        raise InputError("The last user message holds no text; ask something.")
    return with_subject(asked[-1], [one for one in asked[:-1] if one])


_OPERATORS = {"eq": "=", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def conditions(filters: dict[str, Any] | None) -> tuple[str, ...]:
    """OpenAI's filters as conditions of a search.

    Raises:
        InputError: They cannot be expressed: "or", or an unknown comparison.
    """
    if not filters:
        return ()
    kind = filters.get("type")
    if kind == "and" and isinstance(filters.get("filters"), list):
        parts = [one for one in filters["filters"] if isinstance(one, dict)]
        return tuple(condition for one in parts for condition in conditions(one))
    key, value = filters.get("key"), filters.get("value")
    if kind not in _OPERATORS or not isinstance(key, str) or not isinstance(value, str | int | float | bool):
        raise InputError(
            'The filters must be {"type": "eq", "key": ..., "value": ...}, with eq, ne, gt, gte, lt or lte, '
            'or several of these in {"type": "and", "filters": [...]}.'
        )
    return (f"{key}{_OPERATORS[str(kind)]}{value}",)
