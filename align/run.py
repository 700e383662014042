"""What a run is made of, and how it is put together, saved, resumed and finished."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from align.config import AlignConfig
from align.guards import Guards, GuardState
from align.phases import Phase, phase_at, phases_of
from align.policy.policy import Policy, build_policy, check_policy, load_tokenizer, policy_architecture, save_policy
from align.policy.reference import Reference
from align.reporting.manifest import write_manifest
from align.reporting.report import report
from align.rewards.build import MixedTerm, TermConfig, build_terms
from align.rewards.mixer import Mixer, Running
from align.rewards.scoring import Scorer
from align.rewards.terms import Sample
from align.rollouts.build import build_rollout
from align.rollouts.prompts import PromptSet, load_prompts
from align.rollouts.sampler import Sampler
from align.training.collect import Collector, CollectorState, pools
from align.training.evaluation import evaluate
from align.training.rollout import Experience, load_experience, save_experience
from reward_models.runtime.checkpoint import latest_checkpoint, list_checkpoints, load_checkpoint, save_checkpoint
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import build_engine, full_weights, model_loading
from reward_models.runtime.metrics import JsonLines
from reward_models.runtime.reporter import Reporter
from reward_models.runtime.run import RUN_MAY_CHANGE, RunDirectory, check_sources

# Settings that a resumed run may change: they do not change its result.
MAY_CHANGE = (
    *RUN_MAY_CHANGE,
    *("engine.zero_stage", "engine.offload", "engine.zero_options", "model.gradient_checkpointing"),
    *("rollout", "ref_offload", "max_tokens", "samples_per_log"),
)
MAX_ROLLBACKS = 3  # what goes wrong this often goes wrong by itself
EXPERIENCE = "experience.safetensors"  # in a checkpoint: the rollout that is being learnt from


class GuardStop(RuntimeError):
    """A guard has stopped the run; the last checkpoint stands."""


@dataclass
class Parts:
    """Everything between two steps of the loop."""

    config: AlignConfig
    run: RunDirectory
    world: World
    reporter: Reporter
    tokenizer: PreTrainedTokenizerBase
    prompts: PromptSet
    held_out: PromptSet | None
    measures: Scorer
    phases: list[Phase]
    policy: Policy
    engine: Any
    reference: Reference | None
    sampler: Sampler
    collector: Collector
    guards: Guards
    alarms: JsonLines | None = None

    def evaluate(self, done: int) -> dict[str, float]:
        """Held-out figures, where they are due after ``done`` steps; else nothing."""
        every = self.config.evaluation.every
        due = done in (0, self.config.steps) or (every and done % every == 0)
        if self.held_out is None or not due:
            return {}
        self.sampler.engine.sync_weights(done)
        longest = phase_at(self.phases, min(done, self.config.steps - 1)).max_new_tokens
        values, samples = evaluate(self.config, self.held_out, self.sampler, self.measures, longest)
        if self.world.is_main:
            self._show(samples, done)
        return values

    def save(self, done: int, experience: Experience | None) -> None:
        """A checkpoint after ``done`` steps, with the reference and what is left to learn from the rollout."""

        def more(directory: Path) -> list[Path]:
            files = self.reference.save(directory) if self.reference is not None else []
            if self.world.is_main and experience is not None and done % self.config.steps_per_rollout:
                save_experience(experience, directory / EXPERIENCE)
                files.append(directory / EXPERIENCE)
            return files

        running = {name: asdict(each) for name, each in self.collector.scorer.mixer.statistics.items()}
        state = {
            "prompts": fingerprint(self.prompts),
            "collector": asdict(self.collector.state),
            "running": running,
            "guards": [asdict(each) for each in self.guards.states],
        }
        save_checkpoint(
            self.run.checkpoints, self.engine, done, state, self.world, self.config.keep_checkpoints, more=more
        )

    def resume(self) -> tuple[int, Experience | None]:
        """Load the latest checkpoint, if there is one; returns the steps already made, and their unfinished rollout."""
        latest = latest_checkpoint(self.run.checkpoints, self.world, self.reporter.say)
        step, experience = self._load(latest) if latest is not None else (0, None)
        if self.world.is_main:
            self.alarms = JsonLines(self.run.path / "guards.jsonl", step or -1)
        return step, experience

    def heed(self, step: int, values: dict[str, float]) -> tuple[int, Experience | None] | None:
        """Let the guards look at a step's metrics and do what they call for.

        Returns where to go on after a rollback: the steps made until then, and their unfinished rollout.

        Raises:
            GuardStop: a guard stops the run; there is no checkpoint to roll back to, or it was done too often.
        """
        back = None
        for alarm in self.guards.check(step, values):
            done = "stopped" if alarm.guard.action == "stop" else "warned"
            if alarm.guard.action == "lower":
                scale = self.collector.state.scale
                scale |= {entry: scale.get(entry, 1.0) * alarm.guard.factor for entry in alarm.guard.entries}
                done = ", ".join(f"{entry} × {scale[entry]:g}" for entry in alarm.guard.entries)
            elif alarm.guard.action == "rollback" and back is None:
                good = [path for path in list_checkpoints(self.run.checkpoints) if step_of(path) <= alarm.since]
                done = f"back to {good[-1].name}" if good else "no checkpoint from before it"
                if self.collector.state.attempt == MAX_ROLLBACKS:
                    done, good = f"rolled back {MAX_ROLLBACKS} times already", []
                back = good[-1] if good else None
            if self.alarms is not None:
                self.alarms.write(alarm.line(done))
            self.reporter.say(f"guard: {alarm}: {done}")
            if alarm.guard.action == "stop" or (alarm.guard.action == "rollback" and back is None):
                raise GuardStop(f"a guard stopped the run {alarm}: {done}")
        return None if back is None else self._go_back(back)

    def _go_back(self, checkpoint: Path) -> tuple[int, Experience | None]:
        """From a checkpoint on with other random numbers, weights of rewards as they are now."""
        attempt, scale = self.collector.state.attempt + 1, self.collector.state.scale
        self.engine.empty_partition_cache()  # ZeRO stage 3: what is gathered now would outlive the weights' return
        step, _ = self._load(checkpoint)
        self.collector.state.attempt, self.collector.state.scale = attempt, scale
        for later in list_checkpoints(self.run.checkpoints):
            if self.world.is_main and step_of(later) > step:
                shutil.rmtree(later)
        self.world.barrier()
        return step, None

    def _load(self, checkpoint: Path) -> tuple[int, Experience | None]:
        state = load_checkpoint(checkpoint, self.engine, self.world)
        check_sources(checkpoint, state["prompts"], fingerprint(self.prompts), "prompts")
        if self.reference is not None:
            self.reference.load(checkpoint)
        self.collector.state = CollectorState(**state["collector"])
        self.collector.scorer.mixer.statistics = {name: Running(**each) for name, each in state["running"].items()}
        self.guards.states = [GuardState(**each) for each in state["guards"]]
        self.reporter.say(f"going on from {checkpoint}")
        file = checkpoint / EXPERIENCE
        return int(state["step"]), load_experience(file) if file.is_file() else None

    def keep(self, experience: Experience) -> str:
        """Write what broke a step beside the run; returns where it is."""
        file = self.run.path / "nonfinite.safetensors"
        if self.world.is_main:
            save_experience(experience, file)
        return f"its samples are in {file}"

    def finish(self) -> Path:
        """Save the policy with all that is known about it."""
        weights = full_weights(self.engine.module.model, self.world)
        if self.world.is_main:
            directory = self.run.path
            save_policy(self.policy, weights, directory, self.tokenizer, self.config.model.lora)
            facts = {
                "steps": self.config.steps,
                "prompts": {"count": len(self.prompts), "dropped": self.prompts.dropped},
                "world_size": self.world.size,
            }
            report([directory], directory / "report.html")
            write_manifest(directory, self.config, facts)
        self.world.barrier()
        self.reporter.say(f"saved to {self.run.path}")
        return self.run.path

    def _show(self, samples: Sequence[Sample], done: int) -> None:
        sample = samples[0]
        self.reporter.say(f"after {done} steps, to {sample.prompt[-1].content[:200]!r}: {sample.response[:400]!r}")


def build(config: AlignConfig, run: RunDirectory, world: World, reporter: Reporter, stack: ExitStack) -> Parts:
    """Put a run together. What must be closed in the end is given to ``stack``.

    Raises:
        ValueError: something in the configuration or the data cannot be used; said before the model is loaded where
            that is possible.
    """
    if not config.prompts.train:
        raise ValueError("prompts.train is empty: name at least one file, hub data set or synthetic: source")
    if config.model.path is None:
        raise ValueError("model.path is empty: name a policy to start from; keel train sft makes one")
    tokenizer = load_tokenizer(config.model)
    assert tokenizer is not None
    held_out = None
    if config.evaluation.data:
        held_out = load_prompts(config.prompts, tokenizer, config.evaluation.data, config.evaluation.limit)
    prompts = load_prompts(
        config.prompts,
        tokenizer,
        config.prompts.train,
        config.prompts.limit,
        held_out=held_out.records if held_out is not None else (),
    )
    phases = phases_of(config)
    _check_mixes(phases, prompts)
    terms = build_terms(config.rewards, _verifiers(prompts))
    measured = _with_defaults(terms, held_out)
    for each in measured:
        if hasattr(each.term, "close"):
            stack.callback(each.term.close)
    scorer, measures = (
        Scorer(Mixer(mixed), world, time_limit=config.reward_time_limit, max_failures=config.max_reward_failures)
        for mixed in (terms, measured)
    )
    stack.callback(scorer.close)
    stack.callback(measures.close)
    _check_positions(config, tokenizer, prompts, held_out)
    _describe(reporter, config, prompts, held_out)
    with model_loading(config.engine, world) if config.engine.zero_stage == 3 else nullcontext():
        policy = build_policy(config.model, tokenizer, config.engine.torch_dtype)
    engine = build_engine(policy, config.engine, config.steps, world)
    check_policy(policy, world.device)
    reference = Reference(engine, world, offload=config.ref_offload) if config.loss.beta else None
    watched = {guard.watch for guard in config.guards}
    first = Reference(engine, world, offload=config.ref_offload) if "kl_first" in watched else None
    rollout = build_rollout(config.rollout, engine, tokenizer, world)
    stack.callback(rollout.shutdown)
    sampler = Sampler(rollout, tokenizer, _end_ids(policy, tokenizer), world)
    collector = Collector(config, prompts, sampler, scorer, policy, engine, reference, first, world)
    return Parts(
        config=config,
        run=run,
        world=world,
        reporter=reporter,
        tokenizer=tokenizer,
        prompts=prompts,
        held_out=held_out,
        measures=measures,
        phases=phases,
        policy=policy,
        engine=engine,
        reference=reference,
        sampler=sampler,
        collector=collector,
        guards=Guards(config.guards),
    )


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def fingerprint(prompts: PromptSet) -> str:
    """Changes with any prompt, its order or its answer."""
    digest = hashlib.sha256()
    for ids, record in zip(prompts.ids, prompts.records, strict=True):
        digest.update(np.int64(len(ids)).tobytes() + ids.tobytes() + str(record.answer).encode())
    return digest.hexdigest()[:16]


def _verifiers(prompts: PromptSet) -> set[str]:
    return {str(r.columns.get("verifier", "math")) for r in prompts.records if r.domain == "reasoning"}


def _check_mixes(phases: list[Phase], prompts: PromptSet) -> None:
    """``ValueError`` if a phase wants prompts of a domain that there are none of."""
    there = pools(prompts)
    for phase in phases:
        if missing := sorted(domain for domain, share in phase.mix.items() if share and domain not in there):
            raise ValueError(f"phases: {phase.name} mixes {', '.join(missing)} prompts, and prompts.train has none")


def _with_defaults(terms: list[MixedTerm], held_out: PromptSet | None) -> list[MixedTerm]:
    """What is measured on held-out prompts: the rewards, and accuracy, format and language whatever the rewards are."""
    if held_out is None:
        return terms
    usual = [TermConfig(term=name) for name in ("accuracy", "format", "language")]
    known = {each.name for each in terms}
    return [*terms, *(e for e in build_terms(usual, _verifiers(held_out)) if e.name not in known)]


def _end_ids(policy: Policy, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What ends a response: the tokenizer's end token and whatever the model's generation settings name besides."""
    named = getattr(policy.language_model.generation_config, "eos_token_id", None)
    ids = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    if not ids:
        raise ValueError("neither the tokenizer nor the model names an end token: no response would ever end")
    return sorted(ids)


