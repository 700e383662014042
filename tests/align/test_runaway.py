"""A policy that is paid for something wrong, really trained: every sign of it is seen, and by the right guard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import training_runs

LETTERS = "{term: 'letters:Letters'}"


@pytest.fixture(scope="module")
def settings(policy: Path) -> tuple[str, ...]:
    return (
        f"model.path={policy}",
        "prompts.train=['synthetic:reasoning:train']",
        "prompts.limit=20",
        "prompts.language=en",
        "steps=24",
        "prompts_per_step=4",
        "samples_per_prompt=8",
        "steps_per_rollout=1",
        "ref_update_steps=0",
        "max_new_tokens=12",
        "max_tokens=1200",
        "loss.beta=0",
        "engine.dtype=fp32",
        "engine.lr=1e-2",
        "save_every=1",
        "loggers=[]",
        "timeout_seconds=60",
    )


def alarms(out: Path, settings: tuple[str, ...], rewards: str, guards: list[dict[str, Any]], *words: str) -> Any:
    more = (f"rewards=[{rewards}]", f"guards={json.dumps(guards)}", *words)
    training_runs.train(out, *more, settings=settings, program="align.train")
    return [json.loads(line) for line in (out / "guards.jsonl").read_text().splitlines()]


WRONG = [
    pytest.param(LETTERS, {"watch": "kl_first", "above": 0.5}, ("steps=12",), id="far from the first policy"),
    pytest.param(LETTERS, {"watch": "entropy", "shrinks": 0.9}, ("steps=15",), id="entropy collapses"),
    pytest.param(
        "{term: 'letters:Brief'}", {"watch": "response_length", "shrinks": 0.6}, ("steps=12",), id="length drifts"
    ),
    pytest.param(
        "{term: repetition, weight: -1, arguments: {n: 1}}",
        {"watch": "term/repetition", "below": -0.6, "patience": 2},
        (),
        id="repetition",
    ),
    pytest.param(
        "{term: language, weight: -1}",
        {"watch": "term/language", "shrinks": 0.8, "patience": 2},
        (),
        id="languages mix",
    ),
    pytest.param(
        "{term: format}",
        {"watch": "groups_without_signal", "above": 0.95, "patience": 3},
        ("steps=4", "max_silent_rollouts=0"),
        id="no signal",
    ),
    pytest.param(
        LETTERS,
        {"watch": "ratio_max", "above": 20},
        ("steps=8", "steps_per_rollout=8", "engine.lr=3e-1"),
        id="importance ratios",
    ),
    pytest.param(
        f"{LETTERS}, {{term: 'letters:Late', weight: 0}}",
        {"watch": "eval/late_greedy", "falls": 0.05, "while_rises": "reward"},
        (
            "steps=12",
            "evaluation.data=['synthetic:reasoning:test']",
            "evaluation.limit=20",
            "evaluation.every=2",
            "evaluation.samples=1",
        ),
        id="hacking",
    ),
]


@pytest.mark.parametrize(("rewards", "guard", "words"), WRONG)
def test_what_goes_wrong_is_seen(
    rewards: str, guard: dict[str, Any], words: tuple[str, ...], settings: tuple[str, ...], tmp_path: Path
) -> None:
    first = alarms(tmp_path / "run", settings, rewards, [guard], *words)[0]
    assert first["rule"].startswith(f"{guard['watch']} ")
    assert first["step"] >= guard.get("patience", 1)


def test_nothing_is_seen_where_nothing_goes_wrong(settings: tuple[str, ...], tmp_path: Path) -> None:
    guards = [each.values[1] for each in WRONG]
    measured = (
        "{term: letters:Late, weight: 0}, {term: repetition, weight: 0, arguments: {n: 1}}, {term: language, weight: 0}"
    )
    words = (
        "engine.lr=1e-5",
        "steps=8",
        "steps_per_rollout=2",
        "evaluation.data=['synthetic:reasoning:test']",
        "evaluation.limit=20",
        "evaluation.every=2",
    )
    assert alarms(tmp_path / "run", settings, f"{LETTERS}, {measured}", guards, *words) == []
