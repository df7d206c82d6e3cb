"""ClaraModel: one language model that compresses documents, encodes questions and answers from memories.

Every step of the method is one method here: `compress`, `encode_query`, `score`, `select`, then `forward`
(training) or `generate` (use). What the steps compute stands in the modules beside this one.

Shapes: B rows, D documents, T tokens, M memory tokens, H hidden, V vocabulary, N candidates, K selected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.utils import ModelOutput

from clara.configuration import ClaraConfig
from clara.errors import MissingRoleError
from clara.model import roles, selection
from clara.model.attention import block_mask
from clara.model.compression import Memories, SegmentMemory, compress_appended
from clara.model.fusion import splice
from clara.model.losses import IGNORE, answer_loss


@dataclass
class PromptBatch:
    """Prompts as tensors, padded on the right; made by `clara.processing.collate`.

    Attributes:
        ids: (B, T) token ids, with placeholders at the memory slots.
        positions: (B, T) position ids.
        blocks: (B, T) block numbers (`clara.model.attention`).
        slots: (B, T) bool, True at memory slots.
        lengths: (B,) tokens of each prompt.
        targets: (B, T) token that each position predicts, `IGNORE` elsewhere; None outside training.
    """

    ids: Tensor
    positions: Tensor
    blocks: Tensor
    slots: Tensor
    lengths: Tensor
    targets: Tensor | None = None

    def to(self, device: torch.device | str) -> PromptBatch:
        """The same batch on a device."""
        moved = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }
        return PromptBatch(**moved)


@dataclass
class ClaraOutput(ModelOutput):
    """Result of `ClaraModel.forward`.

    Attributes:
        loss: Mean cross-entropy over the batch's targets, None without targets.
        logits: (P, V) at the positions with a target, row by row; at each row's last position without
            targets (B, V).
        past_key_values: The prompt's cache where one was asked for.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None


