"""ClaraModel: one language model that compresses documents, encodes questions and answers from memories.

Every step of the method is one method here: `compress`, `encode_query`, `score`, `select`, then `forward`
(training) or `generate` (use). What the steps compute stands in the modules beside this one.

Shapes: B rows, D documents, T tokens, M memory tokens, H hidden, V vocabulary, N candidates, K selected.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.utils.generic import ModelOutput

from clara import roles
from clara.checkpoints import layout, native
from clara.checkpoints.folders import find_folder
from clara.configuration import ClaraConfig
from clara.errors import InputError, MissingRoleError
from clara.model import selection
from clara.model.compression import Memories, compress_appended, length_mask
from clara.model.fusion import splice
from clara.model.generation import AnswerConfidence, Written, generate
from clara.model.layers import require_layers, run_layers
from clara.model.losses import IGNORE, answer_loss
from clara.model.pooling import PooledMemory, stacked
from clara.model.prompts import PromptBatch


@dataclass(slots=True)
class Decoding:
    """Where the answers to a batch of prompts stand: what `ClaraModel.decode_step` goes on from.

    Attributes:
        cache: Keys and values of every layer.
        positions: (B,) position of the last token.
        visible: (B, S) bool, cached positions that may be seen; of the layers from `memory_layer` on.
        lower: Likewise of the layers below it, which hold no memories; None where `memory_layer` is 0.
    """

    cache: Cache
    positions: Tensor
    visible: Tensor
    lower: Tensor | None = None

    def step(self) -> None:
        """Make room for one more token per row."""
        self.positions = self.positions + 1
        one = self.visible.new_ones(len(self.visible), 1)
        self.visible = torch.cat([self.visible, one], dim=1)
        if self.lower is not None:
            self.lower = torch.cat([self.lower, one], dim=1)


@dataclass
class ClaraOutput(ModelOutput):
    """Result of `ClaraModel.forward`.

    Attributes:
        loss: Mean cross-entropy over the batch's targets, None without targets.
        logits: (P, V) at the positions with a target, row by row; at each row's last position without
            targets (B, V).
        decoding: What the answers go on from, where it was asked for.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    decoding: Decoding | None = None


