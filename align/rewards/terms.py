"""The interface of reward terms, and the function that runs a set of them over a batch of samples."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from reward_models.data.records import Conversation, Domain

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One response of the policy, as reward terms see it.

    Args:
        prompt: the conversation that was answered.
        response: the sampled text, decoded without special tokens. What the template put in front of it, ``<think>``
            above all, is not part of it.
        domain: the prompt's; reasoning prompts are for rules, the others for reward models.
        answer: the reference answer of a verifiable prompt, else ``None``.
        language: the language the reply should be in, as an ISO 639-1 code, or ``None`` if unknown.
        think_prefilled: the template ended the prompt with ``<think>``, so the response starts inside the thoughts.
        tokens: sampled tokens, the end-of-sequence token included.
        finished: the policy ended the response itself; false if it was cut at the length limit.
        group: samples of a batch with the same number answer the same prompt, and a term is given them in one call;
            ``None`` where the caller does not know groups.
        columns: the other columns of the prompt's row, such as ``verifier`` or ``tests``.
    """

    prompt: Conversation
    response: str
    domain: Domain
    answer: str | None = None
    language: str | None = None
    think_prefilled: bool = False
    tokens: int
    finished: bool
    group: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> str:
        """The response with the tag that the template wrote, which reward models were trained to see."""
        return f"<think>{self.response}" if self.think_prefilled else self.response


Scores = Sequence[float | None]


class ScoresWithExtras(list[float | None]):
    """Scores with further figures: of each sample, and of the call as a whole.

    Attributes:
        extras: a figure per sample under each of the names in the term's ``term_metrics``; ``None`` where the score is.
        totals: what the call took, such as tokens or money, under the names in the term's ``term_totals``. They are
            summed over calls and ranks.
    """

    def __init__(self, scores: Scores, **extras: list[float | None]) -> None:
        super().__init__(scores)
        self.extras = extras
        self.totals: Mapping[str, float] = {}


class RewardTerm(Protocol):
    """A part of the reward. Any object with these three members is one; there is no class to inherit from.

    ``score`` may be a coroutine function. It gives one value per sample, in order; ``None`` means "cannot be scored"
    and is never a stand-in for 0.0. A plain ``score`` runs in a thread, at the same time as the other terms.

    A term with further figures beside its score, which become metrics and no part of the reward, lists their names in
    an attribute ``term_metrics`` and returns :class:`ScoresWithExtras`; those of a whole call are in ``term_totals``. A
    call that is broken off, because it takes too long or fails, returns none: such a term may have a method
    ``unreported_totals()``, which gives what such calls took and forgets it.

    A term that compares the samples of a prompt sets the attribute ``whole_groups = True``. It is then called with
    whole groups only: samples of a prompt stand side by side and have the same ``group``, also where it is asked again
    because it failed on some of them. A caller that does not know groups gets a :class:`TermError`. A group may have a
    single sample.
    """

    @property
    def name(self) -> str:
        """The term's name in metrics and mixtures."""

    def applies(self, sample: Sample) -> bool:
        """True if ``score`` is called with this sample."""

    def score(self, samples: Sequence[Sample]) -> Scores | Awaitable[Scores]:
        """One value per sample."""


class TermError(Exception):
    """A term that breaks the contract or cannot be built; the message names the term and the reason."""


@dataclass(frozen=True, slots=True)
class TermScores:
    """The scores of one term over a batch; every tuple has one value per sample, in order.

    Args:
        scores: ``None`` where the term does not apply, could not score, or failed.
        applies: whether the term was asked about the sample.
        failed: whether it raised an exception, took too long, or gave a number that is not finite, at every try.
        extras: name → the term's further figures, like ``scores``.
        seconds: wall time of all tries.
        totals: name → what all tries took together; see :class:`ScoresWithExtras`.
    """

    scores: tuple[float | None, ...]
    applies: tuple[bool, ...]
    failed: tuple[bool, ...]
    extras: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    totals: Mapping[str, float] = field(default_factory=dict)

    @property
    def applicable(self) -> int:
        """The number of samples that the term was asked about."""
        return sum(self.applies)

    @property
    def failures(self) -> int:
        """The number of samples that the term failed on."""
        return sum(self.failed)

    @property
    def unscorable(self) -> int:
        """The number of samples for which the term answered ``None``."""
        rows = zip(self.scores, self.applies, self.failed, strict=True)
        return sum(applies and not failed and score is None for score, applies, failed in rows)

    def select(self, rows: Sequence[int]) -> TermScores:
        """The scores of some of the samples."""

        def chosen(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[row] for row in rows)

        extras = {name: chosen(values) for name, values in self.extras.items()}
        return replace(
            self, scores=chosen(self.scores), applies=chosen(self.applies), failed=chosen(self.failed), extras=extras
        )


