"""DeepSpeed's own rollout engine over the training model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from deepspeed.runtime.rollout import HybridEngineRollout, RolloutEngine, RolloutRequest, SamplingConfig
from transformers import PreTrainedTokenizerBase

from align.rollouts.base import Rollout, Sampling
from reward_models.backbone.tree_attention import TREE_ATTENTION


class HybridRollout(RolloutEngine):
    """:class:`deepspeed.runtime.rollout.HybridEngineRollout` with our records.

    It calls transformers' ``generate`` and runs every sample to the length limit, so that ranks stay in step under ZeRO
    stage 3; a response is cut behind its first end token afterwards. It draws from torch's global generator: seeds are
    ignored, and a response depends on what it is sampled beside. The log-probabilities are nan. This is the engine's
    default path; DeepSpeed's injected inference kernels (``hybrid_engine.enabled``) take a model of their own and are
    not used.

    Args:
        model: the transformers language model, or peft's wrapper around one; ZeRO may have partitioned it.
        tokenizer: its pad token fills the batch.
    """

    name = "hybrid"

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        self._wrapper = model
        self._model = model.get_base_model() if hasattr(model, "peft_config") else model
        self._engine = HybridEngineRollout(SimpleNamespace(module=self._model), tokenizer)

    def sync_weights(self, step: int) -> None:
        """Nothing to do: it is the training model."""

    @torch.no_grad()
    def generate(self, request: RolloutRequest, sampling: SamplingConfig) -> Rollout:
        assert isinstance(sampling, Sampling)
        training, attention = self._wrapper.training, self._model.config._attn_implementation
        self._wrapper.eval()
        if attention == TREE_ATTENTION:  # it knows nothing of transformers' cache
            self._model.set_attn_implementation("sdpa")
        try:
            batch = self._engine.generate(request, sampling)
        finally:
            if attention == TREE_ATTENTION:
                self._model.set_attn_implementation(attention)
            self._wrapper.train(training)
        start = request.prompt_ids.shape[1]
        response = batch.input_ids[:, start:]
        ends = torch.isin(response, torch.tensor(list(sampling.end_ids), device=response.device))
        mask = ends.cumsum(1) - ends.long() == 0  # up to the first end token, which belongs to the response
        logprobs = torch.zeros(batch.input_ids.shape, device=response.device)
        logprobs[:, start:] = torch.where(mask, torch.nan, 0.0)
        return Rollout(
            batch.input_ids,
            torch.cat([batch.attention_mask[:, :start], mask.long()], 1),
            batch.response_start_idx,
            logprobs,
            ends.any(1),
        )
