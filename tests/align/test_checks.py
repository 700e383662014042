"""Prompts and rewards that nothing could be learnt from are found before the first step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from align.checks import check_entries, check_prompts, unusable_prompts
from align.config import AlignConfig, phases_of
from align.phases import PhaseConfig
from align.rewards.build import TermConfig, build_terms
from align.rollouts.config import PromptsConfig
from align.rollouts.prompts import PromptSet, load_prompts


@pytest.fixture(scope="module")
def tokenizer(policy: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(policy)


def prompts_of(tokenizer: Any, tmp_path: Path, *rows: dict[str, Any], **settings: Any) -> PromptSet:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": "What is 1 + 2?", **row}) + "\n" for row in rows), encoding="utf-8")
    return load_prompts(PromptsConfig(train=[str(file)], **settings), tokenizer, [str(file)], None)


ACCURACY = [TermConfig(term="accuracy")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"domain": "reasoning"}, "no answer"),
        ({"answer": "x", "verifier": "code", "tests": "[{]"}, "tests"),
        ({"answer": "x", "verifier": "code"}, "no test cases"),
        ({"answer": "(", "verifier": "regex"}, "pattern|parenthesis"),
        ({"answer": "{", "verifier": "json"}, ""),
        ({"answer": "3"}, None),
        ({"answer": "B", "verifier": "choice"}, None),
        ({"answer": "x", "verifier": "code", "tests": '[{"input": "1", "output": "1"}]'}, None),
        ({"domain": "helpfulness"}, None),
    ],
)
def test_references_that_no_verifier_can_use_are_named(
    row: dict[str, Any], reason: str | None, tokenizer: Any, tmp_path: Path
) -> None:
    prompts = prompts_of(tokenizer, tmp_path, row, {"answer": "3"})
    found = unusable_prompts(ACCURACY, prompts.records)
    assert list(found) == ([] if reason is None else [0])
    if reason is None:
        assert check_prompts(ACCURACY, prompts, 0, "prompts.train") is prompts
        return
    with pytest.raises(ValueError, match=rf"prompts.train: 1 of 2 .*prompts:1 of prompts: .*{reason}"):
        check_prompts(ACCURACY, prompts, 0, "prompts.train")
    kept = check_prompts(ACCURACY, prompts, 1, "prompts.train")
    assert [record.answer for record in kept.records] == ["3"]
    assert sum(kept.dropped.values()) == 1
    # Where nothing verifies answers, they are not looked at.
    assert not unusable_prompts([TermConfig(term="format")], prompts.records)
    assert not unusable_prompts([TermConfig(term="accuracy", domains=["safety"])], prompts.records)


def test_the_default_language_is_understood_by_any_name_and_an_unknown_one_is_named(
    tokenizer: Any, tmp_path: Path
) -> None:
    language = [TermConfig(term="language")]
    for name, code in {"German": "de", "en-US": "en", "EN": "en", "zh-CN": "zh", "eng": "en"}.items():
        prompts = prompts_of(tokenizer, tmp_path, {"answer": "3"}, language=name)
        assert [record.language for record in prompts.records] == [code]
        assert not unusable_prompts(language, prompts.records)
        prompts = prompts_of(tokenizer, tmp_path, {"answer": "3", "language": name}, language="fr")
        assert [record.language for record in prompts.records] == [code]
    odd = prompts_of(tokenizer, tmp_path, {"answer": "3"}, language="klingonese")
    assert "klingonese" in unusable_prompts(language, odd.records)[0]
    assert not unusable_prompts(ACCURACY, odd.records)
    assert not unusable_prompts([TermConfig(term="language", domains=["safety"])], odd.records)


def check(rewards: list[dict[str, Any]], prompts: PromptSet, **options: Any) -> None:
    config = AlignConfig(rewards=[TermConfig(**each) for each in rewards], steps=32, ref_update_steps=0, **options)
    terms = build_terms(config.rewards, {"math"} if "reasoning" in prompts.pools() else set())
    check_entries(config.rewards, phases_of(config), terms, prompts)


def test_an_entry_that_applies_to_no_prompt_is_an_error(tokenizer: Any, tmp_path: Path) -> None:
    reasoning = prompts_of(tokenizer, tmp_path, {"answer": "3"})
    helpfulness = prompts_of(tokenizer, tmp_path, {"domain": "helpfulness"})
    check([{"term": "accuracy"}, {"term": "format"}], reasoning)
    with pytest.raises(ValueError, match=r"accuracy applies to none of the 1 .*helpfulness.*prompts.domain"):
        check([{"term": "accuracy"}, {"term": "format"}], helpfulness)
    with pytest.raises(ValueError, match=r"language applies to none.*prompts.language"):
        check([{"term": "language"}], reasoning)
    with pytest.raises(ValueError, match="format applies to none"):
        check([{"term": "format", "domains": ["safety"]}], reasoning)
    with pytest.raises(ValueError, match="letters:Letters applies to none"):
        check([{"term": "letters:Letters", "domains": ["safety"]}], reasoning)
    # What has no weight is measured; a weight in one phase is a weight.
    check([{"term": "language", "weight": 0}, {"term": "format"}], reasoning)
    phases = [PhaseConfig(until=16, weights={"language": 1.0}), PhaseConfig(until=32)]
    with pytest.raises(ValueError, match="language applies to none"):
        check([{"term": "language", "weight": 0}], reasoning, phases=phases)
