"""The projects of DeepSeek-R1's recipe: their numbers, and a shortened r1_cpu from nothing to its report."""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import cache
from pathlib import Path
from typing import Any

import preloaded
import pytest
from projects import MODEL, keel_run, wait_for, wait_until_unlocked
from tiny_bases import tiny_base

from align.config import phases_of
from align.samples.config import SampleConfig
from align.samples.mixing import R1_DATA
from align.samples.sampling import sample
from keel.pipeline.project import PolicyEvaluation, ProjectConfig, load_project
from keel.pipeline.stage import Stage, StageConfig
from reward_models.runtime.config import ConfigError, load_config
from reward_models.runtime.resumable import note_of

MAIN = ["helpful", "safety", "cold_start", "reasoning", "sampling", "selection", "sft", "alignment"]


@cache
def load(project: str, *words: str) -> tuple[ProjectConfig, dict[str, Stage]]:
    loaded, stages = load_project(project, words)
    return loaded, {stage.name: stage for stage in stages}


BRANCHES = ("stages.r1_zero.enabled=true", "stages.sft_random.enabled=true")


# --- the numbers of the report (arXiv:2501.12948v2) -----------------------------------------------------------------


@pytest.mark.parametrize("project", ["r1", "r1_one_gpu", "r1_cpu"])
def test_the_stages_follow_one_another_as_in_the_report(project: str) -> None:
    loaded, stages = load(project, *BRANCHES)
    assert [name for name in stages if name in MAIN] == MAIN
    root, base = loaded.output_dir, loaded.base_model
    paths = {
        name: stages[name].config.model.path for name in ("cold_start", "reasoning", "sampling", "sft", "alignment")
    }
    assert paths == {
        "cold_start": base,
        "reasoning": f"{root}/cold_start",
        "sampling": f"{root}/reasoning",
        "sft": base,  # the report fine-tunes the base model on what the policy of reasoning has written
        "alignment": f"{root}/sft",
    }
    assert stages["selection"].config.samples == [f"{root}/sampling/samples.jsonl"]
    assert stages["sft"].config.data.train == [f"{root}/selection/train.jsonl"]
    assert stages["selection"].config.others  # general data join the selected samples
    assert stages["selection"].config.against
    random = stages["sft_random"].config
    assert random.data.train == [f"{root}/selection/random.jsonl"]
    ours, theirs = vars(stages["sft"].config), vars(random)
    assert {key for key in ours if ours[key] != theirs[key]} == {"data", "output_dir"}
    assert stages["helpful"].config.data.span == "summary"
    assert stages["safety"].config.data.span == "full"
    last = stages["alignment"].config
    assert [term.term for term in last.rewards] == ["accuracy", "format", "language", "helpful", "safety"]
    assert [term.arguments.get("model") for term in last.rewards[3:]] == [f"{root}/helpful", f"{root}/safety"]
    first, second = phases_of(last)
    assert (first.mix.keys(), second.mix.keys()) == ({"reasoning"}, {"reasoning", "helpfulness", "safety"})
    assert last.phases[1].until == last.steps
    assert last.phases[0].until / last.steps == pytest.approx(1300 / 1700, abs=0.003)
    assert last.temperature == 0.7
    evaluated = [name.removeprefix("evaluate_") for name in stages if name.startswith("evaluate_")]
    assert evaluated == ["base", *(name for name in stages if stages[name].settings.train in ("sft", "align"))]


def test_the_clusters_project_has_the_reports_numbers() -> None:
    _, stages = load("r1", *BRANCHES)
    assert not any(load_config(ProjectConfig, "r1").stages[name].enabled for name in ("r1_zero", "sft_random"))
    reasoning, last, zero = (stages[name].config for name in ("reasoning", "alignment", "r1_zero"))
    for config in (reasoning, last, zero):
        assert (config.prompts_per_step, config.samples_per_prompt, config.steps_per_rollout) == (32, 16, 16)
        assert (config.engine.lr, config.loss.beta, config.loss.clip_high) == (3e-6, 0.001, 10)
        assert config.ref_update_steps == 400
    assert (reasoning.temperature, zero.temperature, zero.steps) == (1.0, 1.0, 10_400)
    assert (last.steps, last.phases[0].until) == (1700, 1300)
    assert {term.weight for term in last.rewards} == {1.0}
    for name in ("helpful", "safety"):
        model = stages[name].config
        assert (model.batch_size, model.engine.lr, model.epochs, model.data.max_length) == (256, 6e-6, 1, 8192)
    assert set(last.prompts.domains.values()) == {"helpfulness", "safety"}
    sampling, fine = stages["sampling"].config, stages["sft"].config
    assert (sampling.temperature, sampling.top_p, sampling.max_new_tokens) == (0.6, 0.95, 32_768)
    assert stages["selection"].config.counts == {name: rows for name, (rows, _) in R1_DATA.items()}
    assert (fine.batch_size, fine.data.max_length) == (64, 32_768)
    assert 2 <= fine.epochs <= 3
    assert fine.engine.schedule_options == {"min_lr_rate": 0.1}
    judged = stages["evaluate_base"].config
    assert (judged.samples, judged.temperature, judged.top_p, judged.max_new_tokens) == (64, 0.6, 0.95, 32_768)


