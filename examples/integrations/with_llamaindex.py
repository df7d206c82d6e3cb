"""LlamaIndex: an answer from a query engine, and passages that are found, ordered and read apart.

Run from the repository: pip install '.[llamaindex]' && python examples/integrations/with_llamaindex.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from llama_index.core.schema import QueryBundle

from clara import Clara, Library
from clara.integrations.llamaindex import ClaraPostprocessor, ClaraQueryEngine, ClaraRetriever

DOCUMENTS = Path(__file__).parents[1] / "documents"

with tempfile.TemporaryDirectory() as folder:
    clara = Clara.from_pretrained()
    library = Library(clara, folder)
    library.add(DOCUMENTS)

    engine = ClaraQueryEngine(library)
    response = engine.query("On what day was the Brooklyn Bridge opened?")
    source = next(one for one in response.source_nodes if one.node_id == response.metadata["taken_from"])
    place = source.metadata
    print(f"{response}  ({Path(place['file']).name}, {place['heading']}, lines {place['lines']})")
    print(f"    {place['evidence']}")

    query = QueryBundle("How long is the main span of the Golden Gate Bridge?")
    nodes = ClaraRetriever(library, similarity_top_k=10, filters={"title": {"$like": "bridge"}}).retrieve(
        query
    )
    best = ClaraPostprocessor(clara=clara, top_n=2).postprocess_nodes(nodes, query)
    print(f"{engine.synthesize(query, best)}  ({Path(best[0].metadata['file']).name}, {best[0].score:.2f})")
    library.close()
