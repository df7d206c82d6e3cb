"""Two runs over the same questions, paired question by question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clara.errors import InputError
from clara.evaluation.run import QUESTIONS_FILE, read_lines
from clara.evaluation.statistics import Difference, paired_difference
from clara.evaluation.summary import ANSWER_METRICS, RANKING_METRICS, read_figures


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of both runs.

    Attributes:
        what: The condition or the search.
        metric: The metric.
        first: Mean of the first run over the questions that both have.
        second: Mean of the second.
        difference: Second minus first.
    """

    what: str
    metric: str
    first: float
    second: float
    difference: Difference

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def compare(first: Path, second: Path) -> list[Compared]:
    """Pair what two runs have in common.

    Args:
        first: Folder of a finished run.
        second: Folder of another.

    Raises:
        InputError: A folder holds no finished run, or the runs are over different data or questions.
    """
    if read_figures(first)["data_sha256"] != read_figures(second)["data_sha256"]:
        raise InputError(f"The runs {first} and {second} are over different data and cannot be paired.")
    questions = read_lines(first / QUESTIONS_FILE)
    if not questions.keys() & read_lines(second / QUESTIONS_FILE).keys():
        raise InputError(f"The runs {first} and {second} have no question in common.")
    found: list[Compared] = []
    for name in _common(first / "answers", second / "answers"):
        lines = [_good(folder / "answers" / name) for folder in (first, second)]
        for metric in ANSWER_METRICS:
            found += _pair(
                Path(name).stem,
                metric,
                *({key: line[metric] for key, line in one.items()} for one in lines),
            )
    for name in _common(first / "rankings", second / "rankings"):
        lines = [_good(folder / "rankings" / name) for folder in (first, second)]
        for metric, measure in RANKING_METRICS.items():
            found += _pair(
                Path(name).stem,
                metric,
                *(
                    {
                        key: measure(line["ranking"], questions[key]["gold"])
                        for key, line in one.items()
                        if key in questions and questions[key]["gold"]
                    }
                    for one in lines
                ),
            )
    return found


def _common(first: Path, second: Path) -> list[str]:
    return sorted(
        {file.name for file in first.glob("*.jsonl")} & {file.name for file in second.glob("*.jsonl")}
    )


def _good(file: Path) -> dict[str, dict[str, Any]]:
    return {key: line for key, line in read_lines(file).items() if "error" not in line}


def _pair(what: str, metric: str, first: Mapping[str, float], second: Mapping[str, float]) -> list[Compared]:
    both = [key for key in first if key in second]
    if not both:
        return []
    a, b = [first[key] for key in both], [second[key] for key in both]
    return [Compared(what, metric, sum(a) / len(a), sum(b) / len(b), paired_difference(a, b))]
