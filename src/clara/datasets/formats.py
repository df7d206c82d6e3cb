"""The public formats of question answering records, each told by its keys and read as the same items.

| format | a record |
|---|---|
| SQuAD | `{"title", "paragraphs": [{"context", "qas"}]}`, on the hub `{"context", "question", "answers"}` |
| passages with questions | `{"title", "passage", "qas": [{"question", "answers"}]}` |
| questions with passages, and the released evaluation files | `{"question", "docs", "gold" or "pos_index"}` |
| HotpotQA, 2WikiMultihopQA | `{"question", "answer", "context", "supporting_facts"}` |
| MuSiQue | `{"question", "answer", "answer_aliases", "paragraphs": [{"is_supporting"}]}` |
| NQ, simplified | `{"question_text", "document_text", "long_answer_candidates", "annotations"}` |
| NQ, as for DPR | `{"question", "answers", "positive_ctxs", "hard_negative_ctxs"}` |
| NQ open, FlashRAG, one's own | `{"question", "answer" or "answers" or "golden_answers"}`, `"document"` |

Corpora are `{"title", "text"}` or FlashRAG's `{"contents"}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from clara.errors import InputError
from clara.records import with_title

Record = dict[str, Any]

_ANSWER_KEYS = ("golden_answers", "answers", "gold_answer", "answer", "gold_answers")
_TAG = re.compile(r"<[^>]+>")


@dataclass(frozen=True, slots=True)
class Item:
    """A question as its record tells it.

    Attributes:
        id: The record's own, empty if it has none.
        question: The question.
        answers: Acceptable answers; none for a question that its passages do not answer; None where the
            record does not say.
        documents: The passages that come with it.
        gold: Places among them of those that hold the answer.
        file: End of the name of the document that holds the answer, where the record names it; else empty.
    """

    id: str
    question: str
    answers: tuple[str, ...] | None
    documents: tuple[str, ...] = ()
    gold: tuple[int, ...] = ()
    file: str = ""


def read_items(record: Record) -> Iterator[Item]:
    """The questions of a record.

    Raises:
        InputError: The record has no known format or is faulty; the message is the reason alone.
    """
    read = next((read for keys, read in _FORMATS if all(key in record for key in keys)), None)
    if read is None:
        raise InputError(f"a record with the keys {', '.join(record) or '(none)'} has an unknown format")
    try:
        yield from read(record)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(f"the record does not match its keys ({type(error).__name__}: {error})") from error


def read_passage(record: Record) -> str:
    """The passage of a corpus's record.

    Raises:
        InputError: It has neither `text` nor `contents`; the message is the reason alone.
    """
    if isinstance(record.get("contents"), str):
        title, _, text = record["contents"].partition("\n")
        return with_title(text, title.strip().strip('"')) if text.strip() else title
    if isinstance(record.get("text"), str):
        return with_title(record["text"], str(record.get("title") or ""))
    raise InputError("a corpus record needs the field text or contents")


def _squad_article(record: Record) -> Iterator[Item]:
    for paragraph in record["paragraphs"]:
        passage = with_title(_text(paragraph["context"]), record.get("title", "").replace("_", " "))
        for qa in paragraph["qas"]:
            yield _on_passage(qa, passage)


def _squad_row(record: Record) -> Iterator[Item]:
    passage = with_title(_text(record["context"]), str(record.get("title") or "").replace("_", " "))
    yield _on_passage(record, passage)


def _passage(record: Record) -> Iterator[Item]:
    passage = with_title(_text(record["passage"]), str(record.get("title") or ""))
    for number, qa in enumerate(record["qas"]):
        own = f"{record['id']}-{number}" if record.get("id") else ""
        yield _on_passage({"id": own, **qa}, passage)


def _on_passage(qa: Record, passage: str) -> Item:
    """A question about one passage; without answers it is one that the passage does not answer."""
    answers = () if qa.get("is_impossible") else _answers(qa) or ()
    return Item(_id(qa), _text(qa["question"]), answers, (passage,), (0,) if answers else ())


def _with_docs(record: Record) -> Iterator[Item]:
    documents = tuple(_document(document) for document in record["docs"])
    gold = record.get("gold", record.get("pos_index")) or ()
    # a file of retrieval judgements has places but no answers
    yield Item(_id(record), _text(record["question"]), _answers(record), documents, _places(gold, documents))


def _supporting_facts(record: Record) -> Iterator[Item]:
    context, facts = record["context"], record["supporting_facts"]
    if isinstance(context, dict):
        sentences = context.get("sentences") or context["content"]
        context = list(zip(context["title"], sentences, strict=True))
    titles = [title for title, _ in context]
    wanted = set(facts["title"] if isinstance(facts, dict) else (title for title, _ in facts))
    documents = tuple(with_title(" ".join(part.strip() for part in parts), title) for title, parts in context)
    gold = tuple(place for place, title in enumerate(titles) if title in wanted)
    yield Item(_id(record), _text(record["question"]), _answers(record), documents, gold)


def _musique(record: Record) -> Iterator[Item]:
    paragraphs = record["paragraphs"]
    documents = tuple(
        with_title(paragraph["paragraph_text"], paragraph.get("title") or "") for paragraph in paragraphs
    )
    gold = tuple(place for place, one in enumerate(paragraphs) if one.get("is_supporting"))
    answers: tuple[str, ...] = ()
    if record.get("answerable", True):
        answers = tuple(dict.fromkeys([record["answer"], *(record.get("answer_aliases") or [])]))
    yield Item(_id(record), _text(record["question"]), answers, documents, gold)


def _natural_questions(record: Record) -> Iterator[Item]:
    """Simplified NQ: the passages are the page's top-level candidates, gold the first annotator's choice."""
    words = record["document_text"].split(" ")

    def text(span: Record) -> str:
        return " ".join(_TAG.sub(" ", " ".join(words[span["start_token"] : span["end_token"]])).split())

    candidates = [one for one in record["long_answer_candidates"] if one.get("top_level", True)]
    title = str(record.get("document_title") or "")
    annotation = record["annotations"][0]
    chosen = annotation["long_answer"]
    answers = [text(span) for span in annotation["short_answers"]]
    if annotation.get("yes_no_answer", "NONE") != "NONE":
        answers.append(annotation["yes_no_answer"].lower())
    gold = tuple(
        place
        for place, one in enumerate(candidates)
        if one["start_token"] <= chosen["start_token"] < one["end_token"]
    )
    documents = tuple(with_title(text(one), title) for one in candidates)
    yield Item(_id(record), _text(record["question_text"]), tuple(answers), documents, gold)


def _dpr(record: Record) -> Iterator[Item]:
    positives, others = record["positive_ctxs"], record.get("hard_negative_ctxs") or record["negative_ctxs"]
    documents = tuple(_document(one) for one in [*positives, *others])
    yield Item(
        _id(record),
        _text(record["question"]),
        _answers(record),
        documents,
        tuple(range(len(positives))),
    )


def _alone(record: Record) -> Iterator[Item]:
    yield Item(
        _id(record),
        _text(record["question"]),
        _answers(record),
        file=str(record.get("document") or ""),
    )


_FORMATS: tuple[tuple[tuple[str, ...], Callable[[Record], Iterator[Item]]], ...] = (
    (("paragraphs", "question"), _musique),
    (("paragraphs",), _squad_article),
    (("context", "supporting_facts"), _supporting_facts),
    (("context", "question"), _squad_row),
    (("passage", "qas"), _passage),
    (("question_text", "document_text"), _natural_questions),
    (("question", "positive_ctxs"), _dpr),
    (("question", "docs"), _with_docs),
    (("question",), _alone),
)


def _id(record: Record) -> str:
    found = next((record[key] for key in ("qid", "id", "_id", "example_id") if record.get(key)), "")
    return str(found)


def _answers(record: Record) -> tuple[str, ...] | None:
    """All acceptable answers, each once; None if the record has no answers at all."""
    found = next((record[key] for key in _ANSWER_KEYS if record.get(key)), None)
    if found is None:
        return () if record.get("impossible") else None
    if isinstance(found, dict):
        found = found["text"]
    if isinstance(found, str):
        found = [found]
    texts = [_text(one["text"] if isinstance(one, dict) else one) for one in found]
    return tuple(dict.fromkeys(texts))


def _document(document: Any) -> str:
    return _text(document) if isinstance(document, str) else read_passage(document)


def _places(gold: Any, documents: tuple[str, ...]) -> tuple[int, ...]:
    places = tuple(gold) if isinstance(gold, list | tuple) else (gold,)
    if not all(type(place) is int and 0 <= place < len(documents) for place in places):
        raise ValueError(f"the gold places {gold!r} are not all from 0 to {len(documents) - 1}")
    return places


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} is not a string")
    return value.strip()
