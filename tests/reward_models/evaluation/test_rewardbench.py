"""RewardBench files: scores equal to those of plain transformers, and sections as RewardBench's own code makes them."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from keel.cli import app
from reward_models.backbone.config import ModelConfig
from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.sources import BadRowsError, SourceError
from reward_models.evaluation.rewardbench import SECTIONS, load_rewardbench, ties_score
from reward_models.model import build_model, save_model

SUBSETS = ["alpacaeval-easy", "mt-bench-med", "llmbar-natural", "donotanswer", "math-prm", "hep-cpp"]


@pytest.fixture(scope="module")
def rows(keel_data: Path) -> list[dict[str, Any]]:
    """Real pairs in RewardBench's layout: texts, and a subset."""
    with gzip.open(keel_data / "helpful" / "rm_bench_chat.test.jsonl.gz", "rt", encoding="utf-8") as stream:
        pairs = [json.loads(line) for line in islice(stream, 60)]
    return [
        {
            "prompt": pair["prompt"][-1]["content"][:200],
            "chosen": pair["chosen"][-1]["content"][:300],
            "chosen_model": "a",
            "rejected": pair["rejected"][-1]["content"][-300:],
            "rejected_model": "b",
            "subset": SUBSETS[number % len(SUBSETS)],
            "id": number,
        }
        for number, pair in enumerate(pairs)
    ]


