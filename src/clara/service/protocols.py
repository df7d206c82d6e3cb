"""The bodies of requests, as OpenAI's, Jina's and Cohere's clients and the page send them.

What a client sends besides is passed over: clients send much that says nothing here, as temperatures. A field
that is null counts as one that is not sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from clara.errors import InputError
from clara.service.followups import with_subject

Question = Annotated[str, Field(min_length=1, max_length=20_000)]
Count = Annotated[int, Field(ge=1, le=100)]
Text = Annotated[str, Field(max_length=200_000)]
Length = Annotated[int, Field(ge=1)]
Value = Annotated[str, Field(max_length=512)]

_LONGEST = 4096
"""Tokens of the longest answer; clients that allow more get no more."""

_DEEPEST = 20
"""How deep filters may be nested."""


class Body(BaseModel):
    """Of any request."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if value is not None}
        return values


class Part(Body):
    """A part of a message; only texts are read."""

    type: str = "text"
    text: Text = ""


class Message(Body):
    """A message of a conversation."""

    role: str = "user"
    content: Text | list[Text | Part] = ""

    @property
    def words(self) -> str:
        """Its text."""
        if isinstance(self.content, str):
            return self.content
        parts = (part if isinstance(part, str) else part.text for part in self.content)
        return "\n".join(part for part in parts if part)


class StreamOptions(Body):
    """What a stream holds besides the answer."""

    include_usage: bool = False


class ChatRequest(Body):
    """Of `/v1/chat/completions`."""

    model: str = "clara"
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Length | None = None
    max_completion_tokens: Length | None = None
    n: Annotated[int, Field(ge=1, le=1)] = 1
    stop: str | list[str] = []
    list_sources: bool | None = None

    @property
    def longest(self) -> int | None:
        """Tokens of the longest answer."""
        return _within(self.max_completion_tokens or self.max_tokens)


class ResponsesRequest(Body):
    """Of `/v1/responses`."""

    model: str = "clara"
    input: Text | Annotated[list[Message], Field(min_length=1, max_length=1000)]
    instructions: Text | None = None
    stream: bool = False
    max_output_tokens: Length | None = None
    metadata: Annotated[dict[Value, Value], Field(max_length=16)] | None = None

    @property
    def longest(self) -> int | None:
        """Tokens of the longest answer."""
        return _within(self.max_output_tokens)

    @property
    def messages(self) -> list[Message]:
        """The input as messages."""
        return [Message(content=self.input)] if isinstance(self.input, str) else self.input


class EmbeddingsRequest(Body):
    """Of `/v1/embeddings`; `input_type` says whether questions or passages are embedded."""

    model: str = "clara"
    input: Question | Annotated[list[Question], Field(min_length=1, max_length=512)]

    @field_validator("input", mode="before")
    @classmethod
    def _no_tokens(cls, texts: Any) -> Any:
        if isinstance(texts, list) and texts and isinstance(texts[0], int | list):
            raise ValueError("numbers of tokens are another model's; send the text itself")
        return texts

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

    text_passages: Annotated[int, Field(ge=0, le=100)] | Literal["auto"] | None = None
    reading: Literal["joint", "separate"] | None = None
    min_confidence: Annotated[float, Field(ge=0, le=1)] | None = None
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


def conditions(filters: dict[str, Any] | None, depth: int = 0) -> tuple[str, ...]:
    """OpenAI's filters as conditions of a search.

    Raises:
        InputError: They cannot be expressed: "or", or an unknown comparison.
    """
    if not filters:
        return ()
    kind = filters.get("type")
    if kind == "and" and isinstance(filters.get("filters"), list) and depth < _DEEPEST:
        parts = [one for one in filters["filters"] if isinstance(one, dict)]
        return tuple(condition for one in parts for condition in conditions(one, depth + 1))
    key, value = filters.get("key"), filters.get("value")
    if (
        not isinstance(kind, str)
        or kind not in _OPERATORS
        or not isinstance(key, str)
        or not isinstance(value, str | int | float | bool)
    ):
        raise InputError(
            'The filters must be {"type": "eq", "key": ..., "value": ...}, with eq, ne, gt, gte, lt or lte, '
            'or several of these in {"type": "and", "filters": [...]}.'
        )
    return (f"{key}{_OPERATORS[kind]}{value}",)


def _within(tokens: int | None) -> int | None:
    return None if tokens is None else min(tokens, _LONGEST)
