"""Of each format three documents and ten questions whose answers stand in the difficult part: a table that
is cut, a
footnote, an exponent, a link, a second column. Their passage is found by its words and holds the answer
verbatim.

    pytest tests/documents/test_questions.py
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import pytest
from writers import WRITERS, Block

from clara.documents import show
from clara.records import Passage

TOWNS = [
    "Aldby",
    "Brisk",
    "Corvi",
    "Dunmo",
    "Elgar",
    "Fosse",
    "Grell",
    "Hamra",
    "Issel",
    "Jorde",
    "Kolma",
    "Lunde",
]
FILLER = (
    "The keeper walks along the wall in the morning and looks at the water, the boats and the sky before the "
    "others come. Nothing much is ever written of that hour, and yet it is the one that he likes best of all."
)


def ferries() -> list[list[str]]:
    rows = [["Harbour", "Boat", "Seats", "Last departure"]]
    for at in range(36):
        rows.append(
            [
                f"{TOWNS[at % 12]} {at // 12 + 1}",
                f"Boat {chr(65 + at % 26)}{at}",
                f"{40 + at * 7}",
                f"{18 + at % 5}:{at:02}",
            ]
        )
    return rows


def bread() -> list[list[str]]:
    rows = [["Loaf", "Flour", "Weight", "Oven"]]
    for at in range(30):
        rows.append(
            [f"{TOWNS[at % 12]} loaf {at}", f"{200 + at * 5} g", f"{500 + at * 13} g", f"{200 + at} degrees"]
        )
    return rows


def wells() -> list[list[str]]:
    rows = [["Well", "Depth", "Owner", "Dug"]]
    for at in range(30):
        rows.append([f"{TOWNS[at % 12]} well {at}", f"{11 + at} m", f"Owner {at * 3}", f"{1700 + at * 7}"])
    return rows


DOCUMENTS: dict[str, list[Block]] = {
    "Harbours": [
        ("text", FILLER),
        ("heading", 1, "The lighthouse"),
        (
            "note",
            "The lighthouse of Skarne was lit by a keeper.",
            "Its lamp burned 31 litres of rape oil a night.",
        ),
        ("text", FILLER),
        ("link", "timetable office of the harbours", "https://ferries.example.org/times"),
        ("table", ferries()),
    ],
    "Bakery": [
        ("text", FILLER),
        ("heading", 1, "The dough"),
        ("raised", "The sourdough holds 4×10", "9", " cells in a spoonful of its crumb."),
        (
            "list",
            ["Sift the rye twice.", "Rest the sponge for 45 minutes in a warm room.", "Shape the loaves."],
        ),
        ("text", FILLER),
        ("table", bread()),
    ],
    "Wells": [
        ("text", FILLER),
        ("heading", 1, "The survey"),
        (
            "note",
            "The wells of the valley were measured by a team.",
            "The team was led by Ines Hollander of Brisk.",
        ),
        ("text", FILLER),
        ("table", wells()),
    ],
}
IN_TABLES = [
    ("How many seats has the boat of the harbour Hamra 3?", "257"),
    ("What is the last departure from the harbour Lunde 3?", "18:35"),
    ("Which boat serves the harbour Corvi 2?", "Boat O14"),
    ("How hot is the oven for the Kolma loaf 22?", "222 degrees"),
    ("What is the weight of the Fosse loaf 29?", "877 g"),
    ("How much flour is in the Aldby loaf 12?", "260 g"),
    ("How deep is the Grell well 18?", "29 m"),
    ("When was the Elgar well 28 dug?", "1896"),
    ("Who is the owner of the Dunmo well 27?", "Owner 81"),
    ("When was the Brisk well 13 dug?", "1791"),
]
IN_TEXT = [
    ("How much oil did the lamp of the lighthouse burn a night?", "31 litres of rape oil"),
    ("What is the address of the timetable office of the harbours?", "https://ferries.example.org/times"),
    ("How many cells does a spoonful of the sourdough crumb hold?", "4×10^9"),
    ("How long does the sponge rest in a warm room?", "2. Rest the sponge for 45 minutes"),
    ("Who led the team that measured the wells of the valley?", "Ines Hollander"),
]
TABLES_ALONE = (".csv", ".tsv", ".ods")
CASES = {suffix: IN_TABLES if suffix in TABLES_ALONE else IN_TABLES[::2] + IN_TEXT for suffix in WRITERS}
FREQUENT = frozenset(
    [
        "a",
        "did",
        "do",
        "does",
        "for",
        "from",
        "how",
        "in",
        "is",
        "it",
        "many",
        "much",
        "of",
        "on",
        "s",
        "that",
        "the",
        "to",
        "was",
        "what",
        "when",
        "which",
        "who",
    ]
)
SPELLED = {(".tex", "4×10^9"): "4×10$^{9}$"}


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def found(passages: list[Passage], question: str) -> list[Passage]:
    """The three passages that share most with a question, by words' rarity and passages' length."""
    counts = [Counter(words(passage.content)) for passage in passages]
    rarity = Counter(word for count in counts for word in count)
    usual = sum(count.total() for count in counts) / len(counts)

    def score(count: Counter[str]) -> float:
        norm = 0.3 + 0.7 * count.total() / usual
        return sum(
            math.log(1 + len(counts) / rarity[word]) * count[word] / (count[word] + norm)
            for word in set(words(question)) - FREQUENT
            if word in count
        )

    ranked = sorted(range(len(passages)), key=lambda at: -score(counts[at]))
    return [passages[at] for at in ranked[:3]]


@pytest.mark.parametrize("suffix", WRITERS)
def test_answers_in_difficult_places_are_found(suffix: str, tmp_path: Path) -> None:
    passages: list[Passage] = []
    for title, blocks in DOCUMENTS.items():
        path = tmp_path / f"{title}{suffix}"
        path.write_bytes(WRITERS[suffix](title, blocks))
        for document in show(path):
            passages += document.passages
    assert len(CASES[suffix]) == 10
    missed = [
        (question, answer)
        for question, answer in CASES[suffix]
        if not any(SPELLED.get((suffix, answer), answer) in each.text for each in found(passages, question))
    ]
    assert missed == []


@pytest.mark.parametrize(
    "suffix", [".md", ".html", ".epub", ".docx", ".odt", ".pdf", ".tex", ".adoc", ".ipynb", ".rtf"]
)
def test_every_passage_of_a_table_names_its_columns(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(WRITERS[suffix]("Wells", DOCUMENTS["Wells"]))
    (document,) = show(path)
    rows = [passage for passage in document.passages if re.search(r"well \d", passage.text)]
    assert len(rows) > 1
    for passage in rows:
        assert "Well | Depth | Owner | Dug" in passage.text
        for line in passage.text.split("\n"):
            assert "well" not in line or line.count("|") in (0, 3)
