"""The quality of a project's votes: agreement, and the biases of annotators and of the models beside them.

Everything is computed from the judgements in force, by plain functions over :class:`Vote`, so that a test can work the
figures out by hand. A share comes with its count; what cannot be computed is ``None``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from annotation_ui.labelling.dwell import Times, times_of
from annotation_ui.labelling.gold import rightness
from annotation_ui.quality.agreement import (
    MISSING,
    dawid_skene,
    fleiss_kappa,
    krippendorff_alpha,
    label_matrix,
    mean_cohen_kappa,
    wilson,
)
from annotation_ui.quality.intervals import Draws, Interval, alpha_interval, fleiss_interval, kappa_interval
from annotation_ui.quality.payloads import Agreed, agreement, same
from annotation_ui.quality.spans import SpanAgreement, span_agreement
from annotation_ui.quality.votes import Vote, load_votes
from annotation_ui.store.tables import Item, Judgement, Project, Score

READING = 100.0  # characters a second; nobody who reads is faster
GAPS = (0, 50, 150, 400, 1000)  # lower borders of the bins of length gap, in characters
DEGREES = (3, 2, 1)
PLACED = ("a", "b", "tie")
# The labels that agreement is about; for ranks and ratings it is in ``questions``.
JUDGED = {"preference": ("a", "b", "tie", "both_bad"), "safety": ("safe", "unsafe")} | {
    kind: (label,) for kind, label in (("ranking", "ranked"), ("attributes", "rated"), ("rewrite", "written"))
}
MIN_SHARED = 2  # items that two annotators must share for their κ to count


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """``of`` n, with its interval at 95 %."""

    of: float
    n: int

    @property
    def value(self) -> float | None:
        return self.of / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        return wilson(self.of, self.n)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval at 95 %; ``None`` where either is undefined."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One annotator.

    Args:
        times: how long the votes took, where that is known.
        reliability: how often the label is right, as Dawid and Skene's model estimates from all votes.
        hasty: votes given faster than the text can be read.
        gold: how right the answers on gold items are (:func:`~annotation_ui.labelling.gold.rightness`), outside of the
            training round. ``training``: within it.
        votes: with gold items and repeats, which the person cannot tell from the others.
    """

    name: str
    votes: int
    skips: int
    times: Times | None
    gold: Share
    consistent: Share
    left: Share
    longer: Share
    hasty: Share
    training: Share
    reliability: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The dashboard's figures. Gold items and repeats are ``checks`` and count in no other figure but ``left``.

    Args:
        strengths: preferences by degree of strength, ties, and preferences without one.
        questions: the agreement on every attribute, the order of two responses, turns.
        spans: the agreement on marked passages.
        longer: the share of longer responses chosen, per bin of GAPS, of annotators (``people``) and of each scorer.
    """

    votes: int
    checks: int
    items: int
    alpha: Estimate
    alpha_strength: Estimate
    kappa: Estimate
    kappa_pairs: int
    fleiss: Estimate
    left: Share
    days: list[tuple[int, int]]
    strengths: list[tuple[int | str, int]]
    labels: list[tuple[str, int]]
    by_guideline: list[tuple[int, dict[str, int]]]
    longer: dict[str, list[Share]]
    people: list[Person]
    questions: list[Agreed]
    spans: list[SpanAgreement]


def quality(session: Session, project: Project) -> Quality:
    """The figures of ``project`` as it stands."""
    votes = load_votes(session, project)
    scores: dict[str, dict[int, float]] = defaultdict(dict)
    of_votes = (Item.project_id == project.id, exists().where(Judgement.item_id == Item.id), Score.score_b.is_not(None))
    margins = select(Score.scorer, Score.item_id, Score.score_a - Score.score_b).join(Item, Item.id == Score.item_id)
    for scorer, item, margin in session.execute(margins.where(*of_votes)):
        scores[scorer][item] = margin
    return assess(votes, scores, project.kind)


def assess(votes: Sequence[Vote], margins: Mapping[str, Mapping[int, float]], kind: str) -> Quality:
    """The figures of ``votes``; ``margins`` are each scorer's score of a less that of b, by item."""
    said = [vote for vote in votes if vote.label != "skip"]
    first = [vote for vote in said if vote.round == 0 and vote.gold is None]
    labels = JUDGED[kind]
    votes_NA, items, names = label_matrix([(v.item, v.who, v.label) for v in first], labels)
    draws = Draws()
    kappa, pairs = mean_cohen_kappa(votes_NA, min_shared=MIN_SHARED)
    scale = [(v.item, v.who, _point(v)) for v in first if v.label == "tie" or v.strength]
    degrees_NA, _, _ = label_matrix([row for row in scale if row[2]], tuple(str(n) for n in range(-3, 4)))
    by_guideline: dict[int, Counter[str]] = defaultdict(Counter)
    for vote in first:
        if vote.guideline is not None:
            by_guideline[vote.guideline][vote.label] += 1
    degrees = Counter(
        vote.strength or ("tie" if vote.label == "tie" else "none") for vote in first if vote.label in PLACED
    )
    counted = [vote for vote in votes if vote.round == 0 and vote.gold is None]
    reliability = _reliability(votes_NA, names, len(labels))
    return Quality(
        votes=len(first),
        checks=len(said) - len(first),
        items=len(items),
        alpha=Estimate(krippendorff_alpha(votes_NA), alpha_interval(votes_NA, draws=draws)),
        alpha_strength=Estimate(
            krippendorff_alpha(degrees_NA, "ordinal"), alpha_interval(degrees_NA, "ordinal", draws=draws)
        ),
        kappa=Estimate(kappa, kappa_interval(votes_NA, min_shared=MIN_SHARED, draws=draws)),
        kappa_pairs=pairs,
        fleiss=Estimate(fleiss_kappa(votes_NA), fleiss_interval(votes_NA, draws)),
        left=left_share(said),
        days=sorted(Counter(vote.day for vote in first).items()),
        strengths=[(degree, degrees[degree]) for degree in (*DEGREES, "tie", "none")] if kind == "preference" else [],
        labels=Counter(vote.label for vote in counted).most_common(),
        by_guideline=sorted((version, dict(counts)) for version, counts in by_guideline.items()),
        longer={"people": longer_by_gap((v.label, v.lengths) for v in first)}
        | {name: _model_longer(margin, first) for name, margin in margins.items()}
        if kind == "preference"
        else {},
        people=_people(votes, reliability),
        questions=agreement([(v.item, v.who, v.payload) for v in first]),
        spans=span_agreement([v.marking for v in first if v.marking is not None]),
    )


