"""Passages read one by one, against prompts made by hand; and the choices that a caller has."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from clara import Clara
from clara import reading as module
from clara.configuration import ClaraConfig
from clara.errors import InputError
from clara.library import Library
from clara.reading import FoundPassage
from clara.records import Reply
from conftest import tiny_base, tiny_model

TEXTS = ["w1 w2 w3 w4 w5 w6 w7", "w8 w9 w10", "w11 w12 w13 w14 w15", "w16 w17 w18 w19"]
QUESTIONS = ["w1 w2", "w20 w21 w22", "w30", "w8 w40", "w5 w16"]
POOLED: dict[str, Any] = {
    "compressor": "pooled",
    "score": "tokens",
    "prompt_format": "documents",
    "memory_layer": 1,
    "search_size": 16,
    "compression_rate": 2,
    "document_prefix_ids": [10, 11],
    "query_prefix_ids": [12],
    "memory_token_ids": [1],
    "encode_token_id": None,
    "no_answer_token_id": 22,
    "num_selected": 4,
    "num_text_documents": 1,
    "reading": "separate",
}


@pytest.fixture(autouse=True)
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights tell documents less apart than trained ones do."""
    monkeypatch.setattr(module, "RANK_WEIGHT", 0.01)
    monkeypatch.setattr(module, "AUTO_MARGIN", 0.02)


@pytest.fixture(scope="module")
def clara() -> Clara:
    return Clara(*tiny_model("llama", **POOLED), "tiny")


@pytest.fixture(scope="module")
def found(clara: Clara) -> list[FoundPassage]:
    memories, _ = clara.compress(TEXTS)
    return [FoundPassage(text, memory) for text, memory in zip(TEXTS, memories, strict=True)]


def alone(clara: Clara, question: str, documents: list[Any]) -> list[Reply]:
    """The reply from each document in a prompt of its own."""
    return [clara.read([question], [[one]], reading="joint", max_new_tokens=4)[0] for one in documents]


def scores(replies: list[Reply], places: list[int]) -> list[float]:
    """What is compared, written out: log of the probability of an answer, less a part of log(rank)."""
    return [
        math.log(1 / (1 + math.exp(-reply.confidence))) + module.RANK_WEIGHT * math.log(1 / (place + 1))
        for reply, place in zip(replies, places, strict=True)
    ]


