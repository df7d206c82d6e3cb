"""Reports of indexing runs and of stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clara.documents.ocr import INSTALL, PICTURES
from clara.rendering.basics import (
    console,
    counted,
    one_line,
    print_json,
    print_line,
    print_table,
    readable,
    short,
)
from clara.rendering.documents import left_out_lines, names_of

if TYPE_CHECKING:
    from clara import indexing
    from clara.library import Library
    from clara.records import StoredDocument
    from clara.store import IndexReport, StoreInfo
    from clara.store.maintenance import CheckReport, CompactReport

_ADVICE = {
    ".doc": "save as .docx",
    ".ppt": "save as .pptx",
    ".pages": "export as .docx",
    ".numbers": "export as .xlsx",
    ".key": "export as .pptx",
    ".msg": "save as .eml",
    ".mobi": "convert to .epub",
    ".azw3": "convert to .epub",
    **dict.fromkeys(PICTURES, f"for their text {INSTALL}"),
}
"""Advice for files of unsupported formats, by extension."""


def print_report(filled: Library, report: indexing.AddReport, built_index: bool, *, as_json: bool) -> None:
    """The result of an `index` run, and the contents of the store."""
    info = filled.store.info()
    if as_json:
        print_json(
            {**asdict(report), "built_index": built_index, "store": {**asdict(info), "path": str(info.path)}}
        )
        return
    shown, errors = console(), console(stderr=True)
    for _, reason in report.refused:
        errors.print(f"Skipped: {one_line(reason)}")
    for line in _met(report):
        errors.print(line)
    done = [
        f"{count:,} {word}"
        for count, word in (
            (report.added, "added"),
            (report.replaced, "replaced"),
            (report.unchanged, "unchanged"),
            (report.reread, "read again"),
            (report.copies, "duplicate" if report.copies == 1 else "duplicates"),
            (len(report.moved), "moved"),
            (report.removed, "removed"),
            (len(report.refused), "skipped"),
        )
        if count
    ]
    kept = f", reused: {report.kept:,}" if report.kept else ""
    shown.print(f"Documents: {', '.join(done) or 'none'}. Passages compressed: {report.passages:,}{kept}.")
    shown.print(
        f"The store holds {counted(info.documents, 'document')}, {counted(info.passages, 'passage')}, "
        f"{counted(info.memory_rows, 'memory token')}."
    )


def _met(report: indexing.AddReport) -> Iterator[str]:
    """Files and parts of files that a run did not index, one line each."""
    for line in left_out_lines(report.left_out):
        yield f"Note: {line}"
    if report.passed_over:
        passed = [
            f"{count:,} {one_line(ending) or 'without an ending'}{_named(report.unread, ending)}"
            for ending, count in sorted(report.passed_over.items(), key=lambda item: (-item[1], item[0]))
        ]
        yield f"Not indexed, unknown format: {', '.join(passed)}."
    for file, names in report.ignored.items():
        folders = [name for name in names if name.endswith("/")]
        files = len(names) - len(folders)
        counts = [counted(files, "file")] * bool(files) + [counted(len(folders), "folder")] * bool(folders)
        yield (
            f"Ignored by {short(file)}: {' and '.join(counts)} ({names_of(names)}); include with --no-ignore."
        )
    for old, new in report.moved:
        yield f"Moved: {short(old)} is now {short(new)}."
    if report.gone:
        yield (
            f"Missing: {counted(len(report.gone), 'stored document')} whose files no longer exist "
            f"({names_of(report.gone)}); remove them with --remove-missing."
        )


def _named(files: Sequence[str], ending: str) -> str:
    """The files with an extension in parentheses, with advice where there is any."""
    names = [Path(file).name for file in files if Path(file).suffix.lower() == ending]
    advice = _ADVICE.get(ending, "")
    said = "; ".join(filter(None, (names_of(names) if names else "", advice)))
    return f" ({said})" if said else ""


def print_store(info: StoreInfo, *, as_json: bool) -> None:
    """A store in numbers."""
    if as_json:
        print_json({**asdict(info), "path": str(info.path)})
        return
    passages = max(1, info.passages)
    vectors = info.memory_bytes + info.embedding_bytes
    copies = f", and {counted(info.copies, 'copy', 'copies')}" if info.copies else ""
    rows = [
        ("Model", one_line(f"{info.model}, fingerprint {info.fingerprint[:12]}")),
        ("Precision", info.precision or "unknown"),
        ("Created", f"{datetime.fromtimestamp(info.created):%Y-%m-%d %H:%M}, format {info.format}"),
        ("Documents", f"{info.documents:,}{copies}"),
        ("Passages", f"{info.passages:,}"),
        (
            "Memory tokens",
            f"{info.memory_rows:,} of dimension {info.memory_dim:,}, {info.memory_dtype}"
            + ("" if info.rate is None else f", rate {info.rate}x"),
        ),
        ("Memories", f"{readable(info.memory_bytes)}, {info.memory_bytes / passages:,.0f} bytes per passage"),
        (
            "Embeddings",
            f"{readable(info.embedding_bytes)}, {info.embedding_bytes / passages:,.0f} bytes per passage",
        ),
        ("Texts and tables", readable(info.database_bytes)),
        ("Reclaimable", readable(info.dead_bytes)),
    ]
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(Text(name, style="dim"), value)
    shown = console()
    print_table(shown, grid)
    if info.dead_bytes > max(vectors, 1) / 4:
        shown.print("Reclaim the space of removed passages with: clara store compact", style="dim")


def print_documents(
    documents: Sequence[StoredDocument], copies: Mapping[str, Sequence[str]], *, as_json: bool
) -> None:
    """The documents of a store, one per line: name, passages, date of change, title.

    The lines of copies follow that of their document. Outside a terminal, tabs separate the fields.

    Args:
        documents: In the order to show.
        copies: Files with the bytes of a document, by its source.
        as_json: Print one JSON object.
    """
    if as_json:
        found = [{**asdict(one), "copies": list(copies.get(one.source, ()))} for one in documents]
        print_json({"documents": found})
        return
    shown = console()
    if not documents:
        console(stderr=True).print("The store holds no documents.")
    for one in documents:
        _print_fields(shown, _fields(one))
        for copy in copies.get(one.source, ()):
            _print_fields(shown, [short(copy), f"copy of {short(one.source)}"])


def _fields(document: StoredDocument) -> list[str]:
    """What is shown of a document: the title is told where it is not the file's name."""
    fields = [short(document.source), counted(document.num_passages, "passage")]
    fields.append(f"{datetime.fromtimestamp(document.modified):%Y-%m-%d}" if document.modified else "")
    if document.title not in (document.source, Path(document.source).stem):
        fields.append(one_line(document.title))
    return fields


