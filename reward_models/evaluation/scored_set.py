"""Records with their scores, the input of all metrics, charts and reports of an evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from reward_models.calibration import Calibration
from reward_models.data.chat import Span
from reward_models.data.encode import label_value, ordered_responses
from reward_models.data.files import stem
from reward_models.data.records import SafetyLabel, Task
from reward_models.data.splits import opening_key
from reward_models.dataset import RewardRecord
from reward_models.evaluation.baseline import Baseline, read
from reward_models.evaluation.language import language_of


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ScoredSet:
    """Scores of one source's records, or of several sources together. All arrays have one entry per record.

    Attributes:
        source: the file or other spec that the records were read from.
        scores: ``[n, 2]`` for comparisons, chosen first (a first in a tie); ``[n, 1]`` for safety labels.
        label: comparisons: 1.0 where one response was chosen, 0.5 for a tie. Safety: 1.0 safe, 0.0 unsafe.
        probability: that the chosen response is preferred, or that the response is safe, as calibrated; ``None``
            without a temperature. ``uncalibrated``: the same at temperature 1.
        lengths: characters of the responses as the model reads them, in the order of ``scores``.
        language: of the prompt, see :func:`~reward_models.evaluation.language.language_of`.
        prompt: :func:`~reward_models.data.splits.opening_key`: records of one conversation are not independent.
        baseline: the TF-IDF baseline's margin or log-odds of safe; ``None`` without a baseline.
        threshold: safety: scores below it are called unsafe; ``None`` where none was fitted. ``threshold_fpr``: the
            share of safe responses it was to call unsafe.
        disagreement: standard deviation over an ensemble's members, of the margin or the score; else ``None``.
    """

    task: Task
    source: str
    ids: np.ndarray
    scores: np.ndarray
    label: np.ndarray
    uncalibrated: np.ndarray
    probability: np.ndarray | None
    lengths: np.ndarray
    language: np.ndarray
    prompt: np.ndarray
    category: np.ndarray
    baseline: np.ndarray | None = None
    threshold: float | None = None
    threshold_fpr: float | None = None
    disagreement: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def margins(self) -> np.ndarray:
        """Score of chosen minus score of rejected; safety: the score."""
        return margins_of(self.scores)

    def where(self, chosen: np.ndarray) -> ScoredSet:
        """The records that a boolean array or indices choose."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return ScoredSet(**{k: v[chosen] if isinstance(v, np.ndarray) else v for k, v in values.items()})


def margins_of(scores: np.ndarray) -> np.ndarray:
    """``[n, 2]`` → first minus second; ``[n, 1]`` → the scores."""
    return scores[:, 0] - scores[:, 1] if scores.shape[1] == 2 else scores[:, 0]


def scored_set(
    source: str,
    records: Sequence[RewardRecord],
    scores: np.ndarray,
    *,
    task: Task,
    span: Span,
    calibration: Calibration,
    baseline: Baseline | None,
) -> ScoredSet:
    """Put one model's scores (chosen first) beside the records they belong to."""
    margins = margins_of(scores)
    temperature = calibration.temperature
    rows: list[tuple[Any, ...]] = []
    for record in records:  # once: they may come out of a file
        replies = ordered_responses(record)
        category = record.category if isinstance(record, SafetyLabel) else None
        sizes = [len(read(reply, span)) for reply in replies]
        about = (language_of(record.prompt, replies[0]), opening_key(record.prompt), category)
        rows.append((record.id, label_value(record), sizes, *about))
    ids, label, lengths, languages, prompts, categories = zip(*rows, strict=True) if rows else ((),) * 6
    return ScoredSet(
        task=task,
        source=source,
        ids=np.array(ids, dtype=object),
        scores=scores,
        label=np.array(label),
        uncalibrated=expit(margins),
        probability=None if temperature is None else expit(margins / temperature),
        lengths=np.array(lengths),
        language=np.array(languages, dtype=object),
        prompt=np.array(prompts, dtype=object),
        category=np.array(categories, dtype=object),
        baseline=None if baseline is None else baseline.score(records),
        threshold=calibration.threshold,
        threshold_fpr=calibration.threshold_fpr,
    )


def together(parts: Sequence[ScoredSet], source: str = "all") -> ScoredSet:
    """All records of several sets of one model."""
    first = parts[0]
    joined: dict[str, Any] = {}
    for field in fields(ScoredSet):
        values = [getattr(part, field.name) for part in parts]
        joined[field.name] = np.concatenate(values) if isinstance(values[0], np.ndarray) else values[0]
    return ScoredSet(**(joined | {"source": source})) if len(parts) > 1 else first


def short_names(sources: Sequence[str]) -> list[str]:
    """Names for tables: a file's name without its suffixes, but whole specs where that would make two alike."""
    short = [s if s.startswith("synthetic:") else stem(Path(s)) for s in sources]
    return [s if short.count(s) == 1 else source for s, source in zip(short, sources, strict=True)]


def write_scores(parts: Sequence[ScoredSet], file: Path) -> None:
    """One JSON line per record: source, id, label, scores, probability, and an ensemble's disagreement."""
    with file.open("w", encoding="utf-8") as lines:
        for part in parts:
            columns: dict[str, Any] = {"id": part.ids, "label": part.label, "scores": part.scores}
            columns |= {"probability": part.probability, "disagreement": part.disagreement}
            known = {name: values.tolist() for name, values in columns.items() if values is not None}
            for values in zip(*known.values(), strict=True):
                line = {"source": part.source, **dict(zip(known, values, strict=True))}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
