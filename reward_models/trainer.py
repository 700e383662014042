"""Training of a reward model: the loop, the evaluation, and the saved result."""

from __future__ import annotations

import json
import math
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reward_models.extras import needs

with needs("train"):
    import torch

from reward_models import artifact, calibration
from reward_models.attributes import AttributeHead, AttributeObjective, attribute_evaluation
from reward_models.backbone.pretrained import check_sequence_parallel
from reward_models.config import MAY_CHANGE, RewardModelConfig
from reward_models.data.batching import EpochSampler
from reward_models.data.chat import ChatRenderer
from reward_models.data.manifest import MANIFEST
from reward_models.data.new_tokenizer import new_tokenizer
from reward_models.data.prepared import differences, prepared_in
from reward_models.data.records import TASKS, Task
from reward_models.data.token_sets import TokenizedSet
from reward_models.dataset import Records, TokenizedData, default_span, load_records, tokenize
from reward_models.evaluation.baseline import fit_baseline
from reward_models.evaluation.figures import FILLER, headline, plan, score_set
from reward_models.evaluation.scored_set import margins_of, scored_set
from reward_models.losses import bradley_terry, safety_bce
from reward_models.model import SequenceScorer, build_model, load_tokenizer, planned_position_limit
from reward_models.runtime.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from reward_models.runtime.distributed import World
from reward_models.runtime.engine import (
    NonFiniteError,
    backward,
    build_engine,
    deepspeed_config,
    full_weights,
    model_loading,
    optimizer_step,
    torch_dtype,
)
from reward_models.runtime.metrics import Metrics
from reward_models.runtime.reporter import Reporter
from reward_models.runtime.run import Run, StopSignal, begin_run, check_sources, seed_everything


def train(config: RewardModelConfig) -> Path | None:
    """Train a reward model, or resume; returns its directory, or ``None`` if a signal stopped the run early."""
    if not config.data.train:
        raise ValueError("data.train is empty: name at least one file, hub data set or synthetic: source")
    check_sequence_parallel(config.model, ranks := config.engine.sequence_parallel)
    with begin_run(config, may_change=MAY_CHANGE, manifest=MANIFEST, result="model", sequence_parallel=ranks) as run:
        if run.finished:
            return run.path
        torch.manual_seed(config.seed if config.init_seed is None else config.init_seed)
        training = prepare(config, run)
        return finish(training) if optimize(training) else None


@dataclass(frozen=True, slots=True)
class Training:
    """The objects of a training run."""

    config: RewardModelConfig
    run: Run
    records: Records
    renderer: ChatRenderer
    data: TokenizedData
    sampler: EpochSampler
    total_steps: int
    scorer: SequenceScorer
    engine: Any
    head: AttributeHead | None


def prepare(config: RewardModelConfig, run: Run) -> Training:
    """Read and tokenize the data, build model and engine."""
    began = time.perf_counter()
    records = load_records(config.data, config.task, rated=bool(config.attributes), run=run.name)
    renderer = ChatRenderer(_tokenizer(config, records), config.data.span or default_span(config.task))
    limit = planned_position_limit(config.model, renderer.tokenizer, config.task)
    data = tokenize(records, renderer, config.data, limit)
    sampler = EpochSampler(len(data.train), config.batch_size, config.seed)
    total_steps = math.ceil(config.epochs * sampler.steps_per_epoch)
    if config.max_steps is not None:
        total_steps = min(total_steps, config.max_steps)
    _describe(run.reporter, records, data, total_steps, time.perf_counter() - began)

    # A new model is made whole and partitioned by the engine: made in parts, it would draw other random weights.
    with model_loading(config.engine, run.world) if config.model.path is not None else nullcontext():
        dtype, rated = torch_dtype(config.engine), bool(config.attributes)
        scorer = build_model(config.model, renderer.tokenizer, config.task, dtype, attributes=rated)
    scorer.sequence = run.world.sequence
    engine = build_engine(scorer, config.engine, total_steps, run.world)
    head = AttributeHead.fit(data.train.ratings, config.attributes) if rated else None
    return Training(config, run, records, renderer, data, sampler, total_steps, scorer, engine, head)


