"""What the loop asks of a rollout engine, and what it gets back: DeepSpeed's records with what they leave out.

An engine is a :class:`deepspeed.runtime.rollout.RolloutEngine`: ``generate(request, sampling) -> Rollout`` and
``sync_weights(step)``. Shapes: ``P`` prompts, ``N`` = P · samples per prompt responses (a prompt's side by side),
``L`` columns of the padded batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from deepspeed.runtime.rollout import RolloutBatch, RolloutRequest, SamplingConfig

from reward_models.data.trees import TokenIds
from reward_models.runtime.distributed import World


@dataclass
class Sampling(SamplingConfig):
    """How to sample. ``temperature=0`` takes the likeliest token.

    Attributes:
        seeds: one per response, in the batch's order. A response depends on its prompt, the weights and its own seed,
            and not on what it is sampled beside, nor on the number of ranks. Empty: as the engine likes.
        end_ids: a response ends with the first of these tokens, which belongs to it.
    """

    seeds: Sequence[int] = ()
    end_ids: Sequence[int] = ()


@dataclass
class Rollout(RolloutBatch):
    """Prompts on the left (padded on their left), responses behind them (padded on the right).

    Attributes:
        logprobs: float32 ``[N, L]``: log-probability of each response token under the policy that sampled it, at the
            sampling temperature (at 1 for temperature 0) and before any top-k or top-p; 0 outside responses, nan where
            the engine cannot tell.
        finished: bool ``[N]``: the response ends with an end token; otherwise it was cut at its length limit.
    """

    logprobs: torch.Tensor
    finished: torch.Tensor

    def responses(self) -> list[tuple[TokenIds, np.ndarray]]:
        """Token ids (int32) and log-probabilities (float32) of every response, without padding."""
        result = []
        for row, start in enumerate(self.response_start_idx.tolist()):
            length = int(self.attention_mask[row, start:].sum())
            ids = self.input_ids[row, start : start + length].cpu().numpy().astype(np.int32)
            result.append((ids, self.logprobs[row, start : start + length].cpu().numpy()))
        return result


class Lockstep:
    """Under ZeRO stage 3 every forward pass is a collective operation: all ranks must make equally many.

    Every rank asks :meth:`anyone` before each of its passes, and, once it has no more of its own, keeps company as long
    as it says so. Otherwise nothing is communicated.
    """

    def __init__(self, model: torch.nn.Module, world: World) -> None:
        self._world = world
        self._needed = world.size > 1 and any(hasattr(p, "ds_id") for p in model.parameters())

    def anyone(self, working: bool) -> bool:
        """Whether any rank is about to run the model."""
        if not self._needed:
            return working
        return bool(self._world.max(torch.tensor([float(working)])).item())


def left_padded(prompts: Sequence[TokenIds], pad_token_id: int, device: torch.device | str) -> RolloutRequest:
    """The request for these prompts. ``ValueError`` if one is empty: nothing predicts its first token."""
    if not prompts or min(len(p) for p in prompts) == 0:
        raise ValueError("a rollout needs at least one prompt, and no prompt may be empty")
    width = max(len(p) for p in prompts)
    ids = np.full((len(prompts), width), pad_token_id, dtype=np.int64)
    mask = np.zeros((len(prompts), width), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    return RolloutRequest(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device))


def lay_out(
    request: RolloutRequest,
    tokens_T: np.ndarray,
    logprobs_T: np.ndarray,
    length_N: np.ndarray,
    finished_N: np.ndarray,
    pad_token_id: int,
) -> Rollout:
    """Responses in DeepSpeed's layout.

    Args:
        tokens_T, logprobs_T: of all responses, one response after the other. ``length_N``: tokens of each.
    """
    count, (prompts, start) = len(length_N), request.prompt_ids.shape
    row = torch.from_numpy(np.repeat(np.arange(count), length_N))
    column = torch.from_numpy(np.concatenate([np.arange(n) for n in length_N]) + start)
    ids = torch.full((count, start + int(length_N.max())), pad_token_id, dtype=torch.int64)
    mask, values = torch.zeros_like(ids), torch.zeros(ids.shape)
    ids[:, :start] = request.prompt_ids.cpu().repeat_interleave(count // prompts, 0)
    mask[:, :start] = request.prompt_attention_mask.cpu().repeat_interleave(count // prompts, 0)
    ids[row, column] = torch.from_numpy(tokens_T).long()
    mask[row, column] = 1
    values[row, column] = torch.from_numpy(logprobs_T).float()
    device = request.prompt_ids.device
    return Rollout(
        ids.to(device),
        mask.to(device),
        torch.full((count,), start, device=device),
        values.to(device),
        torch.from_numpy(finished_N).to(device),
    )
