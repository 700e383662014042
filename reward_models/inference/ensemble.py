"""Ensembles of reward models: combined scores, and the disagreement of the members.

Pessimistic combinations make reward hacking harder (Coste et al., arXiv:2310.02743); disagreement is a measure of
uncertainty. Scores of different models have different scales: each member's scores are first standardised by the mean
and standard deviation of its own calibration split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reward_models.calibration import Calibration
from reward_models.data.records import Conversation, Task
from reward_models.inference.reward_model import RewardModel, Turns

LOWER_BOUND_K = 1.0


@dataclass(frozen=True, slots=True)
class EnsembleScores:
    """Scores of ``N`` responses by ``M`` members, in units of the members' standard deviations.

    Attributes:
        members_MN: each member's standardised scores.
        k: distance of :attr:`lower_bound_N` from the mean, in standard deviations over the members.
    """

    members_MN: np.ndarray
    k: float = LOWER_BOUND_K

    @property
    def mean_N(self) -> np.ndarray:
        return self.members_MN.mean(0)

    @property
    def minimum_N(self) -> np.ndarray:
        """The lowest score of a member (worst-case optimisation, arXiv:2310.02743)."""
        return self.members_MN.min(0)

    @property
    def disagreement_N(self) -> np.ndarray:
        """Population standard deviation over the members (divided by M)."""
        return self.members_MN.std(0)

    @property
    def lower_bound_N(self) -> np.ndarray:
        """mean − k · disagreement."""
        return self.mean_N - self.k * self.disagreement_N


class Ensemble:
    """Loaded reward models of one task.

    Args:
        members: at least two, each with the score statistics of a calibration split.
        k: see :class:`EnsembleScores`.

    Raises:
        ValueError: fewer than two members, members of different tasks, or one without score statistics.
    """

    def __init__(self, members: Sequence[RewardModel], *, k: float = LOWER_BOUND_K) -> None:
        if len(members) < 2:
            raise ValueError(f"an ensemble needs at least two models, not {len(members)}")
        if len(tasks := {member.task for member in members}) > 1:
            raise ValueError(f"the models of an ensemble are of one task, not {' and '.join(sorted(tasks))}")
        for member in members:
            if not member.calibration.std:
                raise ValueError(
                    f"{member.directory or 'a model'} has no score statistics to put it on a common scale; "
                    "train it with data.calibration_fraction above 0"
                )
        self.members, self.k = tuple(members), k

    @classmethod
    def load(cls, paths: Sequence[str | Path], *, k: float = LOWER_BOUND_K, **options: Any) -> Ensemble:
        """Load every member; ``options`` are those of :meth:`RewardModel.load`."""
        return cls([RewardModel.load(path, **options) for path in paths], k=k)

    @property
    def task(self) -> Task:
        return self.members[0].task

    def score(self, conversations: Sequence[Turns]) -> EnsembleScores:
        """See :meth:`RewardModel.score`."""
        return self._combined([[s.raw for s in member.score(conversations)] for member in self.members])

    def score_responses(
        self, pairs: Sequence[tuple[Conversation, Conversation]], *, finite: bool = True
    ) -> EnsembleScores:
        """See :meth:`RewardModel.score_responses`."""
        return self._combined([[s.raw for s in m.score_responses(pairs, finite=finite)] for m in self.members])

    def _combined(self, raw_MN: Sequence[Sequence[float]]) -> EnsembleScores:
        scaled = [standardised(np.array(raw), m.calibration) for raw, m in zip(raw_MN, self.members, strict=True)]
        return EnsembleScores(np.stack(scaled), self.k)


def standardised(raw: np.ndarray | float, calibration: Calibration) -> Any:
    """(raw − mean) / std, so that scores of different models can be compared."""
    assert calibration.mean is not None
    assert calibration.std
    return (raw - calibration.mean) / calibration.std
