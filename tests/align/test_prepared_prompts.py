"""Prompts of a run in files: equal to those in memory, made once, and made anew where they would be others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from align.checks import check_prompts
from align.config import AlignConfig, EvaluationConfig
from align.prepared_prompts import prepared_prompts
from align.rewards.build import TermConfig
from align.rollouts.config import PromptsConfig
from align.rollouts.prompts import PromptSet, load_prompts
from reward_models.data.sources import BadRowsError

TESTS = json.dumps([{"input": "1", "output": "1"}])


@pytest.fixture(scope="module")
def tokenizer(policy: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(policy)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEEL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def config_of(folder: Path, **more: Any) -> AlignConfig:
    rows: list[dict[str, Any]] = [{"prompt": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(700)]
    rows[3] |= {"language": "German", "level": 4, "note": {"a": [1, None]}}
    rows[5] = {"prompt": "Print the number that you read.", "answer": "x", "verifier": "code", "tests": TESTS}
    rows[6] = {"prompt": "Be kind to me today.", "domain": "helpfulness"}
    rows[7] = {"prompt": "Without an answer", "domain": "reasoning"}
    rows[8] = {"prompt": "long " * 300, "answer": "3"}
    rows[9] = {"prompt": "Held out: what is 9 + 10?", "answer": "19"}
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "held_out.jsonl").write_text(json.dumps(rows[9]) + "\n")
    return AlignConfig(
        prompts=PromptsConfig(train=[str(folder / "train.jsonl")], max_bad=1, max_length=200),
        evaluation=EvaluationConfig(data=[str(folder / "held_out.jsonl")]),
        **{"rewards": [TermConfig(term="accuracy"), TermConfig(term="format")], **more},
    )


def in_memory(config: AlignConfig, tokenizer: Any) -> tuple[PromptSet, PromptSet]:
    held_out = load_prompts(config.prompts, tokenizer, config.evaluation.data, None)
    train = load_prompts(config.prompts, tokenizer, config.prompts.train, None, held_out=held_out.records)
    return check_prompts(config.rewards, train, config.prompts.max_bad, "prompts.train"), held_out


def assert_equal(found: PromptSet, expected: PromptSet) -> None:
    assert list(found.records) == list(expected.records)
    assert [dict(record.columns) for record in found.records] == [dict(each.columns) for each in expected.records]
    assert [(record.id, record.source) for record in found.records] == [(e.id, e.source) for e in expected.records]
    for ids, others in zip(found.ids, expected.ids, strict=True):
        assert ids.dtype == others.dtype
        assert ids.flags.writeable
        assert np.array_equal(ids, others)
    assert list(found.prefilled) == list(expected.prefilled)
    assert {type(each) for each in found.prefilled} == {bool}  # JSON has no type for NumPy's
    assert (found.dropped, found.fingerprint, found.verifiers) == (
        expected.dropped,
        expected.fingerprint,
        expected.verifiers,
    )
    pools, others = found.pools(), expected.pools()
    assert list(pools) == list(others)
    assert all(np.array_equal(pools[name], others[name]) for name in pools)


def test_prompts_in_files_are_those_in_memory_and_are_made_once(tokenizer: Any, tmp_path: Path) -> None:
    config = config_of(tmp_path)
    train, held_out = in_memory(config, tokenizer)
    first = prepared_prompts(config, tokenizer, "one start")
    other_rank = prepared_prompts(config, tokenizer, "one start")
    resumed = prepared_prompts(config, tokenizer, "another start")
    # A run tells its ranks that it made them, so that its main rank says so, whichever rank it was.
    assert [each.entry.made for each in (first, other_rank, resumed)] == [True, True, False]
    for found in (first, other_rank, resumed):
        assert_equal(found.train, train)
        assert found.held_out is not None
        assert_equal(found.held_out, held_out)
    assert len(train) == 697
    assert train.verifiers == {"math", "code"}
    assert train.dropped == {
        "prompts of evaluation": 1,
        "longer than 200 tokens": 1,
        "answers, tests or languages that cannot be used": 1,
    }
    assert resumed.train.domains_of(np.array([6, 0])) == ["helpfulness", "reasoning"]


def test_they_are_made_anew_only_where_they_would_be_others(tokenizer: Any, tmp_path: Path) -> None:
    config = config_of(tmp_path)
    prepared_prompts(config, tokenizer)

    def made(changed: AlignConfig) -> bool:
        return prepared_prompts(changed, tokenizer).entry.made

    weighted = [TermConfig(term="accuracy", weight=2.0), TermConfig(term="repetition")]
    assert not made(replace(config, seed=7, rewards=weighted, steps=64))
    assert made(replace(config, rewards=[TermConfig(term="format")]))  # nothing verifies the answers now
    assert made(replace(config, rewards=[*config.rewards, TermConfig(term="language")]))
    assert made(replace(config, prompts=replace(config.prompts, max_length=150)))
    assert made(replace(config, evaluation=replace(config.evaluation, limit=1)))
    file = tmp_path / "train.jsonl"
    file.write_text(file.read_text().replace("What is 30 + 30?", "What is 31 + 30?"))
    assert made(config)
    template = tokenizer.chat_template
    try:
        tokenizer.chat_template = template + " "
        assert made(config)
    finally:
        tokenizer.chat_template = template


def test_every_rank_names_the_file_and_the_row_of_an_error(tokenizer: Any, tmp_path: Path, cache: Path) -> None:
    config = config_of(tmp_path)
    file = tmp_path / "train.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:20], '{"prompt": 3}', *lines[20:], "{"]))
    for _ in ("one rank", "another"):
        with pytest.raises(BadRowsError, match=rf"2 bad rows, 1 allowed:\n  {file}:21: .*\n  {file}:702: "):
            prepared_prompts(config, tokenizer, "run")
    file.write_text("\n".join([*lines, json.dumps({"prompt": "No answer", "domain": "reasoning"})]))
    for _ in ("one rank", "another"):
        with pytest.raises(ValueError, match=r"2 of 699 prompts could never be scored.*train:8 of train.*train:701 of"):
            prepared_prompts(config, tokenizer, "run")
    assert not list((cache / "data").glob("prompts-*"))
