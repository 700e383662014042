"""Rollouts that nothing can be learnt from, counted: a run of nothing else stops."""

from __future__ import annotations

import numpy as np

from align.objective.advantages import Advantages
from align.rewards.mixer import Rewards, mean_of_known
from align.run import PolicyRun
from align.state import RunState


class NoSignalError(RuntimeError):
    """Nothing can be learnt from the run's rollouts: no response earns more than the others, or all are left out."""


def check_signal(run: PolicyRun, state: RunState, found: Advantages, rewards: Rewards) -> None:
    """Count rollouts in a row without any signal.

    Raises:
        NoSignalError: there were ``max_silent_rollouts`` of them, or as many as the run has.
    """
    assert state.rollout is not None
    cut = run.config.loss.overlong_filter and not bool(state.rollout.finished_N.any())
    state.silent_rollouts = 0 if bool(found.signal_P.any()) and not cut else state.silent_rollouts + 1
    limit = run.config.max_silent_rollouts
    if not limit or state.silent_rollouts < min(limit, -(-run.config.steps // run.config.steps_per_rollout)):
        return
    if cut:
        raise NoSignalError(
            f"{state.silent_rollouts} rollouts in a row had no signal: in the last one every response was cut at "
            "max_new_tokens, and loss.overlong_filter=true leaves those out. Raise max_new_tokens, begin with a policy "
            "that ends its responses, or take the filter out"
        )
    means = ", ".join(
        f"{name} {mean_of_known(values):.3g} ({int((~np.isnan(values)).sum())} scored)"
        for name, values in rewards.raw.items()
    )
    raise NoSignalError(
        f"{state.silent_rollouts} rollouts in a row had no signal: within every prompt's group all responses earned "
        f"the same reward, or could not be scored. In the last one {found.unscorable} of {len(rewards.reward_N)} "
        f"responses had no reward; the means of the terms were {means}. samples.jsonl holds responses. Check answers "
        "and verifiers, begin with easier prompts or a better policy, or raise max_silent_rollouts (0: never stop)"
    )
