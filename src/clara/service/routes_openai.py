"""Routes under `/v1` and `/rerank`: what OpenAI's, Jina's and Cohere's clients call."""

from __future__ import annotations

import base64
from typing import Any
from uuid import uuid4

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response as HttpResponse

from clara.errors import InputError
from clara.records import Answer, Source
from clara.service.answers import name_of, text_of
from clara.service.engine import Asked, UnknownError, document_id
from clara.service.events import DESCRIPTION, EventStream, begun
from clara.service.openai_chat import Chat, task_answer
from clara.service.openai_responses import Response, usage_of
from clara.service.protocols import (
    ChatRequest,
    EmbeddingsRequest,
    RerankRequest,
    ResponsesRequest,
    VectorSearchRequest,
    conditions,
    question_of,
)
from clara.service.service import Service

MODEL = "clara"
"""Name of the model that asks the default store; MODEL/NAME asks the store of that name."""


def openai_routes(service: Service) -> APIRouter:
    """The routes, answered by a service."""
    router = APIRouter(tags=["OpenAI"])
    engine = service.engine

    def store_of(model: str) -> str:
        """The store that a model's name asks."""
        family, _, name = model.partition("/")
        if family != MODEL or (name and name not in engine.paths):
            raise UnknownError(f"There is no model {model!r}; see /v1/models.")
        return name or engine.default_store

    def chat_usage(question: str, answer: Answer) -> dict[str, Any]:
        asked, written = engine.count_tokens(question), engine.count_tokens(text_of(answer))
        return {"prompt_tokens": asked, "completion_tokens": written, "total_tokens": asked + written}

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The model, which asks the default store, and one entry per store."""
        names = [MODEL, *(f"{MODEL}/{name}" for name in engine.paths)]
        return {"object": "list", "data": [_model(name, service.started) for name in names]}

    @router.get("/v1/models/{model:path}")
    async def model(model: str) -> dict[str, Any]:
        """One of the models."""
        store_of(model)
        return _model(model, service.started)

    @router.post("/v1/chat/completions", response_model=None, responses=DESCRIPTION)
    async def chat(body: ChatRequest, request: Request) -> HttpResponse | dict[str, Any]:
        """Answer the last user message from the documents of the store that the model's name names."""
        store = store_of(body.model)
        lists = service.settings.list_sources if body.list_sources is None else body.list_sources
        completion = Chat(body.model, store, str(request.base_url), lists_sources=lists)
        task = task_answer(body.messages)
        if task is not None:
            return (
                EventStream(completion.task_chunks(task), ends=True)
                if body.stream
                else completion.task_body(task)
            )
        question = question_of(body.messages)
        asked = Asked(store, question, max_new_tokens=body.longest)
        if body.stream:
            pieces = await begun(service.stream(asked))
            wants_usage = body.stream_options is not None and body.stream_options.include_usage
            usage = (lambda answer: chat_usage(question, answer)) if wants_usage else None
            return EventStream(completion.chunks(pieces, usage), ends=True)
        answer = await service.ask(asked)
        return completion.body(answer, chat_usage(question, answer))

    @router.post("/v1/responses", response_model=None, responses=DESCRIPTION)
    async def responses(body: ResponsesRequest, request: Request) -> HttpResponse | dict[str, Any]:
        """The same as a response: a search of files, then a message that cites them."""
        question = question_of(body.messages)
        asked = Asked(store_of(body.model), question, max_new_tokens=body.longest)
        response = Response(body, question)

        def usage(answer: Answer) -> dict[str, Any]:
            return usage_of(engine.count_tokens(question), engine.count_tokens(text_of(answer)))

        if body.stream:
            pieces = await begun(service.stream(asked))
            return EventStream(response.events(pieces, usage), named=True, ends=True)
        answer = await service.ask(asked)
        return response.body(answer, usage(answer))

    @router.post("/v1/embeddings")
    async def embeddings(body: EmbeddingsRequest) -> dict[str, Any]:
        """Unit vectors of passages, or of questions with `input_type` "query"."""
        store_of(body.model)
        texts = [body.input] if isinstance(body.input, str) else body.input
        are_questions = body.input_type in ("query", "search_query")
        rows = await service.embed(texts, are_questions=are_questions)
        data = [
            {"object": "embedding", "index": number, "embedding": _vector(row, body)}
            for number, row in enumerate(rows)
        ]
        count = sum(map(engine.count_tokens, texts))
        usage = {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "data": data, "model": body.model, "usage": usage}

    @router.post("/rerank")
    @router.post("/v1/rerank", operation_id="rerank_v1")
    @router.post("/v2/rerank", operation_id="rerank_v2")
    async def rerank(body: RerankRequest) -> dict[str, Any]:
        """Order documents by how well they fit a question."""
        store_of(body.model)
        texts = [one if isinstance(one, str) else one.text for one in body.documents]
        scores = await service.rank(body.query, texts)
        order = sorted(range(len(texts)), key=lambda at: -scores[at])[: body.top_n]
        results: list[dict[str, Any]] = [{"index": at, "relevance_score": scores[at]} for at in order]
        if body.return_documents:
            for result in results:
                result["document"] = {"text": texts[result["index"]]}
        count = sum(map(engine.count_tokens, texts))
        return {
            "id": f"rerank-{uuid4().hex}",
            "model": body.model,
            "usage": {"total_tokens": count},
            "results": results,
        }

    @router.post("/v1/vector_stores/{store}/search")
    async def vector_search(store: str, body: VectorSearchRequest) -> dict[str, Any]:
        """Passages of a store that fit a question."""
        engine.check_store(store)
        queries = [body.query] if isinstance(body.query, str) else body.query
        where = conditions(body.filters)
        found: dict[int, Source] = {}
        for query in queries:
            asked = Asked(store, query, k=body.max_num_results, where=where)
            result = await service.search(asked)
            for source in result.sources:
                if source.id not in found or source.score > found[source.id].score:
                    found[source.id] = source
        best = sorted(found.values(), key=lambda one: -one.score)[: body.max_num_results]
        return {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": [
                {
                    "file_id": document_id(source.file),
                    "filename": name_of(source.file),
                    "score": source.score,
                    "attributes": dict(source.metadata),
                    "content": [{"type": "text", "text": source.text}],
                }
                for source in best
            ],
            "has_more": False,
            "next_page": None,
        }

    return router


def _model(name: str, created: float) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(created), "owned_by": "clara"}


def _vector(row: list[float], body: EmbeddingsRequest) -> list[float] | str:
    """A vector as the client wants it: cut to its first numbers and of unit length again, as bytes."""
    vector = np.array(row, "<f4")
    if body.dimensions is not None:
        if body.dimensions > len(vector):
            raise InputError(f"The vectors have {len(vector)} dimensions, not {body.dimensions}.")
        vector = vector[: body.dimensions]
        vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
    if body.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
