"""The pictures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clara.errors import MissingExtraError
from clara.evaluation.metrics import DEPTHS
from clara.evaluation.run import POINTS_FILE
from clara.evaluation.tables import distinct_searches, passages_label, reading_label

Figures = Mapping[str, Any]

DOTS_PER_INCH = 150


def draw(figures: Figures, folder: Path) -> list[tuple[str, str]]:
    """Write the pictures that a run's figures allow.

    Args:
        figures: Of the run.
        folder: To write to.

    Returns:
        (file name, what it shows) of each.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    pictures = (
        ("rates.png", "F1 and prompt tokens against the compression rate", _rates),
        ("retrieval.png", "Recall at k of each search", _retrieval),
        ("abstention.png", "Risk when only the surest questions are answered", _abstention),
    )
    drawn = [(name, text) for name, text, make in pictures if make(figures, folder / name)]
    if _map(folder / POINTS_FILE, folder / "map.png"):
        drawn.append(("map.png", "Passages and questions in the space of the search, in two dimensions"))
    return drawn


def _subplots(count: int) -> tuple[Any, Sequence[Any]]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "Pictures need Matplotlib; run: pip install 'clara-rag[evaluate]'."
        ) from error
    figure = Figure(figsize=(5.2 * count, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, count, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure, axes


def _save(figure: Any, path: Path) -> bool:
    figure.savefig(path, dpi=DOTS_PER_INCH)
    return True


_SHOWN = ("wrong", "gold", "oracle", "full")
"""Arrangements of passages in the picture of rates; prompts are counted under the last one that was asked."""


def _rates(figures: Figures, path: Path) -> bool:
    answers = figures["answers"]
    lines: dict[str, list[tuple[float, Figures]]] = {}
    for condition in figures["conditions"]:
        found = answers.get(condition["name"], {})
        if condition["reading"] == "memory" and condition["passages"] in _SHOWN and "f1" in found:
            rate = figures["rates"][str(condition["rate"])]["effective_rate"]
            lines.setdefault(passages_label(condition, figures["k"]), []).append((rate, found))
    if not lines:
        return False
    figure, (scores, sizes) = _subplots(2)
    sized = next((one for one in reversed(_SHOWN) if f"{one}-text" in answers), "gold")
    for at, (label, points) in enumerate(lines.items()):
        points.sort(key=lambda point: point[0])
        aside = 1 + 0.03 * (at - (len(lines) - 1) / 2)  # so that intervals do not hide others
        _with_intervals(
            scores, [rate * aside for rate, _ in points], [one["f1"] for _, one in points], label=label
        )
        tokens = [found["prompt_tokens"]["mean"] for _, found in points]
        if label == passages_label({"passages": sized}, figures["k"]):
            sizes.plot([rate for rate, _ in points], tokens, marker="o", label="as memories")
    for axis, name, metric, factor, label in (
        (scores, "gold-text", "f1", 100, "gold alone, as text"),
        (sizes, f"{sized}-text", "prompt_tokens", 1, "the same passages as text"),
    ):
        if metric in answers.get(name, {}):
            height = factor * answers[name][metric]["mean"]
            axis.axhline(height, color="grey", linestyle="--", label=label)
    rates = sorted({rate for points in lines.values() for rate, _ in points})
    for axis, label in ((scores, "F1, %"), (sizes, "prompt tokens")):
        axis.set_xscale("log", base=2)
        axis.set_xticks(rates, [f"{rate:.3g}" for rate in rates])
        axis.set_xlabel("document tokens per memory token")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.legend(fontsize="x-small")
    return _save(figure, path)


def _with_intervals(
    axis: Any, places: Sequence[float], estimates: Sequence[Figures], label: str, style: str = "-"
) -> None:
    """Means in percent with their intervals."""
    means = [100 * estimate["mean"] for estimate in estimates]
    below = [100 * (estimate["mean"] - estimate["low"]) for estimate in estimates]
    above = [100 * (estimate["high"] - estimate["mean"]) for estimate in estimates]
    axis.errorbar(
        places, means, yerr=[below, above], marker="o", markersize=4, capsize=2, linestyle=style, label=label
    )


def _retrieval(figures: Figures, path: Path) -> bool:
    searches = distinct_searches(figures["retrieval"])
    if not searches:
        return False
    figure, (axis,) = _subplots(1)
    for at, (label, found) in enumerate(searches):
        aside = 0.06 * (at - (len(searches) - 1) / 2)
        estimates = [found[f"recall@{k}"] for k in DEPTHS]
        style = "--" if label.startswith("candidates") else "-"
        _with_intervals(axis, [place + aside for place in range(len(DEPTHS))], estimates, label, style)
    axis.set_xticks(range(len(DEPTHS)), [str(k) for k in DEPTHS])
    axis.set_xlabel("k")
    axis.set_ylabel("recall at k, %")
    axis.set_ylim(top=102)
    axis.legend(fontsize="x-small", loc="lower right")
    return _save(figure, path)


def _map(points: Path, path: Path) -> bool:
    """Principal components and t-SNE (van der Maaten and Hinton, 2008) of vectors of unit length."""
    if not points.is_file():
        return False
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    with np.load(points) as held:
        passages, questions, gold = held["passages"], held["questions"], held["gold"]
    vectors = np.concatenate([passages, questions])
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    if len(vectors) < 4:  # too few to be laid out
        return False
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    figure, axes = _subplots(2)
    for axis, name, method in (
        (axes[0], "PCA", PCA(2)),
        (axes[1], "t-SNE", TSNE(2, perplexity=perplexity, init="pca", random_state=0)),
    ):
        places = method.fit_transform(vectors)
        own, asked = places[: len(passages)], places[len(passages) :]
        for question, passage in zip(asked, own[gold], strict=True):
            axis.plot(*zip(question, passage, strict=True), color="grey", linewidth=0.6, alpha=0.6)
        axis.scatter(*own.T, s=8, alpha=0.4, label="passages")
        axis.scatter(*own[gold].T, s=14, label="gold passages")
        axis.scatter(*asked.T, s=18, marker="x", label="questions, with lines to their gold passages")
        axis.set_title(name)
        axis.set_xticks([])
        axis.set_yticks([])
    axes[0].legend(fontsize="x-small")
    return _save(figure, path)


def _abstention(figures: Figures, path: Path) -> bool:
    by_name = {condition["name"]: condition for condition in figures["conditions"]}
    shown = [name for name in figures["abstention"] if by_name[name]["passages"] in ("gold", "full")]
    if not shown:
        return False
    figure, (axis,) = _subplots(1)
    for name in shown:
        found = figures["abstention"][name]
        coverage, risk = zip(*found["curve"], strict=True)
        label = f"{passages_label(by_name[name], figures['k'])}, {reading_label(by_name[name])}"
        (line,) = axis.plot([100 * c for c in coverage], [100 * r for r in risk], label=label)
        axis.axhline(
            100 * found["never_abstaining"]["mean"], color=line.get_color(), linestyle=":", linewidth=1
        )
    axis.set_xlabel("questions answered, %")
    axis.set_ylabel("risk (100 - F1), %; dotted: all answered")
    axis.legend(fontsize="x-small")
    return _save(figure, path)