def test_a_stage_that_is_left_out_cannot_be_read() -> None:
    with pytest.raises(ConfigError, match=r"stages\.cold_start reads stage r1_zero, which has enabled: false"):
        load_project("r1_cpu", ['stages.cold_start.settings.model.path="${output_dir}/r1_zero"'])
    with pytest.raises(ConfigError, match=r"evaluation\.policies: r1_zero is no enabled stage"):
        load_project("r1_cpu", ["evaluation.policies=[r1_zero]"])


# --- stages that sample and select ---------------------------------------------------------------------------------

SMALL = """
name: small
output_dir: out
stages:
  cold_start: {train: sft, config: sft_cpu}
  sampling:
    command: sample
    settings: {model: {path: "${output_dir}/cold_start"}, prompts: {train: ["synthetic:additions:train"]}}
  selection: {command: select, settings: {samples: ["${output_dir}/sampling/samples.jsonl"]}}
  fine: {train: sft, config: sft_cpu, settings: {data: {train: ["${output_dir}/selection/train.jsonl"]}}}
"""


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stages.selection.settings.samples=[out/sampling/more.jsonl]", "stage sampling makes samples.jsonl"),
        ("stages.selection.settings.samples=[out/cold_start/a.jsonl]", "makes no data that could be read here"),
        ("stages.selection.settings.samples=[]", "samples is empty"),
        ("stages.sampling.settings.prompts.train=[out/fine/a.jsonl]", "stage fine does not come before it"),
        ("stages.fine.settings.model={path: out/selection, config: null}", "stage selection, which makes no model"),
        ("stages.sampling.train=rm", "a stage has either train (rm, sft, align) or command (sample, select, evaluate)"),
        ("stages.selection.processes=2", "it takes neither processes nor a launcher"),
        ("stages.sampling.settings.out=a.jsonl", "out cannot be set in a stage: the project sets them"),
        ("stages.fine.enabled=false", ""),
        ("stages.selection.enabled=false", "stages.fine reads stage selection, which has enabled: false"),
    ],
)
def test_stages_read_what_stages_before_them_make(
    word: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SMALL)
    status, said = keel_run("small.yaml", "--dry-run", word)
    assert (status, reason in said) == (2 if reason else 0, True), said
    if not reason:
        assert "samples: out/sampling/samples.jsonl (stage sampling)" in said
        assert "keel data select --config out/configs/selection.yaml" in said
        assert "fine" not in said


# --- a shortened run --------------------------------------------------------------------------------------------------

