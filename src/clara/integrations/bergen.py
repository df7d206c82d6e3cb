"""BERGEN: a retriever, a generator and a context processor that its configurations name.

BERGEN itself is not needed to import this. A file of its folder `config` names a class as `_target_`:

    # config/generator/clara.yaml
    init_args:
      _target_: clara.integrations.bergen.ClaraGenerator
      model_name: clara
    batch_size: 8
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clara.errors import TrainingError
from clara.integrations import relevance
from clara.pipeline import Clara

__all__ = ["ClaraContextProcessor", "ClaraGenerator", "ClaraRetriever"]

Example = Mapping[str, Any]
"""A row of a data set: `q_id`, `query`, `label`, and where there are any `doc` and `ranking_label`."""

Evaluated = tuple[list[Any], list[str], list[str], list[str], list[list[str]], list[Any]]
"""Ids, questions, instructions, answers, labels and ranking labels."""


class ClaraRetriever:
    """Gives questions and documents the embeddings of a model; BERGEN keeps and compares them.

    BERGEN compares embeddings alone; a library's search also compares words.

    Args:
        model_name: What BERGEN calls it in the names of its files.
        checkpoint: Where the model is, as for `clara.Clara.from_pretrained`; the packaged one if None.
        subfolder: As there.
        clara: The model where it is loaded already.
    """

    def __init__(
        self,
        model_name: str = "clara",
        checkpoint: str | None = None,
        subfolder: str | None = None,
        clara: Clara | None = None,
    ) -> None:
        self.model_name = model_name
        self.clara = clara or Clara.from_pretrained(checkpoint, subfolder=subfolder)
        self.model = self.clara.model  # BERGEN moves it to the GPU and back

    def collate_fn(self, batch: Sequence[Example], query_or_doc: str | None = None) -> dict[str, Any]:
        """A batch of questions or documents, as `__call__` takes it."""
        is_query = query_or_doc == "query"
        return {
            "is_query": is_query,
            "texts": [one["generated_query" if is_query else "content"] for one in batch],
        }

    def __call__(self, *given: Any) -> dict[str, Tensor]:
        """The embeddings of a batch, float16 of shape (n, H) and of unit length.

        Args:
            given: The batch of `collate_fn`, alone or after what its texts are.

        Raises:
            InputError: The model compares memories and has no embeddings, or a question is empty or too long.
        """
        batch = given[-1]
        if batch["is_query"]:
            embeddings = [relevance.query_embedding(self.clara, text) for text in batch["texts"]]
        else:
            embeddings = relevance.embeddings(self.clara, batch["texts"])
        return {"embedding": torch.tensor(embeddings, dtype=torch.float16)}

    def similarity_fn(self, query_embds: Tensor, doc_embds: Tensor) -> Tensor:
        """Cosines, float32 of shape (questions, documents)."""
        return query_embds.float() @ doc_embds.float().T


class ClaraGenerator:
    """Answers questions from the documents that were retrieved, which are compressed first.

    Args:
        model_name: What BERGEN calls it.
        batch_size: How many questions are answered together.
        checkpoint: As for `ClaraRetriever`.
        subfolder: As there.
        max_new_tokens: Longest answer.
        prompt: BERGEN's prompt, which is not used: Clara has its own.
        clara: The model where it is loaded already.
    """

    tokenizer = None

    def __init__(
        self,
        model_name: str = "clara",
        batch_size: int = 8,
        checkpoint: str | None = None,
        subfolder: str | None = None,
        max_new_tokens: int = 64,
        prompt: object = None,
        clara: Clara | None = None,
    ) -> None:
        self.model_name = model_name
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.clara = clara or Clara.from_pretrained(checkpoint, subfolder=subfolder)
        self.model = self.clara.model

    def generate(self, inp: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
        """An answer to each question with its documents.

        Raises:
            InputError: A question is empty or too long.
            PromptError: Documents are more than the model reads.
        """
        questions, documents = [question for question, _ in inp], [texts for _, texts in inp]
        return self.clara.answer(questions, documents, max_new_tokens=self.max_new_tokens)

    def collate_fn(self, examples: Sequence[Example], eval: bool = False, **kwargs: Any) -> dict[str, Any]:
        """A batch of examples: `model_input` is what `generate` takes."""
        given = [(str(one["query"]), list(one.get("doc") or [])) for one in examples]
        labels = [one["label"] for one in examples]
        return {
            "model_input": given,
            "q_id": [one["q_id"] for one in examples],
            "query": [question for question, _ in given],
            "instruction": ["\n\n".join((*texts, question)) for question, texts in given],
            "label": [[label] if isinstance(label, str) else list(label) for label in labels],
            "ranking_label": [one.get("ranking_label") for one in examples],
        }

    def eval(self, dataset: Any) -> Evaluated:
        """Answer all questions of a data set.

        Args:
            dataset: Its examples in order, by number.

        Returns:
            Six lists, as BERGEN takes them apart.
        """
        batches = []
        for start in range(0, len(dataset), self.batch_size):
            rows = [dataset[at] for at in range(start, min(start + self.batch_size, len(dataset)))]
            batch = self.collate_fn(rows, eval=True)
            batches.append({**batch, "answer": self.generate(batch["model_input"])})

        def together(name: str) -> list[Any]:
            return [value for batch in batches for value in batch[name]]

        return (
            together("q_id"),
            together("query"),
            together("instruction"),
            together("answer"),
            together("label"),
            together("ranking_label"),
        )

    def prediction_step(self, model: object, model_input: object, label_ids: object = None) -> None:
        """BERGEN's training, which is not for this model.

        Raises:
            TrainingError: Always.
        """
        raise TrainingError("BERGEN cannot train a Clara model; train it with: clara train.")


class ClaraContextProcessor:
    """Orders what was retrieved and keeps of each text the sentence that best supports the model's answer.

    Args:
        name: What BERGEN calls it in the names of its files.
        checkpoint: As for `ClaraRetriever`.
        subfolder: As there.
        top_n: How many texts are kept; all if None.
        sentences: Whether a text is cut down to its sentence; else it is left as it is.
        clara: The model where it is loaded already.
    """

    def __init__(
        self,
        name: str = "clara",
        checkpoint: str | None = None,
        subfolder: str | None = None,
        top_n: int | None = None,
        sentences: bool = True,
        clara: Clara | None = None,
        **kwargs: Any,
    ) -> None:
        self.name = name
        self.top_n = top_n
        self.sentences = sentences
        self.clara = clara or Clara.from_pretrained(checkpoint, subfolder=subfolder)

    def process(
        self, contexts: Sequence[Sequence[str]], queries: Sequence[str]
    ) -> tuple[list[list[str]], dict[str, float]]:
        """Process the texts of each question.

        Args:
            contexts: The texts of each question.
            queries: The questions.

        Returns:
            The texts that are kept, best first, and `context_compression`: the mean share of characters that
            is left out, in percent.

        Raises:
            InputError: A question is empty or too long.
        """
        kept = [self._kept(list(texts), query) for texts, query in zip(contexts, queries, strict=True)]
        shares = [
            100 * (1 - sum(map(len, left)) / total)
            for left, texts in zip(kept, contexts, strict=True)
            if (total := sum(map(len, texts)))
        ]
        return kept, {"context_compression": float(np.mean(shares)) if shares else 0.0}

    def _kept(self, texts: list[str], query: str) -> list[str]:
        best = relevance.best_first(relevance.scores(self.clara, query, texts), self.top_n)
        chosen = [texts[place] for place in best]
        if not self.sentences:
            return chosen
        return relevance.sentences(self.clara, query, chosen)
