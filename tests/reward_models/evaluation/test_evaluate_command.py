"""``keel evaluate rm`` from trained models to the report, and ensembles of them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from keel.cli import app
from reward_models import RewardModel
from reward_models.calibration import Calibration
from reward_models.config import RewardModelConfig
from reward_models.data.formats import to_row
from reward_models.data.sources import load
from reward_models.evaluation import report
from reward_models.evaluation.baseline import BASELINE
from reward_models.evaluation.evaluate import Assessment, assess, load_evaluation
from reward_models.inference.ensemble import Ensemble, EnsembleScores
from reward_models.runtime.config import load_config
from reward_models.trainer import train

MODEL = (
    "model.config={model_type: qwen3, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, "
    "num_attention_heads: 2, num_key_value_heads: 1, head_dim: 16, max_position_embeddings: 512}"
)
SETTINGS = (MODEL, "model.vocab_size=400", "batch_size=32", "max_steps=6", "loggers=[]", "engine.dtype=fp32")
HELPFUL = {"kind", "n", "accuracy", "accuracy_ci95", "ece", "baseline_longer", "baseline_tfidf", "by_source"}
SAFETY = {"kind", "n", "auroc", "auprc", "f1", "threshold", "ece", "by_source"}


def trained(directory: Path, name: str, seed: int = 0) -> Path:
    """A tiny model with all that a trained one has; data enough for a calibration split to be of use."""
    words = [
        *(
            *SETTINGS,
            f"task={'preference' if name == 'helpful' else name}",
            f"output_dir={directory}",
            f"seed={seed}",
            "engine.lr=5e-3",
            "save_every=0",
            "eval_every=3",
        ),
        *(f"data.train=['synthetic:{name}:train']", "data.limit=300", "data.calibration_fraction=0.3"),
        *("save_every=0", "eval_every=3", "data.eval_fraction=0.2", "data.decontaminate=false"),
    ]
    with patch.dict(os.environ):  # what a job of one rank leaves in it would mislead tests that start jobs
        assert train(load_config(RewardModelConfig, None, words)) == directory
    return directory


@pytest.fixture(scope="session")
def helpful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("helpful") / "first", "helpful")


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("helpful") / "second", "helpful", seed=1)


@pytest.fixture(scope="session")
def safety(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("safety") / "judge", "safety")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Small labelled files, one of them of one class only."""
    folder = tmp_path_factory.mktemp("data")
    comparisons = load(["synthetic:helpful:test"], "comparison", limit=60).records
    labels = load(["synthetic:safety:test"], "safety", limit=60).records
    contents: dict[str, list[Any]] = {
        "pairs": comparisons[:40],
        "more": comparisons[40:],
        "labels": labels,
        "safe": [r for r in labels if r.label == "safe"][:20],
        "problems": load(["synthetic:best_of_n:test"], "candidates", limit=20).records,
    }
    for name, records in contents.items():
        lines = [json.dumps(to_row(record)) for record in records]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: str(folder / f"{name}.jsonl") for name in contents}


def evaluate(out: Path, *words: str | Path) -> Result:
    return CliRunner().invoke(app, ["evaluate", "rm", "--out", str(out), *map(str, words)])


def figures(out: Path) -> dict[str, Any]:
    return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


