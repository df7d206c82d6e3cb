"""`clara evaluate` and `clara inspect`: the quality of a model, and the content of its memories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clara.cli.options import (
    BaseOption,
    CountOption,
    DeviceOption,
    JsonOption,
    ModelOption,
    ReadingOption,
    SubfolderOption,
    check_reading,
    load_model,
)
from clara.cli.questions import QuestionCommand, check_question, check_text
from clara.errors import InputError

if TYPE_CHECKING:
    from clara.evaluation.inspection import Inspection
    from clara.pipeline import Clara

inspect_app = typer.Typer(help="Inspect the content of memories.", no_args_is_help=True)


def evaluate(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="Questions with their passages: files (JSON or JSON lines, .gz, .xz) in the format of "
            "SQuAD, NQ, HotpotQA, MuSiQue, 2WikiMultihopQA or FlashRAG; or "
            "hub:OWNER/NAME/CONFIG:SPLIT, with CONFIG and SPLIT optional."
        ),
    ] = None,
    run: Annotated[Path, typer.Option("--run", help="Folder for the results.")] = Path("runs/evaluation"),
    corpus: Annotated[
        str | None, typer.Option(help="Additional passages to search: a file, or hub:OWNER/NAME.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", "-s", help="Search this memory store instead of a corpus.")
    ] = None,
    settings: Annotated[
        str, typer.Option(help="Any of oracle, normal, rerank and full, comma-separated.")
    ] = "oracle,normal,rerank,full",
    rates: Annotated[
        str | None, typer.Option(help="Compression rates, comma-separated [default: the model's own].")
    ] = None,
    questions: Annotated[
        int | None, typer.Option(min=1, help="Number of questions to sample [default: all].")
    ] = None,
    passages: Annotated[
        int | None,
        typer.Option(
            min=1, help="Limit the corpus to this many passages; those of the questions are kept first."
        ),
    ] = None,
    k: CountOption = None,
    candidates: Annotated[int, typer.Option(min=1, help="Number of candidates to rerank.")] = 20,
    seed: Annotated[int, typer.Option(help="Random seed of the sampling.")] = 0,
    encoder: Annotated[
        str | None,
        typer.Option(help="Sentence encoder to compare with: minilm, a folder or a hub id [default: none]."),
    ] = None,
    reading: ReadingOption = None,
    llmlingua: Annotated[
        str | None, typer.Option(help="LLMLingua-2 model, for a comparison with compressed text.")
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(
            help="Only these rows of the table of answers, such as gold-text,full-*; without paraphrases "
            "and times [default: all]."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the folder.")] = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Compare two finished runs question by question, and exit."),
    ] = None,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure answers and search against controls and baselines, and write a report."""
    if compare is not None:
        from clara.evaluation.compare import compare as pair
        from clara.rendering.measures import print_compared

        print_compared(pair(*compare), as_json=as_json)
        return
    if not data:
        raise InputError("No data to evaluate on; pass a file of questions, or hub:OWNER/NAME.")
    for source in data:  # told before anything heavy is imported
        if not source.startswith("hub:") and not Path(source).is_file():
            raise InputError(f"{source} does not exist or is not a file.")
    from clara.evaluation import command
    from clara.rendering.measures import print_figures
    from clara.rendering.progress import evaluation_progress

    options = command.options(
        settings=settings,
        rates=rates,
        questions=questions,
        passages=passages,
        k=k,
        candidates=candidates,
        seed=seed,
        encoder=encoder,
        reading=check_reading(reading),
        shortener=llmlingua,
        rows=rows,
    )

    def load() -> Clara:
        return load_model(model, subfolder, base, device)

    with evaluation_progress(quiet=as_json) as show:
        report, figures = command.evaluate(
            load, data, run, options, corpus=corpus, store=store, resume=resume, report=show
        )
    print_figures(figures, report, as_json=as_json)


PageOption = Annotated[Path | None, typer.Option("--html", help="Write an HTML page to this file.")]


@inspect_app.command("document")
def inspect_document(
    source: Annotated[str, typer.Argument(help="A file, or with --text the text itself.")],
    is_text: Annotated[bool, typer.Option("--text", help="Treat SOURCE as the text.")] = False,
    passage: Annotated[
        int | None, typer.Option(min=1, help="Only this passage of the file; the first is 1.")
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, help="Compression rate [default: the model's own].")
    ] = None,
    page: PageOption = None,
    png: Annotated[
        Path | None, typer.Option("--png", help="Write an image of the first passage to this file.")
    ] = None,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how much a passage's memory depends on each word, and the words nearest to each memory token."""
    document = None
    if not is_text:
        from clara.documents import cut, read_document

        if not Path(source).is_file():
            raise InputError(f"{source} does not exist or is not a file; use --text to pass a text.")
        document = read_document(source)
    else:
        check_text("text", source)
        if not source.strip():
            raise InputError("The text is empty; pass a text to inspect.")
    clara = load_model(model, subfolder, base, device)
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


@inspect_app.command("question", cls=QuestionCommand)
def inspect_question(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    page: PageOption = None,
    model: ModelOption = None,
    subfolder: SubfolderOption = None,
    base: BaseOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the words of the vocabulary that are nearest to the memory of a question."""
    check_question(question)
    clara = load_model(model, subfolder, base, device)
    from clara.evaluation.inspection import inspect_question as look

    _show_inspections([look(clara, question, nearest=10)], page, None, as_json)


def _show_inspections(
    inspections: Sequence[Inspection], page: Path | None, png: Path | None, as_json: bool
) -> None:
    from clara.evaluation.wordpage import write_page, write_picture
    from clara.rendering.measures import print_inspections

    try:
        if page is not None:
            write_page(inspections, page, "Memories")
        if png is not None:
            write_picture(inspections[0], png)
    except OSError as error:
        raise InputError(f"{page or png} cannot be written: {error.strerror}.") from error
    print_inspections(inspections, as_json=as_json)
