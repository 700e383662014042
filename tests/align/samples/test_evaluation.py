"""A policy's figures by hand: pass@1, pass@k, votes of equal answers, intervals, the command line."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from align.samples import evaluate, sampling
from align.samples.config import SampleConfig
from align.samples.consensus import NO_VOTE, RIGHT, answer_of, consensus_at, votes
from align.samples.evaluation import evaluate_samples
from align.samples.evaluation_report import print_figures, write_policy_evaluation
from align.samples.figures import interval, pass_at_k
from align.samples.manifest import manifest_of
from align.samples.rows import SampleRow, to_sample
from keel.cli import app
from reward_models.data.sources import SourceError
from reward_models.runtime.resumable import ResumableLines, ResumeError


def row(response: str, correct: float | None, **columns: Any) -> SampleRow:
    usual = {"prompt": "6 · 7?", "domain": "reasoning", "answer": "42", "sample": 0, "tokens": 5, "finished": True}
    return to_sample({**usual, "response": response, "correct": correct, "scores": {}, "reward": correct, **columns})


def boxed(answer: str, correct: float | None = 0.0, **columns: Any) -> SampleRow:
    return row(rf"<think>Hm.</think>It is \boxed{{{answer}}}.", correct, **columns)


# --- votes ------------------------------------------------------------------------------------------------------------


def test_equal_answers_share_a_vote_however_they_are_written() -> None:
    group = [
        boxed("42", 1.0),
        boxed("42.0", 1.0),
        boxed(r"\frac{1}{2}"),
        boxed("0.5"),
        boxed("x + 1"),
        boxed("1 + x"),
        boxed("7"),
        row("<think>Hm.", 0.0),
        row("<think>Hm.</think>The answer is 0.5.", 0.0),
    ]
    assert votes([group])[0].tolist() == [RIGHT, RIGHT, 1, 1, 2, 2, 3, NO_VOTE, 1]


def test_votes_of_choices_and_of_exact_answers() -> None:
    letters = [row(text, correct, verifier="choice", answer="B") for text, correct in (
        ("The answer is B.", 1.0), ("(C)", 0.0), ("The answer is C", 0.0), ("A or D?", 0.0),
    )]  # fmt: skip
    texts = [
        row(f"<answer>{text}</answer>", 0.0, verifier="exact", answer="Rome") for text in ("Oslo", "**oslo**", "Bonn")
    ]
    found = votes([letters, texts])
    assert found[0].tolist() == [RIGHT, 1, 1, NO_VOTE]
    assert found[1].tolist() == [1, 1, 2]


def test_an_answer_that_nobody_can_read_is_no_vote() -> None:
    assert answer_of(row("<think>Hm.</think>I would rather talk about the weather of last summer.", 0.0)) is None
    assert answer_of(row("<think>Hm.", 0.0)) is None
    assert answer_of(boxed("42")) == "42"


@pytest.mark.parametrize(
    ("numbers", "value"),
    [
        ([0, 0, 1], 1.0),
        ([0, 1, 1], 0.0),
        ([0, 1, -1], 0.5),  # a tie is drawn
        ([0, 1, 2, -1], 1 / 3),
        ([-1, -1], 0.0),
        ([0, -1, -1, -1], 1.0),  # those without an answer do not vote
    ],
)
def test_the_majority_by_hand(numbers: list[int], value: float) -> None:
    assert consensus_at(np.array(numbers), len(numbers), 0) == pytest.approx(value)


def test_below_n_the_consensus_is_the_mean_over_subsets() -> None:
    numbers = np.array([0, 0, 0, 1, 1, 2, -1])
    exact = np.mean([consensus_at(np.array(part), 3, 0) for part in combinations(numbers, 3)])
    assert consensus_at(numbers, 3, 0) == pytest.approx(exact, abs=0.08)
    assert consensus_at(numbers, 1, 0) == pytest.approx(3 / 7, abs=0.1)
    assert consensus_at(numbers, 3, 5) == consensus_at(numbers, 3, 5)


# --- figures ----------------------------------------------------------------------------------------------------------


def test_pass_at_k_is_the_share_of_subsets_with_a_right_one() -> None:
    for n in (1, 5, 8):
        for right in range(n + 1):
            marks = [1] * right + [0] * (n - right)
            for k in range(1, n + 1):
                share = np.mean([any(part) for part in combinations(marks, k)])
                assert pass_at_k(n, np.array([right]), k)[0] == pytest.approx(share)


def test_an_interval_draws_prompts() -> None:
    values = np.array([0.0, 1.0] * 50)
    low, high = interval(values) or (0, 0)
    half = 1.96 * 0.5 / 10  # the standard error of a share of a half among 100 prompts
    assert low == pytest.approx(0.5 - half, abs=0.02)
    assert high == pytest.approx(0.5 + half, abs=0.02)
    assert interval(np.array([1.0])) is None
    assert interval(np.array([0.25, 0.25, np.nan])) == [0.25, 0.25]


def test_the_figures_of_a_policy_by_hand() -> None:
    right, wrong = boxed("42", 1.0), boxed("7")
    first = [right, right, wrong, wrong]
    second = [
        boxed("42", 1.0, prompt="a?", source="other", finished=False),
        *[boxed("7", prompt="a?", source="other")] * 3,
    ]
    third = [
        row("Hello.", None, prompt="b?", domain="helpfulness", answer=None, scores={"helpful": v}) for v in range(4)
    ]
    fourth = [boxed("42", 1.0, prompt="c?"), *[boxed("7", None, prompt="c?")] * 3]
    found = evaluate_samples([first, second, third, fourth])
    assert (found["prompts"], found["samples"], found["judged"], found["unjudged"]) == (4, 4, 2, 1)
    assert found["pass@1"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert found["pass@2"] == pytest.approx((1 - 1 / 6 + 1 / 2) / 2)
    assert found["pass@4"] == 1.0
    assert found["consensus@4"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["score/helpful"] == 1.5
    assert found["truncated"] == 1 / 16
    assert found["by_source"]["other"]["pass@1"] == 1 / 4
    assert "pass@1" not in found["by_domain"]["helpfulness"]
    assert found["pass@1_ci95"] == [pytest.approx(1 / 4), pytest.approx(1 / 2)]


def test_two_policies_are_compared_on_the_prompts_of_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = [[boxed("42", float(n < 2), prompt=f"{n}?")] * 2 for n in range(4)]
    theirs = [[boxed("42", float(n < 1), prompt=f"{n}?")] for n in range(3)]
    figures = evaluate_samples(ours, theirs)
    gap = figures["difference"]
    assert gap["prompts"] == 3
    assert gap["pass@1"] == pytest.approx(1 / 3)
    print_figures(figures, str(tmp_path / "samples.jsonl"))
    assert "on the 3 prompts of both:\n  pass@1: 0.333 [" in capsys.readouterr().out
    page = write_policy_evaluation(figures, ours, tmp_path).read_text(encoding="utf-8")
    assert page.count("<td>tokens_mean</td>") == 2  # once in each table
    assert "<td>pass@1</td>" in page  # the name of a figure is not coloured as an outcome
    with pytest.raises(ValueError, match="none of the same prompts"):
        evaluate_samples(ours, [[boxed("1", prompt="z")]])
    with pytest.raises(ValueError, match="between 1 and 2 responses"):
        evaluate_samples([ours[0], theirs[0]])


# --- kills ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A kill at a function of a module."""

    def at(module: Any, name: str) -> None:
        def kill(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(module, name, kill)

    return at


def test_a_kill_leaves_no_evaluation_of_other_samples(tmp_path: Path, killed: Any) -> None:
    old = [tmp_path / name for name in ("evaluation.json", "report.html")]
    for file in old:
        file.write_text("{}")
    samples = tmp_path / "other.jsonl"
    with pytest.raises(SourceError):
        evaluate.measure([str(samples)], [], tmp_path)
    assert all(file.exists() for file in old)  # nothing was measured
    columns = {"prompt": "1?", "domain": "reasoning", "answer": "1", "sample": 0, "tokens": 5, "finished": True}
    samples.write_text(json.dumps(columns | {"response": "1", "correct": 1.0, "scores": {}, "reward": 1.0}) + "\n")
    killed(evaluate, "evaluate_samples")
    with pytest.raises(KeyboardInterrupt):
        evaluate.measure([str(samples)], [], tmp_path)
    assert not any(file.exists() for file in old)


def test_what_describes_samples_goes_before_they_change(tmp_path: Path, killed: Any) -> None:
    out = tmp_path / "samples.jsonl"
    described = [manifest_of(out), tmp_path / "evaluation.json"]

    def open_lines(job: dict[str, Any], *, overwrite: bool = False) -> ResumableLines:
        return sampling._open_lines(SampleConfig(out=str(out), overwrite=overwrite), job, described[1:])

    open_lines({"seed": 0}).close()
    for file in described:
        file.write_text("{}")
    with pytest.raises(ResumeError):
        open_lines({"seed": 1})
    assert all(file.exists() for file in described)  # the samples are as they were
    killed(sampling, "ResumableLines")
    with pytest.raises(KeyboardInterrupt):
        open_lines({"seed": 1}, overwrite=True)
    assert not any(file.exists() for file in described)


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_samples_and_evaluates(policy: Path, tmp_path: Path) -> None:
    words = ["evaluate", "policy", "--model", str(policy), "--prompts", "synthetic:reasoning:test", "-n", "4"]
    words += ["--out", str(tmp_path / "ev"), "prompts.limit=5", "max_new_tokens=8"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "ev" / "evaluation.json").read_text())
    assert (figures["prompts"], figures["samples"], figures["judged"]) == (5, 4, 5)
    assert "consensus@4" in figures
    assert "Evaluation of a policy" in (tmp_path / "ev" / "report.html").read_text()
    words = [
        "evaluate",
        "policy",
        "--samples",
        str(tmp_path / "ev" / "samples.jsonl"),
        "--out",
        str(tmp_path / "again"),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    again = json.loads((tmp_path / "again" / "evaluation.json").read_text())
    assert {k: v for k, v in again.items() if k != "files"} == {k: v for k, v in figures.items() if k != "files"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "give either --samples, or --model and --prompts"),
        (["--model", "runs/x"], "give either"),
        (["--samples", "a.jsonl", "temperature=1"], "do not go with --samples"),
        (["--samples", "none.jsonl"], "none.jsonl"),
        (["--samples", "a.jsonl", "--overwrite"], "--overwrite samples anew, and does not go with --samples"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(words: list[str], reason: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", "policy", "--out", str(tmp_path / "ev"), *words])
    assert done.exit_code == 2
    assert reason in done.output
    assert not (tmp_path / "ev").exists()


@pytest.mark.parametrize("command", [["evaluate", "policy"], ["sample"]])
def test_an_output_that_the_configuration_names_is_no_input(command: list[str], tmp_path: Path) -> None:
    data, config = tmp_path / "prompts.jsonl", tmp_path / "config.yaml"
    data.write_text('{"prompt": "1?", "answer": "1"}\n')
    config.write_text(json.dumps({"model": {"path": "x"}, "prompts": {"train": [str(data)]}, "out": str(data)}))
    for ranks in ("1", "2"):
        words = [*command, "--config", str(config), "overwrite=true", "--processes", ranks]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 2
        assert f"out: {data} is one of the inputs and would be overwritten" in done.output
    assert data.read_text().startswith("{")