def assert_self_contained(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") > 3
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", html)
    assert not re.search(r"@import|url\(|<script|<link", html)


@pytest.fixture(scope="module")
def evaluated(helpful: Path, files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of the command, for one model on three files."""
    out = tmp_path_factory.mktemp("evaluated")
    done = evaluate(out, "--model", helpful, *on(files))
    assert done.exit_code == 0, done.output
    return out


def on(files: dict[str, str]) -> tuple[str, ...]:
    return ("--data", files["pairs"], "--data", files["more"], "--best-of-n", files["problems"])


def test_a_helpful_model(evaluated: Path, files: dict[str, str]) -> None:
    found = figures(evaluated)
    assert found.keys() >= HELPFUL
    assert found["kind"] == "helpful"
    assert set(found["by_source"]) == {"pairs", "more"}
    assert all(part.keys() >= HELPFUL - {"kind", "by_source"} for part in found["by_source"].values())
    assert found["n"] == sum(part["n"] for part in found["by_source"].values())
    assert found["accuracy_ci95"][0] <= found["accuracy"] <= found["accuracy_ci95"][1]
    assert 0 <= found["baseline_tfidf"] <= 1
    assert found["ece"] == found["ece_after"]
    assert found["best_of_n"]["n"] == 20
    assert found["best_of_n"]["chance"] == 0.25
    assert found["files"] == {name: files[name] for name in ("pairs", "more", "problems")}
    assert (found["bad_rows"], found["truncated"]) == (0, 0)
    assert_self_contained(evaluated / "report.html")


def test_it_finds_what_the_trainer_found(helpful: Path, tmp_path: Path) -> None:
    """One path: the held-out figures in the model's manifest are those of the command on the same rows."""
    held_out = json.loads((helpful / "evaluation.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (helpful / "evaluation_scores.jsonl").read_text().splitlines()]
    wanted = {line["id"] for line in lines}
    rows = [r for r in load(["synthetic:helpful:train"], "comparison", limit=300).records if r.id in wanted]
    (tmp_path / "held_out.jsonl").write_text("\n".join(json.dumps(to_row(r)) for r in rows), encoding="utf-8")
    assert evaluate(tmp_path, "--model", helpful, "--data", tmp_path / "held_out.jsonl").exit_code == 0
    found = figures(tmp_path)
    assert len(rows) > 20
    for key in HELPFUL - {"by_source", "accuracy_ci95", "kind"}:
        assert found[key] == pytest.approx(held_out[key], abs=1e-4), key
    logged = [json.loads(line) for line in (helpful / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "eval_accuracy" in line and "eval_loss" in line] == [3]
    manifest = json.loads((helpful / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["evaluation"] == held_out
    assert Calibration.from_facts(manifest["calibration"]) == RewardModel.load(helpful).calibration
    assert RewardModel.load(helpful).calibration.temperature is not None
    assert (helpful / BASELINE).is_file()


def test_a_safety_model_and_a_file_of_one_class(safety: Path, files: dict[str, str], tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--model", safety, "--data", files["labels"], "--data", files["safe"])
    assert done.exit_code == 0, done.output
    found = figures(tmp_path)
    assert found.keys() >= SAFETY
    assert found["threshold"] == RewardModel.load(safety).calibration.threshold
    assert found["f1"] is not None
    one_class = found["by_source"]["safe"]
    assert one_class.keys() >= SAFETY - {"kind", "by_source"}
    assert one_class["auroc"] is one_class["auprc"] is one_class["f1"] is None
    assert one_class["false_positive_rate"] is not None
    assert sum(found["confusion"].values()) == found["n"]
    assert_self_contained(tmp_path / "report.html")


def test_an_ensemble(helpful: Path, second: Path, evaluated: Path, files: dict[str, str], tmp_path: Path) -> None:
    done = evaluate(tmp_path, "--model", helpful, "--model", second, *on(files))
    assert done.exit_code == 0, done.output
    found = figures(tmp_path)
    assert found.keys() >= HELPFUL
    assert set(found["members"]) == {"first", "second"}
    assert set(found["combinations"]) == {"mean", "minimum", "lower_bound"}
    assert found["combinations"]["mean"]["accuracy"] == found["accuracy"]
    assert found["combinations"]["mean"]["best_of_n"] == found["best_of_n"]
    assert sum(group["n"] for group in found["by_disagreement"]) == found["n"]
    lines = [json.loads(line) for line in (tmp_path / "evaluation_scores.jsonl").read_text().splitlines()]
    assert len(lines) == found["n"] + found["ties"]
    assert all(line["disagreement"] >= 0 for line in lines)
    assert found["members"]["first"] == figures(evaluated)
    assert found["members"]["second"] != found["members"]["first"]
    assert_self_contained(tmp_path / "report.html")


def test_bad_rows_are_left_out_only_if_allowed(helpful: Path, files: dict[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text(Path(files["pairs"]).read_text(encoding="utf-8") + '{"prompt": "?"}\n', encoding="utf-8")
    words = ("--model", helpful, "--data", broken)
    refused = evaluate(tmp_path / "out", *words)
    assert refused.exit_code == 1
    assert "broken.jsonl:41" in refused.output
    allowed = evaluate(tmp_path / "out", *words, "--max-bad", "1")
    assert allowed.exit_code == 0
    assert "1 bad rows were left out" in allowed.output
    assert figures(tmp_path / "out")["bad_rows"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "helpful"), "nothing to evaluate on"),
        (("--model", "helpful", "--data", "nowhere.jsonl"), "nowhere.jsonl"),
        (("--model", "helpful", "--data", "problems"), "best-of-N"),
        (("--model", "helpful", "--data", "labels"), "'chosen'"),
        (("--model", "helpful", "--best-of-n", "pairs"), "'chosen'"),
        (("--model", "helpful", "--model", "safety", "--data", "pairs"), "one task"),
        (("--model", "nowhere/at/all/", "--data", "pairs"), "nowhere"),
    ],
)
def test_mistakes_are_named_before_anything_is_scored(
    words: tuple[str, ...], said: str, helpful: Path, safety: Path, files: dict[str, str], tmp_path: Path
) -> None:
    known = {"helpful": str(helpful), "safety": str(safety), **files}
    done = evaluate(tmp_path / "out", *(known.get(word, word) for word in words))
    assert done.exit_code in (1, 2)
    assert said in done.output
    assert not (tmp_path / "out").exists()


def test_scores_that_are_not_finite_stop_the_evaluation(helpful: Path, files: dict[str, str]) -> None:
    model = RewardModel.load(helpful)
    with torch.no_grad():
        model.scorer.classifier.score.weight.fill_(float("inf"))
    with pytest.raises(ValueError, match="not finite"):
        assess(model, load_evaluation("preference", [files["pairs"]]))


# --- ensembles in a program -----------------------------------------------------------------------------------------


def test_combinations_by_hand() -> None:
    scores = EnsembleScores(np.array([[1.0, 0.0], [3.0, 0.0]]), k=2.0)
    assert scores.mean_N.tolist() == [2.0, 0.0]
    assert scores.minimum_N.tolist() == [1.0, 0.0]
    assert scores.disagreement_N.tolist() == [1.0, 0.0]
    assert scores.lower_bound_N.tolist() == [0.0, 0.0]


def test_members_are_standardised_before_they_are_combined(helpful: Path, second: Path) -> None:
    turns = [
        [{"role": "user", "content": "Name one animal."}, {"role": "assistant", "content": text}]
        for text in ("Dog.", "The dog and the cat.", "Red")
    ]
    ensemble = Ensemble.load([helpful, second])
    scores = ensemble.score(turns)
    for row, member in zip(scores.members_MN, ensemble.members, strict=True):
        raw = np.array([s.raw for s in member.score(turns)])
        assert row == pytest.approx((raw - member.calibration.mean) / member.calibration.std)
    assert scores.members_MN.shape == (2, 3)
    copies = Ensemble([ensemble.members[0]] * 2).score(turns)
    assert copies.disagreement_N.tolist() == [0.0, 0.0, 0.0]
    assert (scores.disagreement_N > 0).all()


def test_an_ensemble_wants_several_members_of_one_task_with_statistics(helpful: Path, safety: Path) -> None:
    model = RewardModel.load(helpful)
    with pytest.raises(ValueError, match="at least two"):
        Ensemble([model])
    with pytest.raises(ValueError, match="preference and safety"):
        Ensemble([model, RewardModel.load(safety)])
    model.calibration = Calibration()
    with pytest.raises(ValueError, match="no score statistics"):
        Ensemble([model, RewardModel.load(helpful)])


def test_a_kill_leaves_no_evaluation_beside_another_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    old = tmp_path / "evaluation.json"
    assessment = Assessment("x", "preference", {"files": {}}, [], {}, [])
    monkeypatch.setattr(report, "evaluation_sections", lambda _: [])
    report.write_evaluation(assessment, tmp_path)
    assert json.loads(old.read_text()) == {"files": {}}
    for step in ("write_scores", "write_page"):
        old.write_text("{}")
        with monkeypatch.context() as context:
            context.setattr(report, step, killed)
            with pytest.raises(KeyboardInterrupt):
                report.write_evaluation(assessment, tmp_path)
        assert not old.exists()
