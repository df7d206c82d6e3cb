"""FlashRAG: the steps that its SequentialPipeline takes, without FlashRAG.

With FlashRAG the same objects go into its pipeline:

    pipeline = SequentialPipeline(config, template, retriever=retriever, generator=generator)
    pipeline.run(dataset)

Run from the repository: pip install . && python examples/integrations/with_flashrag.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

from clara import Clara, Library
from clara.integrations.flashrag import (
    ClaraGenerator,
    ClaraPromptTemplate,
    ClaraRefiner,
    ClaraRetriever,
)

DOCUMENTS = Path(__file__).parents[1] / "documents"
QUESTIONS = [
    "On what day was the Brooklyn Bridge opened?",
    "How long is the main span of the Golden Gate Bridge?",
]

with tempfile.TemporaryDirectory() as folder:
    clara = Clara.from_pretrained()
    library = Library(clara, folder)
    library.add(DOCUMENTS)
    retriever, template, generator = (
        ClaraRetriever(library, topk=5),
        ClaraPromptTemplate(),
        ClaraGenerator(clara),
    )

    found = retriever.batch_search(QUESTIONS)
    prompts = [
        template.get_string(question=question, retrieval_result=items)
        for question, items in zip(QUESTIONS, found, strict=True)
    ]
    for question, items, answer in zip(QUESTIONS, found, generator.generate(prompts), strict=True):
        best = items[0]
        print(f"{answer}  ({Path(best['file']).name}, {best['heading']}, lines {best['lines']})")
        refined = ClaraRefiner(clara, topk=2).run(SimpleNamespace(question=question, retrieval_result=items))
        print("    for another generator:", refined.replace("\n", "\n    "))
    library.close()
