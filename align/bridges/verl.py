"""Rewards for verl (0.8): a ``compute_score`` function, and a reward manager that knows the conversation.

    export KEEL_REWARD=configs/my_rewards.yaml     # or http://a:8000,http://b:8000
    python -m verl.trainer.main_ppo custom_reward_function.path=pkg://align.bridges.verl ...
    # and for reward models, which read the conversation:
    ... reward_model.reward_loop_source=importlib reward_model.reward_loop_module_path=pkg://align.bridges.verl \\
        reward_model.reward_loop_class_name=RewardManager data.return_raw_chat=True

A failure raises: with verl's ``naive`` manager it stops the training, while its ``rate_limited`` one makes it 0.0.
"""

from __future__ import annotations

import asyncio
from typing import Any

from align.bridges.conversion import Turns, as_sample
from align.bridges.rewarder import Rewarder, a_number, breakdown, fixed_step, rewarder_from_environment
from align.rewards.mixer import as_list
from align.rewards.terms import Sample


async def compute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: dict[str, Any] | None = None, **kwargs: Any
) -> dict[str, float]:
    """``score``, and every term's raw and weighted value under the same keys for every sample.

    Args:
        ground_truth: the reference answer.
        extra_info: columns of our own prompts: ``domain``, ``language``, ``verifier``, …, and ``prompt``, the messages,
            which reward models need.
    """
    row = dict(extra_info or {})
    sample = as_sample(row.pop("prompt", None), solution_str, _with_answer(row, ground_truth))
    return await _scored(rewarder_from_environment(), sample)


class RewardManager:
    """As verl's reward loop makes one: it decodes the response itself, and knows its length and the raw prompt.

    ``data.return_raw_chat`` must be set, or only rules can judge.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
        **kwargs: Any,
    ) -> None:
        self.config, self.tokenizer = config, tokenizer
        self._rewarder = rewarder_from_environment(knows_tokens=True)

    async def run_single(self, data: Any) -> dict[str, Any]:
        """The reward of the only item of ``data``, a ``DataProto``."""
        item = data[0]
        columns, responses = item.non_tensor_batch, item.batch["responses"]
        length = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
        ids = responses[:length]
        text = await asyncio.to_thread(self.tokenizer.decode, ids, skip_special_tokens=True)
        ended = length > 0 and int(ids[-1]) == self.tokenizer.eos_token_id
        row = dict(columns.get("extra_info") or {})
        raw = columns.get("raw_prompt")
        prompt: Turns | None = row.pop("prompt", None) if raw is None else list(raw)
        row = _with_answer(row, columns["reward_model"]["ground_truth"])
        values = await _scored(self._rewarder, as_sample(prompt, text, row, tokens=length, finished=ended))
        return {"reward_score": values["score"], "reward_extra_info": values}


def _with_answer(row: dict[str, Any], ground_truth: Any) -> dict[str, Any]:
    return row | ({"answer": ground_truth} if ground_truth not in (None, "") else {})


async def _scored(rewarder: Rewarder, sample: Sample) -> dict[str, float]:
    rewards = await rewarder.rewards([sample], fixed_step())
    return {"score": a_number(as_list(rewards.reward_N)[0]), **breakdown(rewards, 0)}
