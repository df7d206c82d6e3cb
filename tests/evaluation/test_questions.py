"""Every public form gives the same items, and every fault its place."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from clara.datasets.formats import Item, read_items, read_passage
from clara.errors import InputError
from clara.evaluation.questions import CONTAINING, LABELLED, read_evaluation_set

DATA = Path(__file__).parents[3] / "shared" / "data"

FORMS: dict[str, tuple[dict[str, Any], Item]] = {
    "SQuAD file": (
        {
            "title": "Ada_Lovelace",
            "paragraphs": [
                {
                    "context": "She wrote notes.",
                    "qas": [
                        {
                            "id": "s1",
                            "question": "What did she write?",
                            "answers": [
                                {"text": "notes", "answer_start": 10},
                                {"text": "notes", "answer_start": 10},
                            ],
                        }
                    ],
                }
            ],
        },
        Item("s1", "What did she write?", ("notes",), ("Ada Lovelace\nShe wrote notes.",), (0,)),
    ),
    "SQuAD 2 file, unanswerable": (
        {
            "paragraphs": [
                {
                    "context": "She wrote notes.",
                    "qas": [{"id": "s2", "question": "Where?", "answers": [], "is_impossible": True}],
                }
            ]
        },
        Item("s2", "Where?", (), ("She wrote notes.",), ()),
    ),
    "SQuAD on the hub": (
        {
            "id": "s3",
            "title": "T",
            "context": "C",
            "question": "Q?",
            "answers": {"text": ["a", "b"], "answer_start": [0, 1]},
        },
        Item("s3", "Q?", ("a", "b"), ("T\nC",), (0,)),
    ),
    "passages with questions": (
        {"id": "p", "title": "T", "passage": "C", "qas": [{"question": "Q?", "answers": ["a"]}]},
        Item("p-0", "Q?", ("a",), ("T\nC",), (0,)),
    ),
    "questions with passages": (
        {
            "id": "q",
            "question": "Q?",
            "answers": ["a"],
            "docs": [{"title": "T", "text": "C"}, {"title": "", "text": "D"}],
            "gold": [1],
        },
        Item("q", "Q?", ("a",), ("T\nC", "D"), (1,)),
    ),
    "released evaluation file": (
        {"question": "Q?", "docs": ["C", "D"], "gold_answer": "a", "pos_index": [0]},
        Item("", "Q?", ("a",), ("C", "D"), (0,)),
    ),
    "judgements without answers": (
        {"id": "r", "question": "Q?", "answers": [], "docs": ["C"], "gold": [0]},
        Item("r", "Q?", None, ("C",), (0,)),
    ),
    "HotpotQA file": (
        {
            "_id": "h",
            "question": "Q?",
            "answer": "yes",
            "context": [["A", ["One.", " Two."]], ["B", ["Three."]]],
            "supporting_facts": [["B", 0]],
        },
        Item("h", "Q?", ("yes",), ("A\nOne. Two.", "B\nThree."), (1,)),
    ),
    "HotpotQA on the hub": (
        {
            "id": "h",
            "question": "Q?",
            "answer": "yes",
            "context": {"title": ["A", "B"], "sentences": [["One."], ["Two."]]},
            "supporting_facts": {"title": ["A", "A"], "sent_id": [0, 1]},
        },
        Item("h", "Q?", ("yes",), ("A\nOne.", "B\nTwo."), (0,)),
    ),
    "MuSiQue": (
        {
            "id": "m",
            "question": "Q?",
            "answer": "a",
            "answer_aliases": ["b", "a"],
            "answerable": True,
            "paragraphs": [
                {"idx": 0, "title": "A", "paragraph_text": "One.", "is_supporting": False},
                {"idx": 1, "title": "B", "paragraph_text": "Two.", "is_supporting": True},
            ],
        },
        Item("m", "Q?", ("a", "b"), ("A\nOne.", "B\nTwo."), (1,)),
    ),
    "NQ simplified": (
        {
            "example_id": 7,
            "question_text": "who ran",
            "document_title": "T",
            "document_text": "<P> Ann ran . </P> <P> Bob sat . </P>",
            "long_answer_candidates": [
                {"start_token": 0, "end_token": 5, "top_level": True},
                {"start_token": 1, "end_token": 3, "top_level": False},
                {"start_token": 5, "end_token": 10, "top_level": True},
            ],
            "annotations": [
                {
                    "yes_no_answer": "NONE",
                    "long_answer": {"start_token": 0, "end_token": 5},
                    "short_answers": [{"start_token": 1, "end_token": 2}],
                }
            ],
        },
        Item("7", "who ran", ("Ann",), ("T\nAnn ran .", "T\nBob sat ."), (0,)),
    ),
    "NQ as for DPR": (
        {
            "question": "Q?",
            "answers": ["a"],
            "positive_ctxs": [{"title": "A", "text": "One."}],
            "negative_ctxs": [],
            "hard_negative_ctxs": [{"title": "B", "text": "Two."}],
        },
        Item("", "Q?", ("a",), ("A\nOne.", "B\nTwo."), (0,)),
    ),
    "NQ open": ({"question": "Q?", "answer": ["a", "b"]}, Item("", "Q?", ("a", "b"))),
    "FlashRAG": (
        {"id": "f", "question": "Q?", "golden_answers": ["a"], "metadata": {}},
        Item("f", "Q?", ("a",)),
    ),
    "one's own": (
        {"id": "o", "question": "Q?", "answers": ["a"], "document": "x/y.md"},
        Item("o", "Q?", ("a",), file="x/y.md"),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_told_by_its_keys(form: str) -> None:
    record, item = FORMS[form]
    assert list(read_items(record)) == [item]


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"words": "Q?"},
        {"question": ""},
        {"question": 3, "answer": "a"},
        {"question": "Q?", "docs": ["C"], "gold": [1], "answers": ["a"]},
        {"question": "Q?", "answer": [""]},
        {"question": "Q?", "context": [["A"]], "supporting_facts": [], "answer": "a"},
        {"paragraphs": [{"context": "C"}]},
        {"passage": None, "qas": [{"question": "Q?", "answers": ["a"]}], "title": "T"},
    ],
)
def test_a_faulty_record_is_refused(record: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        list(read_items(record))


def test_passages_of_a_corpus() -> None:
    assert read_passage({"id": "1", "contents": '"A title"\nIts text.'}) == "A title\nIts text."
    assert read_passage({"contents": "Text alone."}) == "Text alone."
    assert read_passage({"title": "T", "text": "C"}) == "T\nC"
    with pytest.raises(InputError, match="text or contents"):
        read_passage({"id": "1"})


def lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_a_set_holds_every_passage_once_and_every_id_once(tmp_path: Path) -> None:
    first = lines(
        tmp_path / "a.jsonl",
        {"id": "q", "question": "One?", "answers": ["x"], "docs": ["C", "D"], "gold": [0]},
        {"id": "q", "question": "Two?", "answers": ["y"], "docs": ["D", "E"], "gold": [0]},
    )
    second = lines(tmp_path / "b.jsonl", {"question": "Three?", "answers": ["z"], "docs": ["F"], "gold": [0]})
    corpus = lines(tmp_path / "corpus.jsonl", {"contents": "G"}, {"contents": "D"})
    found = read_evaluation_set([first, second], corpus)
    assert found.name == "a+b"
    assert found.passages == ("C", "D", "E", "F", "G")
    assert [question.id for question in found.questions] == ["q", "q-2", "b-0"]
    assert [question.gold for question in found.questions] == [(0,), (1,), (3,)]
    assert [question.candidates for question in found.questions] == [(0, 1), (1, 2), ()]
    assert found.gold_is == LABELLED


def test_without_labels_gold_is_what_contains_an_answer(tmp_path: Path) -> None:
    questions = lines(tmp_path / "q.jsonl", {"question": "Who?", "golden_answers": ["The Cat", "dog"]})
    corpus = lines(
        tmp_path / "c.jsonl", {"contents": "A cat, sat."}, {"contents": "cats"}, {"contents": "My dog!"}
    )
    found = read_evaluation_set([questions], corpus)
    assert found.gold_is == CONTAINING
    assert found.questions[0].gold == (0, 2)


def test_gold_of_a_named_document(tmp_path: Path) -> None:
    questions = lines(
        tmp_path / "q.jsonl",
        {"question": "Who?", "answers": ["cat"], "document": "x/a.md"},
        {"question": "Who?", "answers": ["bird"], "document": "x/a.md"},
    )
    stored = [("/docs/x/a.md", "A cat."), ("/docs/x/a.md", "A dog."), ("/docs/x/b.md", "A cat and a bird.")]
    found = read_evaluation_set([questions], stored=stored)
    assert found.questions[0].gold == (0,)
    assert found.questions[1].gold == (0, 1)  # no passage of the document contains the answer


def test_files_of_every_packing_read_the_same(tmp_path: Path) -> None:
    record, _ = FORMS["SQuAD file"]
    plain = tmp_path / "a.json"
    plain.write_text(json.dumps({"version": "1.1", "data": [record]}), encoding="utf-8")
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(plain.read_bytes()))
    listed = tmp_path / "a.jsonl.xz"
    listed.write_bytes(lzma.compress(json.dumps(record).encode()))
    sets = [read_evaluation_set([path]) for path in (plain, tmp_path / "a.json.gz", listed)]
    assert sets[0] == sets[1] == sets[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no questions"),
        (b'{"question": "Q?"\n', r"a\.jsonl, line 1: not JSON"),
        (b'\n["Q?"]\n', r"a\.jsonl, line 2: a JSON object is wanted, but this is a list"),
        (b'{"question": ' + b"9" * 5000 + b"}\n", r"a\.jsonl, line 1: a number has thousands of digits"),
        (b'{"question": ' + b"[" * 100_000 + b"\n", r"a\.jsonl, line 1: nested too deeply"),
        (b'{"question": "Q?", "answer": "a"}\n{"x": 1}\n', r"a\.jsonl, line 2: a record with the keys x"),
        (b'{"question": "Q?", "answer": "a"}\n', "come without passages"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_evaluation_set([path])


def test_a_file_that_is_missing_or_damaged_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_evaluation_set([tmp_path / "none.jsonl"])
    broken = tmp_path / "a.jsonl.xz"
    broken.write_bytes(b"not packed")
    with pytest.raises(InputError, match="cannot be read"):
        read_evaluation_set([broken])


def test_a_data_set_of_the_hub_reads_as_its_file(tmp_path: Path) -> None:
    record, _ = FORMS["SQuAD on the hub"]
    folder = tmp_path / "squad"
    folder.mkdir()
    lines(folder / "validation.jsonl", record, record | {"id": "s4"})
    found = read_evaluation_set([f"hub:{folder}"])
    assert [question.id for question in found.questions] == ["s3", "s4"]
    assert found.passages == read_evaluation_set([folder / "validation.jsonl"]).passages
    with pytest.raises(InputError, match=r"hub:.*:test cannot be loaded"):
        read_evaluation_set([f"hub:{folder}:test"])


def test_a_sample_keeps_the_corpus_and_the_order(tmp_path: Path) -> None:
    records = [
        {"id": str(n), "question": f"{n}?", "answers": ["x"], "docs": [f"C{n}"], "gold": [0]}
        for n in range(20)
    ]
    whole = read_evaluation_set([lines(tmp_path / "a.jsonl", *records)])
    drawn = whole.sample(5, None, seed=1)
    places = [int(question.id) for question in drawn.questions]
    assert places == sorted(places)
    assert len(set(places)) == 5
    assert (drawn.passages, drawn.sha256) == (whole.passages, whole.sha256)
    assert whole.sample(5, None, seed=1) == drawn != whole.sample(5, None, seed=2)
    assert whole.sample(100, None, seed=1) == whole


@pytest.mark.parametrize("passages", [1, 15, 30, 100])
def test_a_cut_corpus_keeps_what_the_questions_need(tmp_path: Path, passages: int) -> None:
    records = [
        {"id": str(n), "question": f"{n}?", "answers": ["x"], "docs": [f"C{n}", f"D{n}"], "gold": [1]}
        for n in range(20)
    ]
    whole = read_evaluation_set([lines(tmp_path / "a.jsonl", *records)])
    drawn = whole.sample(5, passages, seed=1)
    assert len(drawn.passages) == len(set(drawn.passages)) == min(40, max(10, passages))
    for question in drawn.questions:
        assert [drawn.passages[number] for number in question.gold] == [f"D{question.id}"]
        found = [drawn.passages[number] for number in question.candidates]
        assert found == [f"C{question.id}", f"D{question.id}"]


COUNTS = {
    "squad11_dev": (10_570, 2_067, 0),
    "squad20_dev_unanswerable": (5_945, 1_204, 5_945),
    "hotpotqa_dev": (275, 2_731, 0),
    "2wikimultihop_dev": (329, 2_259, 0),
    "timeqa_human_test": (687, 2_684, 0),
}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the public data are not at {DATA}")
@pytest.mark.parametrize("name", COUNTS)
def test_public_data_is_read_whole(name: str) -> None:
    found = read_evaluation_set([DATA / f"{name}.jsonl.xz"])
    unanswerable = sum(question.answers == () for question in found.questions)
    assert (len(found.questions), len(found.passages), unanswerable) == COUNTS[name]
    assert all(question.gold for question in found.questions if question.answers)
