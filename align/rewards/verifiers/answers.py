"""Accuracy of answers that need no algebra: multiple choice, exact text, patterns, JSON."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import regex

from align.rewards.parsing import Answer, final_answer, uses_verifier
from align.rewards.terms import Sample

SECONDS = 1.0  # for one pattern on one answer: some patterns take exponential time
WRAPPED = regex.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
LETTER = regex.compile(r"\(?([A-Za-z])(?:[).:,]|$)(?:\s.*)?", regex.DOTALL)
# A letter after a word that announces it. Not an article: "the answer is a number" has lower case.
ANNOUNCED = regex.compile(r"\b(?i:answer|option|choice)\b(?:\s+(?i:is|would\s+be))?[\s:*(]{0,8}([A-Z])(?![A-Za-z'’])")
FENCE = regex.compile(r"```(?:json)?\s*\n(.*?)```", regex.DOTALL)


class AnswerAccuracy:
    """1.0 if the final answer is the reference's, 0.0 if it is not or there is none.

    ``None`` where the reference is none that this verifier can use; ``errors`` counts these by reason.

    Args:
        verifier: ``choice``: one letter. ``exact``: the same text, but for case, white space, width of characters and a
            full stop at the end. ``regex``: the reference is a pattern that must match the whole answer. ``json``: the
            same JSON value, whatever its layout; 1 equals 1.0 and not true.
    """

    def __init__(self, *, verifier: str):
        if verifier not in JUDGES:
            raise ValueError(f"verifier {verifier!r} is none of {', '.join(JUDGES)}")
        self.verifier = verifier
        self.name = f"accuracy_{verifier}"
        self.errors: Counter[str] = Counter()

    def applies(self, sample: Sample) -> bool:
        return uses_verifier(sample, self.verifier) and sample.answer is not None

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [self._score(sample) for sample in samples]

    def _score(self, sample: Sample) -> float | None:
        try:
            verdict = JUDGES[self.verifier](final_answer(sample), str(sample.answer))
        except TimeoutError:
            self.errors["time"] += 1
            return None
        except ValueError:
            self.errors["reference"] += 1
            return None
        return float(verdict)


def choice(answer: Answer | None, reference: str) -> bool:
    """Whether the letter the answer names is the reference's.

    A marked answer begins with its letter: ``B``, ``(b)``, ``B) 14``, ``\\text{B}``. Otherwise it is the letter last
    announced, as in "the answer is B", or a last line that begins with a letter as a marked answer does.
    """
    expected = _letter(reference)
    if expected is None:
        raise ValueError(f"the reference {reference!r} is not a letter")
    if answer is None:
        return False
    if answer.marked:
        announced = ANNOUNCED.findall(answer.text)
        return (_letter(answer.text) or (announced[-1] if announced else None)) == expected
    announced = ANNOUNCED.findall(answer.text)
    return (announced[-1] if announced else _letter(answer.text.splitlines()[-1])) == expected


def exact(answer: Answer | None, reference: str) -> bool:
    """Whether the normalised texts are equal."""
    return answer is not None and _normal(answer.text) == _normal(reference)


def pattern(answer: Answer | None, reference: str) -> bool:
    """Whether the reference, a regular expression, matches the whole answer."""
    try:
        compiled = regex.compile(reference)
    except regex.error as error:
        raise ValueError(f"the reference {reference!r} is not a pattern: {error}") from error
    return answer is not None and compiled.fullmatch(answer.text, timeout=SECONDS) is not None


def json_value(answer: Answer | None, reference: str) -> bool:
    """Whether both are the same JSON value. A Markdown fence around the answer is taken off."""
    expected = parse_json(reference)
    if answer is None:
        return False
    fenced = FENCE.findall(answer.text)
    try:
        return parse_json(fenced[-1] if fenced else answer.text) == expected
    except ValueError:
        return False


def parse_json(text: str) -> Any:
    """A JSON value in which numbers differ from truth values and equal each other by value.

    Raises:
        ValueError: it is not JSON, nests too deeply, or has numbers JSON does not know (NaN, Infinity).
    """
    try:
        return json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("the JSON value nests too deeply") from error


def _number(text: str) -> tuple[str, Decimal]:
    try:
        return "number", Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text[:40]} is too large a number") from error


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _letter(text: str) -> str | None:
    bare = WRAPPED.sub(r"\1", text).strip().strip("$*").strip()
    match = LETTER.fullmatch(bare)
    return match[1].upper() if match else None


def _normal(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".。")


JUDGES: dict[str, Callable[[Answer | None, str], bool]] = {
    "choice": choice,
    "exact": exact,
    "regex": pattern,
    "json": json_value,
}
