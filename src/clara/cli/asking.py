"""`clara index`, `ask` and `search`: documents into a store, questions to it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clara.cli.options import (
    DEFAULT_STORE,
    BaseOption,
    ContextOption,
    CountOption,
    DeviceOption,
    HybridOption,
    JsonOption,
    MinConfidenceOption,
    ModelOption,
    ReadingOption,
    StoreOption,
    SubfolderOption,
    TextPassagesOption,
    WhereOption,
    check_reading,
    field_names,
    open_library,
    text_passages_of,
)
from clara.cli.questions import STDIN, check_question, typed_questions
from clara.cli.remote import ask_remotely, find_client, search_remotely, tried
from clara.errors import ClaraError, InputError
from clara.models.stored import model_of

if TYPE_CHECKING:
    from clara.library import Library
    from clara.records import Source


def index(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Files and folders: text, Markdown, HTML, PDF, office files, EPUB, mail, CSV, JSON, logs, "
            "source code; - reads the standard input."
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    remove_missing: Annotated[
        bool,
        typer.Option(
            "--remove-missing",
            help="Also remove stored documents below the paths whose files no longer exist.",
        ),
    ] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore", help="Skip files and folders that match this .gitignore pattern; repeatable."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Index only files that match this pattern; repeatable.")
    ] = None,
    no_ignore: Annotated[
        bool, typer.Option("--no-ignore", help="Ignore .gitignore and .claraignore files.")
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit with 1 if any part of a file was not indexed; the rest is stored."
        ),
    ] = False,
    text_fields: Annotated[
        str | None, typer.Option(help="CSV and JSON: fields to index as text, comma-separated.")
    ] = None,
    title_field: Annotated[str | None, typer.Option(help="CSV and JSON: field with the title.")] = None,
    metadata_fields: Annotated[
        str | None,
        typer.Option(help="CSV and JSON: fields to keep as metadata for filters, comma-separated."),
    ] = None,
    suffix: Annotated[
        str | None, typer.Option(help="Format of the standard input, as a file extension [default: .txt].")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the standard input in the store [default: stdin]; replaces a document of that name."
        ),
    ] = None,
    memory_dtype: Annotated[
        str | None,
        typer.Option(help="Data type of memories in a new store: float16, int8, int4 or pq."),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            min=1, help="Text tokens per memory token of a new store; the model's own rate if not given."
        ),
    ] = None,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compress documents into a store. Unchanged files are skipped, changed files are replaced."""
    from clara.documents import ReadOptions, find_files, read_stream
    from clara.rendering.progress import progress_bar
    from clara.rendering.stores import print_report

    options = ReadOptions(field_names(text_fields), title_field, field_names(metadata_fields))
    files = [path for path in paths if path != Path(STDIN)]
    is_typed = len(files) < len(paths)
    ending, called = _ending(suffix, is_read=is_typed), _called(name, is_read=is_typed)
    patterns: dict[str, Any] = {"ignore": ignore or (), "only": only or (), "heed": not no_ignore}
    if files and not remove_missing:  # with it, paths that are gone may be what is meant
        find_files(files, **patterns)  # a wrong path is told at once, before the model is loaded
    typed = None
    if is_typed:
        typed = read_stream(sys.stdin.buffer.read(), called, ending, options)
    with open_library(
        store,
        model_of(store, model),
        subfolder,
        base,
        device,
        writes=True,
        memory_dtype=memory_dtype,
        rate=rate,
    ) as library:
        with _told_if_stopped(library):
            with progress_bar(quiet=as_json or not files) as show:
                report = library.add_documents([typed] if typed else [])
                if files:
                    report += library.add(
                        files, **patterns, read=options, remove_missing=remove_missing, progress=show
                    )
            built = _refresh_index(library, quiet=as_json)
        print_report(library, report, built, as_json=as_json)
    named = {path.resolve() for path in files if path.is_file()}
    if any(Path(file) in named for file, _ in report.refused) or (strict and report.is_lossy):
        raise typer.Exit(1)


