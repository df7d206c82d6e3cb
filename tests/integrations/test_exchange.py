"""Documents to and from frameworks, filters, and scores of given texts, without any framework."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest

from clara import Clara, Filter, InputError, Library, MissingExtraError
from clara.integrations import exchange, relevance
from clara.integrations.conditions import expression, expressions
from tests.integrations.conftest import BRIDGE, QUESTION

FACTS = {
    "author": "Kim",
    "year": 2020,
    "share": 0.25,
    "is_draft": False,
    "tags": ["a", {"b": None}],
    "nothing": None,
    "title": "Of bridges",
    "heading": "Opening",
    "page": 0,
    "source": "mail",
}


def test_metadata_comes_back_as_it_was_given(empty: Library) -> None:
    empty.add_documents([exchange.document("one", "The bridge opened in 1883.", FACTS)])
    (stored,) = exchange.passages(empty)
    assert exchange.metadata(stored) == FACTS
    assert exchange.passage_id(stored) == "one"
    assert (stored.passage.title, stored.passage.heading, stored.passage.page) == ("Of bridges", "Opening", 0)


@pytest.mark.parametrize("title", [" padded", "two\nlines", "", 5, "t" * 201])
def test_a_title_that_would_not_come_back_stays_in_the_metadata(empty: Library, title: object) -> None:
    empty.add_documents([exchange.document("one", "Text.", {"title": title})])
    (stored,) = exchange.passages(empty)
    assert stored.passage.title == ""
    assert exchange.metadata(stored) == {"title": title}


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, [float("inf")]])
def test_what_is_no_json_is_named(value: object) -> None:
    with pytest.raises(InputError, match=r"metadata of the document 'one' cannot be kept.*'odd'"):
        exchange.document("one", "Text.", {"odd": value, "fine": 1})


def test_a_document_is_compressed_again_only_if_it_differs(empty: Library) -> None:
    first = exchange.document("one", "Text.", {"year": 1})
    assert empty.add_documents([first]).passages == 1
    assert empty.add_documents([exchange.document("one", "Text.", {"year": 1})]).unchanged == 1
    other = empty.add_documents([exchange.document("one", "Text.", {"year": 2})])
    assert (other.replaced, other.kept, other.passages) == (1, 1, 0)
    assert [exchange.metadata(stored) for stored in exchange.passages(empty)] == [{"year": 2}]


def test_a_long_document_is_several_passages_that_go_together(empty: Library) -> None:
    text = " ".join(f"Sentence {number} tells of bridges." for number in range(120))
    empty.add_documents([exchange.document("long", text, {"author": "Kim"})])
    stored = list(exchange.passages(empty))
    names = [exchange.passage_id(one) for one in stored]
    assert names == ["long", *(f"long#passage-{number}" for number in range(1, len(names)))]
    assert len(names) > 2
    assert " ".join(one.passage.text for one in stored) == text
    assert exchange.passages_by_id(empty, [names[2], "absent", "long#passage-99", names[0]]) == [
        stored[2],
        stored[0],
    ]
    with pytest.raises(InputError, match=r"passage 1 of the document 'long'.*remove the document by its id"):
        exchange.remove(empty, [names[1]])
    assert exchange.remove(empty, [names[1], "long", "absent"]) == 1
    assert empty.documents() == []


def test_an_id_may_look_like_that_of_a_later_passage(empty: Library) -> None:
    empty.add_documents([exchange.document(name, f"Of {name}.", {}) for name in ("a", "a#passage-1")])
    assert [one.passage.text for one in exchange.passages_by_id(empty, ["a#passage-1"])] == [
        "Of a#passage-1."
    ]
    assert exchange.remove(empty, ["a#passage-1"]) == 1


def test_changed_metadata_keeps_passages_places_and_memories(clara: Clara, empty: Library) -> None:
    empty.add(BRIDGE)
    before = list(exchange.passages(empty))
    memories = empty.store.memories([one.id for one in before])
    report = empty.add_documents([exchange.changed(empty, BRIDGE, {"checked": True})])
    after = list(exchange.passages(empty))
    assert (report.kept, report.passages) == (len(before), 0)
    assert [exchange.metadata(one) for one in after] == [
        {**exchange.metadata(one), "checked": True} for one in before
    ]
    assert [one.passage.text for one in after] == [one.passage.text for one in before]
    for one, other in zip(memories, empty.store.memories([one.id for one in after]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_found_passages_tell_file_place_score_and_support(library: Library) -> None:
    name, source = exchange.search(library, QUESTION, 3, None)[0]
    told = exchange.found_metadata(source)
    assert name.startswith(f"{BRIDGE}#passage-")
    assert {key: told[key] for key in ("file", "title", "heading", "rank")} == {
        "file": BRIDGE,
        "title": "The Brooklyn Bridge",
        "heading": "Opening",
        "rank": 1,
    }
    assert told["lines"] == list(source.lines or ())
    assert told["score"] == library.search(QUESTION, 1)[0].score
    assert told["evidence"] in source.text


def test_filters_of_names_and_values() -> None:
    where = {
        "author": "Kim",
        "year": {"$gte": 2020, "$lt": 2024.5},
        "$and": [{"is_draft": False}, {"place": {"$ne": "x"}}],
    }
    written = ["author=Kim", "year>=2020", "year<2024.5", "is_draft=false", "place!=x"]
    assert expressions(where) == written
    assert [str(one) for one in Filter.parse(written).conditions] == written
    assert expressions("format=md") == ["format=md"]
    assert expressions(["format=md", "page>2"]) == ["format=md", "page>2"]
    assert expressions(None) == []


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"$or": [{"a": 1}]}, r"operator \$or is unknown.*only \$and"),
        ({"a": {"$in": [1]}}, r"operator \$in is unknown; allowed are \$eq"),
        ({"a": [1]}, "compares a with a value of type list"),
        ({"a": None}, "compares a with a value of type NoneType"),
    ],
)
def test_filters_that_cannot_be_written(where: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        expressions(where)


def test_filters_find_what_python_finds(empty: Library) -> None:
    rows = [{"n": number, "even": number % 2 == 0, "name": f"x{number}"} for number in range(6)]
    empty.add_documents([exchange.document(f"d{row['n']}", f"Number {row['n']}.", row) for row in rows])

    def found(*where: str) -> set[str]:
        return {name for name, _ in exchange.search(empty, "Which number?", 10, where)}

    for operator, holds in {
        "=": lambda n: n == 3,
        "!=": lambda n: n != 3,
        "<": lambda n: n < 3,
        "<=": lambda n: n <= 3,
        ">": lambda n: n > 3,
        ">=": lambda n: n >= 3,
    }.items():
        assert found(expression("n", operator, 3)) == {f"d{n}" for n in range(6) if holds(n)}
    assert found(expression("even", "=", True), expression("name", "!=", "x2")) == {"d0", "d4"}


def test_given_texts_are_scored_as_a_search_scores_them(clara: Clara, library: Library) -> None:
    hits = library.search(QUESTION, 10)
    scores = relevance.scores(clara, QUESTION, [hit.stored.passage.content for hit in hits])
    # a batch of compression pads, which rounds memories otherwise
    np.testing.assert_allclose(scores, [hit.score for hit in hits], atol=2e-3)
    assert relevance.best_first(scores, 3) == [0, 1, 2]
    assert relevance.scores(clara, QUESTION, []) == []
    assert relevance.best_first([0.5, 0.75, 0.75], None) == [1, 2, 0]


def test_embeddings_are_the_keys_of_the_store(clara: Clara, library: Library) -> None:
    stored = list(exchange.passages(library))[:5]
    vectors = np.array(relevance.embeddings(clara, [one.passage.content for one in stored]))
    kept = library.store.embeddings([one.id for one in stored]).astype(np.float64)
    np.testing.assert_allclose(vectors, kept, atol=2e-3)
    query = np.array(relevance.query_embedding(clara, QUESTION))
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-5)
    assert query.shape == (clara.embedding_dim,)


def test_memories_are_compared_slot_by_slot() -> None:
    one, other = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])
    assert relevance._cosine(one, other) == pytest.approx(1 / np.sqrt(2))
    assert relevance._cosine(one, one) == pytest.approx(1)
    assert relevance._cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(24 / 25)


@pytest.mark.parametrize(
    ("extra", "package", "distribution"),
    [
        ("langchain", "langchain_core", "langchain-core"),
        ("llamaindex", "llama_index", "llama-index-core"),
        ("haystack", "haystack", "haystack-ai"),
    ],
)
def test_a_missing_framework_is_told_with_its_install_line(
    monkeypatch: pytest.MonkeyPatch, extra: str, package: str, distribution: str
) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] == package or name == f"clara.integrations.{extra}":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    message = (
        f"clara.integrations.{extra} needs the package {distribution}; "
        rf"run: pip install 'clara-rag\[{extra}\]'\."
    )
    with pytest.raises(MissingExtraError, match=f"^{message}$"):
        importlib.import_module(f"clara.integrations.{extra}")


def test_the_package_alone_imports_no_framework() -> None:
    heavy = "('torch', 'haystack', 'langchain_core', 'llama_index')"
    code = f"import sys, clara.integrations; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_text_is_read_below_its_title_and_heading() -> None:
    assert exchange.content("Text.", {"title": "T", "heading": "H", "page": 1}) == "T > H\nText."
    assert exchange.content("Text.", {"title": "", "heading": "H"}) == "H\nText."
    assert exchange.content("Text.", {"page": 1}) == "Text."
