"""The plan of a run: its schedule simulated on a cluster, from the model's shape and stated assumptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from align.config import AlignConfig, phases_of
from align.phases import Phase
from align.planning.assumptions import Assumptions
from align.planning.cluster import Cluster, replica_for
from align.planning.decoding import TAIL, Decoding, Replica, rollout
from align.planning.lengths import Lengths
from align.planning.memory import RunMemory, run_memory
from align.planning.rates import Rates
from reward_models.planning.fit import check_shared_tokens
from reward_models.planning.memory import FRAGMENTATION, OVERHEAD
from reward_models.planning.shapes import ModelShape
from reward_models.runtime.training_config import check_divisible

SIMULATED = 12  # rollouts of each phase, evenly spaced
DRAWN_AT_MOST = 16384  # responses that are drawn for a rollout; a larger one is simulated on fewer replicas


@dataclass(frozen=True)
class ScoringModel:
    """A reward model that the run loads, and the domains of the prompts whose responses it scores.

    Attributes:
        offload: it is in CPU memory between uses.
    """

    shape: ModelShape
    domains: frozenset[str]
    offload: bool = False

    def share(self, phase: Phase) -> float:
        """Share of the responses that it scores; all of them where the phase's mix is not known."""
        if not phase.mix:
            return 1.0
        return sum(share for domain, share in phase.mix.items() if domain in self.domains) / sum(phase.mix.values())


@dataclass(frozen=True)
class Turn:
    """One simulated rollout with its updates.

    Attributes:
        seconds: by part, in the order of a step. ``total``: with overlap less than their sum.
        stands_for: rollouts of the run that it stands for.
    """

    step: int
    phase: str
    stands_for: float
    seconds: dict[str, float]
    total: float
    evaluation: float
    decoding: Decoding
    tokens: int
    longest: int


@dataclass(frozen=True)
class Plan:
    """A finished plan; see :mod:`align.planning.report` for its forms."""

    shape: ModelShape
    cluster: Cluster
    replica: Replica
    assumptions: Assumptions
    memory: RunMemory
    turns: list[Turn]
    evaluations: int
    steps: int
    responses: int
    prompt_tokens: float
    measured: Rates | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def training_seconds(self) -> float:
        return sum(turn.total * turn.stands_for for turn in self.turns)

    @property
    def evaluation_seconds(self) -> float:
        weights = sum(turn.stands_for for turn in self.turns)
        return self.evaluations * sum(turn.evaluation * turn.stands_for for turn in self.turns) / weights

    @property
    def seconds(self) -> float:
        return self.training_seconds + self.evaluation_seconds

    @property
    def device_hours(self) -> float:
        return self.seconds / 3600 * self.cluster.devices

    @property
    def cost(self) -> float:
        return self.device_hours * self.cluster.price

    @property
    def tokens(self) -> float:
        """Tokens of all responses of the training."""
        return sum(turn.tokens * turn.stands_for for turn in self.turns)

    @property
    def parts(self) -> dict[str, float]:
        """Seconds of the whole run by part; with overlap some of them pass at the same time."""
        found: dict[str, float] = {}
        for turn in self.turns:
            for part, seconds in turn.seconds.items():
                found[part] = found.get(part, 0.0) + seconds * turn.stands_for
        return {**found, "evaluation": self.evaluation_seconds}


