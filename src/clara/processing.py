"""ClaraProcessor: text to token ids. Documents and questions to compress, and prompts with memory slots.

Text is budgeted and cut before placeholders exist; a placeholder is never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import ProcessorMixin

from clara import prompts
from clara.errors import InputError, PromptError
from clara.model.attention import answer_block, question_block
from clara.model.fusion import PAD_BLOCK
from clara.model.losses import IGNORE
from clara.model.modeling import PromptBatch


@dataclass(frozen=True, slots=True)
class MemorySlot:
    """A document that stands in a prompt as its memory.

    Attributes:
        length: Memory tokens.
        rate: Text tokens per memory token, which spaces the slot's positions in the "blocks" format; None
            for the processor's own rate.
    """

    length: int
    rate: int | None = None


@dataclass(frozen=True, slots=True)
class TextSlot:
    """A document that stands in a prompt as plain text.

    Attributes:
        ids: Token ids, as `ClaraProcessor.encode_documents` gives them.
    """

    ids: Sequence[int]


Slot = MemorySlot | TextSlot


@dataclass(slots=True)
class Prompt:
    """One row of a batch, position by position; see `PromptBatch` for the fields."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    slots: list[bool] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: Sequence[int], positions: Sequence[int], block: int, *, slot: bool = False) -> None:
        """Append positions of one block that train nothing."""
        self.ids += ids
        self.positions += positions
        self.blocks += [block] * len(ids)
        self.slots += [slot] * len(ids)
        self.targets += [IGNORE] * len(ids)