REPLY = "<think>easy</think><answer>7</answer>"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings that make r1_cpu a matter of seconds: tiny models, two steps, prompts of which half have one answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", preloaded.python())
    tiny_base(tmp_path / "base", "qwen3", pad="<|pad|>")
    prompts = [{"prompt": f"{a} + {b}?", "answer": str(a + b)} for a, b in [(3, 4), (2, 5), (1, 6), (5, 5)]]
    prompts = [{"prompt": f"{row['prompt']} {n}", "answer": row["answer"]} for n in range(16) for row in prompts]
    held_out = [{"prompt": f"So, {a} + {b} is?", "answer": str(a + b)} for a, b in [(0, 7), (4, 3), (4, 4)]]
    domains = ("helpfulness", "safety")
    general = [{"prompt": f"Say hello {n}", "domain": domain} for n in range(4) for domain in domains]
    held_out += [{"prompt": f"Would you greet {n}?", "domain": domain} for n in range(4) for domain in domains]
    demonstrations = [{"prompt": row["prompt"], "response": REPLY} for row in [*prompts, *general]]
    for name, rows in (("prompts", prompts), ("held", held_out), ("general", general)):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("demonstrations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in demonstrations))
    return [*_short(), "output_dir=out", "base_model=base"]


def _short() -> list[str]:
    prompts = {"train": ["prompts.jsonl"], "language": "en"}
    sampled = {"samples": 2, "max_new_tokens": 24, "dtype": "fp32"}
    data = {"limit": 60, "eval": [], "eval_fraction": 0.2, "calibration_fraction": 0.2}
    model = {"max_steps": 2, "batch_size": 8, "model": {"config": MODEL, "vocab_size": 400}, "data": data}
    fine = {"engine": {"lr": 5e-3, "dtype": "fp32"}, "batch_size": 8, "max_tokens": 1024}
    loop = {"steps": 2, "prompts_per_step": 2, "samples_per_prompt": 2, "max_new_tokens": 24, "max_silent_rollouts": 0}
    loop |= {"ref_update_steps": 1, "engine": {"dtype": "fp32"}, "evaluation": {"data": ["held.jsonl"], "every": 0}}
    phases = [
        {"name": "reasoning", "until": 1, "mix": {"reasoning": 1}},
        {"name": "preference", "until": 2, "mix": {"reasoning": 1, "helpfulness": 1}},
    ]
    both = {"train": ["prompts.jsonl", "general.jsonl"], "language": "en"}
    stages: dict[str, dict[str, Any]] = {
        "helpful": {"config": "helpful_demo", "settings": model},
        "safety": {"config": "safety_demo", "settings": model},
        "cold_start": {"settings": {**fine, "data": {"train": ["demonstrations.jsonl"]}, "epochs": 12}},
        "reasoning": {"processes": 1, "settings": {**loop, "prompts": prompts}},
        "sampling": {"processes": 1, "settings": {**sampled, "prompts": prompts, "chunk": 2}},
        "selection": {"settings": {"against": ["held.jsonl"], "filters": {"min_language": 0}}},
        "sft_random": {"enabled": False},
        "sft": {"settings": {**fine, "max_steps": 2}},
        "alignment": {"processes": 1, "settings": {**loop, "prompts": both, "phases": phases}},
    }
    held = {"train": ["held.jsonl"], "limit": None, "language": "en"}
    evaluation = {"processes": 1, "policies": ["alignment"], "settings": {**sampled, "prompts": held}}
    words = {f"stages.{name}.{key}": value for name, stage in stages.items() for key, value in stage.items()}
    words |= {f"evaluation.{key}": value for key, value in evaluation.items()}
    return [f"{key}={json.dumps(value)}" for key, value in words.items()]


def test_the_recipe_killed_while_it_samples_goes_on_to_its_report(words: list[str]) -> None:
    out, file = Path("out"), Path("out/sampling/samples.jsonl")
    killed = preloaded.start(["run", "r1_cpu", *words], Path("killed.log"), module="keel.cli")
    note = note_of(file)  # rows that it does not count are sampled again
    wait_for(lambda: note.is_file() and json.loads(note.read_text())["rows"] > 0, killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.join(60)
    wait_until_unlocked(out)
    kept = file.read_bytes()
    assert kept
    assert not Path(f"{file}.manifest.json").exists()

    status, said = keel_run("r1_cpu", *words)
    assert status == 0, said
    assert "reasoning: finished before" in said
    assert "of them from an earlier run" in (out / "logs" / "sampling.log").read_text()
    assert file.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    sample(load_config(SampleConfig, out / "configs" / "sampling.yaml", ["out=whole.jsonl"]))
    assert file.read_bytes() == Path("whole.jsonl").read_bytes()  # the same as without the kill

    report = json.loads((out / "selection" / "report.json").read_text())
    assert report["samples"] == 128
    assert 0 < report["kept"] <= 96  # the answers to a quarter of the prompts are wrong
    assert {name for name, each in report["subjects"].items() if each["rows"]} == {"mathematics", "general"}
    compared = json.loads((out / "evaluate_alignment" / "evaluation.json").read_text())
    assert compared["difference"]["prompts"] == 11
    assert {"pass@1", "score/helpful", "score/safety"} <= compared["difference"].keys()
    page = (out / "report.html").read_text()
    table = page[: page.index("<h2>")]
    for text in ("right answers (pass@1)", ">base<", ">alignment<", "alignment minus base", "helpful reward model"):
        assert text in table, text
    for place in ("selection/report.html", "evaluate_alignment/report.html", "alignment.html"):
        assert f'href="{place}"' in page
        assert (out / place).is_file()
    assert "Samples by filter" in page

    status, said = keel_run("r1_cpu", *words, "stages.sampling.settings.temperature=0.9")
    assert status == 2
    assert "stages.sampling was started with other settings or data (temperature: 0.6 there, 0.9 here)" in said
    status, said = keel_run("r1_cpu", *words, "stages.sampling.settings.chunk=64")  # nothing that samples depend on
    assert (status, said.count(": finished before")) == (0, 10)
    file.write_bytes(file.read_bytes() + file.read_bytes().splitlines(keepends=True)[-1])
    status, said = keel_run("r1_cpu", *words, "--from", "selection")
    assert status == 2
    assert "stages.selection was started with other settings or data (out/sampling/samples.jsonl has changed)" in said


@pytest.mark.parametrize(
    ("name", "reason"),
    [("base", "is the name under which evaluation holds the base model"), ("evaluate_x", "begins with evaluate_")],
)
def test_names_of_the_evaluation_s_stages_are_taken(name: str, reason: str) -> None:
    stages = {name: StageConfig(train="sft", config="sft_cpu")}
    assert ProjectConfig(stages=stages).stages == stages
    with pytest.raises(ValueError, match=reason):
        ProjectConfig(stages=stages, evaluation=PolicyEvaluation())
