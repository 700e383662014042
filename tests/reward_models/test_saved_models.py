"""Reward models that earlier versions saved still load, and give the scores that they gave then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reward_models import RewardModel

FOLDER = Path(__file__).parents[1] / "data" / "saved_models"  # written by the version of November 2026
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["helpful", "safety"])
def test_a_model_of_an_earlier_version_gives_its_scores(name: str) -> None:
    model = RewardModel.load(FOLDER / name, dtype="fp32", device="cpu")
    scores = model.score(EXPECTED["conversations"])
    assert [score.raw for score in scores] == pytest.approx([each["raw"] for each in EXPECTED[name]], abs=1e-5)
    calibrated = [each["calibrated"] for each in EXPECTED[name]]
    assert [score.calibrated for score in scores] == pytest.approx(calibrated, abs=1e-5)
    assert model.span == {"helpful": "summary", "safety": "full"}[name]
    assert (
        model.manifest["data_fingerprint"]
        == json.loads((FOLDER / name / "config.json").read_text())["keel"]["data_fingerprint"]
    )
