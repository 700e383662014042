"""The objects of a run: how they are built, and what is done with them between two steps."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from align.best import check_metric, sentence
from align.best_folder import check_present, publish
from align.checks import check_entries, check_mixes, check_verdicts, longest_of
from align.config import AlignConfig, phases_of
from align.guards import GuardState, check_guards, without_values
from align.phases import Phase
from align.policy.policy import Policy, build_policy, check_policy, load_tokenizer, policy_architecture, save_policy
from align.policy.reference import Reference
from align.policy.teacher import Teacher, check_teacher
from align.prepared_prompts import prepared_prompts
from align.reporting.manifest import write_manifest
from align.reporting.report import report
from align.rewards.build import MixedTerm, TermConfig, build_terms
from align.rewards.mixer import Mixer
from align.rewards.scoring import Scorer
from align.rollouts.build import build_rollout
from align.rollouts.config import RolloutConfig
from align.rollouts.curriculum import Curriculum, check_curriculum
from align.rollouts.prompts import PromptSet
from align.rollouts.sampler import Sampler
from align.rollouts.served_teacher import ServedTeacher
from align.state import RunState, load_state, save_state
from align.teachers import build_teacher
from align.timetable import described
from align.training.rollout import Rollout, save_rollout
from reward_models.data.prepared import prepared_in
from reward_models.runtime.checkpoint import latest_checkpoint, latest_intact, list_checkpoints
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import build_engine, full_weights, model_loading, torch_dtype
from reward_models.runtime.metrics import JsonLines, NullLog
from reward_models.runtime.reporter import Reporter
from reward_models.runtime.run import Run, RunDirectory
from reward_models.runtime.training_config import COMPUTED, RUN_MAY_CHANGE

# Of the rollouts: not with which weights they are sampled. Earlier versions wrote some keys by other names.
_ROLLOUT = {each.name for each in fields(RolloutConfig)} - {"ahead"} | RolloutConfig.RENAMED.keys()
# Settings that a resumed run may change. They decide where and with how much memory something is computed, what is
# logged and kept, and when the run gives up. Of rollout.engine and teacher.url, AlignConfig.changes_of_result refuses
# the changes that make another loss. Another engine samples other responses from the same distribution.
MAY_CHANGE = (
    *RUN_MAY_CHANGE,
    *COMPUTED,
    *(f"rollout.{name}" for name in sorted(_ROLLOUT)),
    *("ref_offload", "max_tokens", "samples_per_log", "teacher.url"),
    *("max_silent_rollouts", "max_reward_failures"),
)
MAX_ROLLBACKS = 3  # a rule that is broken more often is broken whatever is sampled


class GuardStop(RuntimeError):
    """A guard has stopped the run; the last checkpoint stands."""


@dataclass
class PolicyRun:
    """The objects of a run. Every start builds them anew; what changes from step to step is in :class:`RunState`.

    Attributes:
        begun: the process's place in the job, the run's directory and its reporter.
        pools: domain → places in ``prompts`` of its prompts; ``all`` holds every place.
        curriculum: which of them are drawn; ``None`` where all are alike.
        held_out: prompts of the evaluation; ``None`` without one.
        teacher: what distillation learns from; ``None`` in other runs.
        first_policy: the policy as the run began; ``None`` unless a guard watches the divergence from it.
        old_policy: the policy from before the updates of a rollout; ``None`` unless later responses of the rollout come
            after some of them.
        scorer: of the training rewards. ``evaluator``: of the held-out prompts, with further terms.
        alarms, by_prompt: ``guards.jsonl`` and ``held_out.jsonl``, once they are open.
    """

    config: AlignConfig
    begun: Run
    tokenizer: PreTrainedTokenizerBase
    prompts: PromptSet
    pools: dict[str, np.ndarray]
    curriculum: Curriculum | None
    held_out: PromptSet | None
    phases: list[Phase]
    policy: Policy
    engine: Any
    reference: Reference | None
    first_policy: Reference | None
    old_policy: Reference | None
    teacher: Teacher | ServedTeacher | None
    sampler: Sampler
    scorer: Scorer
    evaluator: Scorer
    alarms: JsonLines | NullLog = field(default_factory=NullLog)
    by_prompt: JsonLines | NullLog = field(default_factory=NullLog)

    @property
    def world(self) -> World:
        return self.begun.world

    @property
    def reporter(self) -> Reporter:
        return self.begun.reporter

    @property
    def directory(self) -> RunDirectory:
        return self.begun.directory

    def save(self, state: RunState) -> None:
        """Write a checkpoint. Every rank must call it."""
        mark, keep = self.prompts.fingerprint, self.config.keep_checkpoints
        save_state(self.directory.checkpoints, state, self.engine, self.reference, mark, self.world, keep)

    def resume(self) -> RunState:
        """The state of the latest checkpoint, whose weights are loaded, or a new one."""
        latest = latest_checkpoint(self.directory.checkpoints, self.world, self.reporter.say)
        if latest is not None:
            return self._load(latest)
        guards = [GuardState() for _ in self.config.guards]
        begun = None if self.curriculum is None else self.curriculum.new_state()
        return RunState(guards=guards, running=self.scorer.mixer.statistics, curriculum=begun)

    def apply_guards(self, state: RunState, values: Mapping[str, float], step: int) -> RunState:
        """Check the metrics of the line of ``step``, and take the actions that guards call for.

        Args:
            step: updates made in it; ``state`` may have made further ones.

        Returns:
            ``state``; after a rollback the state of the checkpoint that the run goes on from, without its rollout.

        Raises:
            GuardStop: a guard stops the run; there is no checkpoint to roll back to, or it was done too often.
        """
        back: Path | None = None
        alarms = check_guards(self.config.guards, state.guards, step, values)
        if step in (self.config.evaluation.every, self.config.steps):
            for sentence in without_values(self.config.guards, state.guards):
                self.reporter.say(f"guard: {sentence}")
        for alarm in alarms:
            guard, done = alarm.guard, "stopped" if alarm.guard.action == "stop" else "warned"
            if guard.action == "lower":
                state.scale |= {entry: state.scale.get(entry, 1.0) * guard.factor for entry in guard.entries}
                done = ", ".join(f"{entry} × {state.scale[entry]:g}" for entry in guard.entries)
            elif guard.action == "rollback" and back is None:
                good = [path for path in list_checkpoints(self.directory.checkpoints) if step_of(path) <= alarm.since]
                done = "no checkpoint from before it"
                if state.attempt == MAX_ROLLBACKS:
                    done, good = f"rolled back {MAX_ROLLBACKS} times already", []
                back = latest_intact(good, self.world, self.reporter.say)
                done = f"back to {back.name}" if back is not None else done
            self.alarms.write(alarm.line(done))
            self.reporter.say(f"guard: {alarm}: {done}")
            if guard.action == "stop" or (guard.action == "rollback" and back is None):
                raise GuardStop(f"a guard stopped the run {alarm}: {done}")
        return state if back is None else self._roll_back(back, state)

    def _roll_back(self, checkpoint: Path, state: RunState) -> RunState:
        """The checkpoint's state with other random numbers, and with the weights of rewards as guards have set them."""
        self.engine.empty_partition_cache()  # ZeRO stage 3: gathered weights would outlive the loading
        earlier = self._load(checkpoint)
        earlier.rollout, earlier.attempt, earlier.scale = None, state.attempt + 1, state.scale
        earlier.ahead = None
        for later in list_checkpoints(self.directory.checkpoints):
            if self.world.is_main and step_of(later) > earlier.step:
                shutil.rmtree(later)
        self.world.barrier()
        return earlier

    def _load(self, checkpoint: Path) -> RunState:
        state = load_state(checkpoint, self.engine, self.reference, self.prompts.fingerprint, self.world)
        check_present(self.directory.path, state.best)
        check_curriculum(self.curriculum, state.curriculum, checkpoint)
        self.scorer.mixer.statistics = state.running
        self.reporter.say(f"going on from {checkpoint}")
        return state

    def dump_batch(self, rollout: Rollout) -> str:
        """Write the rollout of a failed step into the run's directory; returns a sentence that names the file."""
        file = self.directory.path / "nonfinite.safetensors"
        if self.world.is_main:
            save_rollout(rollout, file)
        return f"its samples are in {file}"

    def finish(self, state: RunState) -> Path:
        """Save the policy, the report and the manifest; returns the run's directory."""
        weights = full_weights(self.engine.module.model, self.world)
        if self.world.is_main:
            directory = self.directory.path
            save_policy(self.policy, weights, directory, self.tokenizer, self.config.model.lora)
            facts: dict[str, Any] = {"steps": self.config.steps, "world_size": self.world.size}
            facts["prompts"] = {"count": len(self.prompts), "dropped": self.prompts.dropped}
            if state.best is not None:
                publish(directory, state.best)
                facts["best"] = asdict(state.best)
            report([directory], directory / "report.html")
            write_manifest(directory, self.config, facts)
        self.world.barrier()
        self.reporter.say(f"saved to {self.directory.path}")
        if state.best is not None:
            self.reporter.say(sentence(state.best, self.directory.path))
        return self.directory.path


