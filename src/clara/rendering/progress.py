"""Bars over long work, with rate and time left, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from clara.rendering.basics import counted, readable

if TYPE_CHECKING:
    from clara import indexing


class _FilesColumn(ProgressColumn):
    """Files so far, of how many."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.fields['files']:,}/{counted(task.fields['total_files'], 'file')}")


class _RateColumn(ProgressColumn):
    """Passages so far and per second."""

    def render(self, task: Task) -> Text:
        passages = task.fields["passages"]
        rate = passages / task.elapsed if task.elapsed else 0.0
        return Text(f"{counted(passages, 'passage')}, {rate:,.0f}/s")


class _AmountColumn(ProgressColumn):
    """How much of how much of a step is done, in passages or in bytes."""

    def render(self, task: Task) -> Text:
        done, total = int(task.completed), int(task.total or 0)
        if task.fields["in_bytes"]:
            return Text(f"{readable(done)} of {readable(total)}")
        return Text(f"{done:,}/{counted(total, 'passage')}")


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Callable[[indexing.Progress], None]]:
    """A bar over the files' bytes with passages per second and time left, on standard error.

    Args:
        quiet: Show nothing.
    """
    columns = (
        TextColumn("Indexing"),
        BarColumn(),
        _FilesColumn(),
        _RateColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("", files=0, total_files=0, passages=0, total=None)

        def show(state: indexing.Progress) -> None:
            bar.update(
                task,
                completed=state.bytes,
                total=state.total_bytes,
                files=state.files,
                total_files=state.total_files,
                passages=state.passages,
            )

        yield show


@contextmanager
def step_progress(
    *, quiet: bool, in_bytes: Collection[str] = ()
) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each step of a work by its name, with time left, on standard error.

    Args:
        quiet: Show nothing.
        in_bytes: Names of the steps whose amounts are bytes; those of the others are passages.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        _AmountColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total, in_bytes=step in in_bytes)
            bar.update(tasks[step], completed=done, total=total)

        yield show


@contextmanager
def training_progress(stage: str) -> Iterator[Callable[[dict[str, float]], None]]:
    """A line per report of a training run, over a bar with rate and time left, on standard error.

    Args:
        stage: Its name.
    """
    columns = (
        TextColumn(stage),
        BarColumn(),
        TextColumn("step {task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[left]} left"),
    )
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=1, rate="", left="?", visible=False)

        def show(line: dict[str, float]) -> None:
            measured = {name: value for name, value in line.items() if name not in _NOT_MEASURED}
            values = "  ".join(f"{name} {value:.4g}" for name, value in measured.items())
            bar.console.print(f"step {line['step']:,.0f}  {values}", markup=False)
            left = str(timedelta(seconds=int(line["seconds_left"])))
            bar.update(
                task,
                visible=True,
                completed=line["step"],
                total=line["steps"],
                rate=f"{line['seconds_per_step']:.3g} s/step",
                left=left,
            )

        yield show


@contextmanager
def evaluation_progress(*, quiet: bool) -> Iterator[Callable[[str, int, int, int], None]]:
    """A bar for each part of an evaluation with rate, time left and failures, on standard error.

    Args:
        quiet: Show nothing.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[failed]}", style="red"),
    )
    console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as bar:
        tasks: dict[str, TaskID] = {}
        began: dict[str, int] = {}

        def show(what: str, done: int, of: int, failed: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of, rate="", failed="")
                began[what] = done
            elapsed = bar.tasks[tasks[what]].elapsed or 0.0
            if done == of and not console.is_terminal:  # where no bar is drawn, as in a log
                console.print(f"{what}: {done:,} in {elapsed:,.0f} s, {failed:,} failed")
            new = done - began[what]
            bar.update(
                tasks[what],
                completed=done,
                rate=f"{new / elapsed:,.1f}/s" if new and elapsed else "",
                failed=f"{failed:,} failed" if failed else "",
            )

        yield show


_NOT_MEASURED = {"step", "steps", "seconds_per_step", "seconds_left", "epoch"}
