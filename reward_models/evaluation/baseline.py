"""A text classifier as the baseline of reward models: logistic regression on TF-IDF of words and word pairs.

It is fitted on the reward model's own training data and saved with the model as one JSON file, for all later
evaluations.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, diags
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from reward_models.data.chat import Span, final_summary
from reward_models.data.encode import ordered_responses
from reward_models.data.record_files import RecordFile
from reward_models.data.records import Comparison, Conversation, SafetyLabel, Task, saved_task

BASELINE = "baseline_tfidf.json"
MAX_TERMS = 50_000  # the most frequent ones
MAX_RECORDS = 50_000  # evenly spread over the data; more would take minutes and hardly change the result
MAX_ITERATIONS = 300
SCORED = 4096  # records whose texts are in memory together
NGRAMS = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A fitted classifier of texts.

    Attributes:
        task: ``preference``: scores a response; only differences mean something. ``safety``: scores prompt and response
            together, the log-odds of safe.
        span: the part of a response that it reads, as the model does.
        records: number of records it was fitted on; ``available``: number that there were.
        terms, idf, coefficients: per feature. ``intercept``: 0 for preference.
    """

    task: Task
    span: Span
    records: int
    available: int
    terms: tuple[str, ...]
    idf: tuple[float, ...]
    coefficients: tuple[float, ...]
    intercept: float

    def __post_init__(self) -> None:
        if not len(self.terms) == len(self.idf) == len(self.coefficients) > 0:
            raise ValueError("a baseline needs as many idf values and coefficients as terms")
        if not np.isfinite([*self.idf, *self.coefficients, self.intercept]).all():
            raise ValueError("a baseline holds a value that is not finite")

    @cached_property
    def _vectorizer(self) -> TfidfVectorizer:
        vectorizer = _vectorizer(vocabulary={term: number for number, term in enumerate(self.terms)})
        vectorizer.idf_ = np.array(self.idf)
        return vectorizer

    def score_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Decision values, ``[texts]``."""
        if not texts:
            return np.zeros(0)
        return self._vectorizer.transform(texts) @ np.array(self.coefficients) + self.intercept

    def score(self, records: Sequence[Comparison | SafetyLabel]) -> np.ndarray:
        """Per record: chosen minus rejected of a comparison (a minus b of a tie), the log-odds of safe of a label."""
        scores = [np.zeros(0)]
        iterator = iter(records)
        while texts := [_texts(record, self.span) for record in islice(iterator, SCORED)]:
            first, *second = [self.score_texts(column) for column in zip(*texts, strict=True)]
            scores.append(first - second[0] if second else first)
        return np.concatenate(scores)

    def save(self, directory: Path) -> None:
        (directory / BASELINE).write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Baseline | None:
        """The baseline kept with a model; ``None`` if there is none.

        Raises:
            ValueError: the file is not a baseline; the message names it.
        """
        file = directory / BASELINE
        if not file.is_file():
            return None
        try:
            fields: Any = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(fields, dict) or (task := saved_task(fields)) is None:
                raise ValueError("it names no task")
            fields.pop("kind", None)  # the key of earlier versions
            fields.pop("task", None)
            return cls(task=task, **fields | {name: tuple(fields[name]) for name in ("terms", "idf", "coefficients")})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file}: {error}; copy the model anew, or remove the file") from None


def fit_baseline(records: Sequence[Comparison | SafetyLabel], span: Span) -> Baseline | None:
    """Fit on training records of one task, at most :data:`MAX_RECORDS` of them; ties are left out.

    A pair's features are those of the chosen response minus those of the rejected one, its target 1. Every second pair
    is reversed (both signs flipped), which changes nothing for a model without an intercept and gives the
    classifier its two classes.

    Returns:
        ``None`` if it cannot be fitted: no decided pairs, one class only, or no words.
    """
    ties = records.ties() if isinstance(records, RecordFile) else np.array([r.label == "tie" for r in records], bool)
    decided = np.flatnonzero(~ties)
    sample = decided[np.linspace(0, len(decided) - 1, min(len(decided), MAX_RECORDS)).astype(int)]
    pairs = len(sample) > 0 and isinstance(records[int(sample[0])], Comparison)
    texts, labels = [], []
    for place in sample.tolist():  # ascending, so that each batch of a file is read once
        texts.append(_texts(records[place], span))
        labels.append(records[place].label)
    target = np.array([i % 2 == 0 if pairs else label == "safe" for i, label in enumerate(labels)])
    if len(set(target.tolist())) < 2:
        return None
    vectorizer = _vectorizer(max_features=MAX_TERMS)
    try:
        vectorizer.fit(text for each in texts for text in each)
    except ValueError:  # no words at all
        return None
    features: csr_matrix = vectorizer.transform([each[0] for each in texts])
    if pairs:
        features = diags(np.where(target, 1.0, -1.0)) @ (features - vectorizer.transform([each[1] for each in texts]))
    classifier = LogisticRegression(fit_intercept=not pairs, max_iter=MAX_ITERATIONS, tol=1e-6).fit(features, target)
    return Baseline(
        task="preference" if pairs else "safety",
        span=span,
        records=len(sample),
        available=len(decided),
        terms=tuple(vectorizer.get_feature_names_out().tolist()),
        idf=tuple(vectorizer.idf_.tolist()),
        coefficients=tuple(classifier.coef_[0].tolist()),
        intercept=float(classifier.intercept_[0]) if not pairs else 0.0,
    )


def read(response: Conversation, span: Span) -> str:
    """A response's text as the model reads it."""
    return "\n".join(
        final_summary(m.content) if span == "summary" and m.role == "assistant" else m.content for m in response
    )


def _texts(record: Comparison | SafetyLabel, span: Span) -> tuple[str, ...]:
    prompt = [m.content for m in record.prompt] if isinstance(record, SafetyLabel) else []
    return tuple("\n".join([*prompt, read(response, span)]) for response in ordered_responses(record))


def _vectorizer(**settings: Any) -> TfidfVectorizer:
    return TfidfVectorizer(ngram_range=NGRAMS, sublinear_tf=True, **settings)