def build_run(config: AlignConfig, begun: Run, stack: ExitStack) -> PolicyRun:
    """Put a run together. Everything that must be closed at the end is registered with ``stack``.

    Raises:
        ValueError: something in the configuration or the data cannot be used. It is found before the model is loaded
            where that is possible.
    """
    world = begun.world
    began = time.perf_counter()
    tokenizer = load_tokenizer(config.model)
    assert tokenizer is not None
    found = prepared_prompts(config, tokenizer, begun.name)
    prompts, held_out, seconds = found.train, found.held_out, time.perf_counter() - began
    positions = check_teacher(config.teacher, tokenizer) if config.teacher is not None else None
    phases, pools = phases_of(config), prompts.pools()
    check_mixes(phases, pools)
    scorer, evaluator = _build_scorers(config, prompts, held_out, stack)
    check_entries(config.rewards, phases, scorer.mixer.terms, prompts)
    if config.keep_best is not None:
        check_metric(config.keep_best, [each.name for each in evaluator.mixer.terms], config.evaluation.samples)
    check_verdicts(config.curriculum.by, scorer.mixer.terms)
    _check_positions(config, tokenizer, prompts, held_out, positions)
    for text in described(config, prompts, held_out):
        begun.reporter.say(text)
    begun.reporter.say(prepared_in([found.entry], seconds))
    with model_loading(config.engine, world) if config.engine.zero_stage == 3 else nullcontext():
        policy = build_policy(config.model, tokenizer, torch_dtype(config.engine))
    policy.sequence = world.sequence
    engine = build_engine(policy, config.engine, config.steps, world)
    check_policy(policy, world.device)
    longest = sum(longest_of(phases, prompts, held_out))
    teacher = build_teacher(config, tokenizer, world, longest, stack)
    watched = {metric for guard in config.guards for metric in guard.metrics}
    copies = partial(Reference, engine, world, offload=config.ref_offload)
    place: dict[str, Any] = {"folder": begun.directory.path, "max_tokens": longest}
    rollouts = build_rollout(config.rollout, policy, tokenizer, world, begun.reporter.say, **place)
    stack.callback(rollouts.shutdown)
    return PolicyRun(
        config=config,
        begun=begun,
        tokenizer=tokenizer,
        prompts=prompts,
        pools=pools,
        curriculum=Curriculum.of(config.curriculum, prompts, config.seed),
        held_out=held_out,
        phases=phases,
        policy=policy,
        engine=engine,
        reference=copies() if config.loss.beta else None,
        first_policy=copies() if "kl_first" in watched else None,
        old_policy=copies() if config.keeps_old_policy else None,
        teacher=teacher,
        sampler=Sampler(rollouts, tokenizer, _end_ids(policy, tokenizer), world),
        scorer=scorer,
        evaluator=evaluator,
    )


