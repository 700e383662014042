"""Accuracy of answers that need no algebra: multiple choice, exact text, patterns, JSON."""

from __future__ import annotations

import functools
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import regex

from align.rewards.characters import without_invisible
from align.rewards.offered import DENIED_ANNOUNCEMENT
from align.rewards.parsing import Answer, final_answer, uses_verifier
from align.rewards.terms import Sample
from align.rewards.verifiers.choice import WRAPPED, chosen_letter, reference_letter

SECONDS = 1.0  # for one pattern on one answer: some patterns take exponential time
FENCE = regex.compile(r"(```|~~~)[ \t]*(?:json[c5]?)?[ \t]*\r?\n(.*?)\1", regex.DOTALL | regex.IGNORECASE)
WHOLE_FENCE = regex.compile(r"\s*(```|~~~)[ \t]*[\w+-]*[ \t]*\r?\n((?:(?!\1).)*)\1\s*", regex.DOTALL)
OR = regex.compile(r"\b(?:or|alternatively|otherwise|maybe|perhaps|possibly)\b", regex.IGNORECASE)
ANNOUNCED = regex.compile(
    r"\b(?:answer|response)\b\**\s*(?:is\b\s*:?|:)[\s*]*|^\s*####\s*|(?:答案|答え|정답|답)\s*(?:是|为|為|は|는|은|[:：])\s*[:：]?\s*"
    r"|\b(?:réponse\s+est|respuesta\s+es|antwort\s+ist|risposta\s+è|resposta\s+é|ответ\s*[:—–-])\s*:?\s*",
    regex.IGNORECASE | regex.MULTILINE,
)
PREFIXED = regex.compile(r"\d\s?([mMpP])(?=\p{L}(?!\p{L}))")  # milli and mega, pico and peta
QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "「": "」", "`": "`", "$": "$"}


