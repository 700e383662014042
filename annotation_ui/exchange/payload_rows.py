"""Ratings and rankings of an item as rows that the trainers read."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any, Literal

from annotation_ui.quality.agreement import dawid_skene, label_matrix
from annotation_ui.quality.payloads import ORDERS
from annotation_ui.quality.plackett_luce import worths
from annotation_ui.store.tables import Item, Judgement

Aggregate = Literal["majority", "dawid_skene", "plackett_luce"]
EQUAL = 1e-6  # differences of log-worths below it are a tie


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses of an item and which is better.

    Args:
        better, worse: slots; by the alphabet for a tie.
        margin: by how much; 0 for a tie.
        agreement: the share of the votes that say the same of the two.
    """

    better: str
    worse: str
    margin: float
    agreement: float


def attribute_rows(item: Item, said: Sequence[Judgement], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for every response: ``prompt, response`` and the mean rating of each attribute."""
    rows = []
    for response in item.responses:
        given: dict[str, list[int]] = defaultdict(list)
        for judgement in said:
            for name, rating in (judgement.payload or {})["ratings"][response.slot].items():
                given[name].append(rating)
        means = {name: fmean(ratings) for name, ratings in given.items()}
        row = {"prompt": item.prompt, "response": response.messages, **means, **spans_of(said, response.slot), **about}
        if len(item.responses) > 1:
            row["id"] = f"{about['id']}:{response.slot}"
        rows.append(row)
    return rows


def spans_of(said: Sequence[Judgement], slot: str) -> dict[str, Any]:
    """``{"spans": …}``, the passages that were marked in a response, of all votes; empty without any."""
    found = [span for judgement in said for span in (judgement.payload or {}).get("spans", {}).get(slot, [])]
    return {"spans": sorted(found, key=lambda span: (span["start"], span["end"], span["label"]))} if found else {}


def pair_rows(
    item: Item, pairs: Sequence[Pair], about: Mapping[str, Any], *, ties: bool, min_agreement: float
) -> list[dict[str, Any]]:
    """A row for every pair that is decided: ``prompt, chosen, rejected, margin, weight``.

    The weights of an item's rows sum to 1, so that an item of eight responses (28 pairs) counts as much as one of two.

    Args:
        ties: keep ties as well, with the margin 0.
        min_agreement: pairs on which a smaller share of the votes agrees are left out.
    """
    kept = [pair for pair in pairs if (pair.margin or ties) and pair.agreement >= min_agreement]
    messages = {response.slot: response.messages for response in item.responses}
    return [
        {"prompt": item.prompt, "chosen": messages[pair.better], "rejected": messages[pair.worse]}
        | {"margin": pair.margin, "weight": 1 / len(kept)}
        | {**about, "id": f"{about['id']}:{pair.better}{pair.worse}", "agreement": pair.agreement}
        for pair in kept
    ]


def decided_pairs(votes: Mapping[int, Sequence[Judgement]], aggregate: Aggregate) -> dict[int, list[Pair]]:
    """All pairs of responses of every item, by its rankings; those that are split evenly are left out.

    ``majority``: what most votes say of the two, ``margin`` being the mean distance of the ranks in those votes; so for
    ``dawid_skene``, with the most probable order of the two in the place of the most frequent one. ``plackett_luce``:
    the order of the worths, ``margin`` being the difference of their logarithms. The first two need not be transitive.

    Args:
        votes: by item, skips left out.
    """
    if aggregate == "plackett_luce":
        return {item: _by_worth([_ranks(vote) for vote in said]) for item, said in votes.items() if said}
    likely = _most_probable(votes) if aggregate == "dawid_skene" else {}
    found: dict[int, list[Pair]] = {}
    for item, said in votes.items():
        ranked = [_ranks(vote) for vote in said]
        pairs = combinations(sorted(ranked[0]), 2) if ranked else ()
        made = (_by_votes(one, other, ranked, likely.get((item, one, other))) for one, other in pairs)
        found[item] = [pair for pair in made if pair is not None]
    return found


def _ranks(vote: Judgement) -> dict[str, int]:
    ranks: dict[str, int] = (vote.payload or {})["ranks"]
    return ranks


def order(ranks: Mapping[str, int], one: str, other: str) -> str:
    """One of :data:`ORDERS`."""
    return ORDERS[0] if ranks[one] < ranks[other] else ORDERS[1] if ranks[one] > ranks[other] else ORDERS[2]


def _by_votes(one: str, other: str, ranked: Sequence[Mapping[str, int]], decided: str | None) -> Pair | None:
    said = [order(ranks, one, other) for ranks in ranked]
    frequent = Counter(said).most_common(2)
    if decided is None:
        if len(frequent) == 2 and frequent[0][1] == frequent[1][1]:
            return None
        decided = frequent[0][0]
    better, worse = (other, one) if decided == ORDERS[1] else (one, other)
    steps = [ranks[worse] - ranks[better] for ranks, each in zip(ranked, said, strict=True) if each == decided]
    margin = fmean(steps) if steps and decided != ORDERS[2] else 0.0
    if decided != ORDERS[2] and not margin:
        return None  # probable, but nobody said it: there is no margin
    return Pair(better, worse, margin, said.count(decided) / len(said))


def _by_worth(ranked: Sequence[Mapping[str, int]]) -> list[Pair]:
    worth = worths(ranked)
    pairs = []
    for one, other in combinations(sorted(worth), 2):
        gap = math.log(worth[one] / worth[other])
        decided = ORDERS[2] if abs(gap) < EQUAL else ORDERS[0] if gap > 0 else ORDERS[1]
        better, worse = (other, one) if decided == ORDERS[1] else (one, other)
        share = fmean(order(ranks, one, other) == decided for ranks in ranked)
        pairs.append(Pair(better, worse, 0.0 if decided == ORDERS[2] else abs(gap), share))
    return pairs


def _most_probable(votes: Mapping[int, Sequence[Judgement]]) -> dict[tuple[int, str, str], str]:
    """The order of every two responses by Dawid & Skene's model of the annotators, over the pairs of all items."""
    triples: list[tuple[object, object, str]] = []
    for item, said in votes.items():
        for vote in said:
            ranks = _ranks(vote)
            triples += [
                ((item, one, other), vote.user_id, order(ranks, one, other))
                for one, other in combinations(sorted(ranks), 2)
            ]
    votes_NA, rows, _ = label_matrix(triples, ORDERS)
    if not rows:
        return {}
    best_N = dawid_skene(votes_NA, len(ORDERS)).posterior_NC.argmax(axis=1)
    return {row: ORDERS[best] for row, best in zip(rows, best_N, strict=True)}
