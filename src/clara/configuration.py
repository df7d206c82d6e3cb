"""ClaraConfig: every choice that a Clara model is made with, saved as `config.json` beside its weights."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig

EMBEDDING_ROLES = ("compressor", "query_reasoner")
ROLE_KINDS = ("lora", "full")


class ClaraConfig(PreTrainedConfig):
    """Configuration of a `ClaraModel`.

    Args:
        text_config: Configuration of the base language model, or a dictionary of it.
        roles: The roles that the model has, each mapped to how its weights differ from the base:
            "lora" (low-rank adapter) or "full" (weights of its own).
        compressor: How a memory comes about. "appended": M learned memory tokens after the document in a
            causal model, whose final states are the memory (the paper, section 3). "pooled": one memory token
            per `compression_rate` text tokens, the mean of their states after `memory_layer` layers
            (`clara.model.pooling`).
        score: Similarity of question and document. "slots": cosine of flattened memories, slot against
            slot (the paper, eq. for retrieval). "mean": cosine of the memories' length-weighted means.
            "text": cosine of the mean final states over the text itself (a sentence embedding), which leaves
            the memories free of search. "tokens": candidates by the projected mean of a memory, which are
            then ordered by late interaction of the question's tokens with memory tokens; for pooled memories.
        memory_layer: Layer of the base after which memories enter the generator, in the place of the states
            of the tokens that they stand for: the layers below it are read by tokens alone. 0 for the input
            embeddings (the paper).
        search_size: Numbers of a vector that a pooled memory is searched by.
        document_prefix_ids: Tokens before a document, in the compressor and in prompts ("documents" format).
        query_prefix_ids: Tokens before a question, in the query reasoner and in prompts ("documents" format).
        no_answer_token_id: The token that answers where no document holds the answer; None if the model was
            not taught one.
        embedding_role: Which role's memory of a document is compared with the question's. "compressor": the
            memory that is stored (the paper). "query_reasoner": one of its own, made in the same pass over
            the documents, so that reading and search need not share one vector; only its embedding is stored.
        embedding_slots: How many of a memory's first slots are compared where the score is "slots", so that
            the search index is small; None for all (the paper).
        prompt_format: Which prompts `clara.prompts` builds.
        compression_rate: Text tokens per memory token.
        doc_max_tokens: Tokens of a document that are read, special tokens not counted.
        query_max_tokens: Tokens of a question that are read, special tokens not counted.
        num_selected: Documents that answer a question by default (K).
        num_text_documents: How many of them are read as text, the others as memories.
        reading: How they are read: "joint", in one prompt (the paper), or "separate", each in a prompt of its
            own (`clara.reading`).
        selection_temperature: Temperature of the straight-through selection (the paper: 0.02).
        alignment_weight: Weight of the alignment loss (the paper: 0.1).
        lora_rank: Rank of "lora" roles.
        lora_alpha: Scale numerator of "lora" roles; the scale is alpha / rank.
        lora_dropout: Dropout before the low-rank path while training.
        memory_token_ids: Token ids of the memory placeholders, in slot order; one id serves every slot.
        separator_token_id: Token after each memory in a prompt, or None.
        encode_token_id: Token that opens a text to compress, or None.
        base_model_name: Where the base's weights come from when they are not in the folder, or None.
        base_fingerprint: Of these weights (`clara.checkpoints.bases.base_fingerprint`); another base of the
            same shape is loaded with a warning. None where it is not known.
        training_stage: The stage that the weights come from, for reports.

    Raises:
        ValueError: A named choice is not one of those listed.
    """

    model_type = "clara"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 - the base class declares it so
    has_no_defaults_at_init = True

    compressors: ClassVar[tuple[str, ...]] = ("appended", "pooled")
    scores: ClassVar[tuple[str, ...]] = ("slots", "mean", "text", "tokens")
    prompt_formats: ClassVar[tuple[str, ...]] = ("apple", "plain", "documents")
    readings: ClassVar[tuple[str, ...]] = ("joint", "separate")

    def __init__(
        self,
        text_config: PreTrainedConfig | dict[str, Any] | None = None,
        roles: dict[str, str] | None = None,
        compressor: str = "appended",
        score: str = "slots",
        embedding_role: str = "compressor",
        embedding_slots: int | None = None,
        prompt_format: str = "plain",
        memory_layer: int = 0,
        search_size: int = 256,
        document_prefix_ids: list[int] | None = None,
        query_prefix_ids: list[int] | None = None,
        no_answer_token_id: int | None = None,
        compression_rate: int = 16,
        doc_max_tokens: int = 256,
        query_max_tokens: int = 256,
        num_selected: int = 5,
        num_text_documents: int = 0,
        reading: str = "joint",
        selection_temperature: float = 0.02,
        alignment_weight: float = 0.1,
        lora_rank: int = 16,
        lora_alpha: float = 32.0,
        lora_dropout: float = 0.1,
        memory_token_ids: list[int] | None = None,
        separator_token_id: int | None = None,
        encode_token_id: int | None = None,
        base_model_name: str | None = None,
        base_fingerprint: str | None = None,
        training_stage: str | None = None,
        **kwargs: Any,
    ) -> None:
        if text_config is None:
            text_config = AutoConfig.for_model("llama")
        if isinstance(text_config, dict):
            fields = dict(text_config)
            text_config = AutoConfig.for_model(fields.pop("model_type", "llama"), **fields)
        # a copy, since the base class sets attention choices on sub-configurations
        self.text_config = copy.deepcopy(text_config)
        known = ("compressor", "query_reasoner", "generator")
        given = dict.fromkeys(known, "lora") if roles is None else dict(roles)
        # always in the same order, which is that of the parameters and so of an optimizer's state
        self.roles = dict(
            sorted(given.items(), key=lambda role: known.index(role[0]) if role[0] in known else len(known))
        )
        self.compressor = compressor
        self.score = score
        self.embedding_role = embedding_role
        self.prompt_format = prompt_format
        self.memory_layer = memory_layer
        self.search_size = search_size
        self.document_prefix_ids = list(document_prefix_ids or [])
        self.query_prefix_ids = list(query_prefix_ids or [])
        self.no_answer_token_id = no_answer_token_id
        self.compression_rate = compression_rate
        self.doc_max_tokens = doc_max_tokens
        self.query_max_tokens = query_max_tokens
        self.num_selected = num_selected
        self.num_text_documents = num_text_documents
        self.reading = reading
        self.selection_temperature = selection_temperature
        self.alignment_weight = alignment_weight
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.lora_dropout = lora_dropout
        self.memory_token_ids = list(memory_token_ids or [])
        self.separator_token_id = separator_token_id
        self.encode_token_id = encode_token_id
        self.base_model_name = base_model_name
        self.base_fingerprint = base_fingerprint
        self.training_stage = training_stage
        for name, value, allowed in (
            ("compressor", compressor, self.compressors),
            ("score", score, self.scores),
            ("embedding_role", embedding_role, EMBEDDING_ROLES),
            ("prompt_format", prompt_format, self.prompt_formats),
            ("reading", reading, self.readings),
            *((f"roles[{role!r}]", kind, ROLE_KINDS) for role, kind in self.roles.items()),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}, but must be one of {', '.join(allowed)}.")
        for left, right in (("pooled", "tokens"), ("pooled", "documents")):
            name, value = ("score", score) if right == "tokens" else ("prompt_format", prompt_format)
            if (compressor == left) != (value == right):
                raise ValueError(
                    f"compressor is {compressor!r} with {name} {value!r}, but {left!r} and {right!r} go "
                    "together."
                )
        if reading == "separate" and no_answer_token_id is None:
            raise ValueError("reading is 'separate', which needs a no_answer_token_id.")
        layers = getattr(self.text_config, "num_hidden_layers", 0)
        if not (0 < memory_layer < layers if compressor == "pooled" else memory_layer == 0):
            raise ValueError(
                f"memory_layer is {memory_layer} with compressor {compressor!r}, but must be "
                + (f"from 1 to {layers - 1}." if compressor == "pooled" else "0.")
            )
        self.set_embedding_slots(embedding_slots)
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)

    def set_embedding_slots(self, count: int | None) -> None:
        """Compare the first `count` slots alone from now on; None for all.

        Raises:
            ValueError: A memory has fewer, or the score compares no slots.
        """
        if count is not None and (self.score != "slots" or not 1 <= count <= self.max_memory_tokens):
            raise ValueError(
                f"embedding_slots is {count} with score {self.score!r}, but must be from 1 to "
                f"{self.max_memory_tokens} (the longest memory) with score 'slots'."
            )
        self.embedding_slots = count

    @property
    def max_memory_tokens(self) -> int:
        """M: memory tokens of the longest document."""
        return max(1, self.doc_max_tokens // self.compression_rate)


AutoConfig.register(ClaraConfig.model_type, ClaraConfig, exist_ok=True)
