"""A mixture of rewards as a service: the rewards of a run's configuration, without the run."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from align.bridges.conversion import as_sample
from align.bridges.rewarder import check_sums, weights_at
from align.config import AlignConfig
from align.rewards.build import VERIFIERS, MixedTerm, build_terms
from align.rewards.grouping import whole_halves
from align.rewards.mixer import Mixer, Rewards, as_list
from align.rewards.models.loaded import forget_models
from align.rewards.scoring import Scorer
from align.rewards.terms import RewardTerm, Sample, TermError, TermScores, compares_groups, run_terms
from align.rewards.verifiers.sandbox import SandboxError
from align.timetable import scheduled
from reward_models.data.records import RecordError
from reward_models.extras import MissingExtraError
from reward_models.runtime.config import dump_config, load_config
from reward_models.serving.batcher import Batcher
from reward_models.serving.limits import Admission, Limits, Refused
from reward_models.serving.metrics import Metrics
from reward_models.serving.results import Answer, Context, Result, TermValue, Text, Turns
from reward_models.serving.service import computed, too_long

LOGGER = logging.getLogger(__name__)
BATCH_CHARACTERS = 2**20  # of one round of all terms
ISOLATION_SECONDS = 10.0  # for the search for the samples that a term fails on
# Columns that are facts of a sample and not further columns of its row, with their types.
OF_RESPONSE: dict[str, type] = {"think_prefilled": bool, "tokens": int, "finished": bool, "group": int}
FACTS: dict[str, type] = {"answer": str, "language": str, **OF_RESPONSE}


class MixerService:
    """The rewards of one configuration. Nothing is learnt from what is scored: a reward depends on its sample alone.

    Args:
        config: its ``rewards``, ``phases``, ``steps`` and ``reward_time_limit`` are used.

    Raises:
        TermError: a term cannot be built.
        ValueError: a term is normalised by running statistics: its rewards would depend on the traffic. Or the rewards
            are not learnt from as a weighted sum.
    """

    task: Literal["mixer"] = "mixer"

    def __init__(self, name: str, config: AlignConfig, limits: Limits, metrics: Metrics) -> None:
        if running := [each.term for each in config.rewards if each.normalise == "running"]:
            raise ValueError(
                f"{name}: {', '.join(running)} has normalise: running; rewards that depend on what was scored "
                "before cannot be served"
            )
        try:
            check_sums(config)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        forget_models()  # a reload must read them anew
        self.manifest = hashlib.sha256(dump_config(config).encode()).hexdigest()[:16]
        self.admission = Admission(limits)
        self._name, self._config, self._metrics = name, config, metrics
        self._scheduled = scheduled(config)
        self._verifiers = _verifiers(config)
        mixer = Mixer(build_terms(config.rewards, set(self._verifiers)))
        self._group_terms = [each.name for each in mixer.terms if compares_groups(each)]
        # A term that fails costs the samples it failed on, each of which gets an error, and not the whole batch.
        self._scorer = Scorer(mixer, time_limit=config.reward_time_limit, max_failures=1.0)
        self._batcher = Batcher(self._compute, BATCH_CHARACTERS, name=name, observe=self._observe)

    async def score(self, conversations: Sequence[Turns], context: Context) -> Answer:
        size = sum(len(turn["content"]) for turns in conversations for turn in turns)
        step = self._step(context.step)
        rows = _rows(len(conversations), context)
        with self.admission.admit(len(conversations), size):
            samples = [self._sample(turns, row) for turns, row in zip(conversations, rows, strict=True)]
            groups = self._groups(samples, rows)
            parts = [[each for i in group if isinstance(each := samples[i], Sample)] for group in groups]
            costs = [sum(1 + len(sample.response) for sample in part) for part in parts]
            job = self._batcher.submit([(part, step) for part in parts], costs)
            found: dict[int, Result] = {}
            for group, part in zip(groups, await computed(job, self._name), strict=True):
                found |= dict(zip(group, part, strict=True))
        results = [found[i] if i in found else Result(error=str(sample)) for i, sample in enumerate(samples)]
        return Answer(results, [0] * len(results))

    def _groups(self, samples: list[Sample | str], rows: Sequence[dict[str, Any]]) -> list[list[int]]:
        """The places of the samples that are computed together.

        Where a term compares the samples of a prompt, errors take the place of samples in ``samples`` that have no
        group, or whose group has a sample that cannot be read or another prompt.
        """
        if not self._group_terms:
            return [[i] for i, sample in enumerate(samples) if isinstance(sample, Sample)]
        terms = ", ".join(self._group_terms)
        groups: dict[int, list[int]] = {}
        broken = {row.get("group") for sample, row in zip(samples, rows, strict=True) if isinstance(sample, str)}
        prompts = {(each.group, each.prompt) for each in samples if isinstance(each, Sample)}
        mixed = {group for group, count in Counter(group for group, _ in prompts).items() if count > 1}
        for i, sample in enumerate(samples):
            if not isinstance(sample, Sample):
                continue
            if sample.group is None:
                samples[i] = f"{terms} compares all samples of a prompt: send the column group, a number per prompt"
            elif sample.group in broken:
                samples[i] = f"{terms} compares all samples of a prompt, and another one of the group cannot be read"
            elif sample.group in mixed:
                samples[i] = (
                    f"{terms} compares all samples of a prompt, and its group {sample.group} has several prompts"
                )
            else:
                groups.setdefault(sample.group, []).append(i)
        return list(groups.values())

    async def score_texts(self, texts: Sequence[Text]) -> Answer:
        raise Refused(422, f"{self._name} is a mixer and reads conversations: POST /v1/score")

    def close(self) -> None:
        self._batcher.close()
        for each in self._scorer.mixer.terms:
            if hasattr(each.term, "close"):
                each.term.close()
        del self._scorer  # service and batcher are a reference cycle, which would keep the terms' models in memory

    def _step(self, step: int | None) -> int:
        last = self._config.steps - 1
        if step is None and (entry := self._scheduled) is not None:
            raise Refused(422, f"the weight of {entry} in {self._name} follows the step: say which, 0 to {last}")
        return min(step or 0, last)  # a trainer's evaluation after its last step

    def _sample(self, turns: Turns, row: dict[str, Any]) -> Sample | str:
        """The conversation as a sample, or why it cannot be one."""
        entries = {each.term for each in self._config.rewards}
        verifier = row.get("verifier")
        if verifier is not None and "accuracy" in entries and verifier not in self._verifiers:
            return f"no verifier {str(verifier)[:50]!r} here; there are {', '.join(self._verifiers)}"
        if "overlong" in entries and row.get("tokens") is None:
            return "the term overlong needs the column tokens, the length of the response"
        return too_long([turn["content"] for turn in turns], self.admission.limits) or _sample(turns, row)

    def _compute(self, items: list[tuple[list[Sample], int]]) -> list[list[Result]]:
        """Score all groups of samples at once with all terms, and mix the samples of each step by its weights."""
        mixer, limit = self._scorer.mixer, self._config.reward_time_limit
        # Requests number their groups independently of one another.
        samples = [replace(sample, group=group) for group, (part, _) in enumerate(items) for sample in part]
        steps = [step for part, step in items for _ in part]
        scores = score_apart(mixer.terms, samples, limit)
        places = defaultdict(list)
        for place, step in enumerate(steps):
            places[step].append(place)
        results: list[Result] = [Result()] * len(samples)
        for step, rows in places.items():
            selected = {name: each.select(rows) for name, each in scores.items()}
            rewards = self._scorer.mix(selected, weights_at(self._config, mixer, step), learn=False)
            for row, result in zip(rows, _results(rewards, mixer.terms), strict=True):
                results[row] = result
        rest = iter(results)
        return [[next(rest) for _ in part] for part, _ in items]

    def _observe(self, requests: int, items: int, characters: int, seconds: float) -> None:
        self.admission.computed(items, seconds)
        self._metrics.batch(self._name, requests, 0, seconds)


def score_apart(
    terms: Sequence[RewardTerm], samples: Sequence[Sample], time_limit: float | None
) -> dict[str, TermScores]:
    """All terms over all samples. A term that fails on all samples at once is run on halves of them, down to the
    samples that it fails on alone: they must not cost other clients their scores."""
    found = run_terms(terms, samples, time_limit=time_limit)
    for term in terms:
        if _failed(whole := found[term.name]) and whole.seconds < ISOLATION_SECONDS:
            found[term.name] = _isolated(term, samples, whole, time_limit)
    return found


def _failed(found: TermScores) -> bool:
    """True if a term failed as a whole; one that fails on single samples says so itself."""
    return found.failures == found.applicable > 1


def _isolated(term: RewardTerm, samples: Sequence[Sample], whole: TermScores, time_limit: float | None) -> TermScores:
    scores, applies, failed = list(whole.scores), list(whole.applies), list(whole.failed)
    until = time.monotonic() + ISOLATION_SECONDS

    def halve(places: Sequence[int]) -> None:
        for part in _halves(term, samples, places):
            if time.monotonic() > until:
                return
            found = run_terms([term], [samples[i] for i in part], time_limit=time_limit, retries=0)[term.name]
            rows = zip(part, found.scores, found.applies, found.failed, strict=True)
            for place, score, does, fails in rows:
                scores[place], applies[place], failed[place] = score, does, fails
            if _failed(found):
                halve(part)

    halve([place for place, does in enumerate(whole.applies) if does])
    return replace(whole, scores=tuple(scores), applies=tuple(applies), failed=tuple(failed))


def _halves(term: RewardTerm, samples: Sequence[Sample], places: Sequence[int]) -> list[list[int]]:
    """Two parts of the places, or whole groups for a term that compares them; nothing where no smaller part is left."""
    if compares_groups(term):
        halves = whole_halves([samples[i] for i in places])
        return [[places[i] for i in half] for half in halves or ()]
    middle = len(places) // 2
    return [list(places[:middle]), list(places[middle:])]


def load_mixer(name: str, path: str | Path, limits: Limits, metrics: Metrics) -> MixerService:
    """The mixer of a configuration file or preset of ``keel train align``."""
    try:
        return MixerService(name, load_config(AlignConfig, path), limits, metrics)
    except TermError as error:
        raise ValueError(f"{path}: {error}") from error


def _verifiers(config: AlignConfig) -> list[str]:
    """The verifiers of the entry ``accuracy``: all that work here, since any may be asked for.

    Programs need a sandbox, and problems of reasoning-gym its package.
    """
    if all(each.term != "accuracy" for each in config.rewards):
        return []
    absent = set()
    for name in ("code", "reasoning_gym"):
        try:
            VERIFIERS[name]()
        except (SandboxError, MissingExtraError) as error:
            LOGGER.warning("samples with the verifier %s cannot be judged here, and get an error: %s", name, error)
            absent.add(name)
    return sorted(VERIFIERS.keys() - absent)


def _rows(count: int, context: Context) -> list[dict[str, Any]]:
    """The facts of each conversation.

    Raises:
        Refused: 422, a column has another number of values than there are conversations, or one of the wrong type.
    """
    columns = {**(context.columns or {}), **({"domain": list(context.domains)} if context.domains is not None else {})}
    for name, values in columns.items():
        if len(values) != count:
            raise Refused(422, f"{name} has {len(values)} values for {count} conversations")
        wrong = [v for v in values if v is not None and name in FACTS and type(v) is not FACTS[name]]
        if wrong:
            raise Refused(422, f"{name}: {str(wrong[0])[:50]!r} is not of type {FACTS[name].__name__}")
        if name == "tokens" and (wrong := [v for v in values if v is not None and not 0 <= v < 2**31]):
            raise Refused(422, f"tokens: {str(wrong[0])[:50]} is no length of a response")
    return [{name: values[i] for name, values in columns.items()} for i in range(count)]


def _sample(turns: Turns, row: dict[str, Any]) -> Sample | str:
    """The conversation as a sample, or what is wrong with it. An empty response is one that a policy may give."""
    if len(turns) < 2 or turns[-1]["role"] != "assistant" or turns[-2]["role"] == "assistant":
        return "it must hold a prompt and end with the assistant's message"
    facts: dict[str, Any] = {name: row[name] for name in OF_RESPONSE if row.get(name) is not None}
    columns = {name: value for name, value in row.items() if name not in OF_RESPONSE}
    try:
        return as_sample(turns[:-1], turns[-1]["content"], columns, **facts)
    except RecordError as error:
        return str(error)


def _results(rewards: Rewards, terms: Sequence[MixedTerm]) -> list[Result]:
    """Each sample's reward with its parts; where a part is missing, an error that names it."""
    raw = {name: as_list(values) for name, values in rewards.raw.items()}
    weighted = {name: as_list(values) for name, values in rewards.weighted.items()}
    results = []
    for row, total in enumerate(rewards.reward_N.tolist()):
        parts = {each.name: TermValue(raw[each.name][row], weighted[each.name][row]) for each in terms}
        if math.isfinite(total):
            results.append(Result(raw=total, terms=parts))
            continue
        counted = [each.name for each in terms if rewards.weights[each.entry] != 0 and rewards.applied[each.name][row]]
        silent = [name for name in counted if raw[name][row] is None]
        error = f"no score from {', '.join(silent)}" if silent else "no term with a weight applies to it"
        results.append(Result(terms=parts, error=error))
    return results
