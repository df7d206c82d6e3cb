"""What was stored, and what a store is and needs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clara.rendering.basics import one_line, print_json, readable, short

if TYPE_CHECKING:
    from clara import indexing
    from clara.library import Library
    from clara.store import IndexReport, StoreInfo
    from clara.store.maintenance import CheckReport, CompactReport


def print_report(filled: Library, report: indexing.AddReport, built_index: bool, *, as_json: bool) -> None:
    """What an `index` run did, and what the store holds now."""
    info = filled.store.info()
    if as_json:
        print_json(
            {**asdict(report), "built_index": built_index, "store": {**asdict(info), "path": str(info.path)}}
        )
        return
    console, errors = (
        Console(highlight=False, soft_wrap=True),
        Console(stderr=True, highlight=False, soft_wrap=True),
    )
    for _, reason in report.refused:
        errors.print(f"Skipped: {one_line(reason)}", markup=False)
    done = [
        f"{count} {word}"
        for count, word in (
            (report.added, "added"),
            (report.replaced, "replaced"),
            (report.unchanged, "unchanged"),
            (report.copies, "copies of others"),
            (report.removed, "removed"),
            (len(report.refused), "skipped"),
        )
        if count
    ]
    kept = f", kept: {report.kept:,}" if report.kept else ""
    console.print(f"Documents: {', '.join(done) or 'none'}. Passages compressed: {report.passages:,}{kept}.")
    console.print(
        f"The store holds {info.documents:,} documents, {info.passages:,} passages, "
        f"{info.memory_rows:,} memory tokens."
    )


def print_store(info: StoreInfo, *, as_json: bool) -> None:
    """A store in numbers."""
    if as_json:
        print_json({**asdict(info), "path": str(info.path)})
        return
    passages = max(1, info.passages)
    vectors = info.memory_bytes + info.key_bytes
    rows = [
        ("Model", f"{info.model}, fingerprint {info.fingerprint[:12]}"),
        ("Made", f"{datetime.fromtimestamp(info.created):%Y-%m-%d %H:%M}, format {info.format}"),
        ("Documents", f"{info.documents:,}" + (f", and {info.copies:,} copies" if info.copies else "")),
        ("Passages", f"{info.passages:,}"),
        ("Memory tokens", f"{info.memory_rows:,} of {info.memory_size:,} numbers, {info.memory_dtype}"),
        ("Memories", f"{readable(info.memory_bytes)}, {info.memory_bytes / passages:,.0f} bytes a passage"),
        ("Keys", f"{readable(info.key_bytes)}, {info.key_bytes / passages:,.0f} bytes a passage"),
        ("Texts and tables", readable(info.database_bytes)),
        ("Of what was removed", readable(info.dead_bytes)),
    ]
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), value)
    console = Console(highlight=False)
    console.print(grid)
    if info.dead_bytes > max(vectors, 1) / 4:
        console.print("Much was removed; give its space back with: clara store compact", style="dim")


def print_check(report: CheckReport, *, as_json: bool) -> None:
    """What a check found."""
    if as_json:
        print_json(asdict(report))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Compared {report.blocks:,} checksums over {readable(report.bytes)}.")
    for fault in report.faults:
        console.print(Text(fault, style="red"))
    for source in report.damaged:
        console.print(Text(f"Damaged: {short(source)}"))
    if report.removed:
        console.print(f"Removed {report.removed:,} damaged documents; index them again.")
    elif report.damaged:
        console.print("Remove them with: clara store check --drop-damaged, then index them again.")
    elif not report.faults:
        console.print("All is well.")


def print_compaction(report: CompactReport, *, as_json: bool) -> None:
    """What a compaction brought."""
    if as_json:
        print_json(asdict(report))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"The store takes {readable(report.after)}, where it took {readable(report.before)}; memories are "
        f"{report.memory_dtype}."
    )
    if report.learns_from:
        console.print(
            f"It is learned from {report.learns_from:,} memory tokens; until there are as many they stay "
            "float16."
        )


def print_index(report: IndexReport, *, as_json: bool) -> None:
    """What an index came to."""
    if as_json:
        print_json(asdict(report))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"Indexed {report.passages:,} passages in {report.seconds:,.0f} s: {readable(report.bytes)}. A "
        f"search looks through {report.probed:,} of {report.lists:,} lists and compares "
        f"{report.depth:,} passages, which for vectors like questions finds {report.recall:.1%} of the "
        "best 100."
    )
