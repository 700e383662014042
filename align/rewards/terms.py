"""What a reward term is, and how a set of them is run over a batch of samples."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import math
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

from reward_models.data.records import Conversation

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One response of the policy, as reward terms see it.

    Args:
        prompt: the conversation that was answered.
        response: the sampled text, decoded without special tokens. What the template put in front of it, ``<think>``
            above all, is not part of it.
        kind: the prompt's; reasoning prompts are for rules, the others for reward models.
        answer: the reference answer of a verifiable prompt, else ``None``.
        language: the language the reply should be in, as an ISO 639-1 code, or ``None`` if unknown.
        think_prefilled: the template ended the prompt with ``<think>``, so the response starts inside the thoughts.
        tokens: sampled tokens, the end-of-sequence token included.
        finished: the policy ended the response itself; false if it was cut at the length limit.
        columns: the other columns of the prompt's row, such as ``verifier`` or ``tests``.
    """

    prompt: Conversation
    response: str
    kind: Literal["reasoning", "helpfulness", "safety"]
    answer: str | None = None
    language: str | None = None
    think_prefilled: bool = False
    tokens: int
    finished: bool
    columns: Mapping[str, Any] = field(default_factory=dict)


Scores = Sequence[float | None]


class RewardTerm(Protocol):
    """A part of the reward. Any object with these three members is one; there is no class to inherit from.

    ``score`` may be a coroutine function. It gives one value per sample, in order; ``None`` means "cannot be scored"
    and is never a stand-in for 0.0. A plain ``score`` runs in a thread, at the same time as the other terms, and bounds
    its own time.
    """

    @property
    def name(self) -> str:
        """What the term is called in metrics and mixtures."""

    def applies(self, sample: Sample) -> bool:
        """Whether ``score`` should see this sample at all."""

    def score(self, samples: Sequence[Sample]) -> Scores | Awaitable[Scores]:
        """One value per sample."""


class TermError(Exception):
    """A term that breaks the contract: the message names the term and what it returned."""


@dataclass(frozen=True, slots=True)
class TermScores:
    """What one term said about a batch.

    Args:
        scores: one value per sample of the batch; ``None`` where the term does not apply, could not score, or failed.
        applicable: samples that the term was asked about.
        unscorable: of these, samples for which it answered ``None``.
        failures: of these, samples for which it raised an exception or gave a number that is not finite.
        seconds: wall time.
    """

    scores: tuple[float | None, ...]
    applicable: int
    unscorable: int
    failures: int
    seconds: float


async def score_terms(terms: Sequence[RewardTerm], samples: Sequence[Sample]) -> dict[str, TermScores]:
    """Run all terms at the same time, each over the samples it applies to.

    An exception inside a term costs the batch that term's scores, is logged and counted, and never becomes a reward.

    Raises:
        TermError: two terms share a name, or a term gives another number of scores than it was given samples, or
            something that is not a number: scores that cannot be told apart must not reach the policy.
    """
    names = [term.name for term in terms]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise TermError(f"several reward terms are called {', '.join(sorted(repeated))}")
    results = await asyncio.gather(*(_score_term(term, samples) for term in terms))
    return dict(zip(names, results, strict=True))


def run_terms(terms: Sequence[RewardTerm], samples: Sequence[Sample]) -> dict[str, TermScores]:
    """:func:`score_terms` for code that is not asynchronous."""
    return asyncio.run(score_terms(terms, samples))


async def _score_term(term: RewardTerm, samples: Sequence[Sample]) -> TermScores:
    start = time.perf_counter()
    places = list(range(len(samples)))
    scores: list[float | None] = [None] * len(samples)
    unscorable = failures = 0
    try:
        places = [i for i in places if term.applies(samples[i])]
        values = await _call(term, [samples[i] for i in places]) if places else []
    except TermError:
        raise
    except Exception:
        LOGGER.exception("reward term %s failed on %d samples; they have no reward from it", term.name, len(places))
        values, failures = [], len(places)
    for place, value in zip(places, values, strict=False):
        if value is None:
            unscorable += 1
        elif math.isfinite(value):
            scores[place] = value
        else:
            failures += 1
            LOGGER.error("reward term %s gave %r to sample %d; it has no reward from it", term.name, value, place)
    return TermScores(tuple(scores), len(places), unscorable, failures, time.perf_counter() - start)


async def _call(term: RewardTerm, samples: list[Sample]) -> list[float | None]:
    if inspect.iscoroutinefunction(term.score):
        values = await term.score(samples)
    else:
        values = await asyncio.to_thread(term.score, samples)
    values = list(cast(Scores, values))
    if len(values) != len(samples):
        raise TermError(f"reward term {term.name} gave {len(values)} scores for {len(samples)} samples")
    try:
        return [None if value is None else float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise TermError(f"reward term {term.name} gave something that is not a number or None: {error}") from error


def load_term(path: str, **arguments: Any) -> RewardTerm:
    """The reward term that an import path such as ``my_package.rewards:Politeness`` names, built with ``arguments``.

    Raises:
        TermError: nothing importable is there, or what is there is not a reward term once it is built.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise TermError(f"{path!r} names no reward term; write package.module:Class")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise TermError(f"reward term {path!r} cannot be imported: {error}") from error
    try:
        term = factory(**arguments)
    except (TypeError, ValueError) as error:
        raise TermError(f"reward term {path!r} cannot be built from {arguments}: {error}") from error
    missing = [name for name in ("name", "applies", "score") if not hasattr(term, name)]
    if missing:
        raise TermError(f"reward term {path!r} lacks {', '.join(missing)}; see align.rewards.terms.RewardTerm")
    return term
