"""The rule that turns an item's votes into rows, for every kind of project but rewrites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from annotation_ui.exchange.payload_rows import Aggregate, attribute_rows, decided_pairs, pair_rows, spans_of
from annotation_ui.exchange.turn_rows import turn_rows
from annotation_ui.quality.agreement import dawid_skene, label_matrix
from annotation_ui.store.projects import ProjectError
from annotation_ui.store.tables import Item, Judgement, Project


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRule:
    """The rule that turns votes into one label. A reviewer's decision always counts for more than the votes.

    Args:
        aggregate: the label of most votes, or the most probable one by Dawid & Skene's model of the annotators. For
            rankings: of every two responses, or ``plackett_luce``. Ratings are averaged.
        ties: ``drop`` ties, or ``keep`` them (``margin`` 0).
        both_bad: ``drop`` pairs of which neither is any good, or count them as a ``tie``.
        min_votes: items with fewer are left out; by default those without more than half of the votes that the
            project wants of each item, so that one vote of two or three decides nothing.
        pairs: of a project of attributes with a comparison, write the pairs in the place of the ratings.
        turns: write the verdicts on single turns in the place of everything else.
        min_agreement: items are left out whose label has a smaller share of the votes.
    """

    aggregate: Aggregate = "majority"
    ties: Literal["drop", "keep"] = "drop"
    both_bad: Literal["drop", "tie"] = "drop"
    min_votes: int | None = None
    min_agreement: float = 0.0
    pairs: bool = False
    turns: bool = False


Made = tuple[str, list[dict[str, Any]]]
# Outcome and rows of (item, votes, a reviewer's decision, votes that are missing).
Maker = Callable[[Item, list[Judgement], Judgement | None, int], Made]


def check_rule(project: Project, rule: ExportRule) -> None:
    """:class:`ProjectError` if a rule does not fit the kind of project."""
    fitting = {
        "preference": ("majority", "dawid_skene"),
        "safety": ("majority", "dawid_skene"),
        "ranking": ("majority", "dawid_skene", "plackett_luce"),
        "attributes": ("majority", "dawid_skene", "plackett_luce") if rule.pairs else ("majority",),
    }.get(project.kind, ("majority",))
    if rule.turns and (project.kind == "rewrite" or rule.pairs or rule.aggregate != "majority"):
        raise ProjectError("turns are exported by majority, without pairs, and of no rewrite project")
    if rule.aggregate not in fitting:
        raise ProjectError(f"aggregate {rule.aggregate} is not for {project.kind} projects: {', '.join(fitting)}")
    if rule.pairs and project.kind != "attributes":
        raise ProjectError(f"pairs in the place of ratings are of attributes projects, not of {project.kind} projects")
    if rule.min_agreement and rule.turns:
        raise ProjectError("min_agreement is of one label an item; every turn's row holds its own agreement")
    if rule.min_agreement and project.kind == "attributes" and not rule.pairs:
        raise ProjectError("min_agreement is a share of equal votes; ratings are averaged and have none")


def of_turns() -> Maker:
    """Of verdicts on single turns: each turn by most of the votes on it."""

    def make(item: Item, voted: list[Judgement], decided: Judgement | None, missing: int) -> Made:
        said = [decided] if decided else voted
        if reason := _left_out(said, decided is not None, missing):
            return reason, []
        about = {key: value for key, value in _about(item, said, None, len(voted)).items() if key != "agreement"}
        rows = turn_rows(item, said, about)
        return ("exported", rows) if rows else ("no turn decided", [])

    return make


def _left_out(said: list[Judgement], decided: bool, missing: int) -> str:
    """The reason why an item is not exported yet; empty if there is none."""
    if not said or said[0].label == "skip":
        return "set aside by a reviewer" if decided else "skipped by all"
    return "too few votes" if missing else ""


def labelled(project: Project, votes: Mapping[int, list[Judgement]], rule: ExportRule) -> Maker:
    """Of projects whose verdicts are labels."""
    believed = _aggregate(project, votes, rule)

    def make(item: Item, voted: list[Judgement], decided: Judgement | None, missing: int) -> Made:
        label = decided.label if decided else believed.get(item.id)
        agreement = sum(vote.label == label for vote in voted) / len(voted) if voted else None
        outcome = _outcome(label, len(voted), missing, agreement, decided is not None, rule)
        if outcome != "exported":
            return outcome, []
        assert label is not None
        return outcome, [_row(item, label, [decided] if decided else voted, agreement, len(voted))]

    return make


def from_payloads(votes: Mapping[int, list[Judgement]], rule: ExportRule) -> Maker:
    """Of projects whose verdicts are ranks or ratings."""
    voted = {item: [vote for vote in said if vote.label != "skip"] for item, said in votes.items()}
    compared = {item: [vote for vote in said if "ranks" in (vote.payload or {})] for item, said in voted.items()}
    ranked = {item: said for item, said in compared.items() if said}
    pairs = decided_pairs(ranked, rule.aggregate)

    def make(item: Item, voted: list[Judgement], decided: Judgement | None, missing: int) -> Made:
        said = [decided] if decided else voted
        if reason := _left_out(said, decided is not None, missing):
            return reason, []
        about = _about(item, said, None, len(voted))
        if said[0].label == "rated" and not rule.pairs:
            return "exported", attribute_rows(item, said, {key: v for key, v in about.items() if key != "agreement"})
        if not any("ranks" in (vote.payload or {}) for vote in said):
            return "not compared", []
        of_item = decided_pairs({item.id: said}, "majority")[item.id] if decided else pairs[item.id]
        least = 0.0 if decided else rule.min_agreement
        made = pair_rows(item, of_item, about, ties=rule.ties == "keep", min_agreement=least)
        return ("exported", made) if made else ("no pair decided", [])

    return make


def _aggregate(project: Project, votes: Mapping[int, list[Judgement]], rule: ExportRule) -> dict[int, str]:
    """The label believed of each item; no entry where the votes are split evenly or all skips."""
    labels = ("a", "b", "tie", "both_bad") if project.kind == "preference" else ("safe", "unsafe")
    if rule.aggregate == "majority":
        believed = {}
        for item, said in votes.items():
            ranking = Counter(vote.label for vote in said if vote.label != "skip").most_common(2)
            if ranking and (len(ranking) == 1 or ranking[0][1] > ranking[1][1]):
                believed[item] = ranking[0][0]
        return believed
    triples: list[tuple[object, object, str]] = [
        (item, vote.user_id, vote.label) for item, said in votes.items() for vote in said
    ]
    votes_NA, items, _ = label_matrix(triples, labels)
    if not items:
        return {}
    best_N = dawid_skene(votes_NA, len(labels)).posterior_NC.argmax(axis=1)
    return {item: labels[best] for item, best in zip(items, best_N, strict=True)}


def _outcome(
    label: str | None, votes: int, missing: int, agreement: float | None, decided: bool, rule: ExportRule
) -> str:
    """The outcome of an item, in words for the report; ``missing`` votes would be needed to count it."""
    if label is None:
        return "skipped by all" if not votes else "votes split evenly"
    if label == "skip":
        return "set aside by a reviewer"
    if label == "tie" and rule.ties == "drop":
        return "tie"
    if label == "both_bad" and (rule.both_bad == "drop" or rule.ties == "drop"):
        return "both bad"
    if missing:
        return "too few votes"
    if not decided and agreement is not None and agreement < rule.min_agreement:
        return "too little agreement"
    return "exported"


def _row(item: Item, label: str, said: Sequence[Judgement], agreement: float | None, votes: int) -> dict[str, Any]:
    about = _about(item, said, agreement, votes)
    responses = {response.slot: response.messages for response in item.responses}
    for_label = [judgement for judgement in said if judgement.label == label]
    if label in ("safe", "unsafe"):
        harms = Counter(harm for judgement in for_label for harm in judgement.harms)
        common = sorted(harm for harm, count in harms.items() if 2 * count >= len(for_label))
        row = {"prompt": item.prompt, "completion": responses["a"], "label": label == "safe"}
        return row | {"category": "; ".join(common) or None, "harms": common} | spans_of(said, "a") | about
    strengths = [judgement.strength for judgement in for_label if judgement.strength is not None]
    chosen, rejected = ("b", "a") if label == "b" else ("a", "b")
    margin = (sum(strengths) / len(strengths) if strengths else None) if label in ("a", "b") else 0.0
    row = {"prompt": item.prompt, "chosen": responses[chosen], "rejected": responses[rejected]}
    return row | ({} if margin is None else {"margin": margin}) | about


def _about(item: Item, said: Sequence[Judgement], agreement: float | None, votes: int) -> dict[str, Any]:
    """The columns that say where a row comes from."""
    versions = sorted({judgement.guideline.version for judgement in said if judgement.guideline})
    return {
        "id": item.source_id or str(item.id),
        "source": item.source,
        "votes": votes,
        "agreement": agreement,
        "guideline_version": versions[-1] if versions else None,
    }
