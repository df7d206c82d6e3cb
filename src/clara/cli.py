"""The `clara` command: parses, calls the library, prints. Heavy imports happen inside the commands.

Exit codes: 0 done, 1 an error in one sentence on standard error, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clara import __version__
from clara.errors import ClaraError, InputError

if TYPE_CHECKING:
    from clara.evaluation.inspection import Inspection
    from clara.library import AddReport, Library, Progress
    from clara.pipeline import Clara

app = typer.Typer(
    name="clara",
    help="Answers questions about your documents from compressed memories of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

inspect_app = typer.Typer(help="Look into memories.", no_args_is_help=True)
app.add_typer(inspect_app, name="inspect")

data_app = typer.Typer(help="Training data.", no_args_is_help=True)
app.add_typer(data_app, name="data")

StoreOption = Annotated[
    Path, typer.Option("--store", "-s", envvar="CLARA_STORE", help="Folder of the memory store.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar="CLARA_MODEL",
        help="Model folder or hub id; the packaged small model if not given.",
    ),
]
SubfolderOption = Annotated[
    str | None, typer.Option("--subfolder", help="Folder within the model, such as compression-16.")
]
BaseOption = Annotated[
    str | None, typer.Option("--base", help="Where the base model is, if not where the checkpoint says.")
]
DeviceOption = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ...")]
CountOption = Annotated[
    int | None,
    typer.Option("-k", min=1, help="Passages to return or to answer from; 5 if the model says nothing else."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]

DEFAULT_STORE = Path("clara-store")


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"clara {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command()
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

    find_files(paths)  # a wrong path is told at once, before the model is loaded
    with _library(store, model, subfolder, base, device, writes=True) as library:
        with _progress(quiet=as_json) as show:
            report = library.add(paths, remove_vanished=remove_vanished, progress=show)
        _print_report(library, report, as_json)
    named = {path.resolve() for path in paths if path.is_file()}
    if any(Path(file) in named for file, _ in report.refused):
        raise typer.Exit(1)


@app.command()
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
    _check_question(question)
    with _library(store, model, subfolder, base, device) as library:
        answer = library.ask(question, k, text_passages=text_passages)
    if as_json:
        typer.echo(json.dumps(answer.to_dict(), ensure_ascii=False))
        return
    from clara.rendering import print_answer

    print_answer(answer)


@app.command()
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
    _check_question(question)
    with _library(store, model, subfolder, base, device) as library:
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


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="Folder in the released format.")],
    target: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    base: BaseOption = None,
) -> None:
    """Rewrite a released checkpoint as safetensors."""
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; name a checkpoint folder in the released format.")
    from clara.loading import convert as rewrite

    rewrite(source, target, base=base)
    typer.echo(f"Wrote {target}.")


@app.command()
def train(
    stage: Annotated[
        str,
        typer.Argument(
            help="compression-pretraining, instruction-tuning or end-to-end; or recipe: every stage that the "
            "file has a table for."
        ),
    ],
    config: Annotated[Path, typer.Argument(help="TOML file.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting, as optimiser.steps=100; may be repeated."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of the run's folder.")
    ] = False,
) -> None:
    """Train a model by a stage of the method; on several processes when started with torchrun."""
    from clara.training.data import STAGES, ExampleFile

    if stage not in (*STAGES, "recipe"):
        raise InputError(f"The stage is {stage!r}, but must be one of {', '.join(STAGES)}, or recipe.")
    from clara.training.settings import read_recipe, read_settings

    # refused before anything heavy is imported
    if stage == "recipe":
        runs = read_recipe(config, changes or ())
    else:
        runs = {stage: read_settings(config, stage, changes or ())}
    for name, settings in runs.items():  # a fault in the last stage's data is told before the first one runs
        ExampleFile([*settings.data.train, *settings.data.validation], name).close()
    from clara.rendering import training_progress
    from clara.training.run import train as run_stage

    for name, settings in runs.items():
        try:
            with training_progress(name) as show:
                folder = run_stage(settings, name, resume=resume, report=show)
        except KeyboardInterrupt:
            typer.echo("Interrupted; go on from the last checkpoint with --resume.", err=True)
            raise typer.Exit(130) from None
        if os.environ.get("RANK", "0") == "0":
            typer.echo(f"Wrote {folder}.")


@data_app.command("check")
def check_data(
    file: Annotated[Path, typer.Argument(help="JSON lines, plain or .xz.")],
    stage: Annotated[
        str | None,
        typer.Option(
            help="compression-pretraining, instruction-tuning or end-to-end; told from the first line."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count the examples of a training file, measure their lengths, name its faults."""
    from clara.training.data import check_data as check

    report = check(file, stage)
    from clara.rendering import print_data_report

    print_data_report(report, as_json=as_json)
    if report.num_faults:
        raise typer.Exit(1)


