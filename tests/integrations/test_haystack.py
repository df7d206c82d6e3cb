"""Haystack's components: in pipelines, saved, with filters, and answers with their sources."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("haystack", reason="haystack-ai is not installed (extra haystack)")

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.errors import FilterError

from clara import Clara, InputError, Library
from clara.integrations.haystack import (
    ClaraAnswerer,
    ClaraDocumentEmbedder,
    ClaraDocumentStore,
    ClaraRetriever,
    ClaraTextEmbedder,
)
from tests.integrations.conftest import ANSWER, BRIDGE, QUESTION


@pytest.fixture
def store(library: Library) -> ClaraDocumentStore:
    return ClaraDocumentStore(library=library)


def test_retriever_finds_what_the_library_finds_with_its_metadata(store: ClaraDocumentStore) -> None:
    found = ClaraRetriever(store, top_k=4).run(QUESTION)["documents"]
    hits = store.library.search(QUESTION, 4)
    assert [document.content for document in found] == [hit.stored.passage.text for hit in hits]
    assert [document.score for document in found] == [hit.score for hit in hits]
    assert found[0].meta["file"] == BRIDGE
    assert found[0].meta["heading"] == "Opening"
    assert found[0].meta["evidence"] in found[0].content
    assert asyncio.run(ClaraRetriever(store).run_async(QUESTION, top_k=4))["documents"] == found


def test_filters_of_a_search(store: ClaraDocumentStore) -> None:
    of_file = {"field": "meta.title", "operator": "==", "value": "The Brooklyn Bridge"}
    retriever = ClaraRetriever(store, filters=of_file, top_k=20)
    assert {document.meta["file"] for document in retriever.run(QUESTION)["documents"]} == {BRIDGE}
    both = {
        "operator": "AND",
        "conditions": [of_file, {"field": "meta.heading", "operator": "!=", "value": "Opening"}],
    }
    found = retriever.run(QUESTION, filters=both)["documents"]
    assert found
    assert {document.id for document in found} == {
        document.id for document in store.filter_documents(both)
    }  # Haystack's own evaluation of the same filter
    for filters, told in (
        ({"operator": "OR", "conditions": [of_file, of_file]}, "conditions that must all hold"),
        ({"field": "meta.a", "operator": "in", "value": ["b"]}, "a search takes =="),
        ({"field": "content", "operator": "==", "value": "b"}, "fields of the metadata"),
        ({"field": "meta.a", "operator": "==", "value": None}, "type NoneType"),
    ):
        with pytest.raises(FilterError, match=told):
            retriever.run(QUESTION, filters=filters)


def test_answers_from_the_store_with_its_sources(store: ClaraDocumentStore) -> None:
    (answer,) = ClaraAnswerer(store).run(QUESTION)["answers"]
    assert (answer.data, answer.query) == (ANSWER, QUESTION)
    taken = next(document for document in answer.documents if document.id == answer.meta["taken_from"])
    assert taken.meta["file"] == BRIDGE
    assert ANSWER in taken.meta["evidence"]
    assert not answer.meta["is_doubtful"]
    later = asyncio.run(ClaraAnswerer(store).run_async(QUESTION))
    assert later["answers"][0].data == ANSWER


def test_answers_from_given_documents(store: ClaraDocumentStore) -> None:
    documents = [
        Document(content="The tunnel opened on 10 January 1863."),
        Document(content="It was open."),
    ]
    answerer = ClaraAnswerer(store, top_k=1)
    (answer,) = answerer.run("When did the tunnel open?", documents=documents)["answers"]
    assert answer.data == "10 January 1863"
    assert answer.documents == documents[:1]
    assert answerer.run("When did the tunnel open?", documents=[])["answers"] == []


def test_a_pipeline_is_saved_and_runs_again(empty: Library) -> None:
    store = ClaraDocumentStore(library=empty)
    store.write_documents([Document(id="tunnel", content="The tunnel opened on 10 January 1863.")])
    pipeline = Pipeline()
    pipeline.add_component("retriever", ClaraRetriever(store, top_k=2))
    pipeline.add_component("answerer", ClaraAnswerer(store))
    pipeline.connect("retriever.documents", "answerer.documents")
    question = "When did the tunnel open?"
    given = {"retriever": {"query": question}, "answerer": {"query": question}}
    assert pipeline.run(given)["answerer"]["answers"][0].data == "10 January 1863"
    saved = pipeline.dumps()
    # the two components open the folder each, beside the one that writes to it
    loaded = Pipeline.loads(saved, allowed_modules=["clara.integrations.haystack"])
    assert loaded.run(given)["answerer"]["answers"][0].data == "10 January 1863"


def test_embedders_serve_another_store(clara: Clara, store: ClaraDocumentStore) -> None:
    passages = store.filter_documents()
    other = InMemoryDocumentStore(embedding_similarity_function="cosine")
    embedded = ClaraDocumentEmbedder(clara=clara).run(passages)["documents"]
    assert all(one.embedding is None for one in passages)
    other.write_documents(embedded)
    query = ClaraTextEmbedder(clara=clara).run(QUESTION)["embedding"]
    found = InMemoryEmbeddingRetriever(other, top_k=5).run(query_embedding=query)["documents"]
    hits = store.library.search(QUESTION, 5, hybrid=False)
    assert any(ANSWER in (document.content or "") for document in found)
    assert len({document.id for document in found}) == len(hits) == 5
    saved = ClaraTextEmbedder(model="somewhere", clara=clara).to_dict()
    assert saved["init_parameters"] == {"model": "somewhere"}


def test_a_store_is_saved_and_opened_again(empty: Library) -> None:
    store = ClaraDocumentStore(library=empty)
    store.write_documents([Document(id="tunnel", content="The tunnel opened in 1863.", meta={"a": [1]})])
    documents, saved = store.filter_documents(), store.to_dict()
    store.close()
    again = ClaraDocumentStore.from_dict(saved)
    assert again.filter_documents() == documents
    assert again.to_dict() == saved
    again.close()


def test_what_is_no_document_is_told(empty: Library) -> None:
    with pytest.raises(InputError, match="needs the folder of a library"):
        ClaraDocumentStore()
    store = ClaraDocumentStore(library=empty)
    with pytest.raises(InputError, match=r"not a list of haystack\.Document"):
        store.write_documents([{"content": "text"}])  # type: ignore[list-item]
    with pytest.raises(InputError, match="'empty' holds no text"):
        store.write_documents([Document(id="empty")])
