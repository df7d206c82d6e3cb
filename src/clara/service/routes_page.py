"""Routes under `/api`, which the page and the command line call, and the page itself."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncGenerator
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from fastapi.responses import Response as HttpResponse

from clara import __version__
from clara.errors import InputError
from clara.records import Answer, Source, StoredDocument
from clara.service.answers import answer_dict, file_url, name_of, source_dict
from clara.service.engine import Asked, UnknownError, document_id
from clara.service.events import DESCRIPTION, EventStream, begun
from clara.service.followups import with_subject
from clara.service.protocols import AskRequest, SearchRequest
from clara.service.service import Service

Number = Annotated[int, PathParameter(ge=0, le=2**62)]

_PAGE = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
_SHOWN_AS_THEY_ARE = {".pdf": "application/pdf"}
_DOWNLOADED = frozenset({".docx", ".epub", ".zip", ".tar", ".gz", ".bz2", ".xz", ".tgz"})


def page_routes(service: Service) -> APIRouter:
    """The page, its parts, and what it calls."""
    router = APIRouter(tags=["Clara"])
    engine = service.engine

    for path, (file, kind) in _PAGE.items():
        router.add_api_route(f"/{path}", _static(file, kind), include_in_schema=False)

    def check_writes() -> None:
        if not service.settings.allow_writes:
            raise ReadOnlyError("This server only answers; documents are added and removed elsewhere.")

    def asked_of(store: str, body: SearchRequest) -> Asked:
        engine.check_store(store)
        asked = Asked(store, body.question, body.k, tuple(body.where), body.hybrid)
        if not isinstance(body, AskRequest):
            return asked
        return replace(
            asked,
            question=with_subject(body.question, body.before),
            text_passages=body.text_passages,
            reading=body.reading,
            min_confidence=body.min_confidence,
        )

    def with_context(store: str, sources: list[dict[str, Any]], count: int) -> None:
        if count:
            for source in sources:
                around = engine.around(store, source["id"], count)
                source["context"] = [stored.passage.text for stored in around]

    @router.get("/api/info")
    async def info() -> dict[str, Any]:
        """The server: its version, model and stores."""
        return {
            "version": __version__,
            "ready": service.is_ready,
            "error": None if service.error is None else str(service.error),
            "stores": list(engine.paths),
            "writable": service.settings.allow_writes,
            "largest_upload": service.settings.limits.upload_bytes,
            "model": engine.model_info() if service.is_ready else None,
        }

    @router.get("/api/stores/{store}")
    async def store_info(store: str) -> dict[str, Any]:
        """A store in numbers."""
        engine.check_store(store)
        return await service.in_thread(engine.info, store)

    @router.post("/api/stores/{store}/ask", response_model=None, responses=DESCRIPTION)
    async def ask(store: str, body: AskRequest, request: Request) -> HttpResponse | dict[str, Any]:
        """Answer a question; with `stream` as events of the types sources, text and answer."""
        asked = asked_of(store, body)
        base = str(request.base_url)
        if body.stream:
            pieces = await begun(service.stream(asked))
            return EventStream(_ask_events(pieces, store, base))
        answer = await service.ask(asked)
        found = answer_dict(answer, store, base)
        await service.in_thread(with_context, store, found["sources"], body.context)
        return found

    @router.post("/api/stores/{store}/search")
    async def search(store: str, body: SearchRequest, request: Request) -> dict[str, Any]:
        """The passages that fit a question best, and each step that led to them."""
        found = await service.search(asked_of(store, body))
        sources = [source_dict(source, store, str(request.base_url)) for source in found.sources]
        await service.in_thread(with_context, store, sources, body.context)
        return {
            "question": body.question,
            "results": sources,
            "passages": found.passages,
            "allowed": found.allowed,
            "steps": found.steps,
        }

    @router.get("/api/stores/{store}/documents")
    async def documents(store: str, request: Request) -> dict[str, Any]:
        """All documents of a store, and the last files on their way into it."""
        engine.check_store(store)
        found = await service.in_thread(engine.documents, store)
        base = str(request.base_url)
        return {
            "documents": [_document(document, store, base) for document in found],
            "additions": [one.to_dict() for one in service.uploads.all(store)],
        }

    @router.get("/api/stores/{store}/documents/{document}")
    async def document(store: str, document: str, request: Request) -> dict[str, Any]:
        """A document with its text as it was read, passage by passage."""

        def read() -> dict[str, Any]:
            found = engine.document(store, document)
            passages = [
                {"id": stored.id, **asdict(stored.passage), "metadata": dict(stored.passage.metadata)}
                for stored in engine.passages(store, found)
            ]
            return {**_document(found, store, str(request.base_url)), "text": passages}

        engine.check_store(store)
        return await service.in_thread(read)

    @router.delete("/api/stores/{store}/documents/{document}")
    async def remove(store: str, document: str) -> dict[str, Any]:
        """Remove a document; a file that was not uploaded here stays where it is."""
        check_writes()
        engine.check_store(store)

        def forget() -> int:
            source = engine.document(store, document).source
            count = engine.remove(store, [source])
            service.uploads.forget(store, source)
            return count

        return {"removed": await service.in_thread(forget)}

    @router.get("/api/stores/{store}/documents/{document}/file", response_class=FileResponse)
    async def original(store: str, document: str) -> FileResponse:
        """The file of a document: PDF as it is, formats of office programs to keep, the rest as text."""
        engine.check_store(store)
        found = await service.in_thread(engine.document, store, document)
        file = _file(found)
        ending = file.suffix.lower()
        if ending in _DOWNLOADED:
            kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            return FileResponse(file, media_type=kind, filename=file.name)
        kind = _SHOWN_AS_THEY_ARE.get(ending, "text/plain; charset=utf-8")
        return FileResponse(file, media_type=kind, filename=file.name, content_disposition_type="inline")

    @router.post("/api/stores/{store}/uploads/{name}", status_code=202)
    async def upload(store: str, name: str, request: Request) -> dict[str, Any]:
        """Add a file, which is the body; a file of the same name takes the place of an earlier one."""
        check_writes()
        engine.check_store(store)
        await service.ready()
        return (await service.uploads.receive(store, name, request.stream())).to_dict()

    @router.get("/api/additions/{number}")
    async def addition(number: str) -> dict[str, Any]:
        """How far a file is on its way into a store."""
        return service.uploads.get(number).to_dict()

    @router.post("/api/additions/{number}/retry", status_code=202)
    async def retry(number: str) -> dict[str, Any]:
        """Add a file again that could not be added."""
        check_writes()
        return service.uploads.retry(number).to_dict()

    @router.get("/api/stores/{store}/passages/{number}/memory")
    async def memory(store: str, number: Number) -> dict[str, Any]:
        """What the memory of a passage holds: the weight of its words, and the words nearest to its rows."""
        engine.check_store(store)
        return await service.inspect(store, number)

    return router


class ReadOnlyError(InputError):
    """The server takes no documents."""


def _static(file: str, kind: str) -> Any:
    content = resources.files("clara.service").joinpath("page", file).read_bytes()

    async def serve() -> HttpResponse:
        return HttpResponse(content, media_type=kind, headers={"cache-control": "no-cache"})

    return serve


async def _ask_events(
    pieces: AsyncGenerator[tuple[Source, ...] | str | Answer, None], store: str, base: str
) -> AsyncGenerator[dict[str, Any], None]:
    """Pieces of an answer as events."""
    try:
        async for piece in pieces:
            if isinstance(piece, tuple):
                yield {"type": "sources", "sources": [source_dict(one, store, base) for one in piece]}
            elif isinstance(piece, str):
                yield {"type": "text", "text": piece}
            else:
                yield {"type": "answer", "answer": answer_dict(piece, store, base)}
    finally:
        await pieces.aclose()


def _document(document: StoredDocument, store: str, base: str) -> dict[str, Any]:
    try:
        file: Path | None = _file(document)
    except UnknownError:
        file = None
    return {
        "id": document_id(document.source),
        "name": name_of(document.source),
        "title": document.title,
        "passages": document.num_passages,
        "modified": document.modified,
        "size": None if file is None else file.stat().st_size,
        "url": None if file is None else file_url(base, store, document),
    }


def _file(document: StoredDocument) -> Path:
    """The file that a document was read from.

    Raises:
        UnknownError: It is gone, or there never was one.
    """
    from clara.documents import file_of

    file = Path(file_of(document.source))
    try:
        if file.is_absolute() and file.is_file():
            return file
    except (OSError, ValueError):
        pass
    raise UnknownError(f"The file of {name_of(document.source)} is not there any more.")
