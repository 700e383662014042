"""The reward term ``instructions``: how many of a prompt's constraints a response keeps."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from align.rewards.instructions import (  # noqa: F401  their constraints enter themselves
    ifbench,
    ifbench_format,
    ifeval,
    training,
)
from align.rewards.instructions.alike import folded
from align.rewards.instructions.registry import COLUMN, Instruction, instructions_of
from align.rewards.instructions.text import Text, compared
from align.rewards.parsing import CLOSE, OPEN, split_response
from align.rewards.rules.language import supported_language
from align.rewards.terms import Sample, ScoresWithExtras

LEAST_WORDS = 3
GRADINGS = {"binary": "all", "all": "all", "fraction": "fraction"}
ANSWER = re.compile(r"\s*<answer>(.*)</answer>\s*", re.DOTALL | re.IGNORECASE)
# Whose kept response may consist of given words alone.
GIVEN = ("copy:", "repeat:", "new:", "detectable_format:constrained_response", "format:options")


class Instructions:
    """Constraints that a response keeps: 1.0 if it keeps all of them, else 0.0, or the share that it keeps.

    The constraints are in the prompt's column ``instructions``. What is checked is the response behind its thoughts;
    of a response that is one ``<answer>…</answer>``, what stands in it. ``None`` where the constraints cannot be read;
    ``errors`` counts these.

    Args:
        grading: ``all``: all or nothing, IFEval's accuracy of prompts. ``fraction``: the share, IFEval's accuracy of
            instructions, within a prompt. A prompt's column ``grading_mode`` (``binary`` or ``fraction``) overrides it.
        loose: also accept what keeps a constraint without its first line, its last line, or asterisks: IFEval's loose
            accuracy. Strict by default: a policy learns what it is rewarded for.
        least_words: different words, beside those that the constraints give, that a response must have to keep any:
            keywords alone answer nothing. 0 for IFEval's own figures.
    """

    name = "accuracy_instructions"

    def __init__(
        self, *, grading: Literal["all", "fraction"] = "all", loose: bool = False, least_words: int = LEAST_WORDS
    ) -> None:
        if grading not in ("all", "fraction"):
            raise ValueError(f"grading = {grading!r} is neither all nor fraction")
        if least_words < 0:
            raise ValueError(f"least_words = {least_words} must not be negative")
        self.grading, self.loose, self.least_words = grading, loose, least_words
        self.term_metrics = ("followed",)
        self.errors: Counter[str] = Counter()

    def applies(self, sample: Sample) -> bool:
        return sample.columns.get(COLUMN) is not None

    def score(self, samples: Sequence[Sample]) -> ScoresWithExtras:
        """Scores; ``followed`` is the share of the constraints, whatever the grading is."""
        found = [self._judge(sample) for sample in samples]
        return ScoresWithExtras([each[0] for each in found], followed=[each[1] for each in found])

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Scores, each with the constraints that are not kept."""
        return [(score, reason) for score, _, reason in map(self._judge, samples)]

    def _judge(self, sample: Sample) -> tuple[float | None, float | None, str]:
        if problem := instructions_problem(sample.columns):
            self.errors["instructions"] += 1
            return None, None, problem
        wanted = instructions_of(sample.columns)
        summary = split_response(sample).summary
        if summary is None:
            return 0.0, 0.0, "the thoughts were never closed: there is no response to check"
        if OPEN in sample.response.rpartition(CLOSE)[2]:
            return 0.0, 0.0, "thoughts are opened again behind the response: what they hold would not be checked"
        inner = ANSWER.fullmatch(summary)
        response = inner[1] if inner and "<answer>" not in inner[1].lower() else summary
        if few := self._says_too_little(response, wanted):
            return 0.0, 0.0, few
        forms = [Text(form) for form in (loose_forms(response) if self.loose else [response])]
        broken = [each.id for each in wanted if not any(each.followed(form) for form in forms)]
        share = 1 - len(broken) / len(wanted)
        grading = GRADINGS[str(sample.columns.get("grading_mode") or self.grading)]
        reason = f"{len(wanted) - len(broken)} of {len(wanted)} constraints are kept"
        score = share if grading == "fraction" else float(not broken)
        return score, share, reason + (f"; not: {', '.join(broken)}" if broken else "")

    def _says_too_little(self, response: str, wanted: Sequence[Instruction]) -> str:
        """The reason why a response is none: it has no words but those that the constraints give."""
        if not self.least_words or any(each.id.startswith(GIVEN) for each in wanted):
            return ""
        given = {folded(word).lower() for each in wanted for text in _texts(each.values) for word in Text(text).words}
        own = {folded(word).lower() for word in Text(response).words if _is_word(word)} - given
        if len(own) >= self.least_words:
            return ""
        return f"it has {len(own)} words beside those of the constraints; {self.least_words} are a response"


def _is_word(run: str) -> bool:
    """True for two letters or more, or one that is not of ASCII, as in scripts without spaces."""
    letters = sum(map(str.isalpha, run))
    return letters > 1 or (letters == 1 and not run.isascii())


def loose_forms(response: str) -> list[str]:
    """The eight forms of IFEval's loose accuracy: with and without the first line, the last line, and asterisks."""
    lines = response.strip().split("\n")
    cut = [lines, lines[1:], lines[:-1], lines[1:-1]]
    forms = ["\n".join(each).strip() for each in cut]
    return [*forms, *(form.replace("*", "") for form in forms)]


def instructions_problem(columns: Mapping[str, Any]) -> str | None:
    """The error in a prompt's constraints, as a sentence, or ``None``."""
    try:
        for each in instructions_of(columns):
            if "language" in each.values:
                supported_language(str(each.values["language"]))
    except ValueError as error:
        return str(error)
    mode = columns.get("grading_mode")
    if mode is not None and mode not in GRADINGS:
        return f"its grading_mode {str(mode)[:40]!r} is none of {', '.join(GRADINGS)}"
    return None


def _texts(values: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for value in values.values():
        found += [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return [compared(each) for each in found]
