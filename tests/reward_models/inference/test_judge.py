from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keel.cli import app
from reward_models.calibration import Calibration
from reward_models.data.curation.judging import draw_questions
from reward_models.data.records import Conversation, Message, Pair
from reward_models.endpoint.answers import JudgeError
from reward_models.inference.judge import BATCH, RewardModelJudge, expected_verdict
from reward_models.inference.reward_model import Score


class Model:
    """Scores a response by its length: a tenth per character; the raw score is far off."""

    task = "preference"
    calibration = Calibration(mean=0.0, temperature=1.0)

    def __init__(self) -> None:
        self.calls: list[int] = []

    @classmethod
    def load(cls, directory: Path) -> Model:
        assert directory.is_dir()
        return cls()

    def score_responses(self, pairs: Sequence[tuple[Conversation, Conversation]]) -> list[Score]:
        self.calls.append(len(pairs) // 2)
        return [Score(1000.0, len(reply[-1].content) / 10) for _, reply in pairs]


def pair(n: int, a: str, b: str) -> Pair:
    return Pair(
        prompt=(Message("user", f"question {n}"),),
        response_a=(Message("assistant", a),),
        response_b=(Message("assistant", b),),
    )


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(0.0, 0.0), (math.log(3), 1.0), (-math.log(3), -1.0), (math.log(9), 1.6), (1000.0, 2.0), (-1000.0, -2.0)],
)
def test_odds_become_verdicts(difference: float, verdict: float) -> None:
    assert expected_verdict(difference) == pytest.approx(verdict)


def test_a_reward_model_judges_by_the_calibrated_difference_whatever_is_shown_first() -> None:
    pairs = [pair(n, "x" * (1 + n % 30), "y" * 16) for n in range(BATCH + 10)]
    model, done = Model(), list[int]()
    judge = RewardModelJudge(model, "runs/rm")  # type: ignore[arg-type]
    judge.check()
    questions = [question for each in pairs for question in draw_questions(each, 1, seed=0)]
    assert {question.a_first for question in questions} == {True, False}
    judgements = judge.judge(questions, done.append)
    assert [j.score for j in judgements] == pytest.approx(
        [2 * math.tanh((n % 30 - 15) / 20) for n in range(BATCH + 10)]
    )
    assert model.calls == done == [BATCH, 10]


def test_a_model_of_safety_and_one_without_calibration_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("task", "safety"), ("calibration", Calibration())):
        with monkeypatch.context() as patch:
            patch.setattr(Model, name, value)
            with pytest.raises(JudgeError, match="runs/rm cannot judge"):
                RewardModelJudge(Model(), "runs/rm").check()  # type: ignore[arg-type]


def test_curation_by_a_reward_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reward_models.inference.reward_model.RewardModel", Model)
    rows = [{"id": str(n), "prompt": f"q {n}", "response_a": "x" * (20 + n), "response_b": "y" * 30} for n in range(25)]
    data, out = tmp_path / "pairs.jsonl", tmp_path / "out"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["data", "curate", str(data), "--out", str(out), "--judge", str(tmp_path), "balance_lengths=false"]
    words += ["threshold=0.5"]
    result = CliRunner().invoke(app, [*words, "judgements=4"])
    assert result.exit_code == 2
    assert "ask for 1 judgement" in result.output
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    assert report["identical"] == 0
    assert report["judgements"] == {"asked": 25, "valid": 25}
    assert report["position_bias"] is None
    # |2·tanh(d/2)| > 0.5 for d = (n − 10)/10: |n − 10| ≥ 6
    assert report["fates"] == {"kept": 5 + 9, "undecided": 11}
    assert report["settings"]["judge"] == {"model": str(tmp_path)}
    assert CliRunner().invoke(app, words).exit_code == 0