def _degree(vote: Vote) -> int | str:
    return "tie" if vote.label == "tie" else vote.strength or "none"


def left_share(votes: Iterable[Vote]) -> Share:
    """The share of left responses among preferences; 0.5 but for chance, since the sides are drawn."""
    sides = [vote.side for vote in votes if vote.side in ("left", "right")]
    return Share(of=sides.count("left"), n=len(sides))


def longer_share(said: Iterable[tuple[str, tuple[int, ...]]]) -> Share:
    """The share of longer responses among preferences, of ``(label, lengths)`` where one response is longer."""
    chosen = [(label == "a") == (lengths[0] > lengths[1]) for label, lengths in said if _decided(label, lengths)]
    return Share(of=sum(chosen), n=len(chosen))


def longer_by_gap(said: Iterable[tuple[str, tuple[int, ...]]]) -> list[Share]:
    """:func:`longer_share` in each bin of :data:`GAPS`."""
    bins: list[list[tuple[str, tuple[int, ...]]]] = [[] for _ in GAPS]
    for label, lengths in said:
        if _decided(label, lengths):
            gap = abs(lengths[0] - lengths[1])
            bins[max(n for n, border in enumerate(GAPS) if gap >= border)].append((label, lengths))
    return [longer_share(rows) for rows in bins]


def _decided(label: str, lengths: tuple[int, ...]) -> bool:
    return label in ("a", "b") and len(lengths) == 2 and lengths[0] != lengths[1]


def _model_longer(margin: Mapping[int, float], votes: Sequence[Vote]) -> list[Share]:
    lengths = {vote.item: vote.lengths for vote in votes}
    return longer_by_gap(
        ("a" if margin[item] > 0 else "b", lengths[item]) for item in lengths if margin.get(item, 0.0) != 0.0
    )


def _point(vote: Vote) -> str:
    """The seven-point scale from −3 (a much better) to 3."""
    if vote.label not in ("a", "b") or vote.strength is None:
        return "0"
    return str(-vote.strength if vote.label == "a" else vote.strength)


def _reliability(votes_NA: np.ndarray, names: Sequence[str], labels: int) -> dict[str, float]:
    """Each annotator's, where items have more than one vote to compare."""
    if not len(votes_NA) or labels < 2 or not (np.sum(votes_NA != MISSING, axis=1) > 1).any():
        return {}
    return dict(zip(names, dawid_skene(votes_NA, labels).reliability_A.tolist(), strict=True))


def _people(votes: Sequence[Vote], reliability: Mapping[str, float]) -> list[Person]:
    mine: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        mine[vote.who].append(vote)
    people = (_person(name, own, reliability.get(name)) for name, own in mine.items())
    return sorted(people, key=lambda person: (-person.votes, person.name))


def _person(name: str, mine: Sequence[Vote], reliability: float | None) -> Person:
    said = [vote for vote in mine if vote.label != "skip"]
    timed = [vote for vote in said if vote.dwell_ms is not None]
    golden = [vote for vote in said if vote.gold is not None and not vote.training]
    trained = [vote for vote in said if vote.gold is not None and vote.training]
    before = {vote.item: vote for vote in said if vote.round == 0}
    again = [vote for vote in said if vote.round == 1 and vote.item in before]
    return Person(
        name=name,
        votes=len(said),
        skips=len(mine) - len(said),
        times=times_of([vote.dwell_ms for vote in timed if vote.dwell_ms is not None]),
        gold=_rightness(golden),
        training=_rightness(trained),
        consistent=_consistent([(vote, before[vote.item]) for vote in again]),
        left=left_share(said),
        longer=longer_share((vote.label, vote.lengths) for vote in said),
        hasty=Share(of=sum((vote.dwell_ms or 0) / 1000 < vote.characters / READING for vote in timed), n=len(timed)),
        reliability=reliability,
    )


def _rightness(golden: Sequence[Vote]) -> Share:
    right = [rightness(vote.label, vote.payload, vote.gold or "", vote.answer) for vote in golden]
    known = [share for share in right if share is not None]
    return Share(of=sum(known), n=len(known))


def _consistent(repeated: Sequence[tuple[Vote, Vote]]) -> Share:
    """The share of equal labels among repeats; with ranks or ratings, of equal answers."""
    answered = [pair for pair in repeated if pair[1].payload.keys() & {"ratings", "ranks"}]
    counted = [same(again.payload, before.payload) for again, before in answered]
    if counted:
        return Share(of=sum(equal for equal, _ in counted), n=sum(n for _, n in counted))
    return Share(of=sum(again.label == before.label for again, before in repeated), n=len(repeated))
