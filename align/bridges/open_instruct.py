"""Rewards for open-instruct: a verifier called ``keel``.

    # grpo_with_keel.py, to be run in the place of open_instruct/grpo_fast.py
    from align.bridges.open_instruct import register
    register()                                     # before open-instruct builds its verifiers
    import runpy
    runpy.run_module("open_instruct.grpo_fast", run_name="__main__")

    export KEEL_REWARD=configs/my_rewards.yaml     # or http://a:8000,http://b:8000

Rows whose ``dataset`` is ``keel`` are scored by it. A verifier sees one sample, its query as rendered text and its
label: the reference answer, or a JSON object as in :mod:`align.bridges.openrlhf`. open-instruct multiplies the score
by its ``--verification_reward``, 10 by default.
"""

from __future__ import annotations

import importlib
from typing import Any

from align.bridges.conversion import as_sample
from align.bridges.openrlhf import labelled
from align.bridges.rewarder import a_number, fixed_step, rewarder_from_environment, run
from align.rewards.mixer import as_list


def register() -> type:
    """Define the verifier, which is all that open-instruct needs: it looks for the subclasses of its own class."""
    module: Any = importlib.import_module("open_instruct.ground_truth_utils")
    base: Any = module.VerifierFunction

    class KeelVerifier(base):
        """The whole mixture as one verifier."""

        def __init__(self, verifier_config: Any = None) -> None:
            super().__init__("keel", verifier_config=verifier_config, weight=1.0)

        def __call__(
            self,
            tokenized_prediction: list[int],
            prediction: str,
            label: Any,
            query: str | None = None,
            rollout_state: dict[str, Any] | None = None,
        ) -> Any:
            return run(self.async_call(tokenized_prediction, prediction, label, query, rollout_state))

        async def async_call(
            self,
            tokenized_prediction: list[int],
            prediction: str,
            label: Any,
            query: str | None = None,
            rollout_state: dict[str, Any] | None = None,
        ) -> Any:
            row = labelled(label)
            sample = as_sample(
                row.pop("prompt", None),
                prediction,
                row,
                tokens=len(tokenized_prediction),
                think_prefilled=(query or "").rstrip().endswith("<think>"),
            )
            rewards = await rewarder_from_environment(knows_tokens=True).rewards([sample], fixed_step())
            return module.VerificationResult(score=a_number(as_list(rewards.reward_N)[0]))

    return KeelVerifier
