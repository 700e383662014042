"""Sampling with the training model and transformers' own cache, for architectures that cannot run prompt trees."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from align.rollouts.base import Lockstep, Sampling, check_prompts
from align.rollouts.sampling import Recorder, draw_tokens
from align.training.rollout import Rollout
from reward_models.data.trees import TokenIds
from reward_models.runtime.distributed import World


class PlainRollout:
    """A prompt is read once, padded on the left to the longest of its chunk; ended sequences leave the batch.

    Args:
        model, max_rows: as for :class:`align.rollouts.local.LocalRollout`.
        pad_token_id: fills prompts up on the left.
    """

    def __init__(self, model: Any, pad_token_id: int, world: World, *, max_rows: int = 256) -> None:
        self._model, self._pad, self._world, self._max_rows = model, pad_token_id, world, max_rows
        base = model.get_base_model() if hasattr(model, "peft_config") else model
        self._takes_positions = "position_ids" in inspect.signature(base.forward).parameters
        self._lockstep = Lockstep(model, world)

    def sync_weights(self, step: int) -> None:
        """Do nothing: the engine samples from the training model."""

    def shutdown(self) -> None:
        """Do nothing: the engine holds nothing outside of this process."""

    @torch.no_grad()
    def generate(self, prompts: Sequence[TokenIds], sampling: Sampling) -> Rollout:
        """See :class:`align.rollouts.base.RolloutEngine`."""
        check_prompts(prompts)
        training = self._model.training
        self._model.eval()
        group = sampling.samples
        recorder = Recorder(len(prompts) * group, sampling)
        try:
            chunk = max(1, self._max_rows // group)
            for at in range(0, len(prompts), chunk):
                self._chunk(prompts[at : at + chunk], at * group, recorder)
            while self._lockstep.anyone(False):  # ZeRO stage 3: others are not done yet
                self._forward(torch.full((1, 1), self._pad, device=self._world.device), None, None)
        finally:
            self._model.train(training)
        return recorder.rollout(prompts)

    def _chunk(self, prompts: Sequence[TokenIds], first: int, recorder: Recorder) -> None:
        group = recorder.sampling.samples
        ids, mask = self._left_padded(prompts)
        samples = np.arange(first, first + len(ids) * group)
        self._lockstep.anyone(True)
        logits, past = self._forward(ids, mask, None)
        past.batch_repeat_interleave(group)
        logits, mask = logits.repeat_interleave(group, 0), mask.repeat_interleave(group, 0)
        while True:
            tokens, values = draw_tokens(logits, recorder.uniform(samples), recorder.sampling)
            alive = recorder.record(samples, tokens, values)
            if not alive.any():
                return
            if not alive.all():
                keep = torch.from_numpy(np.flatnonzero(alive)).to(mask.device)
                past.batch_select_indices(keep)
                samples, tokens, mask = samples[alive], tokens[alive], mask[keep]
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
            self._lockstep.anyone(True)
            logits, past = self._forward(torch.from_numpy(tokens).to(mask.device)[:, None], mask, past)

    def _left_padded(self, prompts: Sequence[TokenIds]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask, ``[prompts, longest]``."""
        width = max(len(prompt) for prompt in prompts)
        ids = np.full((len(prompts), width), self._pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = prompt
            mask[row, width - len(prompt) :] = 1
        device = self._world.device
        return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor | None, past: Any) -> tuple[torch.Tensor, Any]:
        options: dict[str, Any] = {}
        if self._takes_positions and mask is not None:
            options["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self._model(input_ids=ids, attention_mask=mask, past_key_values=past, use_cache=True, **options)
        return output.logits[:, -1].float(), output.past_key_values
