"""From samples to rewards: the one function that scores and mixes, for training, evaluation, bridges and servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from align.rewards.mixer import Mixer, Rewards
from align.rewards.models.event_loop import LoopThread
from align.rewards.terms import Sample, TermScores, run_terms, score_terms

T = TypeVar("T")

Scores = Mapping[str, TermScores]  # by the name of the term


class RewardFailure(RuntimeError):
    """A reward term failed on more samples than is allowed: the rest is no fair sample of them."""


class Scorer:
    """Scores samples with all terms of a mixture, and mixes the scores into one reward per sample.

    :meth:`rewards` does both. Where something else happens between the two, :meth:`score` (or :meth:`start`) comes
    first and :meth:`mix` afterwards.

    Args:
        time_limit: seconds for one call of a term; ``None``: terms bound their own time.
        max_failures: share of the samples a term was asked about that it may fail on; 1 allows everything.
    """

    def __init__(self, mixer: Mixer, *, time_limit: float | None, max_failures: float) -> None:
        self.mixer, self._time_limit, self._max_failures = mixer, time_limit, max_failures
        self._mixing = threading.Lock()  # of running statistics: libraries call from several threads
        self._loop = LoopThread()

    async def rewards(self, samples: Sequence[Sample], weights: Mapping[str, float], *, learn: bool) -> Rewards:
        """Score and mix. See :meth:`mix` for the arguments and errors."""
        return self.mix(await score_terms(self.mixer.terms, samples, time_limit=self._time_limit), weights, learn=learn)

    def score(self, samples: Sequence[Sample]) -> Scores:
        """The scores of all terms, for code that is not asynchronous."""
        return run_terms(self.mixer.terms, samples, time_limit=self._time_limit)

    def start(self, samples: Sequence[Sample]) -> Callable[[], Scores]:
        """Begin to score in a thread; the returned function waits for the scores."""
        return self.submit(self.scored(samples)).result

    async def scored(self, samples: Sequence[Sample]) -> Scores:
        """The scores of all terms. Several calls may be under way at the same time."""
        return await score_terms(self.mixer.terms, samples, time_limit=self._time_limit)

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run ``work`` in the scorer's thread, beside everything else that runs there."""
        self._loop.begin()
        return self._loop.submit(work)

    def mix(self, scores: Scores, weights: Mapping[str, float], *, learn: bool) -> Rewards:
        """Rewards of scored samples.

        Args:
            weights: of every entry of the mixture; see :meth:`Mixer.weights`.
            learn: update the running statistics of terms that are normalised by them.

        Raises:
            RewardFailure: a term failed on too many samples.
        """
        check_failures({n: (each.failures, each.applicable) for n, each in scores.items()}, self._max_failures)
        with self._mixing:
            return self.mixer.mix(scores, weights, learn=learn)

    def check_failures(self, scores: Sequence[Scores], samples: int) -> None:
        """:class:`RewardFailure` if the failures so far are too many, whatever the rest of the rollout brings.

        Args:
            scores: of the parts of a rollout that are scored. ``samples``: of the whole rollout.
        """
        counts = {term.name: sum(each[term.name].failures for each in scores) for term in self.mixer.terms}
        check_failures({name: (number, samples) for name, number in counts.items()}, self._max_failures)

    def close(self) -> None:
        self._loop.end()


def join_scores(parts: Sequence[Scores]) -> Scores:
    """The scores of several calls, about samples one after the other, as if all had been asked about at once."""
    return {
        name: TermScores(
            tuple(score for part in parts for score in part[name].scores),
            tuple(applies for part in parts for applies in part[name].applies),
            tuple(failed for part in parts for failed in part[name].failed),
            {metric: tuple(value for part in parts for value in part[name].extras[metric]) for metric in first.extras},
            seconds=sum(part[name].seconds for part in parts),
            totals={total: sum(part[name].totals[total] for part in parts) for total in first.totals},
        )
        for name, first in parts[0].items()
    }


def check_failures(counts: Mapping[str, tuple[int, int]], allowed: float) -> None:
    """:class:`RewardFailure` if a term failed on more than the share ``allowed`` of the samples it was asked about.

    Args:
        counts: term → (failures, samples asked about).
    """
    for name, (number, asked) in counts.items():
        if number > allowed * asked:
            raise RewardFailure(
                f"reward term {name} failed on {number} of {asked} samples, more than the share of {allowed:g} that "
                "max_reward_failures allows; the log gives the reasons"
            )
