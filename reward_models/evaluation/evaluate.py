"""``keel evaluate rm``: evaluate trained models on files of labelled data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from reward_models.calibration import Calibration
from reward_models.data.encode import ordered_responses
from reward_models.data.records import TASKS, Candidates, Conversation, Task
from reward_models.data.sources import Loaded, SourceError, expand, load
from reward_models.data.splits import opening_key
from reward_models.dataset import RewardRecord
from reward_models.evaluation import plots
from reward_models.evaluation.baseline import Baseline
from reward_models.evaluation.figures import best_of_n, evaluate, headline
from reward_models.evaluation.language import by_language, language_of
from reward_models.evaluation.rewardbench import RewardBench, load_rewardbench
from reward_models.evaluation.scored_set import ScoredSet, margins_of, scored_set, short_names, together
from reward_models.inference.ensemble import Ensemble, EnsembleScores, standardised
from reward_models.inference.reward_model import RewardModel
from reward_models.reporting.charts import Picture

COMBINATIONS = {"mean": "mean_N", "minimum": "minimum_N", "lower_bound": "lower_bound_N"}


@dataclass(frozen=True, slots=True)
class EvaluationData:
    """Labelled records and best-of-N problems, by file; ``bad`` counts the rows that were left out."""

    records: dict[str, list[RewardRecord]]
    problems: dict[str, list[Candidates]]
    bad: int = 0
    rewardbench: RewardBench | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The data in ``evaluation.json``: the files by the names that tables use, and the number of rows left out."""
        files = [*self.records, *self.problems, *([self.rewardbench.file] if self.rewardbench else [])]
        return {"files": dict(zip(short_names(files), files, strict=True)), "bad_rows": self.bad}


@dataclass(frozen=True, slots=True)
class Assessment:
    """The evaluation of one model, or of an ensemble.

    Attributes:
        figures: the contents of ``evaluation.json``.
        parts: every record's scores, one set per file; ``records``: the records in the same order.
        model: ``None`` for an ensemble; ``members``: an ensemble's.
    """

    name: str
    task: Task
    figures: dict[str, Any]
    parts: list[ScoredSet]
    records: dict[str, list[RewardRecord]]
    pictures: list[Picture]
    model: RewardModel | None = None
    members: list[Assessment] = field(default_factory=list)


def load_evaluation(
    task: Task,
    data: Sequence[str],
    problems: Sequence[str] = (),
    rewardbench: str | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    max_bad: int = 0,
) -> EvaluationData:
    """Read all files before anything is scored.

    Raises:
        SourceError, BadRowsError: see :func:`reward_models.data.sources.load`; also for a file without rows.
        ValueError: nothing to evaluate on, or RewardBench for a safety model.
    """
    if not data and not problems and not rewardbench:
        raise ValueError("nothing to evaluate on: name at least one --data, --best-of-n or --rewardbench")
    if rewardbench and task != "preference":
        raise ValueError(f"RewardBench compares responses: it is for models of the task preference, not {task}")
    wanted: Any = TASKS[task].record_type

    def read(specs: Sequence[str], wanted: Any) -> dict[str, Loaded[Any]]:
        files = [file for spec in specs for file in expand(spec)]
        return {file: load([file], wanted, max_bad=max_bad, columns=columns) for file in files}

    records, groups = read(data, wanted), read(problems, "candidates")
    loaded = [*records.items(), *groups.items()]
    if empty := [file for file, rows in loaded if not rows.records]:
        raise SourceError(f"no rows in {', '.join(empty)}")
    benchmark = load_rewardbench(rewardbench, max_bad=max_bad) if rewardbench else None
    return EvaluationData(
        {file: rows.records for file, rows in records.items()},
        {file: rows.records for file, rows in groups.items()},
        sum(len(rows.bad) for _, rows in loaded) + (benchmark.bad if benchmark else 0),
        benchmark,
    )


def assess(model: RewardModel, data: EvaluationData, name: str | None = None) -> Assessment:
    """Score all data with one model, and evaluate."""
    truncated = model.truncated
    raw = {source: _raw(model, _responses(rows)) for source, rows in data.records.items()}
    baseline = Baseline.load(model.directory) if model.directory else None
    parts = [
        scored_set(
            source,
            rows,
            raw[source].reshape(len(rows), -1),
            task=model.task,
            span=model.span,
            calibration=model.calibration,
            baseline=baseline,
        )
        for source, rows in data.records.items()
    ]
    scores = {source: _raw(model, _candidates(rows)) for source, rows in data.problems.items()}
    figures = {"kind": TASKS[model.task].model, **evaluate(parts), **_best_of_n(data.problems, scores), **data.facts}
    if data.rewardbench is not None:
        figures["rewardbench"] = data.rewardbench.figures(_raw(model, data.rewardbench.pairs))
    figures |= {"model": str(model.directory or ""), "truncated": model.truncated - truncated}
    name = name or (model.directory.name if model.directory else "model")
    return Assessment(name, model.task, figures, parts, data.records, _pictures(parts, figures), model)


