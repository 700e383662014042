"""The report: what it shows of a run with phases, alarms and evaluations, and of several."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from align.reporting.report import before_and_after, pictures, report
from align.reporting.runs import read_run

ERRORS = {"eval_se/accuracy_greedy": 0.04, "eval_se/format_sampled": 0.03}


def write_run(directory: Path, gain: float) -> Path:
    directory.mkdir()
    lines: list[dict[str, object]] = [{"step": 0, "eval/accuracy_greedy": 0.25, "eval/format_sampled": 0.5, **ERRORS}]
    for step in range(1, 9):
        line: dict[str, object] = {"step": step, "phase": "rules" if step <= 4 else "preference", "kl": 0.01 * step}
        line |= {"reward": gain * step, "weighted/format": 0.1 * step, "entropy": 2.0, "weight/format": 1.0}
        if step == 8:
            line |= {"eval/accuracy_greedy": 0.25 + gain, "eval/format_sampled": 0.9}
            line |= ERRORS
        lines.append(line)
    sample = {
        "step": 6,
        "phase": "preference",
        "domain": "safety",
        "pick": "best",
        "prompt": [{"role": "user", "content": "<b>hi</b>"}],
    }
    sample |= {
        "response": "<script>x</script>",
        "tokens": 3,
        "finished": True,
        "reward": None,
        "terms": {"format": 1.0},
    }
    sample |= {"weighted": {"format": 1.0}, "advantage": 0.0, "answer": None}
    alarm = {"step": 7, "rule": "entropy below 3", "value": 2.0, "action": "warn", "done": "warned"}
    for name, rows in (("metrics", lines), ("samples", [sample]), ("guards", [alarm])):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (directory / "config.yaml").write_text("steps: 8\n")
    return directory


def test_a_run_is_told_in_figures_pictures_alarms_and_samples(tmp_path: Path) -> None:
    out = report([write_run(tmp_path / "one", 0.5)], tmp_path / "page.html")
    page = out.read_text(encoding="utf-8")
    for title in ("Reward", "Held-out accuracy", "Divergence", "Entropy", "Weights", "Alarms", "entropy below 3"):
        assert title in page
    assert "Length" not in page  # nothing of it was logged
    assert not re.search(r"(src|href)=\"http", page)  # nothing is loaded from elsewhere
    assert "<script>x" not in page
    assert "&lt;script&gt;x" in page
    assert "Better: accuracy, greedy; format. Worse: nothing. 1 alarm of guards." in page
    run = read_run(tmp_path / "one")
    assert run.switches == [(4, "preference")]
    assert len(pictures(run)) == len(re.findall("data:image/png", page))
    table = before_and_after([run])
    assert table is not None
    assert table.columns == ("held out", "before", "→ rules", "→ preference", "change")
    assert table.rows == [
        ("accuracy, greedy", "0.25", "–", "0.75", "better +0.5 ± 0.06"),
        ("format", "0.5", "–", "0.9", "better +0.4 ± 0.04"),
    ]


def test_a_change_within_the_noise_is_none_and_less_harm_is_better(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    rows = [
        {"step": step, "eval/gold_unsafe_sampled": unsafe, "eval/format_sampled": form, "eval/mine_sampled": 7 * step}
        | {f"eval_se/{name}_sampled": 0.05 for name in ("gold_unsafe", "format", "mine")}
        for step, unsafe, form in ((0, 0.5, 0.6), (9, 0.1, 0.5))
    ]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = before_and_after([read_run(directory)])
    assert table is not None
    words = {row[0]: row[-1].partition(" ")[0] for row in table.rows}
    assert words == {"format": "held", "gold unsafe": "better", "mine": "changed"}


def test_the_error_of_a_change_is_that_of_the_differences_prompt_by_prompt(tmp_path: Path) -> None:
    """Differences 0.25, 0.25, 0.75, 0.25: sample deviation 0.25, over √4 prompts 0.125. The fifth has none."""
    run = write_run(tmp_path / "run", 0.375)
    figures = ([0.0, 0.5, 0.25, 0.25, None], [0.25, 0.75, 1.0, 0.5, 1.0])
    lines = [{"step": step, "accuracy_greedy": values} for step, values in zip((0, 8), figures, strict=True)]
    (run / "held_out.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = before_and_after([read_run(run)])
    assert table is not None
    assert table.rows[0][-1] == "better +0.38 ± 0.1"
    assert "one standard error" in report([run], tmp_path / "page.html").read_text(encoding="utf-8")


def test_several_runs_are_compared_first(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, gain) for name, gain in (("one", 0.5), ("two", 0.1))]
    page = report(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.index("Comparison") < page.index("<h2>one</h2>") < page.index("<h2>two</h2>")
    assert "better: 0.25 → 0.75" in page
    assert "held: 0.25 → 0.35" in page


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run has written there"):
        report([tmp_path], tmp_path / "page.html")
