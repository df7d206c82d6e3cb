"""ClaraProcessor: text to token ids. Documents and questions to compress, and prompts with memory slots.

Text is budgeted and cut before placeholders exist; a placeholder is never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoProcessor, ProcessorMixin

from clara import prompts
from clara.configuration import ClaraConfig
from clara.errors import InputError, PromptError
from clara.model.fusion import PAD_BLOCK
from clara.model.losses import IGNORE
from clara.model.prompts import PromptBatch


@dataclass(frozen=True, slots=True)
class MemorySlot:
    """A document that stands in a prompt as its memory.

    Attributes:
        length: Memory tokens.
        rate: Text tokens per memory token, which places the slot's positions and says
            how many words each holds; None for the processor's own rate.
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
    spans: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_targets(self) -> int:
        """Positions that train."""
        return sum(target != IGNORE for target in self.targets)

    def add(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        block: int,
        *,
        slot: bool = False,
        span: int = 1,
    ) -> None:
        """Append positions of one block that train nothing."""
        self.ids += ids
        self.positions += positions
        self.blocks += [block] * len(ids)
        self.slots += [slot] * len(ids)
        self.spans += [span] * len(ids)
        self.targets += [IGNORE] * len(ids)


OF_CONFIG = (
    "prompt_format",
    "doc_max_tokens",
    "query_max_tokens",
    "compression_rate",
    "memory_token_ids",
    "separator_token_id",
    "encode_token_id",
    "document_prefix_ids",
    "query_prefix_ids",
)
"""Entries of `ClaraConfig` that a processor works by."""


