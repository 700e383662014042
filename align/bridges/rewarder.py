"""Rewards for other people's training loops: mixed here from a configuration, or by a server.

What is meant is named by a configuration file or preset, or by addresses: ``configs/my_rewards.yaml``, ``r1_stage2``,
``http://a:8000,http://b:8000``. Where a library has no place for an argument, environment variables do:

========================  ==============================================================================================
``KEEL_REWARD``           one of the above
``KEEL_REWARD_MODEL``     the name of the mixer or model on the servers, if they have several
``KEEL_REWARD_TOKEN``     the servers' bearer token
``KEEL_REWARD_STEP``      the step that weights are taken at, where a library does not tell it
``KEEL_UNSCORABLE``       what a sample is worth that cannot be scored, where a library takes nothing but numbers;
                          without it such a sample is an error
========================  ==============================================================================================
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import numpy as np

from align.config import AlignConfig, phases_of
from align.phases import phase_at
from align.rewards.build import build_terms, group_terms, verifier_of
from align.rewards.mixer import Mixer, Rewards, as_array
from align.rewards.models.client import RewardClient
from align.rewards.scoring import RewardFailure, Scorer, check_failures
from align.rewards.terms import Sample, TermError
from align.timetable import scheduled
from reward_models.data.program_tests import has_cases
from reward_models.runtime.config import ConfigError, load_config

T = TypeVar("T")
CONFIG, MODEL, STEP, UNSCORABLE = "KEEL_REWARD", "KEEL_REWARD_MODEL", "KEEL_REWARD_STEP", "KEEL_UNSCORABLE"
_CREATING = threading.Lock()


class Rewarder(Protocol):
    """The interface that every bridge asks for rewards."""

    async def rewards(self, samples: Sequence[Sample], step: int | None) -> Rewards:
        """``step`` is ``None`` where the library does not tell it.

        Raises:
            RewardFailure: too many samples have no score because something failed.
        """


COMPARING = frozenset(("math", "choice", "exact", "regex", "json"))  # verifiers that compare with an answer
ANSWERS = ("ground_truth", "solution", "expected_answer", "final_answer", "reference_answer")  # as data sets name it


class LocalRewarder:
    """``rewards`` and ``phases`` of a configuration. It can be pickled: terms are built where it first runs.

    Args:
        verifiers: what ``accuracy`` stands for, if the data have a column ``verifier``.
    """

    def __init__(self, config: AlignConfig, verifiers: Sequence[str] = ("math",)) -> None:
        self.config, self._verifiers = config, tuple(verifiers)
        self._scorer: Scorer | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "_verifiers": self._verifiers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["config"], state["_verifiers"])  # type: ignore[misc]

    @property
    def scorer(self) -> Scorer:
        with self._lock:
            if self._scorer is None:
                mixer = Mixer(build_terms(self.config.rewards, set(self._verifiers)))
                limit, failures = self.config.reward_time_limit, self.config.max_reward_failures
                self._scorer = Scorer(mixer, time_limit=limit, max_failures=failures)
            return self._scorer

    async def rewards(self, samples: Sequence[Sample], step: int | None) -> Rewards:
        self._check_verifiers(samples)
        scorer = await asyncio.to_thread(lambda: self.scorer)
        return await scorer.rewards(samples, weights_at(self.config, scorer.mixer, step or 0), learn=True)

    def _check_verifiers(self, samples: Sequence[Sample]) -> None:
        """Nothing, if an entry judges each sample's verifier; without it the sample's answer would count for nothing.

        Nothing too where no entry is a verifier: answers are then not meant to count.

        Raises:
            TermError: there is none, or a sample has its reference in a column of another name than ``answer``.
        """
        entries = {each.term for each in self.config.rewards}
        judged = {verifier_of(name) for name in entries} - {""}
        judged |= set(self._verifiers) if "accuracy" in entries else set()
        # somebody else's term may judge any, if it counts
        if not judged or any(":" in each.term and each.weight != 0 for each in self.config.rewards):
            return
        named = {str(each.columns["verifier"]) for each in samples if each.columns.get("verifier") is not None}
        if missing := sorted(named - judged):
            raise TermError(
                f"rewards: the rows name the verifier {', '.join(missing)[:200]}, and the entries judge "
                f"{', '.join(sorted(judged))} here: add an entry for each, as {{term: accuracy_{missing[0][:50]}}}"
            )
        if judged & COMPARING:
            _check_answers(samples)


def _check_answers(samples: Sequence[Sample]) -> None:
    """``TermError`` for a sample without an answer and with a column that usually holds it: it would earn nothing."""
    for each in samples:
        if each.answer is not None or each.columns.get("instructions") is not None or has_cases(each.columns):
            continue
        if name := next((name for name in ANSWERS if each.columns.get(name) not in (None, "")), None):
            raise TermError(
                f"rewards: the reference is read from the column 'answer', and a row has {name!r} instead: rename the "
                "column (a worked solution must be cut to its final answer)"
            )


def check_sums(config: AlignConfig) -> None:
    """Raise ``ValueError`` if the configuration does not learn from the weighted sums that are computed here."""
    if config.loss.aggregation != "sum":
        raise ValueError(
            f"loss.aggregation={config.loss.aggregation} normalises each term within groups, and the sums over a "
            "rollout, which a reward of single responses cannot do. Set loss.aggregation=sum for the weighted sum"
        )


def weights_at(config: AlignConfig, mixer: Mixer, step: int) -> dict[str, float]:
    """The weight of every entry at a step of the configured run; those of the last step hold afterwards."""
    step = min(step, config.steps - 1)
    return mixer.weights(step, phase_at(phases_of(config), step).weights)


class RemoteRewarder:
    """A mixer on servers, or a reward model, whose calibrated score is then the reward.

    Args:
        max_failures: share of a batch's samples that may have no score because something failed.
        options: of :class:`RewardClient`.
    """

    def __init__(self, urls: Sequence[str], *, max_failures: float = 0.1, **options: Any) -> None:
        self.client, self._max_failures = RewardClient(urls, **options), max_failures

    async def rewards(self, samples: Sequence[Sample], step: int | None) -> Rewards:
        answers = await self.client.answers(samples, step=step)
        served = self.client.served
        check_failures({served.name: (sum(a.failed for a in answers), len(answers))}, self._max_failures)
        if served.task != "mixer":
            values = [a.raw if a.calibrated is None else a.calibrated for a in answers]
            return _served(values, {served.name: [(value, value) for value in values]})
        names = dict.fromkeys(name for a in answers for name in a.terms or ())
        return _served(
            [a.raw for a in answers], {n: [(a.terms or {}).get(n, (None, None)) for a in answers] for n in names}
        )


def _served(
    values: Sequence[float | None], terms: Mapping[str, Sequence[tuple[float | None, float | None]]]
) -> Rewards:
    """The rewards of a server's answer; it does not tell weights.

    Args:
        terms: term → (raw, weighted) of each sample.
    """
    raw, weighted = ({name: as_array([pair[i] for pair in pairs]) for name, pairs in terms.items()} for i in (0, 1))
    return Rewards(as_array(values), raw, weighted, {name: ~np.isnan(each) for name, each in raw.items()})


def rewarder(
    spec: str | None = None,
    overrides: Sequence[str] = (),
    *,
    model: str | None = None,
    verifiers: Sequence[str] = ("math",),
    knows_step: bool = True,
    knows_tokens: bool = True,
    knows_groups: bool = True,
    **options: Any,
) -> Rewarder:
    """The rewarder that ``spec`` names.

    Args:
        spec: addresses of servers, or a configuration or preset of ``keel train align``, of which all but rewards and
            their limits, phases and steps is left aside; ``None``: the defaults with ``overrides``.
        model: on the servers.
        knows_step, knows_tokens, knows_groups: whether the library says at which step and of how many tokens a sample
            is, and gives all samples of a prompt at once.
        options: of :class:`RemoteRewarder`.

    Raises:
        ConfigError: the configuration cannot be used, or needs what the library does not say.
    """
    if spec is not None and "://" in spec:
        if overrides:
            raise ConfigError(f"{spec} has its own configuration; {' '.join(overrides)} would change nothing")
        return RemoteRewarder(tuple(url.strip() for url in spec.split(",")), model=model, **options)
    config = load_config(AlignConfig, spec, overrides)
    where = spec or "the configuration"
    try:
        check_sums(config)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    if not knows_step and STEP not in os.environ and (name := scheduled(config)):
        raise ConfigError(
            f"{where}: the weight of {name} follows the step, which this library does not tell; give a number, or the "
            f"step in {STEP}"
        )
    if not knows_tokens and any(each.term == "overlong" for each in config.rewards):
        raise ConfigError(f"{where}: overlong counts tokens, which this library does not tell; leave the term out")
    if not knows_groups and (names := group_terms(config.rewards)):
        raise ConfigError(
            f"{where}: {', '.join(names)} compares all samples of a prompt, which this library gives one at a time; "
            "leave the term out"
        )
    return LocalRewarder(config, verifiers)


def rewarder_from_environment(
    *, knows_step: bool = False, knows_tokens: bool = False, knows_groups: bool = False
) -> Rewarder:
    """The rewarder that ``KEEL_REWARD`` names, one for the whole process. :class:`ConfigError` if it is not set."""
    spec = os.environ.get(CONFIG)
    if not spec:
        raise ConfigError(f"set {CONFIG} to a configuration file, a preset, or the addresses of reward servers")
    with _CREATING:  # libraries call from many threads at once
        return _of_process(spec, os.environ.get(MODEL), knows_step, knows_tokens, knows_groups)


@functools.cache
def _of_process(spec: str, model: str | None, knows_step: bool, knows_tokens: bool, knows_groups: bool) -> Rewarder:
    return rewarder(spec, model=model, knows_step=knows_step, knows_tokens=knows_tokens, knows_groups=knows_groups)


def fixed_step() -> int | None:
    """For libraries that do not tell the step; a server whose weights change then refuses, unless it is fixed."""
    return int(os.environ[STEP]) if STEP in os.environ else None


def a_number(total: float | None) -> float:
    """A single sample's reward for a library that takes nothing but numbers.

    Raises:
        RewardFailure: there is none, and no ``KEEL_UNSCORABLE`` says what it is worth instead.
    """
    if total is not None:
        return total
    if (value := os.environ.get(UNSCORABLE)) is None:
        raise RewardFailure(
            f"a sample cannot be scored, and this library takes nothing but numbers: set {UNSCORABLE} to what such a "
            "sample is to be worth (0 teaches that it is as bad as a wrong one)"
        )
    return float(value)


def breakdown(rewards: Rewards, place: int) -> dict[str, float]:
    """Raw and weighted values of one sample, the same keys for every sample; nan where there is none."""
    found = {f"raw/{name}": float(values[place]) for name, values in rewards.raw.items()}
    return found | {f"weighted/{name}": float(values[place]) for name, values in rewards.weighted.items()}


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run``, also where a loop is running already, as in notebooks."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