@data_app.command("convert")
def convert_data(
    source: Annotated[
        Path, typer.Argument(help="Passages with questions, questions with passages, or paraphrases.")
    ],
    target: Annotated[Path, typer.Argument(help="JSON lines to write; must not exist.")],
    stage: Annotated[
        str | None, typer.Option(help="As for check; the first that the records can serve if not given.")
    ] = None,
) -> None:
    """Rewrite a question answering file as training data of a stage."""
    from clara.training.convert import convert_data as rewrite

    report = rewrite(source, target, stage)
    left_out = f" {report.left_out:,} have no answer." if report.left_out else ""
    typer.echo(
        f"Wrote {report.written:,} examples of {report.stage} from {report.records:,} records.{left_out}"
    )


@data_app.command("mine")
def mine_data(
    source: Annotated[Path, typer.Argument(help="Passages with questions.")],
    target: Annotated[Path, typer.Argument(help="JSON lines to write; must not exist.")],
    candidates: Annotated[int, typer.Option("-n", min=2, help="Passages of each question.")] = 20,
    by: Annotated[str, typer.Option(help="bm25: by words. model: by the memories of --model.")] = "bm25",
    stage: Annotated[str, typer.Option(help="end-to-end or instruction-tuning.")] = "end-to-end",
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
) -> None:
    """Write training data with candidates: each question with the passages a search finds most like it."""
    if by not in ("bm25", "model"):
        raise InputError(f"--by is {by!r}, but must be bm25 or model.")
    from clara.training.mining import mine

    clara = _load(model, subfolder, base, device) if by == "model" else None
    report = mine(source, target, candidates, clara, stage=stage)
    left_out = f" {report.left_out:,} have no answer." if report.left_out else ""
    typer.echo(
        f"Wrote {report.questions:,} questions over {report.passages:,} passages; the search found the own "
        f"passage of {report.found:.1%} among {candidates}.{left_out}"
    )


