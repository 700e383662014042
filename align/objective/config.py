"""Settings of the objective."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from align.objective.kinds import (
    CORRECTIONS,
    LOSSES,
    AdvantageKind,
    Aggregation,
    CorrectionKind,
    CorrectionSetting,
    KlEstimate,
    LossKind,
)

NO_CLIP = 10.0  # the default of both clips
ADVANTAGES = {
    "group": "(r − mean) / std of the prompt's group",
    "mean": "r − mean of the prompt's group",
    "leave_one_out": "r − mean of the others in the prompt's group",
    "batch": "(r − mean of the prompt's group) / std of all responses of the step",
}


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Settings of the policy update.

    Attributes:
        kind: ``token``: a ratio per token, mean over a response's tokens, mean over responses (GRPO). ``sequence``: one
            ratio per response, as DeepSeek-R1 prints it. ``token_mean``: mean over all tokens of the step (DAPO).
            ``dr_grpo``: sum over a response's tokens divided by ``max_new_tokens``. ``gspo``: one ratio per response,
            the geometric mean over its tokens; ``gspo_token``: the same ratio, a gradient per token. ``cispo``: the
            clip bounds the weight of a token, and stops no gradient. ``sapo``: a soft gate in the place of the clip.
            ``reverse_kl``: on-policy distillation, the divergence from ``teacher``, mean over all tokens of the step;
            rewards are measured and not learnt from, and advantages, clips and ``beta`` have no part in it.
        advantages: ``group``: (r − mean) / std within a prompt's group; ``mean``: r − mean (Dr. GRPO);
            ``leave_one_out``: r − mean of the others (RLOO); ``batch``: r − mean, divided by the std of all responses
            of the step (Lite PPO).
        aggregation: ``sum``: the weighted sum of the terms is normalised, as ``advantages`` says. ``gdpo``: each term
            is normalised within a prompt's group, then the terms are summed with their weights, then the sums of
            the rollout are normalised (arXiv:2601.05242).
        clip_low, clip_high: ε of the ratio's lower and upper bound, 1 − ε and 1 + ε.
        beta: weight of the KL divergence from the reference model; 0 keeps no reference model.
        kl_estimate: ``k3``; ``unbiased``: k3 times the ratio π/π_old, whose gradient is that of the divergence
            (DeepSeek-V3.2).
        overlong_filter: leave responses that were cut at ``max_new_tokens`` out of the loss (DAPO).
        correction: weights for the difference between the rollout engine's and the trainer's probabilities.
            ``token_cap``: π_old/π_rollout per token, at most ``correction_high``. ``token_mask``: 0 outside the bounds
            (IcePop). ``sequence_cap``, ``sequence_mask``: the same with the ratio of the whole response.
            ``geometric_mask``: responses whose mean ratio per token is outside the bounds are left out. ``auto``:
            ``token_cap`` where another program than the trainer samples (``rollout.engine=vllm``), and none elsewhere.
            ``never`` only measures the difference.
        correction_low, correction_high: bounds of the correction; default: those of its source.
        off_policy_threshold: δ in nats per token: a response with a negative advantage whose tokens the policy finds
            less probable than the policy that sampled them, by more than δ on average, has no policy term
            (DeepSeek-V3.2); default: none is left out.
    """

    RENAMED: ClassVar[dict[str, str]] = {
        "importance_correction": "correction",
        "importance_cap": "correction_high",
    }
    RENAMED_VALUES: ClassVar[dict[str, dict[str, str]]] = {"correction": {"always": "token_cap"}}

    kind: LossKind = "token"
    advantages: AdvantageKind = "group"
    aggregation: Aggregation = "sum"
    clip_low: float = NO_CLIP
    clip_high: float = NO_CLIP
    beta: float = 0.001
    kl_estimate: KlEstimate = "k3"
    overlong_filter: bool = False
    correction: CorrectionSetting = "auto"
    correction_low: float | None = None
    correction_high: float | None = None
    off_policy_threshold: float | None = None

    def __post_init__(self) -> None:
        if not (self.clip_low >= 0 and self.clip_high >= 0 and 0 <= self.beta < math.inf):  # also of nan
            raise ValueError("loss.clip_low, loss.clip_high and loss.beta must be numbers that are not negative")
        self._check_clips()
        self._check_correction()
        if self.aggregation == "gdpo" and self.advantages != "group":
            raise ValueError(
                f"loss.aggregation=gdpo normalises by the standard deviation of the group: loss.advantages="
                f"{self.advantages} would change nothing; leave it at group"
            )
        if self.kl_estimate != "k3" and not self.beta:
            raise ValueError(f"loss.kl_estimate={self.kl_estimate} needs a KL term: set loss.beta above 0")
        if self.off_policy_threshold is not None and not self.off_policy_threshold > 0:
            raise ValueError("loss.off_policy_threshold must be positive; leave it out for no mask")

    def correction_in_force(self, engine: str) -> CorrectionKind | None:
        """The correction with the rollout engine ``engine``; ``None``: none."""
        return correction_with(self.correction, engine)

    def _check_clips(self) -> None:
        given = ", ".join(f"loss.{name}" for name in ("clip_low", "clip_high") if getattr(self, name) != NO_CLIP)
        if self.kind == "sapo" and given:
            raise ValueError(f"loss.kind=sapo has a soft gate and no clip: take {given} out")
        if self.kind in ("gspo", "gspo_token") and max(self.clip_low, self.clip_high) >= 1:
            raise ValueError(
                f"loss.kind={self.kind} clips the mean ratio of a response's tokens, which a clip of 1 or more never "
                "does: set loss.clip_low and loss.clip_high, such as the paper's 3e-4 and 4e-4"
            )

    def _check_correction(self) -> None:
        low, high = self.correction_low, self.correction_high
        given = ", ".join(f"loss.{n}" for n in ("correction_low", "correction_high") if getattr(self, n) is not None)
        if self.correction == "never":
            if given:
                raise ValueError(f"loss.correction=never has no bounds: take {given} out, or name a correction")
            return
        kind: CorrectionKind = "token_cap" if self.correction == "auto" else self.correction
        rule = CORRECTIONS[kind]
        if rule.action == "cap":
            if low is not None:
                raise ValueError(f"loss.correction={self.correction} has no lower bound: take loss.correction_low out")
            if high is not None and not high > 0:
                raise ValueError("loss.correction_high must be positive; loss.correction=never switches it off")
            return
        low, high = rule.low if low is None else low, rule.high if high is None else high
        if not 0 <= low <= 1 <= high:
            raise ValueError(
                f"loss.correction={self.correction} with bounds {low:g} and {high:g} masks the ratio 1, at which "
                "engine and trainer agree: loss.correction_low must be from 0 to 1, loss.correction_high at least 1"
            )