async def score_terms(
    terms: Sequence[RewardTerm], samples: Sequence[Sample], *, time_limit: float | None = None, retries: int = 1
) -> dict[str, TermScores]:
    """Run all terms at the same time, each over the samples it applies to.

    A term that fails on samples (an exception, no answer within the limit, a number that is not finite) is asked about
    them again. Samples that it keeps failing on have no score from it; they are logged and counted.

    Args:
        time_limit: seconds for one call of a term; ``None``: it bounds its own time.
        retries: how often it is asked again.

    Raises:
        TermError: two terms share a name, or a term gives another number of scores than it was given samples, or
            something that is not a number: scores that cannot be told apart must not reach the policy.
    """
    names = [term.name for term in terms]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise TermError(f"several reward terms are called {', '.join(sorted(repeated))}")
    results = await asyncio.gather(*(_score_term(term, samples, time_limit, retries) for term in terms))
    return dict(zip(names, results, strict=True))


def run_terms(
    terms: Sequence[RewardTerm], samples: Sequence[Sample], *, time_limit: float | None = None, retries: int = 1
) -> dict[str, TermScores]:
    """:func:`score_terms` for code that is not asynchronous."""
    return asyncio.run(score_terms(terms, samples, time_limit=time_limit, retries=retries))


async def _score_term(
    term: RewardTerm, samples: Sequence[Sample], time_limit: float | None, retries: int
) -> TermScores:
    start = time.perf_counter()
    scores: list[float | None] = [None] * len(samples)
    extras: dict[str, list[float | None]] = {name: [None] * len(samples) for name in term_metrics_of(term)}
    totals = dict.fromkeys(term_totals_of(term), 0.0)
    try:
        applies = [bool(term.applies(sample)) for sample in samples]
    except Exception:
        LOGGER.exception("reward term %s could not tell which samples it applies to", term.name)
        everyone = (True,) * len(samples)
        nothing = {name: tuple(values) for name, values in extras.items()}
        return TermScores(tuple(scores), everyone, everyone, nothing, totals=totals)
    asked = [i for i, does in enumerate(applies) if does]
    if compares_groups(term) and any(samples[i].group is None for i in asked):
        raise TermError(
            f"reward term {term.name} compares all samples of a prompt, and the caller does not say which these are, "
            "or has divided them among processes"
        )
    failed: set[int] = set()
    for _ in range(retries + 1):
        values = await _ask(term, [samples[i] for i in asked], time_limit) if asked else ScoresWithExtras([])
        for place, value in zip(asked, values, strict=True):
            fails = value is not None and not math.isfinite(value)
            (failed.add if fails else failed.discard)(place)
            scores[place] = None if fails else value
        for name, found in values.extras.items():
            for place, value in zip(asked, found, strict=True):
                extras[name][place] = value
        for name, value in values.totals.items():
            totals[name] += value
        again = {samples[i].group for i in failed} if compares_groups(term) else set()
        asked = [i for i in asked if i in failed or (again and samples[i].group in again)]
    if failed:
        LOGGER.error("reward term %s failed on %d samples; they have no reward from it", term.name, len(failed))
    return TermScores(
        tuple(scores),
        tuple(applies),
        tuple(place in failed for place in range(len(samples))),
        {name: tuple(values) for name, values in extras.items()},
        time.perf_counter() - start,
        totals,
    )


def compares_groups(term: Any) -> bool:
    """True if the term (or its class) must see all samples of a prompt at once."""
    return bool(getattr(term, "whole_groups", False))


def term_metrics_of(term: RewardTerm) -> tuple[str, ...]:
    """The names of a term's figures beside its score; most terms have none."""
    return tuple(getattr(term, "term_metrics", ()))


def term_totals_of(term: RewardTerm) -> tuple[str, ...]:
    """The names of a term's figures of a whole call; most terms have none."""
    return tuple(getattr(term, "term_totals", ()))


