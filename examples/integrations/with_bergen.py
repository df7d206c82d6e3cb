"""BERGEN: the steps of one of its runs with a retriever, a context processor and a generator, without BERGEN.

With BERGEN the classes are named in files of its folder config; docs/integrations.md has them.

Run from the repository: pip install . && python examples/integrations/with_bergen.py
"""

from __future__ import annotations

from pathlib import Path

import torch

from clara import Clara
from clara.integrations.bergen import ClaraContextProcessor, ClaraGenerator, ClaraRetriever

DOCUMENTS = Path(__file__).parents[1] / "documents" / "technology"
QUESTIONS = [
    {
        "q_id": "q0",
        "generated_query": "On what day was the Brooklyn Bridge opened?",
        "label": ["24 May 1883"],
    },
    {"q_id": "q1", "generated_query": "Who designed the Golden Gate Bridge?", "label": ["Joseph Strauss"]},
]

clara = Clara.from_pretrained()
retriever, generator = ClaraRetriever(clara=clara), ClaraGenerator(clara=clara)
documents = [
    {"id": f"{file.name}, section {number}", "content": f"{text.splitlines()[0].lstrip('# ')}\n{section}"}
    for file in sorted(DOCUMENTS.glob("*.md"))
    if (text := file.read_text(encoding="utf-8"))
    for number, section in enumerate(text.split("\n## "), 1)
]

embeddings = retriever("doc", retriever.collate_fn(documents, "doc"))["embedding"]
queries = retriever("query", retriever.collate_fn(QUESTIONS, "query"))["embedding"]
best = torch.topk(retriever.similarity_fn(queries, embeddings), 5, dim=1).indices.tolist()
rows = [
    {
        **question,
        "query": question["generated_query"],
        "doc": [documents[place]["content"] for place in places],
    }
    for question, places in zip(QUESTIONS, best, strict=True)
]
_, questions, _, answers, _, _ = generator.eval(rows)
for answer, places in zip(answers, best, strict=True):
    print(f"{answer}  (from {'; '.join(documents[place]['id'] for place in places)})")
_, metrics = ClaraContextProcessor(clara=clara).process([row["doc"] for row in rows], questions)
print(f"for another generator: {metrics['context_compression']:.0f} % of the retrieved characters left out")
