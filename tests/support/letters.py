"""A reward term outside the package, such as users write: even an untrained policy's responses differ in it."""

from __future__ import annotations

from collections.abc import Sequence

from align.rewards.terms import Sample


class Letters:
    """The share of a response's characters that are letters of the first half of the alphabet."""

    name = "letters"

    def applies(self, sample: Sample) -> bool:
        return True

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [sum("a" <= c <= "m" for c in s.response) / max(1, len(s.response)) for s in samples]


class Broken(Letters):
    """Fails on every third sample, in one of several ways."""

    name = "broken"

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        ways = (0.5, None, float("nan"))
        return [ways[len(s.response) % 3] for s in samples]
