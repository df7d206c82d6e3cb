"""`clara store`: what a store holds, whether it is whole, and how small it can be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clara.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from clara.errors import InputError

if TYPE_CHECKING:
    from clara.store import MemoryStore

store_app = typer.Typer(help="Look after a memory store.", no_args_is_help=True)

DtypeOption = Annotated[
    str | None, typer.Option("--memory-dtype", help="float16, int8, int4 or pq; as it is if not given.")
]


@store_app.command()
def info(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Show what a store holds and how large it is."""
    from clara.rendering.stores import print_store

    with _open(store, read_only=True) as opened:
        print_store(opened.info(), as_json=as_json)


@store_app.command()
def check(
    store: StoreOption = DEFAULT_STORE,
    drop_damaged: Annotated[
        bool, typer.Option("--drop-damaged", help="Remove damaged documents; index them again to mend it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare everything with its checksum; fails if something is damaged."""
    from clara.rendering.progress import step_progress
    from clara.rendering.stores import print_check
    from clara.store.maintenance import check as look

    with _open(store, damaged=True) as opened:
        with step_progress(quiet=as_json, unit="bytes") as show:
            report = look(opened, drop_damaged=drop_damaged, progress=show)
        print_check(report, as_json=as_json)
    if report.faults:
        raise typer.Exit(1)


@store_app.command()
def compact(
    store: StoreOption = DEFAULT_STORE, memory_dtype: DtypeOption = None, as_json: JsonOption = False
) -> None:
    """Give the space of what was removed back; with --memory-dtype keep memories in fewer bytes."""
    from clara.rendering.progress import step_progress
    from clara.rendering.stores import print_compaction
    from clara.store.maintenance import compact as shrink

    with _open(store) as opened:
        with step_progress(quiet=as_json) as show:
            report = shrink(opened, memory_dtype=memory_dtype, progress=show)
        print_compaction(report, as_json=as_json)


@store_app.command()
def index(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Build the index that finds candidates among millions, anew; needs the extra "index"."""
    from clara.rendering.progress import step_progress
    from clara.rendering.stores import print_index
    from clara.store import build_index

    with _open(store) as opened:
        with step_progress(quiet=as_json) as show:
            report = build_index(opened, show)
        print_index(report, as_json=as_json)


@store_app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Write texts as Parquet and memories as safetensors; needs the extra "export"."""
    from clara.rendering.progress import step_progress
    from clara.store.transfer import export as write

    with _open(store, read_only=True) as opened, step_progress(quiet=as_json) as show:
        report = write(opened, folder, show)
    _told(asdict(report), f"Wrote {report.documents:,} documents, {report.passages:,} passages.", as_json)


@store_app.command("import")
def import_folder(
    folder: Annotated[Path, typer.Argument(help="What `clara store export` wrote.")],
    store: StoreOption = DEFAULT_STORE,
    memory_dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a store of what was exported, without compressing anything again."""
    from clara.rendering.progress import step_progress
    from clara.store.transfer import import_store

    with step_progress(quiet=as_json) as show:
        report = import_store(folder, store, memory_dtype, show)
    _told(asdict(report), f"Read {report.documents:,} documents, {report.passages:,} passages.", as_json)


@contextmanager
def _open(path: Path, *, read_only: bool = False, damaged: bool = False) -> Iterator[MemoryStore]:
    if not path.exists():
        raise InputError(f"There is no store at {path}; make one with: clara index PATH --store {path}")
    from clara.store import MemoryStore

    with MemoryStore.open(path, read_only=read_only, damaged=damaged) as store:
        yield store


def _told(report: dict[str, int], words: str, as_json: bool) -> None:
    typer.echo(json.dumps(report) if as_json else words)
