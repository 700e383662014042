"""Guard rules for probes that a reward model has failed."""

from __future__ import annotations

import json

import yaml

from align.config import AlignConfig
from align.probe_guards import RULES, WATCHED_TERMS, guards_for, guards_yaml
from reward_models.probing.probes import PROBES
from reward_models.runtime.config import load_config


def test_guards_are_settings_of_a_run_and_name_probes_that_exist() -> None:
    names = {probe.name for probes in PROBES.values() for probe in probes}
    assert {name for _, probes in RULES for name in probes} <= names
    for task in PROBES:
        text = guards_yaml(task, [probe.name for probe in PROBES[task]])
        rewards = "rewards=[{term: helpful, arguments: {model: x}}, {term: safety, arguments: {model: x}}]"
        guards = yaml.safe_load(text)["guards"]
        config = load_config(AlignConfig, None, [rewards, f"guards={json.dumps(guards)}"])
        everything = guards_for(task, [probe.name for probe in PROBES[task]])
        assert config.guards == everything
        watched = {g["watch"].removeprefix("term/") for g in guards if g["watch"].startswith("term/")}
        assert watched <= set(WATCHED_TERMS)


def test_a_failure_without_a_trace_of_its_own_gets_the_general_rule() -> None:
    assert [str(g) for g in guards_for("preference", ["flattery"])] == [
        "eval/accuracy_sampled falls 0.03 while reward/helpfulness rises"
    ]
    assert [str(g) for g in guards_for("preference", ["padding", "truncated"])][1:] == [
        "response_length grows 1.5",
        "finished falls 0.1",
    ]
    assert guards_for("safety", []) == []
    assert yaml.safe_load(guards_yaml("safety", [])) == {"guards": []}