def unreported_totals_of(term: RewardTerm) -> Mapping[str, float]:
    """Totals of calls that were broken off since this was last asked; nothing where the term does not know."""
    known: Callable[[], Mapping[str, float]] = getattr(term, "unreported_totals", dict)
    return known()


async def _ask(term: RewardTerm, samples: list[Sample], time_limit: float | None) -> ScoresWithExtras:
    """The term's values; nan for all of them if it raised an exception or took too long."""
    try:
        return await asyncio.wait_for(_call(term, samples), time_limit)
    except TermError:
        raise
    except TimeoutError:
        LOGGER.warning("reward term %s gave no answer within %s s", term.name, time_limit)
    except Exception:
        LOGGER.warning("reward term %s failed on %d samples", term.name, len(samples), exc_info=True)
    found = ScoresWithExtras([math.nan] * len(samples))
    found.totals = unreported_totals_of(term)
    return found


async def _call(term: RewardTerm, samples: list[Sample]) -> ScoresWithExtras:
    given = term.score(samples) if inspect.iscoroutinefunction(term.score) else await _in_thread(term.score, samples)
    scores = cast(Scores, await given if inspect.isawaitable(given) else given)
    extras = scores.extras if isinstance(scores, ScoresWithExtras) else {}
    if extras.keys() != set(term_metrics_of(term)):
        raise TermError(
            f"reward term {term.name} returned the extras {', '.join(extras) or '(none)'}; its attribute term_metrics "
            f"names {', '.join(term_metrics_of(term)) or 'none'}"
        )
    totals = scores.totals if isinstance(scores, ScoresWithExtras) else {}
    if unknown := totals.keys() - set(term_totals_of(term)):
        raise TermError(f"reward term {term.name} returned totals that term_totals does not name: {', '.join(unknown)}")
    values = {name: _numbers(term, figures, samples) for name, figures in extras.items()}
    found = ScoresWithExtras(_numbers(term, scores, samples), **values)
    found.totals = totals
    return found


def _numbers(term: RewardTerm, values: Scores, samples: Sequence[Sample]) -> list[float | None]:
    if isinstance(values, str | bytes | Mapping | Set):  # their items would pass for scores, in whatever order
        raise TermError(f"reward term {term.name} gave a {type(values).__name__}; give a list, in the samples' order")
    values = list(values)
    if texts := [value for value in values if isinstance(value, str | bytes)]:
        raise TermError(f"reward term {term.name} gave something that is not a number or None: {texts[0]!r:.80}")
    if len(values) != len(samples):
        raise TermError(f"reward term {term.name} gave {len(values)} scores for {len(samples)} samples")
    try:
        return [None if value is None else float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise TermError(f"reward term {term.name} gave something that is not a number or None: {error}") from error


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Like ``asyncio.to_thread``, in a thread that nobody waits for once its answer has come too late."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def settle(method: str, value: Any) -> None:
        if not answer.done():
            getattr(answer, method)(value)

    def run() -> None:
        try:
            outcome = ("set_result", function(*arguments))
        except BaseException as error:
            outcome = ("set_exception", error)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, daemon=True).start()
    return await answer


def term_class(path: str) -> Callable[..., Any]:
    """The object that an import path such as ``my_package.rewards:Politeness`` names; its module is imported.

    Raises:
        TermError: nothing importable is there.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise TermError(f"{path!r} names no reward term; write package.module:Class")
    try:
        return cast(Callable[..., Any], getattr(importlib.import_module(module_name), attribute))
    except (ImportError, AttributeError) as error:
        raise TermError(f"reward term {path!r} cannot be imported: {error}") from error


def load_term(path: str, **arguments: Any) -> RewardTerm:
    """The reward term of :func:`term_class`, built with ``arguments``.

    Raises:
        TermError: nothing importable is there, or it is not a reward term once it is built.
    """
    factory = term_class(path)
    try:
        term: RewardTerm = factory(**arguments)
    except (TypeError, ValueError) as error:
        raise TermError(f"reward term {path!r} cannot be built from {arguments}: {error}") from error
    missing = [name for name in ("name", "applies", "score") if not hasattr(term, name)]
    if missing:
        raise TermError(f"reward term {path!r} lacks {', '.join(missing)}; see align.rewards.terms.RewardTerm")
    return term
