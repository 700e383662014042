"""The teacher of on-policy distillation: a frozen language model of the policy's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from align.objective.distillation import reverse_kl
from align.policy.config import PolicyConfig, TeacherConfig
from align.policy.policy import FILLER, Measure, Policy, build_policy, check_policy, load_tokenizer, policy_architecture
from reward_models.backbone.pretrained import Layout
from reward_models.data.trees import PromptTree
from reward_models.runtime.distributed import World

SHOWN = 3  # differing tokens that a message names


class Teacher:
    """A frozen model, whole on every rank, also where ZeRO stage 3 partitions the policy."""

    def __init__(self, policy: Policy, device: torch.device) -> None:
        self._policy = policy.requires_grad_(False).eval().to(device)
        self._device = device

    @property
    def layout(self) -> Layout:
        """The layout of the batches that the teacher computes."""
        return self._policy.layout

    def divergence(self, trees: Sequence[PromptTree]) -> Measure:
        """The measure that gives :func:`reverse_kl` to this teacher, for the policy to compute on these same trees.

        Where ranks share the tokens, it is of this rank's tokens, as the policy's measures are.
        """
        with torch.no_grad():
            batch = self._policy.collate(trees or [FILLER]).to(self._device)
            hidden_TD, weight_VD = self._policy(batch, 1.0, _hidden, together=False)
        return partial(reverse_kl, teacher_hidden_TD=hidden_TD, teacher_weight_VD=weight_VD)


def _hidden(hidden_TH: torch.Tensor, weight_VH: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return hidden_TH, weight_VH


def check_teacher(config: TeacherConfig, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Compare the teacher's tokenizer with the policy's, before any model is loaded.

    Returns:
        The positions that the teacher has; ``None`` if its configuration names no limit.

    Raises:
        ValueError: a token has another number: the teacher would judge other texts than the policy writes.
    """
    model = teacher_model(config)
    theirs = load_tokenizer(model)
    assert theirs is not None
    ours_by_token, theirs_by_token = tokenizer.get_vocab(), theirs.get_vocab()
    if ours_by_token != theirs_by_token:
        tokens = sorted(
            token
            for token in ours_by_token.keys() | theirs_by_token.keys()
            if ours_by_token.get(token) != theirs_by_token.get(token)
        )
        named = ", ".join(
            f"{token!r} is {ours_by_token.get(token, 'absent')} here and {theirs_by_token.get(token, 'absent')} there"
            for token in tokens[:SHOWN]
        )
        raise ValueError(
            f"teacher.path={config.path}: its tokenizer differs from the policy's in {len(tokens):,} tokens ({named}). "
            "Distillation compares probabilities of the same tokens: take a teacher of the same family"
        )
    return getattr(policy_architecture(model, theirs), "max_position_embeddings", None)


def load_teacher(config: TeacherConfig, tokenizer: PreTrainedTokenizerBase, world: World, dtype: Any) -> Teacher:
    """The teacher, after :func:`check_teacher`. Call it outside ``model_loading``: it is not partitioned.

    Raises:
        ValueError: its logits are not those of a plain output layer, see :func:`check_policy`.
    """
    policy = build_policy(teacher_model(config), tokenizer, dtype)
    policy.sequence = world.sequence
    teacher = Teacher(policy, world.device)
    check_policy(policy, world.device)
    return teacher


def teacher_model(config: TeacherConfig) -> PolicyConfig:
    """The teacher as a model that is loaded like a policy."""
    return PolicyConfig(path=config.path, revision=config.revision, trust_remote_code=config.trust_remote_code)
