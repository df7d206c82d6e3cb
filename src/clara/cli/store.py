"""`clara store`: contents, removal, integrity, compaction, index, export and import of a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clara.cli.options import DEFAULT_STORE, JsonOption, StoreOption, check_store
from clara.errors import InputError, StoreError

if TYPE_CHECKING:
    from clara.store import MemoryStore

store_app = typer.Typer(help="Manage a memory store.", no_args_is_help=True)

DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--memory-dtype", help="Data type of memories: float16, int8, int4 or pq [default: unchanged]."
    ),
]


@store_app.command()
def info(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Show the contents and the size of a store."""
    from clara.rendering.stores import print_store

    with _open(store, read_only=True) as opened:
        print_store(opened.info(), as_json=as_json)


@store_app.command("list")
def list_documents(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """List the documents of a store, one per line: name, passages, date of change, title."""
    from clara.rendering.stores import print_documents

    with _open(store, read_only=True) as opened:
        with opened.snapshot():
            documents = opened.documents()
            copies: dict[str, list[str]] = {}
            for copy, source, _ in opened.copies():
                copies.setdefault(source, []).append(copy)
        print_documents(documents, copies, as_json=as_json)


@store_app.command()
def remove(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Names as printed by `clara store list`, or patterns such as '*/drafts/*'. A file name "
            "covers all parts of the file.",
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Remove documents from a store; files are kept. If one name is unknown, nothing is removed."""
    from clara.rendering.stores import print_removal

    with _open(store) as opened:
        sources = _chosen(opened.sources(), names)
        before = opened.num_passages
        opened.remove(sources)
        print_removal(sources, before - opened.num_passages, as_json=as_json)


@store_app.command()
def check(
    store: StoreOption = DEFAULT_STORE,
    drop_damaged: Annotated[
        bool, typer.Option("--drop-damaged", help="Remove damaged documents; index their files again.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify all checksums; exit with 1 if something is damaged."""
    from clara.rendering.progress import step_progress
    from clara.rendering.stores import print_check
    from clara.store.maintenance import check as look

    with _open_for_check(store, writes=drop_damaged) as opened:
        with step_progress(quiet=as_json, in_bytes=["Checking"]) as show:
            report = look(opened, drop_damaged=drop_damaged, progress=show)
        print_check(report, as_json=as_json)
    if report.faults:
        raise typer.Exit(1)


@store_app.command()
def compact(
    store: StoreOption = DEFAULT_STORE, memory_dtype: DtypeOption = None, as_json: JsonOption = False
) -> None:
    """Reclaim the space of removed passages; with --memory-dtype also convert the memories."""
    from clara.rendering.progress import step_progress
    from clara.rendering.stores import print_compaction
    from clara.store.maintenance import compact as shrink

    with _open(store) as opened:
        with step_progress(quiet=as_json, in_bytes=["Checking"]) as show:
            report = shrink(opened, memory_dtype=memory_dtype, progress=show)
        print_compaction(report, as_json=as_json)


@store_app.command()
def index(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Rebuild the search index for large stores; needs the extra "index"."""
    from clara.rendering.progress import step_progress
    from clara.rendering.stores import print_index
    from clara.store import build_index

    with _open(store) as opened:
        with step_progress(quiet=as_json) as show:
            report = build_index(opened, show)
        print_index(report, as_json=as_json)


@store_app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to write; must be empty or not exist.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Export texts as Parquet and memories as safetensors; needs the extra "export"."""
    from clara.rendering.progress import step_progress
    from clara.store.transfer import export as write

    with _open(store, read_only=True) as opened, step_progress(quiet=as_json) as show:
        report = write(opened, folder, show)
    _tell(asdict(report), "Wrote", as_json)


@store_app.command("import")
def import_folder(
    folder: Annotated[Path, typer.Argument(help="Folder that `clara store export` wrote.")],
    store: StoreOption = DEFAULT_STORE,
    memory_dtype: DtypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a store from an export, without compressing again."""
    from clara.rendering.progress import step_progress
    from clara.store.transfer import import_store

    with step_progress(quiet=as_json) as show:
        report = import_store(folder, store, memory_dtype, show)
    _tell(asdict(report), "Read", as_json)


@contextmanager
def _open(path: Path, *, read_only: bool = False, damaged: bool = False) -> Iterator[MemoryStore]:
    check_store(path)
    from clara.store import MemoryStore

    with MemoryStore.open(path, read_only=read_only, damaged=damaged) as store:
        yield store


@contextmanager
def _open_for_check(path: Path, *, writes: bool) -> Iterator[MemoryStore]:
    """For writing if that is possible, which lets the full-text index be checked, and else for reading."""
    check_store(path)
    from clara.store import MemoryStore

    try:
        store = MemoryStore.open(path, damaged=True)
    except StoreError as error:
        if writes or not isinstance(error.__cause__, OSError):
            raise
        store = MemoryStore.open(path, read_only=True, damaged=True)
    with store:
        yield store


def _chosen(known: Mapping[str, str], names: Sequence[str]) -> list[str]:
    """Stored sources that names select: sources, names as listed, files with all their parts, patterns.

    Args:
        known: Every source that is stored, with its hash.
        names: Names and patterns.

    Raises:
        InputError: A name selects nothing.
    """
    from clara.documents import file_of
    from clara.rendering.basics import short
    from clara.store.schema import as_stored

    sources_of: dict[str, list[str]] = {}
    for source in known:
        for name in dict.fromkeys((source, short(source), file_of(source), short(file_of(source)))):
            sources_of.setdefault(name, []).append(source)
    chosen: dict[str, None] = {}
    for name in map(as_stored, names):
        meant = sources_of.get(name) or sources_of.get(str(Path(name).resolve()))
        meant = meant or [one for one in known if fnmatchcase(one, name) or fnmatchcase(short(one), name)]
        if not meant:
            raise InputError(
                f"The store holds no document {name}; nothing was removed; list names with: clara store list"
            )
        chosen.update(dict.fromkeys(meant))
    return list(chosen)


def _tell(report: dict[str, int], done: str, as_json: bool) -> None:
    """Say how many documents and passages were written or read."""
    from clara.rendering.basics import counted, print_json

    if as_json:
        print_json(report)
        return
    documents, passages = counted(report["documents"], "document"), counted(report["passages"], "passage")
    typer.echo(f"{done} {documents}, {passages}.")
