"""LlamaIndex's interfaces: what its retrievers, postprocessors and query engines are asked by others."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("llama_index.core", reason="llama-index-core is not installed (extra llamaindex)")

from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import Document, MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from clara import Clara, InputError, Library
from clara.integrations import exchange
from clara.integrations.llamaindex import (
    ClaraPostprocessor,
    ClaraQueryEngine,
    ClaraRetriever,
    add_nodes,
    delete_nodes,
)
from tests.integrations.conftest import ANSWER, BRIDGE, QUESTION


def filters(*each: MetadataFilter, condition: FilterCondition = FilterCondition.AND) -> MetadataFilters:
    return MetadataFilters(filters=list(each), condition=condition)


def test_retriever_finds_what_the_library_finds_with_its_metadata(library: Library) -> None:
    nodes = ClaraRetriever(library, similarity_top_k=4).retrieve(QUESTION)
    hits = library.search(QUESTION, 4)
    assert [node.text for node in nodes] == [hit.stored.passage.text for hit in hits]
    assert [node.score for node in nodes] == [hit.score for hit in hits]
    assert nodes[0].metadata["file"] == nodes[0].node.ref_doc_id == BRIDGE
    assert nodes[0].metadata["heading"] == "Opening"
    assert nodes[0].metadata["evidence"] in nodes[0].text
    assert len({node.node_id for node in nodes}) == 4
    read = nodes[0].node.get_content(MetadataMode.LLM)
    assert "heading: Opening" in read
    assert "evidence:" not in read
    again = asyncio.run(ClaraRetriever(library, 4).aretrieve(QueryBundle(QUESTION)))
    assert [node.node_id for node in again] == [node.node_id for node in nodes]


def test_filters(library: Library) -> None:
    of_file = MetadataFilter(key="file", value="brooklyn", operator=FilterOperator.TEXT_MATCH)
    inner = filters(MetadataFilter(key="heading", value="Opening"))
    both = MetadataFilters(filters=[of_file, inner])
    (node,) = ClaraRetriever(library, 10, both).retrieve(QUESTION)
    assert (node.metadata["file"], node.metadata["heading"]) == (BRIDGE, "Opening")
    one = filters(of_file, condition=FilterCondition.OR)  # of one there is nothing to join
    assert {node.metadata["file"] for node in ClaraRetriever(library, 10, one).retrieve(QUESTION)} == {BRIDGE}
    with pytest.raises(InputError, match="joined with or"):
        ClaraRetriever(library, filters=filters(of_file, of_file, condition=FilterCondition.OR))
    with pytest.raises(InputError, match="negated with 'not'"):
        ClaraRetriever(library, filters=filters(of_file, condition=FilterCondition.NOT))
    with pytest.raises(InputError, match="operator in is unknown; allowed are =="):
        ClaraQueryEngine(
            library, filters=filters(MetadataFilter(key="a", value=["b"], operator=FilterOperator.IN))
        )


def test_postprocessor_orders_and_keeps(clara: Clara, library: Library) -> None:
    given = [
        NodeWithScore(
            node=TextNode(text=hit.stored.passage.text, metadata=exchange.metadata(hit.stored)), score=0.1
        )
        for hit in reversed(library.search(QUESTION, 6))
    ]
    postprocessor = ClaraPostprocessor(clara=clara, top_n=2)
    best = postprocessor.postprocess_nodes(given, query_str=QUESTION)
    assert len(best) == 2
    assert ANSWER in best[0].text
    assert (best[0].score or 0) >= (best[1].score or 0)
    assert all(node.score == 0.1 for node in given)
    later = asyncio.run(postprocessor.apostprocess_nodes(given, query_str=QUESTION))
    assert [node.node_id for node in later] == [node.node_id for node in best]
    assert postprocessor.postprocess_nodes([], query_str=QUESTION) == []
    with pytest.raises(InputError, match="without a question"):
        postprocessor.postprocess_nodes(given)


def test_query_engine_answers_with_its_sources(library: Library) -> None:
    engine = ClaraQueryEngine(library)
    response = engine.query(QUESTION)
    assert str(response) == ANSWER
    assert response.metadata is not None
    taken = next(one for one in response.source_nodes if one.node_id == response.metadata["taken_from"])
    assert taken.metadata["file"] == BRIDGE
    assert ANSWER in taken.metadata["evidence"]
    assert not response.metadata["is_doubtful"]
    assert str(asyncio.run(engine.aquery(QUESTION))) == ANSWER


def test_query_engine_retrieves_and_synthesizes_apart(library: Library) -> None:
    engine = ClaraQueryEngine(library, similarity_top_k=3)
    query = QueryBundle(QUESTION)
    nodes = engine.retrieve(query)
    assert len(nodes) == 3
    response = engine.synthesize(query, nodes)
    assert str(response) == ANSWER
    assert response.source_nodes == nodes
    assert str(asyncio.run(engine.asynthesize(query, nodes))) == ANSWER
    with pytest.raises(InputError, match="no nodes to answer from"):
        engine.synthesize(query, [])


def test_parts_work_in_an_engine_of_llamaindex(clara: Clara, library: Library) -> None:
    engine = RetrieverQueryEngine(
        ClaraRetriever(library, 5),
        response_synthesizer=get_response_synthesizer(llm=MockLLM()),
        node_postprocessors=[ClaraPostprocessor(clara=clara, top_n=2)],
    )
    response = engine.query(QUESTION)
    assert len(response.source_nodes) == 2
    assert ANSWER in str(response)  # the mock writes what it reads


def test_nodes_are_added_and_deleted_by_id(empty: Library) -> None:
    nodes = [
        Document(id_="bridge", text="The bridge opened in 1883.", metadata={"year": 1883}),
        TextNode(id_="canal", text="The canal opened in 1914.", metadata={"year": 1914}),
    ]
    assert add_nodes(empty, nodes) == ["bridge", "canal"]
    (found,) = ClaraRetriever(empty, filters={"year": {"$gt": 1900}}).retrieve("What opened?")
    assert (found.node_id, found.metadata["year"]) == ("canal", 1914)
    assert "file" not in found.metadata
    assert delete_nodes(empty, ["canal", "absent"]) == 1
    assert [one.node_id for one in ClaraRetriever(empty).retrieve("What opened?")] == ["bridge"]
