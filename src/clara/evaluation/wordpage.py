"""Inspections as a page and as a picture: words shaded by weight, memory tokens with their nearest words."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from clara.errors import MissingExtraError
from clara.evaluation.inspection import Inspection, Word
from clara.provenance import write_whole

STEPS = 5
"""Shades; the strongest is for a word of twice the mean weight or more."""

_SHADES = ("#ffffff", "#deebf7", "#9ecae1", "#6baed6", "#3182bd", "#08519c")
_MARKS = "\n".join(
    f"mark.w{step} {{ background: rgb(49 130 189 / {step / STEPS * 0.75:.2f}); }}"
    for step in range(STEPS + 1)
)
_STYLE = f"""
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.9 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h2 {{ font-size: 1rem; margin-top: 2.5rem; }}
mark {{ color: inherit; padding: 0.1em 0; border-radius: 3px; }}
{_MARKS}
table {{ border-collapse: collapse; font-size: 0.85rem; line-height: 1.4; }}
th, td {{ text-align: left; padding: 0.1rem 0.75rem 0.1rem 0; vertical-align: top; }}
small {{ opacity: 0.7; }}
"""


def step_of(word: Word, mean: float) -> int:
    """Shade of a word from 0 to `STEPS`.

    Args:
        word: The word.
        mean: Mean weight of its text's words.
    """
    return min(STEPS, round(word.weight / mean * STEPS / 2)) if mean else 0


def mean_weight(inspection: Inspection) -> float:
    """Mean weight of the words."""
    return sum(word.weight for word in inspection.words) / max(1, len(inspection.words))


def write_page(inspections: Sequence[Inspection], path: Path, title: str) -> None:
    """Write one HTML page that needs nothing else.

    Args:
        inspections: Texts, one below the other.
        path: File to write.
        title: Of the page.
    """
    body = "\n".join(line for inspection in inspections for line in _section(inspection))
    legend = (
        "<p><small>The darker a word, the more the memory depends on it; the darkest count twice the mean or "
        "more. Point at a word for its share. Below each text stands what the model writes from "
        "its memory, or each memory token with the nearest words of the vocabulary and their cosines."
        "</small></p>"
    )
    head = '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
    head += f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>"
    write_whole(
        path,
        f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n'
        f"<h1>{html.escape(title)}</h1>\n{legend}\n{body}\n</body>\n</html>\n",
    )


def _section(inspection: Inspection) -> Iterator[str]:
    yield f"<h2>{html.escape(inspection.text.splitlines()[0][:80])}</h2>"
    if inspection.words:
        yield f"<p>{''.join(_marked(inspection))}</p>"
    if inspection.paraphrase is not None:
        facts = {"kept": inspection.kept, "lost": inspection.lost}
        yield f"<p>Written from the memory: {html.escape(inspection.paraphrase)}</p>"
        for label, found in facts.items():
            listed = html.escape(", ".join(found)) or "none"
            yield f"<p><small>Names and numbers {label}: {listed}</small></p>"
    if not inspection.nearest:
        return
    yield "<table><tr><th>memory token</th><th>nearest words</th></tr>"
    for number, tokens in enumerate(inspection.nearest, start=1):
        words = ", ".join(f"{html.escape(one.text)} <small>{one.cosine:.2f}</small>" for one in tokens)
        yield f"<tr><td>{number}</td><td>{words}</td></tr>"
    yield "</table>"


def _marked(inspection: Inspection) -> Iterator[str]:
    """The text with its words marked; white space as in the text, lines as breaks."""
    mean, written = mean_weight(inspection), 0
    for word in inspection.words:
        yield _plain(inspection.text[written : word.start])
        share = f"{100 * word.weight:.1f} % of the whole"
        yield f'<mark class="w{step_of(word, mean)}" title="{share}">{html.escape(word.text)}</mark>'
        written = word.start + len(word.text)
    yield _plain(inspection.text[written:])


def _plain(text: str) -> str:
    return html.escape(text).replace("\n", "<br>\n")


def write_picture(inspection: Inspection, path: Path, columns: int = 90) -> None:
    """Write a text with its words shaded as a PNG.

    Args:
        inspection: Of a document.
        path: File to write.
        columns: Characters in a line.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    except ImportError as error:
        raise MissingExtraError(
            "Pictures need Matplotlib; run: pip install 'clara-rag[evaluate]'."
        ) from error
    lines = list(_lines(inspection, columns))
    height = len(lines) + 2
    figure = Figure(figsize=(columns * 0.085, height * 0.28))
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axis.set_xlim(0, columns)
    axis.set_ylim(height, 0)
    axis.axis("off")
    style: dict[str, Any] = {"family": "monospace", "fontsize": 9, "va": "center"}
    mean = mean_weight(inspection)
    for row, words in enumerate(lines):
        for column, word in words:
            step = step_of(word, mean)
            width = len(word.text)
            axis.add_patch(Rectangle((column, row + 0.05), width, 0.9, color=_SHADES[step], linewidth=0))
            colour = "white" if step >= STEPS - 1 else "black"
            for place, character in enumerate(word.text):  # one by one, so that they stand over their shade
                axis.text(column + place + 0.5, row + 0.5, character, color=colour, ha="center", **style)
    legend = len(lines) + 0.7
    axis.text(0, legend + 0.5, "a word's share, as a multiple of the mean word's:", **style)
    for step in range(STEPS + 1):
        left = 52 + 6 * step
        axis.add_patch(Rectangle((left, legend), 6, 0.9, color=_SHADES[step], linewidth=0))
        colour = "white" if step >= STEPS - 1 else "black"
        label = f"{2 * step / STEPS:.1f}"
        axis.text(left + 3, legend + 0.5, label, color=colour, ha="center", **style)
    figure.savefig(path, dpi=150)


def _lines(inspection: Inspection, columns: int) -> Iterator[list[tuple[int, Word]]]:
    """The words of each line with their columns."""
    placed: list[tuple[int, int, Word]] = []
    row, column, before = 0, 0, 0
    for word in inspection.words:
        between = inspection.text[before : word.start]
        if "\n" in between or column + bool(between) + len(word.text) > columns:
            row, column = row + bool(placed), 0
        elif between:
            column += 1
        placed.append((row, column, word))
        column += len(word.text)
        before = word.start + len(word.text)
    for _, group in groupby(placed, key=lambda one: one[0]):
        yield [(at, word) for _, at, word in group]