class ClaraModel(PreTrainedModel):
    """A base language model with the roles compressor, query_reasoner and generator.

    Args:
        config: The model's choices. The base is built from `config.text_config`; weights come from
            `from_pretrained` of this class or of `clara.Clara`.
    """

    config_class = ClaraConfig
    base_model_prefix = "clara"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _no_split_modules: list[str] | None = None

    def __init__(self, config: ClaraConfig, base: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        self.base = AutoModelForCausalLM.from_config(config.text_config) if base is None else base
        self.memory = SegmentMemory(self.hidden_size) if config.compressor == "segment" else None
        roles.add_roles(
            self.base.base_model,
            config.roles,
            config.lora_rank,
            config.lora_alpha,
            config.lora_dropout,
            keep=[self.base.get_input_embeddings()],
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the base and the roles start themselves; drawing anew would undo their start."""

    @property
    def hidden_size(self) -> int:
        """H."""
        return int(self.config.text_config.hidden_size)

    def get_input_embeddings(self) -> nn.Module:
        return self.base.get_input_embeddings()

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Recompute layers in the backward pass, each under the role of its forward pass."""
        options = {**(gradient_checkpointing_kwargs or {})}
        options |= {"use_reentrant": False, "context_fn": roles.checkpoint_contexts}
        self.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)

    def gradient_checkpointing_disable(self) -> None:
        self.base.gradient_checkpointing_disable()

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
            rate: For segments: text tokens per memory token, if not the configuration's.
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

    def keys(self, memories: Memories) -> Tensor:
        """What is compared when searching: (D, H) means or (D, M * H) flattened memories, by `config.score`."""
        return memories.means if self.config.score == "mean" else memories.vectors.flatten(1)

    def score(self, queries: Memories, documents: Memories, num_candidates: int | None = None) -> Tensor:
        """Scores (B, N) of candidates.

        Args:
            queries: Memories of B questions.
            documents: Memories of N documents that all questions share, or of B * N documents.
            num_candidates: N in the second case.
        """
        keys = self.keys(documents)
        if num_candidates is not None:
            keys = keys.unflatten(0, (len(queries), num_candidates))
        return selection.cosine_scores(self.keys(queries), keys)

    def select(self, scores: Tensor, k: int, mask: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
        """The K best candidates: (weights (B, K, N) or None, indices (B, K)).

        In training mode the weights carry the straight-through gradient; in use the plain top K is taken.
        """
        if self.training:
            return selection.straight_through_top_k(scores, k, self.config.selection_temperature, mask)
        return None, selection.top_k(scores, k, mask)

    def forward(
        self, prompts: PromptBatch, memories: Sequence[Tensor] | None = None, use_cache: bool = False
    ) -> ClaraOutput:
        """The generator over prompts with memories in their slots.

        Args:
            prompts: The prompts.
            memories: One (n_b, H) tensor a row: its documents' memories one after another. None if no
                prompt has a slot.
            use_cache: Return the prompt's key-value cache.

        Raises:
            PromptError: Slots and memories disagree.
        """
        embeddings = self.base.get_input_embeddings()(prompts.ids)
        if memories is not None:
            if self.memory is not None:
                memories = [self.memory.to_prompt(memory) for memory in memories]
            embeddings = splice(embeddings, prompts.slots, memories)
        cache = DynamicCache(config=self.config.text_config) if use_cache else None
        visible = block_mask(prompts.blocks) if self.config.attention == "blocks" else None
        states = self._read(embeddings, prompts.positions, visible, roles.GENERATOR, cache)
        if prompts.targets is None:
            rows = torch.arange(len(states), device=states.device)
            return ClaraOutput(logits=self._head(states[rows, prompts.lengths - 1]), past_key_values=cache)
        trained = prompts.targets != IGNORE
        logits = self._head(states[trained])
        return ClaraOutput(
            loss=answer_loss(logits, prompts.targets[trained]), logits=logits, past_key_values=cache
        )

    def decode_step(self, ids: Tensor, positions: Tensor, visible: Tensor, cache: Cache) -> Tensor:
        """Logits (B, V) after one more token per row.

        Args:
            ids: (B,) the tokens.
            positions: (B,) their positions.
            visible: (B, S) bool, the cached positions and the token's own that may be seen.
            cache: Of `forward`; grows by one.
        """
        embeddings = self.base.get_input_embeddings()(ids.unsqueeze(1))
        states = self._read(embeddings, positions.unsqueeze(1), visible.unsqueeze(1), roles.GENERATOR, cache)
        return self._head(states[:, -1])

    # -- the base model ------------------------------------------------------------------------------

    def _memorise(
        self, name: str, ids: Tensor, lengths: Tensor, num_memory_tokens: int | None, rate: int | None
    ) -> Memories:
        def read(embeddings: Tensor, positions: Tensor, visible: Tensor | None) -> Tensor:
            return self._read(embeddings, positions, visible, name)

        embed = self.base.get_input_embeddings()
        if self.memory is not None:
            return self.memory.compress(read, embed, ids, lengths, rate or self.config.compression_rate)
        memory_ids = torch.tensor(self.memory_ids(num_memory_tokens), device=ids.device)
        return compress_appended(read, embed, ids, lengths, memory_ids)

    def memory_ids(self, num_memory_tokens: int | None = None) -> list[int]:
        """Token ids of the first `num_memory_tokens` (default M) memory placeholders."""
        count = self.config.max_memory_tokens if num_memory_tokens is None else num_memory_tokens
        ids = self.config.memory_token_ids
        return (ids * count if len(ids) == 1 else ids)[:count]

    def _read(
        self,
        embeddings: Tensor,
        positions: Tensor,
        visible: Tensor | None,
        name: str,
        cache: Cache | None = None,
    ) -> Tensor:
        """Final states (after the final norm) of the base under a role."""
        mask = None
        if visible is not None:
            mask = visible.unsqueeze(1)
            if self.base.config._attn_implementation == "eager":
                mask = torch.where(mask, 0.0, torch.finfo(embeddings.dtype).min).to(embeddings.dtype)
        with roles.role(name):
            output = self.base.base_model(
                inputs_embeds=embeddings,
                position_ids=positions,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=cache is not None,
            )
        return output.last_hidden_state  # type: ignore[no-any-return]

    def _head(self, states: Tensor) -> Tensor:
        """Vocabulary logits of final states; the head stands beside the body under either name."""
        head = getattr(self.base, "lm_head", None) or self.base.cls
        return head(states)  # type: ignore[no-any-return]

    def trained_parameters(self, names: Sequence[str]) -> Iterator[nn.Parameter]:
        """The parameters of the named roles."""
        for name in names:
            for _, parameter in roles.role_parameters(self.base, name):
                yield parameter
