"""Rewards for open-instruct (e6c3044): a verifier called ``keel``, and a launcher that registers it.

    export KEEL_REWARD=configs/my_rewards.yaml     # or http://a:8000,http://b:8000
    python -m align.bridges.open_instruct ...      # the options of open_instruct/grpo_fast.py

Rows whose ``dataset`` is ``keel`` are scored by it. open-instruct skips a row of a data set without a verifier, with a
warning, and trains on a reward of 0; with the launcher that is an error. A verifier sees one sample, its query as
rendered text and its label: the reference answer, or a JSON object as in :mod:`align.bridges.openrlhf`. open-instruct
multiplies the score by its ``--verification_reward``, 10 by default.
"""

from __future__ import annotations

import functools
import importlib
import runpy
import sys
from collections.abc import Sequence
from typing import Any

from align.bridges.conversion import as_sample
from align.bridges.openrlhf import labelled
from align.bridges.rewarder import a_number, fixed_step, rewarder_from_environment, run
from align.rewards.mixer import as_list
from reward_models.runtime.config import ConfigError


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


# --- the launcher -----------------------------------------------------------------------------------------------------


class Verifiers(dict[str, Any]):
    """open-instruct's verifiers by their names; one that is missing is an error."""

    def get(self, name: str, default: Any = None) -> Any:
        """As open-instruct looks a row's verifier up."""
        if name not in self:
            raise ConfigError(
                f"no verifier for the data set {name!r}, so open-instruct would train on a reward of 0; rows that Keel "
                "is to score have the dataset 'keel'"
            )
        return self[name]


def main(options: Sequence[str], module: str = "open_instruct.grpo_fast") -> None:
    """Run a program of open-instruct with these options and our verifier.

    Raises:
        ConfigError: ``KEEL_REWARD`` cannot be used.
    """
    rewarder_from_environment(knows_tokens=True)  # a wrong configuration is found here, and not in a worker
    register()
    utilities: Any = importlib.import_module("open_instruct.ground_truth_utils")
    build = utilities.build_all_verifiers

    @functools.wraps(build)
    def strict(*arguments: Any, **named: Any) -> Verifiers:
        return Verifiers(build(*arguments, **named))

    utilities.build_all_verifiers = strict
    sys.argv[1:] = options
    runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    importlib.import_module("align.bridges.open_instruct").main(sys.argv[1:])
