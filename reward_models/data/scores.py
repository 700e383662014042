"""Strength of a preference by the row's scores; scores that contradict the row's order are refused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from reward_models.data.conversations import quoted
from reward_models.data.records import RecordError

Row = Mapping[str, Any]

_SCORE = re.compile(r"score|rating|reward|grade|vote|rank", re.IGNORECASE)
_RANK = re.compile(r"(?:\b|_)rank(?:\b|_)", re.IGNORECASE)
_STRENGTH = re.compile(
    r"score|rating", re.IGNORECASE
)  # their gap is a strength; of ranks and votes only the order counts
_SIDES = (("chosen", "rejected"), ("_a", "_b"))
_PLAIN_SCORE = re.compile(r"(?:score|rating)[_-](?:chosen|rejected)|(?:chosen|rejected)[_-](?:score|rating)")
# Columns that some data sets have beside chosen and rejected, with the verdict once more.
_VERDICTS = ("winner", "preferred", "preference", "better", "choice")
_SAID = ("a", "b", "tie", "rejected", "response_a", "response_b", "A", "B")  # in 'label': a verdict, no subject
# The gap of two scores in one column.
_DIFFERENCE = re.compile(r"(?:score|rating|reward)s?_(?:diff|difference|gap|margin|delta)", re.IGNORECASE)
# Says, if true, that the verdict is the wrong way round.
_FLIPPED = ("flipped", "is_flipped", "label_flipped", "swapped", "is_swapped")


def number_of(row: Row, key: str) -> float | None:
    """A finite number or its spelling (in CSV all is text); ``None`` where there is none.

    Raises:
        RecordError: the value is something else.
    """
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise RecordError(f"key {key!r} is {quoted(value)}, not a finite number; correct it, or drop the key")
    return number


def margin_of(row: Row) -> float | None:
    """By how much the chosen response is better: ``margin``, else the gap of the scores; 0 says that neither is.

    Every pair of columns that scores both responses (``score_chosen`` and ``score_rejected``, ``chosen_rating`` and
    ``rejected_rating``, …) must agree with the order; of a rank the lower is the better.

    Raises:
        RecordError: a score or another verdict says that the rejected response is the better one.
    """
    for name in _VERDICTS:
        if row.get(name) not in (None, "", "chosen"):
            raise RecordError(
                f"key {name!r} is {quoted(row[name])} beside 'chosen' and 'rejected', which give a verdict too; drop it"
            )
    if row.get("label") in _SAID:
        raise RecordError(
            f"key 'label' is {quoted(row['label'])} beside 'chosen' and 'rejected', which give a verdict too; drop it"
        )
    for name in _FLIPPED:
        if row.get(name) in (True, 1, "true", "True", "1"):
            raise RecordError(
                f"key {name!r} says that 'chosen' and 'rejected' are the wrong way round; swap them, drop it"
            )
    for name in row:
        if isinstance(name, str) and _DIFFERENCE.fullmatch(name) and (number_of(row, name) or 0) < 0:
            raise RecordError(f"{name} is negative, so the rejected response is the better one; swap them or drop it")
    margin = number_of(row, "margin")
    gaps = {} if margin is None else {"margin": margin}
    gaps |= {f"{first} - {second}": gap for first, second, gap in _gaps(row, *_SIDES[0])}
    gaps |= _distilabel(row)
    for name, gap in gaps.items():
        if gap < 0:
            raise RecordError(f"{name} is {gap:g}, so the rejected response is the better one; swap them or drop it")
    if margin is not None:
        if margin == 0 and any(gaps.values()):
            raise RecordError("margin is 0, and the scores differ; keep the right one")
        return margin
    scores = [gap for name, gap in gaps.items() if _STRENGTH.search(name)]
    if scores and scores[0] == 0 and any(gaps.values()):
        raise RecordError("one pair of scores is equal, and another differs; keep the right one")
    if scores:
        return scores[0]
    return 0.0 if gaps and not any(gaps.values()) else None


def _distilabel(row: Row) -> dict[str, float]:
    """The gap of ``rating``, a list in the order of ``generations``; 0 if the ``status`` is a tie."""
    ratings, texts = row.get("rating"), row.get("generations")
    if not isinstance(ratings, list | tuple) or len(ratings) != 2 or not all(map(_is_number, ratings)):
        return {}
    if row.get("status") == "tie":
        return {"rating": 0.0}
    pair = [_reply(row.get("chosen")), _reply(row.get("rejected"))]
    if not isinstance(texts, list | tuple) or list(texts) not in (pair, pair[::-1]) or pair[0] == pair[1]:
        return {}
    place = list(texts).index(pair[0])
    return {"rating": float(ratings[place]) - float(ratings[1 - place])}


def _reply(response: object) -> object:
    """The text of a response, which may be a list of messages that ends with it."""
    last = response[-1] if isinstance(response, list | tuple) and response else response
    return last.get("content") if isinstance(last, Mapping) else last


def check_label(row: Row, label: str) -> None:
    """:class:`RecordError` if scores of ``response_a`` and ``response_b`` contradict ``label``."""
    for first, second, gap in _gaps(row, *_SIDES[1]):
        if (label == "a" and gap < 0) or (label == "b" and gap > 0):
            raise RecordError(f"{first} - {second} is {gap:g}, and the label is {label!r}; correct one of them")


def _gaps(row: Row, better: str, worse: str) -> Iterator[tuple[str, str, float]]:
    """``(column, other column, gap)`` of all columns that score both sides; of a rank the gap is turned round."""
    for first in row:
        if not isinstance(first, str) or better not in first or not _SCORE.search(first):
            continue
        if better.startswith("_") and not first.endswith(better):
            continue
        second = worse.join(first.rsplit(better, 1))
        if second not in row:
            continue
        if not _PLAIN_SCORE.fullmatch(first) and not (_is_number(row[first]) and _is_number(row[second])):
            continue
        one, other = number_of(row, first), number_of(row, second)
        if one is not None and other is not None:
            yield first, second, (other - one if _RANK.search(first) else one - other)


def _is_number(value: object) -> bool:
    """True if the value is a score; columns of such a name may also hold a list of votes or a judge's reasons."""
    if isinstance(value, str):
        return re.fullmatch(r"\s*[-+]?[\d.]+(?:e[-+]?\d+)?\s*", value, re.IGNORECASE) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)
