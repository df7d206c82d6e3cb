"""`/v1/responses`: a body, or the events that build it up."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any
from uuid import uuid4

from clara.records import Answer, Source
from clara.service.answers import cited, name_of, text_of
from clara.service.engine import document_id
from clara.service.protocols import ResponsesRequest

Usage = dict[str, Any]


class Response:
    """One response.

    Args:
        request: What was asked.
        question: The question within it, as it is searched for.
    """

    def __init__(self, request: ResponsesRequest, question: str) -> None:
        self._request = request
        self._question = question
        self._id = f"resp_{uuid4().hex}"
        self._search_id, self._message_id = f"fs_{uuid4().hex}", f"msg_{uuid4().hex}"
        self._created = int(time.time())
        self._numbers = count()

    def body(self, answer: Answer, usage: Usage) -> dict[str, Any]:
        """The whole response."""
        output = [self._search(answer.sources), self._message(self._content(answer))]
        return self._resource("completed", output, usage)

    async def events(
        self,
        pieces: AsyncIterator[tuple[Source, ...] | str | Answer],
        usage: Callable[[Answer], Usage],
    ) -> AsyncIterator[dict[str, Any]]:
        """The events of a stream, in order.

        Args:
            pieces: Of `Service.stream`.
            usage: Counts the tokens of an answer.
        """
        yield self._event("response.created", response=self._resource("in_progress", [], None))
        yield self._event("response.in_progress", response=self._resource("in_progress", [], None))
        search: dict[str, Any] | None = None
        has_text = False
        answer: Answer | None = None
        part = {"item_id": self._message_id, "output_index": 1, "content_index": 0}
        async for piece in pieces:
            if isinstance(piece, tuple):
                search = self._search(piece)
                for name, status in (("added", "in_progress"), ("done", "completed")):
                    item = {**search, "status": status}
                    yield self._event(f"response.output_item.{name}", output_index=0, item=item)
                started = self._message([], "in_progress")
                yield self._event("response.output_item.added", output_index=1, item=started)
                yield self._event("response.content_part.added", **part, part=self._part("", []))
            elif isinstance(piece, str):
                has_text = True
                yield self._event("response.output_text.delta", **part, delta=piece, logprobs=[])
            else:
                answer = piece
        if answer is None or search is None:
            return
        text = text_of(answer)
        if not has_text:
            yield self._event("response.output_text.delta", **part, delta=text, logprobs=[])
        (content,) = self._content(answer)
        for number, annotation in enumerate(content["annotations"]):
            yield self._event(
                "response.output_text.annotation.added",
                **part,
                annotation_index=number,
                annotation=annotation,
            )
        yield self._event("response.output_text.done", **part, text=text, logprobs=[])
        yield self._event("response.content_part.done", **part, part=content)
        message = self._message([content])
        yield self._event("response.output_item.done", output_index=1, item=message)
        whole = self._resource("completed", [search, message], usage(answer))
        yield self._event("response.completed", response=whole)

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "sequence_number": next(self._numbers), **fields}

    def _search(self, sources: tuple[Source, ...]) -> dict[str, Any]:
        return {
            "id": self._search_id,
            "type": "file_search_call",
            "status": "completed",
            "queries": [self._question],
            "results": [
                {
                    "file_id": document_id(source.file),
                    "filename": name_of(source.file),
                    "score": source.score,
                    "text": source.text,
                    "attributes": dict(source.metadata),
                }
                for source in sources
            ],
        }

    def _message(self, content: list[dict[str, Any]], status: str = "completed") -> dict[str, Any]:
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _content(self, answer: Answer) -> list[dict[str, Any]]:
        text = text_of(answer)
        citations = [
            {
                "type": "file_citation",
                "file_id": document_id(source.file),
                "filename": name_of(source.file),
                "index": len(text),
            }
            for source in cited(answer)
        ]
        return [self._part(text, citations)]

    def _part(self, text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}

    def _resource(self, status: str, output: list[dict[str, Any]], usage: Usage | None) -> dict[str, Any]:
        """The response as it stands; what says nothing here has its default in the protocol."""
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": self._request.instructions,
            "max_output_tokens": self._request.max_output_tokens,
            "max_tool_calls": None,
            "metadata": self._request.metadata or {},
            "model": self._request.model,
            "output": output,
            "parallel_tool_calls": False,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "previous_response_id": None,
            "prompt_cache_key": None,
            "reasoning": None,
            "safety_identifier": None,
            "service_tier": "default",
            "store": False,
            "temperature": 0.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_logprobs": 0,
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": usage,
        }


def usage_of(question: int, answer: int) -> Usage:
    """Tokens as this protocol counts them."""
    return {
        "input_tokens": question,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": question + answer,
    }
