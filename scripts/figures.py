"""Fill in the tables and the figure of the documentation from measurements.

    python scripts/figures.py            rewrites README.md and docs/
    python scripts/figures.py --check    fails if they differ from the measurements

A table stands between `<!-- figures: RUN TABLE -->` and `<!-- end -->`. RUN is a folder of docs/results, and
TABLE a name of `clara.evaluation.tables.TABLES`. Other sources: `overview` takes all runs, `compared` those
in docs/results/compared; `options GROUP`, `dtypes`, `recall SET` and `cost` are from benchmarks/results;
`compressing` and docs/why.svg are from the log of smollm2.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from clara.evaluation.tables import TABLES, overview_table, percent, signed, table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
FIGURE = ROOT / "docs" / "why.svg"
LOG = ROOT / "recipes" / "smollm2" / "LOG.md"

_TABLE = re.compile(r"<!-- figures: (\S+)(?: ([^>]+?))? -->\n.*?<!-- end -->", re.DOTALL)


def documents() -> list[Path]:
    """The files that hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """A document with its tables as the figures have them."""
    return _TABLE.sub(
        lambda found: f"{found.group().splitlines()[0]}\n{_made(*found.groups())}\n<!-- end -->", text
    )


def _made(run: str, name: str | None) -> str:
    if run == "options":
        return _options(name)
    if run == "dtypes":
        return _dtypes()
    if run == "recall":
        return _recall(name)
    if run == "cost":
        return _cost()
    if run == "compressing":
        return table(LOG_HEAD, log_rows())
    if run == "compared":
        return _compared(("recall@5",) if name == "short" else ("recall@1", "recall@5"))
    if run == "overview":
        folders = [folder for folder in sorted(RESULTS.iterdir()) if (folder / "metrics.json").is_file()]
        return overview_table([_figures(folder) for folder in folders])
    if name not in TABLES:
        raise SystemExit(f"There is no table {name!r}; there are {', '.join(TABLES)}.")
    return TABLES[name](_figures(RESULTS / run))


_DEFAULT_READING = {"smollm2": "full-mixed-4x", "extractive": "full-text"}
"""How each packaged model answers by default, as a name of a condition."""


def _compared(recall: tuple[str, ...]) -> str:
    """F1 and recall of both packaged models on the same questions and passages."""
    rows = []
    for folder in sorted((RESULTS / "compared").iterdir(), reverse=True):
        figures = _figures(folder)
        model, (rate, *_) = figures["model"], figures["rates"]
        answers, found = figures["answers"], figures["retrieval"][f"joined-{rate}x"]
        default = answers[_DEFAULT_READING[model]]
        rows.append(
            (
                f"{figures['data']}, {figures['questions']:,} over {figures['passages']:,}",
                model,
                percent(answers["gold-text"]["f1"]),
                percent(default["f1"]),
                *(percent(found[metric]) for metric in recall),
            )
        )
    return table(("questions over passages", "model", "F1, right passage", "F1, 5 found", *recall), rows)


def _cost() -> str:
    """Time and space of the packaged models, measured on one machine."""

    def of(suffix: str) -> list[str]:
        compression, answering = _benchmark(f"compression_{suffix}"), _benchmark(f"answering_{suffix}")
        return [
            f"{compression['passages_per_second']['by_length']:.1f} passages/s",
            f"{answering['total_ms']['memories']:,.0f} ms",
            f"{answering['total_ms']['text']:,.0f} ms",
            f"{answering['store']['bytes_per_passage'] / 1000:.1f} kB/passage",
            f"{answering['peak_memory_mb'] / 1000:.2f} GB",
        ]

    labels = ("compress", "answer from 5 memories", "answer from 5 texts", "store", "peak memory")
    rows = list(zip(labels, of("smollm2"), of("float32"), strict=True))
    return table(("cost", "smollm2", "extractive"), rows)


LOG_HEAD = ("passages", "read as", "F1", "positions read")


def log_rows() -> list[tuple[str, ...]]:
    """The rows of the compressing model's log that say how many positions were read."""
    text = LOG.read_text(encoding="utf-8")
    head = f"| {' | '.join(LOG_HEAD)} |\n|---|---|---|---|\n"
    if head not in text:
        raise SystemExit(f"{LOG} must have a table headed {head.splitlines()[0]}")
    lines = text.split(head)[-1].split("\n\n")[0].splitlines()  # the last is that of the packaged weights
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]


