"""What LangChain's own tests do not ask: metadata, filters, the compressor, answers with their sources."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("langchain_core", reason="langchain-core is not installed (extra langchain)")

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate

from clara import Clara, InputError, Library
from clara.integrations import exchange
from clara.integrations.langchain import (
    ChatClara,
    ClaraDocumentCompressor,
    ClaraEmbeddings,
    ClaraRetriever,
    ClaraVectorStore,
    _stopped,
    _stream_stopped,
)
from tests.integrations.conftest import ANSWER, BRIDGE, QUESTION


def test_retriever_finds_what_the_library_finds_with_its_metadata(library: Library) -> None:
    found = ClaraRetriever(library=library).invoke(QUESTION, k=4)
    hits = library.search(QUESTION, 4)
    assert [one.page_content for one in found] == [hit.stored.passage.text for hit in hits]
    assert [one.metadata["score"] for one in found] == [hit.score for hit in hits]
    assert found[0].metadata["file"] == BRIDGE
    assert found[0].metadata["heading"] == "Opening"
    assert found[0].metadata["evidence"] in found[0].page_content
    assert asyncio.run(ClaraRetriever(library=library, k=4).ainvoke(QUESTION)) == found


def test_retriever_filters(library: Library) -> None:
    retriever = ClaraRetriever(library=library, where="heading=Dimensions", k=20)
    assert {one.metadata["heading"] for one in retriever.invoke(QUESTION)} == {"Dimensions"}
    other = retriever.invoke(QUESTION, where={"heading": "Opening", "file": {"$like": "brooklyn"}})
    assert [one.metadata["heading"] for one in other] == ["Opening"]
    with pytest.raises(InputError, match=r"perhaps heading is meant"):
        retriever.invoke(QUESTION, where="headin=Opening")


def test_compressor_orders_keeps_and_cuts(clara: Clara, library: Library) -> None:
    given = [
        Document(
            id=str(number),
            page_content=hit.stored.passage.text,
            metadata={**exchange.metadata(hit.stored), "number": number},
        )
        for number, hit in enumerate(reversed(library.search(QUESTION, 6)))
    ]
    best = ClaraDocumentCompressor(clara=clara, top_n=2).compress_documents(given, QUESTION)
    assert len(best) == 2
    assert "24 May 1883" in best[0].page_content
    assert best[0].id == str(best[0].metadata["number"])
    assert best[0].metadata["score"] >= best[1].metadata["score"]
    assert all("score" not in one.metadata for one in given)
    cut = ClaraDocumentCompressor(clara=clara, top_n=2, sentences=True)
    for short, whole in zip(cut.compress_documents(given, QUESTION), best, strict=True):
        assert short.page_content in whole.page_content
        assert len(short.page_content) < len(whole.page_content)
    assert ANSWER in cut.compress_documents(given, QUESTION)[0].page_content
    assert asyncio.run(cut.acompress_documents([], QUESTION)) == []


def test_vector_store_filters_scores_and_forgets(empty: Library) -> None:
    store = ClaraVectorStore.from_texts(
        ["The bridge opened in 1883.", "The tunnel opened in 1863.", "The canal opened in 1914."],
        metadatas=[{"year": 1883, "tags": ["a"]}, {"year": 1863}, {"year": 1914}],
        ids=["bridge", "tunnel", "canal"],
        library=empty,
    )
    found = store.similarity_search_with_score("When did the bridge open?", k=3)
    assert found[0][0].id == "bridge"
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    early = store.similarity_search("What opened?", k=3, filter={"year": {"$lt": 1900}})
    assert {document.id for document in early} == {"bridge", "tunnel"}
    assert store.get_by_ids(["bridge"])[0].metadata == {"year": 1883, "tags": ["a"]}
    relevant = store.similarity_search_with_relevance_scores("When did the bridge open?", k=1)
    assert 0 < relevant[0][1] <= 1
    retriever = store.as_retriever(search_kwargs={"k": 1, "filter": "year>1900"})
    assert [document.id for document in retriever.invoke("What opened?")] == ["canal"]
    assert isinstance(store.embeddings, ClaraEmbeddings)
    store.delete()
    assert store.similarity_search("What opened?") == []


def test_vector_store_says_what_is_wrong(empty: Library) -> None:
    with pytest.raises(InputError, match="needs a library"):
        ClaraVectorStore.from_texts(["Text."])
    with pytest.raises(InputError, match="2 texts, 1 metadatas and 2 ids"):
        ClaraVectorStore(empty).add_texts(["One.", "Two."], [{}])
    with pytest.raises(InputError, match="'blank' holds no text"):
        ClaraVectorStore(empty).add_texts(["One.", "  "], ids=["one", "blank"])
    assert [document.source for document in empty.documents()] == ["one"]


def test_chat_answers_the_last_question_with_its_sources(library: Library) -> None:
    chat = ChatClara(library=library)
    answer = chat.invoke(
        [SystemMessage("Be short."), HumanMessage("Hello"), AIMessage("Hi"), HumanMessage(QUESTION)]
    )
    told = answer.response_metadata
    assert answer.text == ANSWER
    assert told["model_name"] == "extractive"
    assert not told["is_doubtful"]
    taken = next(source for source in told["sources"] if source["id"] == told["taken_from"])
    assert taken["file"] == BRIDGE
    assert ANSWER in taken["evidence"]
    assert ANSWER in taken["text"]
    with pytest.raises(InputError, match="has no question"):
        chat.invoke([SystemMessage("Be short.")])


def test_chat_streams_the_same_answer_with_its_sources(library: Library) -> None:
    chat = ChatClara(library=library, where="file~brooklyn")
    *pieces, last = chat.stream(QUESTION)
    assert "".join(piece.text for piece in pieces) == chat.invoke(QUESTION).text == ANSWER
    assert {source["file"] for source in last.response_metadata["sources"]} == {BRIDGE}


def test_chat_in_a_chain(library: Library) -> None:
    chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | ChatClara(library=library)
    assert chain.invoke({"question": QUESTION}).text == ANSWER


def test_concurrent_answers_are_the_serial_ones(library: Library) -> None:
    chat = ChatClara(library=library)
    questions = [QUESTION, "How long is the main span?", "Who died?", "When was the canal opened?"]
    serial = [chat.invoke(question).text for question in questions]
    assert [one.text for one in chat.batch(questions, config={"max_concurrency": 4})] == serial


def test_stop_texts_end_an_answer() -> None:
    assert _stopped("24 May 1883", ["May", "4 "]) == "2"
    assert _stopped("24 May 1883", None) == "24 May 1883"
    for stop in (["May"], ["y 1", "883"], ["4 M"], ["x"], ["3"], None):
        whole = _stopped("24 May 1883", stop)
        for size in (1, 2, 3, 20):
            pieces = ["24 May 1883"[at : at + size] for at in range(0, 11, size)]
            assert "".join(_stream_stopped(pieces, stop)) == whole