def make_plan(
    config: AlignConfig,
    shape: ModelShape,
    cluster: Cluster,
    assumptions: Assumptions,
    lengths: Lengths,
    *,
    reward_models: Sequence[ScoringModel] = (),
    teacher: ModelShape | None = None,
    rates: Rates | None = None,
    seed: int = 0,
) -> Plan:
    """Simulate the schedule of ``config``.

    Args:
        reward_models: those that every training rank loads. ``teacher``: of a distillation; default: as large as the
            policy.
        rates: measured in a run, in the place of those derived from the shape.

    Raises:
        ValueError: no replica of the model fits the devices that sample; or ``engine.sequence_parallel`` divides
            neither those that train nor the attention heads.
    """
    if shape.latent is None:  # else the plan is one without it, see settings_of()
        check_divisible(cluster.training, config.engine.sequence_parallel)
        check_shared_tokens(shape, config.engine.sequence_parallel)
    prompt = assumptions.prompt_tokens
    teacher = (teacher or shape) if config.teacher is not None else None
    memory = run_memory(
        config,
        shape,
        ranks=cluster.training,
        prompt=prompt,
        reward_models=[each.shape for each in reward_models if not each.offload],
        offloaded=[each.shape for each in reward_models if each.offload],
        teacher=teacher,
    )
    replica = replica_for(config, shape, cluster, assumptions, memory)
    simulator = _Simulator(
        config, shape, cluster, assumptions, lengths, list(reward_models), teacher, replica, rates, seed
    )
    evaluation = config.evaluation
    evaluations = 0
    if evaluation.data:
        evaluations = 2 + (max(0, config.steps - 1) // evaluation.every if evaluation.every else 0)
    return Plan(
        shape=shape,
        cluster=cluster,
        replica=replica,
        assumptions=assumptions,
        memory=memory,
        turns=[turn for phase in phases_of(config) for turn in simulator.phase(phase)],
        evaluations=evaluations,
        steps=config.steps,
        responses=config.prompts_per_rollout * config.samples_per_prompt,
        prompt_tokens=assumptions.prompt_tokens,
        measured=rates,
        notes=[*_notes(lengths, replica, reward_models, teacher), *_in_turn(config, cluster)],
    )


def _notes(
    lengths: Lengths, replica: Replica, reward_models: Sequence[ScoringModel], teacher: ModelShape | None
) -> list[str]:
    mean = (
        f"{lengths.mean:,g}"
        if not isinstance(lengths.mean, list)
        else ", ".join(f"{m:,g} at step {s:,}" for s, m in lengths.mean)
    )
    origin = f"drawn from {len(lengths.observed):,} observed ones" if lengths.observed else "drawn from a log-normal"
    return [
        f"lengths: mean {mean} tokens before they are cut, {origin}",
        f"sequences of a replica at once: {replica.slots:,}; tokens in its cache: {replica.cache:,.0f}",
        f"tail: the time in which at most {TAIL:.0%} of the first sequences of the slowest replica are left",
        f"memory: {OVERHEAD / 1e9:.1f} GB and {FRAGMENTATION:.0%} of the rest for the runtime and the allocator",
        *(f"reward model: {m.shape.name}, {m.shape.parameters / 1e9:,.3g}B parameters" for m in reward_models),
        *([f"teacher: {teacher.name}, {teacher.parameters / 1e9:,.3g}B parameters"] if teacher is not None else []),
    ]


def _in_turn(config: AlignConfig, cluster: Cluster) -> list[str]:
    if not config.rollout.overlap or cluster.rollout_devices:
        return []
    return ["rollout.overlap: not planned; all devices sample and train in turn, as long as --rollout-gpus gives none"]


@dataclass
class _Simulator:
    config: AlignConfig
    shape: ModelShape
    cluster: Cluster
    assumptions: Assumptions
    lengths: Lengths
    reward_models: list[ScoringModel]
    teacher: ModelShape | None
    replica: Replica
    rates: Rates | None
    seed: int

    def phase(self, phase: Phase) -> list[Turn]:
        """Rollouts of the phase at even distances; each stands for those around it."""
        each = self.config.steps_per_rollout
        starts = list(range(phase.start, phase.end, each))
        places = np.unique(np.linspace(0, len(starts) - 1, min(SIMULATED, len(starts))).round().astype(int))
        nearest = np.abs(np.arange(len(starts))[:, None] - places[None]).argmin(1)
        turns = []
        for number, place in enumerate(places):
            stands_for = sum(
                min(each, phase.end - starts[i]) / each for i in np.flatnonzero(nearest == number).tolist()
            )
            turns.append(self.turn(phase, starts[place], stands_for))
        return turns

    def turn(self, phase: Phase, step: int, stands_for: float) -> Turn:
        config, given = self.config, self.assumptions
        rng = np.random.default_rng([self.seed, step])
        prompts, samples = config.prompts_per_rollout, config.samples_per_prompt
        lengths = self.lengths.draw(rng, prompts * samples, step, phase.max_new_tokens)
        decoding, reading = self._sampled(lengths, prompts, samples)
        training = self.cluster.training * self.cluster.device.flops
        response = float(lengths.sum())
        forward = self._forward(self.shape, lengths, prompts)
        update = (4 if config.model.gradient_checkpointing else 3) * forward / (training * given.mfu_update)
        one_pass = forward / (training * given.mfu_forward)
        if self.rates is not None:
            update, one_pass = response / self.rates.update_tokens, response / self.rates.pass_tokens
        scoring = sum(self._forward(each.shape, lengths, prompts) * each.share(phase) for each in self.reward_models)
        taught = 0.0 if self.teacher is None else self._forward(self.teacher, lengths, prompts)
        kl_first = any("kl_first" in guard.metrics for guard in config.guards)
        seconds = {
            "weights to the engine": self._sync(),
            "reading prompts": reading,
            "decoding": decoding.seconds - decoding.tail,
            "decoding, the longest responses": decoding.tail,
            "old log-probabilities": one_pass if config.steps_per_rollout > 1 else 0.0,
            "reference": one_pass if config.loss.beta else 0.0,
            "divergence from the first policy": one_pass if kl_first else 0.0,
            "reward models": scoring / (training * given.mfu_forward),
            "teacher": taught / (training * given.mfu_forward),
            "updates": update,
        }
        total = sum(seconds.values())
        sampling = sum(value for part, value in seconds.items() if part in SAMPLING)
        if self.cluster.overlap:
            total = max(sampling, total - sampling)
        elif config.rollout.overlap and self.cluster.rollout_devices:
            # The first step waits for its responses, and the last one is made after the last response.
            shorter = min(sampling, total - sampling)
            total += shorter / config.steps_per_rollout - shorter
        evaluation = self._evaluation(phase, step)
        longest = int(lengths.max())
        return Turn(step, phase.name, stands_for, seconds, total, evaluation, decoding, int(lengths.sum()), longest)

    def _sampled(self, lengths: np.ndarray, prompts: int, samples: int) -> tuple[Decoding, float]:
        """The decoding of a rollout, and the seconds in which its prompts are read."""
        replicas = max(1, self.cluster.sampling // self.replica.devices)
        if len(lengths) > DRAWN_AT_MOST and replicas > 1:  # some of the replicas, with their share of the work
            used = max(1, replicas * DRAWN_AT_MOST // len(lengths))
            lengths, replicas = lengths[: len(lengths) * used // replicas // samples * samples], used
        if self.rates is not None:
            found = Decoding(seconds=float(lengths.max()) * self.rates.decoding_step)
            return found, 0.0
        found = rollout(self.replica, lengths.tolist(), replicas, self.assumptions.prompt_tokens, samples)
        tokens = prompts * self.assumptions.prompt_tokens
        flops = tokens * self.shape.forward_flops(self.assumptions.prompt_tokens / 2)
        return found, flops / (self.cluster.sampling * self.cluster.device.flops * self.assumptions.mfu_forward)

    def _forward(self, shape: ModelShape, lengths: np.ndarray, prompts: int) -> float:
        """Operations of a pass over all responses; a prompt is computed once for all of its responses."""
        prompt = self.assumptions.prompt_tokens
        values = lengths.astype(np.float64)
        per_key = 2.0 * shape.layers * shape.attention_width
        responses = 2.0 * shape.active * values.sum() + per_key * (values * (prompt + values / 2)).sum()
        return float(responses + prompts * prompt * shape.forward_flops(prompt / 2))

    def _sync(self) -> float:
        if self.config.rollout.engine == "local":
            return 0.0
        return self.shape.parameters * self.assumptions.rollout_weight_bytes / self.assumptions.sync_bandwidth

    def _evaluation(self, phase: Phase, step: int) -> float:
        """One evaluation at this step: each prompt answered once greedily, and ``samples`` times."""
        settings = self.config.evaluation
        if not settings.data:
            return 0.0
        limit = None if settings.limit is None else settings.limit * len(settings.data)
        prompts = limit or self.assumptions.evaluation_prompts
        rng = np.random.default_rng([self.seed, step, 1])
        seconds = 0.0
        for samples in (1, settings.samples):
            lengths = self.lengths.draw(rng, prompts * samples, step, phase.max_new_tokens)
            decoding, reading = self._sampled(lengths, prompts, samples)
            seconds += decoding.seconds + reading
        return seconds


SAMPLING = ("weights to the engine", "reading prompts", "decoding", "decoding, the longest responses")
