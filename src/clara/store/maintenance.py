"""Looking after a store: finding damage, giving space back, changing how memories are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from clara.errors import StoreError
from clara.store.codecs import LEARNED, TRAINING_ROWS, check_memory_dtype
from clara.store.segments import Block
from clara.store.store import MemoryStore

Progress = Callable[[str, int, int], None]
"""Told of each step by name, with how much of how much is done."""


@dataclass(slots=True)
class CheckReport:
    """What `check` found.

    Attributes:
        blocks: Checksums that were compared.
        bytes: Size of what they cover.
        faults: What is wrong, a sentence each; none if all is well.
        damaged: Documents that some of the damage belongs to, by name.
        removed: How many of these were removed.
        full_text: Whether the full-text index was checked, for which the store must be open for writing.
    """

    blocks: int = 0
    bytes: int = 0
    faults: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    removed: int = 0
    full_text: bool = True


@dataclass(frozen=True, slots=True)
class CompactReport:
    """What `compact` did; sizes are in bytes.

    Attributes:
        before: Size of vectors and database before.
        after: Size of them after; files that someone is reading still are deleted when the store is next
            opened for writing.
        memory_dtype: How memories are kept now.
        learns_from: For pq, of how many memory tokens it will be learned, until when they are float16; 0 if
            it has been.
    """

    before: int
    after: int
    memory_dtype: str
    learns_from: int = 0


def check(
    store: MemoryStore, *, drop_damaged: bool = False, progress: Progress = lambda *_: None
) -> CheckReport:
    """Compare everything with its checksum.

    Args:
        store: The store; open for writing to drop documents. Read-only, its full-text index is not checked.
        drop_damaged: Remove the documents that damage belongs to; indexing them again mends the store.
        progress: Told how far the work is, in bytes.

    Raises:
        StoreError: The store is closed, or read-only and documents are to be dropped.
    """
    report = CheckReport(faults=store.database_faults(), full_text=not store.read_only)
    damaged: set[str] = set()
    for table, sources in store.damaged_rows().items():
        damaged.update(sources)
        report.faults.append(
            f"Rows of the table {table} do not have their checksum; documents that they belong to: "
            f"{len(sources)}."
        )
    if drop_damaged:
        report.removed = store.drop_damaged_rows()
    for kind, block in _damaged_blocks(store, report, progress):
        sources = store.holders(kind, block)
        damaged.update(sources)
        report.faults.append(
            f"Rows {block.first} to {block.first + block.rows - 1} of {store.file(kind, block)} are missing "
            f"or do not have their checksum; documents that they belong to: {len(sources)}."
        )
    report.damaged = sorted(damaged)
    if drop_damaged and report.damaged:
        report.removed += store.remove(report.damaged)
        store.rewrite()
    return report


def compact(
    store: MemoryStore, *, memory_dtype: str | None = None, progress: Progress = lambda *_: None
) -> CompactReport:
    """Give the space of what was removed back to the disk.

    Vectors that passages refer to are written anew, and the database is made anew. Killed at any moment, the
    store is as it was before or as it is afterwards.

    Args:
        store: Open for writing.
        memory_dtype: Keep memories so from now on; None to leave it. Coming from fewer bytes to more brings
            nothing back.
        progress: Told how far the work is, in passages.

    Raises:
        InputError: There is no such dtype.
        StoreError: The store is read-only or closed, is damaged, or cannot be written.
    """
    if memory_dtype is not None:
        check_memory_dtype(memory_dtype)
    for kind, block in _damaged_blocks(store, CheckReport(), progress):
        if store.holders(kind, block):  # written anew, it would get a good checksum
            raise StoreError(
                f"The store's file {store.file(kind, block)} is damaged; remove the documents that it "
                "concerns with: clara store check --drop-damaged"
            )
    before = _size(store)
    store.rewrite(memory_dtype, lambda done, total: progress("Compacting", done, total))
    waits = store.memory_dtype == LEARNED and store.info().memory_rows < TRAINING_ROWS
    return CompactReport(before, _size(store), store.memory_dtype, TRAINING_ROWS if waits else 0)


def _damaged_blocks(
    store: MemoryStore, report: CheckReport, progress: Progress
) -> Iterator[tuple[str, Block]]:
    """The kind and place of all vectors without their checksum; `report` counts what was compared."""
    blocks = store.blocks()
    total = sum(size for *_, size in blocks)
    for kind, block, size in blocks:
        progress("Checking", report.bytes, total)
        report.blocks += 1
        report.bytes += size
        if not store.is_whole(kind, block):
            yield kind, block
    progress("Checking", report.bytes, total)


def _size(store: MemoryStore) -> int:
    info = store.info()
    return info.memory_bytes + info.embedding_bytes + info.dead_bytes + info.database_bytes
