"""The bridge to verifiers 0.4, called as ``Task.score`` calls it; ``benchmarks/neighbours.py`` runs the library."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from stand_in_rewards import keel, serving

from align.bridges import verifiers as bridge
from align.bridges.rewarder import CONFIG, UNSCORABLE
from align.rewards.scoring import RewardFailure

RIGHT, WRONG = "<think>abc</think><answer>3</answer>", "<think>abc</think><answer>4</answer>"
QUESTION = {"role": "user", "content": "1 + 2?"}


class Model:
    """A pydantic model, as far as it is read."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self, exclude_none: bool) -> dict[str, Any]:
        return {name: value for name, value in self.fields.items() if value is not None or not exclude_none}


class Trace:
    """``verifiers.v1.Trace``, as far as it is read."""

    def __init__(self, *messages: dict[str, Any], tokens: int | None = 7, truncated: bool = False) -> None:
        self.messages = [Model(**message) for message in messages]
        usage = None if tokens is None else SimpleNamespace(completion_tokens=tokens)
        self.calls = [SimpleNamespace(error=None, usage=usage), SimpleNamespace(error="lost", usage=None)]
        self.is_truncated, self.rewards, self.metrics = truncated, {"keel": None}, {}

    def record_metrics(self, values: dict[str, float]) -> None:
        self.metrics.update(values)


def answered(text: str | None, **fields: Any) -> Trace:
    return Trace(QUESTION, {"role": "assistant", "content": text, **fields})


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module: Any = ModuleType("verifiers.v1")
    module.TaskData = SimpleNamespace(model_fields={"idx": None, "prompt": None, "timeout": None})
    monkeypatch.setitem(sys.modules, "verifiers", ModuleType("verifiers"))
    monkeypatch.setitem(sys.modules, "verifiers.v1", module)
    yield
    bridge._tell_of_others.cache_clear()


def scored(trace: Trace, **columns: Any) -> float:
    task = Model(idx=3, prompt="1 + 2?", timeout={"agent": None}, **columns)
    return asyncio.run(bridge.reward(task=task, trace=trace))


def test_the_last_response_is_scored_and_every_term_recorded(rules: Path) -> None:
    trace = answered(RIGHT)
    assert scored(trace, answer="3") == 1.5
    assert trace.metrics["keel/raw/accuracy_math"] == 1.0
    assert trace.metrics["keel/weighted/format"] == 0.5
    assert scored(answered(WRONG), answer="3") == 0.5


def test_reasoning_that_a_server_took_out_is_put_back(rules: Path) -> None:
    assert scored(answered("<answer>3</answer>", reasoning_content="abc"), answer="3") == 1.5
    assert scored(answered("<answer>3</answer>"), answer="3") == 1.0


def test_reward_models_get_the_conversation_without_earlier_reasoning(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = keel(lambda c: {"raw": 8.0, "calibrated": float(len(c))})
    with serving(stand_in) as urls:
        monkeypatch.setenv(CONFIG, urls[0])
        trace = Trace(
            QUESTION,
            {"role": "assistant", "content": "3.", "reasoning_content": "abc", "provider_state": [{"a": 1}]},
            {"role": "user", "content": "Thanks!"},
            {"role": "assistant", "content": "Welcome."},
        )
        assert scored(trace, domain="helpfulness") == 4.0
    turns = [QUESTION, ("assistant", "3."), ("user", "Thanks!"), ("assistant", "Welcome.")]
    sent = [t if isinstance(t, dict) else {"role": t[0], "content": t[1]} for t in turns]
    assert stand_in.requests[-1][1]["conversations"] == [sent]


def test_what_cannot_be_scored_is_an_error(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="does not end with a response"):
        scored(Trace(QUESTION), answer="3")
    with pytest.raises(RewardFailure, match=UNSCORABLE):
        scored(answered(RIGHT), answer="\\frac{")
    monkeypatch.setenv(UNSCORABLE, "-1")
    assert scored(answered(RIGHT), answer="\\frac{") == -1.0


def test_rewards_that_verifiers_adds_are_named_once(rules: Path, caplog: pytest.LogCaptureFixture) -> None:
    trace = answered(RIGHT)
    trace.rewards["exact_match"] = None
    with caplog.at_level(logging.WARNING):
        scored(trace, answer="3")
        scored(trace, answer="3")
    (record,) = [r for r in caplog.records if r.name == bridge.LOGGER.name]
    assert "exact_match" in record.getMessage()
