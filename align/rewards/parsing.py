"""The parts of a response: thoughts, summary, final answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from align.rewards.terms import Sample

OPEN, CLOSE = "<think>", "</think>"
JOINT = re.compile(r"[\s$]{0,8}(?:,|;|、|，|和|或|and|or|\\text\{\s?(?:and|or)\s?\})[\s$]{0,8}(?:and|or)?[\s$]{0,8}")
BARE_BOX = re.compile(r"\\(?:boxed|fbox)\s{1,8}(-?[\w.]{1,40})(?![\w{])")
DENIED = re.compile(
    r"(?:\bnot|\bcannot be|n't(?: be)?|\bnever|\bneither|\bnor|≠|\\neq?|!=|不是|并非|非)[\s:$*]{0,8}$", re.IGNORECASE
)
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
    r"""The content of the last ``\boxed{…}``, behind that of boxes which a comma or a conjunction joins to it."""
    found = boxes(text)
    if found and DENIED.search(text[: text.rfind("\\", 0, found[-1][0])][-40:]):
        return ""
    if not found:
        bare = BARE_BOX.findall(text)
        return bare[-1] if bare else None
    start, end = found[-1][0], found[-1][1]
    contents = [text[start:end]]
    opening = text.rfind("\\", 0, start)
    for start, end in reversed(found[:-1]):
        if end >= opening:
            continue  # this one holds the other
        if not JOINT.fullmatch(text[end + 1 : opening]):
            break
        if text[start:end] not in contents:
            contents.append(text[start:end])
        opening = text.rfind("\\", 0, start)
    return ", ".join(reversed(contents))


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
