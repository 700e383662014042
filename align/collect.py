"""Collecting experience: sample responses, score them, and keep what the updates will need."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from deepspeed.runtime.rollout import RolloutEngine
from transformers import PreTrainedTokenizerBase

from align.advantages import Advantages, group_advantages
from align.config import AlignConfig
from align.experience import Experience, Piece, share_ragged
from align.policy import FILLER, Policy
from align.prompts import PromptSet, draw
from align.reference import Reference
from align.rewards.build import WeightedTerm, total_reward
from align.rewards.terms import Sample, run_terms
from align.rollouts.base import Rollout, Sampling, left_padded
from reward_models.data.batching import plan_padded, plan_trees
from reward_models.runtime.distributed import World


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Responses to some prompts, the same on every rank; see :class:`Experience` for the tensors.

    Attributes:
        items: which prompts of the set, one per group.
    """

    items: np.ndarray
    samples: int
    response_T: torch.Tensor
    length_N: torch.Tensor
    finished_N: torch.Tensor
    logprobs_T: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Rewards of all responses, the same on every rank; nan where there is none.

    Attributes:
        raw: term → value per response. ``total_N``: their weighted sum.
        unscorable, failures: per term, responses that it was asked about and could not score, or failed on.
    """

    raw: dict[str, torch.Tensor]
    total_N: torch.Tensor
    unscorable: dict[str, int]
    failures: dict[str, int]


@dataclass(slots=True)
class Clock:
    """Wall time of the parts of a step, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


