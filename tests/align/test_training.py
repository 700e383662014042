"""Whole reinforcement-learning runs: ranks, ZeRO stages, kills across a reference update, signals, broken rewards."""

from __future__ import annotations

import json
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs
from stand_in_vllm import free_port, stand_in
from training_runs import PARTITION_ALL, assert_close_run, assert_same_run, checkpoints, metrics, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from align.metric_names import metric_problem

MANIFEST = "policy.json"


@pytest.fixture(scope="module")
def options(policy: Path) -> dict[str, Any]:
    settings = (
        f"model.path={policy}",
        "prompts.train=['synthetic:reasoning:train']",
        "prompts.limit=20",
        "rewards=[{term: 'letters:Letters'}, {term: format, weight: 0.5}]",
        "evaluation.data=['synthetic:reasoning:test']",
        "evaluation.limit=3",
        "evaluation.samples=2",
        "steps=8",
        "prompts_per_step=2",
        "samples_per_prompt=4",
        "steps_per_rollout=2",
        "ref_update_steps=4",
        "max_new_tokens=10",
        "max_tokens=120",
        "loss.beta=0.05",
        "engine.dtype=fp32",
        "engine.lr=3e-3",
        "save_every=3",
        "samples_per_log=2",
        "loggers=[]",
        "timeout_seconds=60",
    )
    return {"settings": settings, "program": "align.train"}


@pytest.fixture(scope="module")
def train(options: dict[str, Any]) -> Any:
    return partial(training_runs.train, **options)


@pytest.fixture(scope="module")
def start(options: dict[str, Any]) -> Any:
    return partial(training_runs.start, **options)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, train: Any) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    train(out, charts=True)
    return out


