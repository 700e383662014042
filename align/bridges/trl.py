"""Mixed rewards as a reward function of TRL's trainers.

    from trl import GRPOConfig, GRPOTrainer
    from align.bridges.trl import MixedReward

    reward = MixedReward("r1_stage2", ["rewards=[{term: accuracy}, {term: format, weight: 0.1}]"])
    GRPOTrainer(model=..., reward_funcs=reward, args=GRPOConfig(...), train_dataset=...)

The data set has the columns of our prompts: ``prompt``, and ``answer``, ``kind``, ``language`` and whatever terms read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from align.config import AlignConfig
from align.mixer import Mixed, Mixer, as_list, as_tensor
from align.phases import phase_at, phases_of
from align.rewards.build import build_terms
from align.rewards.terms import Sample, run_terms
from align.scorer import check_failures
from reward_models.data.records import Conversation, Message
from reward_models.runtime.config import load_config

Turns = str | list[dict[str, str]]


class MixedReward:
    """``rewards`` and ``phases`` of a configuration, as ``reward_funcs`` of ``GRPOTrainer`` and its kin take it.

    The step is the trainer's own. Every term's mean raw and weighted value and every weight are logged through TRL's
    ``log_metric``, each sample's values through ``log_extra``. It can be pickled: terms are built where it first runs.

    TRL takes a missing reward for 0, which would push the policy away from, or towards, text that nobody has judged. A
    sample that cannot be scored is therefore given the mean of its prompt's other samples, which is an advantage of 0,
    and counted as ``unscorable``; only where none of a prompt can be scored, ``None`` is returned for all of them.

    Args:
        config, overrides: as of ``keel train align``; everything but rewards and their limits, phases and steps is left
            aside.
        verifiers: what ``accuracy`` stands for, where the data set has a column ``verifier``.
        think_prefilled: the chat template ends prompts with ``<think>``.
    """

    def __init__(
        self,
        config: str | None = None,
        overrides: Sequence[str] = (),
        *,
        verifiers: Sequence[str] = ("math",),
        think_prefilled: bool = False,
    ) -> None:
        self.config = load_config(AlignConfig, config, overrides)
        self.verifiers, self.think_prefilled = tuple(verifiers), think_prefilled
        self.__name__ = "mixed_reward"
        self._mixer: Mixer | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_mixer": None}

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
        if self._mixer is None:
            self._mixer = Mixer(build_terms(self.config.rewards, set(self.verifiers)))
        step = min(trainer_state.global_step if trainer_state is not None else 0, self.config.steps - 1)
        samples = [
            self._sample(prompt, completion, completion_ids[i] if completion_ids else (), columns, i)
            for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        results = run_terms(self._mixer.terms, samples, time_limit=self.config.reward_time_limit)
        check_failures(
            {name: (r.failures, r.applicable) for name, r in results.items()}, self.config.max_reward_failures
        )
        mixed = self._mixer.mix(
            {name: as_tensor(r.scores) for name, r in results.items()},
            {name: torch.tensor(r.applies) for name, r in results.items()},
            self._mixer.weights(step, phase_at(phases_of(self.config), step).weights, {}),
            {name: r.unscorable for name, r in results.items()},
            {name: r.failures for name, r in results.items()},
            learn=True,
        )
        _log(mixed, log_metric, log_extra)
        return filled(as_list(mixed.total_N), [str(prompt) for prompt in prompts])

    def _sample(
        self, prompt: Turns, completion: Turns, ids: Sequence[int], columns: dict[str, Any], place: int
    ) -> Sample:
        row = {name: values[place] for name, values in columns.items() if isinstance(values, list | tuple)}
        answer = row.pop("answer", None)
        kind: Any = row.pop("kind", None) or ("reasoning" if answer is not None else "helpfulness")
        return Sample(
            prompt=_conversation(prompt),
            response=completion if isinstance(completion, str) else completion[-1]["content"],
            kind=kind,
            answer=None if answer is None else str(answer),
            language=row.pop("language", None),
            think_prefilled=self.think_prefilled,
            tokens=len(ids),
            finished=True,
            columns=row,
        )


def filled(rewards: Sequence[float | None], prompts: Sequence[str]) -> list[float | None]:
    """Rewards with the mean of its group in the place of what is missing; samples of a prompt stand side by side."""
    result, start = list(rewards), 0
    while start < len(rewards):
        end = start
        while end < len(rewards) and prompts[end] == prompts[start]:
            end += 1
        known = [r for r in rewards[start:end] if r is not None]
        if known:
            mean = sum(known) / len(known)
            result[start:end] = [mean if r is None else r for r in rewards[start:end]]
        start = end
    return result


def _conversation(prompt: Turns) -> Conversation:
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    return tuple(Message(turn["role"], turn["content"]) for turn in prompt)  # type: ignore[arg-type]


def _log(mixed: Mixed, log_metric: Any, log_extra: Any) -> None:
    if log_metric is not None:
        means = {
            **{f"term/{name}": float(values.nanmean()) for name, values in mixed.raw.items()},
            **{f"weighted/{name}": float(values.nanmean()) for name, values in mixed.weighted.items()},
            **{f"weight/{entry}": weight for entry, weight in mixed.weights.items()},
            "unscorable": float(mixed.total_N.isnan().sum()),
        }
        for name, value in means.items():
            if value == value:
                log_metric(name, value)
    if log_extra is not None:
        for name, values in mixed.raw.items():
            log_extra(f"raw {name}", as_list(values))
            log_extra(f"weighted {name}", as_list(mixed.weighted[name]))
