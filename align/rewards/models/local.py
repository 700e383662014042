"""Reward models as terms: the helpful model reads the summary of a response, the safety model all of it.

Routing is exclusive: helpfulness prompts go to the helpful model and safety prompts to the safety model, never both,
and reasoning prompts to neither (arXiv:2501.12948v2, section 2.3.4).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch

from align.rewards.models.loaded import load_model
from align.rewards.models.values import Value, check_model, chosen_value
from align.rewards.terms import Sample, ScoresWithExtras
from reward_models.data.records import TASKS, Message, Task
from reward_models.inference.ensemble import Ensemble
from reward_models.inference.reward_model import Dtype
from reward_models.runtime.distributed import local_device


class ModelReward:
    """A reward model's score of a response.

    ``None`` for an empty response, which a conversation cannot hold. A score that is not finite is a
    failure of its sample alone. The scores of an ensemble have the extra ``disagreement``, the standard deviation over
    its members.

    Args:
        task: ``preference`` or ``safety``; a model of the other task is refused.
        model: directory or hub name of a trained reward model; several are an ensemble.
        value: of one model: ``calibrated`` or ``raw``; of an ensemble ``mean``, ``minimum`` or ``lower_bound`` of the
            members' standardised scores. Default: ``calibrated``; ``mean``.
        device, dtype, max_tokens: see :meth:`RewardModel.load`.
        offload: keep the model in CPU memory between uses.
    """

    def __init__(
        self,
        *,
        task: Task,
        model: str | Sequence[str],
        value: Value | None = None,
        device: str | None = None,
        dtype: Dtype | None = None,
        max_tokens: int | None = None,
        offload: bool = False,
    ) -> None:
        paths = [model] if isinstance(model, str) else list(model)
        self._value = chosen_value(value, len(paths))
        self._device = device or str(local_device())
        members = [load_model(path, "cpu" if offload else self._device, dtype, max_tokens) for path in paths]
        for path, each in zip(paths, members, strict=True):
            check_model(path, each.task, each.calibration, wanted=task, value=self._value)
        self.name, self._domain = TASKS[task].model, TASKS[task].domain
        self._offload, self._members = offload, members
        self._busy = threading.Lock()  # a model that one call moves to the CPU must not be in use by another
        self._ensemble = Ensemble(members) if len(members) > 1 else None
        self.term_metrics = ("disagreement",) if self._ensemble is not None else ()

    def applies(self, sample: Sample) -> bool:
        return sample.domain == self._domain

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        said = [i for i, sample in enumerate(samples) if sample.response.strip()]
        pairs = [(samples[i].prompt, (Message("assistant", samples[i].whole),)) for i in said]
        nothing: list[float | None] = [None] * len(samples)
        scores = ScoresWithExtras(nothing, **{name: list(nothing) for name in self.term_metrics})
        if not pairs:
            return scores
        with self._busy:
            self._move(self._device)
            if self._ensemble is not None:
                result = self._ensemble.score_responses(pairs, finite=False)
                values = getattr(result, f"{self._value}_N").tolist()
                for place, value in zip(said, result.disagreement_N.tolist(), strict=True):
                    scores.extras["disagreement"][place] = value
            else:
                values = [getattr(s, self._value) for s in self._members[0].score_responses(pairs, finite=False)]
            self._move("cpu")
        for place, value in zip(said, values, strict=True):
            scores[place] = value
        return scores

    def _move(self, device: str) -> None:
        if self._offload:
            for member in self._members:
                member.scorer.to(torch.device(device))
