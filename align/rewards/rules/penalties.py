"""Optional penalties: repetition and excessive length. Both lie in [−1, 0] and apply to every sample."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from align.rewards.characters import without_invisible
from align.rewards.terms import Sample

# Chinese, Japanese and Thai characters, other words, numbers, each sign, line breaks, long gaps: a loop of formulas is
# a loop too.
UNIT = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[\p{L}\p{M}]+|\p{N}+|\n|[^\S\n]{20}|[^\s\p{L}\p{M}\p{N}]"
)
CHARACTERS = 100  # length of the n-grams of characters
# Words outside of formulas, and numbers: derivations repeat most of a line in the next one, lists all but the numbers.
PLAIN_WORD = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|(?<![\\\p{L}])[\p{L}\p{M}]{2,}+|\p{N}+")
COUNTING = 10  # from this length on, n-grams of numbers and at most three other units are alike


class RepetitionPenalty:
    """−(share of n-grams that occurred before): 0 for a text without repetition, near −1 for a loop.

    n-grams are of words, numbers, signs and line breaks, and of characters in languages written without spaces. Those
    that only count (``loop 1 loop 2 loop 3``, ``1, 2, 3``) are alike. The same share of runs of 100 characters finds
    loops without spaces. A loop that changes a word now and then is found by windows of 60 words: the share of those of
    which at least 80 % lies in runs of six words that occurred before, or at least 95 % in runs that occurred before
    but for one word. The largest share counts. A text shorter than an n-gram has none and is not penalised.

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
        return [score for score, _ in self.explain(samples)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Penalties, each with the kind of n-grams that repeat."""
        return [self._penalty(sample.response) for sample in samples]

    def _penalty(self, text: str) -> tuple[float, str]:
        from align.rewards.rules import repeats  # with numpy, which only scoring needs

        folded = text.lower()
        visible = without_invisible(folded)
        kinds = {f"{self.n}-grams of words and signs": self._share(folded)}
        if visible != folded:
            kinds[f"{self.n}-grams of words and signs, invisible characters aside,"] = self._share(visible)
        runs = repeats.characters("".join(visible.split()))
        kinds[f"runs of {CHARACTERS} characters"] = repeats.repeated_share(runs, CHARACTERS)
        words = repeats.numbered(PLAIN_WORD.findall(visible))
        changed = max(repeats.covered_share(words), repeats.covered_share(words, one_changed=True))
        kinds[f"windows of {repeats.WINDOW} words, a few changed ones aside,"] = changed
        kind, share = max(kinds.items(), key=lambda item: item[1])
        return 0.0 - share, f"{share:.0%} of the {kind} occurred before" if share else "nothing is repeated"

    def _share(self, text: str) -> float:
        from align.rewards.rules import repeats

        units = UNIT.findall(text)
        numbers = repeats.numbered(units)
        if self.n < COUNTING:
            return repeats.repeated_share(numbers, self.n)
        return repeats.repeated_share_of_counting(numbers, repeats.are_numbers(units), self.n)


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
        return [score for score, _ in self.explain(samples)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Penalties, each with the length that it is for."""
        said = f"max_tokens = {self.max_tokens}, buffer = {self.buffer}"
        return [(self._penalty(sample.tokens), f"{sample.tokens} tokens; {said}") for sample in samples]

    def _penalty(self, tokens: int) -> float:
        return min(max((self.max_tokens - self.buffer - tokens) / self.buffer, -1.0), 0.0)
