"""Overlap of sampling, scoring and updates: the same bits as one after the other, and servers that are lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_runs
from stand_in_vllm import StandIn, free_port, stand_in
from training_runs import assert_same_run, checkpoints, metrics
from transformers import AutoTokenizer

from align.config import AlignConfig
from align.objective.advantages import group_advantages
from align.rollouts.prompts import draw, load_prompts
from align.timetable import engines_of
from align.training.update import minibatch, minibatches
from reward_models.runtime.config import load_config

OVERLAP = "rollout.overlap=true"


@pytest.fixture
def server() -> Iterator[StandIn]:
    with stand_in() as state:
        state.weighs = True
        state.delay = 0.02
        yield state


@pytest.fixture(scope="module")
def settings(policy: Path) -> tuple[str, ...]:
    """Three steps a rollout; phases, checkpoints and evaluations change in the middle of one."""
    return (
        f"model.path={policy}",
        "prompts.train=['synthetic:reasoning:train', 'synthetic:helpful:train']",
        "prompts.limit=12",
        "rewards=[{term: 'letters:Brief', weight: [[0, 1.0], [8, 2.0]]}, {term: 'letters:Slow'}]",
        "phases=[{name: first, until: 4, mix: {reasoning: 1}}, "
        "{name: second, until: 9, mix: {reasoning: 1, helpfulness: 1}, temperature: 0.7, lr: 1e-3, max_new_tokens: 8}]",
        "guards=[{watch: reward, below: 100, action: lower, entries: ['letters:Brief'], factor: 0.9}, "
        "{watch: kl_first, above: 0, action: warn}]",
        "evaluation.data=['synthetic:reasoning:test']",
        "evaluation.limit=2",
        "evaluation.samples=2",
        "evaluation.every=4",
        "steps=9",
        "prompts_per_step=2",
        "samples_per_prompt=4",
        "steps_per_rollout=3",
        "ref_update_steps=6",
        "max_new_tokens=10",
        "max_tokens=120",
        "loss.beta=0.05",
        "engine.dtype=fp32",
        "engine.lr=3e-3",
        "save_every=5",
        "samples_per_log=24",
        "loggers=[]",
        "timeout_seconds=60",
        "rollout.engine=vllm",
    )


@pytest.fixture
def start(settings: tuple[str, ...], server: StandIn) -> Any:
    """Starts a run over the server."""
    return partial(training_runs.start, settings=(*settings, *over(server)), program="align.train")


def over(*servers: StandIn) -> tuple[str, str]:
    port = free_port(len(servers))
    return f"rollout.urls={[each.url for each in servers]}", f"rollout.vllm_group_port={port}"


def lines(out: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]


def assert_same_files(out: Path, other: Path) -> None:
    assert_same_run(out, other)
    for name in ("samples.jsonl", "guards.jsonl", "held_out.jsonl"):
        assert (out / name).read_text() == (other / name).read_text(), name


@pytest.mark.parametrize("ranks", [1, 2])
def test_overlap_changes_no_bit(ranks: int, start: Any, tmp_path: Path) -> None:
    """Over a switch of phases, checkpoints and evaluations in the middle of rollouts, guards, slow terms."""
    apart, together = tmp_path / "apart", tmp_path / "together"
    start(apart, ranks=ranks).finish()
    start(together, OVERLAP, ranks=ranks).finish()
    assert_same_files(together, apart)
    assert [line["phase"] for line in metrics(together)[1:]] == ["first"] * 6 + ["second"] * 3
    assert {line["done"].partition(" ")[0] for line in lines(together, "guards")} == {"letters:Brief", "warned"}
    assert min(line["grad_norm"] for line in metrics(together)[1:]) > 0


def test_overlap_makes_a_step_while_the_prompts_of_later_ones_are_not_answered(
    settings: tuple[str, ...], start: Any, server: StandIn, policy: Path, tmp_path: Path
) -> None:
    words = ("steps=3", "phases=[]", "evaluation.data=[]", "save_every=0", "guards=[]", OVERLAP)
    config = load_config(AlignConfig, None, [*settings, *words])
    prompts = load_prompts(config.prompts, AutoTokenizer.from_pretrained(policy), config.prompts.train, 12)
    items = draw(len(prompts), 0, config.prompts_per_rollout, config.seed)
    last = [prompts.ids[items[place]].tolist() for place in minibatch(2, config)]
    held = []

    def hold(answer: dict[str, Any]) -> dict[str, Any]:
        if answer["choices"][0]["prompt_token_ids"] in last:
            run.wait_for(lambda: "policy 1/3" in run.log.read_text())
            held.append(answer)
        return answer

    server.spoil = hold
    run = start(tmp_path / "run", *words)
    run.finish()
    assert len(held) == 2
    spans = lines(tmp_path / "run", "timeline")
    update = next(span for span in spans if span["part"] == "update" and span["step"] == 1)
    scored = next(span for span in spans if span["part"] == "score" and span["step"] == 3)
    assert scored["began"] > update["began"]
    assert {span["part"] for span in spans} == {"generate", "score", "rollout", "rewards", "logprobs", "update"}
    assert [line["step"] for line in metrics(tmp_path / "run")] == [1, 2, 3]


def test_overlap_killed_in_the_middle_of_a_rollout_goes_on_to_the_same_bits(start: Any, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    start(whole).finish()
    for name, words in (("with", (OVERLAP,)), ("without", ())):
        out = tmp_path / name
        run = start(out, OVERLAP, "save_every=2")
        run.wait_for(lambda folder=out: any(path.name >= "step-00000004" for path in checkpoints(folder)))
        run.kill()
        assert not (out / "policy.json").exists()
        start(out, "save_every=2", *words).finish()
        assert_same_files(out, whole)


def test_overlap_keeps_the_same_best_policy(start: Any, tmp_path: Path) -> None:
    best = "keep_best={metric: eval/brief_sampled, mode: min}"
    words = ("steps=4", "phases=[]", "guards=[]", "evaluation.every=1", "evaluation.samples=2", best)
    start(tmp_path / "apart", *words).finish()
    start(tmp_path / "together", *words, OVERLAP).finish()
    apart, together = (tmp_path / name / "best" for name in ("apart", "together"))
    assert (together / "best.json").read_text() == (apart / "best.json").read_text()
    assert (together / "model.safetensors").read_bytes() == (apart / "model.safetensors").read_bytes()


def test_overlap_goes_back_where_a_guard_says_so(start: Any, tmp_path: Path) -> None:
    """A rule is broken in step 5, to which step 6 has been added when the rollout is complete."""
    words = ("steps=8", "phases=[]", "evaluation.data=[]", "steps_per_rollout=4", "ref_update_steps=4", "save_every=3")
    start(tmp_path / "free", *words, "guards=[]").finish()
    steps = metrics(tmp_path / "free")[:5]
    rules = []
    for name in ("grad_norm", "entropy", "loss", "advantage_size", "mismatch"):
        *before, last = (line[name] for line in steps)
        if last > max(before):
            rules.append(f"{{watch: {name}, above: {(last + max(before)) / 2}, action: rollback}}")
        if last < min(before):
            rules.append(f"{{watch: {name}, below: {(last + min(before)) / 2}, action: rollback}}")
    status = []
    for name, more in (("apart", ()), ("together", (OVERLAP,))):
        (rank,) = start(tmp_path / name, *words, f"guards=[{rules[0]}]", *more).ranks
        rank.join(120)
        status.append(rank.exitcode)
    assert status[0] == status[1]
    assert lines(tmp_path / "apart", "guards")[0]["done"] == "back to step-00000003"
    for name in ("guards", "samples"):
        assert lines(tmp_path / "together", name) == lines(tmp_path / "apart", name)
    assert metrics(tmp_path / "together") == metrics(tmp_path / "apart")


@pytest.mark.parametrize(
    "words",
    [
        ("loss.aggregation=gdpo",),
        ("rewards=[{term: 'letters:Brief', normalise: running}, {term: 'letters:Slow'}]", "guards=[]"),
        ("resample_rounds=1",),
    ],
    ids=["gdpo", "running", "resampling"],
)
def test_overlap_waits_where_a_setting_compares_the_whole_rollout(
    words: tuple[str, ...], start: Any, tmp_path: Path
) -> None:
    words = (*words, "steps=3", "phases=[]", "evaluation.data=[]")
    start(tmp_path / "apart", *words).finish()
    said = start(tmp_path / "together", *words, OVERLAP).finish()
    assert "the updates wait for the whole rollout" in said
    assert_same_run(tmp_path / "together", tmp_path / "apart")


def test_overlap_over_several_servers_and_the_loss_of_one(
    settings: tuple[str, ...], start: Any, server: StandIn, tmp_path: Path
) -> None:
    """Its prompts go to the other with the same seeds; a server that is back gets the weights before it is used."""
    words = ("steps=6", "phases=[]", "evaluation.data=[]", "save_every=0")
    start(tmp_path / "one", *words).finish()
    with stand_in() as other:
        other.weighs, other.dies_after = True, 2
        both = (*settings, *over(server, other))
        said = training_runs.train(tmp_path / "two", *words, OVERLAP, settings=both, program="align.train")
        assert f"the rollout server {other.url} is lost" in said
        assert len(other.payloads) == 2
        moved = [line.pop("engine/prompts_moved") for line in metrics(tmp_path / "two") if "reward" in line]
        assert moved[0] >= 1
        assert moved[1] == 0
    ours = [{k: v for k, v in line.items() if not k.startswith("engine/")} for line in metrics(tmp_path / "two")]
    assert ours == metrics(tmp_path / "one")
    one, two = (training_runs.weights(tmp_path / name) for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_overlap_ends_where_all_servers_are_lost(settings: tuple[str, ...], tmp_path: Path) -> None:
    with stand_in() as one, stand_in() as other:
        one.dies_after, other.dies_after = 1, 2
        both = (*settings, *over(one, other), "evaluation.data=[]", OVERLAP)
        said = training_runs.train(tmp_path / "run", settings=both, program="align.train", ranks=2, status=1)
    named = [text for text in said.split("rollout servers") if "no server is left" in text]
    assert any(one.url in text.partition("no server is left")[2] for text in named)
    assert any(other.url in text.partition("no server is left")[2] for text in named)
    assert "Traceback" not in said


def test_overlap_with_a_rollout_ahead_says_how_old_its_responses_are_and_resumes_to_the_same_bits(
    start: Any, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    words = (OVERLAP, "rollout.ahead=1")
    start(whole, *words).finish()
    assert [line["staleness"] for line in metrics(whole)[1:]] == [0, 1, 2, 3, 4, 5, 3, 4, 5]
    run = start(out, *words, "save_every=4")
    run.wait_for(lambda: any(path.name >= "step-00000004" for path in checkpoints(out)))
    run.kill()
    for later in sorted(checkpoints(out))[1:]:
        shutil.rmtree(later)
    start(out, *words, "save_every=4").finish()
    assert_same_files(out, whole)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((OVERLAP,), "samples with that model: set rollout.engine=vllm"),
        (("rollout={engine: vllm, ahead: 1}",), "set rollout.overlap=true too"),
        (("rollout={engine: vllm, overlap: true, ahead: 2}",), "0 or 1 rollouts ahead"),
        (("rollout={engine: vllm, overlap: true, ahead: 1}", "loss.correction=never"), "set loss.correction=auto"),
        (("rollout.urls=[]",), "name at least one server"),
        (("rollout.urls=['http://a:1', 'http://a:1/']",), "names a server twice"),
        (("rollout.vllm_base_url=http://a:1",), "urls"),
        (("rollout.urls=['http://a:1']",), "rollout.urls has no part in rollout.engine=local: set rollout.engine=vllm"),
        (("rollout.vllm_memory=0.3",), "set rollout.engine=vllm_colocated, or take it out"),
        (("rollout={engine: vllm_colocated, vllm_group_port: 5}",), "has no part in rollout.engine=vllm_colocated"),
    ],
)
def test_overlap_that_cannot_work_is_refused(words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        load_config(AlignConfig, None, list(words))


def test_overlap_is_told_before_a_run() -> None:
    def told(*words: str) -> str:
        return "\n".join(engines_of(load_config(AlignConfig, None, list(words))))

    assert told().endswith("one thing after the other")
    assert "rollout.max_rows has no effect" in told("rollout={engine: vllm, max_rows: 8}")
    two = "rollout={engine: vllm, overlap: true, urls: ['http://a:1', 'http://b:2'], ahead: 1}"
    assert "2 vLLM servers: http://a:1, http://b:2" in told(two)
    assert "when its own prompts are answered and scored" in told(two)
    assert "weights that are 16 to 31 updates old" in told(two)
    assert "the updates wait for the whole rollout, for loss.aggregation=gdpo" in told(two, "loss.aggregation=gdpo")


def test_overlap_steps_of_a_rollout_share_its_prompts() -> None:
    config = AlignConfig(steps=12, prompts_per_step=3, steps_per_rollout=4, ref_update_steps=4)
    parts = minibatches(8, config)
    assert sorted(place for part in parts for place in part) == list(range(12))
    assert parts == [minibatch(step, config) for step in (8, 9, 10, 11)]
    assert minibatches(10, config) == [parts[2], parts[3], parts[0], parts[1]]  # as after a rollback


def test_overlap_advantages_of_a_group_do_not_depend_on_the_other_groups() -> None:
    rewards = torch.from_numpy(np.random.default_rng(0).normal(size=(48, 16)))
    rewards[3, :5] = torch.nan
    for kind in ("group", "mean", "leave_one_out"):
        whole = group_advantages(rewards, kind).advantages_PG  # type: ignore[arg-type]
        for size in (1, 2, 7):
            parts = [group_advantages(part, kind).advantages_PG for part in rewards.split(size)]  # type: ignore[arg-type]
            assert torch.equal(torch.cat(parts), whole)
