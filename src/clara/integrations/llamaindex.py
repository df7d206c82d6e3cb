"""LlamaIndex: retriever, node postprocessor and query engine (extra `llamaindex`).

The asynchronous methods run the synchronous ones in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from clara.errors import InputError
from clara.integrations import exchange, relevance
from clara.integrations.conditions import Where, expression, expressions
from clara.integrations.exchange import Placed
from clara.integrations.extras import missing
from clara.library import Library
from clara.pipeline import Clara

try:
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.base.response.schema import RESPONSE_TYPE, Response
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.prompts.mixin import PromptMixinType
    from llama_index.core.schema import (
        BaseNode,
        MetadataMode,
        NodeRelationship,
        NodeWithScore,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )
    from llama_index.core.vector_stores.types import (
        FilterCondition,
        FilterOperator,
        MetadataFilter,
        MetadataFilters,
    )
except ImportError as error:
    raise missing("llamaindex") from error

__all__ = ["ClaraPostprocessor", "ClaraQueryEngine", "ClaraRetriever", "add_nodes", "delete_nodes"]

_FOR_PEOPLE = ["lines", "score", "rank", "evidence", "also_in"]
"""Metadata that a language model or an embedding is not given with a node's text."""

_OPERATORS = {
    FilterOperator.EQ: "=",
    FilterOperator.NE: "!=",
    FilterOperator.GT: ">",
    FilterOperator.GTE: ">=",
    FilterOperator.LT: "<",
    FilterOperator.LTE: "<=",
    FilterOperator.TEXT_MATCH: "~",
    FilterOperator.TEXT_MATCH_INSENSITIVE: "~",
}

Filters: TypeAlias = MetadataFilters | Where
"""LlamaIndex's filters, whose conditions must all hold, or what `clara.integrations.conditions` takes."""


class ClaraRetriever(BaseRetriever):
    """Finds passages of a library.

    The metadata of a node has `score`, `rank`, `evidence` (the sentence that shares most with the question).
    A file's passage has `file`, `title`, `heading`, `page` and `lines` too. `ref_doc_id` is the document.

    Args:
        library: What is searched.
        similarity_top_k: How many passages; the model's own number if None.
        filters: Conditions that passages must meet.
        callback_manager: As for every retriever.

    Raises:
        InputError: The filters cannot be written as conditions that must all hold.

    Example:
        >>> ClaraRetriever(library, similarity_top_k=3).retrieve("When did the bridge open?")
    """

    def __init__(
        self,
        library: Library,
        similarity_top_k: int | None = None,
        filters: Filters | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self.library = library
        self.similarity_top_k = similarity_top_k
        self.where = _where(filters)
        super().__init__(callback_manager=callback_manager)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = exchange.search(self.library, query_bundle.query_str, self.similarity_top_k, self.where)
        return [_node(placed) for placed in found]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


class ClaraPostprocessor(BaseNodePostprocessor):
    """Orders nodes that any retriever found by how well they fit the question, and keeps the best.

    A node is read below the `title` and `heading` of its metadata, as far as the model's passages reach.

    Attributes:
        clara: The model.
        top_n: How many nodes are kept; all if None.

    Example:
        >>> ClaraPostprocessor(clara=clara, top_n=3).postprocess_nodes(nodes, query_str="When did it open?")
    """

    clara: Clara
    top_n: int | None = 3

    @classmethod
    def class_name(cls) -> str:
        """Name under which LlamaIndex knows the class."""
        return "ClaraPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError(
                "The nodes cannot be ordered without a question; give query_str or query_bundle."
            )
        scores = relevance.scores(self.clara, query_bundle.query_str, [_content(node) for node in nodes])
        best = relevance.best_first(scores, self.top_n)
        return [NodeWithScore(node=nodes[place].node, score=scores[place]) for place in best]


