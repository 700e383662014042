"""From the configuration's list of rewards to terms with weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from align.rewards.answers import JUDGES, AnswerAccuracy
from align.rewards.form import Format
from align.rewards.language import LanguageConsistency
from align.rewards.mathematics import MathAccuracy
from align.rewards.penalties import OverlongPenalty, RepetitionPenalty
from align.rewards.programs import CodeAccuracy
from align.rewards.terms import RewardTerm, Sample, TermError, TermScores, load_term

VERIFIERS: dict[str, Callable[..., RewardTerm]] = {
    "math": MathAccuracy,
    "code": CodeAccuracy,
    **{verifier: partial(AnswerAccuracy, verifier=verifier) for verifier in JUDGES},
}
TERMS: dict[str, Callable[..., RewardTerm]] = {
    "format": Format,
    "language": LanguageConsistency,
    "repetition": RepetitionPenalty,
    "overlong": OverlongPenalty,
    **{f"accuracy_{name}": verifier for name, verifier in VERIFIERS.items()},
}


@dataclass(frozen=True, kw_only=True)
class TermConfig:
    """One part of the reward.

    Attributes:
        term: ``accuracy`` (the verifier that each prompt's column ``verifier`` names: ``math`` without one, ``choice``,
            ``exact``, ``regex``, ``json``, ``code``), ``format``, ``language``, ``repetition``, ``overlong``, one
            verifier alone (``accuracy_math``), or an import path of your own (``package.module:Class``).
        weight: what its value counts in the sum.
        arguments: of the term's constructor; see :mod:`align.rewards`.
    """

    term: str
    weight: float = 1.0
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WeightedTerm:
    term: RewardTerm
    weight: float


def build_terms(configs: Sequence[TermConfig], verifiers: set[str]) -> list[WeightedTerm]:
    """The terms of ``configs``.

    Args:
        verifiers: those that the prompts use; ``accuracy`` stands for these.

    Raises:
        TermError: an unknown term or verifier, or arguments a term does not take.
    """
    built = []
    for config in configs:
        if config.term == "accuracy":
            if unknown := verifiers - VERIFIERS.keys():
                raise TermError(
                    f"prompts name the verifier {', '.join(sorted(unknown))}; there are {', '.join(VERIFIERS)}, and "
                    "terms of your own by import path"
                )
            parts = [(f"accuracy_{name}", VERIFIERS[name]) for name in sorted(verifiers)]
        elif config.term in TERMS:
            parts = [(config.term, TERMS[config.term])]
        elif ":" in config.term:
            parts = [(config.term, partial(load_term, config.term))]
        else:
            raise TermError(
                f"rewards: no term {config.term!r}; there are accuracy, {', '.join(TERMS)}, and package.module:Class"
            )
        for name, factory in parts:
            try:
                built.append(WeightedTerm(factory(**config.arguments), config.weight))
            except (TypeError, ValueError) as error:
                raise TermError(f"rewards: {name} cannot be built from {config.arguments}: {error}") from error
    return built


def total_reward(
    terms: Sequence[WeightedTerm], samples: Sequence[Sample], scores: dict[str, TermScores]
) -> list[float | None]:
    """Σ weight · value over the terms that apply to a sample.

    ``None``, and never a sum without the missing part, where one of them could not score it, and where none applies.
    """
    totals: list[float | None] = []
    for number, sample in enumerate(samples):
        values = [(each.weight, scores[each.term.name].scores[number]) for each in terms if each.term.applies(sample)]
        known = [weight * value for weight, value in values if value is not None]
        totals.append(sum(known) if known and len(known) == len(values) else None)
    return totals