def _print_fields(shown: Console, fields: Sequence[str]) -> None:
    """One line: the first field stands out at a terminal, elsewhere tabs part them all."""
    if not shown.file.isatty():
        print_line("\t".join(fields).rstrip())
        return
    line = Text.assemble((fields[0], "bold"))
    line.append("  " + "  ".join(filter(None, fields[1:])), style="dim")
    shown.print(line)


def print_removal(sources: Sequence[str], passages: int, *, as_json: bool) -> None:
    """The number of documents and passages that were removed from a store."""
    if as_json:
        print_json({"removed": list(sources), "documents": len(sources), "passages": passages})
        return
    shown = console()
    shown.print(f"Removed {counted(len(sources), 'document')}, {counted(passages, 'passage')}.")
    if passages:
        shown.print("Reclaim the space with: clara store compact", style="dim")
    else:
        shown.print("The passages are kept: other files have the same content.", style="dim")


def print_check(report: CheckReport, *, as_json: bool) -> None:
    """The result of a check."""
    if as_json:
        print_json(asdict(report))
        return
    shown = console()
    shown.print(f"Checked {counted(report.blocks, 'checksum')} over {readable(report.bytes)}.")
    for fault in report.faults:
        shown.print(Text(one_line(fault), style="red"))
    for source in report.damaged:
        shown.print(f"Damaged: {short(source)}")
    if report.removed:
        shown.print(f"Removed {counted(report.removed, 'damaged document')}; index the files again.")
    elif report.damaged:
        shown.print(
            "Remove damaged documents with: clara store check --drop-damaged, then index the files again."
        )
    elif not report.faults:
        shown.print("No damage found.")
    if not report.full_text:
        shown.print("The full-text index was not checked: the store is not writable.", style="dim")


def print_compaction(report: CompactReport, *, as_json: bool) -> None:
    """The result of a compaction."""
    if as_json:
        print_json(asdict(report))
        return
    shown = console()
    shown.print(
        f"The store takes {readable(report.after)}, before: {readable(report.before)}; memories are "
        f"{report.memory_dtype}."
    )
    if report.learns_from:
        shown.print(
            f"Codebooks need {counted(report.learns_from, 'memory token')}; until then memories stay float16."
        )


def print_index(report: IndexReport, *, as_json: bool) -> None:
    """The size and recall of a new index."""
    if as_json:
        print_json(asdict(report))
        return
    shown = console()
    shown.print(
        f"Indexed {counted(report.passages, 'passage')} in {report.seconds:,.0f} s: "
        f"{readable(report.bytes)}. A search scans {report.probed:,} of "
        f"{counted(report.lists, 'list')} and rescores "
        f"{counted(report.depth, 'passage')}; estimated recall@100 is {report.recall:.1%}."
    )
