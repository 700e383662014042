"""Names of metrics: what runs log, and what the documentation names, is known; misspelt names are refused."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from align.config import AlignConfig
from align.metric_names import metric_problem
from align.training.update import MAXIMA, MEANS, SQUARE
from reward_models.runtime.config import ConfigError, load_config

ROOT = Path(__file__).parents[2]
ALL = ("accuracy", "format", "language", "helpful", "safety", "overlong", "repetition", "instructions", "judge")
PLACES = {
    "eval/NAME": "eval/accuracy",
    "eval_se/NAME": "eval_se/length",
    "judge_": "judge",
    "disagreement/": "helpful",
    "followed/": "accuracy_instructions",
    "NAME": "repetition",
    "DOMAIN": "helpfulness",
    "ENTRY": "format",
    "PART": "step",
    "SOURCE": "reasoning_gym:basic_arithmetic",
    "@K": "@4",
}


def example(documented: str) -> str:
    """A metric for a name of the documentation, e.g. ``term/repetition`` for ``term/NAME``."""
    for place, value in PLACES.items():
        if place.endswith(("_", "/")) and documented.startswith(place):
            return documented.replace("NAME", value)
        if place in documented:
            return documented.replace(place, value)
    return documented


def documented() -> list[str]:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \|", page.partition("## Reinforcement learning\n")[2], flags=re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def golden() -> Any:
    spec = importlib.util.spec_from_file_location("golden_make", ROOT / "tests" / "golden" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_documented_metric_may_be_watched() -> None:
    names = [example(each) for each in documented()]
    assert len(names) > 60
    assert not [each for each in names if re.search("[A-Z]{3}", each)]
    assert {name: metric_problem(name, ALL, 4) for name in names} == dict.fromkeys(names)


def test_every_metric_of_an_update_may_be_watched() -> None:
    assert not [name for name in {*MEANS, *MAXIMA} - {SQUARE} if metric_problem(name, ALL, 4)]


def test_every_metric_of_the_golden_run_may_be_watched() -> None:
    settings = yaml.safe_load((ROOT / "tests" / "golden" / "policy.yaml").read_text(encoding="utf-8"))
    entries, samples = [each["term"] for each in settings["rewards"]], settings["evaluation"]["samples"]
    names = set(golden().POLICY.values()) - {"step", "phase", "rollout"}
    assert len(names) > 30
    assert not [problem for name in names if (problem := metric_problem(name, entries, samples))]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("finishd", "finished"),
        ("eval/acuracy_sampled", "eval/accuracy_sampled"),
        ("eval/accuracy", "eval/accuracy_"),
        ("eval/pass@3", "eval/pass@"),
        ("eval/pass@8", "eval/pass@4"),
        ("eval_se/pass@4", "no run"),
        ("eval/helpful_greedy", "no run"),  # no entry of these rewards
        ("term/langage", "term/language"),
        ("reward/helpful", "reward/helpfulness"),
        ("weight/helpful", "no run"),
        ("judge_cost/repetition", "no run"),
        ("entropy ", "entropy"),
    ],
)
def test_what_no_run_logs_is_told_with_near_names(name: str, near: str) -> None:
    problem = metric_problem(name, ["accuracy", "format"], 4)
    assert problem is not None
    assert f"logs a metric {name}; " in problem
    assert near in problem


def test_terms_of_an_import_path_may_log_figures_of_their_own() -> None:
    foreign = ["mine:Brevity", "format"]
    for name in (
        "term/brevity",
        "eval/brevity_sampled",
        "words/brevity",
        "weight/mine:Brevity",
        "disagreement/brevity",
    ):
        assert metric_problem(name, foreign, 1) is None
        assert metric_problem(name, ["format"], 1) is not None
    for name in ("finishd", "eval/brevity", "eval/pass@3"):
        assert metric_problem(name, foreign, 1) is not None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("guards=[{watch: finishd, falls: 0.1}]", "near names are finished"),
        ("guards=[{watch: finished, falls: 0.1, while_rises: rewrd}]", "logs a metric rewrd; near names are reward"),
        ("guards=[{watch: eval/accuracy_greeedy, falls: 0.1}]", "near names are eval/accuracy_greedy"),
        ("keep_best={metric: eval/accuracy}", r"is not measured; the evaluation measures eval/accuracy_greedy, "),
        ("keep_best={metric: eval/pass@3}", r"is not measured; .*eval/pass@4"),
    ],
)
def test_a_configuration_that_names_another_metric_is_refused(words: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(AlignConfig, "cpu", [words])
