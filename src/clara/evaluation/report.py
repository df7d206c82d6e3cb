"""A run's report for people: `report.md` and `report.html`, with tables and pictures."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clara.evaluation import plots
from clara.evaluation.inspection import Inspection
from clara.evaluation.run import WORDS_FILE
from clara.evaluation.tables import TABLES, signed
from clara.evaluation.wordpage import write_page, write_picture
from clara.provenance import write_whole

Figures = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.9rem; }
th, td { text-align: left; padding: 0.25rem 0.75rem; border-bottom: 1px solid #8888; white-space: nowrap; }
img { max-width: 100%; background: white; }
code { font-size: 0.9em; }
"""


def write_report(figures: Figures, folder: Path) -> Path:
    """Write the report of a run and its pictures.

    Args:
        figures: Of the run.
        folder: Of the run.

    Returns:
        The Markdown file.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    pictures = [*plots.draw(figures, folder), *_words(folder)]
    text = "\n\n".join(_parts(figures, pictures)) + "\n"
    file = folder / "report.md"
    write_whole(file, text)
    write_whole(folder / "report.html", as_page(text, f"{figures['model']} on {figures['data']}"))
    return file


def _words(folder: Path) -> list[tuple[str, str]]:
    """The page and the picture of what was looked into; the picture, with what it shows."""
    file = folder / WORDS_FILE
    if not file.is_file():
        return []
    content = json.loads(file.read_text(encoding="utf-8"))
    inspections = [Inspection.from_dict(one) for one in content["inspections"]]
    passages = [one for one in inspections if one.words]
    if not passages:
        return []
    write_page(inspections, folder / "words.html", "Memories of gold passages and of their questions")
    write_picture(passages[0], folder / "words.png")
    return [("words.png", "How much a memory depends on each word of its passage")]


def as_page(text: str, title: str) -> str:
    """Markdown as one HTML page without links to elsewhere.

    Args:
        text: Markdown.
        title: Of the page.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def _parts(figures: Figures, pictures: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield f"# {figures['model']} on {figures['data']}"
    yield _about(figures)
    if figures["controls"]:
        yield "## Are memories read?"
        yield from _verdicts(figures)
        yield TABLES["controls"](figures)
    if figures["answers"]:
        yield "## Answers"
        yield from _failures(figures)
        yield TABLES["answers"](figures)
    if figures["against_text"]:
        yield "## Against text"
        yield "Paired by question; p is that of a sign-flip test."
        yield TABLES["against_text"](figures)
    if figures["retrieval"]:
        yield "## Search"
        yield f"Gold: {figures['gold_is']}."
        yield TABLES["retrieval"](figures)
    yield "## Compression"
    yield (
        "Numbers and names: the share of a passage's own that what the model writes from its memory holds; "
        "not measured where the model was not trained to paraphrase."
    )
    yield TABLES["rates"](figures)
    if figures["abstention"]:
        yield "## Abstention"
        yield (
            f"{figures['unanswerable']} questions have no answer, and only an empty one is right. The risk "
            "is 1 - F1; answers are held back in the order of their mean log probability."
        )
        yield TABLES["abstention"](figures)
    if figures["latency"]:
        yield "## Time"
        yield "One question at a time, model loaded, search not counted."
        yield TABLES["latency"](figures)
    for name, what in pictures:
        yield f"![{what}]({name})"
        if name == "words.png":
            yield "More of these, with the words nearest to each memory token: [words.html](words.html)."
    yield "## Where the numbers come from"
    yield _origin(figures)


def _about(figures: Figures) -> str:
    return (
        f"{figures['questions']:,} questions to {figures['passages']:,} passages; {figures['k']} are read. "
        "In brackets 95 % bootstrap intervals over the questions, all shares in percent."
    )


def _verdicts(figures: Figures) -> Iterator[str]:
    for rate, control in figures["controls"].items():
        verdict = (
            "the gold memory is clearly better than another question's: memories are read"
            if control["reads_memories"]
            else "the gold memory is not clearly better than another question's: this model has not been "
            "shown to read memories"
        )
        yield f"At {rate}x {verdict} (F1 {signed(control['gold_minus_wrong'])})."


def _failures(figures: Figures) -> Iterator[str]:
    failed = sum(found["failed"] for found in figures["answers"].values())
    if failed:
        yield (
            f"**{failed:,} answers failed** and are in none of the means; the files under answers/ say why, "
            "and --resume asks them again."
        )


def _origin(figures: Figures) -> str:
    source = figures["provenance"]
    packages = ", ".join(f"{name} {version}" for name, version in source["packages"].items() if version)
    lines = [
        f"model {figures['model']}, fingerprint `{figures['fingerprint']}`, layers in {figures['precision']}",
        f"data {figures['data']}, sha256 `{figures['data_sha256']}`",
        f"options {figures['options']}",
        f"clara {source['clara']}, commit `{source['commit']}`, Python {source['python']}, {packages}",
        f"{source['machine']}, {source['device']}, {source['threads']} threads; started {source['started']}",
    ]
    return "\n".join(f"- {line}" for line in lines)
