"""Agreement on marked passages, word by word.

Krippendorff's nominal α (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability") whose units are the words of
the responses: of every label, whether an annotator marked the word with it. So a passage that two people mark with
other ends counts for the words that they share, and the many unmarked words count in what is expected by chance. It is
not Krippendorff's α for unitizing, which weighs lengths of passages and gaps.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotation_ui.quality.agreement import alpha_of_coincidences
from annotation_ui.quality.intervals import Interval, coincidence_interval

_WORD = re.compile(r"\S+")
ANY = "any label"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marking:
    """The passages that one annotator marked in the responses of an item.

    Args:
        texts: of the responses, by slot. ``spans``: as in a verdict's payload.
        labels: that could be given; a word without a mark was judged under each of them.
    """

    item: int
    texts: Mapping[str, str]
    spans: Mapping[str, Sequence[Mapping[str, Any]]]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanAgreement:
    """The agreement on one label, or on :data:`ANY` mark at all.

    Args:
        words: judged by two people or more. ``marked``: those that somebody marked.
    """

    label: str
    alpha: float | None
    interval: Interval | None
    words: int
    marked: int


def span_agreement(markings: Sequence[Marking]) -> list[SpanAgreement]:
    """The agreement on every label, and on :data:`ANY` where there are several."""
    by_item: dict[int, list[Marking]] = defaultdict(list)
    for marking in markings:
        by_item[marking.item].append(marking)
    labels = list(dict.fromkeys(label for marking in markings for label in marking.labels))
    wanted = labels if len(labels) == 1 else [*labels, ANY]
    return [_of_label(label, by_item) for label in wanted] if labels else []


def _of_label(label: str, by_item: Mapping[int, Sequence[Marking]]) -> SpanAgreement:
    per_item, words, marked = [], 0, 0
    for markings in by_item.values():
        judged = [each for each in markings if label == ANY or label in each.labels]
        if len(judged) < 2:
            continue
        counts_W = np.concatenate([_marks(judged, slot, label) for slot in judged[0].texts])
        per_item.append(_coincidences(counts_W, len(judged)))
        words, marked = words + len(counts_W), marked + int(np.sum(counts_W > 0))
    per_item_NCC = np.array(per_item).reshape(-1, 2, 2)
    return SpanAgreement(
        label=label,
        alpha=alpha_of_coincidences(per_item_NCC.sum(axis=0), "nominal") if words else None,
        interval=coincidence_interval(per_item_NCC, "nominal"),
        words=words,
        marked=marked,
    )


def _marks(judged: Sequence[Marking], slot: str, label: str) -> np.ndarray:
    """The number of people who marked each word of a response."""
    bounds = [match.span() for match in _WORD.finditer(judged[0].texts[slot])]
    counts_W = np.zeros(len(bounds), dtype=int)
    if not bounds:
        return counts_W
    starts_W, ends_W = np.array(bounds).T
    for marking in judged:
        marked_W = np.zeros(len(bounds), dtype=bool)
        for span in marking.spans.get(slot, ()):
            if label in (ANY, span["label"]):
                marked_W |= (starts_W < span["end"]) & (ends_W > span["start"])
        counts_W += marked_W
    return counts_W


def _coincidences(counts_W: np.ndarray, people: int) -> np.ndarray:
    """The ordered pairs of answers, unmarked and marked, over the number of people less one; summed over the words."""
    marked, unmarked = counts_W.astype(float), (people - counts_W).astype(float)
    mixed = float(np.sum(marked * unmarked))
    same = [float(np.sum(each * (each - 1))) for each in (unmarked, marked)]
    return np.array([[same[0], mixed], [mixed, same[1]]]) / (people - 1)
