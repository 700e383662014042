"""Names of the variants of the objective, as a configuration writes them."""

from __future__ import annotations

from typing import Literal

AdvantageKind = Literal["group", "mean", "leave_one_out"]
Aggregation = Literal["sum", "gdpo"]
LossKind = Literal["token", "sequence", "token_mean", "reverse_kl"]
