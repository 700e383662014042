"""The loss of a micro-batch, with the metrics of training."""

from __future__ import annotations

import math

import numpy as np
import torch

from reward_models.config import RewardModelConfig
from reward_models.data.token_sets import TokenizedSet
from reward_models.losses import bradley_terry, safety_bce
from reward_models.runtime.metrics import Metrics


class Objective:
    """The loss of a micro-batch, from scores and the items they belong to."""

    def __init__(self, config: RewardModelConfig, data: TokenizedSet, device: torch.device) -> None:
        self.data, self.task, self.loss = data, config.task, config.loss
        self.label = torch.tensor(data.label).float().to(device)
        self.margin = torch.from_numpy(np.nan_to_num(data.strength)).float().to(device) * config.loss.margin
        # The mean is 1, so that weights do not change the size of a step.
        self.weight = torch.tensor(data.weight / data.weight.mean()).float().to(device)
        self.weights = {"safe_weight": 1.0, "unsafe_weight": 1.0, "prior_shift": 0.0}
        if self.task == "safety":
            safe = float(data.label.mean())
            if not 0 < safe < 1:
                raise ValueError("data.train holds safe or unsafe responses only; a classifier needs both")
            if self.loss.class_weights == "balanced":
                self.weights |= {"safe_weight": 0.5 / safe, "unsafe_weight": 0.5 / (1 - safe)}
            if (share := self.loss.deployed_safe_share) is not None:
                # The log-odds the loss sees: class weights move them just as more data of a class would.
                weighted = safe * self.weights["safe_weight"] / ((1 - safe) * self.weights["unsafe_weight"])
                self.weights["prior_shift"] = math.log(weighted) - math.log(share / (1 - share))

    def __call__(self, scores_N: torch.Tensor, items: list[int], metrics: Metrics) -> torch.Tensor:
        label_B = self.label[items]
        metrics.add("score_mean", scores_N)
        if self.task == "safety":
            loss_B = safety_bce(scores_N, label_B, label_smoothing=self.loss.label_smoothing, **self.weights)
            metrics.add("accuracy", (scores_N > 0) == (label_B > 0.5))
        else:
            chosen_B, rejected_B = scores_N.view(-1, 2).unbind(1)
            tie_B = label_B == 0.5
            loss_B = bradley_terry(
                chosen_B,
                rejected_B,
                self.margin[items],
                tie_B,
                label_smoothing=self.loss.label_smoothing,
                centering=self.loss.centering,
                tie_threshold=self.loss.tie_threshold,
            )
            metrics.add("accuracy", (chosen_B > rejected_B)[~tie_B])
            loss_B = loss_B * self.weight[items]
        metrics.add("loss", loss_B)
        return loss_B
