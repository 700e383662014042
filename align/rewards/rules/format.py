"""Format: thoughts first, then the answer, each exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from align.rewards.parsing import CLOSE, OPEN
from align.rewards.terms import Sample

ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"


class Format:
    """1.0 for ``<think>…</think>`` followed by an answer, else 0.0; never ``None``.

    Each tag occurs exactly once, and neither thoughts nor answer are blank. Where the chat template has already written
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
        return [float(self._holds(sample)) for sample in samples]

    def _holds(self, sample: Sample) -> bool:
        text = (OPEN if sample.think_prefilled else "") + sample.response.strip()
        if text.count(OPEN) != 1 or text.count(CLOSE) != 1 or not text.startswith(OPEN):
            return False
        thoughts, _, rest = text.removeprefix(OPEN).partition(CLOSE)
        rest = rest.strip()
        tags = (text.count(ANSWER_OPEN), text.count(ANSWER_CLOSE))
        if self.answer == "plain":
            return tags == (0, 0) and bool(thoughts.strip() and rest)
        if tags != (1, 1) or not rest.startswith(ANSWER_OPEN) or not rest.endswith(ANSWER_CLOSE):
            return False
        return bool(thoughts.strip() and rest.removeprefix(ANSWER_OPEN).removesuffix(ANSWER_CLOSE).strip())