@pytest.fixture(scope="module")
def model(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A helpful model of random weights."""
    tokenizer = train_tokenizer([row["chosen"] for row in rows], 400)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 1024, "initializer_range": 0.5}
    torch.manual_seed(0)
    scorer = build_model(ModelConfig(config={"model_type": "qwen3", **shape}), tokenizer, "preference", torch.float32)
    fingerprint = ChatRenderer(tokenizer, "summary").fingerprint
    facts = {"task": "preference", "span": "summary", "template_fingerprint": fingerprint, "calibration": {}}
    path = tmp_path_factory.mktemp("model")
    save_model(scorer, scorer.model.state_dict(), path, tokenizer, facts, None)
    return path


def written(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def evaluated(model: Path, file: Path, out: Path) -> dict[str, Any]:
    words = ["evaluate", "rm", "--model", str(model), "--rewardbench", str(file), "--out", str(out)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "RewardBench" in (out / "report.html").read_text(encoding="utf-8")
    return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))["rewardbench"]


class Standard:
    """The loader that everybody has: none of our code."""

    def __init__(self, path: Path) -> None:
        self.model = AutoModelForSequenceClassification.from_pretrained(path).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)

    @torch.no_grad()
    def score(self, prompt: str, response: str) -> float:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        text: Any = self.tokenizer.apply_chat_template(turns, tokenize=False)
        inputs = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")
        return float(self.model(**inputs).logits[0, 0])


def test_sections_of_version_1_are_those_of_the_standard_loader(
    rows: list[dict[str, Any]], model: Path, tmp_path: Path
) -> None:
    found = evaluated(model, written(tmp_path / "bench.jsonl", rows), tmp_path / "out")
    standard = Standard(model)
    wins: dict[str, list[bool]] = {}
    for row in rows:
        chosen, rejected = (standard.score(row["prompt"], row[key]) for key in ("chosen", "rejected"))
        wins.setdefault(row["subset"], []).append(chosen > rejected)
    accuracy = {subset: sum(each) / len(each) for subset, each in wins.items()}
    assert {name: each["score"] for name, each in found["subsets"].items()} == pytest.approx(accuracy)
    # rewardbench.utils.calculate_scores_per_section
    expected = {
        "Chat": (accuracy["alpacaeval-easy"] * 100 + accuracy["mt-bench-med"] * 40) / 140,
        "Chat Hard": accuracy["llmbar-natural"],
        "Safety": accuracy["donotanswer"],
        "Reasoning": (accuracy["math-prm"] * 984 + accuracy["hep-cpp"] * 164) / 1148,
    }
    assert found["sections"] == pytest.approx(expected)
    assert found["score"] == pytest.approx(sum(expected.values()) / 4)
    assert found["version"] == 1
    assert found["n"] == 60


def test_raw_scores_are_the_standard_loaders(rows: list[dict[str, Any]], model: Path, tmp_path: Path) -> None:
    from reward_models import RewardModel

    bench = load_rewardbench(str(written(tmp_path / "bench.jsonl", rows[:10])))
    ours = [score.raw for score in RewardModel.load(model).score_responses(bench.pairs)]
    standard = Standard(model)
    theirs = [standard.score(row["prompt"], row[key]) for row in rows[:10] for key in ("chosen", "rejected")]
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_version_2_scores_the_best_of_four_and_ties_by_their_own_rule(
    rows: list[dict[str, Any]], model: Path, tmp_path: Path
) -> None:
    standard = Standard(model)
    problems, right = [], []
    for number in range(0, 40, 4):
        group = rows[number : number + 4]
        wrong = [row["rejected"] for row in group[:3]]
        problem = {"prompt": group[0]["prompt"], "chosen": [group[0]["chosen"]], "rejected": wrong}
        problems.append({**problem, "subset": "Math", "id": str(number), "num_correct": 1, "total_completions": 4})
        scores = [standard.score(problem["prompt"], text) for text in (*problem["chosen"], *wrong)]
        right.append(float(np.argmax(scores) == 0))
    for name, count in (("tied:0", 2), ("ref:0", 1)):
        texts = [rows[place]["chosen"] for place in (0, 20)[:count]]
        problems.append(
            {"prompt": "Any?", "chosen": texts, "rejected": [rows[5]["rejected"]], "subset": "Ties", "id": name}
        )
    found = evaluated(model, written(tmp_path / "bench2.jsonl", problems), tmp_path / "out")
    assert found["version"] == 2
    assert found["sections"]["Math"] == pytest.approx(np.mean(right))
    assert found["sections"]["Factuality"] is None
    assert found["score"] is None
    one, two = (standard.score("Any?", rows[i]["chosen"]) for i in (0, 20))
    wrong_score = standard.score("Any?", rows[5]["rejected"])
    gap, spread = min(one, two) - wrong_score, abs(one - two)
    nearest = min(gap, one - wrong_score)
    expected = 0.3 * (gap > 0) + 0.3 * (one > wrong_score) + 0.2 * (gap > spread) + 0.2 * (nearest > spread)
    assert found["sections"]["Ties"] == pytest.approx(expected + 0.01 * np.tanh(nearest / spread - 1), abs=1e-6)


@pytest.mark.parametrize(
    ("tied", "wrong", "reference", "expected"),
    [
        ([3.0, 2.5], [0.0], ([2.0], [1.0]), 0.3 + 0.3 + 0.2 + 0.2 + 0.01 * np.tanh(1 / 0.5 - 1)),
        ([3.0, 1.0], [0.0], ([2.0], [1.0]), 0.3 + 0.3 + 0.01 * np.tanh(1 / 2 - 1)),
        ([3.0, 2.5], [0.0], ([1.0], [2.0]), 0.3 + 0.2 + 0.01 * np.tanh(-1 / 0.5 - 1)),
        ([1.0, 1.0], [1.0], ([1.0], [1.0]), 0.0),  # 0 / 0 counts as 0
        ([1.0, 1.0], [0.0], ([2.0], [1.0]), 1.0 + 0.01),  # n / 0: as well as can be
    ],
)
def test_the_score_of_ties(tied: list[float], wrong: list[float], reference: Any, expected: float) -> None:
    """Worked by hand from ``process_single_model``; on 2,000 random groups its own code gave the same."""
    groups = {"tied:1": (np.array(tied), np.array(wrong)), "ref:1": tuple(map(np.array, reference))}
    assert ties_score(groups) == pytest.approx(expected)  # type: ignore[arg-type]


def test_an_equal_score_is_no_win_and_weights_are_the_benchmarks(tmp_path: Path) -> None:
    pairs = [{"prompt": "a", "chosen": "b", "rejected": "c", "subset": name} for name in ("hep-cpp", "math-prm")]
    bench = load_rewardbench(str(written(tmp_path / "two.jsonl", pairs)))
    found = bench.figures([1.0, 1.0, 2.0, 1.0])
    assert found["sections"]["Reasoning"] == pytest.approx(984 / (984 + 164))
    assert sum(weight for section in SECTIONS.values() for weight in section.values()) == 3522


def test_files_in_another_layout_are_refused(tmp_path: Path) -> None:
    pair = {"prompt": "a", "chosen": "b", "rejected": "c", "subset": "hep-cpp"}
    lists = {"prompt": "a", "chosen": ["b"], "rejected": ["c"], "subset": "Math"}
    with pytest.raises(SourceError, match="it holds Candidates and Comparison"):
        load_rewardbench(str(written(tmp_path / "both.jsonl", [pair, lists])))
    with pytest.raises(BadRowsError, match="'subset'"):
        load_rewardbench(str(written(tmp_path / "none.jsonl", [{k: v for k, v in pair.items() if k != "subset"}])))
    ties = load_rewardbench(str(written(tmp_path / "ties.jsonl", [lists | {"subset": "Ties", "id": "7"}])))
    with pytest.raises(ValueError, match="tied:N and ref:N"):
        ties.figures([1.0, 0.0])