class Sampler:
    """Answers prompts with the rollout engine, every rank its share."""

    def __init__(
        self, engine: RolloutEngine, tokenizer: PreTrainedTokenizerBase, end_ids: Sequence[int], world: World
    ) -> None:
        self.engine, self.tokenizer, self.end_ids, self.world = engine, tokenizer, tuple(end_ids), world

    def __call__(self, prompts: PromptSet, items: np.ndarray, sampling: Sampling, seed_key: Sequence[int]) -> Responses:
        """``sampling.n_samples_per_prompt`` responses for each of ``items``.

        Args:
            seed_key: with it and its own place, every response has a seed of its own, whatever rank samples it.
        """
        count, samples, rank, ranks = len(items), sampling.n_samples_per_prompt, self.world.rank, self.world.size
        seeds = (
            np.random.SeedSequence(list(seed_key)).generate_state(count * samples, np.uint64).reshape(count, samples)
        )
        mine = list(range(rank, count, ranks))
        asked = mine or [0]  # a rank without prompts samples one for company: engines may need all ranks
        request = left_padded([prompts.ids[items[p]] for p in asked], self._pad, self.world.device)
        ours = replace(sampling, seeds=[int(s) for p in asked for s in seeds[p]], end_ids=self.end_ids)
        rollout = self.engine.generate(request, ours)
        assert isinstance(rollout, Rollout)
        ids, logprobs = {}, {}
        finished = torch.zeros(count * samples, dtype=torch.uint8)
        for row, (tokens, values) in enumerate(rollout.responses() if mine else []):
            number = mine[row // samples] * samples + row % samples
            ids[number], logprobs[number] = tokens, values
            finished[number] = int(rollout.finished[row])
        response_T, length_N = share_ragged(ids, count * samples, torch.int64, self.world)
        logprobs_T, _ = share_ragged(logprobs, count * samples, torch.float32, self.world)
        return Responses(items, samples, response_T, length_N, self.world.sum(finished), logprobs_T)

    @property
    def _pad(self) -> int:
        return self.tokenizer.pad_token_id or 0

    def texts(self, responses: Responses) -> list[str]:
        parts = [part.tolist() for part in responses.response_T.split(responses.length_N.tolist())]
        return self.tokenizer.batch_decode(parts, skip_special_tokens=True)

    def as_samples(self, prompts: PromptSet, responses: Responses) -> list[Sample]:
        """The responses as reward terms see them."""
        samples = []
        for number, text in enumerate(self.texts(responses)):
            item = responses.items[number // responses.samples]
            record = prompts.records[item]
            samples.append(
                Sample(
                    prompt=record.prompt,
                    response=text,
                    kind=record.kind,
                    answer=record.answer,
                    language=record.language,
                    think_prefilled=prompts.prefilled[item],
                    tokens=int(responses.length_N[number]),
                    finished=bool(responses.finished_N[number]),
                    columns=record.columns,
                )
            )
        return samples


def score(terms: Sequence[WeightedTerm], samples: Sequence[Sample], world: World) -> Scores:
    """All terms over all samples, every rank its share of them."""
    mine = range(world.rank, len(samples), world.size)
    ours = [samples[i] for i in mine]
    results = run_terms([each.term for each in terms], ours)
    columns = {name: result.scores for name, result in results.items()}
    columns["total"] = tuple(total_reward(terms, ours, results))
    values = torch.zeros(len(columns), len(samples), dtype=torch.float64)
    for row, scores in enumerate(columns.values()):
        values[row, list(mine)] = torch.tensor([float("nan") if s is None else s for s in scores], dtype=torch.float64)
    counts = torch.tensor([[r.unscorable, r.failures] for r in results.values()])
    world.sum(values)
    world.sum(counts)
    raw = dict(zip(columns, values, strict=True))
    total = raw.pop("total")
    unscorable, failures = (dict(zip(raw, column, strict=True)) for column in counts.t().tolist())
    return Scores(raw, total, unscorable, failures)


class Collector:
    """Fills the buffer: rollout, rewards, advantages, old and reference log-probabilities."""

    def __init__(
        self,
        config: AlignConfig,
        prompts: PromptSet,
        sampler: Sampler,
        terms: Sequence[WeightedTerm],
        policy: Policy,
        engine: torch.nn.Module,
        reference: Reference | None,
        world: World,
    ) -> None:
        self.config, self.prompts, self.sampler, self.terms, self.world = config, prompts, sampler, terms, world
        self.policy, self.engine, self.reference = policy, engine, reference
        self.drawn = 0  # prompts taken from the endless stream so far

    def __call__(self, step: int, clock: Clock) -> tuple[Experience, dict[str, float], list[Sample], Scores]:
        """The experience of the steps from ``step`` on, its metrics, and the samples with their rewards."""
        config = self.config
        with clock.part("rollout"):
            self.sampler.engine.sync_weights(step)
        wanted = config.prompts_per_rollout
        responses, samples, scores = self._answer(wanted, step, 0, clock)
        advantages = self._advantages(scores)
        rounds = 0
        while rounds < config.resample_rounds and (missing := wanted - int(advantages.signal_P.sum())):
            rounds += 1
            again = self._answer(missing, step, rounds, clock)
            responses, samples, scores = _replace_silent(
                (responses, samples, scores), again, (~advantages.signal_P).nonzero()[:, 0].tolist()
            )
            advantages = self._advantages(scores)
        experience = self._experience(responses, scores.total_N, advantages.advantages_PG)
        with clock.part("logprobs"):
            experience = self._with_logprobs(experience)
        metrics = rollout_metrics(responses, scores)
        metrics |= {
            "groups_without_signal": float((~advantages.signal_P).float().mean()),
            "unscorable": float(advantages.unscorable),
            "resampled_rounds": float(rounds),
            "prompts_drawn": float(self.drawn),
        }
        return experience, metrics, samples, scores

    def _answer(self, count: int, step: int, number: int, clock: Clock) -> tuple[Responses, list[Sample], Scores]:
        config = self.config
        items = draw(len(self.prompts), self.drawn, count, config.seed)
        self.drawn += count
        sampling = Sampling(
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            n_samples_per_prompt=config.samples_per_prompt,
        )
        with clock.part("rollout"):
            responses = self.sampler(self.prompts, items, sampling, (config.seed, step, number))
        with clock.part("rewards"):
            samples = self.sampler.as_samples(self.prompts, responses)
            scores = score(self.terms, samples, self.world)
        return responses, samples, scores

    def _advantages(self, scores: Scores) -> Advantages:
        return group_advantages(scores.total_N.view(-1, self.config.samples_per_prompt), self.config.loss.advantages)

    def _experience(self, responses: Responses, rewards_N: torch.Tensor, advantages_PG: torch.Tensor) -> Experience:
        prompt_ids = [self.prompts.ids[i] for i in responses.items]
        return Experience(
            samples=responses.samples,
            prompt_P=torch.from_numpy(responses.items.astype(np.int64)),
            prompt_T=torch.from_numpy(np.concatenate(prompt_ids).astype(np.int64)),
            prompt_length_P=torch.tensor([len(p) for p in prompt_ids]),
            response_T=responses.response_T,
            length_N=responses.length_N,
            finished_N=responses.finished_N,
            rollout_logprobs_T=responses.logprobs_T,
            rewards_PG=rewards_N.view(-1, responses.samples),
            advantages_PG=advantages_PG,
        )

    def _with_logprobs(self, experience: Experience) -> Experience:
        if self.config.steps_per_rollout > 1:
            experience = replace(experience, old_logprobs_T=self._logprobs(experience))
        if self.reference is not None:
            with self.reference.active():
                experience = replace(experience, reference_logprobs_T=self._logprobs(experience))
        return experience

    @torch.no_grad()
    def _logprobs(self, experience: Experience) -> torch.Tensor:
        """Log-probabilities of all responses under the engine's present weights, every rank its share."""
        self.engine.eval()
        batches = plan(experience, range(len(experience)), self.policy, self.config.max_tokens, self.world)
        parts: dict[int, np.ndarray] = {}
        for pieces in batches:
            batch = self.policy.collate(experience.trees(pieces) or [FILLER]).to(self.world.device)
            logprobs_T, _ = self.engine(batch, self.config.temperature)
            members = [sample for piece in pieces for sample in piece.samples]
            if members:
                lengths = experience.length_N[members].tolist()
                parts |= dict(zip(members, (p.numpy() for p in logprobs_T.cpu().split(lengths)), strict=True))
        self.engine.train()
        return share_ragged(parts, len(experience.length_N), torch.float32, self.world)[0]


def plan(
    experience: Experience, prompts: Sequence[int] | range, policy: Policy, budget: int, world: World
) -> list[list[Piece]]:
    """This rank's micro-batches over the prompts' samples; every rank has equally many, some may be empty."""
    pieces = experience.pieces(prompts, budget, policy.layout)
    sizes = [piece.tokens for piece in pieces]
    if policy.layout == "tree":
        cut = plan_trees(sizes, budget, world.size)
    else:
        cut = plan_padded(sizes, 1, budget, world.size)
    return [[pieces[i] for i in batch] for batch in cut[world.rank]]


def _replace_silent(
    before: tuple[Responses, list[Sample], Scores], new: tuple[Responses, list[Sample], Scores], silent: list[int]
) -> tuple[Responses, list[Sample], Scores]:
    """Put the new groups in the place of those without signal."""
    size = before[0].samples
    place = list(range(len(before[0].items)))
    for number, group in enumerate(silent):
        place[group] = len(place) + number
    rows = [group * size + g for group in place for g in range(size)]
    responses = []
    for name in ("response_T", "logprobs_T"):
        parts = [p for r, _, _ in (before, new) for p in getattr(r, name).split(r.length_N.tolist())]
        responses.append(torch.cat([parts[row] for row in rows]))
    both: Mapping[str, torch.Tensor] = {
        name: torch.cat([getattr(before[0], name), getattr(new[0], name)])[rows] for name in ("length_N", "finished_N")
    }
    items = np.concatenate([before[0].items, new[0].items])[place]
    samples = [*before[1], *new[1]]
    old, other = before[2], new[2]
    scores = Scores(
        {name: torch.cat([old.raw[name], other.raw[name]])[rows] for name in old.raw},
        torch.cat([old.total_N, other.total_N])[rows],
        {name: old.unscorable[name] + other.unscorable[name] for name in old.raw},
        {name: old.failures[name] + other.failures[name] for name in old.raw},
    )
    return (
        Responses(items, size, responses[0], both["length_N"], both["finished_N"], responses[1]),
        [samples[row] for row in rows],
        scores,
    )


def rollout_metrics(responses: Responses, scores: Scores) -> dict[str, float]:
    """Means over a rollout; a mean over nothing is left out."""
    lengths = responses.length_N.double()
    metrics = {
        "response_length": float(lengths.mean()),
        "response_length_max": float(lengths.max()),
        "finished": float(responses.finished_N.double().mean()),
        "reward": float(scores.total_N.nanmean()),
        **{f"reward/{name}": float(values.nanmean()) for name, values in scores.raw.items()},
        **{f"unscorable/{name}": float(number) for name, number in scores.unscorable.items() if number},
        **{f"failures/{name}": float(number) for name, number in scores.failures.items() if number},
    }
    return {name: value for name, value in metrics.items() if value == value}
