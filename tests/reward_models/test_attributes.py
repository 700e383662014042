"""Attribute heads: the loss by hand, the reader, and a training whose result plain transformers loads."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reward_models import RewardModel
from reward_models.attributes import AttributeHead, attribute_figures, attribute_loss
from reward_models.averaging import average
from reward_models.config import RewardModelConfig
from reward_models.data.formats import infer_record_type, to_record, to_row
from reward_models.data.records import ATTRIBUTES, Rated, RecordError
from reward_models.data.sources import load
from reward_models.data.splits import verdict
from reward_models.runtime.config import load_config
from reward_models.trainer import train

NAN = math.nan
ROW = {
    "prompt": "Why?",
    "response": "So.",
    "helpfulness": 3,
    "correctness": 4,
    "coherence": 4,
    "complexity": 1,
    "verbosity": 0,
}


# --- loss, units, figures ---------------------------------------------------------------------------------------------


def test_the_loss_is_the_mean_over_the_known_attributes() -> None:
    outputs = torch.tensor([[1.0, 2.0, 3.0], [0.0, 5.0, 1.0]], requires_grad=True)
    target = torch.tensor([[0.0, 2.0, 1.0], [NAN, 3.0, NAN]])
    loss_B = attribute_loss(outputs, target)
    assert loss_B.tolist() == pytest.approx([(1 + 0 + 4) / 3, 4.0])
    loss_B.sum().backward()
    assert outputs.grad is not None
    expected = [[2 / 3, 0, 4 / 3], [0, 4, 0]]  # 2 · error / known; nothing for what is missing
    torch.testing.assert_close(outputs.grad, torch.tensor(expected))
    with pytest.raises(ValueError, match="shapes"):
        attribute_loss(outputs, target[:, 0])


def test_units_and_the_combination_by_hand() -> None:
    ratings = np.full((3, 5), NAN)
    ratings[:, 0], ratings[:2, 1], ratings[:2, 4] = [0, 2, 4], [2, 2], [0, 2]
    head = AttributeHead.fit(ratings, {"helpfulness": 2.0, "verbosity": -1.0})
    assert head.weights == (2, 0, 0, 0, -1)
    assert head.means == pytest.approx((2, 2, NAN, NAN, 1), nan_ok=True)
    assert head.deviations == pytest.approx((math.sqrt(8 / 3), 1, NAN, NAN, 1), nan_ok=True)
    assert head.standard(ratings)[:, 4].tolist()[:2] == [-1, 1]
    outputs = np.array([[1.0, 9, 9, 9, 2.0]])
    assert head.scores(outputs) == pytest.approx([2 * 1 - 2])
    assert head.ratings(outputs)[0, 0] == pytest.approx(2 + math.sqrt(8 / 3))
    np.testing.assert_allclose(head.ratings(head.standard(ratings)), ratings, atol=1e-12)
    assert AttributeHead.from_facts(json.loads(json.dumps(head.to_facts()))) == head
    with pytest.raises(ValueError, match=r"attributes.coherence has a weight"):
        AttributeHead.fit(ratings, {"coherence": 1.0})
    assert head.to_facts()["coherence"] == {"weight": 0.0, "mean": None, "deviation": None}
    assert head.weighed({"correctness": 1.0}).weights == (0, 1, 0, 0, 0)
    with pytest.raises(
        ValueError, match=r"attributes: coherence, complexity has a weight, and the training data had no"
    ):
        head.weighed({"helpfulness": 1.0, "coherence": 1.0, "complexity": -1.0})
    with pytest.raises(ValueError, match="the saved model's attributes are quality"):
        AttributeHead.from_facts({"quality": {"weight": 1.0, "mean": 0.0, "deviation": 1.0}})


def test_correlations_by_hand() -> None:
    predicted, given = np.zeros((4, 5)), np.full((4, 5), NAN)
    predicted[:, 0], given[:, 0] = [1, 2, 3, 10], [0, 1, 2, 3]
    predicted[:, 1], given[:3, 1] = [1, 2, 3, 0], [3, 2, 1]
    found = attribute_figures(predicted, given)
    assert found["helpfulness"]["spearman"] == pytest.approx(1)
    assert found["helpfulness"]["pearson"] == pytest.approx(14 / math.sqrt(50 * 5))  # Σxy 14, Σx² 50, Σy² 5, centred
    assert found["helpfulness"]["error"] == pytest.approx(math.sqrt((1 + 1 + 1 + 49) / 4))
    assert (found["correctness"]["n"], found["correctness"]["pearson"]) == (3, pytest.approx(-1))
    assert found["coherence"] == {"n": 0, "pearson": None, "spearman": None, "error": None}
    predicted[:, 0] = NAN  # the training data had no ratings of it
    assert attribute_figures(predicted, given)["helpfulness"] == found["coherence"]


# --- reader -----------------------------------------------------------------------------------------------------------


def test_rows_of_helpsteer2_are_rated_responses_where_these_are_wanted() -> None:
    record = to_record(ROW, "rated", id="x")
    assert isinstance(record, Rated)
    assert record.ratings == (3, 4, 4, 1, 0)
    assert record.response[0].content == "So."
    assert infer_record_type(ROW) == "comparison"  # as before: neighbouring rows become pairs
    partial = to_record({**ROW, "coherence": None, "verbosity": ""}, "rated")
    assert isinstance(partial, Rated)
    assert partial.ratings == (3, 4, None, 1, None)
    assert verdict(record) != verdict(partial)
    assert to_record(to_row(partial), "rated") == partial


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict.fromkeys(ATTRIBUTES), "no rating of helpfulness"),
        ({"helpfulness": "good"}, "'helpfulness' is \"?'?good"),
        ({"helpfulness": 5, "verbosity": -1}, "helpfulness 5, verbosity -1 is not between 0 and 4"),
        ({"response": None}, "response"),
        ({"prompt": None}, "prompt"),
    ],
)
def test_bad_ratings_are_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        to_record({**ROW, **changes}, "rated")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["attributes={kindness: 1.0}"], "attributes names kindness"),
        (["attributes={helpfulness: 0.0}"], "one of them not 0"),
        (["attributes={helpfulness: 1.0}", "task=safety"], "go with the task preference"),
        (
            ["attributes={helpfulness: 1.0}", "loss.margin=1.0", "data.ties=false", "threshold_fpr=0.1"],
            "loss.margin=1.0, data.ties=False, threshold_fpr=0.1 has no part in the training with attributes",
        ),
        (
            ["loss.class_weights=balanced"],
            "loss.class_weights=balanced has no part in the training with task=preference",
        ),
        (["task=safety", "loss.centering=0.1"], "loss.centering=0.1 has no part in the training with task=safety"),
    ],
)
def test_wrong_weights_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_config(RewardModelConfig, None, ["model.config={model_type: qwen3}", *words])


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Helpful answers say "yes", helpless ones "no"; verbosity counts further words from 0; half lack coherence."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(240):
        good, words = int(rng.integers(2)), int(rng.integers(1, 6))
        response = " ".join([("no", "yes")[good], *["word"] * words])
        row = {"prompt": f"Question {number}?", "response": response, "helpfulness": 4 * good, "correctness": 4 * good}
        row |= {"verbosity": words - 1} | ({"coherence": number % 4} if number % 2 else {})  # nobody rates complexity
        lines.append(json.dumps(row))
    file = tmp_path_factory.mktemp("rated") / "rated.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def trained(rows: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("attributes") / "model"
    shape = "model_type: qwen3, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2, "
    shape += "num_key_value_heads: 1, head_dim: 16, max_position_embeddings: 128"
    words = [f"model.config={{{shape}}}", "model.vocab_size=300", "max_steps=60", "epochs=20", "batch_size=32"]
    words += [f"data.train=['{rows}']", "data.eval_fraction=0.2", "data.calibration_fraction=0.1", "loggers=[]"]
    words += ["engine.lr=1e-2", "engine.dtype=fp32", "save_every=0", "eval_every=30", f"output_dir={out}"]
    words += ["attributes={helpfulness: 1.0, verbosity: -0.5}"]
    with patch.dict(os.environ):
        assert train(load_config(RewardModelConfig, None, words)) == out
    return out


TURNS = [
    [{"role": "user", "content": "Question 7?"}, {"role": "assistant", "content": text}]
    for text in ("yes word", "no word", "yes word word word word word")
]


def test_outputs_scores_and_ratings_are_those_of_plain_transformers(trained: Path) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(trained).eval()
    tokenizer = AutoTokenizer.from_pretrained(trained)
    assert plain.config.num_labels == 5
    assert list(plain.config.id2label.values()) == list(ATTRIBUTES)
    model = RewardModel.load(trained)
    head = model.scorer.head
    assert head is not None
    assert head.weights == (1.0, 0.0, 0.0, 0.0, -0.5)
    scores, ratings = model.score(TURNS), model.score_attributes(TURNS)
    for turns, score, rating in zip(TURNS, scores, ratings, strict=True):
        text: Any = tokenizer.apply_chat_template(turns, tokenize=False)
        with torch.no_grad():
            outputs = plain(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits[0].double().numpy()
        assert score.raw == pytest.approx(outputs[0] - 0.5 * outputs[4], abs=1e-5)
        expected = dict(zip(ATTRIBUTES, outputs * np.array(head.deviations) + np.array(head.means), strict=True))
        assert rating == pytest.approx(expected | {"complexity": None}, abs=1e-4)


def test_what_the_ratings_say_is_learnt(trained: Path) -> None:
    found = json.loads((trained / "evaluation.json").read_text(encoding="utf-8"))
    assert found["attributes"]["helpfulness"]["pearson"] > 0.9
    assert found["attributes"]["verbosity"]["pearson"] > 0.7
    assert found["attributes"]["coherence"]["n"] < found["attributes"]["helpfulness"]["n"]
    good, bad, long = (score.raw for score in RewardModel.load(trained).score(TURNS))
    assert good > bad
    assert good > long  # verbosity has a negative weight
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
    assert "eval_helpfulness" in lines[29]


def test_the_saved_model_says_what_it_is(trained: Path, rows: str, tmp_path: Path) -> None:
    model = RewardModel.load(trained)
    assert model.calibration.std
    assert model.calibration.temperature is None
    assert model.manifest["attributes"]["verbosity"]["weight"] == -0.5
    card = (trained / "README.md").read_text(encoding="utf-8")
    assert "score = outputs @ torch.tensor([1, 0, 0, 0, -0.5])" in card
    assert "| helpfulness |" in card
    assert len(load([rows], "rated", limit=3).records) == 3
    shutil.copytree(trained, tmp_path / "copy")
    with pytest.raises(ValueError, match="has attribute heads"):
        average([trained, tmp_path / "copy"], tmp_path / "mean")


def test_other_weights_can_be_given_when_it_is_loaded(trained: Path) -> None:
    one, other = (RewardModel.load(trained, weights={name: 2.0}) for name in ("helpfulness", "verbosity"))
    both = [a.raw / 2 - 0.5 * b.raw / 2 for a, b in zip(one.score(TURNS), other.score(TURNS), strict=True)]
    assert [s.raw for s in RewardModel.load(trained).score(TURNS)] == pytest.approx(both, abs=1e-5)
    assert one.calibration.mean is None
    with pytest.raises(ValueError, match="attributes names kindness"):
        RewardModel.load(trained, weights={"kindness": 1.0})
    with pytest.raises(ValueError, match="complexity has a weight, and the training data had no ratings of it"):
        RewardModel.load(trained, weights={"helpfulness": 1.0, "complexity": 1.0})


def test_five_labels_of_another_model_are_refused(trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    del config["keel"]
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="has 5 labels; a reward model has one"):
        RewardModel.load(other)
