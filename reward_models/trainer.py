"""Training a reward model: the configuration, the loop, and what is left behind."""

from __future__ import annotations

import json
import math
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml

from reward_models import artifact, calibration
from reward_models.data.batching import EpochSampler
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.encode import TokenizedSet
from reward_models.dataset import DataConfig, Records, RewardKind, TokenizedData, default_span, load_records, tokenize
from reward_models.evaluation.baseline import fit_baseline
from reward_models.evaluation.figures import FILLER, headline, plan, score_set
from reward_models.evaluation.scored_set import margins_of, scored_set
from reward_models.losses import bradley_terry, safety_bce
from reward_models.model import ModelConfig, SequenceScorer, build_model, load_tokenizer, planned_position_limit
from reward_models.runtime import distributed
from reward_models.runtime.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from reward_models.runtime.config import dump_config
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import (
    EngineConfig,
    NonFiniteError,
    backward,
    build_engine,
    deepspeed_config,
    model_loading,
    optimizer_step,
)
from reward_models.runtime.metrics import Metrics, RunLog, check_loggers
from reward_models.runtime.run import Reporter, RunDirectory, StopSignal

# What a resumed run may set differently: how it is computed, logged and kept, not what is computed.
MAY_CHANGE = (
    "output_dir",
    "engine.zero_stage",
    "engine.offload",
    "engine.zero_options",
    "model.gradient_checkpointing",
    "max_tokens",
    "log_every",
    "save_every",
    "keep_checkpoints",
    "loggers",
    "overwrite",
    "timeout_seconds",
)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Attributes belong to one kind of model, as named.

    Attributes:
        margin: helpful: times a comparison's strength gives the margin its scores must keep; 0 ignores strengths.
        tie_threshold: helpful: η of Rao & Kupper's model of ties; ``null`` trains ties towards equal scores.
        centering: helpful: weight of the penalty that keeps scores around zero.
        label_smoothing: both.
        class_weights: safety: ``balanced`` weighs both classes alike.
        deployed_safe_share: safety: share of safe responses where the model will be used; the loss is then shifted so
            that scores are calibrated for it instead of for the training data.
    """

    margin: float = 0.0
    tie_threshold: float | None = None
    centering: float = 0.0
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    deployed_safe_share: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError("loss.label_smoothing must be at least 0 and below 0.5")
        if self.tie_threshold is not None and self.tie_threshold <= 0:
            raise ValueError("loss.tie_threshold must be positive")
        if self.deployed_safe_share is not None and not 0 < self.deployed_safe_share < 1:
            raise ValueError("loss.deployed_safe_share is a share strictly between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig:
    """A whole training run; ``keel train rm --config FILE key=value …``.

    Attributes:
        kind: ``helpful``: pairwise, on comparisons. ``safety``: point-wise, on safe/unsafe labels.
        output_dir: everything the run writes; the trained model stands in it at the end.
        epochs: how often to go over the training data. ``max_steps``: but no more steps than this.
        threshold_fpr: safety: the share of safe responses that the threshold saved with the model may call unsafe.
        batch_size: comparisons or labels per optimizer step, over all ranks.
        max_tokens: most tokens of one micro-batch on one rank; memory grows with it, the result does not depend on it.
        eval_every, save_every: in steps; 0: only at the end.
        keep_checkpoints: how many checkpoints to keep.
        loggers: ``tensorboard``, ``wandb``, ``trackio``.
        overwrite: delete what ``output_dir`` holds instead of resuming it.
        timeout_seconds: how long ranks wait for one another before the job fails.
    """

    kind: RewardKind = "helpful"
    output_dir: str = "runs/reward_model"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    epochs: float = 1.0
    max_steps: int | None = None
    threshold_fpr: float = 0.05
    batch_size: int = 256
    max_tokens: int = 16384
    log_every: int = 10
    eval_every: int = 0
    save_every: int = 50
    keep_checkpoints: int = 2
    loggers: list[Literal["tensorboard", "wandb", "trackio"]] = field(default_factory=lambda: ["tensorboard"])
    overwrite: bool = False
    timeout_seconds: float = 1800

    def __post_init__(self) -> None:
        if self.model.path is None and self.model.config is None:
            raise ValueError("give model.path (a pretrained model) or model.config (a new one)")
        for name in ("batch_size", "max_tokens", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 < self.threshold_fpr < 1:
            raise ValueError(f"threshold_fpr={self.threshold_fpr} is a share strictly between 0 and 1")
        if self.epochs <= 0 or (self.max_steps is not None and self.max_steps < 1):
            raise ValueError("epochs and max_steps must be positive")


def train(config: RewardModelConfig) -> Path | None:
    """Train a reward model, or go on; returns its directory, or ``None`` if a signal stopped the run early."""
    if not config.data.train:
        raise ValueError("data.train is empty: name at least one file, hub data set or synthetic: source")
    check_loggers(config.loggers)
    world = distributed.start(config.timeout_seconds)
    reporter, run = Reporter(world.is_main), RunDirectory(Path(config.output_dir))
    if world.is_main:  # where it refuses, the launcher ends the other ranks
        run.begin(dump_config(config), overwrite=config.overwrite, may_change=MAY_CHANGE)
    world.barrier()
    if artifact.is_complete(run.path):
        reporter.say(f"{run.path} holds the finished model already; overwrite=true trains it anew")
        return run.path

    torch.manual_seed(config.seed)
    records = load_records(config.data, config.kind)
    renderer = ChatRenderer(_tokenizer(config, records), config.data.span or default_span(config.kind))
    limit = planned_position_limit(config.model, renderer.tokenizer, config.kind)
    data = tokenize(records, renderer, config.data, limit)
    sampler = EpochSampler(len(data.train), config.batch_size, config.seed)
    total_steps = math.ceil(config.epochs * sampler.steps_per_epoch)
    if config.max_steps is not None:
        total_steps = min(total_steps, config.max_steps)
    _describe(reporter, records, data, total_steps)

    # A new model is made whole and partitioned by the engine: made in parts, it would draw other random weights.
    with model_loading(config.engine, world) if config.model.path is not None else nullcontext():
        scorer = build_model(config.model, renderer.tokenizer, config.kind, config.engine.torch_dtype)
    engine = build_engine(scorer, config.engine, total_steps, world)
    objective = Objective(config, data.train, world.device)
    first_step = _resume(engine, run, data, reporter, world)

    resolved = yaml.safe_load(dump_config(config))
    log = RunLog(run.path, config.loggers, first_step, resolved) if world.is_main else None
    with (
        StopSignal() as stop,
        reporter.progress(f"{config.kind} RM", total_steps, first_step, config.log_every) as bar,
        closing(log) if log is not None else nullcontext(),
    ):
        for step in range(first_step, total_steps):
            began = time.perf_counter()
            torch.manual_seed((config.seed * 1_000_003 + step) * 65_537 + world.rank)  # dropout: a function of the step
            batches = plan(data.train, sampler.step(step).tolist(), scorer.layout, config.max_tokens, world)
            metrics = Metrics(["loss", "accuracy", "score_mean"], ["stop"])
            metrics.max("stop", float(stop.received is not None))
            try:
                grad_norm = update(engine, scorer, batches, objective, metrics, len(sampler.step(step)), world)
            except NonFiniteError as error:
                kept = _keep_batch(run.path, step, batches, data.train, world)
                raise NonFiniteError(f"step {step + 1}: {error}; nothing was updated, the batch is in {kept}") from None
            values = metrics.reduce(world)
            stopping, done = values.pop("stop") > 0, step + 1
            seconds = time.perf_counter() - began
            values |= {
                "grad_norm": grad_norm,
                "lr": engine.lr_scheduler.get_last_lr()[0],
                "tokens_per_second": float(data.train.unshared_tokens[sampler.step(step)].sum()) / seconds,
            }
            if config.eval_every and done % config.eval_every == 0 and done < total_steps:
                values |= evaluation_metrics(score_sources(engine, scorer, data, config, world), data, config.kind)
            if log is not None:
                log.write(done, values, epoch=done / sampler.steps_per_epoch)
            reporter.step(bar, done, {k: values[k] for k in ("loss", "accuracy", "tokens_per_second") if k in values})
            if stopping or done == total_steps or (config.save_every and done % config.save_every == 0):
                save_checkpoint(
                    run.checkpoints, engine, done, {"data": data.train.fingerprint}, world, config.keep_checkpoints
                )
            if stopping and done < total_steps:
                reporter.say(f"stopped by a signal after step {done}, saved; the same command goes on from there")
                return None

    return finish(engine, scorer, renderer, data, records, config, run, world, reporter)


def update(
    engine: Any,
    scorer: SequenceScorer,
    batches: list[list[int]],
    objective: Objective,
    metrics: Metrics,
    count: int,
    world: World,
) -> float:
    """One optimizer step over this rank's micro-batches; ``count`` is the step's number of items over all ranks.

    Returns the gradient norm. Raises :class:`NonFiniteError` before anything is updated.
    """
    finite = True
    for number, items in enumerate(batches):
        batch = scorer.collate([objective.data.tree(i) for i in items] or [FILLER])
        scores_N = engine(batch.to(world.device))
        # A rank without items still takes part in every collective, with a gradient of zero.
        loss_B = objective(scores_N, items, metrics) if items else 0.0 * scores_N
        loss = loss_B.sum() / count
        finite = finite and bool(torch.isfinite(loss))
        backward(engine, loss, world, last=number == len(batches) - 1)
    return optimizer_step(engine, finite, world)


class Objective:
    """The loss of a micro-batch, from scores and the items they belong to."""

    def __init__(self, config: RewardModelConfig, data: TokenizedSet, device: torch.device) -> None:
        self.data, self.kind, self.loss = data, config.kind, config.loss
        self.label = torch.from_numpy(data.label).float().to(device)
        self.margin = torch.from_numpy(np.nan_to_num(data.strength)).float().to(device) * config.loss.margin
        self.weights = {"safe_weight": 1.0, "unsafe_weight": 1.0, "prior_shift": 0.0}
        if self.kind == "safety":
            safe = float(data.label.mean())
            if not 0 < safe < 1:
                raise ValueError("data.train holds safe or unsafe responses only; a classifier needs both")
            if self.loss.class_weights == "balanced":
                self.weights |= {"safe_weight": 0.5 / safe, "unsafe_weight": 0.5 / (1 - safe)}
            if (share := self.loss.deployed_safe_share) is not None:
                # The log-odds the loss sees: class weights move them just as more data of a class would.
                weighted = safe * self.weights["safe_weight"] / ((1 - safe) * self.weights["unsafe_weight"])
                self.weights["prior_shift"] = math.log(weighted) - math.log(share / (1 - share))

    def __call__(self, scores_N: torch.Tensor, items: list[int], metrics: Metrics) -> torch.Tensor:
        label_B = self.label[items]
        metrics.add("score_mean", scores_N)
        if self.kind == "safety":
            loss_B = safety_bce(scores_N, label_B, label_smoothing=self.loss.label_smoothing, **self.weights)
            metrics.add("accuracy", (scores_N > 0) == (label_B > 0.5))
        else:
            chosen_B, rejected_B = scores_N.view(-1, 2).unbind(1)
            tie_B = label_B == 0.5
            loss_B = bradley_terry(
                chosen_B,
                rejected_B,
                self.margin[items],
                tie_B,
                label_smoothing=self.loss.label_smoothing,
                centering=self.loss.centering,
                tie_threshold=self.loss.tie_threshold,
            )
            metrics.add("accuracy", (chosen_B > rejected_B)[~tie_B])
        metrics.add("loss", loss_B)
        return loss_B


def score_sources(
    module: torch.nn.Module, scorer: SequenceScorer, data: TokenizedData, config: RewardModelConfig, world: World
) -> dict[str, np.ndarray]:
    """Scores of every evaluation set, over all ranks."""
    return {name: score_set(module, scorer, part, config.max_tokens, world) for name, part in data.eval.items()}


def evaluation_metrics(scores: dict[str, np.ndarray], data: TokenizedData, kind: RewardKind) -> dict[str, float]:
    """The headline figures over all evaluation sets together, for the log."""
    if not scores:
        return {}
    margins = np.concatenate([margins_of(scores[name]) for name in data.eval])
    figures = headline(kind, margins, np.concatenate([part.label for part in data.eval.values()]))
    return {f"eval_{name}": value for name, value in figures.items() if value is not None}


def finish(
    engine: Any,
    scorer: SequenceScorer,
    renderer: ChatRenderer,
    data: TokenizedData,
    records: Records,
    config: RewardModelConfig,
    run: RunDirectory,
    world: World,
    reporter: Reporter,
) -> Path:
    """Evaluate, calibrate, and save the model with all that is known about it."""
    scores = score_sources(engine, scorer, data, config, world)
    held_apart = score_set(engine, scorer, data.calibration, config.max_tokens, world)
    fitted = calibration.fit(held_apart, data.calibration.label, config.kind, threshold_fpr=config.threshold_fpr)
    state = artifact.full_weights(engine.module.model, world)
    if world.is_main:
        (run.path / "deepspeed.json").write_text(json.dumps(deepspeed_config(config.engine, world.size), indent=1))
        for note in fitted.notes:
            reporter.say(note)
        baseline = fit_baseline(records.train, renderer.span)
        parts = [
            scored_set(
                name, rows, scores[name], kind=config.kind, span=renderer.span, calibration=fitted, baseline=baseline
            )
            for name, rows in records.eval.items()
            if rows
        ]
        artifact.save(
            run.path, config, scorer, state, renderer, data, records.counts, fitted, baseline, parts, world.size
        )
    world.barrier()
    reporter.say(f"saved to {run.path}")
    return run.path


def _tokenizer(config: RewardModelConfig, records: Records) -> Any:
    return load_tokenizer(config.model) or train_tokenizer(records.texts, config.model.vocab_size)


def _resume(engine: Any, run: RunDirectory, data: TokenizedData, reporter: Reporter, world: World) -> int:
    """Load the latest checkpoint, if there is one; returns the number of steps already made."""
    found = list_checkpoints(run.checkpoints)
    if not found:
        return 0
    state = load_checkpoint(found[-1], engine, world)
    if state["data"] != data.train.fingerprint:
        raise ValueError(
            f"{found[-1]} was trained on other data: the training sources have changed since. Restore them, or start "
            "anew with another output_dir or overwrite=true"
        )
    reporter.say(f"going on from {found[-1]}")
    return int(state["step"])


def _describe(reporter: Reporter, records: Records, data: TokenizedData, total_steps: int) -> None:
    """Say what was read, what was left out and why, and what sharing prompts saves."""
    counts = ", ".join(f"{name} {number:,}" for name, number in records.counts.items() if number)
    shared, unshared = int(data.train.tree_tokens.sum()), int(data.train.unshared_tokens.sum())
    reporter.say(f"data: {counts}")
    if data.train.truncated or data.train.dropped:
        reporter.say(f"cut to max_length: {data.train.truncated}; dropped: {data.train.dropped or 'none'}")
    if cut := sum(part.truncated for part in (data.calibration, *data.eval.values())):
        reporter.say(f"held-out conversations cut to what the model can read: {cut}")
    reporter.say(f"{total_steps:,} steps; {unshared:,} tokens an epoch, {shared:,} with shared prompts")


def _keep_batch(path: Path, step: int, batches: list[list[int]], data: TokenizedSet, world: World) -> Path:
    """Write this rank's part of a step beside the run, so that what broke it can be looked at."""
    file = path / f"nonfinite-step-{step + 1}-rank-{world.rank}.json"
    content = [
        [{"id": data.ids[i], "sequences": [s.tolist() for s in data.tree(i).sequences]} for i in b] for b in batches
    ]
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