class AnswerAccuracy:
    """1.0 if the final answer is the reference's, 0.0 if it is not or there is none.

    ``None`` where the reference is none that this verifier can use; ``errors`` counts these by reason. One row never
    costs the scores of others.

    Args:
        verifier: ``choice``: one letter. ``exact``: the same text, but for white space, markup, the width of
            characters, a full stop at the end, and the case of words that are not abbreviations. ``regex``: the
            reference is a pattern that must match the whole answer. ``json``: the same JSON value, whatever its
            layout; 1 equals 1.0 and not true.
    """

    def __init__(self, *, verifier: str):
        if verifier not in ANSWER_VERIFIERS:
            raise ValueError(f"verifier {verifier!r} is none of {', '.join(ANSWER_VERIFIERS)}")
        self.verifier = verifier
        self.name = f"accuracy_{verifier}"
        self.errors: Counter[str] = Counter()

    def applies(self, sample: Sample) -> bool:
        return uses_verifier(sample, self.verifier) and sample.answer is not None

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [score for score, _ in self.explain(samples)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Scores, each with what was read as the answer, or why there is none."""
        return [self._explain(sample) for sample in samples]

    def _explain(self, sample: Sample) -> tuple[float | None, str]:
        answer, reference = final_answer(sample), str(sample.answer)
        try:
            if not reference.strip():
                raise ValueError("it is empty")
            verdict = ANSWER_VERIFIERS[self.verifier](answer, reference)
        except TimeoutError:
            self.errors["time"] += 1
            return 0.0, f"the pattern took more than {SECONDS:g} s on this answer"
        except ValueError as error:
            self.errors["reference"] += 1
            return None, f"the reference cannot be used: {error}"
        except Exception as error:  # RecursionError, MemoryError: of this row alone
            self.errors[type(error).__name__] += 1
            return None, f"{type(error).__name__} with this reference and answer: {error}"
        if answer is None:
            return 0.0, "there is no final answer"
        return float(verdict), f"read {self._read(answer)}; the reference is {reference[:200]!r}"

    def _read(self, answer: Answer) -> str:
        if self.verifier == "choice":
            letter = chosen_letter(answer.text)
            return f"the letter {letter}" if letter else f"no single letter in {answer.text[-200:]!r}"
        return repr(_normal(answer.text)[:200] if self.verifier == "exact" else answer.text[:200])


def choice(answer: Answer | None, reference: str) -> bool:
    """True if the one letter that the answer names is the reference's; see :mod:`align.rewards.verifiers.choice`."""
    expected = reference_letter(reference)
    if expected is None:
        raise ValueError(f"{reference[:80]!r} is not a letter")
    return answer is not None and chosen_letter(answer.text) == expected


def exact(answer: Answer | None, reference: str) -> bool:
    """True if the normalised texts are equal, words that are no abbreviations in any case of letters."""
    if answer is None:
        return False
    expected = _normal(reference).split()
    texts = [answer.text, *behind_announcement(answer.text)]
    given = [_normal(text).split() for text in texts]
    return any(
        len(words) == len(expected) and all(map(_same_word, expected, words)) and _units(words) == _units(expected)
        for words in given
    )


def behind_announcement(text: str) -> list[str]:
    """All that follows the only "the answer is" or "Answer:" of a text, if nothing denies it."""
    found = list(ANNOUNCED.finditer(text))
    if len(found) != 1 or DENIED_ANNOUNCEMENT.search(text[: found[-1].start()].split("\n")[-1]):
        return []
    return [text[found[-1].end() :]]


def pattern(answer: Answer | None, reference: str) -> bool:
    """True if the reference, a regular expression, matches the whole answer, or all that follows its announcement."""
    compiled = _compiled(reference)
    if answer is None:
        return False
    texts = [answer.text]
    for text in behind_announcement(answer.text):
        texts += [text.strip(), _normal(text)]
    return any(compiled.fullmatch(text, timeout=SECONDS) is not None for text in texts)


@functools.lru_cache(maxsize=1024)
def _compiled(reference: str) -> Any:
    try:
        return regex.compile(reference)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(f"{reference[:80]!r} is not a pattern: {error}") from error


def json_value(answer: Answer | None, reference: str) -> bool:
    """True if both are the same JSON value. A Markdown fence around the answer is taken off, and an announcement."""
    expected = parse_json(reference)
    if answer is None:
        return False
    fenced = list(FENCE.finditer(answer.text))
    if len(fenced) > 1 and OR.search(answer.text[fenced[-2].end() : fenced[-1].start()]):
        return False
    announced = [text.strip().rstrip(".。*").rstrip() for text in behind_announcement(answer.text)]
    texts = [fenced[-1][2]] if fenced else [answer.text.removeprefix("\ufeff"), *announced]
    return any(_is_json(text, expected) for text in texts)


def _is_json(text: str, expected: Any) -> bool:
    try:
        return bool(parse_json(text) == expected)
    except ValueError:
        return False


def parse_json(text: str) -> Any:
    """A JSON value in which numbers differ from truth values and equal each other by value.

    Raises:
        ValueError: it is not JSON, nests too deeply, has numbers JSON does not know (NaN, Infinity), or an object that
            has a key twice.
    """
    try:
        return json.loads(
            text, parse_int=_number, parse_float=_number, parse_constant=_no_number, object_pairs_hook=_object
        )
    except RecursionError as error:
        raise ValueError("the JSON value nests too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _number(text: str) -> tuple[str, Decimal]:
    try:
        return "number", Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{text[:40]} is too large a number") from error


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _normal(text: str) -> str:
    """One line without markup, quotes and invisible characters. Superscripts stay: 10² is not 102."""
    text = without_invisible(text)
    if fenced := WHOLE_FENCE.fullmatch(text):
        text = fenced[2]
    for _ in range(4):
        text = WRAPPED.sub(r"\1", text)
    text = regex.sub(r"(?<!\w)(?:\*\*|__)|(?:\*\*|__)(?!\w)|\\[()\[\]]", "", text)
    text = regex.sub(r"^\s*([*_])([^*_]+)\1\s*$", r"\2", text)
    text = unicodedata.normalize("NFC", "".join(map(_narrow, text)))
    text = text if "‘" in text else text.replace("’", "'")  # an apostrophe, and no quotation
    text = " ".join(text.split())
    while True:
        before = text
        text = text.strip().rstrip(".。").strip()
        if len(text) > 1 and QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
            text = text[1:-1]
        if text == before:
            return text


def _narrow(char: str) -> str:
    kind = unicodedata.decomposition(char).partition(" ")[0]
    return unicodedata.normalize("NFKC", char) if kind in ("<wide>", "<narrow>", "<noBreak>") else char


def _same_word(ours: str, theirs: str) -> bool:
    return ours == theirs or (_is_plain(ours) and _is_plain(theirs) and ours.lower() == theirs.lower())


def _units(words: list[str]) -> list[str]:
    """Behind numbers, the units whose first letter says how large they are: ``Mg`` and ``mg``."""
    return PREFIXED.findall(" ".join(words))


def _is_plain(word: str) -> bool:
    """True if the case of its letters means nothing: ``york``, ``York``, ``YORK``; unlike ``MW``, ``mA``, ``kPa``."""
    letters = "".join(c for c in word if c.isalpha())
    return letters.islower() or (len(letters) > 1 and letters.istitle()) or (len(letters) > 2 and letters.isupper())


ANSWER_VERIFIERS: dict[str, Callable[[Answer | None, str], bool]] = {
    "choice": choice,
    "exact": exact,
    "regex": pattern,
    "json": json_value,
}
