"""A project small enough to be run in a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from projects import MODEL

QUICK = {"loggers": [], "save_every": 1, "timeout_seconds": 60}


PROJECT: dict[str, Any] = {
    "name": "tiny",
    "output_dir": "out",
    "stages": {
        "helpful": {
            "train": "rm",
            "config": "helpful_demo",
            "settings": QUICK
            | {
                "model": {"config": MODEL, "vocab_size": 400},
                "data": {"limit": 60, "eval": [], "eval_fraction": 0.2, "calibration_fraction": 0.2},
                "batch_size": 8,
                "max_steps": 3,
                "max_tokens": 2048,
            },
        },
        "cold_start": {
            "train": "sft",
            "config": "sft_cpu",
            "settings": QUICK
            | {
                "model": {"config": MODEL | {"tie_word_embeddings": True}},
                "data": {"train": ["demonstrations.jsonl"]},
                "batch_size": 8,
                "max_tokens": 2048,
                "max_steps": 6,
            },
        },
        "alignment": {
            "train": "align",
            "config": "cpu",
            "settings": QUICK
            | {
                "model": {"path": "${output_dir}/cold_start"},
                "prompts": {
                    "train": ["synthetic:reasoning:train", "synthetic:helpful:train"],
                    "limit": 8,
                },
                "evaluation": {"data": ["synthetic:reasoning:test"], "limit": 2, "samples": 1},
                "steps": 4,
                "prompts_per_step": 2,
                "samples_per_prompt": 2,
                "steps_per_rollout": 2,
                "max_new_tokens": 8,
                "phases": [
                    {"until": 2, "mix": {"reasoning": 1}},
                    {"until": 4, "mix": {"reasoning": 1, "helpfulness": 1}},
                ],
                "rewards": [
                    {"term": "accuracy"},
                    {"term": "helpful", "arguments": {"model": "${output_dir}/helpful", "value": "raw"}},
                ],
            },
        },
    },
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a project, in an empty folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    replies = [(f"{n} + 2?", f"<think>easy</think><answer>{n + 2}</answer>") for n in range(16)]
    rows = [json.dumps({"prompt": prompt, "response": reply}) for prompt, reply in replies]
    (tmp_path / "demonstrations.jsonl").write_text("\n".join(rows) + "\n")
    file = tmp_path / "project.yaml"
    file.write_text(yaml.safe_dump(PROJECT, sort_keys=False))
    return file