def figure() -> str:
    """The figure of why to compress, as SVG: a bar of positions for each way to read, with its F1."""
    groups = {"gold alone": "The right passage alone", "5 found at 4x": "Five passages, found by the search"}
    rows = [row for row in log_rows() if row[0] in groups]
    widest = max(int(row[3]) for row in rows)
    parts, y, last = [], 52, ""
    for passages, reading, f1, positions in rows:
        if passages != last:
            y += 14
            parts.append(f'<text x="16" y="{y}" font-weight="bold">{groups[passages]}</text>')
            y, last = y + 12, passages
        width = 340 * int(positions) / widest
        fill = "#2a5d9f" if "memories" in reading else "#7a869a"
        parts += [
            f'<text x="228" y="{y + 14}" text-anchor="end">{reading}</text>',
            f'<rect x="240" y="{y}" width="{width:.1f}" height="18" rx="2" fill="{fill}"/>',
            f'<text x="{246 + width:.1f}" y="{y + 14}">{positions}</text>',
            f'<text x="640" y="{y + 14}">{f1}</text>',
        ]
        y += 26
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {y + 34}" '
            'font-family="Helvetica, Arial, sans-serif" font-size="14" fill="#222">',
            "<title>Positions that the generator reads, and F1 of its answers</title>",
            f'<rect width="800" height="{y + 34}" fill="#fff"/>',
            '<text x="240" y="28" fill="#555">positions that the generator reads</text>',
            '<text x="640" y="28" fill="#555">F1 (95 % interval)</text>',
            *parts,
            f'<text x="16" y="{y + 20}" font-size="12" fill="#555">SmolLM2-135M, 150 questions of SQuAD dev '
            "over 1,000 passages (recipes/smollm2/LOG.md)</text>",
            "</svg>",
            "",
        ]
    )


def _options(group: str | None) -> str:
    """The effect of each training option: a row per option and metric, against the run without it."""
    found = _benchmark("options")
    if group not in found:
        raise SystemExit(f"There is no group {group!r} of options; there are {', '.join(found)}.")
    rows = [
        (
            option,
            metric,
            _interval(row["mean"], row["interval"]),
            ", ".join(f"{seed:.3f}" for seed in row["seeds"]),
            _interval(row["difference"], row["difference_interval"], "+") if "difference" in row else "",
        )
        for option, metrics in found[group].items()
        for metric, row in metrics.items()
    ]
    return table(("option", "measured", "mean", "seeds", "difference"), rows)


def _dtypes() -> str:
    """Size and F1 of every way of keeping memories."""
    rows = []
    for rate, dtypes in _benchmark("memory_dtypes")["rates"].items():
        for dtype, row in dtypes.items():
            difference = signed(row["minus_float16"]) if "minus_float16" in row else ""
            size = f"{row['memory_bytes_per_passage']:,}"
            found = percent(row["recall_at_5"])
            rows.append((rate, f"`{dtype}`", size, found, percent(row["f1"]), difference))
    return table(("rate", "dtype", "bytes per passage", "recall@5", "F1", "difference to float16"), rows)


def _recall(name: str | None) -> str:
    """Recall of every way to search one corpus."""
    found = _benchmark("retrieval")
    if name not in found:
        raise SystemExit(f"There is no corpus {name!r} in the retrieval benchmark.")
    ways = {way: row for way, row in found[name].items() if isinstance(row, dict)}
    metrics = list(next(iter(ways.values())))
    rows = [
        (
            way.replace("keys", "embeddings").replace("memories", "reranked"),
            *(_recalled(row[metric]) for metric in metrics),
            _above(row["recall@5"]),
        )
        for way, row in ways.items()
    ]
    return table(("search", *metrics, "recall@5 above MiniLM and BM25"), rows)


def _recalled(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['mean']:.1f} ({low:.1f} to {high:.1f})"


def _above(figure: dict[str, Any]) -> str:
    mean, low, high = figure["difference"]
    return "" if mean == low == high == 0 else f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def _benchmark(name: str) -> dict[str, Any]:
    file = ROOT / "benchmarks" / "results" / f"{name}.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _interval(mean: float, ends: list[float], sign: str = "") -> str:
    return f"{mean:{sign}.3f} ({ends[0]:{sign}.3f} to {ends[1]:{sign}.3f})"


def _figures(folder: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="change nothing, fail if something would change")
    check = parser.parse_args().check
    stale = []
    for file in (*documents(), FIGURE):
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        new = figure() if file == FIGURE else filled(old)
        if new != old:
            stale.append(str(file.relative_to(ROOT)))
            if not check:
                file.write_text(new, encoding="utf-8")
    if stale:
        print(f"{'Stale' if check else 'Rewritten'}: {', '.join(stale)}")
    sys.exit(bool(stale and check))


if __name__ == "__main__":
    main()
