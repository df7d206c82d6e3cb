"""An evaluation from files to report, as `clara evaluate` runs it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from clara.corpus_index import CorpusIndex, stored_passages
from clara.errors import InputError, MissingExtraError
from clara.evaluation.questions import EvaluationSet, read_evaluation_set
from clara.evaluation.report import write_report
from clara.evaluation.run import EvaluationOptions, EvaluationRun, Report
from clara.evaluation.summary import summarise
from clara.pipeline import Clara
from clara.store import MemoryStore

_NEEDED = ("bm25s", "Stemmer", "sentence_transformers", "matplotlib")


def options(*, settings: str, rates: str | None, rows: str | None, **others: Any) -> EvaluationOptions:
    """Options as they are typed.

    Args:
        settings: Joined by commas.
        rates: Joined by commas.
        rows: Joined by commas.
        **others: Of `EvaluationOptions`.

    Raises:
        InputError: A rate is not a number.
    """
    try:
        numbers = tuple(int(rate) for rate in (rates or "").split(",") if rate.strip())
    except ValueError:
        raise InputError(f"The rates are {rates!r}, but must be comma-separated whole numbers.") from None
    return EvaluationOptions(settings=_parts(settings), rates=numbers, rows=_parts(rows or ""), **others)


def _parts(joined: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in joined.split(",") if part.strip())


def evaluate(
    load: Callable[[], Clara],
    data: Sequence[str],
    folder: Path,
    chosen: EvaluationOptions,
    *,
    corpus: str | None = None,
    store: Path | None = None,
    resume: bool = False,
    report: Report = lambda *_: None,
) -> tuple[Path, dict[str, Any]]:
    """Run what is not done yet and write the report.

    Args:
        load: Gives the model; called when everything else has been looked at.
        data: Sources of questions, as for `read_evaluation_set`.
        folder: Of the run.
        chosen: What to measure.
        corpus: Further passages to search.
        store: A memory store that is searched in place of a corpus.
        resume: Go on with what the folder holds.
        report: Told how far the run has come.

    Returns:
        The report's file and the figures.

    Raises:
        InputError: Data or options cannot be used.
        MissingExtraError: A package of the baselines or pictures is missing.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"Evaluation needs more packages ({', '.join(missing)}); run: pip install 'clara-rag[evaluate]'."
        )
    with ExitStack() as opened:
        index = None
        if store is None:
            questions = read_evaluation_set(data, corpus)
            clara = load()
        else:
            if corpus is not None:
                raise InputError("A store is its own corpus; remove --corpus or --store.")
            held = opened.enter_context(MemoryStore.open(store, read_only=True))
            questions, numbers = _over_store(data, held)
            clara = load()
            held.check_model(clara.fingerprint)
            index = CorpusIndex(clara, held, numbers, None)
        run = EvaluationRun(clara, questions, folder, chosen, resume=resume, store=index, report=report)
        run.execute()
    figures = summarise(folder)
    return write_report(figures, folder), figures


def _over_store(data: Sequence[str], store: MemoryStore) -> tuple[EvaluationSet, dict[int, int]]:
    """Questions to the passages of a store, and the number of each of its passages in that corpus."""
    stored = stored_passages(store)
    questions = read_evaluation_set(data, stored=[(file, text) for _, file, text in stored])
    if len(questions.passages) > len({text for _, _, text in stored}):
        raise InputError(
            "The questions come with their own passages, which the store does not hold; remove --store."
        )
    numbers = {text: number for number, text in enumerate(questions.passages)}
    return questions, {own: numbers[text] for own, _, text in stored}
