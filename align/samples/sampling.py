"""Responses to prompts, sampled from a policy and scored, in a file that grows and is continued after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from align.checks import check_entries, check_prompts
from align.phases import resolve_phases
from align.policy.policy import build_policy, check_policy, end_ids, load_tokenizer, policy_architecture
from align.rewards.build import build_terms
from align.rewards.mixer import Mixer
from align.rewards.scoring import Scorer, Scores
from align.rollouts.base import RolloutEngine, Sampling
from align.rollouts.build import build_rollout
from align.rollouts.config import RolloutConfig
from align.rollouts.prompts import PromptSet, load_prompts
from align.rollouts.sampler import Sampler
from align.rollouts.served import Served, ServedRollout, find_models
from align.samples.config import LONGEST, USUAL, SampleConfig
from align.samples.manifest import complete, identity, manifest_of, write_manifest
from align.samples.rows import rows_of
from align.samples.yields import Yield
from align.training.collect import score
from align.training.rollout import Rollout
from reward_models.runtime import distributed
from reward_models.runtime.distributed import World
from reward_models.runtime.reporter import Reporter
from reward_models.runtime.resumable import ResumableLines
from reward_models.runtime.run import StopSignal


@dataclass(frozen=True, slots=True)
class Sampled:
    """The outcome of :func:`sample`.

    Attributes:
        rows: samples in the file. ``resumed``: those of them from earlier calls.
        complete: false if a signal stopped it.
        figures: of the yield, see :meth:`align.samples.yields.Yield.figures`.
    """

    rows: int
    resumed: int
    complete: bool
    figures: dict[str, Any]


def sample(config: SampleConfig, describing: Iterable[Path] = ()) -> Sampled:
    """Sample, score and write; continue where an earlier call was stopped. Every rank must call it.

    Args:
        describing: files that describe the samples, besides their manifest. They are deleted before the samples
            change, so that a kill leaves none that describes other samples.

    Raises:
        ValueError: something in the configuration or the data cannot be used; it is found before the model is loaded.
        ResumeError: the file holds samples of another job.
        RewardFailure: a reward term failed on too many samples.
    """
    world = distributed.start(config.timeout_seconds)
    reporter = Reporter(world.is_main)
    tokenizer, prompts = _load_prompts(config)
    servers = find_models(config.servers, config.start_seconds)
    config = _with_length(config, tokenizer, prompts, servers)
    with ExitStack() as stack:
        scorer = _scorer(config, prompts, stack)
        _describe(reporter, config, prompts, scorer, servers)
        job = identity(config, prompts)
        lines = None
        if world.is_main:
            lines = _open_lines(config, job, describing)
            stack.enter_context(closing(lines))
        done = int(world.sum(torch.tensor([lines.rows if lines is not None else 0], dtype=torch.int64)))
        run = _Sampling(config, world, reporter, prompts, scorer, lines, done // config.samples)
        if run.left:
            run.sampler = Sampler(
                _engine(config, tokenizer, servers, world), tokenizer, _ends(config, tokenizer), world
            )
        complete = run.all(stack.enter_context(StopSignal()))
        if complete and lines is not None:
            write_manifest(config, job, lines, prompts, servers)
    world.barrier()
    rows = lines.rows if lines is not None else done
    return Sampled(rows, done, complete, run.yields.figures())


def _open_lines(config: SampleConfig, job: dict[str, Any], describing: Iterable[Path]) -> ResumableLines:
    """The file of the samples. Files that describe it are deleted, unless it is refused."""
    out = Path(config.out)
    described = [manifest_of(out), *describing]

    def delete() -> None:
        for file in described:
            file.unlink(missing_ok=True)

    if config.overwrite or not out.exists():  # never refused, and the samples are gone when it returns
        delete()
    lines = ResumableLines(out, job, content="samples", overwrite=config.overwrite, complete=complete)
    delete()
    return lines


class _Sampling:
    """The loop: while a chunk is scored, the next is sampled."""

    def __init__(
        self,
        config: SampleConfig,
        world: World,
        reporter: Reporter,
        prompts: PromptSet,
        scorer: Scorer | None,
        lines: ResumableLines | None,
        answered: int,
    ) -> None:
        self.config, self.world, self.reporter, self.prompts = config, world, reporter, prompts
        self.scorer, self.lines, self._answered = scorer, lines, answered
        self.yields = Yield(lines.facts.get("yield") if lines is not None else None)
        self.sampler: Sampler
        self._began = time.monotonic()
        self._before = self.yields.total.tokens
        self._seconds = float(lines.facts.get("seconds", 0.0)) if lines is not None else 0.0

    @property
    def left(self) -> int:
        """Prompts that have no responses yet."""
        return len(self.prompts) - self._answered

    def all(self, stop: StopSignal) -> bool:
        """Answer what is left; false if a signal stopped it. What was sampled is in the file."""
        samples, total = self.config.samples, len(self.prompts) * self.config.samples
        with self.reporter.progress("samples", total, self._answered * samples, 1) as bar:
            pending: Callable[[], None] | None = None
            for items in self._chunks():
                stopped = stop.anywhere(self.world)
                following = None if stopped else self._begin(items)
                if pending is not None:
                    pending()
                    self.reporter.step(bar, self.yields.total.responses, self._progress())
                pending = following
                if stopped:
                    self.reporter.say("stopped by a signal; the same command goes on behind the last saved sample")
                    return False
            if pending is not None:
                pending()
                self.reporter.step(bar, self.yields.total.responses, self._progress())
        return True

    def _chunks(self) -> Iterator[np.ndarray]:
        size = max(1, self.config.chunk // self.config.samples)
        for first in range(self._answered, len(self.prompts), size):
            yield np.arange(first, min(first + size, len(self.prompts)))

    def _begin(self, items: np.ndarray) -> Callable[[], None]:
        """Sample responses to these prompts, and begin to score them; the returned function waits and writes."""
        config = self.config
        assert config.max_new_tokens is not None
        seeds = [s for item in items for s in _seeds(config.seed, int(item), config.samples)]
        sampling = Sampling(
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            top_k=config.top_k,
            samples=config.samples,
            seeds=seeds,
        )
        rollout = self.sampler(self.prompts, items, sampling)
        scores = None
        if self.scorer is not None:
            scores = score(self.scorer, self.sampler, self.prompts, rollout, self.world)
        return lambda: self._write(rollout, scores)

    def _write(self, rollout: Rollout, scores: Callable[[], Scores] | None) -> None:
        rewards = None
        if self.scorer is not None and scores is not None:
            rewards = self.scorer.mix(scores(), self.scorer.mixer.weights(0), learn=False)
        if self.lines is None:
            return
        rows = rows_of(self.prompts, rollout, self.sampler, rewards)
        self.yields.add(rows[i : i + rollout.samples] for i in range(0, len(rows), rollout.samples))
        seconds = self._seconds + time.monotonic() - self._began
        self.lines.append(rows, **{"yield": self.yields.to_facts(), "seconds": seconds})

    def _progress(self) -> dict[str, float]:
        figures = self.yields.total.figures()
        speed = (self.yields.total.tokens - self._before) / max(time.monotonic() - self._began, 1e-9)
        shown = {"correct": figures["correct"], "tokens a response": figures["tokens_mean"]}
        shown |= {"cut": figures["truncated"], "tokens/s": speed}
        return {name: value for name, value in shown.items() if value is not None}


def _seeds(seed: int, prompt: int, samples: int) -> list[int]:
    """A seed per response. The first ones are the same whatever the number of samples."""
    drawn: list[int] = np.random.SeedSequence([seed, prompt]).generate_state(samples, np.uint64).tolist()
    return drawn


def _load_prompts(config: SampleConfig) -> tuple[PreTrainedTokenizerBase, PromptSet]:
    if config.model.path is None:
        raise ValueError("model.path is empty: name the policy to sample from (--model)")
    if not config.prompts.train:
        raise ValueError("prompts.train is empty: name a file, hub data set or synthetic: source (--prompts)")
    tokenizer = load_tokenizer(config.model)
    assert tokenizer is not None
    prompts = load_prompts(config.prompts, tokenizer, config.prompts.train, config.prompts.limit)
    return tokenizer, check_prompts(config.rewards, prompts, config.prompts.max_bad, "prompts")


def _with_length(
    config: SampleConfig, tokenizer: PreTrainedTokenizerBase, prompts: PromptSet, servers: Sequence[Served]
) -> SampleConfig:
    """The configuration with the longest response filled in.

    Raises:
        ValueError: a response of full length would run beyond the positions that the model knows.
    """
    limits = [getattr(policy_architecture(config.model, tokenizer), "max_position_embeddings", None)]
    limits += [each.max_tokens for each in servers]
    limit = min((each for each in limits if each is not None), default=None)
    longest = int(prompts.length_I.max())
    room = LONGEST if limit is None else limit - longest
    wanted = config.max_new_tokens if config.max_new_tokens is not None else min(LONGEST, room)
    if wanted < 1 or wanted > room:
        raise ValueError(
            f"the longest prompt has {longest} tokens; with max_new_tokens={config.max_new_tokens or 1} that is more "
            f"than the {limit} positions of {config.model.path}. Lower max_new_tokens, or prompts.max_length"
        )
    return replace(config, max_new_tokens=wanted)


def _scorer(config: SampleConfig, prompts: PromptSet, stack: ExitStack) -> Scorer | None:
    """The scorer of the rewards; ``None`` if no term has anything to score."""
    terms = build_terms(config.rewards, prompts.verifiers)
    if tuple(config.rewards) != USUAL:
        once = resolve_phases([], steps=1, steps_per_rollout=1, temperature=1.0, max_new_tokens=1, lr=1.0)
        check_entries(config.rewards, once, terms, prompts)
    if not terms:
        return None
    for each in terms:
        if hasattr(each.term, "close"):
            stack.callback(each.term.close)
    scorer = Scorer(Mixer(terms), time_limit=config.reward_time_limit, max_failures=config.max_reward_failures)
    stack.callback(scorer.close)
    return scorer


def _engine(
    config: SampleConfig, tokenizer: PreTrainedTokenizerBase, servers: Sequence[Served], world: World
) -> RolloutEngine:
    architecture = policy_architecture(config.model, tokenizer)
    if servers:
        vocabulary = max(len(tokenizer), architecture.vocab_size)
        return ServedRollout(servers, vocabulary, request_seconds=config.request_seconds)
    saved = getattr(architecture, "dtype", None)
    wanted = {"fp32": torch.float32, "bf16": torch.bfloat16}.get(config.dtype)
    dtype = wanted or (torch.bfloat16 if saved in (torch.bfloat16, torch.float16) else torch.float32)
    policy = build_policy(config.model, tokenizer, dtype).to(world.device).eval().requires_grad_(False)
    check_policy(policy, world.device)
    return build_rollout(RolloutConfig(max_rows=config.max_rows), policy, tokenizer, world)


def _ends(config: SampleConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    ids = {int(token) for token in (tokenizer.eos_token_id, *end_ids(config.model)) if token is not None}
    if not ids:
        raise ValueError("neither the tokenizer nor the model names an end token: no response would ever end")
    return sorted(ids)


def _describe(
    reporter: Reporter, config: SampleConfig, prompts: PromptSet, scorer: Scorer | None, servers: Sequence[Served]
) -> None:
    out = "".join(f"; {number:,} left out ({reason})" for reason, number in prompts.dropped.items())
    reporter.say(
        f"{len(prompts):,} prompts{out}; {config.samples} responses to each, of at most "
        f"{config.max_new_tokens:,} tokens"
    )
    for server in servers:
        reporter.say(f"{server.url} serves {server.root}")
    if servers and config.model.path not in (servers[0].root, servers[0].name):
        reporter.say(f"make sure that this is the model of {config.model.path}: names cannot show it")
    if scorer is None:
        reporter.say("nothing is scored: no reward is named, or no prompt has an answer to verify")
    else:
        reporter.say(f"scored by {', '.join(each.name for each in scorer.mixer.terms)}")
