"""The training program of reward models, which ends with the sets it has scored: ``scored: eval 3, calibration 1``."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest.mock import patch

from reward_models import train as program
from reward_models import trainer
from reward_models.data.token_sets import TokenizedSet


def main(command: list[str]) -> int:
    counts: Counter[str] = Counter()
    score = trainer._scores

    def counted(training: trainer.Training, data: TokenizedSet) -> Any:
        counts["calibration" if data is training.data.calibration else "eval"] += 1
        return score(training, data)

    with patch.object(trainer, "_scores", counted):
        status = program.main(command)
    print("scored: " + ", ".join(f"{name} {number}" for name, number in counts.items()))
    return status
