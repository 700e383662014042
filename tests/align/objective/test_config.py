"""Settings of the objective: combinations that cannot work are refused by name, and a dry run says what is in force."""

from __future__ import annotations

from typing import Any

import pytest

from align.config import AlignConfig
from align.objective.config import LossConfig, describe
from align.objective.kinds import CORRECTIONS, LOSSES
from align.rollouts.config import RolloutConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "gspo"}, "loss.kind=gspo clips the mean ratio"),
        ({"kind": "gspo_token", "clip_low": 0.1}, "loss.kind=gspo_token clips the mean ratio"),
        ({"kind": "sapo", "clip_low": 0.2}, "no clip: take loss.clip_low out"),
        ({"kl_estimate": "unbiased", "beta": 0.0}, "loss.kl_estimate=unbiased needs a KL term"),
        ({"off_policy_threshold": 0.0}, "loss.off_policy_threshold must be positive"),
        ({"correction": "never", "correction_high": 2.0}, "loss.correction=never has no bounds"),
        ({"correction": "token_cap", "correction_low": 0.5}, "loss.correction=token_cap has no lower bound"),
        ({"correction_low": 0.5}, "loss.correction=auto has no lower bound"),
        ({"correction_high": 0.0}, "loss.correction_high must be positive"),
        ({"correction": "token_mask", "correction_low": 1.5}, "bounds 1.5 and 5 masks the ratio 1"),
        ({"correction": "geometric_mask", "correction_high": 0.9}, "bounds 0.999 and 0.9 masks the ratio 1"),
        ({"clip_high": float("nan")}, "loss.clip_high and loss.beta must be numbers"),
        ({"beta": float("inf")}, "loss.clip_high and loss.beta must be numbers"),
        ({"correction_high": float("nan")}, "loss.correction_high must be positive"),
        ({"off_policy_threshold": float("nan")}, "loss.off_policy_threshold must be positive"),
        ({"advantages": "batch", "aggregation": "gdpo"}, "loss.advantages=batch would change nothing"),
    ],
)
def test_what_cannot_work_is_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossConfig(**settings)


def test_the_engine_is_corrected_where_another_program_samples() -> None:
    def correction(engine: Any, setting: Any) -> str | None:
        return AlignConfig(loss=LossConfig(correction=setting), rollout=RolloutConfig(engine=engine)).correction

    settings = ("auto", "never", *CORRECTIONS)
    assert [correction("vllm", each) for each in settings] == ["token_cap", None, *CORRECTIONS]
    assert [correction("local", each) for each in settings] == [None, None, *CORRECTIONS]


@pytest.mark.parametrize("kind", LOSSES)
def test_a_dry_run_says_which_loss_is_in_force_and_where_it_comes_from(kind: Any) -> None:
    clips = {} if kind == "sapo" else {"clip_low": 3e-4, "clip_high": 4e-4}
    text = "\n".join(describe(LossConfig(kind=kind, **clips), "vllm"))
    assert f"loss: {kind}, maximise {LOSSES[kind].equation}" in text
    assert LOSSES[kind].source in text
    assert ("[1 − 0.0003, 1 + 0.0004]" in text) == (kind != "sapo")
    assert "correction: token_cap, min(w_t, high); high = 2" in text


def test_a_dry_run_says_that_bounds_without_a_correction_have_no_effect() -> None:
    text = "\n".join(describe(LossConfig(correction_high=3.0), "local"))
    assert "correction: none (loss.correction=auto, rollout.engine=local); loss.correction_high has no effect" in text
    assert "has no effect" not in "\n".join(describe(LossConfig(), "local"))


def test_a_dry_run_says_which_bounds_and_masks_are_in_force() -> None:
    loss = LossConfig(
        advantages="batch",
        correction="token_mask",
        correction_high=4.0,
        off_policy_threshold=0.1,
        overlong_filter=True,
        kl_estimate="unbiased",
    )
    text = "\n".join(describe(loss, "local"))
    for words in (
        "advantages: batch, (r − mean of the prompt's group) / std of all responses of the step",
        "low = 0.5, high = 4",
        "KL divergence: 0.001 · k3 · π/π_old",
        "off-policy sequence mask: δ = 0.1",
        "overlong filter",
    ):
        assert words in text
    plain = "\n".join(describe(LossConfig(beta=0.0), "local"))
    assert "KL divergence: none" in plain
    assert "correction: none (loss.correction=auto, rollout.engine=local)" in plain
    assert "mask" not in plain