class ClaraProcessor(ProcessorMixin):
    """Token ids of documents, questions and prompts.

    Args:
        tokenizer: The base's tokenizer, with the memory tokens in its vocabulary.
        prompt_format: "apple" (the released checkpoints' chat prompts), "plain" (ours for causal bases) or
            "documents" (ours for pooled memories).
        doc_max_tokens: As in `ClaraConfig`.
        query_max_tokens: As in `ClaraConfig`.
        compression_rate: As in `ClaraConfig`.
        memory_token_ids: As in `ClaraConfig`.
        separator_token_id: As in `ClaraConfig`.
        encode_token_id: As in `ClaraConfig`.
        document_prefix_ids: As in `ClaraConfig`.
        query_prefix_ids: As in `ClaraConfig`.
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
        document_prefix_ids: list[int] | None = None,
        query_prefix_ids: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, **kwargs)  # type: ignore[no-untyped-call]
        self.prompt_format = prompt_format
        self.doc_max_tokens = doc_max_tokens
        self.query_max_tokens = query_max_tokens
        self.compression_rate = compression_rate
        self.memory_token_ids = list(memory_token_ids or [])
        self.separator_token_id = separator_token_id
        self.encode_token_id = encode_token_id
        self.document_prefix_ids = list(document_prefix_ids or [])
        self.query_prefix_ids = list(query_prefix_ids or [])

    @classmethod
    def for_config(cls, tokenizer: Any, config: ClaraConfig) -> ClaraProcessor:
        """The processor that goes with a `ClaraConfig`."""
        return cls(tokenizer, **{name: getattr(config, name) for name in OF_CONFIG})

    @property
    def passage_tokens(self) -> int:
        """Longest passage that is compressed whole, in tokens of its words."""
        return int(self.doc_max_tokens)

    def check(self, config: ClaraConfig) -> None:
        """Raise InputError if the processor was made for another configuration, naming what differs."""
        for name in OF_CONFIG:
            own, other = getattr(self, name), getattr(config, name)
            if own != other:
                raise InputError(
                    f"The processor has {name} {own!r}, but the model {other!r}; make it with "
                    "ClaraProcessor.for_config(tokenizer, model.config)."
                )

    # -- texts to compress ---------------------------------------------------------------------------

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts without special tokens.

        What spells a special token, "[SEP]" say, is read as the text that it is, but in Apple's format,
        whose weights saw it as the token.
        """
        return list(self._encoded(list(texts))["input_ids"]) if texts else []

    def _encoded(self, texts: str | list[str], **options: Any) -> Any:
        split = self.prompt_format != "apple"
        return self.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=split, verbose=False, **options
        )

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of texts without special tokens."""
        return [len(ids) for ids in self.tokenize(texts)]

    def encode_documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of documents as the compressor reads them, cut at `doc_max_tokens`."""
        if self.prompt_format == "apple":
            # cut after the end token was added: a long text loses it (a trait of the released checkpoints)
            return [ids[: self.doc_max_tokens + 3] for ids in self._tokenize_enclosed(texts)]
        if self.prompt_format == "documents":
            return [[*self.document_prefix_ids, *ids[: self.doc_max_tokens]] for ids in self.tokenize(texts)]
        return [self._enclose(ids[: self.doc_max_tokens]) for ids in self.tokenize(texts)]

    def document_spans(self, text: str) -> list[tuple[int, int] | None]:
        """Where each token of `encode_documents([text])` stands in the text, in characters.

        None for the special tokens around it.
        """
        opening = self._opening if self.prompt_format == "apple" else ""
        spans = self._offsets(opening + text, -len(opening))
        if self.prompt_format == "documents":
            spans = [*[None] * len(self.document_prefix_ids), *spans[: self.doc_max_tokens]]
        elif self.prompt_format != "apple":
            spans = [*[None] * self._num_opening, *spans[: self.doc_max_tokens]]
        (ids,) = self.encode_documents([text])
        return [*spans, None][: len(ids)]

    @property
    def _num_opening(self) -> int:
        """Special tokens before a text to compress."""
        return len(self._enclose([])) - (self._end is not None)

    def _offsets(self, text: str, shift: int = 0) -> list[tuple[int, int] | None]:
        """Where each token of a text stands in it, moved by `shift`; None for one that stands before 0."""
        found = self._encoded(text, return_offsets_mapping=True)
        return [
            (max(0, start + shift), end + shift) if end + shift > 0 else None
            for start, end in found["offset_mapping"]
        ]

    def encode_questions(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of questions as the query reasoner reads them.

        Raises:
            InputError: A question is no text, is empty or is longer than `query_max_tokens`; cutting it would
                answer another question.
        """
        for text in texts:
            if not isinstance(text, str) or text != text.encode("utf-8", "replace").decode("utf-8"):
                raise InputError(f"The question is {text!r}, but must be a text in valid Unicode.")
        questions = self.tokenize(texts)
        for text, ids in zip(texts, questions, strict=True):
            if not text.strip() or not ids:
                raise InputError("The question is empty; ask something.")
            if len(ids) > self.query_max_tokens:
                raise InputError(
                    f"The question has {len(ids)} tokens, but the model reads at most "
                    f"{self.query_max_tokens}; shorten it."
                )
        if self.prompt_format == "apple":
            return self._tokenize_enclosed(texts)
        if self.prompt_format == "documents":
            return self.tokenize([prompts.documents_question(text) for text in texts])
        return [self._enclose(ids) for ids in questions]

    def _tokenize_enclosed(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts tokenised together with the special tokens around them, as the released weights saw them.

        Some tokenizers mark the start of a text, but not the start of what follows a special token.
        """
        end = self._token_text(self._end)
        return self.tokenize([self._opening + text + end for text in texts])

    def _enclose(self, ids: list[int]) -> list[int]:
        """`ids` between the special tokens that a text to compress carries."""
        begin = [token for token in (self.encode_token_id, self._begin) if token is not None]
        end = [] if self._end is None else [self._end]
        return begin + ids + end

    @property
    def _opening(self) -> str:
        """The special tokens before a text to compress, as text."""
        return self._token_text(self.encode_token_id) + self._token_text(self._begin)

    def _token_text(self, token: int | None) -> str:
        return "" if token is None else str(self.tokenizer.convert_ids_to_tokens(token))

    @property
    def _begin(self) -> int | None:
        token: int | None = self.tokenizer.bos_token_id
        return self.tokenizer.cls_token_id if token is None else token

    @property
    def _end(self) -> int | None:
        token: int | None = self.tokenizer.eos_token_id
        return self.tokenizer.sep_token_id if token is None else token

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
        self.encode_questions([question])
        if self.prompt_format == "documents":
            return self.documents_prompt(documents, [(prompts.documents_answer(question), answer)])
        if self.prompt_format == "apple":
            return self.chat_prompt(prompts.apple_answer(question, len(documents)), documents, answer)
        text = prompts.plain_answer(question, len(documents))
        return self._linear_prompt(text, documents, None if answer is None else f" {answer}")

    def qa_prompt(
        self, documents: Sequence[Slot], questions: Sequence[str], answers: Sequence[str]
    ) -> Prompt:
        """A prompt that trains every question-answer pair on `documents` in one target (pretraining)."""
        if self.prompt_format == "documents":
            asked = [prompts.documents_answer(question) for question in questions]
            return self.documents_prompt(documents, list(zip(asked, answers, strict=True)))
        target = prompts.qa_target(questions, answers)
        if self.prompt_format == "apple":
            return self.chat_prompt(prompts.apple_qa(len(documents)), documents, target)
        return self._linear_prompt(prompts.plain_qa(len(documents)), documents, f" {target}")

    def paraphrase_prompt(self, documents: Sequence[Slot], paraphrase: str | None = None) -> Prompt:
        """The prompt that asks for a paraphrase of `documents`; with `paraphrase`, one that trains it."""
        if self.prompt_format == "documents":
            return self.documents_prompt(documents, [(prompts.DOCUMENTS_PARAPHRASE, paraphrase)])
        if self.prompt_format == "apple":
            return self.chat_prompt(prompts.apple_paraphrase(len(documents)), documents, paraphrase)
        target = None if paraphrase is None else f" {paraphrase}"
        return self._linear_prompt(prompts.plain_paraphrase(len(documents)), documents, target)

    def documents_prompt(
        self, documents: Sequence[Slot], turns: Sequence[tuple[str, str | Sequence[int] | None]]
    ) -> Prompt:
        """Documents and what is asked about them, in the "documents" format.

        Each document stands between its prefix and a separator; a memory token has the position of the last
        text token that it stands for. Of several turns each is a block of its own, which begins at the same
        position and sees the documents but no other turn, as if it stood alone.

        Args:
            documents: Texts and memories.
            turns: (prompt, answer to be trained or None) pairs; an answer is a text, or the token ids to be
                written.
        """
        prompt, at = Prompt(), 0
        for document in documents:
            if isinstance(document, TextSlot):
                ids = list(document.ids)
                prompt.add(ids, range(at, at + len(ids)), 0)
                at += len(ids)
            else:
                rate = document.rate or self.compression_rate
                prompt.add(self.document_prefix_ids, range(at, at + len(self.document_prefix_ids)), 0)
                at += len(self.document_prefix_ids)
                places = [at + rate * (slot + 1) - 1 for slot in range(document.length)]
                prompt.add(self._placeholders(document.length), places, 0, slot=True, span=rate)
                at += rate * document.length
            if self.separator_token_id is not None:
                prompt.add([self.separator_token_id], [at], 0)
                at += 1
        for turn, (asked, answer) in enumerate(turns):
            ids = self.tokenize([asked])[0]
            if isinstance(answer, str):
                given = [*self.tokenize([f" {answer}"])[0], self.end_token_id]
            else:
                given = list(answer or ())
            both = [*ids, *given]
            prompt.add(both, range(at, at + len(both)), turn + 1 if len(turns) > 1 else 0)
            if given:
                prompt.targets[-len(given) - 1 : -1] = given
        return prompt

    def chat_prompt(
        self, messages: tuple[str, str], documents: Sequence[Slot], answer: str | None = None
    ) -> Prompt:
        """A prompt of Apple's format: system and user message through the tokenizer's chat template.

        It is tokenised in one piece with its answer, as the released weights saw it. Slots are found by
        their place in the text, so that a question which spells a placeholder opens none.

        Raises:
            PromptError: The tokenizer has no chat template, or the prompt's slots are not one per document.
        """
        pieces = self._pieces(self._render_chat(messages), documents)
        marker = self._token_text(self.memory_token_ids[0])
        starts, written = set(), 0
        for piece in pieces[:-1]:
            starts.add(written + len(piece))
            written += len(piece) + len(marker)
        prompt_end = written + len(pieces[-1])
        text = marker.join(pieces)
        if answer is not None:
            text += f" {answer}{self.tokenizer.eos_token}"
        tokens = self._encoded(text, return_offsets_mapping=True)
        ids, spans = tokens["input_ids"], tokens["offset_mapping"]
        return self._fill_slots(
            ids,
            slots=[
                at
                for at, span in enumerate(spans)
                if span[0] in starts and ids[at] == self.memory_token_ids[0]
            ],
            documents=documents,
            answer_length=sum(start >= prompt_end for start, _ in spans),
        )

    def _render_chat(self, messages: tuple[str, str]) -> str:
        """The text of a system and a user message; one user message where the template has no system role."""
        system, user = messages
        if not self.tokenizer.chat_template:
            raise PromptError("The tokenizer has no chat template, which the 'apple' prompt format needs.")
        chat = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        joined = [{"role": "user", "content": f"{system}\n\n{user}"}]
        try:
            text = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        except TemplateError:
            text = self.tokenizer.apply_chat_template(joined, tokenize=False, add_generation_prompt=True)
        return str(text)

    def _fill_slots(
        self, ids: list[int], slots: list[int], documents: Sequence[Slot], answer_length: int
    ) -> Prompt:
        """A prompt from token ids in which each slot is one token, the answer standing at the end."""
        prompt, written = Prompt(), 0
        for at, document in zip(slots, documents, strict=True):
            self._extend(prompt, ids[written:at])
            self._add_slot(prompt, document)
            written = at + 1
        self._extend(prompt, ids[written:])
        if answer_length:
            prompt.targets[-answer_length - 1 : -1] = ids[-answer_length:]
        return prompt

    def _linear_prompt(self, text: str, documents: Sequence[Slot], answer: str | None) -> Prompt:
        """A prompt of the "plain" format: begin token, text with its slots filled, answer, end token."""
        prompt = Prompt()
        if self._begin is not None:
            self._extend(prompt, [self._begin])
        for number, piece in enumerate(self._pieces(text, documents)):
            if number:
                self._add_slot(prompt, documents[number - 1])
            if piece:
                self._extend(prompt, self.tokenize([piece])[0])
        if answer is not None:
            given = [*self.tokenize([answer])[0], self.end_token_id]
            self._extend(prompt, given)
            prompt.targets[-len(given) - 1 : -1] = given
        return prompt

    def _pieces(self, text: str, documents: Sequence[Slot]) -> list[str]:
        """The text between the slots."""
        pieces = text.split(prompts.SLOT)
        if len(pieces) != len(documents) + 1:
            raise PromptError(f"The prompt has {len(pieces) - 1} slots for {len(documents)} documents.")
        return pieces

    def _add_slot(self, prompt: Prompt, document: Slot) -> None:
        if isinstance(document, TextSlot):
            self._extend(prompt, document.ids)
        else:
            self._extend(prompt, self._placeholders(document.length), slot=True)
        if self.separator_token_id is not None:
            self._extend(prompt, [self.separator_token_id])

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
        spans=padded("spans", 1),
        lengths=torch.tensor([len(row) for row in rows]),
        targets=targets if (targets != IGNORE).any() else None,
    )


def collate_texts(
    texts: Sequence[Sequence[int]], pad_token_id: int = 0, device: torch.device | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (D, T), padded on the right to the longest, and lengths (D,), on a device."""
    width = max(len(ids) for ids in texts)
    ids = torch.tensor([[*ids, *[pad_token_id] * (width - len(ids))] for ids in texts], device=device)
    return ids, torch.tensor([len(ids) for ids in texts], device=device)


AutoProcessor.register(ClaraConfig, ClaraProcessor, exist_ok=True)
