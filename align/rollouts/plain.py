"""Sampling with the training model and transformers' own cache, for architectures that cannot run prompt trees."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from deepspeed.runtime.rollout import RolloutEngine, RolloutRequest, SamplingConfig

from align.rollouts.base import Lockstep, Rollout, Sampling
from align.rollouts.sampling import Recorder, draw_tokens
from reward_models.runtime.distributed import World


class PlainRollout(RolloutEngine):
    """A prompt is read once, padded on the left to the longest of its chunk; ended sequences leave the batch.

    Args:
        model, pad_token_id, max_rows: as for :class:`align.rollouts.local.LocalRollout`.
    """

    name = "plain"

    def __init__(self, model: Any, pad_token_id: int, world: World, *, max_rows: int = 256) -> None:
        self._model, self._pad, self._world, self._max_rows = model, pad_token_id, world, max_rows
        base = model.get_base_model() if hasattr(model, "peft_config") else model
        self._takes_positions = "position_ids" in inspect.signature(base.forward).parameters
        self._lockstep = Lockstep(model, world)

    def sync_weights(self, step: int) -> None:
        """Nothing to do: it is the training model."""

    @torch.no_grad()
    def generate(self, request: RolloutRequest, sampling: SamplingConfig) -> Rollout:
        assert isinstance(sampling, Sampling)
        training = self._model.training
        self._model.eval()
        group = sampling.n_samples_per_prompt
        recorder = Recorder(len(request.prompt_ids) * group, sampling)
        try:
            chunk = max(1, self._max_rows // group)
            for at in range(0, len(request.prompt_ids), chunk):
                part = slice(at, at + chunk)
                self._chunk(request.prompt_ids[part], request.prompt_attention_mask[part], at * group, recorder)
            while self._lockstep.anyone(False):  # ZeRO stage 3: others are not done yet
                self._forward(torch.full((1, 1), self._pad, device=self._world.device), None, None)
        finally:
            self._model.train(training)
        return recorder.rollout(request, self._pad)

    def _chunk(self, ids: torch.Tensor, mask: torch.Tensor, first: int, recorder: Recorder) -> None:
        group = recorder.sampling.n_samples_per_prompt
        shared = int(mask.any(0).int().argmax())  # columns that are padding in every row
        ids, mask = ids[:, shared:], mask[:, shared:]
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

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor | None, past: Any) -> tuple[torch.Tensor, Any]:
        options: dict[str, Any] = {}
        if self._takes_positions and mask is not None:
            options["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        output = self._model(input_ids=ids, attention_mask=mask, past_key_values=past, use_cache=True, **options)
        return output.logits[:, -1].float(), output.past_key_values
