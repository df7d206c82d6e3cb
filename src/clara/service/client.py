"""Asking a running server from a command; with the standard library alone, so that it starts at once."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from clara.errors import ClaraError, InputError
from clara.records import Answer, Evidence, Source
from clara.service.running import Note

_SECONDS = 300.0


class UnreachableError(ClaraError):
    """The server does not answer, or is busy or stopping."""


class Client:
    """Asks one store of a server.

    Args:
        note: The server.
        store: Name of the store.
    """

    def __init__(self, note: Note, store: str) -> None:
        self._note = note
        self._store = store

    def ask(self, question: str, **options: Any) -> tuple[Answer, dict[int, list[str]]]:
        """An answer, and texts of the passages around its sources by their numbers.

        Raises:
            InputError: The server cannot use the question.
            UnreachableError: It does not answer.
        """
        found = self._post("ask", {"question": question, **options})
        sources = found.pop("sources")
        answer = Answer(
            found["question"],
            found["text"],
            tuple(map(_source, sources)),
            found["confidence"],
            found["taken_from"],
            found["is_doubtful"],
            found["probability"],
        )
        return answer, _around(sources)

    def search(
        self, question: str, **options: Any
    ) -> tuple[list[Source], dict[int, list[str]], dict[str, Any]]:
        """Passages, texts around them by their numbers, and what else the server told of the search.

        Raises:
            InputError: The server cannot use the question.
            UnreachableError: It does not answer.
        """
        found = self._post("search", {"question": question, **options})
        sources = found.pop("results")
        return list(map(_source, sources)), _around(sources), found

    def _post(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        parts = urlsplit(self._note.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SECONDS)
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._note.key}"}
        try:
            connection.request(
                "POST", f"/api/stores/{quote(self._store)}/{what}", json.dumps(body).encode(), headers
            )
            response = connection.getresponse()
            found: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnreachableError(f"The server {self._note.url} does not answer.") from error
        finally:
            connection.close()
        if response.status == 400:
            raise InputError(found["error"]["message"])
        if response.status != 200:
            raise UnreachableError(f"The server {self._note.url} answers with {response.status}.")
        return found


def _source(values: dict[str, Any]) -> Source:
    """A source as it was before it became JSON."""
    evidence = values["evidence"]
    if evidence is not None:
        place = evidence["answer"]
        evidence = Evidence(
            evidence["text"], evidence["start"], evidence["stop"], None if place is None else tuple(place)
        )
    return Source(
        id=values["id"],
        file=values["file"],
        title=values["title"],
        heading=values["heading"],
        page=values["page"],
        lines=None if values["lines"] is None else tuple(values["lines"]),
        text=values["text"],
        score=values["score"],
        rank=values["rank"],
        read_as=values["read_as"],
        metadata=values["metadata"],
        evidence=evidence,
        also_in=tuple(values["also_in"]),
    )


def _around(sources: Sequence[dict[str, Any]]) -> dict[int, list[str]]:
    return {source["id"]: source["context"] for source in sources if "context" in source}
