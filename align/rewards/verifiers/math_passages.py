"""The passages of an unmarked text that may be its answer: what is announced, else the end."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from align.rewards.characters import without_invisible
from align.rewards.offered import DENIED_ANNOUNCEMENT
from align.rewards.verifiers.math_phrases import DISCLAIMED, ELSEWHERE, TRANSFORMED, misleading
from align.rewards.verifiers.math_text import characters, hedged, words_of

TAIL = 6000  # characters of an unmarked summary that are searched for the answer
SENTENCE = re.compile(
    r"(?<=[.!?])(?<!\.\.\.)(?<!\bi\.e\.)(?<!\be\.g\.)(?<!\bapprox\.)(?<!\bresp\.)(?:\*\*|[)\]\"'])?\s+|(?<=[。！？])|\n+"
)
ANNOUNCED = re.compile(
    r"\banswers?\b(?:\s+(?:to|for|of)\b[^.\n:]{0,80}?)?\s*\**\s*(?:\b(?:is|are|was|would\s+be|will\s+be|equals)\b\s*(?:therefore\b|thus\b|then\b)?\s*"
    r"(?:(?:exactly|simply|just|given\s+by)\b)?|[:=]|-(?=\s))\s*[:*]*"
    r"|\banswer\b\**\s*\n+"
    r"|(?:^|\n)\s*\**A\s*:\s*\**"
    r"|(?:答案|答|结果|結果|答え|정답|답)\s*(?:应该|應該)?\s*(?:是|为|為|等于|等於|は|은|는)?\s*[:]?\s*",
    re.IGNORECASE,
)
# The next sentence offers another answer, or takes back the first.
TAKEN_BACK = re.compile(
    r"[\s*]*(?:or|no|wait|actually|alternatively|perhaps|maybe|hmm|but|sorry|correction|otherwise|else|或|不|但)\b[^\n]*\d",
    re.IGNORECASE,
)
NO_ANSWER = re.compile(r"(?:^|[.!?\n])\s*(?:there\s+is\s+|i\s+have\s+)?no\s+(?:final\s+)?answer\b", re.IGNORECASE)
# Sentences at the end that say nothing of the answer.
COURTESY = re.compile(
    r"(?:please\s+)?(?:let\s+me\s+know|feel\s+free|(?:i\s+)?hope\s+(?:this|that|it)|(?:is\s+there|do\s+you\s+have)\s+any|thank)\b[^\d\\]*",
    re.IGNORECASE,
)
# "Not 12 but 13", "not 12, it is 13": the second is the answer.
CONTRAST = re.compile(
    r"not\s+(?:simply\s+|just\s+)?[^\s,;]+(?:\s[^\s,;]+){0,2}?(?:,?\s+but\s+(?:rather\s+)?|[,;]\s+(?:it\s+is|it's|rather)\s+)"
    r"(?P<value>[^\s,;]+(?:\s[^\s,;]+)?)",
    re.IGNORECASE,
)
WRONG_SIGNS = frozenset("❌❎✖✗✘🚫")  # symbols that say that what stands before them is wrong
# A calculation that shows that the answer is right: "42 (check: 42/2 = 21)".
CHECK = re.compile(
    r"(?<![\s,;(.:-])[\s,;(.:-]*\b(?:quick\s+|sanity\s+)?(?:check(?:ing)?|verification|verify(?:ing)?|proof|test)\b\s*[:,-]?\s*"
    r"(?P<sum>(?:[-+*/^().,=\d\s$%]|\\(?:times|cdot|div|approx)\b)+)$",
    re.IGNORECASE,
)
NUMBER = re.compile(r"\d+(?:\.\d+)?")
CORRECTED = re.compile(
    r"\b(?:no|wait|actually|correction|sorry|wrong|incorrect|not|but|however|instead)\b", re.IGNORECASE
)
# Right behind a marked answer: another value, which must be equal to it.
ALSO = re.compile(
    r"[\s$*)\]\\]{0,8}[.,;!]?[\s(]*(?:or|alternatively|otherwise|maybe|perhaps|possibly|i\.e\.|that\s+is|或|=|\\approx(?![a-z]))[\s,]*"
    r"(?:(?:equivalently|about|approximately|roughly|simply|perhaps|maybe|possibly|even|it|is|be|might|may|could)[\s,]+)*(?P<value>[^.\n]{0,200}(?:\.\d[^.\n]*)*)",
    re.IGNORECASE,
)
HASHES = re.compile(r"####\s*([^\n]+)")


def candidates(summary: str) -> Iterator[str]:
    """Passages of an unmarked text that may be the answer, the likeliest first: what is announced, else the end.

    Only the first that can be read counts. A passage that is hedged is given as it is, so that it is not read.
    """
    summary = summary.strip()[-TAIL:]
    hashes = HASHES.findall(summary)
    if hashes:
        yield f"not {hashes[-1]}" if ELSEWHERE.match(hashes[-1]) else hashes[-1]
        return
    text = characters(without_invisible(summary))
    if NO_ANSWER.search(text):
        return
    announced = list(ANNOUNCED.finditer(text))
    if announced:
        yield announced_passage(text, announced[-1])
        return
    aside = re.search(r"(?<=[^\s\\])\s*\(([^()]*)\)\s*$", text)
    if aside and not hedged(aside[1]):
        text = text[: aside.start()]
    sentences = [s.strip() for s in SENTENCE.split(text) if s and s.strip(" .*`")]
    while len(sentences) > 1 and (
        COURTESY.fullmatch(sentences[-1]) or _is_ornament(sentences[-1]) or _checks(sentences[-1], sentences[-2])
    ):
        sentences.pop()
    if sentences:
        sentences[-1] = without_check(sentences[-1])
        doubtful = misleading(sentences[-1]) or (len(sentences) > 1 and DISCLAIMED.search(sentences[-2]))
        yield f"not {sentences[-1]}" if doubtful else sentences[-1]


def _is_ornament(text: str) -> bool:
    """True for emoji and other symbols alone, but for those that call something wrong."""
    return not WRONG_SIGNS & set(text) and all(unicodedata.category(c) in ("So", "Sk", "Mn", "Cf", "Zs") for c in text)


def without_check(passage: str) -> str:
    """A passage without the calculation at its end that shows that its number is right."""
    found = CHECK.search(passage)
    return passage[: found.start()] if found and _checks(found[0], passage[: found.start()]) else passage


def _checks(text: str, answer: str) -> bool:
    """True if all of ``text`` is a calculation with the last number of ``answer``."""
    found, numbers = CHECK.fullmatch(text), NUMBER.findall(answer)
    if found is None or not numbers or "=" not in found["sum"]:
        return False
    return numbers[-1] in NUMBER.findall(found["sum"]) and NUMBER.search(found["sum"].rpartition("=")[2]) is not None


def rivals(behind: str) -> list[str]:
    """Values that the text behind a marked answer gives as well: right behind it (``or 50%``), or by announcing it."""
    text = characters(without_invisible(behind))
    also = ALSO.match(text)
    value = also["value"] if also else ""
    if value.count(")") > value.count("("):
        value = value[: value.rindex(")")]  # of "(or 0.5)"
    found = [value] if also else []
    announced = list(ANNOUNCED.finditer(text))
    return found + ([announced_passage(text, announced[-1])] if announced else [])


def announced_passage(text: str, announcement: re.Match[str]) -> str:
    """The text behind the words that announce an answer; with them if they deny or suppose it: it is then not read."""
    clause = re.split(r"[,;:.!?\n]", text[: announcement.start()])[-1]
    rest = text[announcement.end() :].lstrip(" \n*")
    first = said = without_check(first_sentence(rest))
    if first.count("**") % 2:  # the announcement has taken the first of a pair: **7** apples
        first = re.sub(r"\*\*(?=[\s.,;:!)]|$)", "", first, count=1)
    if contrast := CONTRAST.fullmatch(first.strip(" .")):
        first = contrast["value"]
    if DENIED_ANNOUNCEMENT.search(clause) or ELSEWHERE.match(rest) or TRANSFORMED.search(f"{clause}{announcement[0]}"):
        return f"not {first}"
    following = rest[rest.find(said) + len(said) :]
    if TAKEN_BACK.match(following):
        return f"{first} {following.strip()}"
    if re.search(r"\b(?:is|was)\s*$", announcement[0]):
        return re.sub(r"(?<=\d)!+\**$", "", first.strip())  # the exclamation mark of a sentence
    return first


def announced_before(summary: str) -> str | None:
    """The passage announced right in front of the last one, if nothing between the two takes it back."""
    text = characters(without_invisible(summary.strip()[-TAIL:]))
    announced = list(ANNOUNCED.finditer(text))
    if len(announced) < 2 or HASHES.search(text):
        return None
    clause = re.split(r"[,;:.!?\n]", text[: announced[-2].start()])[-1]
    between = text[announced[-2].end() : announced[-1].start()].lstrip(" \n*")
    passage = first_sentence(between)
    rest = between[between.find(passage) + len(passage) :]
    if DENIED_ANNOUNCEMENT.search(clause) or CORRECTED.search(rest) or len(words_of(rest)) > 4:
        return None
    return passage


def first_sentence(text: str) -> str:
    """Up to the end of the first sentence or line; a display formula is one sentence."""
    display = re.match(r"\s*(?:\$\$(.{1,2000}?)\$\$|\\\[(.{1,2000}?)\\\])", text, re.DOTALL)
    if display:
        return display[1] or display[2]
    return next((s for s in SENTENCE.split(text) if s and s.strip()), "")
