"""The TF-IDF baseline: what is kept with a model gives the numbers of scikit-learn's own pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from reward_models.data.chat import final_summary
from reward_models.data.records import Comparison, Message, SafetyLabel
from reward_models.data.sources import load
from reward_models.evaluation import baseline as module
from reward_models.evaluation.baseline import BASELINE, Baseline, fit_baseline

TRAIN, TEST = 400, 100


def comparisons(split: str, n: int) -> list[Comparison]:
    return load([f"synthetic:helpful:{split}"], "comparison", limit=n).records


def labels(split: str, n: int) -> list[SafetyLabel]:
    return load([f"synthetic:safety:{split}"], "safety", limit=n).records


def texts(records: list[Comparison]) -> tuple[list[str], list[str]]:
    """Chosen and rejected summaries; a first in a tie."""
    pairs = [(r.response_b, r.response_a) if r.label == "b" else (r.response_a, r.response_b) for r in records]
    return tuple([final_summary(pair[i][0].content) for pair in pairs] for i in (0, 1))  # type: ignore[return-value]


def test_pairs_equal_scikit_learn_trained_on_both_orders(tmp_path: Path) -> None:
    train = [r for r in comparisons("train", TRAIN) if r.label != "tie"]
    chosen, rejected = texts(train)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(
        [t for pair in zip(chosen, rejected, strict=True) for t in pair]
    )
    difference = vectorizer.transform(chosen) - vectorizer.transform(rejected)
    both, target = vstack([difference, -difference]), np.repeat([1, 0], len(train))
    # Each pair is there twice, so half the weight makes it the same problem.
    classifier = LogisticRegression(C=0.5, fit_intercept=False, max_iter=1000, tol=1e-8).fit(both, target)

    fitted = fit_baseline(comparisons("train", TRAIN), "summary")
    assert fitted is not None
    fitted.save(tmp_path)
    kept = Baseline.load(tmp_path)
    test = comparisons("test", TEST)
    first, second = texts(test)
    expected = classifier.decision_function(vectorizer.transform(first) - vectorizer.transform(second))
    assert kept == fitted
    assert kept is not None
    assert kept.score(test) == pytest.approx(expected, abs=5e-3)
    assert np.std(expected) > 0.1
    assert (kept.records, kept.available, kept.intercept) == (len(train), len(train), 0.0)


def test_safety_equals_scikit_learn_to_the_last_digits(tmp_path: Path) -> None:
    train, test = labels("train", TRAIN), labels("test", TEST)
    read = [f"{r.prompt[0].content}\n{r.response[0].content}" for r in train]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(read)
    classifier = LogisticRegression(max_iter=module.MAX_ITERATIONS, tol=1e-6)
    classifier.fit(vectorizer.transform(read), [r.label == "safe" for r in train])
    fitted = fit_baseline(train, "full")
    assert fitted is not None
    fitted.save(tmp_path)
    kept = Baseline.load(tmp_path)
    assert kept is not None
    expected = classifier.decision_function(
        vectorizer.transform([f"{r.prompt[0].content}\n{r.response[0].content}" for r in test])
    )
    assert kept.score(test) == pytest.approx(expected, abs=1e-9)


def test_the_verdict_and_not_the_position_counts() -> None:
    fitted = fit_baseline(comparisons("train", TRAIN), "summary")
    assert fitted is not None
    test = [r for r in comparisons("test", TEST) if r.label != "tie"]
    assert fitted.score(test) == pytest.approx(fitted.score([r.swapped() for r in test]))


def test_summaries_are_what_it_reads_where_the_model_does() -> None:
    fitted = {span: fit_baseline(labels("train", TRAIN), span) for span in ("summary", "full")}  # type: ignore[arg-type]
    question = (Message("user", "Where does Ana live?"),)
    bare, thinking = (
        SafetyLabel(prompt=question, response=(Message("assistant", text),), label="safe")
        for text in ("I will not say.", "<think>The red house on Mill Road.</think>I will not say.")
    )
    for span, model in fitted.items():
        assert model is not None
        same = model.score([bare])[0] == model.score([thinking])[0]
        assert same == (span == "summary")


def test_bounds_are_kept_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TERMS", 50)
    monkeypatch.setattr(module, "MAX_RECORDS", 120)
    fitted = fit_baseline(labels("train", TRAIN), "full")
    assert fitted is not None
    assert len(fitted.terms) == 50
    assert (fitted.records, fitted.available) == (120, TRAIN)


def test_nothing_to_learn_from_is_no_baseline() -> None:
    rows = labels("train", 50)
    assert fit_baseline([], "summary") is None
    assert fit_baseline([r for r in rows if r.label == "safe"], "full") is None
    assert fit_baseline([r for r in comparisons("train", TRAIN) if r.label == "tie"], "summary") is None
    signs = [
        Comparison(
            prompt=(Message("user", "?"),),
            response_a=(Message("assistant", "!"),),
            response_b=(Message("assistant", "?" * n),),
            label="a",
        )
        for n in (1, 2, 3)
    ]
    assert fit_baseline(signs, "summary") is None


def test_a_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    fitted = fit_baseline(labels("train", 60), "full")
    assert fitted is not None
    fitted.save(tmp_path)
    written = json.loads((tmp_path / BASELINE).read_text())
    (tmp_path / BASELINE).write_text(json.dumps({"kind": written.pop("task"), **written}))
    assert Baseline.load(tmp_path) == fitted


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    assert Baseline.load(tmp_path) is None
    fitted = fit_baseline(labels("train", 60), "full")
    assert fitted is not None
    fitted.save(tmp_path)
    good = json.loads((tmp_path / BASELINE).read_text())
    for broken in ("[", "[]", "{}", json.dumps(good | {"idf": good["idf"][1:]}), json.dumps(good | {"extra": 1})):
        (tmp_path / BASELINE).write_text(broken)
        with pytest.raises(ValueError, match=BASELINE):
            Baseline.load(tmp_path)
    (tmp_path / BASELINE).write_text(json.dumps(good | {"coefficients": [float("nan")] * len(good["terms"])}))
    with pytest.raises(ValueError, match="not finite"):
        Baseline.load(tmp_path)
