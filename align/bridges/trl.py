"""Rewards as ``reward_funcs`` of TRL's trainers (1.16): ``GRPOTrainer``, ``RLOOTrainer``, ``OnlineDPOTrainer``, and the
asynchronous ``AsyncGRPOTrainer``, which pickles them.

    from trl import GRPOConfig, GRPOTrainer
    from align.bridges.trl import MixedReward

    reward = MixedReward("r1_stage2", ["rewards=[{term: accuracy}, {term: format, weight: 0.1}]", "guards=[]"])
    GRPOTrainer(model=..., reward_funcs=reward, args=GRPOConfig(...), train_dataset=...)

The data set has the columns of our prompts: ``prompt``, and ``answer``, ``domain``, ``language`` and
whatever terms read.

TRL takes a missing reward for 0, which would push the policy away from, or towards, text that nobody has judged. A
sample that cannot be scored is therefore given the mean of its prompt's other samples, which is an advantage of 0, and
counted as ``unscorable``; only where none of a prompt can be scored, ``None`` is returned for all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from align.bridges.conversion import Turns, as_sample, filled, in_groups
from align.bridges.rewarder import Rewarder, rewarder, run
from align.rewards.build import TermConfig, build_terms
from align.rewards.mixer import Mixer, as_list
from align.rewards.scoring import Scorer
from align.rewards.terms import Sample


class MixedReward:
    """The whole mixture as one reward function: of a configuration, or of servers.

    The step is the trainer's own, and weights follow it. Every term's mean raw and weighted value and every weight are
    logged through TRL's ``log_metric``, each sample's values through ``log_extra``, where the trainer has them.

    Args:
        config, overrides: as of ``keel train align``, everything but rewards and their limits, phases and steps being
            left aside; or the addresses of servers, separated by commas.
        verifiers: what ``accuracy`` stands for, where the data set has a column ``verifier``.
        think_prefilled: the chat template ends prompts with ``<think>``.
        group_size: the trainer's ``num_generations``, which terms that compare the samples of a prompt need. A process
            must then score whole groups: its batch is a multiple of it.
        options: for servers: ``model`` and those of :class:`~align.rewards.models.client.RewardClient`.
    """

    def __init__(
        self,
        config: str | None = None,
        overrides: Sequence[str] = (),
        *,
        verifiers: Sequence[str] = ("math",),
        think_prefilled: bool = False,
        group_size: int | None = None,
        **options: Any,
    ) -> None:
        self._group_size = group_size
        self._rewarder: Rewarder = rewarder(config, overrides, verifiers=verifiers, **options)
        self._think_prefilled = think_prefilled
        self.__name__ = "mixed_reward"

    def __call__(
        self,
        prompts: Sequence[Turns],
        completions: Sequence[Turns],
        completion_ids: Sequence[Sequence[int]] | None = None,
        trainer_state: Any = None,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """One reward per completion.

        Raises:
            TermError, RewardFailure: as in our own loop: a term broke its contract, or failed on too many samples.
        """
        samples = _samples(prompts, completions, completion_ids, columns, self._think_prefilled)
        samples = in_groups(samples, [str(prompt) for prompt in prompts], self._group_size)
        step = trainer_state.global_step if trainer_state is not None else 0
        rewards = run(self._rewarder.rewards(samples, step))
        if log_metric is not None:
            for name, value in rewards.metrics().items():
                log_metric(name, value)
        if log_extra is not None:
            for name, values in rewards.raw.items():
                log_extra(f"raw {name}", as_list(values))
                log_extra(f"weighted {name}", as_list(rewards.weighted[name]))
        return filled(as_list(rewards.reward_N), [str(prompt) for prompt in prompts])


class TermReward:
    """One term as a reward function, for mixtures by TRL's own ``reward_weights``.

    ``None`` where the term does not apply, which TRL leaves out of the sum; where it applies and cannot tell, the mean
    of the prompt's other samples.

    Args:
        group_size: as of :class:`MixedReward`.
        term, arguments: as in ``rewards`` of a configuration; of ``accuracy`` name one verifier: ``accuracy_math``.
        time_limit, max_failures: ``reward_time_limit`` and ``max_reward_failures`` of a configuration.
    """

    def __init__(
        self,
        term: str,
        *,
        think_prefilled: bool = False,
        time_limit: float = 600.0,
        max_failures: float = 0.1,
        group_size: int | None = None,
        **arguments: Any,
    ) -> None:
        self._group_size = group_size
        self._config = TermConfig(term=term, arguments=arguments)
        self._think_prefilled, self._limits = think_prefilled, (time_limit, max_failures)
        self.__name__ = term.rpartition(":")[2]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_scorer"}

    @functools.cached_property
    def _scorer(self) -> Scorer:
        limit, failures = self._limits
        return Scorer(Mixer(build_terms([self._config], {"math"})), time_limit=limit, max_failures=failures)

    def __call__(
        self,
        prompts: Sequence[Turns],
        completions: Sequence[Turns],
        completion_ids: Sequence[Sequence[int]] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """One value per completion."""
        samples = _samples(prompts, completions, completion_ids, columns, self._think_prefilled)
        samples = in_groups(samples, [str(prompt) for prompt in prompts], self._group_size)
        rewards = run(self._scorer.rewards(samples, {self._config.term: 1.0}, learn=True))
        (applied,) = rewards.applied.values()
        values = filled(as_list(rewards.reward_N), [str(prompt) for prompt in prompts])
        return [value if applies else None for value, applies in zip(values, applied.tolist(), strict=True)]


def _samples(
    prompts: Sequence[Turns],
    completions: Sequence[Turns],
    completion_ids: Sequence[Sequence[int]] | None,
    columns: dict[str, Any],
    think_prefilled: bool,
) -> list[Sample]:
    """Samples from the arguments of a reward function of TRL; a column is a list with a value for each."""
    rows = [
        {name: values[place] for name, values in columns.items() if isinstance(values, list | tuple)}
        for place in range(len(prompts))
    ]
    return [
        as_sample(
            prompt,
            completion if isinstance(completion, str) else completion[-1]["content"],
            row,
            tokens=len(completion_ids[place]) if completion_ids else 0,
            think_prefilled=think_prefilled,
        )
        for place, (prompt, completion, row) in enumerate(zip(prompts, completions, rows, strict=True))
    ]
