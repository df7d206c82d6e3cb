"""`clara index`, `ask` and `search`: documents into a store, questions to it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
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
    ModelOption,
    StoreOption,
    SubfolderOption,
    WhereOption,
    check_question,
    open_library,
)
from clara.errors import InputError

if TYPE_CHECKING:
    from clara.library import Library
    from clara.records import Source

STDIN = Path("-")


def index(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Files and folders: text, Markdown, HTML, PDF, Word, EPUB, CSV, JSON, logs, source code; "
            "- for the standard input."
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    remove_vanished: Annotated[
        bool, typer.Option("--remove-vanished", help="Also remove documents whose files no longer exist.")
    ] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", help="Skip files and folders like this, as in .gitignore; may be repeated."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Take only files like this; may be repeated.")
    ] = None,
    text_fields: Annotated[
        str | None, typer.Option(help="Of CSV and JSON: the fields that are the text, joined by commas.")
    ] = None,
    title_field: Annotated[str | None, typer.Option(help="Of CSV and JSON: the field of a title.")] = None,
    metadata_fields: Annotated[
        str | None, typer.Option(help="Of CSV and JSON: the fields to filter on, joined by commas.")
    ] = None,
    suffix: Annotated[str, typer.Option(help="What the standard input is, as a file's ending.")] = ".txt",
    memory_dtype: Annotated[
        str | None,
        typer.Option(help="How a new store keeps memories: float16, int8, int4 or pq."),
    ] = None,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compress documents into a store; unchanged files are skipped, changed ones replaced."""
    from clara.documents import ReadOptions, find_files, read_stream
    from clara.rendering.progress import progress_bar
    from clara.rendering.stores import print_report

    options = ReadOptions(_names(text_fields), title_field, _names(metadata_fields))
    files = [path for path in paths if path != STDIN]
    patterns = {"ignore": ignore or (), "only": only or ()}
    if files:
        find_files(files, **patterns)  # a wrong path is told at once, before the model is loaded
    typed = None
    if STDIN in paths:
        typed = read_stream(sys.stdin.buffer.read(), suffix=suffix, options=options)
    with open_library(
        store, model, subfolder, base, device, writes=True, memory_dtype=memory_dtype
    ) as library:
        with progress_bar(quiet=as_json or not files) as show:
            report = library.add_documents([typed] if typed else [])
            if files:
                report += library.add(
                    files, **patterns, read=options, remove_vanished=remove_vanished, progress=show
                )
        built = _refresh_index(library, quiet=as_json)
        print_report(library, report, built, as_json=as_json)
    named = {path.resolve() for path in files if path.is_file()}
    if any(Path(file) in named for file, _ in report.refused):
        raise typer.Exit(1)


def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    store: StoreOption = DEFAULT_STORE,
    k: CountOption = None,
    text_passages: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="How many of the best passages are read as text, not memory.",
        ),
    ] = None,
    where: WhereOption = None,
    hybrid: HybridOption = None,
    context: ContextOption = 0,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question from the memories of the best passages, and name them."""
    check_question(question)
    with open_library(store, model, subfolder, base, device) as library:
        answer = library.ask(question, k, text_passages=text_passages, where=where or (), hybrid=hybrid)
        around = _around(library, answer.sources, context)
    if as_json:
        sources = _as_dicts(answer.sources, around)
        typer.echo(json.dumps({**answer.to_dict(), "sources": sources}, ensure_ascii=False))
        return
    from clara.rendering.answers import print_answer

    print_answer(answer, around)


def search(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    store: StoreOption = DEFAULT_STORE,
    k: CountOption = None,
    where: WhereOption = None,
    hybrid: HybridOption = None,
    context: ContextOption = 0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also show the candidates and times of each step.")
    ] = False,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the passages that score best for a question."""
    from clara.records import Source
    from clara.support import with_support

    check_question(question)
    with open_library(store, model, subfolder, base, device) as library:
        found = library.explain(question, k, where=where or (), hybrid=hybrid)
        sources = with_support([Source.of(hit, "memory") for hit in found.hits], question)
        around = _around(library, sources, context)
    steps = [asdict(step) for step in found.steps]
    if as_json:
        result = {"question": question, "results": _as_dicts(sources, around)}
        typer.echo(json.dumps(result | ({"steps": steps} if explain else {}), ensure_ascii=False))
        return
    from clara.rendering.answers import print_sources, print_steps

    print_sources(sources, around, full=True)
    if explain:
        print_steps(found)


def _names(joined: str | None) -> tuple[str, ...] | None:
    if joined is None:
        return None
    names = tuple(name.strip() for name in joined.split(",") if name.strip())
    if not names:
        raise InputError("No field is named; write names joined by commas.")
    return names


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
