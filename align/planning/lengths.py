"""Lengths of responses that a plan draws: from a log-normal distribution, or from the samples of a run."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from align.schedule import Schedule, value_at


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths in tokens.

    Attributes:
        mean: before lengths are cut at the limit; a schedule over the steps, for responses that grow in training.
        deviation: of the logarithm. ``observed``: lengths to draw from, each scaled so that their mean is ``mean``.
    """

    mean: Schedule
    deviation: float = 0.8
    observed: tuple[int, ...] = ()

    def draw(self, rng: np.random.Generator, count: int, step: int, longest: int) -> np.ndarray:
        """``count`` lengths of the rollout that begins at ``step``, int64, between 1 and ``longest``."""
        mean = value_at(self.mean, step)
        if self.observed:
            given = np.array(self.observed, dtype=np.float64)
            drawn = rng.choice(given, count) * (mean / given.mean())
        else:
            drawn = rng.lognormal(math.log(mean) - self.deviation**2 / 2, self.deviation, count)
        return np.clip(np.rint(drawn), 1, longest).astype(np.int64)


def observed_lengths(path: Path) -> tuple[int, ...]:
    """The tokens of the randomly picked responses in a ``samples.jsonl``: the best and worst are no fair sample.

    Raises:
        ValueError: it holds none; or a line is no JSON object with ``tokens``.
    """
    found = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                if row.get("pick", "random") == "random":
                    found.append(int(row["tokens"]))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}:{number}: no sample with its number of tokens ({error})") from None
    if not found:
        raise ValueError(f"{path} holds no sample that was picked at random")
    return tuple(found)