def optimize(training: Training) -> bool:
    """Make the optimizer steps that are left; returns False if a signal stopped the run before the last."""
    config, run, data, engine = training.config, training.run, training.data, training.engine
    objective = (
        Objective(config, data.train, run.world.device)
        if training.head is None
        else AttributeObjective(training.head, data.train, run.world.device)
    )
    first_step = _resume(training)
    with (
        StopSignal() as stop,
        run.reporter.progress(
            f"{TASKS[config.task].model} RM", training.total_steps, first_step, config.log_every
        ) as bar,
        closing(run.open_log(first_step)) as log,
    ):
        for step in range(first_step, training.total_steps):
            seed_everything(config.seed, step, run.world.rank)
            values, stopping = _step(training, objective, step, stop)
            done = step + 1
            last = done == training.total_steps
            if config.eval_every and done % config.eval_every == 0 and not last:
                values |= held_out_metrics(training)
            log.write(done, values, epoch=done / training.sampler.steps_per_epoch)
            shown = ("loss", "accuracy", "tokens_per_second")
            run.reporter.step(bar, done, {name: values[name] for name in shown if name in values})
            if stopping or last or (config.save_every and done % config.save_every == 0):
                facts = {"data": data.train.fingerprint, "prepared": data.prepared}
                save_checkpoint(run.directory.checkpoints, engine, done, facts, run.world, config.keep_checkpoints)
            if stopping and not last:
                run.reporter.say(f"stopped by a signal after step {done}, saved; the same command resumes the run")
                return False
    return True


def _step(
    training: Training, objective: Objective | AttributeObjective, step: int, stop: StopSignal
) -> tuple[dict[str, float], bool]:
    """One optimizer step; returns its metrics, and whether a signal asks any rank to stop."""
    config, run, data = training.config, training.run, training.data.train
    began, items = time.perf_counter(), training.sampler.step(step)
    batches = plan(data, items.tolist(), training.scorer.layout, config.max_tokens, run.world)
    metrics = Metrics(["loss", "accuracy", "score_mean"], ["stop"])
    metrics.max("stop", float(stop.received is not None))
    try:
        grad_norm = update(training.engine, training.scorer, batches, objective, metrics, len(items), run.world)
    except NonFiniteError as error:
        kept = _dump_batch(run.path, step, batches, data, run.world)
        raise NonFiniteError(f"step {step + 1}: {error}; nothing was updated, the batch is in {kept}") from None
    values = metrics.reduce(run.world)
    stopping = values.pop("stop") > 0
    values |= {
        "grad_norm": grad_norm,
        "lr": training.engine.lr_scheduler.get_last_lr()[0],
        "tokens_per_second": float(data.unshared_tokens[items].sum()) / (time.perf_counter() - began),
    }
    return values, stopping


