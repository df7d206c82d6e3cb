"""`clara train`, `clara data` and `clara convert`: models and their training data."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from clara.cli.options import BaseOption, DeviceOption, JsonOption, ModelOption, SubfolderOption, load_model
from clara.errors import InputError

data_app = typer.Typer(help="Prepare training data.", no_args_is_help=True)


def convert(
    source: Annotated[Path, typer.Argument(help="Folder in Apple's format.")],
    target: Annotated[Path, typer.Argument(help="Folder to write; must be empty or not exist.")],
    base: BaseOption = None,
) -> None:
    """Convert a released checkpoint to safetensors."""
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; pass a checkpoint folder in Apple's format.")
    from clara.loading import convert as rewrite

    rewrite(source, target, base=base)
    typer.echo(f"Wrote {target}.")


def train(
    stage: Annotated[
        str,
        typer.Argument(
            help="joint, compression-pretraining, instruction-tuning, end-to-end, or recipe for every stage "
            "with a table in the file."
        ),
    ],
    config: Annotated[Path, typer.Argument(help="TOML file with the settings.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting, such as optimizer.steps=100; repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the last checkpoint in the run's folder.")
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0, help="Stop with a checkpoint after this time; --resume continues [default: no limit]."
        ),
    ] = None,
) -> None:
    """Run a training stage of the method; on several processes when started with torchrun."""
    from clara.training.data import ALL_STAGES, ExampleFile

    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    if stage not in (*ALL_STAGES, "recipe"):
        raise InputError(f"The stage is {stage!r}, but must be one of {', '.join(ALL_STAGES)}, or recipe.")
    from clara.training.settings import read_recipe, read_settings

    # refused before anything heavy is imported
    if stage == "recipe":
        runs = read_recipe(config, changes or ())
    else:
        runs = {stage: read_settings(config, stage, changes or ())}
    for name, settings in runs.items():  # a fault in the last stage's data is told before the first one runs
        ExampleFile([*settings.data.train, *settings.data.validation], name).close()
    from clara.rendering.progress import training_progress
    from clara.training import processes
    from clara.training.run import train as run_stage

    for name, settings in runs.items():
        try:
            with training_progress(name) as show:
                folder = run_stage(settings, name, resume=resume, report=show, deadline=deadline)
        except KeyboardInterrupt:
            typer.echo("Interrupted; continue from the last checkpoint with --resume.", err=True)
            raise typer.Exit(130) from None
        if processes.is_main():
            typer.echo(f"Wrote {folder}." if folder else "The time is up; continue with --resume.")
        if folder is None:
            break
    processes.leave()


@data_app.command("check")
def check_data(
    file: Annotated[Path, typer.Argument(help="JSON lines, plain or .xz.")],
    stage: Annotated[
        str | None,
        typer.Option(
            help="compression-pretraining, instruction-tuning or end-to-end [default: from the first line]."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a training file: number of examples, their lengths, faulty lines."""
    from clara.training.data import check_data as check

    report = check(file, stage)
    from clara.rendering.measures import print_data_report

    print_data_report(report, as_json=as_json)
    if report.num_faults:
        raise typer.Exit(1)


@data_app.command("convert")
def convert_data(
    source: Annotated[
        Path, typer.Argument(help="A question answering file, as for clara evaluate, or paraphrases.")
    ],
    target: Annotated[Path, typer.Argument(help="JSON lines to write; must not exist.")],
    stage: Annotated[
        str | None, typer.Option(help="As for check [default: the first stage that the records fit].")
    ] = None,
) -> None:
    """Convert a question answering file to training data for a stage."""
    from clara.rendering.basics import counted
    from clara.training.convert import convert_data as rewrite

    report = rewrite(source, target, stage)
    typer.echo(
        f"Wrote {counted(report.written, 'example')} for {report.stage} from "
        f"{counted(report.records, 'record')}.{_left_out(report.left_out)}"
    )


@data_app.command("mine")
def mine_data(
    source: Annotated[Path, typer.Argument(help="Passages with questions.")],
    target: Annotated[Path, typer.Argument(help="JSON lines to write; must not exist.")],
    candidates: Annotated[int, typer.Option("-n", min=2, help="Number of passages per question.")] = 20,
    by: Annotated[str, typer.Option(help="bm25, or model for the search of --model.")] = "bm25",
    stage: Annotated[str, typer.Option(help="end-to-end or instruction-tuning.")] = "end-to-end",
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
) -> None:
    """Write training data with hard candidates: each question with the best passages of a search."""
    if by not in ("bm25", "model"):
        raise InputError(f"--by is {by!r}, but must be bm25 or model.")
    from clara.training.mining import mine

    clara = load_model(model, subfolder, base, device) if by == "model" else None
    report = mine(source, target, candidates, clara, stage=stage)
    from clara.rendering.basics import counted

    typer.echo(
        f"Wrote {counted(report.questions, 'question')} over {counted(report.passages, 'passage')}; the "
        f"gold passage is among the {candidates} found for {report.found:.1%}.{_left_out(report.left_out)}"
    )


def _left_out(count: int) -> str:
    if not count:
        return ""
    return f" Left out: {count:,} without an answer."
