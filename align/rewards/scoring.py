"""From samples to rewards: the one function that scores and mixes, for training, evaluation, bridges and servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from align.rewards.mixer import Mixer, Rewards
from align.rewards.terms import Sample, TermScores, run_terms, score_terms

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
        self._threads: ThreadPoolExecutor | None = None

    async def rewards(self, samples: Sequence[Sample], weights: Mapping[str, float], *, learn: bool) -> Rewards:
        """Score and mix. See :meth:`mix` for the arguments and errors."""
        return self.mix(await score_terms(self.mixer.terms, samples, time_limit=self._time_limit), weights, learn=learn)

    def score(self, samples: Sequence[Sample]) -> Scores:
        """The scores of all terms, for code that is not asynchronous."""
        return run_terms(self.mixer.terms, samples, time_limit=self._time_limit)

    def start(self, samples: Sequence[Sample]) -> Callable[[], Scores]:
        """Begin to score in a thread; the returned function waits for the scores."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, thread_name_prefix="rewards")
        return self._threads.submit(self.score, samples).result

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

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)


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
