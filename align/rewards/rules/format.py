"""Format: thoughts first, then the answer, each exactly once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from align.rewards.characters import shows_content, without_invisible
from align.rewards.parsing import CLOSE, OPEN
from align.rewards.terms import Sample

ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
# Any spelling of a tag: < Think >, </THINK>, <answer/>. One that is not exactly a tag of the layout breaks it.
TAG = re.compile(r"<\s{0,3}/?\s{0,3}(?:think|answer)\b[^<>]{0,20}>", re.IGNORECASE)


class Format:
    """1.0 for ``<think>…</think>`` followed by an answer, else 0.0; never ``None``.

    Each tag occurs exactly once, outside of the others. Thoughts and answer hold a letter, a digit or a mathematical
    symbol: white space (also as an HTML entity), zero-width characters and punctuation are nothing. Where the chat
    template has already written
    ``<think>``, the response must not repeat it.

    Args:
        answer: ``tagged``: ``<answer>…</answer>`` and nothing else follows the thoughts (DeepSeek-R1-Zero's template).
            ``plain``: any text without these tags (DeepSeek-R1's).
    """

    name = "format"

    def __init__(self, *, answer: Literal["tagged", "plain"] = "tagged"):
        if answer not in ("tagged", "plain"):
            raise ValueError(f"answer = {answer!r} is neither tagged nor plain")
        self.answer = answer

    def applies(self, sample: Sample) -> bool:
        return True

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [score for score, _ in self.explain(samples)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Scores, each with what breaks the layout."""
        faults = [self._fault(sample) for sample in samples]
        return [(0.0, fault) if fault else (1.0, "the layout holds") for fault in faults]

    def _fault(self, sample: Sample) -> str:
        """The error of the layout, as a sentence; empty if there is none."""
        text = (OPEN if sample.think_prefilled else "") + without_invisible(sample.response).strip()
        wanted = [OPEN, CLOSE] + ([ANSWER_OPEN, ANSWER_CLOSE] if self.answer == "tagged" else [])
        tags = TAG.findall(text)
        if tags != wanted:
            twice = ", the first of them written by the template" if sample.think_prefilled else ""
            return f"expected the tags {' '.join(wanted)}; found {' '.join(tags[:8]) or 'none'}{twice}"
        if not text.startswith(OPEN):
            return f"there is text in front of {OPEN}"
        thoughts, _, rest = text.removeprefix(OPEN).partition(CLOSE)
        rest = rest.strip()
        if self.answer == "tagged" and not (rest.startswith(ANSWER_OPEN) and rest.endswith(ANSWER_CLOSE)):
            return f"there is text between {CLOSE} and {ANSWER_OPEN}, or behind {ANSWER_CLOSE}"
        if not shows_content(thoughts):
            return "the thoughts are empty"
        if not shows_content(rest.removeprefix(ANSWER_OPEN).removesuffix(ANSWER_CLOSE)):
            return "the answer is empty"
        return ""
