"""Fill the tables of the documentation in from the figures of evaluation runs.

    python scripts/figures.py            rewrites README.md and docs/
    python scripts/figures.py --check    fails if they are not what the figures say

A table stands between `<!-- figures: RUN TABLE -->` and `<!-- end -->`. RUN is a folder of docs/results, and
TABLE a name of `clara.evaluation.tables.TABLES`; `<!-- figures: overview -->` takes all runs, and
`<!-- figures: options GROUP -->`, `<!-- figures: dtypes -->` and `<!-- figures: recall SET -->` are made from
benchmarks/results.
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

_TABLE = re.compile(r"<!-- figures: (\S+)(?: ([^>]+?))? -->\n.*?<!-- end -->", re.DOTALL)


def documents() -> list[Path]:
    """The files that hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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
    if run == "overview":
        return overview_table([_figures(folder) for folder in sorted(RESULTS.iterdir()) if folder.is_dir()])
    if name not in TABLES:
        raise SystemExit(f"There is no table {name!r}; there are {', '.join(TABLES)}.")
    return TABLES[name](_figures(RESULTS / run))


def _options(group: str | None) -> str:
    """What each training option brought: a line per option and metric, beside the run without it."""
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
    return table(("rate", "dtype", "bytes a passage", "recall@5", "F1", "difference to float16"), rows)


def _recall(name: str | None) -> str:
    """Recall of every way to search one corpus."""
    found = _benchmark("retrieval")
    if name not in found:
        raise SystemExit(f"There is no corpus {name!r} in the retrieval benchmark.")
    ways = {way: row for way, row in found[name].items() if isinstance(row, dict)}
    metrics = list(next(iter(ways.values())))
    rows = [
        (way, *(_recalled(row[metric]) for metric in metrics), _above(row["recall@5"]))
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
    for file in documents():
        old = file.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            stale.append(str(file.relative_to(ROOT)))
            if not check:
                file.write_text(new, encoding="utf-8")
    if stale:
        print(f"{'Stale' if check else 'Rewritten'}: {', '.join(stale)}")
    sys.exit(bool(stale and check))


if __name__ == "__main__":
    main()
