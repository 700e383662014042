"""Verdicts of a judge on samples that no rule decides: does the response give the reference answer?

DeepSeek-R1 had DeepSeek-V3 compare the reference answer with the policy's where no rule could (arXiv:2501.12948v2,
section 2.3.3). It is asked by the same client, and in the same words, as the reward term ``judge`` with
``ask: equivalence``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from align.rewards.terms import run_terms
from align.samples.rows import SampleRow
from reward_models.endpoint.answers import JudgeError


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """A language model that judges where no verifier can; ``url`` empty: none does.

    Attributes:
        url, model: of an OpenAI-compatible endpoint: its address without ``/chat/completions``, and the model's name.
        cache: the file that its answers are kept in, so that none is paid for twice; default: ``answers.jsonl`` in
            ``out``.
        temperature, max_tokens: of the judge's reply.
        output: ``schema`` sends a JSON schema, ``text`` only describes it, ``auto`` sends it until it is refused.
        concurrency: calls in flight. ``timeout``: seconds of one try. ``tries``: of a question, at most.
        input_price, output_price: of a million tokens.
    """

    url: str = ""
    model: str = ""
    cache: str | None = None
    temperature: float = 0.0
    max_tokens: int = 1024
    output: Literal["auto", "schema", "text"] = "auto"
    concurrency: int = 16
    timeout: float = 120.0
    tries: int = 6
    input_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self) -> None:
        if self.url and not self.model:
            raise ValueError("judge.url names an endpoint: name the model that judges there, judge.model")
        if self.model and not self.url:
            raise ValueError("judge.model names a model: name the endpoint that has it, judge.url")


@dataclass(frozen=True, slots=True)
class Judged:
    """Samples with the verdicts of a judge.

    Attributes:
        groups: the samples of each prompt.
        asked: places of the groups with a sample that the judge was asked about: without a verdict nothing is known of
            it, and it is not ranked by its reward.
        counts: samples that were ``asked`` about, and found ``right``, ``wrong``, or without a verdict (``unread``).
        costs: what this call has cost; see :meth:`reward_models.endpoint.client.ChatClient.costs`.
    """

    groups: list[list[SampleRow]]
    asked: frozenset[int]
    counts: dict[str, int]
    costs: dict[str, float]


def judged(config: JudgeConfig, groups: Sequence[Sequence[SampleRow]], cache: str) -> Judged:
    """Have samples judged that no verifier has decided and whose prompt has a reference answer.

    Args:
        cache: the file of answers, unless the configuration names one.

    Raises:
        TermError: the endpoint cannot be used. JudgeError: it failed on a sample; the answers so far are kept.
    """
    found = [list(group) for group in groups]
    places = [
        (place, number)
        for place, group in enumerate(found)
        for number, row in enumerate(group)
        if row.correct is None and row.record.answer is not None
    ]
    counts, costs = {"asked": len(places), "right": 0, "wrong": 0, "unread": 0}, dict[str, float]()
    if not config.url or not places:
        return Judged(found, frozenset(), counts | {"asked": 0}, costs)
    os.makedirs(os.path.dirname(config.cache or cache) or ".", exist_ok=True)
    scores = run_terms([_term(config, cache)], [found[place][number].sample for place, number in places])["judge"]
    if scores.failures:
        raise JudgeError(
            f"the judge failed on {scores.failures} of {len(places)} samples; the log gives the reasons. Its "
            f"answers are in {config.cache or cache}, and the same command goes on from them"
        )
    for (place, number), score in zip(places, scores.scores, strict=True):
        found[place][number] = replace(found[place][number], correct=score)
        counts["unread" if score is None else "right" if score else "wrong"] += 1
    return Judged(found, frozenset(place for place, _ in places), counts, dict(scores.totals))


def _term(config: JudgeConfig, cache: str) -> Any:
    from align.rewards.judges.single import Judge  # its client takes time to import

    options = {name: value for name, value in vars(config).items() if name not in ("url", "model", "cache")}
    return Judge(ask="equivalence", url=config.url, model=config.model, cache=config.cache or cache, **options)
