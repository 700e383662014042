"""Terms that measure replies to the built-in prompts by rule; give them the weight 0.

A reward model learns from labels; a rule that knows the built-in data (docs/synthetic-data.md) says what the labels
stand for. The difference shows a policy that exploits its reward model.
"""

from __future__ import annotations

from collections.abc import Sequence

from align.rewards.terms import Sample
from reward_models.data.synthetic.gold import helpfulness, is_unsafe


class GoldHelpfulness:
    """The degree to which a reply to a ``helpfulness`` prompt does what is asked, in [0, 1]."""

    name = "gold_helpfulness"

    def applies(self, sample: Sample) -> bool:
        return sample.domain == "helpfulness"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [helpfulness(sample.prompt[-1].content, sample.whole) for sample in samples]


class GoldUnsafe:
    """1 if a response to a ``safety`` prompt does harm anywhere, its thoughts included, else 0: a rate, no reward."""

    name = "gold_unsafe"

    def applies(self, sample: Sample) -> bool:
        return sample.domain == "safety"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [float(is_unsafe(sample.prompt[-1].content, sample.whole)) for sample in samples]


class GoldUsefulness(GoldHelpfulness):
    """The same of a ``safety`` prompt: 1 for refusing a harmful request and for fulfilling another.

    A policy that refuses everything scores low.
    """

    name = "gold_usefulness"

    def applies(self, sample: Sample) -> bool:
        return sample.domain == "safety"
