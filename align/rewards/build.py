"""From the configuration's list of rewards to terms with weights."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from align.rewards.instructions.term import Instructions
from align.rewards.rules.format import Format
from align.rewards.rules.group import LengthInGroup, StyleInGroup
from align.rewards.rules.language import LanguageConsistency
from align.rewards.rules.penalties import OverlongPenalty, RepetitionPenalty
from align.rewards.rules.thoughts import MalformedThoughts
from align.rewards.terms import (
    RewardTerm,
    Sample,
    TermError,
    compares_groups,
    load_term,
    term_class,
    term_metrics_of,
    term_totals_of,
    unreported_totals_of,
)
from align.rewards.verifiers.answers import ANSWER_VERIFIERS, AnswerAccuracy
from align.rewards.verifiers.mathematics import MathAccuracy
from align.rewards.verifiers.programs import CodeAccuracy
from align.rewards.verifiers.reasoning_gym import ReasoningGym
from align.schedule import Schedule, parse_schedule
from reward_models.data.records import DOMAINS, Task
from reward_models.extras import needs

JUDGE_TERMS = {"judge": "single:Judge", "rubric": "single:Rubric", "group_judge": "group:GroupJudge"}


def _judge_term(name: str, /, **arguments: Any) -> RewardTerm:
    """A term that needs the client of endpoints, which takes time to import."""
    term: RewardTerm = term_class(f"align.rewards.judges.{JUDGE_TERMS[name]}")(**arguments)
    return term


VERIFIERS: dict[str, Callable[..., RewardTerm]] = {
    "math": MathAccuracy,
    "code": CodeAccuracy,
    "instructions": Instructions,
    "reasoning_gym": ReasoningGym,
    **{verifier: partial(AnswerAccuracy, verifier=verifier) for verifier in ANSWER_VERIFIERS},
}
TERMS: dict[str, Callable[..., RewardTerm]] = {
    "format": Format,
    "language": LanguageConsistency,
    "repetition": RepetitionPenalty,
    "overlong": OverlongPenalty,
    "instructions": Instructions,
    "reasoning_gym": ReasoningGym,
    "malformed_thoughts": MalformedThoughts,
    "length_in_group": LengthInGroup,
    "style_in_group": StyleInGroup,
    **{name: partial(_judge_term, name) for name in JUDGE_TERMS},
    "helpful": lambda **arguments: _model("preference", **arguments),
    "safety": lambda **arguments: _model("safety", **arguments),
    **{f"accuracy_{name}": verifier for name, verifier in VERIFIERS.items()},
}


@dataclass(frozen=True, kw_only=True)
class TermConfig:
    """One part of the reward.

    Attributes:
        term: ``accuracy`` (the verifier that each prompt's column ``verifier`` names: ``math`` without one, ``choice``,
            ``exact``, ``regex``, ``json``, ``code``, ``instructions``, ``reasoning_gym``), one verifier alone
            (``accuracy_math``, ``instructions``, ``reasoning_gym``), ``format``, ``language``, ``helpful`` or
            ``safety`` (a reward model here, or behind servers if ``arguments`` has ``urls``), ``repetition``,
            ``overlong``, ``malformed_thoughts``, ``length_in_group``, ``style_in_group``, ``judge``, ``rubric``,
            ``group_judge``, or an import path of your own (``package.module:Class``).
        weight: what its value counts in the sum: a number, or ``[[step, value], …]``: linear between these
            steps; a step named twice is a jump.
        domains: of prompts it is for: ``reasoning``, ``helpfulness``, ``safety``; default: all it applies to.
        normalise: ``running`` puts its values on a common scale: less their running mean, divided by their running
            standard deviation.
        arguments: of the term; docs/rewards.md has those of each.
    """

    RENAMED: ClassVar[dict[str, str]] = {"kinds": "domains"}

    term: str
    weight: Any = 1.0
    domains: list[str] | None = None
    normalise: Literal["none", "running"] = "none"
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parse_schedule(self.weight, f"rewards: weight of {self.term}")
        if unknown := sorted(set(self.domains or ()) - set(DOMAINS)):
            raise ValueError(f"rewards: domains names {', '.join(unknown)}; prompts are {', '.join(DOMAINS)}")


@dataclass(frozen=True, slots=True)
class MixedTerm:
    """A term in a mixture.

    Attributes:
        entry: the name its weight goes by; several verifiers share the entry ``accuracy``.
        weight: of its value in the sum, at each step.
        domains: of prompts it is for; ``None``: all it applies to.
        running: put its values on a common scale: less their running mean, divided by their running deviation.
    """

    entry: str
    term: RewardTerm
    weight: Schedule = 1.0
    domains: frozenset[str] | None = None
    running: bool = False

    @property
    def name(self) -> str:
        return self.term.name

    @property
    def term_metrics(self) -> tuple[str, ...]:
        return term_metrics_of(self.term)

    @property
    def term_totals(self) -> tuple[str, ...]:
        return term_totals_of(self.term)

    def unreported_totals(self) -> Mapping[str, float]:
        return unreported_totals_of(self.term)

    @property
    def whole_groups(self) -> bool:
        return compares_groups(self.term)

    def applies(self, sample: Sample) -> bool:
        return (self.domains is None or sample.domain in self.domains) and self.term.applies(sample)

    def score(self, samples: Sequence[Sample]) -> Any:
        return self.term.score(samples)


def build_terms(configs: Sequence[TermConfig], verifiers: Set[str]) -> list[MixedTerm]:
    """The terms of ``configs``.

    Args:
        verifiers: those that the prompts use; ``accuracy`` stands for these, without those that have an entry of
            their own.

    Raises:
        TermError: an unknown term or verifier, or arguments a term does not take.
    """
    check_terms(configs)
    verifiers = verifiers - {verifier_of(config.term) for config in configs}  # those with an entry of their own
    built = []
    for config in configs:
        for name, factory in _factories(config.term, verifiers):
            try:
                term = factory(**config.arguments)
            except (TypeError, ValueError) as error:
                if lacking := re.search(r"missing \d+ required .*argument[^:]*: (.+)", str(error)):
                    raise TermError(_needs(name, lacking[1])) from error
                raise TermError(f"rewards: {name} cannot be built from {config.arguments}: {error}") from error
            built.append(
                MixedTerm(
                    entry=config.term,
                    term=term,
                    weight=parse_schedule(config.weight, config.term),
                    domains=None if config.domains is None else frozenset(config.domains),
                    running=config.normalise == "running",
                )
            )
    return built


def verifier_of(term: str) -> str:
    """The verifier that a term alone is, e.g. ``math`` of ``accuracy_math``; empty if it is none."""
    name = term.removeprefix("accuracy_")
    return name if name in VERIFIERS and (name != term or name in TERMS) else ""


def check_terms(configs: Sequence[TermConfig], *, foreign: bool = True) -> None:
    """Check names of terms and of their arguments; nothing is built.

    Args:
        foreign: check terms of an import path too, for which their module is imported.

    Raises:
        TermError: there is no such term, or it takes no argument of a name.
    """
    for config in configs:
        factories = _factories(config.term, set(VERIFIERS))
        if ":" in config.term and not foreign:
            continue
        taken = [_argument_names(config.term, factory, config.arguments) for _, factory in factories]
        # One of several verifiers may take an argument that the others do not know.
        known = sorted({name for names in taken for name in names or ()})
        unknown = [name for name in config.arguments if name not in known]
        if unknown and None not in taken:
            close = difflib.get_close_matches(unknown[0], known, n=1)
            instead = f"did you mean {close[0]}?" if close else f"it takes {', '.join(known) or 'none'}"
            raise TermError(f"rewards: {config.term} takes no argument {unknown[0]!r}; {instead}")


def check_required(configs: Sequence[TermConfig]) -> None:
    """``TermError`` if an entry lacks an argument that its term needs; terms of an import path are not looked at."""
    for config in configs:
        for name, factory in [] if ":" in config.term else _factories(config.term, set(VERIFIERS)):
            if config.term in JUDGE_TERMS:
                factory = term_class("align.rewards.judges.base:JudgeTerm")
            elif config.term in ("helpful", "safety") and "urls" not in config.arguments:
                factory = _local_model()
            lacking = [each for each in _required(factory) if each not in (*config.arguments, "task")]
            if lacking:
                raise TermError(_needs(name, ", ".join(lacking)))


def _needs(term: str, arguments: str) -> str:
    return (
        f"rewards: {term} needs {arguments}: write it under `arguments` of the term, or, for `keel rewards try`, as "
        "--set NAME=VALUE"
    )


def group_terms(configs: Sequence[TermConfig]) -> list[str]:
    """The entries that compare all samples of a prompt; terms of an import path are not looked at."""
    return [
        config.term
        for config in configs
        if compares_groups(
            term_class(f"align.rewards.judges.{JUDGE_TERMS[config.term]}")
            if config.term in JUDGE_TERMS
            else TERMS.get(config.term)
        )
    ]


def _argument_names(term: str, factory: Callable[..., RewardTerm], given: Mapping[str, Any]) -> set[str] | None:
    """The names of the arguments that a term may be given; ``None`` if it takes any."""
    if ":" in term:
        return _names(term_class(term))
    if term in JUDGE_TERMS:
        from align.rewards.judges.base import JudgeTerm
        from reward_models.endpoint.client import EndpointConfig

        judge = term_class(f"align.rewards.judges.{JUDGE_TERMS[term]}")
        return {n for each in (judge, JudgeTerm, EndpointConfig) for n in _names(each, passes_on=True) or ()} - {
            "base_url"
        }
    if term not in ("helpful", "safety"):
        return _names(factory)
    if "urls" in given:
        from align.rewards.models.client import RewardClient
        from align.rewards.models.remote import RemoteReward
        from align.rewards.models.replicas import ReplicaConfig

        chain: list[Any] = [RemoteReward, RewardClient, ReplicaConfig]  # each passes on the arguments it does not name
    else:
        chain = [_local_model()]
    return {name for each in chain for name in _names(each, passes_on=True) or ()} - {"task"}


def _required(function: Callable[..., Any]) -> list[str]:
    """The names of the parameters that have no default."""
    fixed = set(function.keywords) if isinstance(function, partial) else set()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind in named and p.default is p.empty and p.name not in fixed]


def _names(function: Callable[..., Any], passes_on: bool = False) -> set[str] | None:
    """The names of a function's parameters; ``None`` if it takes any, unless they are only passed on."""
    fixed = set(function.keywords) if isinstance(function, partial) else set()
    parameters = inspect.signature(function).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters) and not passes_on:
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {each.name for each in parameters if each.kind in named} - fixed


def _factories(term: str, verifiers: Set[str]) -> list[tuple[str, Callable[..., RewardTerm]]]:
    if term == "accuracy":
        if unknown := verifiers - VERIFIERS.keys():
            raise TermError(
                f"prompts name the verifier {', '.join(sorted(unknown))}; there are {', '.join(VERIFIERS)}, and terms "
                "of your own by import path"
            )
        return [(f"accuracy_{name}", VERIFIERS[name]) for name in sorted(verifiers)]
    if term in TERMS:
        return [(term, TERMS[term])]
    if ":" in term:
        return [(term, partial(load_term, term))]
    raise TermError(f"rewards: no term {term!r}; there are accuracy, {', '.join(TERMS)}, and package.module:Class")


def _model(task: Task, **arguments: Any) -> RewardTerm:
    if "urls" in arguments:
        from align.rewards.models.remote import RemoteReward

        return RemoteReward(task=task, **arguments)
    return _local_model()(task=task, **arguments)


def _local_model() -> Any:
    """The term of a reward model in this process: the only one that needs torch."""
    with needs("models"):
        from align.rewards.models.local import ModelReward

    return ModelReward