class ClaraQueryEngine(BaseQueryEngine):
    """Answers questions from a library.

    A response's `source_nodes` are the passages that were read, and its metadata has `confidence`,
    `is_doubtful` and `taken_from`, the id of the node whose words the answer is. `synthesize` answers from
    nodes that another retriever found, whose texts are compressed then.

    Args:
        library: What is asked.
        similarity_top_k: How many passages are read; the model's own number if None.
        filters: Conditions that passages must meet.
        callback_manager: As for every query engine.

    Raises:
        InputError: The filters cannot be written as conditions that must all hold.

    Example:
        >>> str(ClaraQueryEngine(library).query("When did the bridge open?"))
        '24 May 1883'
    """

    def __init__(
        self,
        library: Library,
        similarity_top_k: int | None = None,
        filters: Filters | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        self.library = library
        self.similarity_top_k = similarity_top_k
        self.where = _where(filters)
        super().__init__(callback_manager)

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """The passages that would be read."""
        found = exchange.search(self.library, query_bundle.query_str, self.similarity_top_k, self.where)
        return [_node(placed) for placed in found]

    def synthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """An answer from given nodes, best first.

        Raises:
            InputError: There are no nodes, or the question is empty or too long.
            PromptError: The nodes are more than the model reads.
        """
        if not nodes:
            raise InputError("There are no nodes to answer from; give at least one.")
        (text,) = self.library.clara.answer([query_bundle.query_str], [[_content(node) for node in nodes]])
        return Response(text, source_nodes=[*nodes, *(additional_source_nodes or ())])

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """As `synthesize`, in a thread."""
        return await asyncio.to_thread(self.synthesize, query_bundle, nodes, additional_source_nodes)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        answer, sources = exchange.ask(
            self.library, query_bundle.query_str, self.similarity_top_k, self.where
        )
        return Response(
            answer.text,
            source_nodes=[_node(placed) for placed in sources],
            metadata=exchange.answer_metadata(answer, sources),
        )

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return await asyncio.to_thread(self._query, query_bundle)

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}


def add_nodes(library: Library, nodes: Iterable[BaseNode]) -> list[str]:
    """Store nodes or documents under their ids; one under a known id takes its place.

    Args:
        library: Opened for writing.
        nodes: With text.

    Returns:
        Their ids.

    Raises:
        InputError: A text is blank (the others are stored), or a value cannot be kept as JSON.
    """
    new = {
        node.node_id: exchange.document(node.node_id, node.get_content(MetadataMode.NONE), node.metadata)
        for node in nodes
    }
    library.add_documents(new.values())
    return list(new)


def delete_nodes(library: Library, node_ids: Iterable[str]) -> int:
    """Remove nodes or documents by their ids; those that are not stored are passed over.

    Returns:
        How many were removed.

    Raises:
        InputError: An id is that of a later passage of a document that would stay.
    """
    return exchange.remove(library, node_ids)


def _node(placed: Placed) -> NodeWithScore:
    name, source = placed
    metadata: dict[str, Any] = exchange.found_metadata(source)
    hidden = [key for key in _FOR_PEOPLE if key in metadata]
    node = TextNode(
        id_=name,
        text=source.text,
        metadata=metadata,
        excluded_embed_metadata_keys=hidden,
        excluded_llm_metadata_keys=hidden,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source.file)},
    )
    return NodeWithScore(node=node, score=source.score)


def _content(node: NodeWithScore) -> str:
    return exchange.content(node.node.get_content(MetadataMode.NONE), node.node.metadata)


def _where(filters: Filters | None) -> list[str]:
    if not isinstance(filters, MetadataFilters):
        return expressions(filters)
    if filters.condition not in (None, FilterCondition.AND) and len(filters.filters) > 1:
        raise InputError(
            f"The filters are joined with {filters.condition.value}, but all conditions must hold; join them "
            "with 'and'."
        )
    if filters.condition == FilterCondition.NOT:
        raise InputError(
            "The filters are negated with 'not', but conditions must hold; use the operator '!='."
        )
    each: list[str] = []
    for one in filters.filters:
        each += _where(one) if isinstance(one, MetadataFilters) else [_expression(one)]
    return each


def _expression(one: MetadataFilter) -> str:
    if one.operator not in _OPERATORS:
        allowed = ", ".join(operator.value for operator in _OPERATORS)
        raise InputError(f"The filter's operator {one.operator.value} is unknown; allowed are {allowed}.")
    return expression(one.key, _OPERATORS[one.operator], one.value)
