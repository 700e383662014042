"""The parts of a response: thoughts, summary, final answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from align.rewards.offered import denied_after, denied_before
from align.rewards.terms import Sample

OPEN, CLOSE = "<think>", "</think>"
# Between boxes of one answer of several values.
JOINT = re.compile(
    r"(?:[\s$*.,;、，|/&]|\\[()\[\]]|\\q?quad(?![a-z])|(?:and|or)\b|和|或|\\text\{\s?(?:and|or)\s?\})*+", re.IGNORECASE
)
# Between boxes that are offered as alternatives.
CHOICE = re.compile(
    r"(?:[\s$*.,;:?!()]|\\[()\[\]]|(?:and|or|else|otherwise|alternatively|maybe|perhaps|possibly|also|it|is|be|could|might|may|"
    r"the|answer|result|even)\b|或|也许|可能)*+",
    re.IGNORECASE,
)
# Between a box and one that it is not.
CONTRASTED = re.compile(r"[\s$*]*,?\s*(?:and\s+)?(?:not|rather\s+than|instead\s+of)[\s$*]*", re.IGNORECASE)
BARE_BOX = re.compile(r"\\(?:boxed|fbox)\s{1,8}(-?[\w.]{1,40})(?![\w{])")
BRACE = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{|\\.|[{}]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parts:
    """The two parts of a response.

    Args:
        thoughts: the chain of thought without its tags; ``None`` if the response has none.
        summary: what follows the thoughts; ``None`` if they were never closed, so that nothing is yet answered.
    """

    thoughts: str | None
    summary: str | None


def split_response(sample: Sample) -> Parts:
    """Cut at the last ``</think>``. Thoughts opened again behind it belong to no summary: an answer in them is none."""
    before, close, after = sample.response.rpartition(CLOSE)
    if close:
        return Parts(before.strip().removeprefix(OPEN).strip(), after.partition(OPEN)[0].strip())
    if sample.think_prefilled or OPEN in sample.response:
        return Parts(sample.response.strip().removeprefix(OPEN).strip(), None)
    return Parts(None, sample.response.strip())


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer that a response gives.

    Args:
        text: stripped, not empty.
        marked: it stood in ``<answer>`` or in a box; otherwise it is the whole summary, in which the answer has yet to
            be found.
    """

    text: str
    marked: bool


def final_answer(sample: Sample) -> Answer | None:
    r"""The text in the last ``<answer>``, and there (without one, in the summary) in the last ``\boxed{}``.

    Boxes in one row, with nothing but a comma or a conjunction between them, are one answer of several values.

    ``None`` if the thoughts were never closed, or nothing follows them, the mark is empty, or a word in front of the
    box denies it.
    """
    summary = split_response(sample).summary
    if summary is None:
        return None
    tagged = last_tagged(summary)
    text = summary if tagged is None else tagged
    boxed = last_boxes(text)
    text = (text if boxed is None else boxed).strip()
    return Answer(text, tagged is not None or boxed is not None) if text else None


def uses_verifier(sample: Sample, verifier: str) -> bool:
    """True if this verifier checks the reasoning prompt: its column ``verifier`` names it; the default is ``math``."""
    return sample.domain == "reasoning" and sample.columns.get("verifier", "math") == verifier


def last_tagged(text: str) -> str | None:
    """The content of the last closed ``<answer>…</answer>``, in any case of letters; ``None`` without one."""
    folded = text.lower() if text.isascii() else re.sub("(?i)</?answer>", lambda tag: tag[0].lower(), text)
    end = folded.rfind("</answer>")
    start = folded.rfind("<answer>", 0, max(end, 0))
    return None if start < 0 else text[start + len("<answer>") : end]


def last_boxes(text: str) -> str | None:
    r"""The content of the last ``\boxed{…}``, behind that of boxes which a comma or a conjunction joins to it.

    Empty if the words around the last box deny it, or offer another box or number beside it. A box that follows another
    with nothing between them takes its place.
    """
    found = boxes(text)
    if not found:
        bare = list(BARE_BOX.finditer(text))
        return _given(text, bare[-1].start(), bare[-1].end(), bare[-1][1]) if bare else None
    start, end = found[-1]
    opening = text.rfind("\\", 0, start)
    if len(found) > 1 and CONTRASTED.fullmatch(text[found[-2][1] + 1 : opening][:40]):
        found.pop()  # \boxed{5}, not \boxed{6}
        start, end = found[-1]
        opening = text.rfind("\\", 0, start)
    if not _given(text, opening, end + 1, "given"):
        return ""
    contents = [text[start:end]]
    for start, end in reversed(found[:-1]):
        if end >= opening:
            continue  # this one holds the other
        between = text[end + 1 : opening]
        if not between:
            break
        if not JOINT.fullmatch(between[:80]) or len(between) > 80:
            if len(between) <= 80 and CHOICE.fullmatch(between) and text[start:end].strip() != contents[0].strip():
                return ""
            break
        if text[start:end] not in contents:
            contents.append(text[start:end])
        opening = text.rfind("\\", 0, start)
    return ", ".join(reversed(contents))


def _given(text: str, start: int, end: int, content: str) -> str:
    """``content``, or nothing if the words in front of ``start`` or behind ``end`` take it back."""
    return "" if denied_before(text[max(start - 80, 0) : start]) or denied_after(text[end : end + 120]) else content


def boxes(text: str) -> list[tuple[int, int]]:
    r"""Start and end of the content of each ``\boxed{…}``, in the order in which they close; braces are balanced."""
    found: list[tuple[int, int]] = []
    open_braces: list[int | None] = []  # where the content of a box begins, None for other braces
    for token in BRACE.finditer(text):
        if token.group() == "}":
            start = open_braces.pop() if open_braces else None
            if start is not None:
                found.append((start, token.start()))
        elif token.group().endswith("{") and token.group() != r"\{":
            open_braces.append(None if token.group() == "{" else token.end())
    return found
