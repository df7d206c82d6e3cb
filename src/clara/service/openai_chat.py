"""`/v1/chat/completions`: bodies and chunks, with the sources as Open WebUI reads them."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from clara.records import Answer, Source
from clara.service.answers import cited, file_url, name_of, source_list, text_of
from clara.service.protocols import Message

TASK = "### Task:"
"""How Open WebUI's own prompts begin, which ask for a conversation's title, tags and follow-up questions."""


class Chat:
    """One completion.

    Args:
        model: As the client named it.
        store: Name of the store that is asked.
        base: Address of the server, for links.
        lists_sources: Whether a list of sources stands behind the answer.
    """

    def __init__(self, model: str, store: str, base: str, *, lists_sources: bool) -> None:
        self._model, self._store, self._base = model, store, base
        self._lists_sources = lists_sources
        self._head = {
            "id": f"chatcmpl-{uuid4().hex}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": None,
        }

    def body(self, answer: Answer, usage: dict[str, Any]) -> dict[str, Any]:
        """The whole completion."""
        text = text_of(answer)
        annotations = self._annotations(answer, len(text))
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": text + self._list(answer.sources),
                        "refusal": None,
                        "annotations": annotations,
                    },
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": usage,
        }

    async def chunks(
        self, pieces: AsyncIterator[tuple[Source, ...] | str | Answer], usage: Any = None
    ) -> AsyncIterator[dict[str, Any]]:
        """The completion piece by piece; the first one carries the sources.

        Args:
            pieces: Of `Service.stream`.
            usage: Counts the tokens of an answer, where the client wants that.
        """
        has_text = False
        answer: Answer | None = None
        async for piece in pieces:
            if isinstance(piece, tuple):
                yield self._chunk({"role": "assistant", "content": ""}) | self._event(piece)
            elif isinstance(piece, str):
                has_text = True
                yield self._chunk({"content": piece})
            else:
                answer = piece
        if answer is not None:
            if not has_text:
                yield self._chunk({"content": text_of(answer)})
            if listed := self._list(answer.sources):
                yield self._chunk({"content": listed})
        yield self._chunk({}, "stop")
        if usage is not None and answer is not None:
            yield {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage(answer)}

    def task_body(self, text: str) -> dict[str, Any]:
        """A completion without sources."""
        return self.body(
            Answer("", text, ()), {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        )

    async def task_chunks(self, text: str) -> AsyncIterator[dict[str, Any]]:
        """The same as a stream."""
        yield self._chunk({"role": "assistant", "content": text})
        yield self._chunk({}, "stop")

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def _event(self, sources: tuple[Source, ...]) -> dict[str, Any]:
        """Sources as Open WebUI shows them; its pages count from 0, and higher distances are better."""
        if not sources:
            return {}
        first = sources[0]
        return {
            "event": {
                "type": "source",
                "data": {
                    "source": {
                        "id": self._store,
                        "name": name_of(first.file),
                        "url": file_url(self._base, self._store, first),
                    },
                    "document": [source.text for source in sources],
                    "metadata": [
                        {
                            "source": name_of(source.file),
                            "name": name_of(source.file),
                            "source_url": file_url(self._base, self._store, source),
                            **({} if source.page is None else {"page": source.page - 1}),
                        }
                        for source in sources
                    ],
                    "distances": [source.score for source in sources],
                },
            }
        }

    def _annotations(self, answer: Answer, length: int) -> list[dict[str, Any]]:
        return [
            {
                "type": "url_citation",
                "url_citation": {
                    "url": file_url(self._base, self._store, source),
                    "title": source.title or name_of(source.file),
                    "start_index": 0,
                    "end_index": length,
                },
            }
            for source in cited(answer)
        ]

    def _list(self, sources: tuple[Source, ...]) -> str:
        return source_list(sources, self._store, self._base) if self._lists_sources else ""


def task_answer(messages: list[Message]) -> str | None:
    """What a prompt of Open WebUI's own gets, without asking the model; None for all others."""
    prompt = messages[-1].words.lstrip()
    if messages[-1].role != "user" or not prompt.startswith(TASK):
        return None
    if "follow_ups" in prompt:
        return json.dumps({"follow_ups": []})
    if '"tags"' in prompt:
        return json.dumps({"tags": ["Documents"]})
    if '"queries"' in prompt:
        return json.dumps({"queries": []})
    if '"title"' in prompt:
        said = prompt.partition("<chat_history>")[2].partition("USER:")[2].strip()
        return json.dumps({"title": " ".join(said.partition("\n")[0].split())[:60] or "Documents"})
    return ""
