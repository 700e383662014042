"""The demo's way from preferences to a report, with everything cut to a few steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from keel.pipeline import demo
from reward_models.runtime.config import load_config

TINY = {
    "helpful_demo": ["max_steps=2", "data.limit=200"],
    "safety_demo": ["max_steps=2", "data.limit=200"],
    "sft_demo": ["max_steps=2", "data.limit=200"],
    "demo_cpu": [
        *("steps=2", "prompts_per_step=2", "samples_per_prompt=2", "max_new_tokens=6", "ref_update_steps=0"),
        *("evaluation.limit=8", "evaluation.samples=2", "evaluation.every=1"),
        *("phases.0.until=1", "phases.1.until=2"),
    ],
}


def test_the_demo_goes_from_preferences_to_an_aligned_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shortened(schema: Any, preset: str, words: Sequence[str] = ()) -> Any:
        return load_config(schema, preset, [*words, *TINY[preset]])

    monkeypatch.setattr(demo, "load_config", shortened)
    summary = demo.run(tmp_path / "demo", seed=3)
    written = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert {when: written[when] for when in ("before", "after")} == {w: summary[w] for w in ("before", "after")}
    names = {"accuracy", "format", "language", "gold_helpfulness", "unsafe_rate"}
    assert summary["before"].keys() == summary["after"].keys() == names
    assert summary["seed"] == 3
    assert 0 < summary["helpful"]["gold_accuracy"] < 1
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    for told in ("→ reasoning", "→ preference", "gold helpfulness", "Safety reward model"):
        assert told in page
    config = (tmp_path / "demo" / "stage2" / "config.yaml").read_text()
    assert f"model: {tmp_path / 'demo' / 'helpful_rm'}" in config
    assert f"path: {tmp_path / 'demo' / 'cold_start'}" in config


def test_figures_of_the_first_and_the_last_evaluation_are_compared(tmp_path: Path) -> None:
    metrics = list(demo.OUTCOMES.values())
    lines = [{"step": s, **{f"eval/{m}_sampled": 0.1 * s for m in metrics}} for s in (0, 4, 9)] + [{"step": 10}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert demo.outcome(tmp_path) == {
        "before": dict.fromkeys(demo.OUTCOMES, 0.0),
        "after": dict.fromkeys(demo.OUTCOMES, 0.9),
    }