def update(
    engine: Any,
    scorer: SequenceScorer,
    batches: list[list[int]],
    objective: Objective | AttributeObjective,
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
        self.data, self.task, self.loss = data, config.task, config.loss
        self.label = torch.tensor(data.label).float().to(device)
        self.margin = torch.from_numpy(np.nan_to_num(data.strength)).float().to(device) * config.loss.margin
        # The mean is 1, so that weights do not change the size of a step.
        self.weight = torch.tensor(data.weight / data.weight.mean()).float().to(device)
        self.weights = {"safe_weight": 1.0, "unsafe_weight": 1.0, "prior_shift": 0.0}
        if self.task == "safety":
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
        if self.task == "safety":
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
            loss_B = loss_B * self.weight[items]
        metrics.add("loss", loss_B)
        return loss_B


def held_out_metrics(training: Training) -> dict[str, float]:
    """The metrics of an evaluation during training."""
    scores, data = score_sources(training), training.data
    if training.head is None:
        return evaluation_metrics(scores, data, training.config.task)
    figures = attribute_evaluation(scores, data.eval, training.head).get("attributes", {})
    return {f"eval_{name}": each["pearson"] for name, each in figures.items() if each["pearson"] is not None}


def score_sources(training: Training) -> dict[str, np.ndarray]:
    """Scores of every evaluation set, over all ranks."""
    return {name: _scores(training, part) for name, part in training.data.eval.items()}


def _scores(training: Training, data: TokenizedSet) -> np.ndarray:
    return score_set(training.engine, training.scorer, data, training.config.max_tokens, training.run.world)


def evaluation_metrics(scores: dict[str, np.ndarray], data: TokenizedData, task: Task) -> dict[str, float]:
    """The headline figures over all evaluation sets together, for the log."""
    if not scores:
        return {}
    margins = np.concatenate([margins_of(scores[name]) for name in data.eval])
    figures = headline(task, margins, np.concatenate([part.label for part in data.eval.values()]))
    return {f"eval_{name}": value for name, value in figures.items() if value is not None}


def finish(training: Training) -> Path:
    """Evaluate, calibrate, and save the model with its manifest."""
    config, run, renderer, data = training.config, training.run, training.renderer, training.data
    scores = score_sources(training)
    held_apart = _scores(training, data.calibration)
    if training.head is None:
        fitted = calibration.fit(held_apart, data.calibration.label, config.task, threshold_fpr=config.threshold_fpr)
    else:
        fitted = calibration.of_scores(training.head.scores(held_apart) if len(held_apart) else np.zeros(0))
    state = full_weights(training.engine.module.model, run.world)
    if run.world.is_main:
        settings = deepspeed_config(config.engine, run.world.size)
        (run.path / "deepspeed.json").write_text(json.dumps(settings, indent=1))
        for note in fitted.notes:
            run.reporter.say(note)
        baseline = fit_baseline(training.records.train, renderer.span) if training.head is None else None
        if baseline is not None and baseline.records < baseline.available:
            run.reporter.say(
                f"TF-IDF baseline: fitted on {baseline.records:,} of {baseline.available:,} decided training records, "
                "evenly spread"
            )
        parts = [
            scored_set(
                name, rows, scores[name], task=config.task, span=renderer.span, calibration=fitted, baseline=baseline
            )
            for name, rows in training.records.eval.items()
            if rows and training.head is None
        ]
        artifact.save(
            run.path,
            config,
            training.scorer,
            state,
            renderer,
            data,
            training.records.counts,
            fitted,
            baseline,
            parts,
            run.world.size,
            head=training.head,
            more={} if training.head is None else attribute_evaluation(scores, data.eval, training.head),
        )
    run.world.barrier()
    run.reporter.say(f"saved to {run.path}")
    return run.path


def _tokenizer(config: RewardModelConfig, records: Records) -> Any:
    known = load_tokenizer(config.model)
    return known or new_tokenizer(records.texts, config.model.vocab_size, records.entry.facts["digests"]["train"])


def _resume(training: Training) -> int:
    """Load the latest checkpoint, if there is one; returns the number of steps already made."""
    run = training.run
    latest = latest_checkpoint(run.directory.checkpoints, run.world, run.reporter.say)
    if latest is None:
        return 0
    state = load_checkpoint(latest, training.engine, run.world)
    changed = differences(state["prepared"], training.data.prepared) if "prepared" in state else []
    check_sources(latest, state["data"], training.data.train.fingerprint, "training data", changed)
    if changed:
        run.reporter.say(f"prepared anew since the checkpoint, to the same tokens: {'; '.join(changed)}")
    run.reporter.say(f"resuming from {latest}")
    return int(state["step"])


def _describe(reporter: Reporter, records: Records, data: TokenizedData, total_steps: int, seconds: float) -> None:
    """Report the records read, those left out and why, and the tokens that shared prompts save."""
    counts = ", ".join(f"{name} {number:,}" for name, number in records.counts.items() if number)
    shared, unshared = int(data.train.tree_tokens.sum()), int(data.train.unshared_tokens.sum())
    reporter.say(f"data: {counts}")
    reporter.say(prepared_in([records.entry, data.entry], seconds))
    if data.train.truncated or data.train.dropped:
        reporter.say(f"cut to max_length: {data.train.truncated}; dropped: {data.train.dropped or 'none'}")
    if cut := sum(part.truncated for part in (data.calibration, *data.eval.values())):
        reporter.say(f"held-out conversations cut to what the model can read: {cut}")
    reporter.say(f"{total_steps:,} steps; {unshared:,} tokens an epoch, {shared:,} with shared prompts")


def _dump_batch(path: Path, step: int, batches: list[list[int]], data: TokenizedSet, world: World) -> Path:
    """Write this rank's part of a failed step into the run's directory; returns the file."""
    file = path / f"nonfinite-step-{step + 1}-rank-{world.rank}.json"
    content = [
        [{"id": data.ids[i], "sequences": [s.tolist() for s in data.tree(i).sequences]} for i in b] for b in batches
    ]
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
