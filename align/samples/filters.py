"""Filters of samples before fine-tuning, as DeepSeek-R1 names them (arXiv:2501.12948v2, stage 3).

The report gives no thresholds; those here are ours. Every filter says ``None`` for a sample that passes, or the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from align.rewards.parsing import CLOSE, OPEN, split_response
from align.rewards.rules.format import ANSWER_OPEN, Format
from align.rewards.rules.language import LanguageConsistency
from align.rewards.rules.penalties import RepetitionPenalty
from align.rewards.terms import Sample
from align.samples.rows import SampleRow
from reward_models.data.records import Conversation, Record
from reward_models.data.splits import decontaminate, word_runs

CODE = re.compile(r"^[ \t]*(?:```|~~~)", re.M)
FormatKind = Literal["auto", "plain", "tagged", "any"]


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Limits of the samples that may be learnt from.

    Attributes:
        format: the layout of a response. ``plain``: thoughts, then text. ``tagged``: thoughts, then ``<answer>``.
            ``auto``: the one that its tags announce; without tags, some text. ``any``: not looked at.
        min_language: least share of words in the prompt's language within the thoughts; 0 switches it off. A prompt
            without a language is not looked at, which is counted.
        max_paragraph: longest paragraph of the thoughts in characters; 0 switches it off.
        code_blocks: let thoughts hold fenced blocks of code.
        max_repetition: largest share of repeated n-grams, as the term ``repetition`` counts them.
        contamination_words: a sample that shares a run of so many words with the evaluation data, in the prompt or in
            the response, is left out; DeepSeek-R1 takes 10. Prompts of the evaluation are left out in any case.
    """

    format: FormatKind = "auto"
    min_language: float = 0.9
    max_paragraph: int = 2000
    code_blocks: bool = False
    max_repetition: float = 0.2
    contamination_words: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.min_language <= 1 or not 0 <= self.max_repetition <= 1:
            raise ValueError("filters: min_language and max_repetition are shares between 0 and 1")
        if self.max_paragraph < 0 or self.contamination_words < 1:
            raise ValueError("filters: max_paragraph must not be negative, contamination_words at least 1")


Filter = Callable[[SampleRow], bool]  # true if the sample must not be learnt from


def filters_of(config: FilterConfig, evaluation: Contamination) -> dict[str, Filter]:
    """Reason → filter, in the order in which they are asked; cheap ones first."""
    language, repetition = LanguageConsistency(), RepetitionPenalty()

    def foreign(row: SampleRow) -> bool:
        if row.record.language is None or not config.min_language:
            return False
        share = language.score([row.sample])[0]
        return share is not None and share < config.min_language

    return {
        "wrong answer": lambda row: row.correct == 0,
        "cut": lambda row: not row.finished,
        "malformed": lambda row: malformed(row.sample, config.format),
        "code block in the thoughts": lambda row: not config.code_blocks and bool(CODE.search(thoughts_of(row.sample))),
        "long paragraph": lambda row: 0 < config.max_paragraph < longest_paragraph(thoughts_of(row.sample)),
        "repetition": lambda row: -(repetition.score([row.sample])[0] or 0.0) > config.max_repetition,
        "mixed languages": foreign,
        "contamination": evaluation.touches,
    }


def thoughts_of(sample: Sample) -> str:
    """The chain of thought; empty if the response has none."""
    return split_response(sample).thoughts or ""


def malformed(sample: Sample, kind: FormatKind) -> bool:
    """True if the response has not the layout, or no answer."""
    if kind == "any":
        return False
    text = sample.response
    if kind == "auto":
        if OPEN not in text and CLOSE not in text and ANSWER_OPEN not in text:
            return not text.strip()
        kind = "tagged" if ANSWER_OPEN in text else "plain"
    return Format(answer=kind).score([sample])[0] != 1.0


def longest_paragraph(text: str) -> int:
    """Characters of the longest run of text without a line break."""
    return max(map(len, text.splitlines()), default=0)


class Contamination:
    """The evaluation data, and which samples share text with them.

    Args:
        evaluation: prompts; their reference answers and worked solutions (columns ``solution``) count too.
        words: length of a shared run of words.
    """

    def __init__(self, evaluation: Iterable[Record], words: int) -> None:
        self._records, self._words = list(evaluation), words
        self._known: dict[Conversation, bool] = {}
        self._runs: set[int] = set()
        for record in self._records:
            columns = getattr(record, "columns", {})
            texts = [*(message.content for message in record.prompt), getattr(record, "answer", None)]
            for text in [*texts, columns.get("solution")]:
                if isinstance(text, str):
                    self._runs |= word_runs(text, words)

    def touches(self, row: SampleRow) -> bool:
        """True if the sample's prompt is one of the evaluation's, or it shares a run of words with one."""
        prompt = row.record.prompt
        if prompt not in self._known:
            removed = bool(decontaminate([row.record], self._records).removed) if self._records else False
            self._known[prompt] = removed or any(self._shares(message.content) for message in prompt)
        return self._known[prompt] or self._shares(row.response)

    def conversation_touches(self, conversation: Conversation) -> bool:
        """The same of a conversation to learn from."""
        return any(self._shares(message.content) for message in conversation)

    def _shares(self, text: str) -> bool:
        return bool(self._runs) and not self._runs.isdisjoint(word_runs(text, self._words))
