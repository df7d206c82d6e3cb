"""The stages as objects: what each trains, by which loss, over which items."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from clara import roles
from clara.errors import InputError
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor
from clara.training.data import END_TO_END, INSTRUCTION_TUNING, JOINT, PRETRAINING, StageExample
from clara.training.joint import count_joint_items, joint_loss
from clara.training.memory_cache import MemoryCache
from clara.training.objectives import (
    ObjectiveOptions,
    StageLoss,
    compression_loss,
    count_compression_items,
    count_end_to_end_items,
    end_to_end_loss,
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of training.

    Attributes:
        name: One of `clara.training.data.ALL_STAGES`, which also say how its examples are read.
        roles: The roles that train.
        loss: (model, processor, examples, options) to the terms of the loss; with `cache` as well where
            `freezes_compressor`.
        count_items: (model, processor, examples, options) to the items of each term, without running the
            model.
        freezes_compressor: What makes memories does not train: the memory tokens' embeddings or the pooling,
            besides the role. A document's memory is then computed once, and the query reasoner starts from
            the compressor (the paper, section 4).
    """

    name: str
    roles: tuple[str, ...]
    loss: Callable[..., StageLoss]
    count_items: Callable[..., dict[str, int]]
    freezes_compressor: bool = False


_COMPRESSION = (roles.COMPRESSOR, roles.GENERATOR)
_SEARCH = (roles.QUERY_REASONER, roles.GENERATOR)
STAGE_OF = {
    stage.name: stage
    for stage in (
        Stage(JOINT, roles.ROLES, joint_loss, count_joint_items),
        Stage(PRETRAINING, _COMPRESSION, compression_loss, count_compression_items),
        Stage(INSTRUCTION_TUNING, _COMPRESSION, compression_loss, count_compression_items),
        Stage(END_TO_END, _SEARCH, end_to_end_loss, count_end_to_end_items, freezes_compressor=True),
    )
}


def prepare(
    model: ClaraModel, stage: Stage, *, keep_query_reasoner: bool = False
) -> list[tuple[str, nn.Parameter]]:
    """Make a model ready for a stage: what trains is in float32 and asks for a gradient, nothing else does.

    Args:
        model: Changed in place.
        stage: The stage.
        keep_query_reasoner: The query reasoner goes on from what it has learnt, and does not start from the
            compressor.

    Returns:
        (name, parameter) of all that trains.

    Raises:
        InputError: The model lacks a role of the stage.
    """
    for name in stage.roles:
        if name not in model.config.roles:
            raise InputError(f"The stage {stage.name} trains the role {name}, which the model does not have.")
    if stage.freezes_compressor and not keep_query_reasoner:
        roles.copy_role(model.base, roles.COMPRESSOR, roles.QUERY_REASONER)
    model.requires_grad_(False)
    chosen = [parameter for name in stage.roles for _, parameter in roles.role_parameters(model.base, name)]
    if not stage.freezes_compressor:
        model.train_memory_tokens()
        if model.memory_tokens is not None:
            chosen.append(model.memory_tokens)
        for module in model.trained_modules():
            chosen += module.parameters()
    for module in model.reading_modules():
        chosen += module.parameters()
    for parameter in chosen:
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


class StageModule(nn.Module):
    """A stage's loss as a module: what a distributed wrapper wraps, since only its `forward` is entered.

    Args:
        model: The model.
        processor: Of the same configuration.
        stage: The stage.
        options: Beyond the paper.
        nested_rates: Rates of which each step draws one; empty for the model's own.
        cache: Of the documents' memories where the compressor is frozen.
    """

    def __init__(
        self,
        model: ClaraModel,
        processor: ClaraProcessor,
        stage: Stage,
        options: ObjectiveOptions,
        nested_rates: Sequence[int] = (),
        cache: MemoryCache | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.stage = stage
        self.options = options
        self.nested_rates = tuple(nested_rates)
        self._loss = partial(stage.loss, cache=cache) if stage.freezes_compressor else stage.loss

    def forward(
        self, examples: Sequence[StageExample], counts: dict[str, int] | None = None, seed: str = ""
    ) -> dict[str, Any]:
        """The loss of a share of a batch.

        Args:
            examples: The share.
            counts: Items of the whole batch by term; of the share if None.
            seed: Draws the rate; the same for all shares of a batch.

        Returns:
            "loss" (scalar) and "parts" ((mean, count) by name).
        """
        options = self.options
        if self.nested_rates:
            options = replace(options, rate=random.Random(seed).choice(self.nested_rates))
        loss = self.stage_loss(examples, options)
        return {"loss": loss.total(counts), "parts": loss.parts()}

    def count_items(self, examples: Sequence[StageExample]) -> dict[str, int]:
        """The items of each term of a batch, which its shares are divided by, without running the model."""
        return self.stage.count_items(self.model, self.processor, examples, self.options)

    def stage_loss(self, examples: Sequence[StageExample], options: ObjectiveOptions) -> StageLoss:
        """The terms of the loss of some examples."""
        return self._loss(self.model, self.processor, examples, options)


def measure(module: StageModule, examples: Sequence[StageExample], batch_size: int) -> dict[str, float]:
    """Mean of every part of the loss over examples, as in use (no dropout, no gradient).

    Args:
        module: The stage.
        examples: At least one.
        batch_size: Examples that are computed at once.
    """
    sums: dict[str, tuple[float, int]] = {}
    was_training = module.training
    module.eval()
    with torch.no_grad():
        for start in range(0, len(examples), batch_size):
            parts = module.stage_loss(examples[start : start + batch_size], module.options).parts()
            for name, (mean, count) in parts.items():
                total, items = sums.get(name, (0.0, 0))
                sums[name] = total + mean * count, items + count
    module.train(was_training)
    return {name: total / items for name, (total, items) in sums.items()}
