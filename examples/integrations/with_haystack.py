"""Haystack: a pipeline that finds documents and answers from them, and an answer from the store's memories.

Run from the repository: pip install '.[haystack]' && python examples/integrations/with_haystack.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from haystack import Document, Pipeline

from clara.integrations.haystack import ClaraAnswerer, ClaraDocumentStore, ClaraRetriever

DOCUMENTS = Path(__file__).parents[1] / "documents"

with tempfile.TemporaryDirectory() as folder:
    store = ClaraDocumentStore(folder)
    store.library.add(DOCUMENTS)
    store.write_documents(
        [Document(id="lease", content="The lease was signed by Ada Park.", meta={"year": 2024})]
    )

    question = "On what day was the Brooklyn Bridge opened?"
    (answer,) = ClaraAnswerer(store).run(question)["answers"]
    source = next(document for document in answer.documents if document.id == answer.meta["taken_from"])
    place = source.meta
    print(f"{answer.data}  ({Path(place['file']).name}, {place['heading']}, lines {place['lines']})")
    print(f"    {place['evidence']}")

    pipeline = Pipeline()
    of_year = {"field": "meta.year", "operator": ">=", "value": 2020}
    pipeline.add_component("retriever", ClaraRetriever(store, filters=of_year, top_k=3))
    pipeline.add_component("answerer", ClaraAnswerer(store))
    pipeline.connect("retriever.documents", "answerer.documents")
    question = "Who signed the lease?"
    result = pipeline.run({"retriever": {"query": question}, "answerer": {"query": question}})
    (answer,) = result["answerer"]["answers"]
    print(f"{answer.data}  ({answer.documents[0].id}, {answer.documents[0].score:.2f})")
    store.delete_documents(["lease"])
    store.close()
