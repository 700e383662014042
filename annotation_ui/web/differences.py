"""The words in which two texts differ, in a time that their lengths bound whatever they hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from itertools import groupby

MOST_WORDS = 6_000  # in each text: together 50 milliseconds
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


def difference(left: str, right: str) -> tuple[str, str] | None:
    """Both texts as HTML with the words that the other does not have marked; ``None`` where they are too long."""
    one, other = _WORDS.findall(left), _WORDS.findall(right)
    if max(len(one), len(other)) > MOST_WORDS:
        return None
    kept_left, kept_right = common_words(one, other)
    return _marked(one, kept_left, "del"), _marked(other, kept_right, "ins")


def common_words(one: Sequence[str], other: Sequence[str]) -> tuple[list[bool], list[bool]]:
    """For each word of both sequences, true if it belongs to a longest common subsequence.

    The rows of the table of lengths are bit vectors, one whole number each: bit i of row j is 0 where the length grows
    from ``one[:i]`` to ``one[:i + 1]`` against ``other[:j + 1]`` (Hyyrö 2004, "Bit-parallel LCS-length computation
    revisited"). That is len(one) · len(other) / 64 machine operations for any words.
    """
    positions: dict[str, int] = {}
    for n, word in enumerate(one):
        positions[word] = positions.get(word, 0) | 1 << n
    everything = (1 << len(one)) - 1
    rows, row = [], everything
    for word in other:
        matching = row & positions.get(word, 0)
        row = (row + matching | row - matching) & everything
        rows.append(row)
    kept_one, kept_other = [False] * len(one), [False] * len(other)
    i, j = len(one), len(other)
    while i and j:
        if rows[j - 1] >> i - 1 & 1:
            i -= 1
        elif j > 1 and not rows[j - 2] >> i - 1 & 1:
            j -= 1
        else:
            i, j = i - 1, j - 1
            kept_one[i] = kept_other[j] = True
    return kept_one, kept_other


def _marked(words: Sequence[str], kept: Sequence[bool], mark: str) -> str:
    pieces = []
    for common, run in groupby(zip(words, kept, strict=True), key=lambda pair: pair[1]):
        text = escape("".join(word for word, _ in run))
        pieces.append(text if common else f"<{mark}>{text}</{mark}>")
    return f"<pre class=k-raw dir=auto>{''.join(pieces)}</pre>"
