"""The tables of a report as Markdown, each from the figures of a run alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]

_PASSAGES = {
    "none": "none",
    "wrong": "another question's",
    "gold": "gold alone",
    "oracle": "gold among {k}",
    "rerank": "{k} chosen of candidates",
    "full": "{k} found in the corpus",
}
_READINGS = {
    "memory": "memories {rate}x",
    "text": "text",
    "mixed": "memories {rate}x, best as text",
    "base": "text, base model",
    "noise": "memories {rate}x by random weights",
    "skip": "memories {rate}x without layers",
    "llmlingua": "text shortened {rate}x",
}
_SEARCHES = {"bm25": "BM25", "dense": "sentence encoder"}


def percent(estimate: Figures) -> str:
    """A share with its interval, in percent."""
    return f"{100 * estimate['mean']:.1f} ({100 * estimate['low']:.1f} to {100 * estimate['high']:.1f})"


def plain(estimate: Figures) -> str:
    """A mean with its interval."""
    return f"{estimate['mean']:,.1f} ({estimate['low']:,.1f} to {estimate['high']:,.1f})"


def signed(difference: Figures) -> str:
    """A difference of shares with its interval, in points."""
    ends = f"{100 * difference['low']:+.1f} to {100 * difference['high']:+.1f}"
    return f"{100 * difference['mean']:+.1f} ({ends})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty if it has no rows."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])


def passages_label(condition: Figures, k: int) -> str:
    """Which passages a condition gives, in words."""
    if condition["passages"] == "normal":
        return f"best {k} of {search_label(condition['ranking'])}"
    return _PASSAGES[condition["passages"]].format(k=k)


def reading_label(condition: Figures) -> str:
    """How a condition's passages are read, in words."""
    if condition["passages"] == "none":
        return "nothing"
    return _READINGS[condition["reading"]].format(rate=condition["rate"])


def search_label(name: str) -> str:
    """A ranking in words."""
    if name in _SEARCHES:
        return _SEARCHES[name]
    kind, rate = name.rsplit("-", 1)
    labels = {"memories": "memories", "joined": "memories and words", "reranked": "candidates by memories"}
    return f"{labels[kind]} {rate}"


def controls_table(figures: Figures) -> str:
    """F1 without passages, from wrong and gold memories, and whether the difference can be told from 0."""
    answers = figures["answers"]

    def cell(name: str) -> str:
        return percent(answers[name]["f1"]) if "f1" in answers.get(name, {}) else ""

    rows = [
        (
            f"{rate}x",
            cell("none-text"),
            cell(f"wrong-memory-{rate}x"),
            cell(f"gold-memory-{rate}x"),
            cell("gold-text"),
            signed(control["gold_minus_wrong"]),
            f"{control['gold_minus_wrong']['p']:.4f}",
        )
        for rate, control in figures["controls"].items()
    ]
    head = (
        "rate",
        "no passages",
        "wrong memory",
        "gold memory",
        "gold text",
        "gold minus wrong memory",
        "p",
    )
    return table(head, rows)


def answers_table(figures: Figures) -> str:
    """Every condition with its metrics."""
    rows = []
    for condition in figures["conditions"]:
        found = figures["answers"].get(condition["name"], {})
        if "f1" not in found:
            continue
        rows.append(
            (
                passages_label(condition, figures["k"]),
                reading_label(condition),
                *(percent(found[metric]) for metric in ("f1", "exact_match", "cover_match")),
                plain(found["answer_words"]),
                f"{found['prompt_tokens']['mean']:,.0f}",
                f"{found['failed']} of {found['questions']}",
            )
        )
    head = ("passages", "read as", "F1", "exact match", "cover match", "words", "prompt tokens", "failed")
    return table(head, rows)


def brief_table(figures: Figures) -> str:
    """F1 and exact match of the controls, with gold among K, and of the whole way from the corpus."""
    rows = []
    for condition in figures["conditions"]:
        found = figures["answers"].get(condition["name"], {})
        if "f1" in found and condition["passages"] in ("none", "wrong", "gold", "oracle", "full"):
            scores = (percent(found[metric]) for metric in ("f1", "exact_match"))
            rows.append((passages_label(condition, figures["k"]), reading_label(condition), *scores))
    return table(("passages", "read as", "F1", "exact match"), rows)


