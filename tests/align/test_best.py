"""The best policy by a held-out metric: hand-made values, rotation, kills, rollbacks, and whole runs."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import training_runs
from training_runs import checkpoints, metrics, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from align.best import Best, KeepBestConfig, check_metric, sentence, updated
from align.best_folder import check_present, folder_at, prune, publish
from align.config import AlignConfig
from align.reporting.manifest import is_complete
from align.reporting.report import report
from align.reporting.runs import read_run
from reward_models.runtime.checkpoint import CheckpointError
from reward_models.runtime.config import ConfigError, load_config

NAME = "eval/accuracy_greedy"
NAME_OF_COST = "eval/letters_sampled"  # of whole runs


def course(values: list[float], mode: Any) -> tuple[Best | None, list[int]]:
    """The best of values measured after steps 0, 10, 20, …, and the steps at which it was replaced."""
    best, replaced = None, []
    for number, value in enumerate(values):
        best, better = updated(best, 10 * number, value, KeepBestConfig(metric=NAME, mode=mode))
        replaced += [10 * number] if better else []
    return best, replaced


def test_the_best_is_the_highest_or_the_lowest_and_of_equal_ones_the_earlier() -> None:
    values = [0.2, 0.5, 0.4, 0.5, 0.6, 0.6, 0.1]
    assert course(values, "max") == (Best(NAME, 40, 0.6, 60, 0.1), [0, 10, 40])
    assert course(values, "min") == (Best(NAME, 60, 0.1, 60, 0.1), [0, 60])
    assert course([0.3, 0.3, 0.3], "max") == (Best(NAME, 0, 0.3, 20, 0.3), [0])


def checkpoint(folder: Path, step: int, best: int | None) -> None:
    path = folder / f"step-{step:08d}"
    path.mkdir(parents=True)
    state = {"step": step, "best": None if best is None else {"step": best, "value": 1.0}}
    (path / "state.json").write_text(json.dumps(state))


def test_no_policy_is_deleted_that_a_checkpoint_names(tmp_path: Path) -> None:
    for step in (0, 10, 20, 30):
        folder_at(tmp_path, step).mkdir()
    checkpoint(tmp_path, 20, 10)
    checkpoint(tmp_path, 30, 30)
    (tmp_path / "best-of-all").mkdir()
    prune(tmp_path)
    assert {path.name for path in tmp_path.glob("best-*")} == {"best-00000010", "best-00000030", "best-of-all"}


def test_the_best_becomes_a_folder_of_the_run_and_one_that_is_missing_is_an_error(tmp_path: Path) -> None:
    kept = folder_at(tmp_path / "checkpoints", 10)
    kept.mkdir(parents=True)
    (kept / "best.json").write_text('{"step": 10}')
    for _ in range(2):  # again after a kill
        check_present(tmp_path, Best(NAME, 10, 1.0, 30, 0.5))
        assert json.loads((publish(tmp_path, Best(NAME, 10, 1.0, 30, 0.5)) / "best.json").read_text()) == {"step": 10}
    with pytest.raises(CheckpointError, match="best-00000020 as the best policy, and it is not there"):
        check_present(tmp_path, Best(NAME, 20, 1.0, 30, 0.5))


def test_what_is_said_at_the_end() -> None:
    said = sentence(Best(NAME, 10, 0.75, 30, 0.5), Path("runs/x"))
    assert "after the last step (30): 0.5; the best: 0.75 after step 10" in said
    assert "model.path=runs/x/best" in said
    assert "the best of the run" in sentence(Best(NAME, 30, 0.5, 30, 0.5), Path("runs/x"))


def test_a_metric_that_no_evaluation_measures_is_refused() -> None:
    check_metric(KeepBestConfig(metric="eval/format_sampled"), ["accuracy", "format"], 4)
    check_metric(KeepBestConfig(metric="eval/pass@4"), ["format"], 4)
    for metric in ("eval/pass@3", "eval/pass@8", "eval/formt_sampled", "eval/accuracy"):
        with pytest.raises(ValueError, match=r"is not measured; .*eval/format_sampled"):
            check_metric(KeepBestConfig(metric=metric), ["format"], 4)
    with pytest.raises(ValueError, match="no held-out metric"):
        KeepBestConfig(metric="reward")
    with pytest.raises(ConfigError, match=r"set evaluation.data and evaluation.every"):
        load_config(AlignConfig, "cpu", ["keep_best={metric: eval/accuracy_greedy}", "evaluation.every=0"])


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def options(policy: Path) -> dict[str, Any]:
    settings = (
        f"model.path={policy}",
        "prompts.train=['synthetic:reasoning:train']",
        "prompts.limit=20",
        "rewards=[{term: 'letters:Letters', weight: [[0, -1.0], [6, -1.0], [6, 1.0]]}]",  # unlearnt, and learnt
        *("evaluation.data=['synthetic:reasoning:test']", "evaluation.limit=4", "evaluation.samples=2"),
        "evaluation.every=2",
        "keep_best={metric: eval/letters_sampled, mode: min}",
        *("steps=12", "prompts_per_step=2", "samples_per_prompt=2", "steps_per_rollout=1", "max_silent_rollouts=0"),
        *("max_new_tokens=8", "max_tokens=120", "loss.beta=0.0", "engine.dtype=fp32", "engine.lr=6e-3"),
        *("save_every=3", "keep_checkpoints=1", "loggers=[]", "timeout_seconds=60"),
    )
    return {"settings": settings, "program": "align.train"}


@pytest.fixture(scope="module")
def train(options: dict[str, Any]) -> Any:
    return partial(training_runs.train, **options)


@pytest.fixture(scope="module")
def whole(train: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("best") / "whole"
    return out, train(out, charts=True)


def best_of(out: Path, name: str = "eval/letters_sampled") -> tuple[int, float]:
    """(step, value), read from the metrics."""
    values = [(line["step"], line[name]) for line in metrics(out) if name in line]
    return min(values, key=lambda each: (each[1], each[0]))


def test_the_best_policy_is_kept_exported_and_reported(whole: tuple[Path, str]) -> None:
    out, said = whole
    step, value = best_of(out)
    facts = json.loads((out / "best" / "best.json").read_text())
    assert facts == {"metric": "eval/letters_sampled", "mode": "min", "step": step, "value": value}
    assert f"the best: {value:.4g} after step {step}" in said or f"({step}): {value:.4g}, the best" in said
    assert json.loads((out / "policy.json").read_text())["best"]["step"] == step
    assert is_complete(out / "best")
    assert AutoTokenizer.from_pretrained(out / "best").chat_template
    AutoModelForCausalLM.from_pretrained(out / "best")
    assert not list((out / "checkpoints").glob("best-*"))
    run = read_run(out)
    assert run.best is not None
    assert (run.best.step, run.best.value) == (step, value)
    assert "best letters" in report([out], out.parent / "page.html").read_text()


def test_the_exported_weights_are_those_of_that_step(whole: tuple[Path, str], train: Any, tmp_path: Path) -> None:
    step, _ = best_of(whole[0])
    assert 0 < step < 12  # neither the first nor the last policy
    train(tmp_path / "short", "keep_best=null", f"steps={step}")
    ours, theirs = weights(whole[0] / "best"), weights(tmp_path / "short")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_killed_after_each_evaluation_the_best_is_the_same(
    whole: tuple[Path, str], options: dict[str, Any], train: Any, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    for number in (1, 3, 5):
        run = training_runs.start(out, **options)
        run.wait_for(lambda n=number: (out / "metrics.jsonl").is_file() and len(evaluated(out)) >= n)
        run.kill()
    train(out)
    assert json.loads((out / "best" / "best.json").read_text()) == json.loads(
        (whole[0] / "best" / "best.json").read_text()
    )
    ours, theirs = weights(out / "best"), weights(whole[0] / "best")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def evaluated(out: Path) -> list[str]:
    return [line for line in (out / "metrics.jsonl").read_text().splitlines() if "eval/letters_sampled" in line]


def test_two_ranks_of_zero_3_keep_the_same(whole: tuple[Path, str], train: Any, tmp_path: Path) -> None:
    train(tmp_path / "run", "engine.zero_stage=3", training_runs.PARTITION_ALL, ranks=2)
    assert best_of(tmp_path / "run")[0] == best_of(whole[0])[0]
    ours, theirs = weights(tmp_path / "run" / "best"), weights(whole[0] / "best")
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=2e-4)


def test_adapters_are_merged_into_the_best_and_training_goes_on(train: Any, tmp_path: Path) -> None:
    words = ("model.lora={r: 4}", "steps=4", "engine.lr=3e-2")
    train(tmp_path / "kept", *words)
    train(tmp_path / "plain", *words, "keep_best=null")
    assert metrics(tmp_path / "kept") == metrics(tmp_path / "plain")
    assert not any("lora" in name for name in weights(tmp_path / "kept" / "best"))


def test_after_a_rollback_the_best_is_one_of_the_steps_that_stand(
    whole: tuple[Path, str], options: dict[str, Any], tmp_path: Path
) -> None:
    """A guard undoes the best evaluation after it was kept; what the undone steps had kept is not named again."""
    values = [
        (line["step"], line["eval/letters_sampled"]) for line in metrics(whole[0]) if "eval/letters_sampled" in line
    ]
    place = min(range(1, len(values) - 1), key=lambda n: values[n][1])
    bound = max(values[place][1], values[place + 1][1]) + 1e-6
    guard = f"guards=[{{watch: eval/letters_sampled, below: {bound}, patience: 2, action: rollback}}]"
    out = tmp_path / "run"
    (rank,) = training_runs.start(out, guard, "keep_checkpoints=9", **options).ranks
    rank.join(120)  # with an error, where the rule is broken again and again
    alarms = [json.loads(line) for line in (out / "guards.jsonl").read_text().splitlines()]
    assert alarms[0]["done"].startswith("back to step-")
    lines = metrics(out)
    named = set()
    for path in checkpoints(out):
        state = json.loads((path / "state.json").read_text())
        seen = [
            (line[NAME_OF_COST], line["step"])
            for line in lines
            if NAME_OF_COST in line and line["step"] <= state["step"]
        ]
        assert (state["best"]["value"], state["best"]["step"]) == min(seen), path
        named.add(state["best"]["step"])
    kept = {int(path.name.partition("-")[2]): path for path in (out / "checkpoints").glob("best-*")}
    if (out / "best").is_dir():
        kept[json.loads((out / "best" / "best.json").read_text())["step"]] = out / "best"
    assert named <= kept.keys()
    by_step = {line["step"]: line[NAME_OF_COST] for line in lines if NAME_OF_COST in line}
    for step in named:
        assert json.loads((kept[step] / "best.json").read_text())["value"] == by_step[step]


def test_a_metric_without_a_value_is_refused_before_the_first_step(train: Any, tmp_path: Path) -> None:
    said = train(tmp_path / "misspelt", "keep_best={metric: eval/leters_sampled}", status=1)
    assert "eval/leters_sampled is not measured" in said
    entry = "rewards=[{term: 'letters:Letters'}, {term: repetition, domains: [helpfulness], weight: 0}]"
    said = train(tmp_path / "nowhere", entry, "keep_best={metric: eval/repetition_sampled}", status=1)
    assert "applies to no held-out prompt. It has measured eval/accuracy_greedy" in said
    assert not checkpoints(tmp_path / "nowhere")
