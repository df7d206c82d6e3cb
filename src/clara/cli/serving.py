"""`clara serve`, `clara mcp` and `clara chat`: a model that stays loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clara.cli.options import (
    DEFAULT_STORE,
    BaseOption,
    CountOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    StoreOption,
    SubfolderOption,
    check_store,
    open_library,
)
from clara.cli.questions import check_question
from clara.errors import ClaraError, InputError, MissingExtraError
from clara.models.stored import model_of

if TYPE_CHECKING:
    from clara.records import Answer
    from clara.service.running import Note

_START_SECONDS = 300.0
_STOP_SECONDS = 30.0

StoresOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--store",
        "-s",
        envvar="CLARA_STORE",
        help="Folder of a store [default: clara-store]; repeatable. A missing store is created.",
    ),
]


def serve(
    store: StoresOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 selects a free one.")] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(envvar="CLARA_API_KEY", help="Key that clients must send; repeatable."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Additional host name that clients may use, such as that of a proxy; repeatable."),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            help="Origin that may call the server from a browser, such as https://example.org; repeatable."
        ),
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse changes to the stores.")] = False,
    list_sources: Annotated[
        bool, typer.Option("--list-sources", help="Append the sources to chat answers.")
    ] = False,
    queue: Annotated[int, typer.Option(min=1, help="Maximum number of waiting requests.")] = 256,
    timeout: Annotated[float, typer.Option(min=1, help="Time limit of a request, in seconds.")] = 120.0,
    background: Annotated[
        bool,
        typer.Option("--background", help="Start the server in the background and return when it is ready."),
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the server of the store.")] = False,
    status: Annotated[bool, typer.Option("--status", help="List running servers.")] = False,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve over HTTP: a web page, OpenAI's protocols and MCP. `clara ask` uses a running server."""
    from clara.service.running import notes, serving
    from clara.service.running import stop as end

    stores = store or [DEFAULT_STORE]
    if status:
        _print_status(notes(), as_json=as_json)
        return
    if stop:
        running = serving(stores[0])
        if running is None:
            raise InputError(f"No server is running for {stores[0]}; list servers with: clara serve --status")
        end(running, _STOP_SECONDS)
        typer.echo(f"Stopped {running.url}.")
        return
    running = serving(stores[0]) if background else None
    if running is not None:
        _tell(running.url, as_json=as_json)
        return
    from clara.service.settings import Limits, Settings

    keys = tuple(key.strip() for one in api_key or () for key in one.split(",") if key.strip())
    settings = Settings(
        stores=stores,
        model=model_of(stores[0], model),
        subfolder=subfolder,
        base=base,
        device=device,
        host=host,
        port=port,
        keys=keys,
        hosts=allow_host or (),
        origins=cors or (),
        allow_writes=not read_only,
        list_sources=list_sources,
        limits=Limits(queue=queue, seconds=timeout),
    )
    _require("uvicorn", "fastapi", "mcp", "prometheus_client")
    if background:
        _tell(_start(settings, queue, timeout), as_json=as_json)
        return
    from clara.service.serving import serve as run

    run(settings, lambda url: _tell(url, as_json=as_json), os.environ.get("CLARA_SERVER_LOG"))


def mcp(
    store: StoresOption = None,
    allow_writes: Annotated[
        bool, typer.Option("--allow-writes", help="Allow agents to add and remove documents.")
    ] = False,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
) -> None:
    """Serve an agent over MCP on standard input and output: search, fetch, ask, list documents."""
    import gc

    gc.disable()  # importing the protocol makes many objects that stay: collecting delays the first answer
    from clara.service.settings import Settings

    stores = store or [DEFAULT_STORE]
    for one in stores:
        check_store(one)
    model = model_of(stores[0], model)
    settings = Settings(stores, model, subfolder, base, device, allow_writes=allow_writes)
    _require("mcp")
    from clara.service.agents import serve_stdio
    from clara.service.service import Service

    gc.freeze()
    gc.enable()
    serve_stdio(Service(settings), allow_writes=allow_writes)


def chat(
    store: StoreOption = DEFAULT_STORE,
    k: CountOption = None,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
) -> None:
    """Ask questions interactively, with follow-up questions, history and completion."""
    from clara.cli.remote import find_client

    check_store(store)
    model = model_of(store, model)
    client = find_client(store, model, subfolder, base, device)
    if client is not None:
        _converse(store, lambda question: client.ask(question, **({} if k is None else {"k": k}))[0])
        return
    with open_library(store, model, subfolder, base, device) as library:
        _converse(store, lambda question: library.ask(question, k))


_HELP = (
    "/sources shows the passages in full, /documents lists documents, /new starts a new subject, /quit exits."
)


