"""FlashRAG: a retriever, a prompt template, a generator and a refiner for its pipelines.

FlashRAG itself is not needed to import this. Its pipelines take the objects as they are:

    pipeline = SequentialPipeline(
        config, ClaraPromptTemplate(), retriever=ClaraRetriever(library), generator=ClaraGenerator(clara)
    )

The settings `refiner_name`, `use_fid`, `save_retrieval_cache` and `use_reranker` are for its own components;
`ClaraRefiner` is set as `pipeline.refiner`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from clara.errors import InputError
from clara.integrations import exchange, relevance
from clara.integrations.conditions import Where
from clara.library import Library
from clara.pipeline import Clara

__all__ = ["ClaraGenerator", "ClaraPrompt", "ClaraPromptTemplate", "ClaraRefiner", "ClaraRetriever"]

Item = dict[str, Any]
"""A retrieved passage: `id`, `contents` (its title on a line, then the text), and what else is known."""


class ClaraRetriever:
    """Finds passages of a library.

    Args:
        library: What is searched.
        topk: How many passages.
        where: Conditions that passages must meet.

    Example:
        >>> ClaraRetriever(library, topk=3).search("When did the bridge open?")[0]["contents"]
    """

    def __init__(self, library: Library, topk: int = 5, where: Where | None = None) -> None:
        self.library = library
        self.topk = topk
        self.where = where

    def search(self, query: str, num: int | None = None, return_score: bool = False) -> Any:
        """The passages for a question.

        Args:
            query: The question.
            num: How many, instead of `topk`.
            return_score: Whether their scores are returned too.

        Returns:
            Items, best first; or items and scores.

        Raises:
            InputError: The question is empty or too long, or a condition cannot be understood.
        """
        found = exchange.search(self.library, query, self.topk if num is None else num, self.where)
        items = [
            {
                "id": name,
                "contents": "\n".join((_headline(source.title, source.heading), source.text)),
                "text": source.text,
                **exchange.found_metadata(source),
            }
            for name, source in found
        ]
        return (items, [item["score"] for item in items]) if return_score else items

    def batch_search(
        self, query: str | Sequence[str], num: int | None = None, return_score: bool = False
    ) -> Any:
        """The passages for each of several questions; arguments as for `search`."""
        queries = [query] if isinstance(query, str) else query
        found = [self.search(one, num, return_score=True) for one in queries]
        items, scores = [items for items, _ in found], [scores for _, scores in found]
        return (items, scores) if return_score else items


class ClaraPrompt(str):
    """A prompt that still knows its question and passages, which Clara reads apart.

    Attributes:
        question: The question.
        passages: The texts that the answer is read from.
    """

    question: str
    passages: tuple[str, ...]

    def __new__(cls, question: str, passages: Iterable[str] = ()) -> Self:
        """A prompt whose text, which FlashRAG logs, is the passages and the question."""
        each = tuple(passages)
        prompt = super().__new__(cls, "\n\n".join((*each, f"Question: {question}")))
        prompt.question = question
        prompt.passages = each
        return prompt

    def __getnewargs__(self) -> Any:  # so that a copy has the same text
        return self.question, self.passages


class ClaraPromptTemplate:
    """Makes the prompts that `ClaraGenerator` reads."""

    def get_string(
        self,
        question: str | None = None,
        retrieval_result: Sequence[Mapping[str, Any]] | None = None,
        formatted_reference: str | None = None,
        **parameters: Any,
    ) -> ClaraPrompt:
        """A prompt.

        Args:
            question: The question.
            retrieval_result: Items, of which `contents` is read.
            formatted_reference: A text that is read instead of them.
            parameters: Passed over if they are None.

        Raises:
            InputError: There is no question, or something else is to stand in the prompt.
        """
        more = [name for name, value in parameters.items() if value is not None]
        if question is None or more:
            wrong = f"also gives {', '.join(more)}" if more else "gives no question"
            raise InputError(
                f"Clara's prompt is a question with passages, but the pipeline {wrong}; use one that gives "
                "question and retrieval_result alone, such as SequentialPipeline."
            )
        if formatted_reference is not None:
            return ClaraPrompt(question, [formatted_reference])
        return ClaraPrompt(question, [str(item["contents"]).strip() for item in retrieval_result or ()])


class ClaraGenerator:
    """Answers prompts of `ClaraPromptTemplate`, whose passages are compressed first.

    Args:
        clara: The model.
        batch_size: How many prompts are answered together.
        max_new_tokens: Longest answer.

    Example:
        >>> ClaraGenerator(clara).generate([ClaraPrompt("When did it open?", ["It opened in 1883."])])
        ['1883']
    """

    def __init__(self, clara: Clara, batch_size: int = 8, max_new_tokens: int = 64) -> None:
        self.clara = clara
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens

    def generate(
        self, input_list: str | Sequence[str], batch_size: int | None = None, **parameters: Any
    ) -> list[str]:
        """An answer to each prompt.

        Args:
            input_list: Prompts of `ClaraPromptTemplate`, or one.
            batch_size: Instead of the generator's.
            parameters: `max_new_tokens` or `max_tokens`, instead of the generator's.

        Raises:
            InputError: A prompt is of another template, a question is empty or too long, or a parameter is
                none of those.
            PromptError: Passages are more than the model reads.
        """
        prompts = [input_list] if isinstance(input_list, str) else input_list
        longest = parameters.pop("max_new_tokens", parameters.pop("max_tokens", self.max_new_tokens))
        if parameters:
            raise InputError(
                f"The generator has no parameter {next(iter(parameters))}; allowed are max_new_tokens and "
                "max_tokens."
            )
        read = [_checked(prompt) for prompt in prompts]
        size = batch_size or self.batch_size
        answers: list[str] = []
        for start in range(0, len(read), size):
            batch = read[start : start + size]
            answers += self.clara.answer(
                [prompt.question for prompt in batch],
                [prompt.passages for prompt in batch],
                max_new_tokens=longest,
            )
        return answers


class ClaraRefiner:
    """Shortens what was retrieved for another generator: the best passages, of each the best sentence.

    The best sentence supports the answer that the model would give itself.

    Memories are vectors that a model of another kind cannot read, so the refined text is made of words.

    Args:
        clara: The model that orders the passages.
        topk: How many passages a sentence is kept of.
    """

    name = "clara"
    input_prompt_flag = False

    def __init__(self, clara: Clara, topk: int = 3) -> None:
        self.clara = clara
        self.topk = topk

    def run(self, item: Any) -> str:
        """The refined text of one example.

        Args:
            item: With `question` and `retrieval_result`.

        Returns:
            A line for each kept passage, its title before the sentence; the passage's text where no sentence
            shares a word with question or answer.
        """
        contents = [str(one["contents"]) for one in item.retrieval_result]
        heads, texts = [], []
        for one in contents:
            head, _, text = one.partition("\n")
            heads.append(head)
            texts.append(text)
        scores = relevance.scores(self.clara, item.question, [one.strip() for one in contents])
        best = relevance.best_first(scores, self.topk)
        kept = relevance.sentences(
            self.clara,
            item.question,
            [texts[place] for place in best],
            [contents[place].strip() for place in best],
        )
        lines = [(heads[place], sentence) for place, sentence in zip(best, kept, strict=True)]
        return "\n".join(f"{head}: {text}" if head else text for head, text in lines)

    def batch_run(self, dataset: Iterable[Any], batch_size: int | None = None) -> list[str]:
        """The refined text of each example; see `run`."""
        return [self.run(item) for item in dataset]


def _headline(title: str, heading: str) -> str:
    return " > ".join(part for part in (title, heading) if part)


def _checked(prompt: str) -> ClaraPrompt:
    if not isinstance(prompt, ClaraPrompt):
        raise InputError(
            "The prompt is plain text, but Clara reads question and passages apart; give the pipeline "
            "ClaraPromptTemplate() as its prompt template."
        )
    return prompt
