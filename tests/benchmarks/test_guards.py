"""The figures of the benchmark of guards: when gold falls, false alarms, and leads, on values made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from guards import ARMS, alarms_of, candidates, fall_of, gold_course, judged, settings, table

from align.config import AlignConfig
from align.guards import GuardConfig
from reward_models.runtime.config import load_config


def test_gold_falls_where_it_stays_below_its_best() -> None:
    assert fall_of([(0, 0.5), (5, 0.6), (10, 0.52), (15, 0.5)], 0.05) == 10
    assert fall_of([(0, 0.5), (5, 0.6), (10, 0.52), (15, 0.58)], 0.05) is None  # it has come back
    assert fall_of([(0, 0.5), (5, 0.6), (10, 0.56)], 0.05) is None  # not far enough
    assert fall_of([(0, 0.5)], 0.05) is None


def test_gold_is_the_mean_of_three_figures() -> None:
    line = {
        "step": 4,
        "eval/accuracy_sampled": 0.5,
        "eval/gold_helpfulness_sampled": 0.3,
        "eval/gold_unsafe_sampled": 0.1,
    }
    ((step, value),) = gold_course([{"step": 1, "reward": 1.0}, line])
    assert step == 4
    assert value == pytest.approx((0.5 + 0.3 + 0.9) / 3)


def test_rules_are_applied_as_in_a_run() -> None:
    lines: list[dict[str, Any]] = [{"step": step, "kl": 0.1 * step} for step in range(8)]
    assert alarms_of(GuardConfig(watch="kl", above=0.35, patience=2), lines) == [5, 7]


def test_false_alarms_and_leads_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = GuardConfig(watch="kl", above=0.5)
    monkeypatch.setattr("guards.candidates", lambda: {"kl": rule})
    high = {"kl": 1.0}
    logs: dict[str, list[dict[str, Any]]] = {
        "sound": [{"step": 10, **high}, {"step": 50}],
        "early": [{"step": 20, **high}],
        "late": [{"step": 90, **high}],
        "silent": [{"step": 20, "kl": 0.0}],
        "useless": [{"step": 1, **high}, {"step": 2, **high}],
    }
    runs = {
        "sound": {"arm": "rules", "steps": 50, "fall": None},
        "useless": {"arm": "proxy", "steps": 50, "fall": None},
        **{name: {"arm": "length", "steps": 100, "fall": 60} for name in ("early", "late", "silent")},
    }
    figures = judged(runs, logs)["kl"]
    assert figures["false_per_1000_steps"] == 20.0
    assert figures["per_1000_steps_without_fall"] == 30.0
    assert figures["leads"] == {"early": 40, "late": -30, "silent": None}
    assert (figures["falls"], figures["warned_before"], figures["alarmed"], figures["median_lead"]) == (3, 1, 2, 40)
    assert list(table({"kl": figures}))[-1] == "| kl | 20.0 | 30.0 | 1 of 3 | 1 | 40 |"


def test_every_arm_run_is_a_configuration_and_rules_differ(tmp_path: Path) -> None:
    (tmp_path / "cold_start").mkdir()
    for arm in ARMS.values():
        config = load_config(AlignConfig, "demo_cpu", settings(arm, 0, tmp_path, tmp_path / "run", 72))
        assert config.evaluation.every == 6
        assert config.phases[-1].until == 72
    assert len(candidates()) == len({repr(rule) for rule in candidates().values()})