def assess_ensemble(ensemble: Ensemble, data: EvaluationData) -> Assessment:
    """Evaluate each member and their mean; ``combinations`` has the metrics of the other combinations."""
    names = short_names([str(member.directory or number) for number, member in enumerate(ensemble.members)])
    members = [assess(m, data, name) for m, name in zip(ensemble.members, names, strict=True)]
    calibrations = [member.calibration for member in ensemble.members]
    combined = [_together_of(each, calibrations, ensemble.k) for each in zip(*(m.parts for m in members), strict=True)]
    parts = [part for part, _ in combined]
    scores = {source: ensemble.score_responses(_candidates(rows)) for source, rows in data.problems.items()}
    figures: dict[str, Any] = {"kind": TASKS[ensemble.task].model, **evaluate(parts)}
    figures |= _best_of_n(data.problems, {source: s.mean_N for source, s in scores.items()})
    if data.rewardbench is not None:
        figures["rewardbench"] = data.rewardbench.figures(ensemble.score_responses(data.rewardbench.pairs).mean_N)
    figures["combinations"] = {
        name: {
            **_combination(parts, [s for _, s in combined], attribute),
            **_best_of_n(data.problems, {source: getattr(s, attribute) for source, s in scores.items()}),
        }
        for name, attribute in COMBINATIONS.items()
    }
    figures |= data.facts | {"k": ensemble.k, "members": {m.name: m.figures for m in members}}
    pictures = _pictures(parts, figures)
    return Assessment("ensemble", ensemble.task, figures, parts, data.records, pictures, None, members)


def _responses(records: Sequence[RewardRecord]) -> list[tuple[Conversation, Conversation]]:
    return [(r.prompt, reply) for r in records for reply in ordered_responses(r)]


def _candidates(problems: Sequence[Candidates]) -> list[tuple[Conversation, Conversation]]:
    return [(p.prompt, reply) for p in problems for reply in (*p.right, *p.wrong)]


def _raw(model: RewardModel, pairs: Sequence[tuple[Conversation, Conversation]]) -> np.ndarray:
    return np.array([score.raw for score in model.score_responses(pairs)])


def _together_of(
    members: Sequence[ScoredSet], calibrations: Sequence[Calibration], k: float
) -> tuple[ScoredSet, EnsembleScores]:
    """One file's set as the ensemble scores it, from its members' sets; and the scores, ``N`` = records × responses."""
    first = members[0]
    scaled = np.stack([standardised(m.scores, c) for m, c in zip(members, calibrations, strict=True)])
    probabilities = [m.probability for m in members if m.probability is not None]
    thresholds = [
        standardised(c.threshold, c) for c in calibrations if first.task == "safety" and c.threshold is not None
    ]
    part = replace(
        first,
        scores=scaled.mean(0),
        uncalibrated=np.mean([m.uncalibrated for m in members], axis=0),
        probability=np.mean(probabilities, axis=0) if len(probabilities) == len(members) else None,
        baseline=next((m.baseline for m in members if m.baseline is not None), None),
        threshold=float(np.mean(thresholds)) if len(thresholds) == len(members) else None,
        disagreement=np.std([margins_of(scores) for scores in scaled], axis=0),
    )
    return part, EnsembleScores(scaled.reshape(len(members), -1), k)


def _combination(parts: Sequence[ScoredSet], scores: Sequence[EnsembleScores], attribute: str) -> dict[str, Any]:
    """Headline metrics over all files for one way to combine the members."""
    if not parts:
        return {}
    margins = [margins_of(getattr(s, attribute).reshape(p.scores.shape)) for p, s in zip(parts, scores, strict=True)]
    return headline(parts[0].task, np.concatenate(margins), together(parts).label)


def _best_of_n(problems: Mapping[str, Sequence[Candidates]], scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """``{"best_of_n": figures}``, of all problems and ``by_source``; empty without problems."""
    rows = [problem for each in problems.values() for problem in each]
    if not rows:
        return {}
    sizes = [len(p.right) + len(p.wrong) for p in rows]
    split = np.split(np.concatenate([scores[source] for source in problems]), np.cumsum(sizes)[:-1])

    def figures(places: Sequence[int]) -> dict[str, Any]:
        chosen = [rows[i] for i in places]
        prompts = [opening_key(problem.prompt) for problem in chosen]
        return best_of_n([split[i] for i in places], [len(problem.right) for problem in chosen], prompts)

    sources = sorted({p.source for p in rows})
    by_source = {s: figures([i for i, p in enumerate(rows) if p.source == s]) for s in sources}
    languages = by_language([language_of(p.prompt, p.right[0]) for p in rows])
    of_language = {name: figures(places) for name, places in languages.items()}
    return {"best_of_n": {**figures(range(len(rows))), "by_source": by_source, "by_language": of_language}}


def _pictures(parts: Sequence[ScoredSet], figures: Mapping[str, Any]) -> list[Picture]:
    pictures = plots.evaluation(parts, figures)
    return [*pictures, plots.best_of_n(figures["best_of_n"])] if "best_of_n" in figures else pictures