def overview_table(runs: Sequence[Figures]) -> str:
    """F1 on several sets, a line each, from the gold passages alone and from the whole corpus.

    Args:
        runs: Figures of runs of one model at the same rates.
    """
    rates = [rate for rate in runs[0]["rates"] if all(rate in run["rates"] for run in runs)]
    columns = {"gold text": "gold-text"}
    columns |= {f"gold memory {rate}x": f"gold-memory-{rate}x" for rate in rates}
    columns |= {f"wrong memory {rate}x": f"wrong-memory-{rate}x" for rate in rates[:1]}
    mixed = f"full-mixed-{rates[0]}x"
    if any(mixed in run["answers"] for run in runs):
        columns["found, best as text"] = mixed
    columns |= {f"found, memories {rates[0]}x": f"full-memory-{rates[0]}x", "found, text": "full-text"}
    searches = {"BM25": "bm25", "memories": f"memories-{rates[0]}x", "both": f"joined-{rates[0]}x"}
    rows = []
    for run in runs:
        found = [run["answers"].get(name, {}).get("f1") for name in columns.values()]
        found += [run["retrieval"].get(name, {}).get("recall@5") for name in searches.values()]
        cells = [percent(estimate) if estimate else "" for estimate in found]
        rows.append((run["data"], f"{run['questions']:,}", f"{run['passages']:,}", *cells))
    head = ("set", "questions", "passages", *columns, *(f"recall@5, {label}" for label in searches))
    return table(head, rows)


def against_text_table(figures: Figures) -> str:
    """Paired differences of F1 to text from the same arrangement of passages."""
    by_name = {condition["name"]: condition for condition in figures["conditions"]}
    rows = [
        (
            passages_label(by_name[name], figures["k"]),
            reading_label(by_name[name]),
            signed(difference),
            f"{difference['p']:.4f}",
        )
        for name, difference in figures["against_text"].items()
    ]
    return table(("passages", "read as", "F1 minus F1 of text", "p"), rows)


def retrieval_table(figures: Figures) -> str:
    """Every ranking with its metrics."""
    names = ("recall@1", "recall@5", "recall@20", "mrr", "ndcg@10")
    rows = [
        (label, *(percent(found[metric]) for metric in names))
        for label, found in distinct_searches(figures["retrieval"])
    ]
    return table(("search", "recall@1", "recall@5", "recall@20", "MRR", "nDCG@10"), rows)


def distinct_searches(rankings: Figures) -> list[tuple[str, Figures]]:
    """(label, figures) of every search, searches of the whole corpus first, each kind by rate.

    Rates of one kind whose figures are all the same, as where the key does not depend on the rate, share a
    line.
    """

    def place(name: str) -> tuple[bool, str, int]:
        kind, _, rate = name.rpartition("-")
        return name.startswith("reranked"), kind, int(rate.removesuffix("x")) if kind else 0

    found: list[tuple[str, Figures]] = []
    before = ""
    for name in sorted(rankings, key=place):
        label, (_, kind, rate) = search_label(name), place(name)
        if kind and kind == before and found[-1][1] == rankings[name]:
            label = f"{found.pop()[0]}, {rate}x"
        found.append((label, rankings[name]))
        before = kind
    return found


def rates_table(figures: Figures) -> str:
    """What memories take and keep."""
    rows = []
    for rate, found in figures["rates"].items():
        kept = figures["preservation"].get(f"{rate}x", {})
        rows.append(
            (
                f"{rate}x",
                f"{found['effective_rate']:.1f}x",
                f"{found['bytes_per_passage']:,}",
                percent(kept["numbers"]) if "numbers" in kept else "not measured",
                percent(kept["names"]) if "names" in kept else "not measured",
            )
        )
    return table(
        ("rate", "document tokens per memory token", "bytes per passage", "numbers kept", "names kept"), rows
    )


def latency_table(figures: Figures) -> str:
    """Milliseconds of one answer."""
    rows = [(name, plain(estimate)) for name, estimate in figures["latency"].get("milliseconds", {}).items()]
    return table((f"{figures['latency'].get('k')} passages read as", "milliseconds an answer"), rows)


def abstention_table(figures: Figures) -> str:
    """Areas under the risk-coverage curve."""
    by_name = {condition["name"]: condition for condition in figures["conditions"]}
    rows = [
        (
            passages_label(by_name[name], figures["k"]),
            reading_label(by_name[name]),
            f"{100 * found['area']:.1f}",
            percent(found["never_abstaining"]),
        )
        for name, found in figures["abstention"].items()
    ]
    return table(("passages", "read as", "area under risk and coverage", "risk of answering all"), rows)


TABLES: dict[str, Callable[[Figures], str]] = {
    "controls": controls_table,
    "answers": answers_table,
    "brief": brief_table,
    "against_text": against_text_table,
    "retrieval": retrieval_table,
    "rates": rates_table,
    "latency": latency_table,
    "abstention": abstention_table,
}
