"""`clara index`, `ask` and `search`: documents into a store, questions to it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

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
    check_question,
    open_library,
)


def index(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders: text, Markdown, HTML, PDF.")],
    store: StoreOption = DEFAULT_STORE,
    remove_vanished: Annotated[
        bool, typer.Option("--remove-vanished", help="Also remove documents whose files no longer exist.")
    ] = False,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compress documents into a store; unchanged files are skipped, changed ones replaced."""
    from clara.documents import find_files
    from clara.rendering import print_report, progress_bar

    find_files(paths)  # a wrong path is told at once, before the model is loaded
    with open_library(store, model, subfolder, base, device, writes=True) as library:
        with progress_bar(quiet=as_json) as show:
            report = library.add(paths, remove_vanished=remove_vanished, progress=show)
        print_report(library, report, as_json=as_json)
    named = {path.resolve() for path in paths if path.is_file()}
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
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Answer a question from the memories of the best passages, and name them."""
    check_question(question)
    with open_library(store, model, subfolder, base, device) as library:
        answer = library.ask(question, k, text_passages=text_passages)
    if as_json:
        typer.echo(json.dumps(answer.to_dict(), ensure_ascii=False))
        return
    from clara.rendering import print_answer

    print_answer(answer)


def search(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    store: StoreOption = DEFAULT_STORE,
    k: CountOption = None,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the passages that score best for a question."""
    check_question(question)
    with open_library(store, model, subfolder, base, device) as library:
        hits = library.search(question, k)
    from clara.records import Source
    from clara.support import with_support

    sources = with_support([Source.of(hit, "memory") for hit in hits], question)
    if as_json:
        results = [asdict(source) for source in sources]
        typer.echo(json.dumps({"question": question, "results": results}, ensure_ascii=False))
        return
    from clara.rendering import print_sources

    print_sources(sources, full=True)
