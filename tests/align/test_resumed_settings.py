"""The settings that a resumed run may change, and those that would make another result."""

from __future__ import annotations

from pathlib import Path

import pytest

from align.config import AlignConfig
from align.run import MAY_CHANGE
from reward_models.runtime.config import ConfigError, dump_config, load_config
from reward_models.runtime.run import CONFIG_FILE, RunDirectory

DISTILS = ("loss={kind: reverse_kl, beta: 0}", "samples_per_prompt=1")


def changes(folder: Path, before: list[str], now: list[str], common: tuple[str, ...] = ()) -> list[str]:
    """The differences for which a run that was begun with ``before`` is not resumed with ``now``."""
    began, resumed = (load_config(AlignConfig, None, [*common, *words]) for words in (before, now))
    (folder / CONFIG_FILE).write_text(dump_config(began))
    (folder / "metrics.jsonl").touch()
    return RunDirectory(folder).differences(dump_config(resumed), MAY_CHANGE, AlignConfig)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("rollout={engine: vllm, overlap: true, urls: ['http://a:1']}", "rollout={engine: vllm, max_rows: 8}"),
        ("rollout.engine=vllm", "rollout={engine: vllm_colocated, vllm_memory: 0.3}"),
        ("max_tokens=512", "max_tokens=1024"),
        ("ref_offload=true", "ref_offload=false"),
        ("samples_per_log=0", "samples_per_log=4"),
        ("max_silent_rollouts=2", "max_silent_rollouts=0"),
        ("max_reward_failures=0.1", "max_reward_failures=0.5"),
        ("save_every=5", "save_every=7"),
        ("engine={zero_stage: 2, zero_options: {overlap_comm: false}}", "engine={zero_stage: 3}"),
        ("model.mlp_tiles=4", "model.gradient_checkpointing=true"),
    ],
)
def test_settings_that_do_not_change_the_result_may_change(before: str, now: str, tmp_path: Path) -> None:
    assert changes(tmp_path, [before], [now]) == []


@pytest.mark.parametrize(
    ("before", "now", "named"),
    [
        ("rollout={engine: vllm, overlap: true}", "rollout={engine: vllm, overlap: true, ahead: 1}", "rollout.ahead"),
        ("reward_time_limit=5", "reward_time_limit=6", "reward_time_limit"),
        ("evaluation.limit=5", "evaluation.limit=6", "evaluation.limit"),
        ("loss.correction=auto", "loss.correction=token_cap", "loss.correction"),
        ("temperature=1", "temperature=0.9", "temperature"),
        ("engine.lr=1e-6", "engine.lr=2e-6", "engine.lr"),
        ("engine.dtype=bf16", "engine.dtype=fp32", "engine.dtype"),
        ("seed=0", "seed=1", "seed"),
        ("max_new_tokens=8", "max_new_tokens=9", "max_new_tokens"),
        ("engine.zero_options={}", "engine.zero_options={zero_quantized_gradients: true}", "engine.zero_options"),
    ],
)
def test_settings_that_change_the_result_may_not(before: str, now: str, named: str, tmp_path: Path) -> None:
    (found,) = changes(tmp_path, [before], [now])
    assert found.startswith(f"{named}: ")


@pytest.mark.parametrize("correction", ["auto", "never", "token_cap", "sequence_mask"])
@pytest.mark.parametrize("engine", ["vllm", "vllm_colocated"])
def test_engines_take_turns_under_one_correction(engine: str, correction: str, tmp_path: Path) -> None:
    both = ["rollout.engine=local", f"rollout.engine={engine}"]
    for before, now in (both, both[::-1]):
        found = changes(tmp_path, [before], [now], (f"loss.correction={correction}",))
        if correction != "auto":
            assert found == []
            continue
        (said,) = found
        old, new = ("none", "token_cap") if before == both[0] else ("token_cap", "none")
        assert f"correction {old} there, {new} here" in said
        assert "loss.correction=token_cap" in said


def test_a_teacher_moves_from_server_to_server_only(tmp_path: Path) -> None:
    here, there, other = "teacher={path: x}", *(f"teacher={{path: x, url: 'http://{name}:1'}}" for name in "ab")
    assert changes(tmp_path, [there], [other], DISTILS) == []
    for before, now in ((here, there), (there, here)):
        (said,) = changes(tmp_path, [before], [now], DISTILS)
        assert said.startswith("teacher.url: ")
        assert said.endswith("another estimate of the divergence")


def test_the_run_is_refused_with_the_reason(tmp_path: Path) -> None:
    changes(tmp_path, ["rollout.engine=local"], [])
    now = dump_config(load_config(AlignConfig, None, ["rollout.engine=vllm"]))
    with pytest.raises(ConfigError, match=r"another configuration \(rollout.engine: local there, vllm here, with"):
        RunDirectory(tmp_path).check(now, overwrite=False, may_change=MAY_CHANGE, schema=AlignConfig)


def test_a_key_of_an_earlier_version_is_known(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text("rollout: {engine: vllm, vllm_base_url: http://a}")
    (tmp_path / "metrics.jsonl").touch()
    now = dump_config(load_config(AlignConfig, None, ["rollout.engine=vllm"]))
    assert RunDirectory(tmp_path).differences(now, MAY_CHANGE, AlignConfig) == []
