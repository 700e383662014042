"""Rewards for ms-swift (4.6): a reward function for its GRPO.

    # keel_plugin.py
    from align.bridges.ms_swift import register
    register()

    export KEEL_REWARD=configs/my_rewards.yaml     # or http://a:8000,http://b:8000
    swift rlhf --rlhf_type grpo --external_plugins keel_plugin.py --reward_funcs keel ...

The step is the trainer's own. ms-swift, too, takes a missing reward for 0: what cannot be scored gets its group's mean.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from align.bridges.conversion import as_sample, filled, in_groups
from align.bridges.rewarder import rewarder_from_environment, run
from align.rewards.mixer import as_list
from align.rewards.terms import Sample

# What ms-swift adds to a row; it is not the data set's.
_OWN = ("messages", "prompt_id", "request_id", "finish_reason", "is_truncated", "rollout_infos", "response_token_ids")


class MixedReward:
    """A reward function for ms-swift, which calls it an ORM. ``args`` are those of its trainer."""

    def __init__(self, args: Any = None, **kwargs: Any) -> None:
        self.args = args
        self._rewarder = rewarder_from_environment(knows_step=True, knows_tokens=True, knows_groups=True)

    def __call__(
        self, completions: Sequence[str], trainer_state: Any = None, **columns: Sequence[Any]
    ) -> list[float | None]:
        """One reward per completion; ``solution`` is read as ``answer`` where there is no column of that name."""
        rows = [
            {name: values[place] for name, values in columns.items() if isinstance(values, list | tuple)}
            for place in range(len(completions))
        ]
        samples = [_sample(text, row) for text, row in zip(completions, rows, strict=True)]
        groups = [str(row.get("prompt_id") or row["messages"][:-1]) for row in rows]
        samples = in_groups(samples, groups, getattr(self.args, "num_generations", None))
        step = trainer_state.global_step if trainer_state is not None else 0
        rewards = run(self._rewarder.rewards(samples, step))
        return filled(as_list(rewards.reward_N), groups)


def register() -> None:
    """Make it known to ms-swift as ``keel``."""
    importlib.import_module("swift.rewards").orms["keel"] = MixedReward


def _sample(text: str, row: dict[str, Any]) -> Sample:
    columns = {name: value for name, value in row.items() if name not in _OWN and value is not None}
    if "answer" not in columns and "solution" in columns:
        columns["answer"] = columns.pop("solution")
    return as_sample(
        row["messages"][:-1],
        text,
        columns,
        tokens=len(_flat(row.get("response_token_ids") or ())),
        finished=not row.get("is_truncated", False),
    )


def _flat(ids: Sequence[Any]) -> list[int]:
    """Token ids, which are a list per turn where there were several."""
    return [i for part in ids for i in (part if isinstance(part, list | tuple) else (part,))]
