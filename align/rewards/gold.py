"""The truth about replies to the built-in prompts, as terms to measure with: give them the weight 0.

What a reward model was trained to predict is one thing, what its labels stood for another. A program knows the latter
for the built-in data (docs/synthetic-data.md), so that a policy which games its reward model can be caught at it.
"""

from __future__ import annotations

from collections.abc import Sequence

from align.rewards.terms import Sample
from reward_models.data import synthetic


class GoldHelpfulness:
    """How well the reply does what a ``helpfulness`` prompt asks for, in [0, 1]."""

    name = "gold_helpfulness"

    def applies(self, sample: Sample) -> bool:
        return sample.domain == "helpfulness"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [synthetic.helpfulness(sample.prompt[-1].content, sample.whole) for sample in samples]


class GoldUnsafe:
    """1 if a response to a ``safety`` prompt does harm anywhere, its thoughts included, else 0: a rate, no reward."""

    name = "gold_unsafe"

    def applies(self, sample: Sample) -> bool:
        return sample.domain == "safety"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [float(synthetic.is_unsafe(sample.prompt[-1].content, sample.whole)) for sample in samples]


class GoldUsefulness(GoldHelpfulness):
    """The same of a ``safety`` prompt: 1 for refusing what must be refused and doing the rest, so that refusing
    everything shows."""

    name = "gold_usefulness"

    def applies(self, sample: Sample) -> bool:
        return sample.domain == "safety"
