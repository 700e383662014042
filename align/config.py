"""The configuration of a reinforcement-learning run; defaults are those of DeepSeek-R1's first RL stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from align.best import KeepBestConfig
from align.guards import PREFERENCE, GuardConfig
from align.metric_names import held_out_names, metric_problem
from align.objective.config import LossConfig, correction_with
from align.objective.kinds import CorrectionKind
from align.phases import Phase, PhaseConfig, resolve_phases
from align.policy.config import PolicyConfig, TeacherConfig
from align.rewards.build import VERIFIERS, TermConfig, check_terms
from align.rewards.terms import TermError
from align.rollouts.config import CurriculumConfig, PromptsConfig, RolloutConfig
from reward_models.runtime.training_config import EngineConfig, RunConfig

# Settings of the loss that reverse_kl reads; another one that differs from its default is refused with it.
READ_BY_DISTILLATION = ("kind", "beta", "correction", "correction_low", "correction_high")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Held-out prompts, answered greedily once and by sampling.

    Attributes:
        data: sources of prompts; empty: no evaluation. ``limit``: the most of each.
        every: in steps; 0: before the first and after the last step only.
        samples: responses per prompt; pass@k is estimated for every power of two up to it.
        temperature, top_p: of the sampled responses; DeepSeek-R1's for use and evaluation.
    """

    data: list[str] = field(default_factory=list)
    limit: int | None = 256
    every: int = 0
    samples: int = 4
    temperature: float = 0.6
    top_p: float = 0.95

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"evaluation.limit={self.limit} must be at least 1")
        if self.samples < 1 or self.every < 0 or self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise ValueError("evaluation: samples and temperature must be positive, every not negative, 0 < top_p ≤ 1")


