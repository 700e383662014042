"""Plans: time by hand on a small schedule, overlap, memory that binds, public figures, and recorded steps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from align.config import AlignConfig
from align.planning.assumptions import Assumptions, assumptions_for
from align.planning.cluster import Cluster
from align.planning.lengths import Lengths
from align.planning.memory import run_memory
from align.planning.picture import svg
from align.planning.plan import Plan, ScoringModel, make_plan
from align.planning.rates import Rates, rates_of
from align.planning.report import as_json, binding, lines, memory_binds
from keel.cli import app
from reward_models.planning.devices import Device, device
from reward_models.planning.shapes import ModelShape, known_shape
from reward_models.runtime.config import load_config, presets

ROOT = Path(__file__).parents[3]
FAST = Device(name="fast", memory=1e12, flops=1e15, bandwidth=1e12)
WORDS = [
    *("rollout.engine=vllm", "steps=8", "steps_per_rollout=4", "phases=[]", "ref_update_steps=4", "max_new_tokens=50"),
    *("evaluation.data=[x]", "evaluation.every=3", "evaluation.limit=5", "prompts_per_step=2", "samples_per_prompt=4"),
    "engine.sequence_parallel=1",
]


def qwen() -> ModelShape:
    shape = known_shape("Qwen/Qwen2.5-0.5B")
    assert shape is not None
    return shape


def plan(*words: str, cluster: Cluster | None = None, **options: Any) -> Plan:
    config = load_config(AlignConfig, "r1_zero", [*WORDS, *words])
    where = cluster or Cluster(device=FAST, per_node=2)
    return make_plan(config, qwen(), where, Assumptions(), Lengths(20.0, 0.3), **options)


def test_the_schedule_is_counted_whole() -> None:
    found = plan()
    assert [turn.step for turn in found.turns] == [0, 4]
    assert sum(turn.stands_for for turn in found.turns) == 2
    assert found.responses == 2 * 4 * 4
    assert found.evaluations == 4  # before, after steps 3 and 6, after the last
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    assert found.device_hours == pytest.approx(found.seconds / 3600 * 2)
    assert found.cost == pytest.approx(2 * found.device_hours)
    assert sum(binding(found).values()) == pytest.approx(1)


def test_a_long_run_is_the_same_whatever_rollouts_are_simulated() -> None:
    """Every rollout alike: 100 rollouts take 50 times as long as two."""
    rates = Rates("x", 0.01, 100.0, 100.0)
    two, hundred = (plan(f"steps={steps}", "evaluation.data=[]", rates=rates) for steps in (8, 400))
    assert sum(turn.stands_for for turn in hundred.turns) == 100
    assert hundred.seconds == pytest.approx(50 * two.seconds, rel=0.1)


def test_updates_and_passes_follow_from_operations() -> None:
    found = plan("model.gradient_checkpointing=false", "loss.beta=0")
    turn, shape, given = found.turns[0], qwen(), Assumptions()
    prompts = 8 * given.prompt_tokens * shape.forward_flops(given.prompt_tokens / 2)
    least = turn.tokens * shape.forward_flops(given.prompt_tokens) + prompts
    most = turn.tokens * shape.forward_flops(given.prompt_tokens + 25) + prompts
    assert 3 * least < turn.seconds["updates"] * 2 * FAST.flops * given.mfu_update < 3 * most
    assert turn.seconds["old log-probabilities"] == pytest.approx(turn.seconds["updates"] / 3)
    assert turn.seconds["reference"] == 0
    recomputed = plan("model.gradient_checkpointing=true", "loss.beta=0").turns[0]
    assert recomputed.seconds["updates"] == pytest.approx(turn.seconds["updates"] * 4 / 3)


def test_overlap_takes_as_long_as_the_longer_half() -> None:
    apart = Cluster(device=FAST, per_node=4, rollout_devices=2)
    turn, both = plan(cluster=apart).turns[0], Cluster(device=FAST, per_node=4, rollout_devices=2, overlap=True)
    sampling = sum(turn.seconds[part] for part in list(turn.seconds)[:4])
    learning = turn.total - sampling
    assert plan(cluster=both).turns[0].total == pytest.approx(max(sampling, learning))
    within = plan("rollout.overlap=true", cluster=apart).turns[0]  # four steps of a rollout
    assert within.total == pytest.approx(max(sampling, learning) + min(sampling, learning) / 4)
    with pytest.raises(ValueError, match="overlap needs devices that only sample"):
        Cluster(device=FAST, overlap=True)


def test_reward_models_score_the_domains_they_are_for() -> None:
    words = ("phases=[{until: 8, mix: {reasoning: 3, helpfulness: 1}}]", "loss.beta=0")
    helpful = ScoringModel(qwen(), frozenset({"helpfulness"}))
    turn = plan(*words, reward_models=[helpful]).turns[0]
    assert turn.seconds["reward models"] == pytest.approx(turn.seconds["old log-probabilities"] / 4)
    safety = ScoringModel(qwen(), frozenset({"safety"}))
    assert plan(*words, reward_models=[safety]).turns[0].seconds["reward models"] == 0


def test_memory_that_does_not_suffice_is_named_first() -> None:
    small = Cluster(device=Device(name="small", memory=6e9, flops=1e14, bandwidth=1e12), per_node=2)
    sentence = memory_binds(plan(cluster=small))
    assert sentence is not None
    assert "a small has 6 GB" in sentence
    assert memory_binds(plan()) is None
    tiny = Cluster(device=Device(name="tiny", memory=0.5e9, flops=1e14, bandwidth=1e12), per_node=2)
    with pytest.raises(ValueError, match=r"does not fit on 2 devices of 0 GB|do not fit"):
        plan(cluster=tiny)


def test_ranks_that_share_tokens_hold_a_part_of_the_activations_each() -> None:
    whole, shared = (plan(f"engine.sequence_parallel={ranks}", "rollout.engine=local").memory for ranks in (1, 2))
    assert shared.update.device["activations"] == pytest.approx(whole.update.device["activations"] / 2)
    assert shared.passes.device["activations"] < whole.passes.device["activations"]
    assert shared.rollout == whole.rollout  # each rank samples by itself
    with pytest.raises(ValueError, match="sequence_parallel=4 does not divide the 2 ranks"):
        plan("engine.sequence_parallel=4")
    with pytest.raises(ValueError, match=r"the model's 14 attention heads; 1, 2, 7, 14 do \(Qwen/Qwen2\.5-0\.5B\)"):
        plan("engine.sequence_parallel=4", cluster=Cluster(device=FAST, per_node=4))


def test_memory_of_a_reference_and_of_the_local_engine() -> None:
    shape = qwen()
    config = load_config(AlignConfig, "r1_zero", [*WORDS, "rollout.engine=local", "ref_offload=false"])
    memory = run_memory(config, shape, ranks=4, prompt=100, reward_models=[shape])
    assert memory.update.device["reference"] == memory.passes.device["reference"] == 2 * shape.parameters / 4
    assert memory.update.device["reward models"] == 2 * (shape.backbone + shape.hidden)
    assert memory.rollout is not None
    assert memory.rollout.device["cache"] == 8 * (100 + 50) * shape.cache_bytes()  # 32 responses on 4 ranks
    assert "gradients" not in memory.passes.device
    offloaded = run_memory(load_config(AlignConfig, "r1_zero", WORDS), shape, ranks=4, prompt=100)
    assert "reference" not in offloaded.update.device
    assert offloaded.rollout is None


def test_rates_of_a_run_by_hand() -> None:
    def line(step: int, **more: float) -> dict[str, Any]:
        return {"step": step, "seconds/update": 2.0, **more}

    rollout = {"seconds/rollout": 5.0, "response_length": 20.0, "response_length_max": 50.0, "seconds/logprobs": 4.0}
    rows = [line(1, **rollout), line(2), line(3, **rollout), line(4)]
    rates = rates_of(rows, "x", responses=10, passes=2, steps_per_rollout=2)
    assert rates.decoding_step == 0.1
    assert rates.update_tokens == 200 / 4
    assert rates.pass_tokens == 400 / 4
    with pytest.raises(ValueError, match="no rollout with times"):
        rates_of([{"step": 1}], "x", 1, 0, 1)


def test_the_local_engine_gathers_the_weights_of_stage_3_for_every_token() -> None:
    config = load_config(AlignConfig, "r1_zero", [*WORDS, "rollout.engine=local", "evaluation.data=[]"])
    found = make_plan(config, qwen(), Cluster(device=FAST, per_node=4), Assumptions(), Lengths(20.0, 0.3))
    turn = found.turns[0]
    each = 2 * qwen().parameters * (3 / 4) / 50e9  # bytes from the three other ranks, over 400 Gb/s
    assert turn.decoding.parts["gathering weights"] == pytest.approx(turn.longest * each)
    assert "gathering weights (ZeRO stage 3)" in binding(found)
    alone = make_plan(config, qwen(), Cluster(device=FAST, per_node=1), Assumptions(), Lengths(20.0, 0.3))
    assert alone.turns[0].decoding.parts["gathering weights"] == 0


def test_the_local_engine_must_hold_the_model_and_a_response() -> None:
    config = load_config(AlignConfig, "r1_zero", [*WORDS, "rollout.engine=local"])

    def on(gigabytes: float) -> Plan:
        where = Cluster(device=Device(name="small", memory=gigabytes * 1e9, flops=1e14, bandwidth=1e12), per_node=2)
        return make_plan(config, qwen(), where, Assumptions(), Lengths(20.0, 0.3))

    with pytest.raises(ValueError, match=r"more than a small has \(0\.5 GB\).*Set rollout\.engine=vllm"):
        on(0.5)
    with pytest.raises(ValueError, match=r"no room for the cache of one response of 250 tokens.*rollout\.engine=vllm"):
        on(2)


def test_a_teacher_is_counted_at_its_own_size() -> None:
    config = load_config(AlignConfig, "on_policy_distill_qwen3_8b", ["rollout.engine=vllm", "evaluation.data=[]"])
    teacher = known_shape("Qwen/Qwen3-32B")
    policy = known_shape("Qwen/Qwen3-8B")
    assert teacher is not None
    assert policy is not None
    where = Cluster(device=device("H200"), rollout_devices=4)
    found = make_plan(config, policy, where, Assumptions(), Lengths(100.0, 0.3), teacher=teacher)
    assert found.memory.update.device["teacher"] == 2 * teacher.parameters
    ratio = (
        found.turns[0].seconds["teacher"] * 4 / found.turns[0].seconds["updates"]
    )  # gradient checkpointing: 4 passes
    assert ratio == pytest.approx(teacher.active / policy.active, rel=0.1)
    assert "teacher: Qwen/Qwen3-32B" in "\n".join(lines(found))


@pytest.mark.parametrize("name", sorted(presets(AlignConfig)))
def test_every_preset_has_a_plan_or_a_refusal_that_says_what_to_set(
    name: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)  # no run is here
    done = CliRunner().invoke(app, ["plan", name, "--length", "50", "rollout.engine=vllm"])
    assert done.exit_code == 0, done.output
    made = {"r1_stage1": "sft_r1", "r1_stage2": "r1_stage1 from the preset sft_r1", "cpu": "sft_cpu"}
    assert f"taken as made by the preset {made.get(name, '')}" in done.output or name not in made


def test_a_model_that_one_gpu_cannot_hold_names_the_engine_to_set() -> None:
    words = ["plan", "r1_zero", "--nodes", "64", "--gpu", "H800", "--model-shape", "deepseek-ai/DeepSeek-V3"]
    refused = CliRunner().invoke(app, [*words, "--length", "[[0, 700], [8000, 9000]]"])
    assert refused.exit_code == 2
    assert "GB of weights are more than a H800 has (80 GB)" in refused.output
    assert "Set rollout.engine=vllm" in refused.output
    nowhere = CliRunner().invoke(app, ["plan", "r1_zero", "model.path=runs/mine", "--length", "50"])
    assert nowhere.exit_code == 2
    assert "--model-shape" in nowhere.output


# --- against figures that others published, and our own ---------------------------------------------------------------


@pytest.fixture(scope="module")
def benchmark() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import plan as script
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return script


def test_r1_zero_and_r1_within_a_factor_of_their_published_hours(benchmark: Any) -> None:
    """About 198 h on 64 × 8 H800, and 80 h for both stages of R1, of which 1,700 steps are the second one."""
    found = benchmark.r1_zero()
    hours = found.seconds / 3600
    assert 198 / 1.75 < hours < 198 * 1.75
    assert found.steps == 10_400
    assert found.responses == 8192
    assert 101_000 / 1.75 < found.device_hours < 101_000 * 1.75
    assert next(iter(binding(found))) == "the longest responses (tail)"
    stage2 = benchmark.r1_stage2()
    assert stage2.steps == 1700
    assert 8 < stage2.seconds / 3600 < 80
    # 147,000 hours at two dollars are the $294,000 of the report.
    assert (101_000 + 5_000 + 41_000) * Cluster(device=device("H800")).price == 294_000


def test_recorded_steps_of_a_small_model_within_a_factor(benchmark: Any) -> None:
    recorded = json.loads((ROOT / "benchmarks" / "results" / "rl_step_cpu.json").read_text(encoding="utf-8"))
    for cell, parts in benchmark.rl_step(recorded).items():
        for part, figures in parts.items():
            assert 1 / 1.6 < figures["ratio"] < 1.6, (cell, part, figures)


def test_runs_are_predicted_by_the_rates_of_their_first_quarter() -> None:
    file = ROOT / "benchmarks" / "results" / "plan.json"
    runs = json.loads(file.read_text(encoding="utf-8"))["runs"]
    assert len(runs) >= 3
    assert all(1 / 1.5 < run["ratio"] < 1.5 for run in runs.values())


# --- forms ------------------------------------------------------------------------------------------------------------


def test_the_table_names_everything_that_is_assumed() -> None:
    found = plan()
    text = "\n".join(lines(found))
    for word in ("Qwen/Qwen2.5-0.5B", "time ", "binds", "mfu_update = 0.35", "lengths: mean 20", "of 1,000.0"):
        assert word in text
    assert json.loads(json.dumps(as_json(found)))["assumptions"]["mfu_update"] == 0.35


def test_an_assumption_is_finite_and_overlap_that_is_not_planned_is_said() -> None:
    for word in ("mfu_update=nan", "prompt_tokens=inf", "cache_bytes=inf", "gather_bandwidth=0"):
        with pytest.raises(ValueError, match=r"positive and finite|is no number"):
            assumptions_for("local", [word])
    with pytest.raises(ValueError, match="memory of H100 must be positive and finite"):
        device("H100", memory=float("nan"))
    assert any("rollout.overlap: not planned" in note for note in plan("rollout.overlap=true").notes)


def test_the_picture_is_one_file_of_its_own() -> None:
    picture = svg(plan())
    assert picture.startswith("<svg ")
    assert picture.count("<rect") > 8
    assert "updates" in picture
    assert "href" not in picture


def test_the_command_writes_plan_and_picture(tmp_path: Path) -> None:
    shape = tmp_path / "config.json"
    shape.write_text(json.dumps({"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 99}))
    out = tmp_path / "plan.json"
    words = ["plan", "r1_zero", *WORDS, "--gpu", "H100", "--nodes", "2", "--out", str(out)]
    missing = CliRunner().invoke(app, words)
    assert missing.exit_code == 2
    assert "--length is missing" in missing.output
    incomplete = CliRunner().invoke(app, [*words, "--length", "30", "--model-shape", str(shape)])
    assert incomplete.exit_code == 2
    assert "has no num_attention_heads" in incomplete.output
    done = CliRunner().invoke(app, [*words, "--length", "[[0, 20], [8, 40]]", "--price", "3"])
    assert done.exit_code == 0, done.output
    written = json.loads(out.read_text(encoding="utf-8"))
    assert written["cost"] == pytest.approx(3 * written["device_hours"])
    assert written["model"]["name"] == "Qwen/Qwen2.5-7B"
    assert (tmp_path / "plan.svg").is_file()
    assert CliRunner().invoke(app, [*words, "--length", "30", "--gpu", "H999"]).exit_code == 2
