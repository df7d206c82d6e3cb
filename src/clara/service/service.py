"""Engine, worker and uploads for asynchronous callers: limits of time, cancellation, pieces as they come."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from clara.errors import ClaraError
from clara.records import Answer, Source
from clara.service.engine import Asked, Engine, Found, whole
from clara.service.metrics import Metrics
from clara.service.settings import Settings
from clara.service.tracing import span
from clara.service.uploads import Uploads
from clara.service.worker import Job, Worker

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class NotReadyError(ClaraError):
    """The model cannot be used, or not yet."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """Texts to embed.

    Attributes:
        texts: The texts.
        are_questions: Whether they are questions or passages.
    """

    texts: tuple[str, ...]
    are_questions: bool


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents to order by a question."""

    question: str
    documents: tuple[str, ...]


class Service:
    """What routes and tools call. Between `start` and `stop` requests are taken; they wait for the model.

    Args:
        settings: What is served, and how much of it one client may ask for.

    Attributes:
        has_ended: Whether `stop` left no thread at work.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = Engine(settings)
        self.metrics = Metrics()
        self.uploads = Uploads(self.engine, settings.limits.upload_bytes)
        self.worker = Worker(
            {
                "ask": self._ask,
                "search": self._search,
                "embed": self._embed,
                "rank": self._rank,
                "inspect": self._inspect,
            },
            queue=settings.limits.queue,
            batch=settings.limits.batch,
            observe=self.metrics.batch,
        )
        self.metrics.watch_queue(lambda: self.worker.waiting)
        self.error: ClaraError | None = None
        self.started = time.time()
        self._loaded = threading.Event()
        self._is_stopped = False
        self.has_ended = True

    # life

    def start(self) -> None:
        """Load the model in a thread of its own; this returns at once."""
        threading.Thread(target=self._load, name="clara-load", daemon=True).start()

    def _load(self) -> None:
        try:
            self.engine.load()
            self.worker.start()
            self.uploads.start()
        except ClaraError as error:
            self.error = error
        except Exception as error:
            logger.exception("The model could not be loaded.")
            self.error = NotReadyError(f"The model could not be loaded ({type(error).__name__}).")
        self._loaded.set()

    def stop(self) -> None:
        """Refuse what waits, let the model end what it does, close the stores; see `has_ended`."""
        end = time.monotonic() + self.settings.limits.stop_seconds
        self._is_stopped = True
        has_ended = self.worker.stop(self.settings.limits.stop_seconds)
        has_ended &= self.uploads.stop(max(0.0, end - time.monotonic()))
        if has_ended:
            self.engine.close()
        self.has_ended = has_ended

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded and takes questions."""
        return self._loaded.is_set() and self.error is None and not self._is_stopped

    async def ready(self) -> None:
        """Wait until the model is loaded.

        Raises:
            NotReadyError: It cannot be loaded.
        """
        while not self._loaded.is_set():
            await asyncio.sleep(0.02)
        if self.error is not None:
            raise NotReadyError(str(self.error)) from self.error

    def wait(self) -> None:
        """`ready` for callers that are not asynchronous.

        Raises:
            ClaraError: What kept the model from being loaded.
        """
        self._loaded.wait()
        if self.error is not None:
            raise self.error

    # questions

    async def ask(self, asked: Asked) -> Answer:
        """An answer with its sources."""
        answer: Answer = await self._run("ask", asked)
        return answer

    async def search(self, asked: Asked) -> Found:
        """The passages that fit a question best."""
        found: Found = await self._run("search", asked)
        return found

    async def embed(self, texts: Sequence[str], *, are_questions: bool) -> list[list[float]]:
        """Unit vectors of texts."""
        vectors: list[list[float]] = await self._run("embed", Embedding(tuple(texts), are_questions))
        return vectors

    async def rank(self, question: str, documents: Sequence[str]) -> list[float]:
        """How well each document fits a question."""
        scores: list[float] = await self._run("rank", Ranking(question, tuple(documents)))
        return scores

    async def inspect(self, store: str, number: int) -> dict[str, Any]:
        """What the memory of a passage holds; see `Engine.inspect`."""
        found: dict[str, Any] = await self._run("inspect", (store, number))
        return found

    async def stream(self, asked: Asked) -> AsyncGenerator[tuple[Source, ...] | str | Answer, None]:
        """The sources of an answer, then its text piece by piece, then the answer as a whole.

        Closing the iteration cancels the question.

        Raises:
            TimeoutError: It took too long.
        """
        await self.ready()
        loop = asyncio.get_running_loop()
        end = loop.time() + self.settings.limits.seconds
        pieces: asyncio.Queue[Any] = asyncio.Queue()

        def emit(piece: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        job = self.worker.submit(Job("ask", asked, emit))
        job.result.add_done_callback(lambda _: emit(job))
        try:
            while (piece := await asyncio.wait_for(pieces.get(), end - loop.time())) is not job:
                yield piece
            job.result.result()
        finally:
            job.leave()

    async def in_thread(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Call something of the engine that needs no model, as reading the store, once it is loaded."""
        async with asyncio.timeout(self.settings.limits.seconds):
            await self.ready()
            return await asyncio.to_thread(function, *arguments)

    async def _run(self, kind: str, payload: Any) -> Any:
        async with asyncio.timeout(self.settings.limits.seconds):
            await self.ready()
            job = self.worker.submit(Job(kind, payload))
            try:
                return await asyncio.wrap_future(job.result)
            finally:
                job.leave()

    # what the worker calls

    def _ask(self, jobs: Sequence[Job]) -> list[Any]:
        with span("clara.ask", questions=len(jobs)):
            (first, *others) = jobs
            if not others and first.emit is not None:
                return [self._stream_to(first)]
            answers = self.engine.ask_together([job.payload for job in jobs])
            for job, answer in zip(jobs, answers, strict=True):
                if job.emit is not None and isinstance(answer, Answer):
                    for piece in whole(answer):
                        job.emit(piece)
            return list(answers)

    def _stream_to(self, job: Job) -> Any:
        """Give one question's answer piece by piece, unless its client leaves."""
        emit = job.emit or (lambda _: None)
        last: Any = None
        for piece in self.engine.stream(job.payload):
            if job.is_left:
                break
            emit(piece)
            last = piece
        return last

    def _search(self, jobs: Sequence[Job]) -> list[Any]:
        with span("clara.search", questions=len(jobs)):
            return self.engine.search_together([job.payload for job in jobs])

    def _embed(self, jobs: Sequence[Job]) -> list[Any]:
        """Embed the texts of all jobs, passages and questions each in one go."""
        with span("clara.embed", requests=len(jobs)):
            results: list[Any] = [None] * len(jobs)
            for are_questions in (False, True):
                places = [at for at, job in enumerate(jobs) if job.payload.are_questions == are_questions]
                texts = [text for at in places for text in jobs[at].payload.texts]
                if not texts:
                    continue
                rows = iter(self.engine.embed(texts, are_questions=are_questions).tolist())
                for at in places:
                    results[at] = [next(rows) for _ in jobs[at].payload.texts]
            return results

    def _inspect(self, jobs: Sequence[Job]) -> list[Any]:
        return [_caught(lambda one: self.engine.inspect(*one), job.payload) for job in jobs]

    def _rank(self, jobs: Sequence[Job]) -> list[Any]:
        with span("clara.rank", requests=len(jobs)):
            return [
                _caught(lambda one: self.engine.rerank(one.question, one.documents), job.payload)
                for job in jobs
            ]


def _caught(function: Callable[[Any], Any], payload: Any) -> Any:
    try:
        return function(payload)
    except ClaraError as error:
        return error
