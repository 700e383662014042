"""Supervised fine-tuning of a policy on demonstrations: the cold start of DeepSeek-R1, and its distillation.

Demonstrations are packed into rows without padding, up to a budget of tokens. None sees another, positions begin anew
with each, and the loss is a mean over the learnt tokens of a whole step, so that packing changes no gradient.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from align.objective.logprobs import token_predictions
from align.policy.config import PolicyConfig
from align.policy.policy import (
    Policy,
    build_policy,
    check_policy,
    end_ids,
    load_tokenizer,
    policy_architecture,
    save_policy,
)
from align.policy.templates import template_text
from align.reporting.manifest import MANIFEST, write_manifest
from align.sft.batches import DemonstrationSampler, Plan, plan_step
from align.sft.demonstrations import DemonstrationsConfig, conversation_file
from align.sft.encoding import Demonstrations, prepared
from reward_models.backbone.pretrained import check_sequence_parallel
from reward_models.data.chat import train_tokenizer
from reward_models.data.new_tokenizer import new_tokenizer
from reward_models.data.prepared import differences, prepared_in
from reward_models.data.records import Conversation
from reward_models.runtime.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from reward_models.runtime.engine import (
    NonFiniteError,
    backward,
    build_engine,
    full_weights,
    model_loading,
    optimizer_step,
    torch_dtype,
)
from reward_models.runtime.metrics import Metrics
from reward_models.runtime.reporter import Reporter
from reward_models.runtime.run import Run, StopSignal, begin_run, check_sources, seed_everything
from reward_models.runtime.training_config import COMPUTED, RUN_MAY_CHANGE, EngineConfig, RunConfig
from reward_models.start import check_start

# Settings that a resumed run may change: they do not change its result.
MAY_CHANGE = (
    *RUN_MAY_CHANGE,
    *COMPUTED,
    "max_tokens",
)
MEANS = ("loss", "entropy", "token_accuracy")
# What a rank without demonstrations of its own runs through the model, so that collectives stay in step.
FILLER = (np.zeros(2, np.int32), np.array([False, True]))


@dataclass(frozen=True, kw_only=True)
class SftConfig(RunConfig):
    """A whole run; ``keel train sft --config FILE key=value …``. The loss is a mean over the tokens of a whole batch.

    Attributes:
        model: the model to start from, or a new one, which trains a tokenizer unless one is named. Where the tokenizer
            has no chat template, ``r1`` is used unless another is named.
        data: what to learn from; only what the assistant says is learnt.
        epochs: how often to go over it. ``max_steps``: stop after this many steps.
        batch_size: conversations per optimizer step, over all ranks.
        max_tokens: most tokens of one micro-batch on one rank, into which conversations are packed; a longer
            conversation is computed alone. Memory grows with it, the result does not depend on it.
    """

    RENAMED: ClassVar[dict[str, str]] = {"micro_batch_size": "max_tokens"}

    output_dir: str = "runs/sft"
    model: PolicyConfig = field(default_factory=PolicyConfig)
    data: DemonstrationsConfig = field(default_factory=DemonstrationsConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    epochs: float = 2.0
    max_steps: int | None = None
    batch_size: int = 64
    max_tokens: int = 16384
    save_every: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.path is None and self.model.config is None:
            raise ValueError("give model.path (a pretrained model) or model.config (a new one)")
        for name in ("batch_size", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.epochs <= 0 or (self.max_steps is not None and self.max_steps < 1):
            raise ValueError("epochs and max_steps must be positive")

    def total_steps(self, steps_per_epoch: int) -> int:
        steps = math.ceil(self.epochs * steps_per_epoch)
        return steps if self.max_steps is None else min(steps, self.max_steps)


def train(config: SftConfig) -> Path | None:
    """Train a policy, or resume; returns its directory, or ``None`` if a signal stopped the run early."""
    check_start(config, config.engine, config.data.train, "data.train")
    check_sequence_parallel(config.model, ranks := config.engine.sequence_parallel)
    with begin_run(config, may_change=MAY_CHANGE, manifest=MANIFEST, result="policy", sequence_parallel=ranks) as run:
        if run.finished:
            return run.path
        training = prepare(config, run)
        return finish(training) if optimize(training) else None


@dataclass(frozen=True, slots=True)
class Training:
    """The objects of a run.

    Attributes:
        bad: rows that were left out because they could not be read.
        key: all that the demonstrations follow from, to tell what has changed when the run resumes.
    """

    config: SftConfig
    run: Run
    tokenizer: PreTrainedTokenizerBase
    data: Demonstrations
    bad: int
    key: dict[str, Any]
    sampler: DemonstrationSampler
    total_steps: int
    policy: Policy
    engine: Any


def prepare(config: SftConfig, run: Run) -> Training:
    """Read and tokenize the demonstrations, build policy and engine."""
    torch.manual_seed(config.seed)
    began = time.perf_counter()
    conversations, source = conversation_file(config.data, run.name)
    bad = int(source.facts["bad"])
    tokenizer = tokenizer_for(config.model, conversations, source.facts["digests"]["train"])
    data, made = prepared(conversations, source, tokenizer, _longest(config, tokenizer), end_ids(config.model))
    sampler = DemonstrationSampler(len(data), config.batch_size, config.seed, data.lengths)
    total_steps = config.total_steps(sampler.steps_per_epoch)
    _describe(run.reporter, data, bad, total_steps)
    run.reporter.say(prepared_in([source, made], time.perf_counter() - began))
    key = {**source.key, **made.key, "reading": source.key["settings"]}

    torch.manual_seed(config.seed)
    # A new model is made whole and partitioned by the engine: made in parts, it would draw other random weights.
    with model_loading(config.engine, run.world) if config.model.path is not None else nullcontext():
        policy = build_policy(config.model, tokenizer, torch_dtype(config.engine))
    policy.sequence = run.world.sequence
    engine = build_engine(policy, config.engine, total_steps, run.world)
    check_policy(policy, run.world.device)
    return Training(config, run, tokenizer, data, bad, key, sampler, total_steps, policy, engine)


def optimize(training: Training) -> bool:
    """Make the optimizer steps that are left; returns False if a signal stopped the run before the last."""
    config, run, engine = training.config, training.run, training.engine
    first_step = _resume(training)
    with (
        StopSignal() as stop,
        run.reporter.progress("policy", training.total_steps, first_step, config.log_every) as bar,
        closing(run.open_log(first_step)) as log,
    ):
        for step in range(first_step, training.total_steps):
            seed_everything(config.seed, step, run.world.rank)
            values = _step(training, step)
            done = step + 1
            last = done == training.total_steps
            log.write(done, values, epoch=done / training.sampler.steps_per_epoch)
            shown = ("loss", "token_accuracy", "filled", "tokens_per_second")
            run.reporter.step(bar, done, {name: values[name] for name in shown if name in values})
            stopping = stop.anywhere(run.world)
            if stopping or last or (config.save_every and done % config.save_every == 0):
                facts = {"demonstrations": training.data.fingerprint, "prepared": training.key}
                save_checkpoint(run.directory.checkpoints, engine, done, facts, run.world, config.keep_checkpoints)
            if stopping and not last:
                run.reporter.say(f"stopped by a signal after step {done}, saved; the same command resumes the run")
                return False
    return True


def _step(training: Training, step: int) -> dict[str, float]:
    """One optimizer step; returns its metrics."""
    config, run, data = training.config, training.run, training.data
    began, items = time.perf_counter(), training.sampler.step(step)
    plan = plan_step(items, training.data.lengths, training.policy.layout, config.max_tokens, run.world)
    metrics = Metrics(MEANS)
    count = int(data.predicted_tokens[items].sum())
    rate = training.engine.lr_scheduler.get_last_lr()[0]
    try:
        grad_norm = update(training, plan, count, metrics)
    except NonFiniteError as error:
        kept = _dump_batch(training, step, plan)
        raise NonFiniteError(f"step {step + 1}: {error}; nothing was updated, the batch is in {kept}") from None
    return metrics.reduce(run.world) | {
        "grad_norm": grad_norm,
        "lr": rate,
        "tokens": float(training.sampler.tokens_before(step + 1)),
        "useful": plan.useful,
        "filled": plan.filled,
        "tokens_per_second": float(training.data.lengths[items].sum()) / (time.perf_counter() - began),
    }


def update(training: Training, plan: Plan, count: int, metrics: Metrics) -> float:
    """One optimizer step over this rank's micro-batches; ``count`` is the step's number of learnt tokens on all ranks.

    Returns the gradient norm. Raises :class:`NonFiniteError` before anything is updated.
    """
    engine, data, world = training.engine, training.data, training.run.world
    finite = True
    for number, items in enumerate(plan.mine):
        ids, learnt = [data.ids(i) for i in items], [data.learnt(i) for i in items]
        batch = training.policy.collate_sequences(ids or FILLER[:1], learnt or FILLER[1:])
        logprobs_T, entropy_T, correct_T = engine(batch.to(world.device), 1.0, token_predictions)
        if items:
            metrics.add("loss", -logprobs_T)
            metrics.add("entropy", entropy_T)
            metrics.add("token_accuracy", correct_T)
        # A rank without demonstrations still takes part in every collective, with a gradient of zero.
        loss = (-logprobs_T if items else 0.0 * logprobs_T).sum() / count
        finite = finite and bool(torch.isfinite(loss))
        backward(engine, loss, world, last=number == len(plan.mine) - 1)
    return optimizer_step(engine, finite, world)


def finish(training: Training) -> Path:
    """Save the policy with its manifest; returns the run's directory."""
    config, run, data = training.config, training.run, training.data
    weights = full_weights(training.engine.module.model, run.world)
    if run.world.is_main:
        save_policy(training.policy, weights, run.path, training.tokenizer, config.model.lora)
        facts = {"count": len(data), "dropped": data.dropped, "bad": training.bad, "fingerprint": data.fingerprint}
        steps = {"steps": training.total_steps, "demonstrations": facts, "world_size": run.world.size}
        write_manifest(run.path, config, steps)
    run.world.barrier()
    run.reporter.say(f"saved to {run.path}")
    return run.path


