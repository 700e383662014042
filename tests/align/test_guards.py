"""Guards: each kind of rule by hand, patience, and what must not raise an alarm."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from align.guards import Alarm, GuardConfig, GuardState, check_guards, without_values


class Watch:
    """One guard with its state."""

    def __init__(self, rule: GuardConfig) -> None:
        self.rule, self.states = rule, [GuardState()]

    def check(self, step: int, values: dict[str, float]) -> list[Alarm]:
        return check_guards([self.rule], self.states, step, values)


def alarms(values: list[float | None], **rule: Any) -> list[int]:
    """The steps, from 1, at which a rule over ``m`` raises an alarm; ``None``: the metric is not logged there."""
    guards = Watch(GuardConfig(watch="m", **rule))
    return [
        step for step, value in enumerate(values, start=1) if guards.check(step, {} if value is None else {"m": value})
    ]


def test_limits() -> None:
    assert alarms([1, 3, None, 2, 4], above=2.5) == [2, 5]
    assert alarms([1, 3, None, 2, 0.5], below=0.9) == [5]


def test_drift_is_told_from_the_first_five_values() -> None:
    usual: list[float | None] = [8, 12, 10, 10, 10]
    assert alarms([*usual, 19, 21, 20], grows=2) == [7]
    assert alarms([*usual, 6, 4], shrinks=0.5) == [7]
    assert alarms([1, 100, 1, 1, 1], grows=2) == []


def test_patience_counts_values_in_a_row_and_starts_anew_after_an_alarm() -> None:
    assert alarms([3, 3, 1, 3, 3, 3, 3, 3, 3], above=2, patience=3) == [6, 9]


def test_a_fall_is_from_the_best_so_far_and_after_an_alarm_from_there() -> None:
    assert alarms([0.5, 0.6, 0.56, 0.54, 0.53, 0.49, 0.485], falls=0.05) == [4]
    assert alarms([0.5, 0.6, 0.54, 0.54, 0.48], falls=0.05) == [3, 5]


def hacking(accuracy: list[float | None], reward: list[float | None]) -> list[int]:
    guards = Watch(GuardConfig(watch="eval/accuracy_greedy", falls=0.05, while_rises="term/helpful"))
    found = []
    for step, (a, r) in enumerate(zip(accuracy, reward, strict=True), start=1):
        values = {"eval/accuracy_greedy": a, "term/helpful": r}
        if guards.check(step, {name: value for name, value in values.items() if value is not None}):
            found.append(step)
    return found


def test_hacking_is_a_rising_reward_with_a_falling_verifiable_metric() -> None:
    assert hacking([0.6, 0.6, 0.5], [0.1, 0.2, 0.9]) == [3]
    # The two are logged in different steps.
    assert hacking([0.6, None, None, 0.5], [0.1, None, 0.9, None]) == [4]


@pytest.mark.parametrize(
    ("accuracy", "reward"),
    [
        ([0.6, 0.6, 0.5], [0.1, 0.1, 0.1]),  # a flat reward is no exploit
        ([0.6, 0.6, 0.5], [0.9, 0.5, 0.1]),  # both fall: bad, but no hacking
        ([0.6, 0.7, 0.8], [0.1, 0.5, 0.9]),  # both rise
        ([0.6, 0.58, 0.57], [0.1, 0.5, 0.9]),  # less than the rule says
    ],
)
def test_what_is_no_hacking(accuracy: list[float | None], reward: list[float | None]) -> None:
    assert hacking(accuracy, reward) == []


def test_an_alarm_says_when_the_trouble_began() -> None:
    guards = Watch(GuardConfig(watch="m", above=1, patience=2, action="rollback"))
    found = [guards.check(step, {"m": value}) for step, value in enumerate([0, 0, 5, 6], start=1)]
    (alarm,) = found[3]
    assert (alarm.step, alarm.since, alarm.value) == (4, 2, 6)
    assert str(alarm) == "after step 4: m above 1 (m is 6); rollback"


def test_a_rule_whose_metric_is_never_logged_is_named() -> None:
    rules = [GuardConfig(watch="kl", above=1), GuardConfig(watch="eval/a", falls=0.1, while_rises="term/b")]
    states = [GuardState(), GuardState()]
    check_guards(rules, states, 1, {"kl": 0.5, "eval/a": 0.3})
    assert without_values(rules, states) == [
        "eval/a falls 0.1 while term/b rises: no step has logged term/b, so that nothing is watched"
    ]
    check_guards(rules, states, 2, {"term/b": 1.0})
    assert without_values(rules, states) == []


def test_a_state_goes_through_json_and_on() -> None:
    rule = GuardConfig(watch="m", falls=0.1, patience=2)
    values = [0.9, 0.7, 0.7, 0.6, 0.5]
    whole = Watch(rule)
    expected = [bool(whole.check(step, {"m": v})) for step, v in enumerate(values, start=1)]
    found, states = [], [asdict(GuardState())]
    for step, value in enumerate(values, start=1):
        guards = Watch(rule)
        guards.states = [GuardState(**state) for state in states]
        found.append(bool(guards.check(step, {"m": value})))
        states = [asdict(state) for state in guards.states]
    assert found == expected
    assert any(found)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({}, "needs one of above, below"),
        ({"above": 1, "below": 0}, "it has above, below"),
        ({"above": 1, "while_rises": "x"}, "goes with falls"),
        ({"above": 1, "patience": 0}, "patience"),
        ({"above": 1, "action": "lower", "factor": 1.5}, "factor"),
        ({"above": 1, "factor": 0.1}, "factor and entries go with action: lower, not warn"),
        ({"above": 1, "action": "stop", "entries": ["format"]}, "factor and entries go with action: lower, not stop"),
        ({"grows": 0.5}, r"grows=0\.5 must be more than 1"),
        ({"grows": 1}, r"grows=1 must be more than 1"),
        ({"shrinks": 2}, r"shrinks=2 must be between 0 and 1"),
        ({"shrinks": 0}, r"shrinks=0 must be between 0 and 1"),
        ({"shrinks": float("nan")}, r"shrinks=nan must be between 0 and 1"),
    ],
)
def test_rules_that_cannot_be_are_refused(rule: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        GuardConfig(watch="m", **rule)
