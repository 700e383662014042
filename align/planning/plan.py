"""The plan of a run: its schedule simulated on a cluster, from the model's shape and stated assumptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from align.config import AlignConfig, phases_of
from align.phases import Phase
from align.planning.assumptions import Assumptions
from align.planning.decoding import TAIL, Decoding, Replica, rollout
from align.planning.lengths import Lengths
from align.planning.memory import RunMemory, run_memory
from align.planning.rates import Rates
from reward_models.planning.devices import Device
from reward_models.planning.memory import FRAGMENTATION, OVERHEAD
from reward_models.planning.shapes import ModelShape

SIMULATED = 12  # rollouts of each phase, evenly spaced
SLOTS = 1024  # sequences of a vLLM replica at once, its default on GPUs of 70 GiB or more
DRAWN_AT_MOST = 16384  # responses that are drawn for a rollout; a larger one is simulated on fewer replicas


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The machines of a run.

    Attributes:
        rollout_devices: those that only sample; 0: the training devices sample too, in turn.
        replica: devices of one copy of the model in the rollout engine; 0: the fewest that hold it.
        overlap: the next rollout is sampled while the updates of this one are made.
        price: of an hour of a device.
    """

    device: Device
    nodes: int = 1
    per_node: int = 8
    rollout_devices: int = 0
    replica: int = 0
    overlap: bool = False
    price: float = 2.0

    def __post_init__(self) -> None:
        if min(self.nodes, self.per_node) < 1 or self.price < 0:
            raise ValueError("nodes and GPUs of a node must be at least 1, the price not negative")
        if not 0 <= self.rollout_devices < self.devices:
            raise ValueError(f"{self.rollout_devices} of {self.devices} devices for rollouts leave none to train")
        if not 0 <= self.replica <= self.sampling:
            raise ValueError(f"a copy of the model on {self.replica} of {self.sampling} devices that sample")
        if self.overlap and not self.rollout_devices:
            raise ValueError("overlap needs devices that only sample (--rollout-gpus)")

    @property
    def devices(self) -> int:
        return self.nodes * self.per_node

    @property
    def training(self) -> int:
        return self.devices - self.rollout_devices

    @property
    def sampling(self) -> int:
        return self.rollout_devices or self.devices


@dataclass(frozen=True)
class ScoringModel:
    """A reward model that the run loads, and the domains of the prompts whose responses it scores."""

    shape: ModelShape
    domains: frozenset[str]

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
    rates: Rates | None = None,
    seed: int = 0,
) -> Plan:
    """Simulate the schedule of ``config``.

    Args:
        reward_models: those that every training rank loads.
        rates: measured in a run, in the place of those derived from the shape.

    Raises:
        ValueError: no replica of the model fits the devices that sample.
    """
    shapes = [each.shape for each in reward_models]
    prompt = assumptions.prompt_tokens
    memory = run_memory(config, shape, ranks=cluster.training, prompt=prompt, reward_models=shapes)
    replica = replica_for(config, shape, cluster, assumptions, memory)
    simulator = _Simulator(config, shape, cluster, assumptions, lengths, list(reward_models), replica, rates, seed)
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
        notes=_notes(lengths, replica, reward_models),
    )


def _notes(lengths: Lengths, replica: Replica, reward_models: Sequence[ScoringModel]) -> list[str]:
    mean = lengths.mean if not isinstance(lengths.mean, list) else ", ".join(f"{m:g} at {s:,}" for s, m in lengths.mean)
    origin = f"drawn from {len(lengths.observed):,} observed ones" if lengths.observed else "drawn from a log-normal"
    return [
        f"lengths: mean {mean} tokens before they are cut, {origin}",
        f"sequences of a replica at once: {replica.slots:,}; tokens in its cache: {replica.cache:,.0f}",
        f"tail: the time in which at most {TAIL:.0%} of the first sequences of the slowest replica are left",
        f"memory: {OVERHEAD / 1e9:.1f} GB and {FRAGMENTATION:.0%} of the rest for the runtime and the allocator",
        *(f"reward model: {m.shape.name}, {m.shape.parameters / 1e9:,.3g}B parameters" for m in reward_models),
    ]


def replica_for(
    config: AlignConfig, shape: ModelShape, cluster: Cluster, assumptions: Assumptions, memory: RunMemory
) -> Replica:
    """A copy of the model in the rollout engine. The local engine has one on each rank, within what training leaves."""
    device = cluster.device
    weights = shape.parameters * assumptions.rollout_weight_bytes
    token = shape.cache_bytes(assumptions.cache_bytes)
    longest = max(phase.max_new_tokens for phase in phases_of(config)) + assumptions.prompt_tokens
    if config.rollout.engine == "local":
        held = memory.rollout.total - memory.rollout.device.get("cache", 0.0) if memory.rollout is not None else 0.0
        room = max(0.0, device.memory - held) / token
        return Replica(shape, device, assumptions, 1, False, config.rollout.max_rows, room)
    size = cluster.replica or 1
    fits = partial(_fits, weights, token * longest, cluster=cluster, assumptions=assumptions)
    while not cluster.replica and size * 2 <= cluster.sampling and not fits(size):
        size *= 2
    if not fits(size):
        raise ValueError(
            f"the rollout engine holds {weights / 1e9:,.0f} GB of weights and the cache of a response of "
            f"{longest:,.0f} tokens ({token * longest / 1e9:,.1f} GB). That does not fit on {size} devices of "
            f"{device.memory / 1e9:,.0f} GB: give more (--rollout-gpus, --replica-gpus), or fewer bytes of a weight "
            "(--assume rollout_weight_bytes=1)"
        )
    room = (size * device.memory * assumptions.cache_share - weights) / token
    return Replica(shape, device, assumptions, size, size > cluster.per_node, SLOTS, room)


def _fits(weights: float, longest: float, size: int, cluster: Cluster, assumptions: Assumptions) -> bool:
    """A fifth of the memory at least is for the cache: a replica without room decodes few sequences at a time."""
    memory = size * cluster.device.memory * assumptions.cache_share
    return weights + longest <= memory and weights <= 0.8 * memory


@dataclass
class _Simulator:
    config: AlignConfig
    shape: ModelShape
    cluster: Cluster
    assumptions: Assumptions
    lengths: Lengths
    reward_models: list[ScoringModel]
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
        kl_first = "kl_first" in {guard.watch for guard in config.guards}
        seconds = {
            "weights to the engine": self._sync(),
            "reading prompts": reading,
            "decoding": decoding.seconds - decoding.tail,
            "decoding, the longest responses": decoding.tail,
            "old log-probabilities": one_pass if config.steps_per_rollout > 1 else 0.0,
            "reference": one_pass if config.loss.beta else 0.0,
            "divergence from the first policy": one_pass if kl_first else 0.0,
            "reward models": scoring / (training * given.mfu_forward),
            "updates": update,
        }
        total = sum(seconds.values())
        if self.cluster.overlap:
            sampling = sum(value for part, value in seconds.items() if part in SAMPLING)
            total = max(sampling, total - sampling)
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