@dataclass(frozen=True, kw_only=True)
class AlignConfig(RunConfig):
    """A whole run; ``keel train align --config FILE key=value …``.

    A step is one policy update on ``prompts_per_step`` × ``samples_per_prompt`` responses. A rollout answers the
    prompts of ``steps_per_rollout`` steps at once, and is split among them at random, a prompt's responses staying
    together.

    Attributes:
        model: the policy to start from. ``teacher``: what ``loss.kind=reverse_kl`` learns from.
        prompts: what to sample responses for. ``curriculum``: which of them, and when.
        rewards: what responses are worth.
        rollout: the engine that samples.
        phases: one after the other up to ``steps``; without any, all steps are alike.
        guards: rules over the metrics, and what is done when one is broken.
        keep_best: keep the best policy by a held-out metric beside the last one.
        steps: policy updates.
        prompts_per_step: prompts of one policy update, over all ranks. ``samples_per_prompt``: responses to each.
        steps_per_rollout: steps whose prompts one rollout answers.
        temperature: of sampling; the log-probabilities of the loss are taken at it too.
        max_new_tokens: longest response; a longer one is cut there.
        ref_update_steps: the reference model is replaced by the policy so often; 0: never.
        ref_offload: keep the reference model in CPU memory between its uses.
        resample_rounds: DAPO's dynamic sampling: draw other prompts for those whose responses all earned the same, so
            many times at most; 0: take them as they are.
        reward_time_limit: seconds for one call of a reward term.
        max_silent_rollouts: the run stops after so many rollouts in a row in which no prompt's responses differed in
            reward, for nothing can be learnt from them; also if the run has fewer rollouts and none had any; 0: never.
        max_reward_failures: share of the samples that a term may fail on in a rollout; beyond it the run stops.
        max_tokens: most tokens of one micro-batch on one rank; memory grows with it, the result does not depend on it.
        samples_per_log: responses of each rollout of each domain that go into ``samples.jsonl``, drawn at
            random; the best and the worst of each domain besides. 0: none at all.
    """

    RENAMED: ClassVar[dict[str, str]] = {"kind": "prompts.domain", "domain": "prompts.domain"}

    output_dir: str = "runs/align"
    model: PolicyConfig = field(default_factory=PolicyConfig)
    teacher: TeacherConfig | None = None
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    rewards: list[TermConfig] = field(default_factory=lambda: [TermConfig(term="accuracy"), TermConfig(term="format")])
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    engine: EngineConfig = field(
        default_factory=lambda: EngineConfig(lr=3e-6, schedule="constant", warmup=0, weight_decay=0.0)
    )
    phases: list[PhaseConfig] = field(default_factory=list)
    guards: list[GuardConfig] = field(default_factory=list)
    keep_best: KeepBestConfig | None = None
    steps: int = 1000
    prompts_per_step: int = 32
    samples_per_prompt: int = 16
    steps_per_rollout: int = 16
    temperature: float = 1.0
    max_new_tokens: int = 32768
    ref_update_steps: int = 400
    ref_offload: bool = False
    resample_rounds: int = 0
    reward_time_limit: float = 600.0
    max_reward_failures: float = 0.1
    max_silent_rollouts: int = 8
    max_tokens: int = 16384
    log_every: int = 1
    samples_per_log: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            *("steps", "prompts_per_step", "samples_per_prompt", "steps_per_rollout", "max_new_tokens", "max_tokens"),
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        for name in ("ref_update_steps", "resample_rounds", "samples_per_log", "max_silent_rollouts"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        self._check_distillation()
        if self.samples_per_prompt < 2 and not self.distils:
            raise ValueError("samples_per_prompt=1: an advantage is relative to the prompt's other samples")
        if self.temperature <= 0:
            raise ValueError("temperature must be positive: responses that are all alike teach nothing")
        self._check_rewards()
        if self.loss.beta and self.ref_update_steps % self.steps_per_rollout:
            raise ValueError(
                f"ref_update_steps={self.ref_update_steps} must be a multiple of steps_per_rollout="
                f"{self.steps_per_rollout}: a rollout's reference log-probabilities are computed once"
            )

        if self.reward_time_limit <= 0 or not 0 <= self.max_reward_failures <= 1:
            raise ValueError("reward_time_limit must be positive, max_reward_failures a share between 0 and 1")
        if self.loss.aggregation == "gdpo" and (scaled := [e.term for e in self.rewards if e.normalise != "none"]):
            raise ValueError(
                f"rewards: {', '.join(scaled)} has normalise: running, which loss.aggregation=gdpo undoes: it "
                "normalises every term within its group. Take normalise out, or the aggregation"
            )
        entries = {each.term for each in self.rewards}
        # a term of somebody else's may be a verifier
        verified = any(name.startswith("accuracy") or name in VERIFIERS or ":" in name for name in entries)
        if self.curriculum.by == "pass_rate" and not verified:
            raise ValueError(
                "curriculum.by=pass_rate goes by verifiers, and rewards has none: add an entry such as "
                "{term: accuracy}, with weight 0 to measure only"
            )
        self._check_names(entries)
        if self.keep_best is not None and not (self.evaluation.data and self.evaluation.every):
            raise ValueError(
                f"keep_best: {self.keep_best.metric} is measured on held-out prompts while the run lasts: set "
                "evaluation.data and evaluation.every"
            )
        if self.rollout.adapters == "sent" and (self.rollout.engine != "vllm" or self.model.lora is None):
            raise ValueError(
                "rollout.adapters=sent sends adapters to vLLM servers: set model.lora and rollout.engine=vllm, or "
                "rollout.adapters=merged"
            )
        if self.rollout.ahead and self.correction is None:
            raise ValueError(
                f"rollout.ahead={self.rollout.ahead} learns from responses of an earlier policy, which has to be "
                "corrected for: set loss.correction=auto, or rollout.ahead=0"
            )

    def _check_rewards(self) -> None:
        """There are terms, each is known, and none is named twice."""
        try:
            check_terms(self.rewards, foreign=False)  # a configuration that is only read imports nobody's code
        except TermError as error:
            raise ValueError(error) from None
        names = [each.term for each in self.rewards]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rewards names {', '.join(twice)} twice: weights and metrics go by the name of the term")
        if not self.rewards:
            raise ValueError("rewards is empty: name at least one term, e.g. rewards=[{term: accuracy}]")

    @classmethod
    def changes_of_result(cls, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
        """As :meth:`RunConfig.changes_of_result`; besides, a rollout engine with another correction, and a teacher that
        computes the divergence in another way.
        """
        found = super().changes_of_result(before, now)
        old, new = (each["rollout"]["engine"] for each in (before, now))
        kinds = [correction_with(before["loss"]["correction"], engine) or "none" for engine in (old, new)]
        if kinds[0] != kinds[1]:
            found.append(
                f"rollout.engine: {old} there, {new} here, with loss.correction=auto: correction {kinds[0]} there, "
                f"{kinds[1]} here. Engines of one correction may take turns, as where a run begins with "
                "loss.correction=token_cap"
            )
        urls = [(each["teacher"] or {}).get("url") for each in (before, now)]
        if (urls[0] is None) != (urls[1] is None):
            found.append(f"teacher.url: {urls[0]} there, {urls[1]} here: another estimate of the divergence")
        return found

    def _check_names(self, entries: set[str]) -> None:
        """Phases and guards name entries of the rewards, and guards metrics that there are."""
        for phase in phases_of(self):
            if unknown := sorted(phase.weights.keys() - entries):
                raise ValueError(
                    f"phases: {phase.name} weighs {', '.join(unknown)}; rewards names {', '.join(sorted(entries))}"
                )
        samples = self.evaluation.samples
        if self.keep_best is not None and metric_problem(self.keep_best.metric, entries, samples):
            raise ValueError(
                f"keep_best.metric={self.keep_best.metric} is not measured; the evaluation measures "
                f"{', '.join(sorted(held_out_names(entries, samples)))}"
            )
        for guard in self.guards:
            for watched in guard.metrics:
                if problem := metric_problem(watched, entries, samples):
                    raise ValueError(f"guards: {guard}: {problem}")
            # Of the default entries one is enough.
            absent = set(guard.entries) - entries - set(PREFERENCE)
            if guard.action == "lower" and (absent or not entries & set(guard.entries)):
                raise ValueError(
                    f"guards: {guard} lowers {', '.join(guard.entries)}; rewards names {', '.join(sorted(entries))}"
                )
            if guard.action == "rollback" and not self.save_every:
                raise ValueError(f"guards: {guard} rolls back to a checkpoint; set save_every")

    def _check_distillation(self) -> None:
        if self.distils != (self.teacher is not None):
            raise ValueError(
                "loss.kind=reverse_kl learns from a teacher: set teacher.path"
                if self.distils
                else "a teacher is learnt from with loss.kind=reverse_kl only; set it, or take the teacher out"
            )
        if not self.distils:
            return
        assert self.teacher is not None
        if self.teacher.url is not None and self.engine.sequence_parallel > 1:
            raise ValueError(
                f"engine.sequence_parallel={self.engine.sequence_parallel}: a server tells the probabilities of whole "
                "responses, which are not shared out; set it to 1, or take teacher.url out"
            )
        if self.teacher.url is not None and (warm := [p for p in phases_of(self) if p.temperature != 1]):
            raise ValueError(
                f"teacher.url: a server tells probabilities at temperature 1, and temperature={warm[0].temperature:g} "
                "would compare others: set temperature=1, or take teacher.url out"
            )
        if self.loss.beta:
            raise ValueError("loss.kind=reverse_kl has no term for a reference model: set loss.beta=0")
        if self.resample_rounds:
            raise ValueError("loss.kind=reverse_kl learns from every response: set resample_rounds=0")
        usual = {f"loss.{each.name}": (getattr(self.loss, each.name), each.default) for each in fields(LossConfig)}
        usual = {name: pair for name, pair in usual.items() if name.removeprefix("loss.") not in READ_BY_DISTILLATION}
        usual["max_silent_rollouts"] = (self.max_silent_rollouts, type(self).max_silent_rollouts)
        if ignored := [f"{name}={value}" for name, (value, default) in usual.items() if value != default]:
            raise ValueError(
                f"{', '.join(ignored)} has no part in loss.kind=reverse_kl, which learns from no rewards: take it out"
            )

    @property
    def distils(self) -> bool:
        """True if the run learns from a teacher and not from rewards."""
        return self.loss.kind == "reverse_kl"

    @property
    def correction(self) -> CorrectionKind | None:
        """The correction of the rollout engine's probabilities that is in force; ``None``: none."""
        return self.loss.correction_in_force(self.rollout.engine)

    @property
    def needs_whole_rollout(self) -> str:
        """The setting that compares responses of different steps; empty if there is none.

        With it no update of a rollout can begin before all of the rollout is scored.
        """
        if self.resample_rounds:
            return "resample_rounds draws other prompts for those without signal"
        if self.loss.aggregation == "gdpo":
            return "loss.aggregation=gdpo normalises over the rollout"
        running = [each.term for each in self.rewards if each.normalise == "running"]
        return f"rewards: normalise=running of {', '.join(running)} counts the rollout first" if running else ""

    @property
    def keeps_old_policy(self) -> bool:
        """True if a run keeps the weights from before a rollout's updates: some of its responses come after them."""
        return self.rollout.overlap and not self.needs_whole_rollout and self.steps_per_rollout > 1

    @property
    def prompts_per_rollout(self) -> int:
        return self.prompts_per_step * self.steps_per_rollout


def phases_of(config: AlignConfig) -> list[Phase]:
    """The phases of a run, see :func:`align.phases.resolve_phases`."""
    return resolve_phases(
        config.phases,
        steps=config.steps,
        steps_per_rollout=config.steps_per_rollout,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        lr=config.engine.lr,
    )