def _check_positions(
    config: AlignConfig, tokenizer: PreTrainedTokenizerBase, prompts: PromptSet, held_out: PromptSet | None
) -> None:
    """``ValueError`` if a response of full length would run beyond the positions that the model knows."""
    limit = getattr(policy_architecture(config.model, tokenizer), "max_position_embeddings", None)
    longest = max(len(ids) for part in (prompts, held_out) if part is not None for ids in part.ids)
    new = max(phase.max_new_tokens for phase in phases_of(config))
    if limit is not None and longest + new > limit:
        raise ValueError(
            f"the longest prompt has {longest} tokens; with max_new_tokens={new} that is more than "
            f"the {limit} positions of {config.model.path}. Lower max_new_tokens, or prompts.max_length"
        )


def _describe(reporter: Reporter, config: AlignConfig, prompts: PromptSet, held_out: PromptSet | None) -> None:
    """Say what was read and what was left out."""
    out = "".join(f"; {number:,} left out ({reason})" for reason, number in prompts.dropped.items())
    held = f"; {len(held_out):,} held out for evaluation" if held_out is not None else ""
    reporter.say(f"{len(prompts):,} prompts{out}{held}")
    rollouts = -(-config.steps // config.steps_per_rollout)
    reporter.say(
        f"{config.steps:,} steps of {config.prompts_per_step} × {config.samples_per_prompt} responses, out of "
        f"{rollouts:,} rollouts of {config.prompts_per_rollout * config.samples_per_prompt:,}"
    )