def test_a_run_leaves_a_policy_its_metrics_and_samples(uninterrupted: Path, policy: Path) -> None:
    lines = metrics(uninterrupted)
    assert [line["step"] for line in lines] == list(range(9))
    assert [line["rollout"] for line in lines[1:]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {"eval/accuracy_greedy", "eval/pass@2", "eval/format_sampled"} <= lines[0].keys() & lines[8].keys()
    assert all("reward" in line for line in lines[1::2])
    assert {line["phase"] for line in lines[1:]} == {"all"}
    # The first step of a rollout starts at the old policy; the second has moved. The reference moves at step 4.
    assert [line["ratio"] == pytest.approx(1, abs=1e-5) for line in lines[1:]] == [True, False] * 4
    assert [line["kl"] == pytest.approx(0, abs=1e-6) for line in lines[1:]] == [True, *[False] * 3, True, *[False] * 3]
    assert max(line["mismatch_max"] for line in lines[1:]) < 1e-4  # engine and trainer agree on probabilities
    samples = [json.loads(line) for line in (uninterrupted / "samples.jsonl").read_text().splitlines()]
    picks = ("random", "random", "best", "worst")
    assert [(s["step"], s["pick"]) for s in samples] == [(step, pick) for step in (0, 2, 4, 6) for pick in picks]
    assert samples[0]["reward"] == pytest.approx(samples[0]["terms"]["letters"] + 0.5 * samples[0]["terms"]["format"])
    trained = AutoModelForCausalLM.from_pretrained(uninterrupted)
    assert not torch.equal(trained.lm_head.weight, AutoModelForCausalLM.from_pretrained(policy).lm_head.weight)
    assert AutoTokenizer.from_pretrained(uninterrupted).chat_template


def test_the_policy_earns_more(train: Any, tmp_path: Path) -> None:
    words = ("steps=40", "steps_per_rollout=1", "prompts_per_step=4", "evaluation.data=[]", "loss.beta=0")
    train(tmp_path / "run", *words)
    rewards = [line["reward"] for line in metrics(tmp_path / "run")]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.1


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_zero_stage_equals_stage_0(stage: int, uninterrupted: Path, tmp_path: Path, train: Any) -> None:
    train(tmp_path / "run", f"engine.zero_stage={stage}", *([PARTITION_ALL] if stage == 3 else []))
    assert_close_run(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_two_ranks_equal_one(stage: int, uninterrupted: Path, tmp_path: Path, train: Any) -> None:
    train(tmp_path / "run", f"engine.zero_stage={stage}", *([PARTITION_ALL] if stage == 3 else []), ranks=2)
    assert_close_run(tmp_path / "run", uninterrupted)


def test_two_ranks_that_share_tokens_equal_one(uninterrupted: Path, tmp_path: Path, train: Any) -> None:
    words = ("engine.sequence_parallel=2", "model.mlp_tiles=2", "engine.zero_stage=3", PARTITION_ALL)
    train(tmp_path / "run", *words, ranks=2)
    assert_close_run(tmp_path / "run", uninterrupted)


def test_how_it_is_computed_changes_nothing(uninterrupted: Path, tmp_path: Path, train: Any) -> None:
    train(tmp_path / "run", "max_tokens=40", "ref_offload=true", "model.gradient_checkpointing=true")
    assert_close_run(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize(
    "loss",
    [
        "{kind: token, advantages: leave_one_out, clip_high: 0.2, beta: 0.05}",
        "{kind: sequence, advantages: leave_one_out, clip_high: 0.2, beta: 0.05}",
        "{kind: token_mean, advantages: leave_one_out, clip_high: 0.2, beta: 0.05}",
        "{kind: gspo, advantages: batch, clip_low: 0.01, clip_high: 0.01, beta: 0.05, correction: sequence_mask}",
        "{kind: dr_grpo, advantages: mean, beta: 0.05, kl_estimate: unbiased, off_policy_threshold: 0.001}",
    ],
    ids=lambda loss: loss.partition(",")[0].removeprefix("{kind: "),
)
def test_every_loss_is_the_same_over_two_ranks_and_other_micro_batches(loss: str, tmp_path: Path, train: Any) -> None:
    words = (f"loss={loss}", "steps=4", "evaluation.data=[]")
    train(tmp_path / "one", *words)
    train(tmp_path / "two", *words, "max_tokens=40", ranks=2)
    assert_close_run(tmp_path / "two", tmp_path / "one")


def test_where_engine_and_trainer_agree_importance_sampling_changes_nothing_and_its_cap_acts(
    uninterrupted: Path, tmp_path: Path, train: Any
) -> None:
    train(tmp_path / "loose", "loss.correction=token_cap")
    log = tmp_path / "loose" / "metrics.jsonl"
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for line in lines[1:]:
        assert line.pop("effective_share") == pytest.approx(1, abs=1e-4)
        assert line.pop("correction_weight") == pytest.approx(1, abs=1e-3)
        assert line.pop("correction_limited") == line.pop("correction_masked") == 0
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert_close_run(tmp_path / "loose", uninterrupted)
    train(
        tmp_path / "tight", "loss.correction=token_cap", "loss.correction_high=0.5"
    )  # every token's weight is then one half
    first, expected = (metrics(path)[1] for path in (tmp_path / "tight", uninterrupted))
    assert first["grad_norm"] == pytest.approx(expected["grad_norm"] / 2, rel=1e-3)


def test_masks_and_filters_are_logged_and_leave_nothing_where_all_is_masked(tmp_path: Path, train: Any) -> None:
    words = ("steps=2", "evaluation.data=[]", "loss.beta=0", "loss.overlong_filter=true", "max_new_tokens=2")
    words += ("max_silent_rollouts=0",)
    train(tmp_path / "run", *words, "loss.correction=geometric_mask", "loss.off_policy_threshold=1")
    for line in metrics(tmp_path / "run"):
        assert line["overlong"] == 1  # no response ends within two tokens
        assert "loss" not in line  # a mean over nothing
        assert line["grad_norm"] == line["correction_masked"] == line["off_policy_masked"] == 0
        assert line["effective_share"] == line["correction_weight"] == 1


def test_padded_batches_give_what_trees_give(uninterrupted: Path, tmp_path: Path, train: Any) -> None:
    train(tmp_path / "run", "model.layout=padded")
    assert_close_run(tmp_path / "run", uninterrupted)


def test_two_ranks_go_on_as_one_in_another_stage(uninterrupted: Path, tmp_path: Path, train: Any, start: Any) -> None:
    out = tmp_path / "run"
    run = start(out, "engine.zero_stage=3", PARTITION_ALL, "save_every=1", ranks=2)
    run.wait_for(lambda: any(path.name >= "step-00000005" for path in checkpoints(out)))
    run.kill()
    assert not (out / MANIFEST).exists()
    train(out, "engine.zero_stage=1")
    assert_close_run(out, uninterrupted)


def test_killed_at_random_moments_a_run_resumes_to_the_same_bits(
    uninterrupted: Path, tmp_path: Path, train: Any, start: Any
) -> None:
    out, moments = tmp_path / "run", random.Random(5)
    seconds = (uninterrupted / MANIFEST).stat().st_mtime - (uninterrupted / "config.yaml").stat().st_mtime
    for _ in range(10):
        began = time.time()
        run = start(out, "save_every=1")
        run.wait_for(lambda t=began: (out / "config.yaml").is_file() and (out / "config.yaml").stat().st_mtime > t)
        time.sleep(moments.uniform(0, seconds / 3))
        run.kill()
        if (out / MANIFEST).exists():
            break
    train(out)
    assert_same_run(out, uninterrupted)
    assert (out / "samples.jsonl").read_text() == (uninterrupted / "samples.jsonl").read_text()


@pytest.mark.parametrize("words", [(), ("model.lora={r: 4}", "engine.zero_stage=1")], ids=["full", "adapters"])
def test_bf16_in_the_middle_of_a_rollout_and_after_a_reference_update(
    words: tuple[str, ...], tmp_path: Path, train: Any, start: Any
) -> None:
    words = (*words, "engine.dtype=bf16", "steps=6", "steps_per_rollout=2", "ref_update_steps=2")
    train(tmp_path / "whole", *words)
    out = tmp_path / "run"
    run = start(out, *words, "save_every=5")
    run.wait_for(lambda: len(checkpoints(out)) > 0)
    run.kill()
    train(out, *words)
    assert_same_run(out, tmp_path / "whole")


def test_sigterm_saves_and_the_same_command_goes_on(
    uninterrupted: Path, tmp_path: Path, train: Any, options: dict[str, Any]
) -> None:
    out = tmp_path / "run"
    said = training_runs.train_until_signal(out, "save_every=0", **options)
    assert "stopped by a signal" in said
    assert len(checkpoints(out)) == 1
    assert not (out / MANIFEST).exists()
    train(out, "save_every=0")
    assert_same_run(out, uninterrupted)


def test_a_finished_run_is_not_trained_again_and_another_configuration_is_refused(
    uninterrupted: Path, train: Any
) -> None:
    assert "holds the finished policy already" in train(uninterrupted)
    assert "temperature" in train(uninterrupted, "temperature=0.5", status=1)


def test_what_no_term_could_score_has_no_reward(tmp_path: Path, train: Any) -> None:
    words = ("rewards=[{term: 'letters:Letters'}, {term: 'letters:Broken'}]", "steps=2", "evaluation.data=[]")
    words = (*words, "max_reward_failures=1")
    train(tmp_path / "run", *words, "samples_per_log=16")
    first = metrics(tmp_path / "run")[0]
    samples = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    samples = [s for s in samples if s["pick"] == "random"]
    unscored = [s for s in samples if s["terms"]["broken"] is None]
    assert 0 < len(unscored) < len(samples) == 16
    assert first["unscorable"] == len(unscored) == first["unscorable/broken"] + first["failures/broken"]
    assert all(s["reward"] is None and s["advantage"] == 0 for s in unscored)


def test_prompts_without_signal_are_drawn_anew(tmp_path: Path, train: Any) -> None:
    # A format that an untrained policy never meets: no group has signal.
    words = ("rewards=[{term: format}]", "steps=2", "evaluation.data=[]", "resample_rounds=2", "max_silent_rollouts=0")
    train(tmp_path / "run", *words)
    first = metrics(tmp_path / "run")[0]
    assert first["groups_without_signal"] == 1
    assert (first["resampled_rounds"], first["prompts_drawn"]) == (2, 12)
    # With one that tells all apart, nothing is drawn twice.
    train(tmp_path / "other", "steps=2", "evaluation.data=[]", "resample_rounds=2")
    first = metrics(tmp_path / "other")[0]
    assert (first["resampled_rounds"], first["prompts_drawn"]) == (0, 4)


def test_a_run_whose_responses_are_all_left_out_stops_and_says_why(tmp_path: Path, train: Any) -> None:
    words = ("loss.overlong_filter=true", "max_new_tokens=1", "steps=4", "evaluation.data=[]", "max_silent_rollouts=1")
    said = train(tmp_path / "run", *words, status=1)
    assert "every response was cut at max_new_tokens, and loss.overlong_filter=true leaves those out" in said
    assert not (tmp_path / "run" / MANIFEST).exists()


@pytest.mark.parametrize(("words", "rollouts"), [(("max_silent_rollouts=2",), 2), ((), 4)], ids=["set", "all"])
def test_a_run_without_any_signal_stops_and_says_why(
    words: tuple[str, ...], rollouts: int, tmp_path: Path, train: Any
) -> None:
    said = train(tmp_path / "run", "rewards=[{term: format}]", "evaluation.data=[]", *words, status=1)
    assert f"{rollouts} rollouts in a row had no signal" in said
    assert "0 of 16 responses had no reward; the means of the terms were format 0 (16 scored)" in said
    assert not (tmp_path / "run" / MANIFEST).exists()
    assert len(metrics(tmp_path / "run")) == 2 * (rollouts - 1)


def test_a_term_is_given_whole_groups_on_every_rank(tmp_path: Path, train: Any) -> None:
    words = ("rewards=[{term: 'letters:AgainstGroup'}]", "evaluation.data=[]", "steps=4", "prompts_per_step=3")
    train(tmp_path / "one", *words)
    train(tmp_path / "two", *words, ranks=2)
    assert_close_run(tmp_path / "two", tmp_path / "one")
    first = metrics(tmp_path / "one")[0]
    assert first["reward"] == pytest.approx(0, abs=1e-9)  # in every group of four the values sum to 0
    assert first["groups_without_signal"] < 1


def test_a_value_that_is_not_finite_stops_the_run_before_the_weights(tmp_path: Path, train: Any) -> None:
    said = train(tmp_path / "run", "engine.lr=1e30", "evaluation.data=[]", status=1)
    assert "not finite" in said
    assert "nonfinite.safetensors" in said
    assert (tmp_path / "run" / "nonfinite.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("prompts.train=[]",), "prompts.train is empty"),
        (("rewards=[{term: acuracy}]",), "no term 'acuracy'"),
        (("rewards=[{trm: accuracy}]",), "did you mean rewards[0].term"),
        (("ref_update_steps=3",), "must be a multiple of steps_per_rollout"),
        (("samples_per_prompt=1",), "relative to the prompt's other samples"),
        (("prompts.max_length=3",), "no prompt is left"),
        (("max_new_tokens=250",), "more than the 256 positions"),
    ],
)
def test_what_cannot_work_is_refused_before_the_model_is_loaded(
    words: tuple[str, ...], reason: str, tmp_path: Path, train: Any
) -> None:
    assert reason in train(tmp_path / "run", *words, status=1)


def test_saved_weights_are_fp32_on_a_cpu(uninterrupted: Path) -> None:
    assert {tensor.dtype for tensor in weights(uninterrupted).values()} == {torch.float32}


def test_every_metric_is_documented(uninterrupted: Path) -> None:
    text = (training_runs.ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    names = {name for line in lines for name in line} - {"step", "phase", "rollout"}
    for name in names:
        family, _, member = name.partition("/")
        known = (f"`{name}`", f"`{family}/NAME`", f"`{family}/DOMAIN`", f"`{family}/ENTRY`", f"`{family}/PART`")
        ending = [f"`eval/NAME_{way}`" for way in ("greedy", "sampled") if member.endswith(way)]
        known_pass = ["`eval/pass@K`"] if member.startswith("pass@") else []
        assert any(each in text for each in (*known, *ending, *known_pass)), name
        # A guard may watch it; the term of an import path is not known without it.
        assert "letters" in name or metric_problem(name, ["format"], 2) is None


def test_a_server_samples_the_same_for_two_ranks_under_zero_3_as_for_one(tmp_path: Path, train: Any) -> None:
    with stand_in() as server:
        words = ("rollout.engine=vllm", f"rollout.urls=[{server.url}]", "steps=4", "evaluation.data=[]")
        words = (
            *words,
            f"rollout.vllm_group_port={free_port()}",
            "max_silent_rollouts=0",
        )  # the stand-in's responses are no text
        said = train(tmp_path / "one", *words)
        assert "it samples from another model" in said  # the stand-in makes its log-probabilities up
        alone, server.announced = sorted(server.announced), []
        train(*(tmp_path / "two", *words, "engine.zero_stage=3", PARTITION_ALL), ranks=2)
    assert sorted(server.announced) == alone  # whole weights, whatever the partitions
    assert_close_run(tmp_path / "two", tmp_path / "one")


def test_a_server_that_is_down_stops_every_rank(tmp_path: Path, train: Any) -> None:
    words = ("rollout.engine=vllm", "rollout.urls=['http://127.0.0.1:9']", "rollout.vllm_start_seconds=0.1")
    said = train(tmp_path / "run", *words, ranks=2, status=1)
    assert said.count("not up after 0.1 s") == 2
    assert "Traceback" not in said