def _converse(store: Path, ask: Callable[[str], Answer]) -> None:
    """Read questions until the input ends; a person has a prompt with history and completion."""
    from clara.rendering.answers import print_answer, print_sources
    from clara.rendering.basics import one_line, short
    from clara.service.followups import with_subject

    documents = _documents(store)
    is_person = sys.stdin.isatty()
    if is_person:
        _edit_lines([*(one.title for one in documents), "/sources", "/documents", "/new", "/help", "/quit"])
        typer.echo(f"Ask {store}; {_HELP}", err=True)
    before: list[str] = []
    last: Answer | None = None
    while (line := _line(is_person=is_person)) is not None:
        match line:
            case "":
                continue
            case "/quit" | "/exit":
                return
            case "/help":
                typer.echo(_HELP)
            case "/new":
                before.clear()
            case "/documents":
                for one in documents:
                    typer.echo(f"{one_line(one.title)}  {short(one.source)}")
            case "/sources":
                print_sources(last.sources if last else (), full=True)
            case _:
                try:
                    check_question(line)
                    question = with_subject(line, before)
                    if question != line:
                        typer.echo(f"Asked as: {one_line(question)}", err=True)
                    last = ask(question)
                    before.append(question)
                    print_answer(last, {})
                except ClaraError as error:
                    typer.echo(f"Error: {one_line(str(error))}", err=True)
        typer.echo()


def _line(*, is_person: bool) -> str | None:
    """The next line, None at the end of the input."""
    try:
        return input("> " if is_person else "").strip()
    except EOFError:
        return None


def _documents(store: Path) -> list[Any]:
    from clara.store import MemoryStore

    with MemoryStore.open(store, read_only=True) as opened:
        return list(opened.documents())


def _edit_lines(words: list[str]) -> None:
    """Let lines be edited, remembered and completed, where Python has readline."""
    try:
        import atexit
        import readline
    except ImportError:
        return
    history = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "clara" / "history"
    try:
        history.parent.mkdir(parents=True, exist_ok=True)
        if history.exists():
            readline.read_history_file(history)
        atexit.register(lambda: readline.write_history_file(history))
    except OSError:
        pass  # no history then

    def complete(text: str, state: int) -> str | None:
        found = [word for word in words if word.lower().startswith(text.lower())]
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims("\n")
    readline.parse_and_bind("tab: complete")


def _start(settings: Any, queue: int, timeout: float) -> str:
    """Start a server of its own process and wait until it answers; its address."""
    from clara.service.running import folder, is_alive, notes

    log = folder() / f"server-{time.time_ns()}.log"
    arguments = ["serve", "--host", settings.host, "--port", str(settings.port), "--queue", str(queue)]
    arguments += ["--timeout", str(timeout)]
    for name, values in (
        ("--store", map(str, settings.stores)),
        ("--allow-host", settings.hosts),
        ("--cors", settings.origins),
    ):
        arguments += [part for value in values for part in (name, value)]
    for name, value in (
        ("--model", settings.model),
        ("--subfolder", settings.subfolder),
        ("--base", settings.base),
        ("--device", settings.device),
    ):
        arguments += [] if value is None else [name, value]
    arguments += [] if settings.allow_writes else ["--read-only"]
    arguments += ["--list-sources"] if settings.list_sources else []
    environment = {**os.environ, "CLARA_API_KEY": ",".join(settings.keys), "CLARA_SERVER_LOG": str(log)}
    if not settings.keys:
        environment.pop("CLARA_API_KEY")
    with log.open("wb") as target:
        process = subprocess.Popen(
            [sys.executable, "-m", "clara", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=target,
            stderr=target,
            env=environment,
            start_new_session=True,
        )
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        for note in notes():
            if note.pid == process.pid:
                return note.url
        if process.poll() is not None or not is_alive(process.pid):
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise InputError(f"The server did not start: {said[-1] if said else 'it printed no message'}")
        time.sleep(0.05)
    process.terminate()
    raise InputError(f"The server was not ready within {_START_SECONDS:.0f} s; see its log at {log}.")


def _tell(url: str, *, as_json: bool) -> None:
    from clara.rendering.basics import print_json

    if as_json:
        print_json({"url": url})
    else:
        typer.echo(f"Clara answers at {url}")


def _print_status(running: list[Note], *, as_json: bool) -> None:
    from clara.rendering.basics import print_json, short

    if as_json:
        print_json(
            [
                {
                    "url": one.url,
                    "pid": one.pid,
                    "stores": list(one.stores),
                    "since": one.since,
                    "log": one.log,
                }
                for one in running
            ]
        )
        return
    for one in running:
        typer.echo(f"{one.url}  process {one.pid}  {', '.join(map(short, one.stores))}")
    if not running:
        typer.echo("No server is running.")


def _require(*modules: str) -> None:
    """Make sure that the extra "serve" is installed."""
    from importlib.util import find_spec

    if any(find_spec(module) is None for module in modules):
        raise MissingExtraError("Serving needs the extra \"serve\"; run: pip install 'clara-rag[serve]'.")
