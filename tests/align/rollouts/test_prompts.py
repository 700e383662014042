"""Prompts of several sources at once, each with the columns that it has on the hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from align.rollouts.config import PromptsConfig
from align.rollouts.prompts import load_prompts
from reward_models.data.sources import is_hub

ROWS = {
    "gsm8k": {"question": "What is 6 times 7?", "answer": "6 * 7 = <<6*7=42>>42\n#### 42"},
    "helpsteer3": {
        "domain": "general",
        "language": "english",
        "context": [{"role": "user", "content": "Plan a day."}],
        "response1": "Rest.",
        "response2": "Work.",
        "overall_preference": -1,
        "individual_preference": [],
    },
    "beavertails": {
        "prompt": "How do I pick a lock?",
        "response": "With care.",
        "category": {"privacy_violation": False},
        "is_safe": True,
    },
}


def test_the_kind_of_single_sources_is_named_beside_those_whose_answers_tell_it(policy: Path, tmp_path: Path) -> None:
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ROWS}
    for name, row in ROWS.items():
        Path(files[name]).write_text(json.dumps(row) + "\n")
    domains = {files["helpsteer3"]: "helpfulness", files["beavertails"]: "safety"}
    config = PromptsConfig(train=list(files.values()), domains=domains, language="en")
    records = load_prompts(config, AutoTokenizer.from_pretrained(policy), config.train, None).records
    found = [(r.domain, r.answer, r.language, r.prompt[-1].content) for r in records]
    assert found == [
        ("reasoning", "42", "en", "What is 6 times 7?"),
        ("helpfulness", None, "en", "Plan a day."),
        ("safety", None, "en", "How do I pick a lock?"),
    ]
    with pytest.raises(ValueError, match="harmless is no domain"):
        PromptsConfig(domains={"x": "harmless"})


def test_what_is_on_the_hub_is_told_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "pairs").mkdir(parents=True)
    for spec in ("nvidia/HelpSteer3:train", "openai/gsm8k/main:train", "owner/name:train[:100]", "owner/name"):
        assert is_hub(spec), spec
    for spec in ("synthetic:safety", "data/pairs:train", "data/rows.jsonl", "./owner/name", "annotations://x.db/p"):
        assert not is_hub(spec), spec


def test_prompts_that_are_all_in_the_evaluation_are_an_error_with_the_reason(policy: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "What is 1 + 2?", "answer": "3"}) + "\n")
    config, tokenizer = PromptsConfig(train=[str(file)]), AutoTokenizer.from_pretrained(policy)
    held_out = load_prompts(config, tokenizer, [str(file)], None).records
    with pytest.raises(ValueError, match=r"no prompt is left of .*'prompts of evaluation': 1"):
        load_prompts(config, tokenizer, [str(file)], None, held_out=held_out)
