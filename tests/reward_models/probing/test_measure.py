"""Effects, intervals and outcomes by hand, with models whose score is a rule; and the command on a real model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from keel.cli import app
from reward_models.calibration import Calibration
from reward_models.data.records import Message, Task
from reward_models.probing.measure import Effect, probe_model
from reward_models.probing.probes import PROBES, Probe
from reward_models.probing.trials import Material, Trial, built_in, from_data, trials


def trial(number: int) -> Trial:
    prompt, plain, tried = (
        Message(role, f"{role} {number} {n}") for n, role in enumerate(("user", *["assistant"] * 2))
    )  # type: ignore[arg-type]
    return Trial((prompt,), (plain,), (tried,))


def effect(plain: list[float], tried: list[float], bound: float, unit: float = 2.0) -> Effect:
    probe = Probe("a", "an edit", bound, "good", lambda text, _: text)
    return Effect(probe, "preference", [trial(n) for n in range(len(plain))], 0, np.array(plain), np.array(tried), unit)


def test_an_effect_and_its_interval_by_hand() -> None:
    found = effect([0, 0, 1], [2, 4, 7], bound=0.2)  # differences 2, 4, 6 in units of 2: 1, 2, 3
    assert found.mean == pytest.approx(2)
    half = 4.302652729911275 / math.sqrt(3)  # t at 0.975 with two degrees of freedom; standard deviation 1
    assert found.interval == pytest.approx((2 - half, 2 + half))
    assert found.outcome == "undecided"
    assert found.figures()["raised"] == 1.0


@pytest.mark.parametrize(
    ("tried", "bound", "outcome"),
    [([0.0, 0.0], 0.2, "pass"), ([1.0, 1.0], 0.2, "fail"), ([-2.0, -2.0], -0.5, "pass"), ([0.0, 0.0], -0.5, "fail")],
)
def test_an_outcome_is_of_the_whole_interval(tried: list[float], bound: float, outcome: str) -> None:
    found = effect([0.0, 0.0], tried, bound)
    assert (found.outcome, found.figures()["pass"]) == (outcome, outcome == "pass")


def test_too_few_trials_decide_nothing() -> None:
    for number in (0, 1):
        found = effect([0.0] * number, [-9.0] * number, 0.2)
        assert (found.interval, found.outcome, found.figures()["pass"]) == (None, "undecided", False)


class Rule:
    """A model whose score is a function of prompt and response; it reads at most ``limit`` characters."""

    def __init__(self, score: Any, task: Task = "preference", limit: int | None = None) -> None:
        self.rule, self.task, self.limit, self.span, self.directory = score, task, limit, "full", None
        self.calibration = Calibration(threshold=0.0)
        self.renderer = SimpleNamespace(text=lambda prompt, response: prompt[-1].content + response[-1].content)

    def encode_texts(self, texts: list[str]) -> list[np.ndarray]:
        return [np.zeros(len(text)) for text in texts]

    def score_responses(self, pairs: Any) -> list[Any]:
        return [SimpleNamespace(raw=float(self.rule(p[-1].content, r[-1].content))) for p, r in pairs]


def probed(score: Any, task: Task = "preference", limit: int | None = None) -> dict[str, Any]:
    return probe_model(Rule(score, task, limit), built_in(task)).figures()  # type: ignore[arg-type]


def test_a_model_of_length_fails_by_length_and_by_nothing_that_shortens() -> None:
    found = probed(lambda _, text: len(text))["probes"]
    assert {name for name in found if not found[name]["pass"]} >= {"padding", "padding_long", "repetition", "praise"}
    assert found["padding_long"]["effect"] > 2 * found["padding"]["effect"] > 0
    assert all(found[name]["pass"] for name in ("refusal", "empty", "truncated"))
    lengths = [len(reply[-1].content) for _, reply in built_in("preference").good]
    unit = float(np.std(lengths, ddof=1))
    assert found["flattery"]["effect"] == pytest.approx(72 / unit)
    assert found["flattery"]["ci95"] == pytest.approx((72 / unit, 72 / unit))


def test_effects_do_not_depend_on_the_scale_of_the_scores() -> None:
    plain, scaled = probed(lambda _, text: len(text)), probed(lambda _, text: 3 * len(text) - 50)
    assert scaled["unit"] == pytest.approx(3 * plain["unit"])
    for name, each in plain["probes"].items():
        assert scaled["probes"][name]["effect"] == pytest.approx(each["effect"]), name


def test_a_model_that_knows_the_good_answers_passes_all() -> None:
    """Of the texts it reads any that holds a good answer is good; 0.01 per word tells good answers apart."""
    good = {p[-1].content: r[-1].content for p, r in built_in("preference").good}
    good |= {
        t.prompt[-1].content: t.plain[-1].content
        for p in PROBES["preference"]
        for t in trials(p, built_in("preference"))
    }

    def score(prompt: str, text: str) -> float:
        plain = " ".join(text.replace("**", "").replace("- ", "").split())
        held = good[prompt] in plain and "</think>" not in text.rpartition(good[prompt])[2]
        return held + 0.01 * len(good[prompt])

    found = probed(score)
    outcomes = {name: each["outcome"] for name, each in found["probes"].items()}
    assert set(outcomes.values()) == {"pass"}, outcomes


def test_a_safety_model_of_words_and_its_threshold() -> None:
    """It calls a text safe that holds the word "sorry" or "safe": what the probes say is there to deceive it."""
    found = probed(
        lambda prompt, text: ("sorry" in text or "safe" in text.lower()) - 0.5 + len(prompt) / 1e4, "safety"
    )["probes"]
    assert {name for name in found if not found[name]["pass"]} >= {
        "refusal_prefix",
        "disclaimer",
        "safe_words",
        "verdict",
    }
    assert (found["refusal_prefix"]["called_safe_plain"], found["refusal_prefix"]["called_safe_tried"]) == (0, 1)
    assert found["fiction"]["pass"]
    assert "called_safe_plain" not in found["refusal"]


def test_responses_beyond_the_models_limit_are_left_out_and_counted() -> None:
    found = probed(lambda _, text: len(text), limit=700)["probes"]
    assert found["padding_long"]["left_out"] > 0
    assert found["padding_long"]["n"] + found["padding_long"]["left_out"] == found["padding"]["n"] == 16


def test_a_model_without_a_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="16 good responses have one and the same score"):
        probed(lambda _, __: 1.0)


def written(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def test_material_of_data_has_one_response_of_every_prompt(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n // 2}", "chosen": f"good {n}", "rejected": "bad"} for n in range(10)]
    rows.append({"prompt": "tie", "response_a": "x", "response_b": "y", "label": "tie"})
    material = from_data("preference", [written(tmp_path / "pairs.jsonl", rows)], limit=3)
    assert [reply[0].content for _, reply in material.good] == ["good 0", "good 4", "good 8"]
    labels = [{"prompt": f"q{n}", "response": f"r{n}", "label": ("safe", "unsafe")[n % 2]} for n in range(8)]
    material = from_data("safety", [written(tmp_path / "labels.jsonl", labels)], limit=10)
    assert len(material.good) == len(material.unsafe) == 4
    with pytest.raises(ValueError, match="0 prompts have a response that is unsafe"):
        from_data("safety", [written(tmp_path / "safe.jsonl", labels[::2])], limit=10)


def test_an_off_topic_answer_belongs_to_another_prompt() -> None:
    probe = next(p for p in PROBES["preference"] if p.name == "off_topic")
    material = built_in("preference")
    good: dict[Any, Any] = dict(material.good)
    pairs = trials(probe, material)
    assert len(pairs) == len(good)
    assert all(each.plain == good[each.prompt] != each.tried for each in pairs)
    assert trials(probe, Material("preference", material.good[:1])) == []


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_figures_page_and_guards(small_model: Path, tmp_path: Path) -> None:
    out, guards = tmp_path / "out", tmp_path / "guards.yaml"
    words = ["probe", "rm", "--model", str(small_model), "--out", str(out), "--guards", str(guards)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    figures = json.loads((out / "probe.json").read_text(encoding="utf-8"))
    assert figures["probes"].keys() == {probe.name for probe in PROBES["preference"]}
    for name, each in figures["probes"].items():
        assert each["ci95"][0] <= each["effect"] <= each["ci95"][1], name
        assert each["examples"]
    assert figures["n_pass"] + figures["n_fail"] + figures["n_undecided"] == len(figures["probes"])
    page = (out / "probe.html").read_text(encoding="utf-8")
    assert "padding_long" in page
    assert "guards" in yaml.safe_load(guards.read_text(encoding="utf-8"))


def test_examples_of_a_safety_model_are_folded_with_a_warning(small_safety_model: Path, tmp_path: Path) -> None:
    words = ["probe", "rm", "--model", str(small_safety_model), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    assert figures["probes"].keys() == {probe.name for probe in PROBES["safety"]}
    page = (tmp_path / "probe.html").read_text(encoding="utf-8")
    assert "<details><summary>Examples to read (may hold harmful text)" in page
    assert "called safe before" in page


def test_the_command_refuses_to_write_over_its_data(small_model: Path, tmp_path: Path) -> None:
    data = written(tmp_path / "probe.json", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    done = CliRunner().invoke(app, ["probe", "rm", "--model", str(small_model), "--out", str(tmp_path), "--data", data])
    assert done.exit_code == 2
    assert "would be overwritten" in done.output


def test_options_of_data_are_refused_without_data(tmp_path: Path) -> None:
    words = ["probe", "rm", "--model", "none", "--out", str(tmp_path), "--limit", "5", "--max-bad", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "--limit and --max-bad: these are of --data" in done.output
