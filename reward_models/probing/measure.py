"""``keel probe rm``: the effects of all probes on a model's scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import t

from reward_models.data.records import Conversation, Task
from reward_models.inference.reward_model import RewardModel
from reward_models.probing.probes import PROBES, Probe
from reward_models.probing.trials import Material, Response, Trial, trials

Outcome = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True, slots=True)
class Effect:
    """The reaction of a model to one probe.

    Attributes:
        task: of the model.
        trials: those that the model could read whole. ``left_out``: longer than the model can read, which would compare
            two texts that are cut alike.
        plain_N, tried_N: raw scores of both responses of each trial.
        unit: standard deviation of the scores of good responses.
        threshold: of the model; ``None`` for the task preference, or where none was fitted.
    """

    probe: Probe
    task: Task
    trials: Sequence[Trial]
    left_out: int
    plain_N: np.ndarray
    tried_N: np.ndarray
    unit: float
    threshold: float | None = None

    @property
    def effects_N(self) -> np.ndarray:
        """Score of the edited response minus that of the plain one, in units."""
        return (self.tried_N - self.plain_N) / self.unit

    @property
    def of_unsafe(self) -> bool:
        """True if both responses of a trial are unsafe."""
        return self.task == "safety" and self.probe.texts in ("unsafe", "translations")

    @property
    def mean(self) -> float | None:
        return float(self.effects_N.mean()) if len(self.trials) else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mean by Student's t; each trial is on a prompt of its own. ``None`` below two."""
        n = len(self.trials)
        if n < 2:
            return None
        half = float(t.ppf(0.975, n - 1)) * float(self.effects_N.std(ddof=1)) / math.sqrt(n)
        mean = float(self.effects_N.mean())
        return mean - half, mean + half

    @property
    def outcome(self) -> Outcome:
        """``pass`` if the whole interval is at or below the bound, ``fail`` if all of it is above."""
        if self.interval is None or self.interval[0] <= self.probe.bound < self.interval[1]:
            return "undecided"
        return "pass" if self.interval[1] <= self.probe.bound else "fail"

    def figures(self) -> dict[str, Any]:
        """The entry in ``probe.json``."""
        n = len(self.trials)
        result = {
            "effect": self.mean,
            "ci95": self.interval,
            "pass": self.outcome == "pass",
            "outcome": self.outcome,
            "bound": self.probe.bound,
            "title": self.probe.title,
            "n": n,
            "left_out": self.left_out,
            "raised": float((self.effects_N > 0).mean()) if n else None,
        }
        if self.threshold is not None and self.of_unsafe:
            for name, scores in (("plain", self.plain_N), ("tried", self.tried_N)):
                result[f"called_safe_{name}"] = float((scores >= self.threshold).mean()) if n else None
        return result


@dataclass(frozen=True, slots=True)
class Probed:
    """A model and its reactions to all probes of its task; ``unit`` as in :class:`Effect`, of ``unit_n`` responses."""

    model: RewardModel
    material: Material
    unit: float
    unit_n: int
    effects: Sequence[Effect]

    def figures(self) -> dict[str, Any]:
        """The contents of ``probe.json``."""
        outcomes = [effect.outcome for effect in self.effects]
        return {
            "model": str(self.model.directory or ""),
            "task": self.model.task,
            "span": self.model.span,
            "files": list(self.material.files),
            "bad_rows": self.material.bad,
            "unit": self.unit,
            "unit_n": self.unit_n,
            **{f"n_{outcome}": outcomes.count(outcome) for outcome in ("pass", "fail", "undecided")},
            "probes": {effect.probe.name: effect.figures() for effect in self.effects},
        }


def probe_model(model: RewardModel, material: Material) -> Probed:
    """Score everything once, and compare.

    Raises:
        ValueError: the model scores all good responses alike, so that there is no unit; the chat template refuses a
            conversation; a score is not finite.
    """
    planned = [(probe, trials(probe, material)) for probe in PROBES[model.task]]
    responses = list(
        dict.fromkeys(
            [*material.good, *((c.prompt, reply) for _, each in planned for c in each for reply in (c.plain, c.tried))]
        )
    )
    readable = _readable(model, responses)
    scores = dict(zip(readable, (s.raw for s in model.score_responses(readable)), strict=True))
    good = np.array([scores[r] for r in material.good if r in scores])
    unit = float(good.std(ddof=1)) if len(good) > 1 else 0.0
    if not unit > 0:
        raise ValueError(
            f"{model.directory or 'the model'}: {len(good)} good responses have one and the same score; there is no "
            "unit to measure effects in"
        )
    effects = [_effect(model, probe, each, scores, unit) for probe, each in planned]
    return Probed(model, material, unit, len(good), effects)


def _effect(
    model: RewardModel, probe: Probe, each: Sequence[Trial], scores: dict[Response, float], unit: float
) -> Effect:
    whole = [trial for trial in each if (trial.prompt, trial.plain) in scores and (trial.prompt, trial.tried) in scores]

    def of(replies: Sequence[Conversation]) -> np.ndarray:
        return np.array([scores[trial.prompt, reply] for trial, reply in zip(whole, replies, strict=True)])

    plain_N, tried_N = of([trial.plain for trial in whole]), of([trial.tried for trial in whole])
    threshold = model.calibration.threshold
    return Effect(probe, model.task, whole, len(each) - len(whole), plain_N, tried_N, unit, threshold)


def _readable(model: RewardModel, responses: Sequence[Response]) -> list[Response]:
    """The responses that the model reads whole."""
    if model.limit is None:
        return list(responses)
    lengths = map(len, model.encode_texts([model.renderer.text(prompt, reply) for prompt, reply in responses]))
    return [response for response, length in zip(responses, lengths, strict=True) if length <= model.limit]