@app.command()
def evaluate(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="Questions with their passages: files (JSON or JSON lines, .gz, .xz) in the forms of SQuAD, "
            "NQ, HotpotQA, MuSiQue, 2WikiMultihopQA or FlashRAG; or hub:OWNER/NAME/CONFIG:SPLIT, CONFIG and "
            "SPLIT being optional."
        ),
    ] = None,
    run: Annotated[Path, typer.Option("--run", help="Folder of the run.")] = Path("runs/evaluation"),
    corpus: Annotated[
        str | None, typer.Option(help="Further passages to search: a file, or hub:OWNER/NAME.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", "-s", help="Search this memory store in place of a corpus.")
    ] = None,
    settings: Annotated[
        str, typer.Option(help="Of oracle, normal, rerank and full, joined by commas.")
    ] = "oracle,normal,rerank,full",
    rates: Annotated[
        str | None, typer.Option(help="Compression rates, joined by commas; the model's own if not given.")
    ] = None,
    questions: Annotated[int | None, typer.Option(min=1, help="Draw so many questions.")] = None,
    passages: Annotated[
        int | None,
        typer.Option(min=1, help="Cut the corpus to so many passages, those of the questions first."),
    ] = None,
    k: CountOption = None,
    candidates: Annotated[int, typer.Option(min=1, help="Passages that are reranked.")] = 20,
    seed: Annotated[int, typer.Option(help="Draws questions and passages.")] = 0,
    encoder: Annotated[
        str | None, typer.Option(help="Sentence encoder to compare with; all-MiniLM-L6-v2 if not given.")
    ] = None,
    llmlingua: Annotated[
        str | None, typer.Option(help="LLMLingua-2 model, to compare with shortened text.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Pair two finished runs and do nothing else.")
    ] = None,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure answers and search beside controls and baselines, into a folder with a report."""
    if compare is not None:
        from clara.evaluation.compare import compare as pair
        from clara.rendering import print_compared

        print_compared(pair(*compare), as_json=as_json)
        return
    if not data:
        raise InputError("There is nothing to evaluate on; name a file of questions, or hub:OWNER/NAME.")
    for source in data:  # told before anything heavy is imported
        if not source.startswith("hub:") and not Path(source).is_file():
            raise InputError(f"{source} does not exist or is not a file.")
    from clara.evaluation import command
    from clara.rendering import evaluation_progress, print_figures

    options = command.options(
        settings=settings,
        rates=rates,
        questions=questions,
        passages=passages,
        k=k,
        candidates=candidates,
        seed=seed,
        encoder=encoder,
        shortener=llmlingua,
    )

    def load() -> Clara:
        return _load(model, subfolder, base, device)

    with evaluation_progress(quiet=as_json) as show:
        report, figures = command.evaluate(
            load, data, run, options, corpus=corpus, store=store, resume=resume, report=show
        )
    print_figures(figures, report, as_json=as_json)


PageOption = Annotated[Path | None, typer.Option("--html", help="Write a page.")]


@inspect_app.command("document")
def inspect_document(
    source: Annotated[str, typer.Argument(help="A file; or the text itself with --text.")],
    is_text: Annotated[bool, typer.Option("--text", help="SOURCE is the text.")] = False,
    passage: Annotated[
        int | None, typer.Option(min=1, help="Only this passage of the file, counted from 1.")
    ] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Compression rate, if not the model's own.")] = None,
    page: PageOption = None,
    png: Annotated[Path | None, typer.Option("--png", help="Write a picture of the first passage.")] = None,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how much a passage's memory depends on each word, and which words lie near its memory tokens."""
    document = None
    if not is_text:
        from clara.documents import cut, read_document

        if not Path(source).is_file():
            raise InputError(f"{source} does not exist or is not a file; give a text itself with --text.")
        document = read_document(source)
    elif not source.strip():
        raise InputError("The text is empty; there is nothing to inspect.")
    clara = _load(model, subfolder, base, device)
    texts = [source]
    if document is not None:
        passages = cut(document, clara.passage_tokens, clara.processor.count_tokens)
        texts = [one.content for one in passages]
    if passage is not None:
        if passage > len(texts):
            raise InputError(f"There is no passage {passage}; {source} has {len(texts)}.")
        texts = texts[passage - 1 : passage]
    from clara.evaluation.inspection import inspect_document as look

    _show_inspections([look(clara, text, rate=rate) for text in texts], page, png, as_json)


@inspect_app.command("question")
def inspect_question(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    page: PageOption = None,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which words of the vocabulary lie near the memory that a question is searched by."""
    _check_question(question)
    clara = _load(model, subfolder, base, device)
    from clara.evaluation.inspection import inspect_question as look

    _show_inspections([look(clara, question, nearest=10)], page, None, as_json)


def _show_inspections(
    inspections: Sequence[Inspection], page: Path | None, png: Path | None, as_json: bool
) -> None:
    from clara.evaluation.wordpage import write_page, write_picture
    from clara.rendering import print_inspections

    try:
        if page is not None:
            write_page(inspections, page, "Memories")
        if png is not None:
            write_picture(inspections[0], png)
    except OSError as error:
        raise InputError(f"{page or png} cannot be written: {error.strerror}.") from error
    print_inspections(inspections, as_json=as_json)


def _check_question(question: str) -> None:
    if not question.strip():
        raise InputError("The question is empty; ask something.")


@contextmanager
def _library(
    store: Path,
    model: str | None,
    subfolder: str | None,
    base: str | None,
    device: str | None,
    *,
    writes: bool = False,
) -> Iterator[Library]:
    """The library at `store`; what needs no model is checked before the model is loaded."""
    if not writes and not store.exists():
        raise InputError(f"There is no store at {store}; make one with: clara index PATH --store {store}")
    from clara.library import Library

    clara = _load(model, subfolder, base, device)
    with Library(clara, store, read_only=not writes) as library:
        yield library


def _load(model: str | None, subfolder: str | None, base: str | None, device: str | None) -> Clara:
    from clara.pipeline import Clara

    return Clara.from_pretrained(model, subfolder=subfolder, base=base, device=device)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    from clara.rendering import progress_bar

    with progress_bar(quiet=quiet) as show:
        yield show


def _print_report(library: Library, report: AddReport, as_json: bool) -> None:
    from clara.rendering import print_report

    print_report(library, report, as_json=as_json)


def main() -> None:
    """Run the command; every foreseen error is one sentence on standard error."""
    try:
        app(standalone_mode=True)
    except ClaraError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("Interrupted; what was reported as stored or saved is kept.", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