def tokenizer_for(
    config: PolicyConfig, conversations: Sequence[Conversation], digest: str | None = None
) -> PreTrainedTokenizerBase:
    """The model's own, or one trained on the demonstrations; with the chat template ``r1`` if it has none.

    Args:
        digest: of the conversations; a tokenizer that was trained on them is kept under it.
    """
    tokenizer = load_tokenizer(config)
    if tokenizer is None:
        # roles are words of the chat template
        texts = (f"{m.role}\n{m.content}" for conversation in conversations for m in conversation)
        size = config.vocab_size
        tokenizer = train_tokenizer(texts, size) if digest is None else new_tokenizer(texts, size, f"sft {digest}")
        tokenizer.chat_template = config.template() or template_text("r1")
    elif tokenizer.chat_template is None:
        tokenizer.chat_template = template_text("r1")
    return tokenizer


def _longest(config: SftConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest demonstration in tokens: ``data.max_length``, or what the model's positions allow if it is not set.

    Raises:
        ValueError: ``data.max_length`` is more than the model has positions.
    """
    limit = getattr(policy_architecture(config.model, tokenizer), "max_position_embeddings", None)
    wanted = config.data.max_length
    if limit is not None and wanted is not None and wanted > limit:
        raise ValueError(
            f"data.max_length={wanted} is more than the {limit} positions of {config.model.path or 'the new model'}. "
            f"Lower it, or, for a model of rotary positions that shall learn longer texts, set "
            f"model.config={{max_position_embeddings: {wanted}}}"
        )
    return next((each for each in (wanted, limit) if each is not None), sys.maxsize)


def _resume(training: Training) -> int:
    """Load the latest checkpoint, if there is one; returns the number of steps already made."""
    run = training.run
    latest = latest_checkpoint(run.directory.checkpoints, run.world, run.reporter.say)
    if latest is None:
        return 0
    state = load_checkpoint(latest, training.engine, run.world)
    changed = differences(state["prepared"], training.key) if "prepared" in state else []
    check_sources(latest, state["demonstrations"], training.data.fingerprint, "demonstrations", changed)
    if changed:
        run.reporter.say(f"prepared anew since the checkpoint, to the same tokens: {'; '.join(changed)}")
    run.reporter.say(f"resuming from {latest}")
    return int(state["step"])


def _describe(reporter: Reporter, data: Demonstrations, bad: int, total_steps: int) -> None:
    """Report the numbers of demonstrations read and left out."""
    left_out = {"bad rows": bad} | data.dropped
    out = "".join(f"; {number:,} left out ({reason})" for reason, number in left_out.items() if number)
    tokens, learnt = int(data.lengths.sum()), int(data.learnt_tokens.sum())
    reporter.say(f"{len(data):,} demonstrations{out}")
    reporter.say(f"{total_steps:,} steps; {tokens:,} tokens an epoch, of which {learnt:,} are learnt")


def _dump_batch(training: Training, step: int, plan: Plan) -> Path:
    """Write this rank's part of a failed step into the run's directory; returns the file."""
    file = training.run.path / f"nonfinite-step-{step + 1}-rank-{training.run.world.rank}.json"
    content = [[{"place": i, "ids": training.data.ids(i).tolist()} for i in batch] for batch in plan.mine]
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