class ClaraProcessor(ProcessorMixin):
    """Token ids of documents, questions and prompts.

    Args:
        tokenizer: The base's tokenizer, with the memory tokens in its vocabulary.
        prompt_format: "released" (the released checkpoints' chat prompts), "plain" (ours for causal bases)
            or "blocks" (ours for bases that read prompts in blocks).
        doc_max_tokens: As in `ClaraConfig`.
        query_max_tokens: As in `ClaraConfig`.
        compression_rate: As in `ClaraConfig`.
        memory_token_ids: As in `ClaraConfig`.
        separator_token_id: As in `ClaraConfig`.
        encode_token_id: As in `ClaraConfig`.
        answer_token_id: As in `ClaraConfig`.
    """

    attributes = ["tokenizer"]  # noqa: RUF012 - the base class declares it so
    tokenizer_class = "AutoTokenizer"

    def __init__(
        self,
        tokenizer: Any = None,
        prompt_format: str = "plain",
        doc_max_tokens: int = 256,
        query_max_tokens: int = 256,
        compression_rate: int = 16,
        memory_token_ids: list[int] | None = None,
        separator_token_id: int | None = None,
        encode_token_id: int | None = None,
        answer_token_id: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, **kwargs)
        self.prompt_format = prompt_format
        self.doc_max_tokens = doc_max_tokens
        self.query_max_tokens = query_max_tokens
        self.compression_rate = compression_rate
        self.memory_token_ids = list(memory_token_ids or [])
        self.separator_token_id = separator_token_id
        self.encode_token_id = encode_token_id
        self.answer_token_id = answer_token_id

    @classmethod
    def for_config(cls, tokenizer: Any, config: Any) -> ClaraProcessor:
        """The processor that goes with a `ClaraConfig`."""
        names = (
            "prompt_format",
            "doc_max_tokens",
            "query_max_tokens",
            "compression_rate",
            "memory_token_ids",
            "separator_token_id",
            "encode_token_id",
            "answer_token_id",
        )
        return cls(tokenizer, **{name: getattr(config, name) for name in names})

    # -- texts to compress ---------------------------------------------------------------------------

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts without special tokens."""
        if not texts:
            return []
        ids = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return list(ids)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of texts without special tokens."""
        return [len(ids) for ids in self.tokenize(texts)]

    def encode_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of documents as the compressor reads them, cut at `doc_max_tokens`."""
        return [self._enclose(ids, self.doc_max_tokens) for ids in self.tokenize(texts)]

    def encode_questions(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of questions as the query reasoner reads them.

        Raises:
            InputError: A question is empty or longer than `query_max_tokens`; cutting it would answer
                another question.
        """
        encoded = []
        for text, ids in zip(texts, self.tokenize(texts), strict=True):
            if not text.strip() or not ids:
                raise InputError("The question is empty; ask something.")
            if len(ids) > self.query_max_tokens:
                raise InputError(
                    f"The question has {len(ids)} tokens, but the model reads at most "
                    f"{self.query_max_tokens}; shorten it."
                )
            encoded.append(self._enclose(ids, self.query_max_tokens))
        return encoded

    def _enclose(self, ids: list[int], limit: int) -> list[int]:
        """`ids` between the special tokens that a text to compress carries."""
        begin = [token for token in (self.encode_token_id, self._begin) if token is not None]
        end = [] if self._end is None else [self._end]
        if self.prompt_format == "released":
            # cut after the end token was added: a long text loses it (a trait of the released checkpoints)
            return (begin + ids + end)[: limit + 3]
        return begin + ids[:limit] + end

    @property
    def _begin(self) -> int | None:
        token = self.tokenizer.bos_token_id
        return token if token is not None else self.tokenizer.cls_token_id

    @property
    def _end(self) -> int | None:
        token = self.tokenizer.eos_token_id
        return token if token is not None else self.tokenizer.sep_token_id

    @property
    def end_token_id(self) -> int:
        """The token that ends an answer."""
        token = self._end
        if token is None:
            raise PromptError("The tokenizer has neither an eos nor a sep token to end an answer with.")
        return token

    # -- prompts -------------------------------------------------------------------------------------

    def prompt(self, question: str, documents: Sequence[Slot], answer: str | None = None) -> Prompt:
        """The prompt that asks `question` about `documents`; with `answer`, one that trains it.

        Raises:
            InputError: The question is empty or too long.
        """
        if self.prompt_format == "blocks":
            return self._blocks_prompt(documents, [(question, answer)])
        self.encode_questions([question])
        if self.prompt_format == "released":
            return self.chat_prompt(prompts.released_answer(question, len(documents)), documents, answer)
        text = prompts.plain_answer(question, len(documents))
        return self._linear_prompt(text, documents, None if answer is None else f" {answer}")

    def packed_prompt(self, documents: Sequence[Slot], turns: Sequence[tuple[str, str]]) -> Prompt:
        """Several (question, answer) pairs over the same documents in one row of the "blocks" format."""
        return self._blocks_prompt(documents, turns)

    def _blocks_prompt(self, documents: Sequence[Slot], turns: Sequence[tuple[str, str | None]]) -> Prompt:
        prompt = Prompt()
        for number, document in enumerate(documents):
            if isinstance(document, TextSlot):
                prompt.add(document.ids, range(len(document.ids)), number)
            else:
                rate = document.rate or self.compression_rate
                places = [slot * rate + rate // 2 for slot in range(document.length)]
                prompt.add(self._placeholders(document.length), places, number, slot=True)
        for turn, (question, answer) in enumerate(turns):
            asked = self.encode_questions([question])[0]
            prompt.add(asked, range(len(asked)), question_block(turn))
            given = [] if answer is None else [*self.tokenize([answer])[0], self.end_token_id]
            start = [self.answer_token_id] if self.answer_token_id is not None else []
            tokens = (start + given)[: max(1, len(given))]
            places = range(len(asked), len(asked) + len(tokens))
            prompt.add(tokens, places, answer_block(turn))
            if given:
                prompt.targets[-len(given) :] = given
        return prompt

    def chat_prompt(
        self, messages: tuple[str, str], documents: Sequence[Slot], answer: str | None = None
    ) -> Prompt:
        """A prompt of the released format: system and user message through the tokenizer's chat template."""
        system, user = messages
        chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        end = self.tokenizer.eos_token
        return self._linear_prompt(text, documents, None if answer is None else f" {answer}{end}")

    def _linear_prompt(self, text: str, documents: Sequence[Slot], answer: str | None) -> Prompt:
        """Token ids of a rendered prompt, its slots filled with placeholders or text."""
        pieces = text.split(prompts.SLOT)
        if len(pieces) != len(documents) + 1:
            raise PromptError(f"The prompt has {len(pieces) - 1} slots for {len(documents)} documents.")
        prompt = Prompt()
        separator = [] if self.separator_token_id is None else [self.separator_token_id]
        if self.prompt_format != "released" and self._begin is not None:
            self._extend(prompt, [self._begin])
        for number, piece in enumerate(pieces):
            if piece:
                self._extend(prompt, self.tokenize([piece])[0])
            if number < len(documents):
                self._add_slot(prompt, documents[number], separator)
        if answer is not None:
            given = self.tokenize([answer])[0]
            if self.prompt_format != "released":
                given = [*given, self.end_token_id]
            self._extend(prompt, given)
            prompt.targets[-len(given) - 1 : -1] = given
        return prompt

    def _add_slot(self, prompt: Prompt, document: Slot, separator: list[int]) -> None:
        if isinstance(document, TextSlot):
            self._extend(prompt, document.ids)
        else:
            self._extend(prompt, self._placeholders(document.length), slot=True)
        self._extend(prompt, separator)

    def _extend(self, prompt: Prompt, ids: Sequence[int], *, slot: bool = False) -> None:
        prompt.add(ids, range(len(prompt), len(prompt) + len(ids)), 0, slot=slot)

    def _placeholders(self, length: int) -> list[int]:
        ids = self.memory_token_ids
        return ids * length if len(ids) == 1 else ids[:length]

    def decode_answer(self, ids: Sequence[int]) -> str:
        """The text of generated token ids."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def collate_prompts(rows: Sequence[Prompt], pad_token_id: int = 0) -> PromptBatch:
    """Prompts as one batch, padded on the right to the longest."""
    width = max(len(row) for row in rows)

    def padded(name: str, value: int) -> torch.Tensor:
        lists = [getattr(row, name) for row in rows]
        return torch.tensor([[*items, *[value] * (width - len(items))] for items in lists])

    targets = padded("targets", IGNORE)
    return PromptBatch(
        ids=padded("ids", pad_token_id),
        positions=padded("positions", 0),
        blocks=padded("blocks", PAD_BLOCK),
        slots=padded("slots", False).bool(),
        lengths=torch.tensor([len(row) for row in rows]),
        targets=targets if (targets != IGNORE).any() else None,
    )


def collate_texts(texts: Sequence[Sequence[int]], pad_token_id: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (D, T), padded on the right to the longest, and lengths (D,)."""
    width = max(len(ids) for ids in texts)
    ids = torch.tensor([[*ids, *[pad_token_id] * (width - len(ids))] for ids in texts])
    return ids, torch.tensor([len(ids) for ids in texts])
