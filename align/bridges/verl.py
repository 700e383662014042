"""Rewards for verl (0.9.1): a launcher, a reward manager that knows the conversation, and a ``compute_score`` function.

    export KEEL_REWARD=configs/my_rewards.yaml     # or http://a:8000,http://b:8000
    python -m align.bridges.verl data.train_files=...      # the options of verl.trainer.main_ppo

The launcher names :class:`RewardManager` in verl's configuration, starts verl, and stops before the training if the
composed configuration gives the rewards to anything else. Without it the options are these; verl reads them under
``reward`` alone, and takes the keys of earlier versions (``custom_reward_function``, ``reward_model.reward_loop_*``)
without reading them:

    python -m verl.trainer.main_ppo data.return_raw_chat=True reward.reward_manager.source=importlib \\
        reward.reward_manager.module.path=pkg://align.bridges.verl reward.reward_manager.name=RewardManager ...

A failure raises. verl logs it, gives up the prompt's group and goes on; its ``rate_limited`` manager makes it 0.0.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from align.bridges.conversion import Turns, as_sample
from align.bridges.rewarder import Rewarder, a_number, breakdown, fixed_step, rewarder_from_environment
from align.rewards.mixer import as_list
from align.rewards.terms import Sample
from reward_models.runtime.config import ConfigError

MODULE = "align.bridges.verl"
OPTIONS = {
    "data.return_raw_chat": "True",
    "reward.reward_manager.source": "importlib",
    "reward.reward_manager.module.path": f"pkg://{MODULE}",
    "reward.reward_manager.name": "RewardManager",
}


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

    @classmethod
    def assemble_rm_scores(cls, data: Any, scores: Sequence[float]) -> Any:
        """verl's own: each score at its response's last token, float tensor [samples, response length]."""
        base: Any = importlib.import_module("verl.experimental.reward_loop.reward_manager.base")
        return base.RewardManagerBase.assemble_rm_scores(data, scores)

    async def run_single(self, data: Any) -> dict[str, Any]:
        """The reward of the last sequence of ``data``, a ``DataProto`` with the sequences of one trajectory."""
        item = data[-1:][0]
        columns, responses = item.non_tensor_batch, item.batch["responses"]
        length = _length(columns, item.batch["attention_mask"], responses)
        ids = responses[:length]
        text = await asyncio.to_thread(self.tokenizer.decode, ids, skip_special_tokens=True)
        ended = length > 0 and int(ids[-1]) == self.tokenizer.eos_token_id
        row = dict(columns.get("extra_info") or {})
        raw = columns.get("raw_prompt")
        prompt: Turns | None = row.pop("prompt", None) if raw is None else list(raw)
        row = _with_answer(row, columns["reward_model"]["ground_truth"])
        values = await _scored(self._rewarder, as_sample(prompt, text, row, tokens=length, finished=ended))
        return {"reward_score": values["score"], "reward_extra_info": values}


def _length(columns: Mapping[str, Any], attention_mask: Any, responses: Any) -> int:
    """Tokens of the response. The mask is padded as a whole, so with several sequences its end does not tell it."""
    told = columns.get("response_len")
    return int(attention_mask[-responses.shape[-1] :].sum()) if told is None else int(told)


def _with_answer(row: dict[str, Any], ground_truth: Any) -> dict[str, Any]:
    return row | ({"answer": ground_truth} if ground_truth not in (None, "") else {})


async def _scored(rewarder: Rewarder, sample: Sample) -> dict[str, float]:
    rewards = await rewarder.rewards([sample], fixed_step())
    return {"score": a_number(as_list(rewards.reward_N)[0]), **breakdown(rewards, 0)}


# --- the launcher -----------------------------------------------------------------------------------------------------


def check(config: Any) -> None:
    """Find out, with verl's own functions, who gives the rewards in a composed configuration of verl.

    Raises:
        ConfigError: it is not this module; keys of earlier versions are named with their new names.
    """
    ours = "reward.reward_manager or reward.custom_reward_function must name " + MODULE
    if old := _old_keys(config):
        raise ConfigError(f"verl does not read {', '.join(old)} any more, and would train on its own scores: {ours}")
    verl: Any = importlib.import_module("verl.trainer.ppo.reward")
    manager, function = verl.resolve_reward_manager_cls(config), verl.get_custom_reward_fn(config)
    if manager.__module__ == MODULE:
        return
    if function is None or _unwrapped(function).__module__ != MODULE:
        by = f"{manager.__module__}.{manager.__name__}"
        raise ConfigError(f"the rewards of this configuration come from verl's {by}, and not from here: {ours}")


def _old_keys(config: Any) -> list[str]:
    """Keys that verl's configuration still has and its trainer no longer reads, where they are set."""
    function, model = config.get("custom_reward_function") or {}, config.get("reward_model") or {}
    loop = ("reward_manager", "reward_loop_source", "reward_loop_module_path", "reward_loop_class_name")
    found = ["custom_reward_function.path"] if function.get("path") else []
    return found + [f"reward_model.{key}" for key in loop if model.get(key)]


def _unwrapped(function: Any) -> Any:
    """verl wraps the function that was configured: ``partial(_call_with_kwargs, function, {…})``."""
    return function.args[0] if isinstance(function, functools.partial) else function


def main(options: Sequence[str]) -> None:
    """Run ``verl.trainer.main_ppo`` with these options, those of :data:`OPTIONS` where they do not say otherwise.

    Raises:
        ConfigError: ``KEEL_REWARD`` cannot be used, or the rewards would come from elsewhere.
    """
    rewarder_from_environment(knows_tokens=True)  # a wrong configuration is found here, and not in verl's workers
    trainer: Any = importlib.import_module("verl.trainer.main_ppo")
    run = trainer.run_ppo

    def checked(config: Any, *arguments: Any, **named: Any) -> Any:
        check(config)
        return run(config, *arguments, **named)

    trainer.run_ppo = checked
    given = {option.partition("=")[0].lstrip("+") for option in options}
    scorer = "reward.custom_reward_function.path" in given
    defaults = {name: value for name, value in OPTIONS.items() if not (scorer and name.startswith("reward."))}
    sys.argv[1:] = [*(f"{name}={value}" for name, value in defaults.items() if name not in given), *options]
    trainer.main()


if __name__ == "__main__":
    importlib.import_module(MODULE).main(sys.argv[1:])
