"""Losses of reward models: tensors in, one value per example out.

No reduction happens here. The trainer sums the values and divides by the number of examples of the whole optimizer
step, over all micro-batches and ranks, so that cutting a batch differently never changes the gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def bradley_terry(
    chosen_B: torch.Tensor,
    rejected_B: torch.Tensor,
    margin_B: torch.Tensor | None = None,
    tie_B: torch.Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
    centering: float = 0.0,
    tie_threshold: float | None = None,
) -> torch.Tensor:
    """Pairwise loss −log σ(d), with d = r_chosen − r_rejected − margin (Bradley & Terry 1952; arXiv:2203.02155, eq. 1).

    Args:
        chosen_B, rejected_B: scores, shape ``[B]``.
        margin_B: how much better the chosen response should score, ≥ 0 (Llama 2, arXiv:2307.09288, eq. 2). It does not
            apply to ties.
        tie_B: bool; where true, neither response is better. The loss of a tie is the cross-entropy with one half,
            −½ log σ(d) − ½ log σ(−d), or Rao & Kupper's if ``tie_threshold`` is given.
        label_smoothing: ε, the share of verdicts taken to be wrong: (1−ε)·(−log σ(d)) + ε·(−log σ(−d))
            (conservative DPO's, arXiv:2305.18290).
        centering: λ of λ·(r_chosen + r_rejected)², which keeps scores around zero (arXiv:2312.09244).
        tie_threshold: η > 0 of Rao & Kupper (1967): P(first better) = σ(d − η), P(tie) = σ(d + η) − σ(d − η).

    Returns:
        Loss per pair, shape ``[B]``.
    """
    _check_vectors(chosen_B=chosen_B, rejected_B=rejected_B, margin_B=margin_B, tie_B=tie_B)
    difference_B = chosen_B - rejected_B
    decided_B = difference_B if margin_B is None else difference_B - margin_B
    threshold = 0.0 if tie_threshold is None else tie_threshold
    loss_B = -(1 - label_smoothing) * F.logsigmoid(decided_B - threshold)
    loss_B = loss_B - label_smoothing * F.logsigmoid(-decided_B - threshold)
    if tie_B is not None:
        if tie_threshold is None:
            tied_B = -0.5 * (F.logsigmoid(difference_B) + F.logsigmoid(-difference_B))
        else:
            # σ(a) − σ(b) = σ(a) σ(−b) (1 − e^(b−a)), which does not cancel for large |d|
            gap = torch.tensor(2 * tie_threshold, dtype=difference_B.dtype, device=difference_B.device)
            tied_B = -(
                F.logsigmoid(difference_B + threshold)
                + F.logsigmoid(threshold - difference_B)
                + torch.log(-torch.expm1(-gap))
            )
        loss_B = torch.where(tie_B, tied_B, loss_B)
    if centering:
        loss_B = loss_B + centering * (chosen_B + rejected_B).square()
    return loss_B


def safety_bce(
    scores_B: torch.Tensor,
    safe_B: torch.Tensor,
    *,
    safe_weight: float = 1.0,
    unsafe_weight: float = 1.0,
    prior_shift: float = 0.0,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Point-wise binary cross-entropy of one logit; a higher score is safer.

    −w_safe · y · log σ(s + b) − w_unsafe · (1 − y) · log σ(−s − b)

    Args:
        scores_B: logits, shape ``[B]``; ``safe_B``: targets y, 1 safe and 0 unsafe.
        safe_weight, unsafe_weight: class weights.
        prior_shift: b, the log-odds of "safe" in the training data minus those where the model will be used. Training
            through the shift leaves s calibrated for the latter (logit adjustment, arXiv:2007.07314).
        label_smoothing: ε; targets become y(1−ε) + (1−y)ε.

    Returns:
        Loss per response, shape ``[B]``.
    """
    _check_vectors(scores_B=scores_B, safe_B=safe_B)
    logits_B = scores_B + prior_shift
    target_B = safe_B * (1 - label_smoothing) + (1 - safe_B) * label_smoothing
    return -(safe_weight * target_B * F.logsigmoid(logits_B) + unsafe_weight * (1 - target_B) * F.logsigmoid(-logits_B))


def _check_vectors(**tensors: torch.Tensor | None) -> None:
    shapes = {name: tuple(t.shape) for name, t in tensors.items() if t is not None}
    if len(set(shapes.values())) != 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"losses take vectors of one length, not {shapes}")
