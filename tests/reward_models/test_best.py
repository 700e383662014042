"""The best reward model by a held-out metric: the rule, and whole runs that keep it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs
from training_runs import SETTINGS, metrics, weights

from reward_models import RewardModel
from reward_models.config import RewardModelConfig
from reward_models.data.manifest import MANIFEST
from reward_models.keep_best import KeepBestConfig
from reward_models.runtime.config import ConfigError, load_config

# The rule keeps the worst model, which is not the last one.
RULE = "keep_best={metric: eval_loss, mode: max}"
CONSTANT = (*SETTINGS, "engine.schedule=constant", "engine.warmup=0", "eval_every=1")


def test_the_rule_prefers_by_its_mode_and_of_equal_values_the_earlier() -> None:
    assert KeepBestConfig(metric="eval_accuracy").prefers(0.6, 0.5)
    assert KeepBestConfig(metric="eval_loss", mode="min").prefers(0.5, 0.6)
    for mode in ("max", "min"):
        assert not KeepBestConfig(metric="eval_loss", mode=mode).prefers(0.5, 0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("keep_best={metric: eval_acuracy}", "eval_every=2"), "eval_acuracy is not measured; .*eval_accuracy"),
        (("keep_best={metric: eval_auroc}", "eval_every=2"), "eval_auroc is not measured"),
        (("keep_best={metric: eval_accuracy}", "eval_every=0"), "set eval_every"),
        (("keep_best={metric: eval_accuracy}", "eval_every=2", "data.eval_fraction=0"), "data.eval_fraction"),
    ],
)
def test_a_rule_that_nothing_measures_is_refused(words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(RewardModelConfig, None, [*SETTINGS, *words])


train = partial(training_runs.train, settings=CONSTANT)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("best") / "kept"
    return out, train(out, RULE)


def best_of(out: Path) -> int:
    values = [(line["eval_loss"], -line["step"]) for line in metrics(out) if "eval_loss" in line]
    assert len(values) == 6
    return -max(values)[1]


def assert_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_best_model_is_that_of_its_step_and_the_last_is_as_without_it(
    kept: tuple[Path, str], tmp_path: Path
) -> None:
    out, said = kept
    step = best_of(out)
    assert step < 6
    assert f"was that of step {step} of 6: {out / 'best'}" in said
    train(tmp_path / "short", f"max_steps={step}")
    assert_equal(weights(out / "best"), weights(tmp_path / "short"))
    train(tmp_path / "plain")
    assert_equal(weights(out), weights(tmp_path / "plain"))
    whole, short = (json.loads((path / MANIFEST).read_text()) for path in (out / "best", tmp_path / "short"))
    assert whole["calibration"] == short["calibration"]
    assert whole["evaluation"] == short["evaluation"]
    said_of = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there"}]
    best, short_run = (RewardModel.load(path).score([said_of]) for path in (out / "best", tmp_path / "short"))
    assert best == short_run


def test_a_run_that_was_stopped_and_one_of_two_ranks_keep_the_same(kept: tuple[Path, str], tmp_path: Path) -> None:
    training_runs.train_until_signal(tmp_path / "stopped", RULE, step=3, settings=CONSTANT)
    train(tmp_path / "stopped", RULE)
    assert_equal(weights(tmp_path / "stopped" / "best"), weights(kept[0] / "best"))
    assert_equal(weights(tmp_path / "stopped"), weights(kept[0]))
    train(tmp_path / "two", RULE, "engine.zero_stage=3", training_runs.PARTITION_ALL, ranks=2)
    assert best_of(tmp_path / "two") == best_of(kept[0])
    for part in ("", "best"):
        ours, theirs = weights(tmp_path / "two" / part), weights(kept[0] / part)
        for name in theirs:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=2e-4)


def test_adapters_are_merged_into_both_models(kept: tuple[Path, str], tmp_path: Path) -> None:
    train(tmp_path / "kept", RULE, "model.lora={r: 4}")
    train(tmp_path / "plain", "model.lora={r: 4}")
    assert_equal(weights(tmp_path / "kept"), weights(tmp_path / "plain"))
    assert weights(tmp_path / "kept" / "best").keys() == weights(kept[0]).keys()


@pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 2)])
def test_each_model_is_evaluated_once(mode: str, best: int, tmp_path: Path) -> None:
    words = ("max_steps=2", "save_every=0", f"keep_best={{metric: eval_loss, mode: {mode}}}")
    said = train(tmp_path / "run", *words, program="train_counting_scored_sets")
    assert f"was that of step {best} of 2" in said
    assert "scored: eval 2, calibration 2" in said
    # The figures that are saved are those that the log has of the same step.
    by_step = {line["step"]: line["eval_loss"] for line in metrics(tmp_path / "run") if "eval_loss" in line}
    for folder, step in (("", 2), ("best", best)):
        facts = json.loads((tmp_path / "run" / folder / MANIFEST).read_text())
        assert facts["evaluation"]["loss"] == pytest.approx(by_step[step], rel=1e-6)
