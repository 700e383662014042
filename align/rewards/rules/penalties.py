"""Optional penalties: repetition and excessive length. Both lie in [−1, 0] and apply to every sample."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from align.rewards.terms import Sample

# Chinese, Japanese and Thai characters, other words, numbers, and each sign: a loop of formulas is a loop too.
UNIT = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\p{L}\p{M}]+|\p{N}+|[^\s\p{L}\p{M}\p{N}]")


class RepetitionPenalty:
    """−(share of n-grams that occurred before): 0 for a text without repetition, near −1 for a loop.

    n-grams are of words, numbers and signs, and of characters in languages written without spaces. A text shorter than
    n has none and is not penalised.

    Args:
        n: length of the n-grams. Short ones recur in any honest text.
    """

    name = "repetition"

    def __init__(self, *, n: int = 20):
        if n < 1:
            raise ValueError(f"n = {n} is not the length of an n-gram")
        self.n = n

    def applies(self, sample: Sample) -> bool:
        return True

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self._penalty(sample.response) for sample in samples]

    def _penalty(self, text: str) -> float:
        units = UNIT.findall(text.lower())
        total = len(units) - self.n + 1
        if total <= 0:
            return 0.0
        return len({tuple(units[i : i + self.n]) for i in range(total)}) / total - 1.0


class OverlongPenalty:
    """DAPO's soft punishment (arXiv:2503.14476, eq. 13): 0 up to ``max_tokens`` − ``buffer`` tokens, then falling
    linearly to −1 at ``max_tokens``, and −1 beyond.

    Args:
        max_tokens: the length at which responses are cut.
        buffer: over how many tokens the penalty grows, > 0.
    """

    name = "overlong"

    def __init__(self, *, max_tokens: int, buffer: int):
        if not 0 < buffer <= max_tokens:
            raise ValueError(f"buffer = {buffer} is not between 1 and max_tokens = {max_tokens}")
        self.max_tokens, self.buffer = max_tokens, buffer

    def applies(self, sample: Sample) -> bool:
        return True

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self._penalty(sample.tokens) for sample in samples]

    def _penalty(self, tokens: int) -> float:
        return min(max((self.max_tokens - self.buffer - tokens) / self.buffer, -1.0), 0.0)
