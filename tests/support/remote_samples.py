"""Samples whose score anybody can check, and options of an impatient client, for tests of reward servers."""

from __future__ import annotations

import asyncio
from typing import Any

from align.rewards.models.remote import RemoteReward
from align.rewards.terms import Sample
from reward_models.data.records import Message

PROMPT = (Message("user", "What is 1 + 2?"),)
QUICK = {"timeout": 1.0, "give_up_after": 3.0, "first_wait": 0.01}


def sample(response: str, domain: Any = "helpfulness") -> Sample:
    return Sample(prompt=PROMPT, response=response, domain=domain, tokens=5, finished=True)


SAMPLES = [sample(f"It is {i}." + " Truly." * (i % 3)) for i in range(10)]


def length(conversation: list[dict[str, str]]) -> dict[str, Any]:
    """A score that anybody can check."""
    return {"raw": float(len(conversation[-1]["content"])), "calibrated": len(conversation[-1]["content"]) / 10}


def scores(term: RemoteReward, samples: list[Sample] = SAMPLES) -> list[float | None]:
    return asyncio.run(term.score(samples))


def lengths(samples: list[Sample] = SAMPLES) -> list[float]:
    return [len(s.response) / 10 for s in samples]
