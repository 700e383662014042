"""Guards: rules over a run's metrics, and the action that is taken when one is broken.

The figure that matters most is DeepSeek-R1's (arXiv:2501.12948v2, figure 6): the reward models' reward rises while a
verifiable metric falls. A guard may therefore watch a held-out metric fall *while* another one rises; a flat reward, or
one that is large beside others, is no sign of anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Action = Literal["warn", "lower", "rollback", "stop"]
PREFERENCE = ("helpful", "safety")
FACTOR = 0.5
BASELINE = 5  # first observations that `grows` and `shrinks` compare with


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """A rule; exactly one of ``above``, ``below``, ``grows``, ``shrinks`` and ``falls`` says when it is broken.

    Attributes:
        watch: a metric of ``metrics.jsonl``, e.g. ``entropy``, ``eval/accuracy_greedy``, ``term/repetition``; besides,
            ``kl_first``, the divergence from the first policy, which is computed if a guard watches it.
        above: broken while the metric is higher than this value.
        below: broken while the metric is lower than this value.
        grows: broken while the metric is higher than this number (more than 1) times the mean of its first five values.
        shrinks: broken while the metric is lower than this number (between 0 and 1) times the mean of its first five
            values; 0.5: while it is less than half of that mean.
        falls: broken while the metric is lower by this much than its highest value so far, and if ``while_rises`` names
            another metric, that is higher than it was then.
        while_rises: the second metric of ``falls``.
        patience: the action is taken when the rule is broken in so many of the metric's values in a row.
        action: ``warn``; ``lower`` the weights of ``entries`` to ``factor`` of what they are; ``rollback`` to the last
            checkpoint from before the rule was broken, and sample anew from there (three times at most); ``stop``.
        factor: of the action ``lower``: each weight is multiplied by it.
        entries: of the action ``lower``: the entries of the rewards; default: ``helpful`` and ``safety``, the reward
            models.
    """

    watch: str
    above: float | None = None
    below: float | None = None
    grows: float | None = None
    shrinks: float | None = None
    falls: float | None = None
    while_rises: str | None = None
    patience: int = 1
    action: Action = "warn"
    factor: float = FACTOR
    entries: list[str] = field(default_factory=lambda: list(PREFERENCE))

    def __post_init__(self) -> None:
        given = [n for n in ("above", "below", "grows", "shrinks", "falls") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(
                f"guards: the one that watches {self.watch} needs one of above, below, grows, shrinks, falls; it has "
                f"{', '.join(given) or 'none'}"
            )
        if self.while_rises is not None and self.falls is None:
            raise ValueError(f"guards: {self.watch}: while_rises goes with falls")
        if self.patience < 1 or not 0 <= self.factor < 1:
            raise ValueError(f"guards: {self.watch}: patience must be at least 1, and 0 ≤ factor < 1")
        if self.action != "lower" and (self.factor != FACTOR or self.entries != list(PREFERENCE)):
            raise ValueError(f"guards: {self.watch}: factor and entries go with action: lower, not {self.action}")
        if self.grows is not None and not self.grows > 1:
            raise ValueError(
                f"guards: {self.watch}: grows={self.grows:g} must be more than 1: it is a multiple of the mean of the "
                "metric's first five values"
            )
        if self.shrinks is not None and not 0 < self.shrinks < 1:
            raise ValueError(
                f"guards: {self.watch}: shrinks={self.shrinks:g} must be between 0 and 1: it is a multiple of the mean "
                "of the metric's first five values, 0.5 for less than half of it"
            )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that the rule looks at: ``watch``, and ``while_rises`` if there is one."""
        return (self.watch,) if self.while_rises is None else (self.watch, self.while_rises)

    def __str__(self) -> str:
        for name in ("above", "below", "grows", "shrinks", "falls"):
            if (limit := getattr(self, name)) is not None:
                condition = f" while {self.while_rises} rises" if self.while_rises else ""
                return f"{self.watch} {name} {limit:g}{condition}"
        raise AssertionError


@dataclass(slots=True)
class GuardState:
    """The memory of one rule.

    Attributes:
        first: the metric's first values.
        best: the metric's highest value so far. ``other_at_best``: the value of ``while_rises`` at that time.
        other: the latest value of ``while_rises``: the two are not always logged in the same step.
        broken: how often in a row the rule was broken. ``since``: the step before the first of these.
        seen: the metric has been logged.
    """

    first: list[float] = field(default_factory=list)
    best: float | None = None
    other_at_best: float | None = None
    other: float | None = None
    broken: int = 0
    since: int = 0
    seen: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """A rule that was broken often enough: after ``step`` steps, for the first time after ``since``."""

    guard: GuardConfig
    step: int
    since: int
    value: float

    def line(self, done: str) -> dict[str, object]:
        """The line for ``guards.jsonl``, with the action that was taken."""
        rule, action = str(self.guard), self.guard.action
        return {"step": self.step, "rule": rule, "value": self.value, "action": action, "done": done}

    def __str__(self) -> str:
        return f"after step {self.step}: {self.guard} ({self.guard.watch} is {self.value:.4g}); {self.guard.action}"


def check_guards(
    guards: Sequence[GuardConfig], states: Sequence[GuardState], step: int, values: Mapping[str, float]
) -> list[Alarm]:
    """The alarms after step number ``step`` (from 1). Every rank comes to the same, from the same metrics.

    Args:
        states: of each guard; they are updated.
    """
    alarms = []
    for config, state in zip(guards, states, strict=True):
        if config.while_rises is not None and config.while_rises in values:
            state.other = values[config.while_rises]
        if config.watch not in values:
            continue
        value, state.seen = values[config.watch], True
        if not _broken(config, state, value):
            state.broken, state.since = 0, step
            continue
        state.broken += 1
        if state.broken >= config.patience:
            alarms.append(Alarm(config, step, state.since, value))
            state.broken, state.best, state.other_at_best = 0, None, None  # a further fall is measured from here
    return alarms


def without_values(guards: Sequence[GuardConfig], states: Sequence[GuardState]) -> list[str]:
    """A sentence about each rule with a metric that has never been logged: such a rule cannot be broken."""
    sentences = []
    for guard, state in zip(guards, states, strict=True):
        missing = [] if state.seen else [guard.watch]
        if guard.while_rises is not None and state.other is None:
            missing.append(guard.while_rises)
        if missing:
            sentences.append(f"{guard}: no step has logged {' or '.join(missing)}, so that nothing is watched")
    return sentences


def _broken(config: GuardConfig, state: GuardState, value: float) -> bool:
    if config.above is not None:
        return value > config.above
    if config.below is not None:
        return value < config.below
    if config.falls is not None:
        if state.best is None or value > state.best:
            state.best, state.other_at_best = value, state.other
        rises = config.while_rises is None or (
            state.other is not None and state.other_at_best is not None and state.other > state.other_at_best
        )
        return rises and value < state.best - config.falls
    if len(state.first) < BASELINE:
        state.first.append(value)
        return False
    usual = sum(state.first) / len(state.first)
    if config.grows is not None:
        return value > config.grows * usual
    assert config.shrinks is not None
    return value < config.shrinks * usual
