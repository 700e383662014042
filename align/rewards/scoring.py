"""Samples in, rewards out, the same on every rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from align.rewards.mixer import Mixed, Mixer, as_tensor
from align.rewards.terms import Sample, TermScores, run_terms
from reward_models.runtime.distributed import World


class RewardFailure(RuntimeError):
    """A reward term failed on more samples than is allowed: training on the rest would be training on chance."""


class Scorer:
    """Rewards of samples, every rank its share of them.

    Args:
        time_limit: seconds for one call of a term.
        max_failures: share of the samples a term was asked about that it may fail on.
    """

    def __init__(self, mixer: Mixer, world: World, *, time_limit: float, max_failures: float) -> None:
        self.mixer, self._world, self._time_limit, self._max_failures = mixer, world, time_limit, max_failures
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="rewards")

    def start(self, samples: Sequence[Sample]) -> Callable[[], dict[str, TermScores]]:
        """Begin to score this rank's share; what is returned waits for it. The model may run meanwhile."""
        ours = list(samples[self._world.rank :: self._world.size])
        return self._threads.submit(run_terms, self.mixer.terms, ours, time_limit=self._time_limit).result

    def finish(
        self, scored: Callable[[], dict[str, TermScores]], count: int, weights: dict[str, float], *, learn: bool
    ) -> Mixed:
        """The rewards of all ranks' samples.

        Raises:
            RewardFailure: a term failed on too many of them.
        """
        results = scored()
        beside = {
            f"{name}/{each.name}": results[each.name].beside[name]
            for each in self.mixer.terms
            for name in each.measures
        }
        mine = list(range(self._world.rank, count, self._world.size))
        values = torch.zeros(2 * len(results) + len(beside), count, dtype=torch.float64)
        for row, result in enumerate(results.values()):
            values[row, mine] = as_tensor(result.scores)
            values[len(results) + row, mine] = torch.tensor(result.applies, dtype=torch.float64)
        for row, measured in enumerate(beside.values(), start=2 * len(results)):
            values[row, mine] = as_tensor(measured)
        counts = torch.tensor([[r.unscorable, r.failures, r.applicable] for r in results.values()])
        self._world.sum(values)
        self._world.sum(counts)
        raw = dict(zip(results, values[: len(results)], strict=True))
        applied = dict(zip(results, values[len(results) : 2 * len(results)] > 0, strict=True))
        unscorable, failures, asked = (dict(zip(results, column, strict=True)) for column in counts.t().tolist())
        check_failures({name: (number, asked[name]) for name, number in failures.items()}, self._max_failures)
        mixed = self.mixer.mix(raw, applied, weights, unscorable, failures, learn=learn)
        return replace(mixed, beside=dict(zip(beside, values[2 * len(results) :], strict=True)))

    def close(self) -> None:
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
                "max_reward_failures allows; the log says why"
            )