def _build_scorers(
    config: AlignConfig, prompts: PromptSet, held_out: PromptSet | None, stack: ExitStack
) -> tuple[Scorer, Scorer]:
    """The scorers of the training and of the evaluation; they share their terms."""
    terms = build_terms(config.rewards, prompts.verifiers)
    evaluated = _with_defaults(terms, held_out)
    for each in evaluated:
        if hasattr(each.term, "close"):
            stack.callback(each.term.close)
    limits = {"time_limit": config.reward_time_limit, "max_failures": config.max_reward_failures}
    scorers = Scorer(Mixer(terms), **limits), Scorer(Mixer(evaluated), **limits)
    for scorer in scorers:
        stack.callback(scorer.close)
    return scorers


def step_of(checkpoint: Path) -> int:
    """The number of updates that a checkpoint was written after."""
    return int(checkpoint.name.rpartition("-")[2])


def _with_defaults(terms: list[MixedTerm], held_out: PromptSet | None) -> list[MixedTerm]:
    """The terms of the evaluation: the rewards, and accuracy, format and language whatever the rewards are."""
    if held_out is None:
        return terms
    usual = [TermConfig(term=name) for name in ("accuracy", "format", "language")]
    known = {each.name for each in terms}
    return [*terms, *(e for e in build_terms(usual, held_out.verifiers) if e.name not in known)]


def _end_ids(policy: Policy, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end a response: the tokenizer's end token, and those of the model's generation settings."""
    named = getattr(policy.language_model.generation_config, "eos_token_id", None)
    ids = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    if not ids:
        raise ValueError("neither the tokenizer nor the model names an end token: no response would ever end")
    return sorted(ids)


def _check_positions(
    config: AlignConfig,
    tokenizer: PreTrainedTokenizerBase,
    prompts: PromptSet,
    held_out: PromptSet | None,
    of_teacher: int | None,
) -> None:
    """``ValueError`` if a response of full length would run beyond the positions that the model or teacher knows."""
    own = getattr(policy_architecture(config.model, tokenizer), "max_position_embeddings", None)
    limits = [(config.model.path, own), *([(config.teacher.path, of_teacher)] if config.teacher is not None else [])]
    longest, new = longest_of(phases_of(config), prompts, held_out)
    for path, limit in limits:
        if limit is not None and longest + new > limit:
            raise ValueError(
                f"the longest prompt has {longest} tokens; with max_new_tokens={new} that is more than "
                f"the {limit} positions of {path}. Lower max_new_tokens, or prompts.max_length"
            )
