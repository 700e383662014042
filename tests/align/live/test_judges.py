"""Judge terms over a real vLLM on a CPU. The model has random weights: only the plumbing is looked at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_vllm import Launcher, LiveServer
from rollout_laws import save_base
from transformers import AutoConfig, AutoTokenizer

from align.rewards.judges.group import GroupJudge
from align.rewards.judges.single import Judge
from align.rewards.terms import Sample, run_terms
from reward_models.data.records import Message

pytestmark = pytest.mark.live

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"
LENGTH = 8192  # the tokenizer knows hardly any word: a token a character


@pytest.fixture(scope="module")
def server(vllm: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    base = save_base(tmp_path_factory.mktemp("judge"))
    config, tokenizer = AutoConfig.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    config.max_position_embeddings = LENGTH
    config.save_pretrained(base)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(base)
    words = ("--dtype", "float32", "--max-model-len", str(LENGTH), "--max-num-batched-tokens", str(LENGTH))
    started = vllm.start(base, *words)
    yield started.wait_until_up()
    started.kill()


def settings(server: LiveServer, tmp_path: Path, **options: Any) -> dict[str, Any]:
    given = {"url": f"{server.url}/v1", "model": str(server.model), "cache": str(tmp_path / "judge.jsonl")}
    return {**given, "max_tokens": 64, "timeout": 300.0, "tries": 2, **options}


def samples() -> list[Sample]:
    facts: dict[str, Any] = {"domain": "helpfulness", "tokens": 1, "finished": True, "group": 0}
    prompt = (Message("user", "What is 1 + 2?"),)
    return [Sample(prompt=prompt, response=text, **facts) for text in ("It is 3.", "It is 4.", "")]


@pytest.mark.parametrize("term", [Judge, GroupJudge])
def test_vllm_takes_the_schema_and_its_replies_are_read_kept_and_counted(
    term: Any, server: LiveServer, tmp_path: Path
) -> None:
    judge = term(**settings(server, tmp_path))
    found = run_terms([judge], samples())[judge.name]
    assert (found.failures, found.totals["judge_failed"]) == (0, 0)
    assert found.totals["judge_calls"] == 2
    assert found.totals["judge_tokens_in"] > 2 * 500
    assert 0 < found.totals["judge_tokens_out"] <= 2 * 64
    replies = [json.loads(line) for line in (tmp_path / "judge.jsonl").read_text().splitlines()]
    for reply in replies:  # the schema is enforced, white space between its parts aside
        start = "".join(reply["reply"].split())[:9]
        assert start
        assert '{"seal":"'.startswith(start)
    cut = [reply for reply in replies if reply["finish_reason"] == "length"]
    assert found.totals["judge_unread"] >= len(cut)
    assert all(score is None or 0 <= score <= 1 for score in found.scores)
    again = run_terms([term(**settings(server, tmp_path))], samples())[judge.name]
    assert (again.scores, again.totals["judge_calls"], again.totals["judge_cached"]) == (found.scores, 0, 2)


def test_without_a_schema_a_random_model_gives_no_verdict(server: LiveServer, tmp_path: Path) -> None:
    judge = Judge(**settings(server, tmp_path, output="text"))
    found = run_terms([judge], samples())["judge"]
    assert found.scores == (None, None, 0.0)
    assert (found.failures, found.unscorable, found.totals["judge_unread"]) == (0, 2, 2)
