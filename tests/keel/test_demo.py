"""``keel demo`` with every stage cut to a few steps: what it leaves, and that an interruption changes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any

import preloaded
import pytest

from keel.pipeline import demo
from keel.pipeline.project import load_project
from reward_models.runtime.metrics import read_metrics

SEED = 3
PATIENCE = 1200  # seconds; a machine may be busy with other work
REWARD_MODEL = ("max_steps=4", "save_every=1", "data.limit=200")
TINY = {
    "helpful_rm": REWARD_MODEL,
    "safety_rm": REWARD_MODEL,
    "cold_start": ("max_steps=2", "data.limit=200"),
    "stage2": (
        *(
            "steps=4",
            "save_every=1",
            "prompts.limit=400",
            "prompts_per_step=2",
            "samples_per_prompt=2",
            "max_new_tokens=6",
        ),
        *("ref_update_steps=2", "evaluation.limit=8", "evaluation.samples=2", "evaluation.every=1"),
        "phases=[{name: reasoning, until: 2, mix: {reasoning: 1}}, "
        "{name: preference, until: 4, mix: {reasoning: 1, helpfulness: 2, safety: 1}}]",
    ),
}
NUMBERS = count()
WORDS = [f"stages.{stage}.settings.{word}" for stage, words in TINY.items() for word in words]
WORDS.append("stages.stage2.processes=1")  # a second rank would cost time


def start(out: Path) -> preloaded.Program:
    words = ["demo", "--out", str(out), "--seed", str(SEED), *WORDS]
    return preloaded.start(words, out.with_name(f"{out.name}-{next(NUMBERS)}.log"), module="keel.cli")


def interrupted(out: Path, when: Callable[[], bool]) -> str:
    """Start the demo, press Ctrl-C (a signal to the whole group) as soon as ``when`` holds; returns what it said."""
    process = start(out)
    end = time.monotonic() + PATIENCE
    while not when():
        assert time.monotonic() < end
        assert process.exitcode is None, process.said()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    return process.finish(128 + signal.SIGINT, PATIENCE)


def uninterrupted(out: Path) -> str:
    return start(out).finish(seconds=PATIENCE)


def without_seconds(summary: Any) -> Any:
    """A summary without its times, which differ from run to run."""
    if not isinstance(summary, dict):
        return summary
    return {key: without_seconds(value) for key, value in summary.items() if not key.endswith("seconds")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny demo that nothing interrupted."""
    out = tmp_path_factory.mktemp("demo") / "whole"
    uninterrupted(out)
    return out


def test_the_demo_goes_from_preferences_to_an_aligned_policy(whole: Path) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    names = {"accuracy", "format", "language", "gold_helpfulness", "unsafe_rate"}
    assert summary["before"].keys() == summary["after"].keys() == names
    assert summary.keys() == {
        *("seed", "helpful", "safety", "before", "after"),
        *("cold_start_seconds", "stage2_seconds", "seconds"),
    }
    assert summary["seed"] == SEED
    assert 0 < summary["helpful"]["gold_accuracy"] < 1
    assert summary["cold_start_seconds"] + summary["stage2_seconds"] < summary["seconds"]
    # The means over the prompts of held_out.jsonl are the figures of the evaluations.
    held_out, lines = (read_metrics(whole / "stage2" / f"{name}.jsonl") for name in ("held_out", "metrics"))
    assert [line["step"] for line in held_out] == [0, 1, 2, 3, 4]
    for by_prompt, figures in zip(held_out, lines, strict=True):
        known = [value for value in by_prompt["gold_unsafe_sampled"] if value is not None]
        assert figures["eval/gold_unsafe_sampled"] == pytest.approx(fmean(known))
    page = (whole / "report.html").read_text(encoding="utf-8")
    for told in ("→ reasoning", "→ preference", "gold helpfulness", "Safety reward model"):
        assert told in page


def test_stages_build_on_one_another_and_have_the_seed(tmp_path: Path) -> None:
    _, stages = load_project("demo", [f"output_dir={tmp_path}/out", "seed=7"])
    configs = {stage.name: stage.config for stage in stages}
    assert [config.seed for config in configs.values()] == [7] * 4
    assert configs["stage2"].model.path == f"{tmp_path}/out/cold_start"
    models = {each.term: each.arguments["model"] for each in configs["stage2"].rewards if each.arguments}
    assert models == {"helpful": f"{tmp_path}/out/helpful_rm", "safety": f"{tmp_path}/out/safety_rm"}


def test_ctrl_c_loses_nothing(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    said = interrupted(out, lambda: any((out / "helpful_rm" / "checkpoints").glob("step-*")))
    assert "helpful_rm was stopped by a signal; the same command resumes it" in said
    assert not (out / "stage2").exists()
    page = (out / "report.html").read_text(encoding="utf-8")  # what there is, and no longer one that grows
    assert "stopped" in page
    assert 'http-equiv="refresh"' not in page

    said = interrupted(out, lambda: any((out / "stage2" / "checkpoints").glob("step-*")))
    assert "helpful_rm │ resuming from" in said
    assert "stage2 was stopped by a signal; the same command resumes it" in said
    assert not (out / "summary.json").exists()
    trained = {path: path.stat().st_mtime_ns for path in out.glob("*/*.safetensors")}
    assert {path.parent.name for path in trained} == {"helpful_rm", "safety_rm", "cold_start"}

    said = uninterrupted(out)
    for stage in ("helpful_rm", "safety_rm", "cold_start"):
        assert f"{stage}: finished before" in said
    assert re.search(r"stage2 │ (resuming|going on) from", said)
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    summaries = [json.loads((each / "summary.json").read_text()) for each in (whole, out)]
    assert without_seconds(summaries[0]) == without_seconds(summaries[1])
    held_out = [(each / "stage2" / "held_out.jsonl").read_text() for each in (whole, out)]
    assert held_out[0] == held_out[1]
    for stage in TINY:  # the same models, to the bit
        weights = [(each / stage / "model.safetensors").read_bytes() for each in (whole, out)]
        assert weights[0] == weights[1], stage


def test_figures_of_the_first_and_the_last_evaluation_are_compared(tmp_path: Path) -> None:
    metrics = list(demo.OUTCOMES.values())
    lines = [{"step": s, **{f"eval/{m}_sampled": 0.1 * s for m in metrics}} for s in (0, 4, 9)] + [{"step": 10}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert demo.outcome(tmp_path) == {
        "before": dict.fromkeys(demo.OUTCOMES, 0.0),
        "after": dict.fromkeys(demo.OUTCOMES, 0.9),
    }