def correction_with(correction: CorrectionSetting, engine: str) -> CorrectionKind | None:
    """The correction that a setting ``loss.correction`` means with the rollout engine ``engine``; ``None``: none."""
    if correction == "auto":
        return None if engine == "local" else "token_cap"
    return None if correction == "never" else correction


def describe(loss: LossConfig, engine: str) -> list[str]:
    """Lines of a dry run: the losses, corrections and masks that are in force with the rollout engine ``engine``."""
    lines = []
    if loss.kind == "reverse_kl":
        lines.append("loss: reverse_kl, the divergence from the teacher, mean over all tokens of the step")
    else:
        rule = LOSSES[loss.kind]
        clip = "" if rule.surrogate == "gate" else f"; clip(r) = [1 − {loss.clip_low:g}, 1 + {loss.clip_high:g}]"
        lines.append(f"loss: {loss.kind}, maximise {rule.equation}{clip} ({rule.source})")
        advantages = f"{loss.advantages}, {ADVANTAGES[loss.advantages]}"
        lines.append(f"advantages: {'gdpo, each term normalised' if loss.aggregation == 'gdpo' else advantages}")
        estimate = "k3 · π/π_old" if loss.kl_estimate == "unbiased" else "k3"
        lines.append(f"KL divergence: {loss.beta:g} · {estimate}" if loss.beta else "KL divergence: none")
    kind = loss.correction_in_force(engine)
    because = f"loss.correction={loss.correction}, rollout.engine={engine}"
    if kind is None:
        given = [n for n in ("correction_low", "correction_high") if getattr(loss, n) is not None]
        unused = f"; {' and '.join(f'loss.{name}' for name in given)} has no effect" if given else ""
        lines.append(f"correction: none ({because}){unused}")
    else:
        found = CORRECTIONS[kind]
        low = (
            ""
            if found.action == "cap"
            else f"low = {found.low if loss.correction_low is None else loss.correction_low:g}, "
        )
        high = found.high if loss.correction_high is None else loss.correction_high
        lines.append(f"correction: {kind}, {found.equation}; {low}high = {high:g} ({found.source}; {because})")
    if loss.off_policy_threshold is not None:
        lines.append(f"off-policy sequence mask: δ = {loss.off_policy_threshold:g} nats per token")
    if loss.overlong_filter:
        lines.append("overlong filter: responses cut at max_new_tokens are left out of the loss")
    return lines
