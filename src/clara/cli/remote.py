"""`clara ask` and `clara search` through a running server, which has the model loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from clara.records import Source
from clara.service.client import Client, UnreachableError
from clara.service.running import model_mark, serving


def find_client(
    store: Path, model: str | None, subfolder: str | None, base: str | None, device: str | None
) -> Client | None:
    """A running server of the same store and model; None where there is none, or a device is asked for."""
    if device is not None:
        return None
    note = serving(store, model_mark(model, subfolder, base))
    return None if note is None else Client(note, note.names[str(store.resolve())])


def ask_remotely(client: Client, question: str, *, as_json: bool, **options: Any) -> None:
    """Print the answer of a server as `clara ask` prints its own.

    Raises:
        UnreachableError: The server does not answer; nothing is printed.
    """
    from clara.rendering.answers import print_answer
    from clara.rendering.basics import print_json

    answer, around = client.ask(question, **_given(options))
    if as_json:
        print_json({**answer.to_dict(), "sources": as_dicts(answer.sources, around)})
    else:
        print_answer(answer, around)


def search_remotely(client: Client, question: str, *, explain: bool, as_json: bool, **options: Any) -> None:
    """Print what a server finds as `clara search` prints its own.

    Raises:
        UnreachableError: The server does not answer; nothing is printed.
    """
    from clara.rendering.answers import print_nothing_found, print_sources, print_steps
    from clara.rendering.basics import print_json

    sources, around, more = client.search(question, **_given(options))
    if as_json:
        steps = {"steps": more["steps"]} if explain else {}
        print_json({"question": question, "results": as_dicts(sources, around), **steps})
        return
    found: Any = SimpleNamespace(
        passages=more["passages"],
        allowed=more["allowed"],
        steps=[
            SimpleNamespace(**{**step, "candidates": [SimpleNamespace(**one) for one in step["candidates"]]})
            for step in more["steps"]
        ],
    )
    if not sources:
        print_nothing_found(found)
    print_sources(sources, around, full=True)
    if explain:
        print_steps(found)


def tried(action: Callable[[], None]) -> bool:
    """Whether an action that asks a server was done; False if the server does not answer."""
    try:
        action()
    except UnreachableError:
        return False
    return True


def as_dicts(sources: Iterable[Source], around: dict[int, list[str]]) -> Sequence[dict[str, Any]]:
    """Sources for JSON, with the passages around them."""
    return [
        asdict(source) | ({"context": around[source.id]} if source.id in around else {}) for source in sources
    ]


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
