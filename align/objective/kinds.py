"""The variants of the objective by their names in a configuration, each with its equation and source.

A loss or a correction is one entry of :data:`LOSSES` or :data:`CORRECTIONS`. What an entry is made of (``ratio``,
``surrogate``, ``mean``; ``level``, ``action``) is a pure function in :mod:`align.objective.losses` or
:mod:`align.objective.corrections`. This module needs no torch: configurations and dry runs read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AdvantageKind = Literal["group", "mean", "leave_one_out", "batch"]
Aggregation = Literal["sum", "gdpo"]
LossKind = Literal["token", "sequence", "token_mean", "dr_grpo", "gspo", "gspo_token", "cispo", "sapo", "reverse_kl"]
CorrectionKind = Literal["token_cap", "token_mask", "sequence_cap", "sequence_mask", "geometric_mask"]
CorrectionSetting = Literal[
    "auto", "never", "token_cap", "token_mask", "sequence_cap", "sequence_mask", "geometric_mask"
]
KlEstimate = Literal["k3", "unbiased"]


@dataclass(frozen=True, slots=True)
class LossRule:
    """A loss of the policy.

    Args:
        ratio: r = π/π_old of ``token``: each token; ``product``: a response, the product over its tokens;
            ``geometric``: a response, the geometric mean over its tokens; ``geometric_token``: the same value, with the
            gradient of the token alone.
        surrogate: ``clip``: −min(r A, clip(r) A). ``weight``: −sg(clip(r)) A log π. ``gate``: −(4/τ) σ(τ(r − 1)) A.
        mean: ``response``: over a response's tokens, then over responses. ``token``: over all tokens of the step.
            ``constant``: sum over a response's tokens divided by the longest length, then over responses.
        equation: of the loss in its source. ``source``: where it stands.
    """

    ratio: Literal["token", "product", "geometric", "geometric_token"]
    surrogate: Literal["clip", "weight", "gate"]
    mean: Literal["response", "token", "constant"]
    equation: str
    source: str


# r_t = π(o_t)/π_old(o_t); T tokens in a response, N responses in a step, L = max_new_tokens; sg: without gradient.
LOSSES: dict[LossKind, LossRule] = {
    "token": LossRule(
        *("token", "clip", "response"),
        "1/N Σ_i 1/T_i Σ_t min(r_t A, clip(r_t) A)",
        "GRPO, arXiv:2402.03300, eq. 3",
    ),
    "sequence": LossRule(
        *("product", "clip", "response"),
        "1/N Σ_i min(r A, clip(r) A), r = Π_t r_t",
        "DeepSeek-R1, arXiv:2501.12948, eq. 1",
    ),
    "token_mean": LossRule(
        *("token", "clip", "token"),
        "1/Σ_i T_i Σ_i Σ_t min(r_t A, clip(r_t) A)",
        "DAPO, arXiv:2503.14476, eq. 8",
    ),
    "dr_grpo": LossRule(
        *("token", "clip", "constant"),
        "1/N Σ_i 1/L Σ_t min(r_t A, clip(r_t) A)",
        "Dr. GRPO, arXiv:2503.20783, sec. 3.2",
    ),
    "gspo": LossRule(
        *("geometric", "clip", "response"),
        "1/N Σ_i min(s A, clip(s) A), s = (Π_t r_t)^(1/T)",
        "GSPO, arXiv:2507.18071, eq. 5 and 7",
    ),
    "gspo_token": LossRule(
        *("geometric_token", "clip", "response"),
        "1/N Σ_i 1/T_i Σ_t min(s_t A, clip(s_t) A), s_t = sg(s) π(o_t)/sg(π(o_t))",
        "GSPO-token, arXiv:2507.18071, eq. 13 and 14",
    ),
    "cispo": LossRule(
        *("token", "weight", "token"),
        "1/Σ_i T_i Σ_i Σ_t sg(clip(r_t)) A log π(o_t)",
        "CISPO, MiniMax-M1, arXiv:2506.13585, eq. 4 and 5",
    ),
    "sapo": LossRule(
        *("token", "gate", "response"),
        "1/N Σ_i 1/T_i Σ_t (4/τ) σ(τ(r_t − 1)) A, τ = 1 where A > 0, else 1.05",
        "SAPO, arXiv:2511.20347",
    ),
}


@dataclass(frozen=True, slots=True)
class CorrectionRule:
    """A correction of the difference between rollout engine and trainer: a weight for each token's policy term.

    Args:
        level: w = π_old/π_rollout of ``token``: each token; ``product``: a response, the product over its tokens;
            ``geometric``: a response, the geometric mean over its tokens.
        action: ``cap``: the weight is min(w, high). ``mask``: it is w within [low, high], else 0. ``keep``: it is 1
            within [low, high], else 0.
        low, high: bounds where the configuration gives none.
        equation, source: as in :class:`LossRule`.
    """

    level: Literal["token", "product", "geometric"]
    action: Literal["cap", "mask", "keep"]
    low: float
    high: float
    equation: str
    source: str


CORRECTIONS: dict[CorrectionKind, CorrectionRule] = {
    "token_cap": CorrectionRule(
        *("token", "cap", 0.0, 2.0),
        "min(w_t, high)",
        "truncated importance sampling, Ionides 2008; https://fengyao.notion.site/off-policy-rl",
    ),
    "token_mask": CorrectionRule(
        *("token", "mask", 0.5, 5.0),
        "w_t if low ≤ w_t ≤ high, else 0",
        "IcePop, Ring-1T, arXiv:2510.18855",
    ),
    "sequence_cap": CorrectionRule(
        *("product", "cap", 0.0, 2.0),
        "min(Π_t w_t, high)",
        "Seq-TIS, https://yingru.notion.site/271211a558b7808d8b12d403fd15edda",
    ),
    "sequence_mask": CorrectionRule(
        *("product", "mask", 0.0, 2.0),
        "Π_t w_t if low ≤ Π_t w_t ≤ high, else 0",
        "Seq-MIS, https://yingru.notion.site/271211a558b7808d8b12d403fd15edda",
    ),
    "geometric_mask": CorrectionRule(
        *("geometric", "keep", 0.999, 1.001),
        "1 if low ≤ (Π_t w_t)^(1/T) ≤ high, else 0",
        "Geo-Mask, https://yingru.notion.site/271211a558b7808d8b12d403fd15edda",
    ),
}
