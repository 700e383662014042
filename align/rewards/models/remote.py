"""A served reward model as a term: routes and values of :class:`~align.rewards.models.local.ModelReward`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from align.rewards.models.client import RewardClient
from align.rewards.models.replicas import RewardServerError
from align.rewards.terms import Sample
from reward_models.data.records import TASKS, Task


class RemoteReward:
    """A served reward model's score of a response; ``None`` for an empty response.

    A sample without a score from the servers is a failure: nan, which the loop counts and never learns from. Too many
    of them (``max_reward_failures``) stop the run.

    Args:
        task: ``preference`` or ``safety``; a server of another task is refused.
        urls: of replicas that serve the model.
        value: ``calibrated`` or ``raw``.
        options: of :class:`RewardClient`.

    Attributes:
        counts: requests, retries and failures; see :class:`RewardClient`.
    """

    def __init__(
        self,
        *,
        task: Task,
        urls: str | Sequence[str],
        value: Literal["calibrated", "raw"] = "calibrated",
        **options: Any,
    ) -> None:
        if value not in ("calibrated", "raw"):
            raise ValueError(f"value={value!r} is neither calibrated nor raw")
        self.name, self._domain, self._value = TASKS[task].model, TASKS[task].domain, value
        self._client = RewardClient(urls, **options)
        if self._client.served.task != task:
            raise RewardServerError(
                f"{', '.join(self._client.config.urls)}: {self._client.served} is no model of the task {task}"
            )
        reference = self._client.reference
        if value == "calibrated" and reference is not None and reference.calibration.temperature is None:
            raise ValueError(
                "the reference has no calibration; take value: raw, or train it with data.calibration_fraction and "
                "more examples"
            )

    @property
    def counts(self) -> Counter[str]:
        return self._client.counts

    def applies(self, sample: Sample) -> bool:
        return sample.domain == self._domain

    async def score(self, samples: Sequence[Sample]) -> list[float | None]:
        answers = await self._client.answers(samples)
        scores: list[float | None] = []
        for sample, answer in zip(samples, answers, strict=True):
            value = answer.calibrated if self._value == "calibrated" else answer.raw
            said_nothing = not sample.response.strip()
            # No value and no error: the server has no calibration, which is a failure and not a property of the sample.
            scores.append(None if said_nothing else math.nan if value is None else value)
        return scores