def ask(
    question: Annotated[
        str,
        typer.Argument(
            help="The question, in quotes; - reads questions from the standard input, one per line."
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    k: CountOption = None,
    text_passages: TextPassagesOption = None,
    reading: ReadingOption = None,
    min_confidence: MinConfidenceOption = None,
    where: WhereOption = None,
    hybrid: HybridOption = None,
    context: ContextOption = 0,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question from the best passages and list them as sources."""
    from clara.rendering.answers import print_answer
    from clara.rendering.basics import print_json

    if question != STDIN:
        check_question(question)
    options: dict[str, Any] = {
        "text_passages": text_passages_of(text_passages),
        "reading": check_reading(reading),
        "min_confidence": min_confidence,
        "where": where,
        "hybrid": hybrid,
    }
    model = model_of(store, model)
    client = find_client(store, model, subfolder, base, device)
    if client is None:
        _check_conditions(where)
    if client is not None:
        ask_it = partial(
            ask_remotely,
            client,
            k=k,
            **options,
            context=context,
            as_json=as_json,
        )
        if question == STDIN:
            _reply_to_each(ask_it, as_json=as_json)
            return
        if tried(partial(ask_it, question)):
            return

    with open_library(store, model, subfolder, base, device) as library:

        def reply(asked: str) -> None:
            answer = library.ask(asked, k, **{**options, "where": where or ()})
            around = _around(library, answer.sources, context)
            if as_json:
                print_json({**answer.to_dict(), "sources": _as_dicts(answer.sources, around)})
            else:
                print_answer(answer, around)

        if question == STDIN:
            _reply_to_each(reply, as_json=as_json)
        else:
            reply(question)


def search(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    store: StoreOption = DEFAULT_STORE,
    k: CountOption = None,
    where: WhereOption = None,
    hybrid: HybridOption = None,
    context: ContextOption = 0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show the candidates and the time of each search step.")
    ] = False,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the best passages for a question."""
    from clara.evidence import with_evidence
    from clara.records import Source

    check_question(question)
    model = model_of(store, model)
    client = find_client(store, model, subfolder, base, device)
    if client is None:
        _check_conditions(where)
    if client is not None and tried(
        partial(
            search_remotely,
            client,
            question,
            k=k,
            where=where,
            hybrid=hybrid,
            context=context,
            explain=explain,
            as_json=as_json,
        )
    ):
        return
    with open_library(store, model, subfolder, base, device) as library:
        found = library.explain(question, k, where=where or (), hybrid=hybrid)
        sources = with_evidence([Source.of(hit, "memory") for hit in found.hits], question)
        around = _around(library, sources, context)
    if as_json:
        from clara.rendering.basics import print_json

        result = {"question": question, "results": _as_dicts(sources, around)}
        print_json(result | ({"steps": [asdict(step) for step in found.steps]} if explain else {}))
        return
    from clara.rendering.answers import print_nothing_found, print_sources, print_steps

    if not sources:
        print_nothing_found(found)
    print_sources(sources, around, full=True)
    if explain:
        print_steps(found)


def _ending(suffix: str | None, *, is_read: bool) -> str:
    """The ending that tells how the standard input is read.

    Args:
        suffix: As given, with its dot or without.
        is_read: Whether the standard input is read at all.
    """
    if suffix is None:
        return ".txt"
    if not is_read:
        raise InputError(
            "--suffix applies to the standard input, but no path is -; remove --suffix or add -."
        )
    from clara.documents import SUFFIXES

    ending = f".{suffix.lower().removeprefix('.')}"
    if ending not in SUFFIXES:
        raise InputError(f"--suffix is {suffix!r}, but must be one of {', '.join(SUFFIXES)}.")
    return ending


def _called(name: str | None, *, is_read: bool) -> str:
    """What the standard input is called, by the same rules as `_ending`; no path, which would name a file."""
    if name is None:
        return "stdin"
    if not is_read:
        raise InputError("--name applies to the standard input, but no path is -; remove --name or add -.")
    from clara.documents.text import printable

    if not name.strip() or Path(name).is_absolute():
        raise InputError(
            f"--name is {printable(name)!r}, but must be a name or a URL such as https://example.org/page; "
            "index a file by its path."
        )
    return printable(name.strip())


def _check_conditions(where: Sequence[str] | None) -> None:
    """Raise InputError for conditions that cannot be understood, before the model is loaded."""
    if where:
        from clara.store import Filter

        Filter.parse(where)


@contextmanager
def _told_if_stopped(library: Library) -> Iterator[None]:
    """Print what is stored when indexing is interrupted: committed documents are kept and not repeated."""
    try:
        yield
    except KeyboardInterrupt:
        from clara.rendering.basics import counted

        documents = library.store.info().documents
        typer.echo(
            f"Stopped; the store holds {counted(documents, 'document')}. Run the command again to continue.",
            err=True,
        )
        raise typer.Exit(130) from None


def _reply_to_each(reply: Callable[[str], None], *, as_json: bool) -> None:
    """Answer each line of the input; a question that fails is reported, and the command exits with 1.

    Args:
        reply: Answers a question and prints that.
        as_json: Print answers alone, a line each.
    """
    from clara.rendering.answers import print_question
    from clara.rendering.basics import one_line

    has_failed = False
    for question in typed_questions():
        if not (as_json or sys.stdin.isatty()):  # who types it sees it already
            print_question(question)
        try:
            check_question(question)
            reply(question)
        except ClaraError as error:
            has_failed = True
            typer.echo(f"Error: {one_line(str(error))}", err=True)
        if not as_json:
            typer.echo()
    if has_failed:
        raise typer.Exit(1)


def _refresh_index(library: Library, *, quiet: bool) -> bool:
    """Build the index of a large store if it is due."""
    from clara.rendering.progress import step_progress
    from clara.store import refresh_index

    with step_progress(quiet=quiet) as show:
        return refresh_index(library.store, show) is not None


def _around(library: Library, sources: Sequence[Source], count: int) -> dict[int, list[str]]:
    """Texts of the passages around each source, itself among them, by its number."""
    if not count:
        return {}
    return {
        source.id: [stored.passage.text for stored in library.store.around(source.id, count)]
        for source in sources
    }


def _as_dicts(sources: Sequence[Source], around: dict[int, list[str]]) -> list[dict[str, Any]]:
    return [
        asdict(source) | ({"context": around[source.id]} if source.id in around else {}) for source in sources
    ]
