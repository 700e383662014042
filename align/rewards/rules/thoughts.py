"""A penalty for thoughts that are not where and as they belong."""

from __future__ import annotations

from collections.abc import Sequence

from align.rewards.characters import shows_content, without_invisible
from align.rewards.parsing import CLOSE, OPEN
from align.rewards.rules.format import TAG
from align.rewards.terms import Sample


class MalformedThoughts:
    """−1.0 for malformed thoughts, else 0.0; never ``None``. It looks at the thoughts only, unlike ``format``.

    Well-formed thoughts stand at the beginning, are opened and closed once, by ``<think>`` and ``</think>`` exactly,
    and hold a letter, digit or mathematical symbol; something follows them.

    Args:
        required: false lets a response without any think tag pass, unless the template has opened its thoughts.
    """

    name = "malformed_thoughts"

    def __init__(self, *, required: bool = True):
        self.required = required

    def applies(self, sample: Sample) -> bool:
        return True

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [score for score, _ in self.explain(samples)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Penalties, each with what is wrong with the thoughts."""
        faults = [self._fault(sample) for sample in samples]
        return [(-1.0, fault) if fault else (0.0, "the thoughts are well formed") for fault in faults]

    def _fault(self, sample: Sample) -> str:
        text = (OPEN if sample.think_prefilled else "") + without_invisible(sample.response).strip()
        tags = [tag for tag in TAG.findall(text) if "think" in tag.lower()]
        if not tags and not self.required:
            return ""
        if tags != [OPEN, CLOSE]:
            return f"expected the tags {OPEN} {CLOSE}; found {' '.join(tags[:8]) or 'none'}"
        if not text.startswith(OPEN):
            return f"there is text in front of {OPEN}"
        thoughts, _, rest = text.removeprefix(OPEN).partition(CLOSE)
        if not shows_content(thoughts):
            return "the thoughts are empty"
        return "" if shows_content(rest) else "nothing follows the thoughts"
