"""LangChain: an answer from a chain, the passages behind it, and documents that are added by hand.

Run from the repository: pip install '.[langchain]' && python examples/integrations/with_langchain.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate

from clara import Clara, Library
from clara.integrations.langchain import (
    ChatClara,
    ClaraDocumentCompressor,
    ClaraRetriever,
    ClaraVectorStore,
)

DOCUMENTS = Path(__file__).parents[1] / "documents"

with tempfile.TemporaryDirectory() as folder:
    clara = Clara.from_pretrained()
    library = Library(clara, folder)
    library.add(DOCUMENTS)

    chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | ChatClara(library=library)
    answer = chain.invoke({"question": "On what day was the Brooklyn Bridge opened?"})
    told = answer.response_metadata
    source = next(one for one in told["sources"] if one["id"] == told["taken_from"])
    print(f"{answer.text}  ({Path(source['file']).name}, {source['heading']}, lines {source['lines']})")
    print(f"    {source['evidence']}")

    question = "How long is the main span of the Golden Gate Bridge?"
    found = ClaraRetriever(library=library, k=10, where={"title": {"$like": "bridge"}}).invoke(question)
    best = ClaraDocumentCompressor(clara=clara, top_n=1, sentences=True).compress_documents(found, question)
    print(f"{best[0].page_content}  ({Path(best[0].metadata['file']).name}, {best[0].metadata['score']:.2f})")

    store = ClaraVectorStore(library)
    store.add_documents([Document("The lease was signed by Ada Park.", id="lease", metadata={"year": 2024})])
    (lease,) = store.similarity_search("Who signed the lease?", k=1, filter={"year": {"$gte": 2020}})
    print(f"{lease.page_content}  ({lease.id}, {lease.metadata['year']})")
    store.delete(["lease"])
    library.close()
