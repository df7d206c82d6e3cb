"""Measure the small model on every test set of DATA, as `clara evaluate` does, one run folder a set.

    python recipes/extractive/evaluate.py --data DATA --runs runs/small [--model FOLDER] [--keep docs/results]

Started again, it goes on where it was. `--keep` copies what the tables of the documentation are made of.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from clara.datasets.json_lines import read_records
from clara.errors import ClaraError, InputError
from clara.evaluation import command
from clara.pipeline import Clara

RATES = "16"
BRIEF = "oracle,full"
FIGURES = ("metrics.json",)
PICTURES = ("rates.png", "retrieval.png", "abstention.png", "map.png", "words.png")


@dataclass(frozen=True)
class TestSet:
    """A run: files of DATA without ending, questions or None for all, passages, conditions, files kept.

    `part` is the value of "split" of the records that are asked about, of files that hold training data too.
    """

    files: tuple[str, ...]
    questions: int | None
    passages: int | None = None
    corpus: str | None = None
    settings: str = BRIEF
    rates: str = RATES
    kept: tuple[str, ...] = FIGURES
    part: str | None = None


SETS = {
    "squad": TestSet(("squad11_dev",), 400, rates="16,4", kept=FIGURES + PICTURES),
    "squad-dev": TestSet(("squad11_dev",), None, settings="oracle"),
    "squad-unanswerable": TestSet(("squad11_dev", "squad20_dev_unanswerable"), 200, 150),
    "nq": TestSet(("nq_qed_nqdev_dev",), 100, 150),
    "hotpotqa": TestSet(("hotpotqa_dev",), 100, 150),
    "2wikimultihop": TestSet(("2wikimultihop_dev",), 100, 150),
    "2wikimultihop-search": TestSet(
        ("2wikimultihop_retrieval_dev",), 53, 300, "2wikimultihop_corpus", "normal,full"
    ),
    "timeqa": TestSet(("timeqa_human_test",), 100, 150),
    "fairytaleqa": TestSet(("fairytaleqa",), 100, 150, part="test"),
    "qamr": TestSet(("qamr",), 100, 150, part="test"),
    "onestopqa": TestSet(("onestopqa",), 100, 150),
    "pubmedqa": TestSet(("pubmedqa_labeled",), 100, 150),
    "covidqa": TestSet(("covidqa",), 100, 150),
    "clapnq": TestSet(("clapnq_dev_answerable",), 100, 150),
}


class Log:
    """Prints what has been done and how long it took, not every step."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._what = ""
        self._started = time.monotonic()

    def __call__(self, what: str, done: int, total: int, failed: int) -> None:
        if what != self._what:
            self._what, self._started = what, time.monotonic()
        if done == total:
            seconds = time.monotonic() - self._started
            print(f"{self._name}, {what}: {done:,} in {seconds:.0f} s, {failed} failed", flush=True)


def evaluate(name: str, chosen: TestSet, data: Path, runs: Path, clara: Clara) -> Path:
    """The folder of a set's run, finished."""
    options = command.options(
        settings=chosen.settings,
        rates=chosen.rates,
        questions=chosen.questions,
        passages=chosen.passages,
        encoder="minilm",
    )
    folder = runs / name
    command.evaluate(
        lambda: clara,
        [str(_file(data, file, chosen.part, runs)) for file in chosen.files],
        folder,
        options,
        corpus=None if chosen.corpus is None else str(data / f"{chosen.corpus}.jsonl.xz"),
        resume=folder.exists(),
        report=Log(name),
    )
    return folder


def _file(data: Path, name: str, part: str | None, runs: Path) -> Path:
    """A file of DATA, or of its part only, written beside the runs."""
    whole = data / f"{name}.jsonl.xz"
    if part is None:
        return whole
    runs.mkdir(parents=True, exist_ok=True)
    wanted = [record for _, record in read_records(whole) if record.get("split") == part]
    if not wanted:
        raise InputError(f"{whole} has no record with the split {part!r}.")
    path = runs / f"{name}_{part}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in wanted), encoding="utf-8")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the test sets")
    parser.add_argument("--runs", type=Path, default=Path("runs/small-evaluation"))
    parser.add_argument("--model", default=None, help="model folder; the packaged small model if not given")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--keep", type=Path, default=None, help="copy figures and pictures into folders here")
    arguments = parser.parse_args()
    clara = Clara.from_pretrained(arguments.model)
    for name in arguments.sets:
        folder = evaluate(name, SETS[name], arguments.data, arguments.runs, clara)
        if arguments.keep is not None:
            kept = arguments.keep / name
            kept.mkdir(parents=True, exist_ok=True)
            for file in SETS[name].kept:
                if (folder / file).is_file():
                    shutil.copyfile(folder / file, kept / file)
        print(f"{name}: {folder / 'report.html'}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except ClaraError as error:
        raise SystemExit(str(error)) from None
