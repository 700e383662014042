"""Training of a reward model: the loop, the evaluation, and the saved result."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reward_models.extras import needs

with needs("train"):
    import torch

from reward_models import artifact, best, calibration
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
from reward_models.model import SequenceScorer, build_model, load_tokenizer, planned_position_limit
from reward_models.objective import Objective
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
from reward_models.start import check_start


def train(config: RewardModelConfig) -> Path | None:
    """Train a reward model, or resume; returns its directory, or ``None`` if a signal stopped the run early."""
    check_start(config, config.engine, config.data.train, "data.train")
    check_sequence_parallel(config.model, ranks := config.engine.sequence_parallel)
    with begin_run(config, may_change=MAY_CHANGE, manifest=MANIFEST, result="model", sequence_parallel=ranks) as run:
        if run.finished:
            return run.path
        torch.manual_seed(config.seed if config.init_seed is None else config.init_seed)
        training = prepare(config, run)
        return finish(training) if optimize(training) else None


@dataclass(frozen=True, slots=True)
class Training:
    """The objects of a training run.

    Attributes:
        evaluated: ``last`` and ``best`` → steps made, and scores of every evaluation set after them.
    """

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
    evaluated: dict[str, tuple[int, dict[str, np.ndarray]]] = field(default_factory=dict)


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
            due = bool(config.eval_every) and done % config.eval_every == 0
            if (last and config.keep_best is not None) or (due and not last):
                values |= _evaluate(training, done)
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


def _evaluate(training: Training, step: int) -> dict[str, float]:
    """The metrics of an evaluation after ``step`` steps; the model is kept if it is the best so far."""
    run, rule, scores = training.run, training.config.keep_best, score_sources(training)
    values = held_out_metrics(training, scores)
    training.evaluated["last"] = step, scores
    if best.keep(rule, run.directory.checkpoints, training.engine, step, values, run.world):
        training.evaluated["best"] = step, scores
    return values


def held_out_metrics(training: Training, scores: dict[str, np.ndarray]) -> dict[str, float]:
    """The metrics of scores of every evaluation set."""
    data = training.data
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
    """Save the best model, if the run keeps it, and then the last one; returns the run's directory."""
    run, rule = training.run, training.config.keep_best
    if rule is not None:
        best.publish(rule, run, training.engine, training.total_steps, partial(_save, training, scorer=_fresh))
    _save(training, run.path, training.total_steps)
    run.reporter.say(f"saved to {run.path}")
    return run.path


def _fresh(training: Training) -> SequenceScorer:
    """A model like the one in training, to save weights from: saving merges adapters for good."""
    config, dtype = training.config, torch_dtype(training.config.engine)
    with torch.random.fork_rng(devices=[]):
        rated = bool(config.attributes)
        return build_model(config.model, training.renderer.tokenizer, config.task, dtype, attributes=rated)


def _save(
    training: Training,
    directory: Path,
    steps: int,
    scorer: Callable[[Training], SequenceScorer] = lambda training: training.scorer,
) -> None:
    """Evaluate, calibrate, and save the engine's model with its manifest. Every rank must call it.

    Args:
        steps: that the model has made; an evaluation after them is not made again.
        scorer: the model that the weights are saved from, on the main rank.
    """
    config, run, renderer, data = training.config, training.run, training.renderer, training.data
    known = [scores for made, scores in training.evaluated.values() if made == steps]
    scores = known[0] if known else score_sources(training)
    held_apart = _scores(training, data.calibration)
    if training.head is None:
        fitted = calibration.fit(held_apart, data.calibration.label, config.task, threshold_fpr=config.threshold_fpr)
    else:
        fitted = calibration.of_scores(training.head.scores(held_apart) if len(held_apart) else np.zeros(0))
    state = full_weights(training.engine.module.model, run.world)
    if run.world.is_main:
        settings = deepspeed_config(config.engine, run.world.size)
        (directory / "deepspeed.json").write_text(json.dumps(settings, indent=1))
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
            directory,
            config,
            scorer(training),
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