class ClaraModel(PreTrainedModel):
    """A base language model with the roles compressor, query_reasoner and generator.

    Args:
        config: The model's choices. The base is built from `config.text_config`; weights come from
            `from_pretrained` of this class or of `clara.Clara`.

    Attributes:
        reads_in_bfloat16: Multiply matrices of the base's layers in bfloat16, whatever type the weights
            have; memories, embeddings and scores are computed in that of the weights. False at first.
    """

    config_class: ClassVar[type[ClaraConfig]] = ClaraConfig  # type: ignore[misc]
    config: ClaraConfig
    base_model_prefix = "clara"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _no_split_modules: list[str] | None = None

    def __init__(self, config: ClaraConfig, base: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.base = AutoModelForCausalLM.from_config(config.text_config) if base is None else base
        self.pooling = (
            PooledMemory(self.hidden_size, config.search_size).to(self.base.dtype)
            if config.compressor == "pooled"
            else None
        )
        if self.pooling is not None:
            require_layers(self.base)
        self.add_modules()
        self.base_rows: layout.BaseRows | None = None
        self.memory_tokens: nn.Parameter | None = None
        self.reads_in_bfloat16 = False
        roles.add_roles(
            self.base.base_model,
            config.roles,
            config.lora_rank,
            config.lora_alpha,
            config.lora_dropout,
            keep=[self.base.get_input_embeddings()],
            depths=dict.fromkeys((roles.COMPRESSOR, roles.QUERY_REASONER), config.memory_layer)
            if config.memory_layer
            else None,
        )
        self.post_init()

    def add_modules(self) -> None:
        """Make what a subclass has besides base, roles and pooling; called before the roles are made."""

    def initialize_weights(self) -> None:
        """Nothing: the base and the roles start themselves; drawing anew would undo their start.

        transformers would draw every layer that it did not load itself, the adapters' among them.
        """

    # -- what a model of this kind offers ------------------------------------------------------------

    answers_at_once: ClassVar[bool] = False
    """Whether an answer is found whole rather than written token by token."""

    offers_rates: ClassVar[bool] = True
    """Whether memories can be made of several compression rates."""

    @property
    def embedding_dim(self) -> int | None:
        """Numbers of a stored embedding; None where search compares the memories themselves."""
        if self.pooling is not None:
            return int(self.config.search_size)
        if self.config.score == "slots":
            slots = self.config.embedding_slots
            return None if slots is None else slots * self.hidden_size
        return self.hidden_size

    @property
    def joins_lexical(self) -> bool:
        """Whether search is by default joined with lexical search."""
        return self.config.score in ("text", "tokens")

    @property
    def fuses_reranked(self) -> bool:
        """Whether that search joins the order by late interaction with that by words."""
        return self.pooling is not None

    def num_memory_tokens(self, rate: int | None) -> int | None:
        """How many of the appended memory tokens make a rate; None for all, and for other memories.

        Args:
            rate: Text tokens per memory token; None for the model's own.

        Raises:
            InputError: The model has no memories of that rate.
        """
        if rate is None:
            return None
        least = self.config.compression_rate if self.config.compressor == "appended" else 1
        if rate < least:
            raise InputError(f"The rate is {rate}, but this model's memories begin at {least}.")
        if self.config.compressor != "appended":
            return None
        count = max(1, int(self.config.doc_max_tokens) // rate)
        slots = self.config.embedding_slots
        if slots is not None and count < slots:
            raise InputError(f"The rate {rate} leaves {count} memory tokens, but search compares {slots}.")
        return count

    @property
    def reads_scores(self) -> bool:
        """Whether the scores of documents in search count when they are read (`scores` of `write`)."""
        return False

    def memory_modules(self) -> dict[str, dict[str, Tensor]]:
        """The weights besides base and roles that determine memories and embeddings, by module."""
        return {} if self.pooling is None else {"pooling": self.pooling.state_dict()}

    def spelled_tokens(self, memory: Tensor, rate: int) -> list[list[tuple[int, float]]] | None:
        """Tokens that each row of a memory (m, H) spells, with their cosines; None if it spells none."""
        return None

    def reading_once(self) -> AbstractContextManager[None]:
        """A block in which nothing is read twice, where the model can remember what it has read."""
        return nullcontext()

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.config.text_config.hidden_size)

    def get_input_embeddings(self) -> nn.Module:
        return self.base.get_input_embeddings()

    @property
    def input_rows(self) -> Tensor:
        """(V, H) token embeddings."""
        return self.base.get_input_embeddings().weight  # type: ignore[return-value]

    @property
    def output_rows(self) -> Tensor:
        """(V, H) weight of the output head; the token embeddings themselves where they are tied."""
        return self.base.get_output_embeddings().weight  # type: ignore[no-any-return]

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Recompute layers in the backward pass, each under the role of its forward pass."""
        options = {**(gradient_checkpointing_kwargs or {})}
        options |= {"use_reentrant": False, "context_fn": roles.checkpoint_contexts}
        self._of_base("activation_checkpointing_enable", "gradient_checkpointing_enable")(options, **kwargs)

    def gradient_checkpointing_disable(self) -> None:
        self._of_base("activation_checkpointing_disable", "gradient_checkpointing_disable")()

    def merge(self) -> None:
        """Multiply low-rank roles out, for use: faster steps, at a copy of the linear layers per role."""
        roles.merge_roles(self.base)

    def _of_base(self, name: str, older: str) -> Any:
        """A method of the base, which older versions of transformers have under another name."""
        return getattr(self.base, name if hasattr(self.base, name) else older)

    def require_role(self, name: str, purpose: str) -> None:
        """Raise MissingRoleError if the model was made without a role.

        Args:
            name: The role.
            purpose: What needs it, as the subject of the message's sentence.
        """
        if name not in self.config.roles:
            stage = self.config.training_stage
            raise MissingRoleError(
                f"{purpose} needs the role {name}, which this checkpoint"
                f"{f' ({stage})' if stage else ''} does not have; load an end-to-end checkpoint for it."
            )

    # -- the steps of the method ---------------------------------------------------------------------

    def compress(
        self, ids: Tensor, lengths: Tensor, num_memory_tokens: int | None = None, rate: int | None = None
    ) -> Memories:
        """Memories of documents.

        Args:
            ids: (D, T) token ids of the documents, padded on the right.
            lengths: (D,) tokens of each.
            num_memory_tokens: For appended memory tokens: the first m of M only.
            rate: Text tokens per memory token of pooled memories, if not the configuration's.
        """
        return self._memorise(roles.COMPRESSOR, ids, lengths, num_memory_tokens, rate)

    def encode_query(
        self, ids: Tensor, lengths: Tensor, num_memory_tokens: int | None = None, rate: int | None = None
    ) -> Memories:
        """Memories of questions, to be compared with those of documents.

        Args:
            ids: (B, T) token ids of the questions, padded on the right.
            lengths: (B,) tokens of each.
            num_memory_tokens: As for `compress`.
            rate: As for `compress`.

        Raises:
            MissingRoleError: The model has no query reasoner.
        """
        self.require_role(roles.QUERY_REASONER, "Searching by memory")
        return self._memorise(roles.QUERY_REASONER, ids, lengths, num_memory_tokens, rate)

    def embeddings(self, memories: Memories) -> Tensor:
        """What is compared in search, by `config.score`: (D, H) means or (D, M * H) flattened memories.

        M is `config.embedding_slots` where that is less. Pooled memories have projected means (D, S).
        """
        if self.pooling is not None:
            return self.pooling.document_embedding(memories)
        if self.config.score == "slots":
            return memories.vectors[:, : self.config.embedding_slots].flatten(1)
        return memories.means if self.config.score == "mean" else memories.text_means

    def query_embeddings(self, queries: Memories) -> Tensor:
        """What of questions is compared with the `embeddings` of documents."""
        return self.embeddings(queries) if self.pooling is None else self.pooling.query_embedding(queries)

    @property
    def reranks(self) -> bool:
        """Whether `rerank` orders the candidates that embeddings have found."""
        return self.pooling is not None

    def document_embeddings(self, ids: Tensor, lengths: Tensor, memories: Memories | None = None) -> Tensor:
        """The embeddings (D, ...) that documents are found by, of the role `config.embedding_role`.

        Args:
            ids: (D, T) token ids of the documents, padded on the right.
            lengths: (D,) tokens of each.
            memories: Their memories, of `compress`, where they are at hand.
        """
        if self.config.embedding_role == roles.COMPRESSOR:
            return self.embeddings(self.compress(ids, lengths) if memories is None else memories)
        return self.embeddings(self.encode_query(ids, lengths))

    def rerank(
        self,
        ids: Tensor,
        lengths: Tensor,
        queries: Memories,
        documents: Sequence[Tensor],
        rate: int | None = None,
    ) -> Tensor:
        """Scores (B, N), float32, of documents by late interaction of a question's tokens with memory tokens.

        Args:
            ids: (B, T) token ids of the questions, padded on the right.
            lengths: (B,) tokens of each.
            queries: Of `encode_query`, of the same questions.
            documents: (m, H) memories of each document.
            rate: Of the documents' memories, if not the configuration's.
        """
        assert self.pooling is not None
        return self.pooling.late_interaction(queries, stacked(list(documents)))

    def score(self, queries: Memories, documents: Memories, num_candidates: int | None = None) -> Tensor:
        """Scores (B, N) of candidates.

        Args:
            queries: Memories of B questions.
            documents: Memories of N documents that all questions share, or of B * N documents.
            num_candidates: N in the second case.
        """
        embeddings = self.embeddings(documents)
        if num_candidates is not None:
            embeddings = embeddings.unflatten(0, (len(queries), num_candidates))
        return selection.cosine_scores(self.query_embeddings(queries), embeddings)

    def select(self, scores: Tensor, k: int, mask: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
        """The K best candidates: (weights (B, K, N) or None, indices (B, K)).

        In training mode the weights carry the straight-through gradient; in use the plain top K is taken.
        """
        if self.training:
            return selection.straight_through_top_k(scores, k, self.config.selection_temperature, mask)
        return None, selection.top_k(scores, k, mask)

    def forward(
        self,
        prompts: PromptBatch,
        memories: Sequence[Tensor] | None = None,
        use_cache: bool = False,
        role: str | None = roles.GENERATOR,
        priors: Sequence[Tensor] | None = None,
    ) -> ClaraOutput:
        """The generator over prompts with memories in their slots.

        Args:
            prompts: The prompts.
            memories: One (n_b, H) tensor a row: its documents' memories one after another. None if no
                prompt has a slot.
            use_cache: Return the prompt's key-value cache.
            role: Who reads them; None for the base model alone.
            priors: For each question (n,) log of how likely each of its documents is before it is read, where
                the model takes it into account; equally if None.

        Raises:
            PromptError: Slots and memories disagree.
        """
        cache = DynamicCache(config=self.config.text_config) if use_cache else None
        states, lower = self._read_prompts(prompts, memories, role, cache)
        if prompts.targets is None:
            last = torch.arange(len(states), device=states.device), prompts.lengths - 1
            decoding = None
            if cache is not None:
                visible = length_mask(prompts.lengths, states.shape[1])
                decoding = Decoding(cache, prompts.positions[last], visible, lower)
            return ClaraOutput(logits=self._head(states[last]), decoding=decoding)
        answered = prompts.targets != IGNORE
        logits = self._head(states[answered])
        return ClaraOutput(loss=answer_loss(logits, prompts.targets[answered]), logits=logits)

    def _read_prompts(
        self,
        prompts: PromptBatch,
        memories: Sequence[Tensor] | None,
        role: str | None,
        cache: Cache | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Final states (B, T, H), and which cached positions (B, S) of the lower layers are tokens.

        From a middle layer on, memories stand between the states of tokens, which have passed the lower
        layers among themselves.
        """
        embeddings = self.base.get_input_embeddings()(prompts.ids)
        layer = self.config.memory_layer
        if not layer:
            if memories is not None:
                embeddings = splice(embeddings, prompts.slots, memories)
            return self._read(embeddings, prompts.positions, None, role, cache), None
        tokens = length_mask(prompts.lengths, embeddings.shape[1]) & ~prompts.slots
        order, counts = _tokens_first(tokens)
        at = order.unsqueeze(-1).expand(-1, -1, embeddings.shape[-1])
        upper = below = None
        if (prompts.blocks > 0).any():
            upper = _of_blocks(prompts.blocks)
            below = _of_blocks(prompts.blocks.gather(1, order))
        with roles.role(role), self._precision():
            places = prompts.positions.gather(1, order)
            lower = run_layers(
                self.base, embeddings.gather(1, at), places, 0, layer, visible=below, cache=cache
            )
            # a row's surplus places point at its padding or slots, which are read by nobody or replaced
            states = embeddings.to(lower.dtype).scatter(1, at, lower)
            if memories is not None:
                states = splice(states, prompts.slots, memories)
            last = self.config.text_config.num_hidden_layers
            states = run_layers(self.base, states, prompts.positions, layer, last, visible=upper, cache=cache)
            states = self._norm(states)
        return states, length_mask(counts, order.shape[1])

    def mix_selected(self, weights: Tensor, indices: Tensor, memories: Tensor) -> Tensor:
        """Memories (B, K, M, H) of selected candidates, with the gradient of the selection.

        Args:
            weights: (B, K, N) of `select`.
            indices: (B, K) of `select`.
            memories: (B, N, M, H) of the candidates.
        """
        return selection.mix(weights, memories)

    def document_priors(self, scores: Sequence[Tensor]) -> list[Tensor] | None:
        """Priors for `forward` of each question's documents from their scores (n,); None if it takes none."""
        return None

    @torch.inference_mode()
    def write(
        self,
        prompts: PromptBatch,
        memories: Sequence[Tensor] | None,
        *,
        end_token_id: int,
        max_new_tokens: int,
        role: str | None = roles.GENERATOR,
        scores: Sequence[Sequence[float]] | None = None,
    ) -> list[Written]:
        """The answer to each prompt, greedily.

        Args:
            prompts: The prompts, without targets.
            memories: As for `forward`.
            end_token_id: Ends an answer.
            max_new_tokens: Longest answer.
            role: As for `forward`.
            scores: Of each prompt's documents in search, where the model takes them into account.
        """
        confidence = self.confidence(end_token_id, role)
        answers = generate(
            self,
            prompts,
            memories,
            end_token_id=end_token_id,
            max_new_tokens=max_new_tokens,
            logits_processor=confidence.processors,
            role=role,
        )
        lengths = prompts.lengths.tolist()
        return [
            Written(ids, value, None, length)
            for ids, value, length in zip(answers, confidence.of(answers), lengths, strict=True)
        ]

    def confidence(self, end_token_id: int, role: str | None = roles.GENERATOR) -> AnswerConfidence:
        """What tells how sure answers are; only the generator was taught to say that there is none."""
        token = self.config.no_answer_token_id if role == roles.GENERATOR else None
        return AnswerConfidence(token, end_token_id)

    def decode_step(self, ids: Tensor, decoding: Decoding, role: str | None = roles.GENERATOR) -> Tensor:
        """Logits (B, V) after one more token per row.

        Args:
            ids: (B,) the tokens.
            decoding: Of `forward`; moves on by one token.
            role: As for `forward`.
        """
        decoding.step()
        embeddings = self.base.get_input_embeddings()(ids.unsqueeze(1))
        positions, visible = decoding.positions.unsqueeze(1), decoding.visible.unsqueeze(1)
        if decoding.lower is None:
            states = self._read(embeddings, positions, visible, role, decoding.cache)
            return self._head(states)[:, 0]
        layer, last = self.config.memory_layer, self.config.text_config.num_hidden_layers
        lower = decoding.lower.unsqueeze(1)
        with roles.role(role), self._precision():
            cache = decoding.cache
            states = run_layers(self.base, embeddings, positions, 0, layer, visible=lower, cache=cache)
            states = run_layers(self.base, states, positions, layer, last, visible=visible, cache=cache)
            return self._head(self._norm(states))[:, 0]

    # -- the base model ------------------------------------------------------------------------------

    def _memorise(
        self, name: str, ids: Tensor, lengths: Tensor, num_memory_tokens: int | None, rate: int | None
    ) -> Memories:
        def read(embeddings: Tensor, positions: Tensor, visible: Tensor | None) -> Tensor:
            return self._read(embeddings, positions, visible, name)

        embed = self.base.get_input_embeddings()
        if self.pooling is not None:
            return self._pool(name, ids, lengths, rate or self.config.compression_rate)
        memory_tokens = self._memory_tokens(num_memory_tokens)
        return compress_appended(read, embed, ids, lengths, memory_tokens)

    def _pool(self, name: str, ids: Tensor, lengths: Tensor, rate: int) -> Memories:
        """Pooled memories of documents; of questions the states of their tokens, one by one."""
        assert self.pooling is not None
        asked = name == roles.QUERY_REASONER
        prefix = self.config.query_prefix_ids if asked else self.config.document_prefix_ids
        positions = torch.arange(ids.shape[1], device=ids.device).expand(len(ids), -1)
        with roles.role(name), self._precision():
            embeddings = self.base.get_input_embeddings()(ids)
            states = run_layers(self.base, embeddings, positions, 0, self.config.memory_layer)
        states, own = states[:, len(prefix) :], lengths - len(prefix)
        if not asked:
            return self.pooling.pool(states, own, rate)
        held = length_mask(own, states.shape[1]).float()
        weights = held / own.unsqueeze(1)
        return Memories(states, own, weights, torch.einsum("bt,bth->bh", weights, states.float()))

    def _memory_tokens(self, count: int | None) -> Tensor:
        """(m, H) embeddings of the memory tokens: those in training, else the token embeddings' rows."""
        ids = self.memory_ids(count)
        if self.memory_tokens is None:
            return self.input_rows[torch.tensor(ids, device=self.input_rows.device)]
        return (
            self.memory_tokens.expand(len(ids), -1)
            if len(self.memory_tokens) == 1
            else self.memory_tokens[: len(ids)]
        )

    def trained_modules(self) -> list[nn.Module]:
        """What makes memories besides the roles, and trains with them."""
        return [] if self.pooling is None else [self.pooling]

    def reading_modules(self) -> list[nn.Module]:
        """What answers besides the generator, and trains with it."""
        return []

    def train_memory_tokens(self) -> None:
        """Give the memory tokens embeddings of their own (`memory_tokens`, float32), to be trained alone.

        Nothing for pooled memories, which have none.
        """
        if self.config.compressor == "appended":
            rows = self.input_rows[torch.tensor(self.config.memory_token_ids, device=self.input_rows.device)]
            self.memory_tokens = nn.Parameter(rows.detach().float().clone())

    @torch.no_grad()
    def keep_memory_tokens(self) -> None:
        """Write embeddings in training back into the token embeddings, which are what is saved."""
        if self.memory_tokens is not None:
            ids = torch.tensor(self.config.memory_token_ids, device=self.input_rows.device)
            self.input_rows[ids] = self.memory_tokens.to(self.input_rows)

    def memory_ids(self, num_memory_tokens: int | None = None) -> list[int]:
        """Token ids of the first `num_memory_tokens` (default M) memory placeholders."""
        count = self.config.max_memory_tokens if num_memory_tokens is None else num_memory_tokens
        ids: list[int] = self.config.memory_token_ids
        return (ids * count if len(ids) == 1 else ids)[:count]

    def _read(
        self,
        embeddings: Tensor,
        positions: Tensor,
        visible: Tensor | None,
        name: str | None,
        cache: Cache | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """Final states (after the final norm) of the base under a role."""
        extra: dict[str, Any] = {}
        if segments is not None and getattr(self.base.config, "type_vocab_size", 0) > 1:
            extra["token_type_ids"] = segments
        mask = None if visible is None else visible.unsqueeze(1)
        with roles.role(name), self._precision():
            if mask is not None and self.base.config._attn_implementation == "eager":
                mask = _added_to_scores(mask, embeddings.dtype)
            output = self.base.base_model(
                inputs_embeds=embeddings,
                position_ids=positions,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=cache is not None,
                **extra,
            )
        states: Tensor = output.last_hidden_state
        return states.to(embeddings.dtype) if self.reads_in_bfloat16 else states

    def _precision(self) -> AbstractContextManager[Any]:
        """What the layers compute in: their weights' type, or bfloat16 in the products of matrices."""
        if not self.reads_in_bfloat16:
            return nullcontext()  # an autocast that is not enabled would end that of a training around it
        return torch.autocast(self.input_rows.device.type, torch.bfloat16)

    def _norm(self, states: Tensor) -> Tensor:
        """Final states from the last layer's."""
        norm = cast(nn.Module, self.base.base_model.norm)
        return cast(Tensor, norm(states))

    def _head(self, states: Tensor) -> Tensor:
        """Vocabulary logits of final states; the head stands beside the body under either name."""
        head: Any = getattr(self.base, "lm_head", None) or self.base.cls
        return head(states)  # type: ignore[no-any-return]

    # -- files ---------------------------------------------------------------------------------------

    def remember_base_rows(self, rows: layout.BaseRows | None = None) -> None:
        """Note the base's own embeddings, so that saving without the base stores only what differs.

        Args:
            rows: Of the base before tokens were added; of the base as it is now if None.
        """
        self.base_rows = layout.BaseRows.of(self.base) if rows is None else rows

    def save_pretrained(  # type: ignore[override]
        self,
        save_directory: str | os.PathLike[str],
        weights: str = "float32",
        include_base: bool | None = None,
        *,
        is_main_process: bool = True,
        **unused: Any,
    ) -> None:
        """Write `config.json`, `model.safetensors` and a PEFT adapter per low-rank role.

        Args:
            save_directory: Made if missing.
            weights: "float32", "float16", "bfloat16" or "int8" (matrices with one scale per row; adapters
                as float16).
            include_base: Store the base's weights too. By default they are stored if the configuration
                does not say where else they are.
            is_main_process: Write at all; False on the other processes of distributed training.
            **unused: What transformers' own callers pass besides; there is always a single file.

        Raises:
            CheckpointError: Weights do not fit the type, or the base is left out without a name.
            TypeError: `push_to_hub` was passed; that is a method of its own.
        """
        if unused.get("push_to_hub"):
            raise TypeError(
                "save_pretrained only writes the folder; call model.push_to_hub(repo_id) instead."
            )
        if not is_main_process:
            return
        native.write_model(self, Path(save_directory), weights, include_base)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        config: ClaraConfig | None = None,
        base: str | os.PathLike[str] | None = None,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        subfolder: str | None = None,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **kwargs: Any,
    ) -> ClaraModel:
        """A model from a folder or hub repository of our format, in evaluation mode on the CPU.

        Args:
            pretrained_model_name_or_path: Folder or hub id.
            config: Configuration in place of the folder's.
            base: Folder or hub id of the base model, if not where the configuration says.
            dtype: Of the weights in memory; the type that the model had when it was saved if None or
                "auto".
            attn_implementation: As for transformers.
            subfolder: Folder within the repository.
            revision: Branch, tag or commit of a hub repository.
            cache_dir: Where downloads are kept.
            token: For repositories that ask for one.
            local_files_only: Do not download.
            **kwargs: Entries of the configuration to override.

        Raises:
            CheckpointError: A file is missing or broken, or does not fit the base.
        """
        folder = find_folder(
            pretrained_model_name_or_path,
            subfolder=subfolder,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
        )
        config = native.read_config(folder, config, kwargs, cls.config_class)
        return native.read_model(cls, folder, config, base, dtype, attn_implementation)

    def save_role(self, name: str, folder: str | os.PathLike[str], weights: str = "float32") -> None:
        """Write a low-rank role as an adapter that PEFT loads too.

        Args:
            name: The role.
            folder: Made if missing.
            weights: As for `save_pretrained`; int8 becomes float16.
        """
        native.write_role(self, name, Path(folder), weights)

    def load_role(self, name: str, folder: str | os.PathLike[str]) -> None:
        """Read a low-rank role from an adapter that this class or PEFT wrote.

        Args:
            name: The role.
            folder: The adapter's.

        Raises:
            CheckpointError: The adapter is broken, or made for other layers, rank or alpha.
        """
        native.read_role(self, name, Path(folder))

    def own_modules(self) -> dict[str, nn.Module]:
        """What the model has besides its base and roles, by name."""
        return {name: module for name, module in self.named_children() if name != "base"}


def _tokens_first(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """(B, S) places of each row's tokens in their order, then of others; and (B,) how many are tokens."""
    counts = tokens.sum(dim=1)
    order = torch.argsort((~tokens).byte(), dim=1, stable=True)
    return order[:, : int(counts.max())], counts


def _of_blocks(blocks: Tensor) -> Tensor:
    """(B, T, T) bool: each position sees itself, and before it the documents (block 0) and its own block."""
    before = torch.ones(blocks.shape[1], blocks.shape[1], dtype=torch.bool, device=blocks.device).tril()
    seen, seer = blocks.unsqueeze(1), blocks.unsqueeze(2)
    return before & ((seen == 0) | (seen == seer))


def _added_to_scores(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where attention may look, next to -inf elsewhere, in the dtype that the scores are computed in."""
    kind = visible.device.type
    if torch.is_autocast_enabled(kind):  # float32 here would turn every score into float32
        dtype = torch.get_autocast_dtype(kind)
    return torch.where(visible, 0.0, torch.finfo(dtype).min).to(dtype)


AutoModel.register(ClaraConfig, ClaraModel, exist_ok=True)
