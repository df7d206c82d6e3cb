"""ExtractiveProcessor: token ids of passages, questions, and pairs of both."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import AutoProcessor

from clara.errors import PromptError
from clara.extractive.configuration import ExtractiveConfig
from clara.extractive.cross_encoder import answer_block, question_block
from clara.processing import ClaraProcessor, Prompt, Slot, TextSlot


class ExtractiveProcessor(ClaraProcessor):
    """Token ids of an extractive reader; the first line of a passage is its title.

    Args:
        As for `ClaraProcessor`.
    """

    @property
    def passage_tokens(self) -> int:
        """As for `ClaraProcessor`; a token stands between title and text."""
        return int(self.doc_max_tokens) - 1

    def encode_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of passages as the encoder reads them, cut at `doc_max_tokens`."""
        return [self._enclose(ids[: self.doc_max_tokens]) for ids in self._tokenize_titled(texts)]

    def document_spans(self, text: str) -> list[tuple[int, int] | None]:
        """As for `ClaraProcessor`."""
        title, line_end, body = text.partition("\n")
        spans = self._offsets(title)
        if of_body := self._offsets(body, len(title) + len(line_end)):
            spans += [*[None] * (self._end is not None), *of_body]
        spans = [*[None] * self._num_opening, *spans[: self.doc_max_tokens]]
        (ids,) = self.encode_documents([text])
        return [*spans, None][: len(ids)]

    def prompt(self, question: str, documents: Sequence[Slot], answer: str | None = None) -> Prompt:
        """The prompt that asks `question` about `documents`; with `answer`, one that trains it.

        Raises:
            InputError: The question is empty or too long.
        """
        return self.packed_prompt(documents, [(question, answer)])

    def qa_prompt(
        self, documents: Sequence[Slot], questions: Sequence[str], answers: Sequence[str]
    ) -> Prompt:
        """A prompt that trains every question-answer pair on `documents`."""
        return self.packed_prompt(documents, list(zip(questions, answers, strict=True)))

    def paraphrase_prompt(self, documents: Sequence[Slot], paraphrase: str | None = None) -> Prompt:
        """Not available.

        Raises:
            PromptError: In any case; an answer always follows a question.
        """
        raise PromptError("The 'pairs' prompt format has no paraphrases; train it on questions and answers.")

    def packed_prompt(self, documents: Sequence[Slot], turns: Sequence[tuple[str, str | None]]) -> Prompt:
        """Several (question, answer) pairs over the same documents in one row.

        Args:
            documents: Texts and memories.
            turns: (question, answer to be trained or None) pairs.
        """
        prompt = Prompt()
        for number, document in enumerate(documents):
            if isinstance(document, TextSlot):
                prompt.add(document.ids, range(len(document.ids)), number)
            else:
                rate = document.rate or self.compression_rate
                places = [slot * rate + rate // 2 for slot in range(document.length)]
                prompt.add(self._placeholders(document.length), places, number, slot=True, span=rate)
        for turn, (question, answer) in enumerate(turns):
            asked = self.encode_questions([question])[0]
            prompt.add(asked, range(len(asked)), question_block(turn))
            if answer is not None:
                given = [*self.tokenize([answer])[0], self.end_token_id]
                prompt.add(given, range(len(asked), len(asked) + len(given)), answer_block(turn))
                prompt.targets[-1] = given[-1]  # one target a question: its place
        return prompt

    def _tokenize_titled(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts whose first line, the title, ends with the tokenizer's end token.

        White space is no token of such tokenizers; without the end token the reader could not tell title and
        text apart.
        """
        end = [] if self._end is None else [self._end]
        parts = [text.partition("\n") for text in texts]
        titles = self.tokenize([title for title, _, _ in parts])
        bodies = self.tokenize([body for _, _, body in parts])
        return [[*title, *end, *body] if body else title for title, body in zip(titles, bodies, strict=True)]


AutoProcessor.register(ExtractiveConfig, ExtractiveProcessor, exist_ok=True)
