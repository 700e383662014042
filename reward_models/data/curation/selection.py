"""Select judged pairs, and compare the judge with the labels that the pairs came with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from reward_models.data.chat import Span
from reward_models.data.curation.balance import Lengths, balance
from reward_models.data.curation.judging import Judgement
from reward_models.data.curation.prompts import as_read
from reward_models.data.records import Comparison, Pair
from reward_models.data.splits import content_key

Fate = Literal["kept", "too few judgements", "undecided", "length balance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurationConfig:
    """The number of questions, and the rules for keeping a pair.

    Args:
        judgements: per pair.
        min_valid: how many of them must be valid; ``null``: all but one. Both orders must be among them in any case.
        threshold: a pair is kept if |Δ| is above it, on the scale −2 … 2.
        balance_lengths: whether the lengths are balanced in the end.
        span: what of a response is judged and measured.
        eval_fraction: share of the prompts to hold out.
        seed: decides the orders and the split.
    """

    judgements: int = 4
    min_valid: int | None = None
    threshold: float = 1.0
    balance_lengths: bool = True
    span: Span = "summary"
    eval_fraction: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if self.judgements < 1:
            raise ValueError(f"{self.judgements} judgements cannot be averaged; ask for at least 1")
        if not 0 <= self.threshold < 2:
            raise ValueError(f"a threshold of {self.threshold:g} makes no sense where Δ lies between −2 and 2; take 1")
        if self.min_valid is not None and not 1 <= self.min_valid <= self.judgements:
            raise ValueError(f"of {self.judgements} judgements, {self.min_valid} cannot be valid")

    @property
    def valid_needed(self) -> int:
        return self.min_valid or max(1, self.judgements - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A pair with its judgements and their average Δ, ``None`` if too few are valid."""

    pair: Pair
    judgements: tuple[Judgement, ...]
    delta: float | None

    def comparison(self) -> Comparison:
        """The comparison that Δ decides: label from its sign, strength |Δ|."""
        assert self.delta, "an undecided pair is no comparison"
        return Comparison(
            prompt=self.pair.prompt,
            response_a=self.pair.response_a,
            response_b=self.pair.response_b,
            label="a" if self.delta > 0 else "b",
            strength=abs(self.delta),
            id=self.pair.id,
            source=self.pair.source,
        )

    def lengths(self, span: Span) -> Lengths:
        """Characters of the chosen and of the rejected response, as far as they are read."""
        assert self.delta, "an undecided pair has no chosen response"
        a, b = len(as_read(self.pair.response_a, span)), len(as_read(self.pair.response_b, span))
        return (a, b) if self.delta > 0 else (b, a)


def select(judged: Sequence[Judged], config: CurationConfig) -> list[Fate]:
    """The fate of each pair. The pairs' contents must differ; their order does not matter."""
    fates: list[Fate] = [
        "too few judgements" if j.delta is None else "kept" if abs(j.delta) > config.threshold else "undecided"
        for j in judged
    ]
    if config.balance_lengths:
        decided = [position for position, fate in enumerate(fates) if fate == "kept"]
        lengths = [judged[position].lengths(config.span) for position in decided]
        # What is most decided stays first; among equals the contents decide, which favour nothing.
        preference = [(abs(judged[i].delta or 0), content_key(judged[i].pair)) for i in decided]
        stay = {decided[index] for index in balance(lengths, preference)}
        for position in decided:
            if position not in stay:
                fates[position] = "length balance"
    return fates


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of the judge with the labels of the data; ``None`` where there was nothing to compare.

    Args:
        labelled: pairs whose source calls one response better.
        average: share whose Δ has the label's sign, among those with a Δ that is not 0.
        first_judgement: the same for the first judgement alone.
        kept: the same for the average, among the pairs that were kept.
    """

    labelled: int
    average: float | None
    first_judgement: float | None
    kept: float | None

    @classmethod
    def of(cls, judged: Sequence[Judged], fates: Sequence[Fate]) -> Agreement:
        """The agreement on pairs with these fates."""
        labelled = [item for item in judged if item.pair.label in ("a", "b")]
        kept = [item for item, fate in zip(judged, fates, strict=True) if fate == "kept"]
        return cls(
            labelled=len(labelled),
            average=_share_right(labelled, lambda item: item.delta),
            first_judgement=_share_right(labelled, lambda item: item.judgements[0].score),
            kept=_share_right([item for item in kept if item.pair.label in ("a", "b")], lambda item: item.delta),
        )


def _share_right(labelled: Sequence[Judged], score: Callable[[Judged], float | None]) -> float | None:
    right = [(said > 0) == (item.pair.label == "a") for item in labelled if (said := score(item))]
    return sum(right) / len(right) if right else None