def best(values: list[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


@pytest.mark.parametrize("as_text", [True, False])
def test_the_likeliest_document_is_read(clara: Clara, found: list[FoundPassage], as_text: bool) -> None:
    documents: list[Any] = [one.text if as_text else one.memory for one in reversed(found)]
    replies = clara.read(QUESTIONS, [documents] * len(QUESTIONS), max_new_tokens=4)
    chosen = []
    for question, reply in zip(QUESTIONS, replies, strict=True):
        each = alone(clara, question, documents)
        place = best(scores(each, [0, 1, 2, 3]))
        assert (reply.text, reply.taken_from) == (each[place].text, place)
        assert reply.confidence == pytest.approx(each[place].confidence, abs=1e-4)
        assert reply.prompt_tokens == sum(one.prompt_tokens for one in each) + each[place].prompt_tokens
        chosen.append(place)
    assert any(chosen)  # else always taking the first would pass


@pytest.mark.parametrize("count", [1, 2])
def test_memories_choose_what_is_read_as_text(clara: Clara, found: list[FoundPassage], count: int) -> None:
    replies = clara.reader.read_found(
        QUESTIONS, [found] * len(QUESTIONS), text_passages=count, max_new_tokens=4
    )
    chosen = []
    for question, reply in zip(QUESTIONS, replies, strict=True):
        judged = alone(clara, question, [one.memory for one in found])
        by_memory = scores(judged, [0, 1, 2, 3])
        kept = sorted(sorted(range(4), key=lambda place: -by_memory[place])[:count])
        each = alone(clara, question, [found[place].text for place in kept])
        place = best(scores(each, kept))
        assert (reply.text, reply.taken_from) == (each[place].text, kept[place])
        assert reply.texts == tuple(kept)
        read = [*judged, *(each if count > 1 else []), each[place]]
        assert reply.prompt_tokens == sum(one.prompt_tokens for one in read)
        chosen.append(kept)
    assert len({tuple(kept) for kept in chosen}) > 1


def test_passages_in_doubt_are_read_as_text(clara: Clara, found: list[FoundPassage]) -> None:
    for question in QUESTIONS:
        (reply,) = clara.reader.read_found([question], [found], text_passages="auto", max_new_tokens=4)
        by_memory = scores(alone(clara, question, [one.memory for one in found]), [0, 1, 2, 3])
        near = [place for place in range(4) if by_memory[place] >= max(by_memory) - module.AUTO_MARGIN]
        assert reply.texts == tuple(near)
    # the budget holds where all are alike
    long = FoundPassage("w1 " * 400, found[0].memory)
    (reply,) = clara.reader.read_found(["w1"], [[long] * 4], text_passages="auto", max_new_tokens=4)
    assert len(reply.texts) == max(1, module.AUTO_TOKENS // 400)


def test_without_text_the_best_memory_is_read(clara: Clara, found: list[FoundPassage]) -> None:
    memories = [one.memory for one in found]
    (reply,) = clara.reader.read_found(["w1 w2"], [found], text_passages=0, max_new_tokens=4)
    assert reply == clara.read(["w1 w2"], [memories], max_new_tokens=4)[0]
    assert reply.texts == ()


def test_one_passage_is_not_judged(clara: Clara, found: list[FoundPassage]) -> None:
    (reply,) = clara.reader.read_found(["w1 w2"], [found[:1]], max_new_tokens=4)
    (expected,) = alone(clara, "w1 w2", [found[0].text])
    assert (reply.text, reply.prompt_tokens, reply.taken_from) == (expected.text, expected.prompt_tokens, 0)
    (nothing,) = clara.read(["w1 w2"], [[]], max_new_tokens=4)
    assert nothing.taken_from is None


def test_a_batch_gives_what_each_question_gives(clara: Clara, found: list[FoundPassage]) -> None:
    groups = [found, found[1:], found[:1], found[2:], found[:3]]
    for text_passages in (0, 1, 2, 4, "auto"):
        together = clara.reader.read_found(
            QUESTIONS,
            groups,
            text_passages=text_passages,  # type: ignore[arg-type]
            max_new_tokens=4,
        )
        for question, group, reply in zip(QUESTIONS, groups, together, strict=True):
            (one,) = clara.reader.read_found(
                [question],
                [group],
                text_passages=text_passages,  # type: ignore[arg-type]
                max_new_tokens=4,
            )
            assert (one.text, one.taken_from, one.texts) == (reply.text, reply.taken_from, reply.texts)
            assert one.prompt_tokens == reply.prompt_tokens


@pytest.mark.parametrize("reading", ["joint", "separate"])
def test_a_stream_ends_with_the_answer(clara: Clara, tmp_path: Path, reading: str) -> None:
    with Library(clara, tmp_path / "store") as library:
        library.add_texts({f"{number}.txt": text for number, text in enumerate(TEXTS)})
        for question in QUESTIONS:
            options: dict[str, Any] = {"reading": reading, "max_new_tokens": 4}
            answer = library.ask(question, **options)
            hits = clara.find_passages(question, library.store)
            *pieces, last = clara.stream_from(question, hits, library.store, **options)
            assert "".join(map(str, pieces)).split() == answer.text.split()
            assert last.text == answer.text  # type: ignore[union-attr]
            assert last.taken_from == answer.taken_from  # type: ignore[union-attr]
            assert last.confidence == pytest.approx(answer.confidence, abs=1e-4)  # type: ignore[union-attr]
            read_as = [source.read_as for source in answer.sources]
            assert read_as.count("text") == 1
            if reading == "separate":
                taken = next(source for source in answer.sources if source.id == answer.taken_from)
                assert taken.read_as == "text"
            else:
                assert answer.taken_from is None
                assert read_as[0] == "text"


def test_what_cannot_be_chosen_is_refused(clara: Clara, found: list[FoundPassage]) -> None:
    with pytest.raises(InputError, match="joint, separate"):
        clara.read(["w1"], [[found[0].text]], reading="both")
    with pytest.raises(InputError, match="auto"):
        clara.reader.read_found(["w1"], [found], text_passages="auto", reading="joint", max_new_tokens=4)
    with pytest.raises(InputError, match="-1"):
        clara.reader.read_found(["w1"], [found], text_passages=-1, max_new_tokens=4)
    with pytest.raises(ValueError, match="no_answer_token_id"):
        ClaraConfig(tiny_base("llama").config, reading="separate")
    plain = Clara(*tiny_model("llama"), "tiny")
    with pytest.raises(InputError, match="cannot judge"):
        plain.read(["w1"], [["w2"]], reading="separate")


def test_the_base_reads_jointly(clara: Clara) -> None:
    (reply,) = clara.read(["w1"], [TEXTS[:2]], role=None, max_new_tokens=4)
    assert reply.taken_from is None
    assert reply.prompt_tokens > len(TEXTS[0].split()) + len(TEXTS[1].split())


def test_below_the_least_probability_there_is_no_answer(clara: Clara, tmp_path: Path) -> None:
    with Library(clara, tmp_path / "store") as library:
        library.add_texts({f"{number}.txt": text for number, text in enumerate(TEXTS)})
        answer = library.ask("w1 w2", max_new_tokens=4)
        assert answer.probability is not None
        assert answer.confidence is not None
        assert answer.probability == pytest.approx(1 / (1 + math.exp(-answer.confidence)))
        for least, text in ((0.99 * answer.probability, answer.text), ((1 + answer.probability) / 2, "")):
            for withheld in (
                library.ask("w1 w2", min_confidence=least, max_new_tokens=4),
                [
                    *clara.stream_from(
                        "w1 w2",
                        clara.find_passages("w1 w2", library.store),
                        library.store,
                        min_confidence=least,
                        max_new_tokens=4,
                    )
                ][-1],
            ):
                assert not isinstance(withheld, str)
                assert (withheld.text, withheld.is_doubtful) == (text, text == "")
                assert withheld.probability == pytest.approx(answer.probability)
        with pytest.raises(InputError, match="from 0 to 1"):
            library.ask("w1 w2", min_confidence=2.0)
    plain = Clara(*tiny_model("llama"), "tiny")
    with Library(plain, tmp_path / "plain") as library:
        library.add_texts({"a.txt": TEXTS[0]})
        assert library.ask("w1", max_new_tokens=4).probability is None
        with pytest.raises(InputError, match="not trained to tell"):
            library.ask("w1", min_confidence=0.5)


def test_search_joins_late_interaction_with_words(clara: Clara, tmp_path: Path) -> None:
    with Library(clara, tmp_path / "store") as library:
        library.add_texts({f"{number}.txt": text for number, text in enumerate(TEXTS)})
        question = "w8 w16 w17"
        found = library.explain(question, 4)
        steps = {step.name: [one.id for one in step.candidates] for step in found.steps}
        assert set(steps["rerank"]) == {hit.stored.id for hit in found.hits}
        sums = {
            number: sum(
                1 / (21 + steps[name].index(number))
                for name in ("rerank", "lexical")
                if number in steps[name]
            )
            for number in steps["rerank"]
        }
        expected = sorted(sums, key=lambda number: (-sums[number], number))
        assert [hit.stored.id for hit in found.hits] == expected == steps["fused"]
        assert library.explain("w79", 4).hits  # no passage has the word
        alone = library.explain(question, 4, hybrid=False)
        assert [hit.score for hit in alone.hits] == sorted((hit.score for hit in alone.hits), reverse=True)


def test_a_streamed_span_is_spelled_as_its_source_spells_it(tmp_path: Path) -> None:
    with Library(Clara.from_pretrained("extractive", device="cpu"), tmp_path / "store") as library:
        library.add_texts({"bridge.txt": "The bridge was opened on 24 May 1883 by Chester A. Arthur."})
        question = "On what day was the bridge opened?"
        answer = library.ask(question)
        assert answer.text != answer.text.lower()  # the model's vocabulary has no capitals
        assert "".join(library.ask_stream(question)) == answer.text
