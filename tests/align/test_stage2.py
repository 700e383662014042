"""Phases, mixing and guards in a running loop: kills across the switch, two ranks, broken rewards, every action."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import training_runs
from training_runs import PARTITION_ALL, assert_close_run, assert_same_run, checkpoints, metrics

from align.config import AlignConfig
from reward_models.runtime.config import load_config

MANIFEST = "policy.json"
LETTERS = "letters:Letters"


@pytest.fixture(scope="module")
def options(policy: Path, models: dict[str, Path]) -> dict[str, Any]:
    helpful = (
        f"{{term: helpful, arguments: {{model: ['{models['helpful']}', '{models['other']}'], value: lower_bound}}}}"
    )
    safety = f"{{term: safety, arguments: {{model: '{models['safety']}', value: raw}}}}"
    settings = (
        f"model.path={policy}",
        "prompts.train=['synthetic:reasoning:train', 'synthetic:helpful:train', 'synthetic:safety:train']",
        "prompts.limit=12",
        f"rewards=[{{term: '{LETTERS}', weight: [[0, 1.0], [8, 2.0]], normalise: running}}, {{term: format}}, "
        f"{helpful}, {safety}]",
        "phases=[{name: rules, until: 3, mix: {reasoning: 1}}, {name: preference, until: 8, "
        "mix: {reasoning: 1, helpfulness: 1, safety: 1}, temperature: 0.7, lr: 1e-3, max_new_tokens: 8}]",
        "steps=8",
        "prompts_per_step=3",
        "samples_per_prompt=4",
        "steps_per_rollout=2",
        "ref_update_steps=4",
        "max_new_tokens=10",
        "max_tokens=200",
        "loss.beta=0.05",
        "engine.dtype=fp32",
        "engine.lr=3e-3",
        "save_every=1",
        "samples_per_log=24",
        "loggers=[]",
        "timeout_seconds=60",
    )
    return {"settings": settings, "program": "align.train"}


@pytest.fixture(scope="module")
def train(options: dict[str, Any]) -> Any:
    return partial(training_runs.train, **options)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    out = tmp_path_factory.mktemp("phases") / "run"
    train(out)
    return out


def samples(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


def alarms(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "guards.jsonl").read_text().splitlines()]


def test_the_second_phase_brings_its_prompts_and_settings_with_the_rollout_after_its_step(uninterrupted: Path) -> None:
    lines = metrics(uninterrupted)
    assert [line["phase"] for line in lines] == ["rules"] * 4 + ["preference"] * 4
    assert [line["lr"] for line in lines] == pytest.approx([3e-3] * 4 + [1e-3] * 4)
    weight = f"weight/{LETTERS}"
    assert [line[weight] for line in lines if weight in line] == pytest.approx([1.0, 1.25, 1.5, 1.75])
    drawn = [s for s in samples(uninterrupted) if s["pick"] == "random"]  # all there are
    by_phase = {name: [s for s in drawn if s["phase"] == name] for name in ("rules", "preference")}
    assert {s["domain"] for s in by_phase["rules"]} == {"reasoning"}
    counts = Counter(s["domain"] for s in by_phase["preference"])
    assert counts == {"reasoning": 16, "helpfulness": 16, "safety": 16}
    assert max(s["tokens"] for s in by_phase["preference"]) == 8
    for s in samples(uninterrupted):
        assert s["reward"] == pytest.approx(sum(value for value in s["weighted"].values() if value is not None))
        assert (s["terms"]["helpful"] is not None) == (s["domain"] == "helpfulness" and bool(s["response"].strip()))
        assert (s["extras"]["disagreement/helpful"] is None) == (s["terms"]["helpful"] is None)


def test_killed_at_ten_random_moments_across_the_switch_a_run_resumes_to_the_same_bits(
    uninterrupted: Path, tmp_path: Path, options: dict[str, Any], train: Any
) -> None:
    moments, runs = random.Random(3), [tmp_path / "run"]
    seconds = (uninterrupted / MANIFEST).stat().st_mtime - (uninterrupted / "config.yaml").stat().st_mtime
    for _ in range(10):
        if (runs[-1] / MANIFEST).exists():
            runs.append(tmp_path / f"run {len(runs)}")
        out, began = runs[-1], time.time()
        run = training_runs.start(out, **options)
        run.wait_for(lambda f=out / "config.yaml", t=began: f.is_file() and f.stat().st_mtime > t)
        time.sleep(moments.uniform(0.2, 0.6) * seconds)
        run.kill()
    for out in runs:
        train(out)
        assert_same_run(out, uninterrupted)
        assert samples(out) == samples(uninterrupted)


def test_two_ranks_equal_one_in_metrics_weights_and_samples(uninterrupted: Path, tmp_path: Path, train: Any) -> None:
    train(tmp_path / "run", ranks=2)
    assert_close_run(tmp_path / "run", uninterrupted)
    written = ("step", "domain", "pick", "response")
    ours, theirs = ([[s[key] for key in written] for s in samples(out)] for out in (tmp_path / "run", uninterrupted))
    assert ours == theirs


def test_the_best_and_the_worst_of_each_kind_are_written_with_their_rewards(uninterrupted: Path) -> None:
    rollouts = {(s["step"], s["domain"]) for s in samples(uninterrupted)}
    assert {domain for _, domain in rollouts} == {"reasoning", "helpfulness", "safety"}
    for step, domain in rollouts:
        lines = [s for s in samples(uninterrupted) if (s["step"], s["domain"]) == (step, domain)]
        rewards = [s["reward"] for s in lines if s["pick"] == "random" and s["reward"] is not None]
        assert {s["pick"]: s["reward"] for s in lines if s["pick"] != "random"} == {
            "best": max(rewards),
            "worst": min(rewards),
        }


def test_the_rate_that_is_logged_is_the_one_that_was_set(tmp_path: Path, train: Any) -> None:
    train(tmp_path / "run", "engine.schedule=linear")
    shares = [1 - step / 8 for step in range(8)]
    peaks = [3e-3] * 4 + [1e-3] * 4
    rates = [line["lr"] for line in metrics(tmp_path / "run")]
    assert rates == pytest.approx([share * peak for share, peak in zip(shares, peaks, strict=True)])


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        ("letters:Raises", "failed on 24 of 24 samples"),
        ("letters:Hangs", "failed on 24 of 24 samples"),
        ("letters:Nan", "failed on 24 of 24 samples"),
        ("letters:TooFew", "gave 23 scores for 24 samples"),
        ("letters:Dies", "failed on 24 of 24 samples"),
    ],
)
def test_a_broken_reward_stops_the_run_and_says_why(term: str, reason: str, tmp_path: Path, train: Any) -> None:
    words = (f"rewards=[{{term: '{LETTERS}'}}, {{term: '{term}'}}]", "reward_time_limit=2")
    said = train(tmp_path / "run", *words, status=1)
    assert reason in said
    assert not checkpoints(tmp_path / "run")


def test_a_reward_that_fails_once_is_asked_again(tmp_path: Path, train: Any) -> None:
    said = train(tmp_path / "run", "rewards=[{term: 'letters:Flaky'}]", "steps=2", "phases=[]")
    assert "reward term flaky failed on 24 samples" in said
    assert not [name for line in metrics(tmp_path / "run") for name in line if name.startswith("failures/")]


def rule(**settings: Any) -> str:
    return rules(settings)


def rules(*settings: dict[str, Any]) -> str:
    return f"guards=[{', '.join(map(json.dumps, settings))}]"


def test_a_warning_changes_nothing_and_a_rule_with_nothing_to_watch_is_named(
    uninterrupted: Path, tmp_path: Path, train: Any
) -> None:
    words = rules({"watch": "entropy", "above": 0.0, "patience": 3}, {"watch": "kl_teacher", "below": 0.0})
    said = train(tmp_path / "run", words)
    assert "entropy above 0" in said
    assert "guard: kl_teacher below 0: no step has logged kl_teacher" in said
    assert [line["step"] for line in alarms(tmp_path / "run")] == [3, 6]
    assert_same_run(tmp_path / "run", uninterrupted)


def test_weights_are_lowered_and_stay_so_after_a_resume(tmp_path: Path, train: Any, options: dict[str, Any]) -> None:
    words = rule(watch="entropy", above=0.0, patience=3, action="lower", factor=0.5, entries=[LETTERS])
    whole, out = tmp_path / "whole", tmp_path / "run"
    train(whole, words)
    found = [line[f"weight/{LETTERS}"] for line in metrics(whole) if f"weight/{LETTERS}" in line]
    assert found == pytest.approx([1.0, 1.25, 1.5 * 0.5, 1.75 * 0.25])  # after steps 3 and 6
    run = training_runs.start(out, words, **options)
    run.wait_for(lambda: any(path.name >= "step-00000005" for path in checkpoints(out)))
    run.kill()
    train(out, words)
    assert_same_run(out, whole)


@pytest.mark.parametrize("zero", [(), ("engine.zero_stage=3", PARTITION_ALL)], ids=["plain", "zero-3"])
def test_a_rollback_goes_to_before_the_trouble_and_samples_anew(
    zero: tuple[str, ...], tmp_path: Path, train: Any
) -> None:
    # kl is 0 in step 1, and too high in steps 2, 3 and 4, whatever is sampled.
    words = (rule(watch="kl", above=1e-9, patience=3, action="rollback"), "keep_checkpoints=8", *zero)
    said = train(tmp_path / "run", *words, status=1)
    assert [(line["step"], line["done"]) for line in alarms(tmp_path / "run")] == [
        *[(4, "back to step-00000001")] * 3,
        (4, "rolled back 3 times already"),
    ]
    assert said.count("going on from") == 3
    assert [line["step"] for line in metrics(tmp_path / "run")] == [1, 2, 3, 4]


def test_a_guard_that_stops_leaves_the_last_checkpoint(tmp_path: Path, train: Any) -> None:
    said = train(tmp_path / "run", rule(watch="entropy", above=0.0, patience=3, action="stop"), status=1)
    assert "a guard stopped the run" in said
    assert [line["done"] for line in alarms(tmp_path / "run")] == ["stopped"]
    assert max(path.name for path in checkpoints(tmp_path / "run")) == "step-00000002"


def test_the_divergence_from_the_first_policy_is_computed_where_it_is_watched(tmp_path: Path, train: Any) -> None:
    # The second metric of a rule is computed like the first.
    train(tmp_path / "run", rule(watch="entropy", falls=1e9, while_rises="kl_first"), "loss.beta=0")
    values: Sequence[float] = [line["kl_first"] for line in metrics(tmp_path / "run") if "kl_first" in line]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert min(values[1:]) > 1e-5


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("prompts.train=['synthetic:reasoning:train']",), "mixes helpfulness, safety prompts"),
        ((rule(watch="kl", above=1, action="lower"), "rewards=[{term: format}]"), "lowers helpful, safety"),
        (
            (rule(watch="kl", above=1, action="lower", entries=["format", "nothing"]),),
            "lowers format, nothing; rewards",
        ),
        ((rule(watch="kl", above=1, action="rollback"), "save_every=0"), "set save_every"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(
    words: tuple[str, ...], reason: str, tmp_path: Path, train: Any
) -> None:
    assert reason in train(tmp_path / "run", *words, status=1)


def test_a_rollback_that_helps_goes_on_to_the_end(tmp_path: Path, train: Any) -> None:
    words = (
        "rewards=[{term: 'letters:Letters'}, {term: 'letters:Spike', weight: 0, arguments: {call: 3}}]",
        rule(watch="term/spike", above=1, action="rollback"),
    )
    train(tmp_path / "run", *words)
    (alarm,) = alarms(tmp_path / "run")
    assert (alarm["step"], alarm["value"], alarm["done"]) == (
        5,
        100,
        "back to step-00000003",
    )  # the last step at which all was well
    assert [line["step"] for line in metrics(tmp_path / "run")] == list(range(1, 9))
    assert [s["step"] for s in samples(tmp_path / "run")] == sorted(s["step"] for s in samples(tmp_path / "run"))


def ensemble(models: dict[str, Path], *names: str) -> str:
    paths = ", ".join(f"'{models[name]}'" for name in names)
    return f"rewards=[{{term: '{LETTERS}'}}, {{term: helpful, arguments: {{model: [{paths}]}}}}]"


def test_an_ensemble_that_disagrees_is_lowered_and_one_that_agrees_is_not(
    models: dict[str, Path], tmp_path: Path, train: Any
) -> None:
    guard = rule(watch="disagreement/helpful", above=0.05, action="lower", entries=["helpful"])
    for members, ranks in ((("helpful", "other"), 1), (("helpful", "other"), 2), (("helpful", "twin"), 1)):
        # With seed 0 a random number lies within rounding of the border between two tokens in step 5.
        train(tmp_path / f"{members[1]}-{ranks}", ensemble(models, *members), guard, "seed=1", ranks=ranks)

    def column(run: str, name: str) -> list[float]:
        return [line[name] for line in metrics(tmp_path / run) if name in line]

    apart, close = column("other-1", "disagreement/helpful"), column("twin-1", "disagreement/helpful")
    assert len(apart) == len(close) == 2  # rollouts of the second phase
    assert min(apart) > 0.05 > max(close) > 0
    assert column("other-1", "weight/helpful") == [1, 1, 1, 0.5]
    assert column("twin-1", "weight/helpful") == [1, 1, 1, 1]
    assert not (tmp_path / "twin-1" / "guards.jsonl").read_text()
    assert_close_run(tmp_path / "other-2", tmp_path / "other-1")
    assert (
        [line["step"] for line in alarms(tmp_path / "other-2")]
        == [line["step"] for line in alarms(tmp_path / "other-1")]
        == [5, 7]
    )


def test_ranks_stop_together_where_an_ensemble_disagrees(models: dict[str, Path], tmp_path: Path, train: Any) -> None:
    guard = rule(watch="disagreement/helpful", above=0.05, action="stop")
    said = train(tmp_path / "run", ensemble(models, "helpful", "other"), guard, ranks=2, status=1)
    assert said.count("a guard stopped the run after step 5: disagreement/helpful above 0.05") == 2


def test_the_preset_for_one_gpu_runs_at_a_small_size(
    policy: Path, models: dict[str, Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    preset = load_config(AlignConfig, "stage2_one_gpu")
    rewards = [
        {"term": r.term, "weight": r.weight, "domains": r.domains, "normalise": r.normalise, "arguments": r.arguments}
        for r in preset.rewards
    ]
    for reward in rewards:
        if reward["term"] in models:
            reward["arguments"] = reward["arguments"] | {"model": str(models[reward["term"]])}
    words = (
        *("--config", "stage2_one_gpu", "--shorten-to", "16"),
        f"model.path={policy}",
        f"rewards={json.dumps(rewards)}",
        "prompts.train=['synthetic:reasoning:train', 'synthetic:helpful:train', 'synthetic:safety:train']",
        "prompts.limit=12",
        "evaluation.data=['synthetic:reasoning:test']",
        "evaluation.limit=4",
        "prompts_per_step=3",
        "samples_per_prompt=2",
        "max_new_tokens=8",
        "loggers=[]",
    )
    training_runs.train(tmp_path / "run", *words, settings=(), program=options["program"])
    lines = metrics(tmp_path / "run")
    assert [line["phase"] for line in lines if "phase" in line] == ["reasoning"] * 12 + ["preference"] * 4
    assert {s["domain"] for s in samples(tmp_path / "run") if s["step"] == 12} == {"reasoning", "helpfulness", "safety"}
    assert {"weighted/helpful", "weighted/safety", "kl_first", "ratio_max"} <= {name for line in lines for name in line}
    assert (tmp_path / "run" / "model.safetensors").is_file()  # the adapters are merged
