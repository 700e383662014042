"""Schedules and phases: values, laws, and the recipe's switch and reference updates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.config import AlignConfig, EvaluationConfig, phases_of
from align.phases import PhaseConfig, phase_at, shares
from align.policy.config import PolicyConfig
from align.rewards.build import TermConfig
from align.schedule import parse_schedule, stretched, value_at
from align.timetable import changes, scheduled, shortened

R1_STAGE2 = {
    "model": PolicyConfig(path="some/model"),
    "steps": 1700,
    "phases": [PhaseConfig(until=1300, name="reasoning"), PhaseConfig(until=1700, name="preference")],
}


def test_a_schedule_is_linear_between_its_points_and_constant_outside() -> None:
    schedule = parse_schedule([[10, 0.0], [20, 1.0], [20, 5.0], [30, 4.0]], "weight")
    assert [value_at(schedule, step) for step in (0, 10, 15, 19, 20, 25, 30, 99)] == pytest.approx(
        [0, 0, 0.5, 0.9, 5, 4.5, 4, 4]
    )
    assert value_at(parse_schedule(0.3, "weight"), 7) == 0.3
    assert value_at(parse_schedule([[4, 0.3]], "weight"), 0) == 0.3
    assert value_at(stretched(schedule, 10), 150) == pytest.approx(0.5)


def test_a_weight_is_scheduled_if_any_step_or_phase_changes_it() -> None:
    def config(weight: Any, *phases: dict[str, Any]) -> AlignConfig:
        own = [PhaseConfig(until=10 * (n + 1), weights=weights) for n, weights in enumerate(phases)]
        terms = [TermConfig(term="accuracy"), TermConfig(term="format", weight=weight)]
        return AlignConfig(rewards=terms, steps=20, steps_per_rollout=1, ref_update_steps=0, phases=own)

    assert scheduled(config(0.5)) is None
    assert scheduled(config(0.5, {}, {"format": 0.5})) is None
    assert scheduled(config(0.5, {}, {"format": 0.4})) == "format"
    assert scheduled(config([[0, 1.0], [9, 0.0]])) == "format"
    assert scheduled(config([[0, 1.0], [9, 0.0]], {"format": 1.0}, {"format": 1.0})) is None


@pytest.mark.parametrize("wrong", ["0.5", [], [[1]], [[5, 1], [4, 1]], [[0, float("nan")]], [[-1, 0]], True, None])
def test_what_is_no_schedule_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match="weight of x"):
        parse_schedule(wrong, "weight of x")


def test_the_recipes_phase_switch_takes_effect_at_1312_and_the_reference_moves_every_400_steps() -> None:
    config = AlignConfig(**R1_STAGE2)  # type: ignore[arg-type]
    first, second = phases_of(config)
    assert (first.start, first.end, second.start, second.end) == (0, 1312, 1312, 1700)
    assert [phase_at([first, second], step).name for step in (0, 1311, 1312, 1699)] == [
        *["reasoning"] * 2,
        *["preference"] * 2,
    ]
    lines = changes(config)
    assert [step for step, text in lines if "preference until" in text] == [1312]
    assert [step for step, text in lines if "reference model" in text] == [400, 800, 1200, 1600]
    assert lines[-1] == (1700, "end")


def test_a_dry_run_tells_every_change_of_weights_and_settings() -> None:
    config = AlignConfig(
        model=PolicyConfig(path="some/model"),
        steps=8,
        steps_per_rollout=2,
        ref_update_steps=4,
        prompts_per_step=10,
        rewards=[TermConfig(term="format"), TermConfig(term="helpful", weight=[[4, 0.0], [6, 1.0]])],
        phases=[
            PhaseConfig(until=3, mix={"reasoning": 1}),
            PhaseConfig(until=8, mix={"reasoning": 1, "safety": 2}, weights={"format": 0.5}, temperature=0.7, lr=1e-7),
        ],
    )
    assert changes(config) == [
        (0, "phase 1 until 4: 10 prompts a step (reasoning 10), temperature 1, max_new_tokens 32,768, lr 3e-06"),
        (0, "weights: format 1, helpful 0"),
        (
            4,
            "phase 2 until 8: 10 prompts a step (reasoning 3, safety 7), temperature 0.7, max_new_tokens 32,768, "
            "lr 1e-07",
        ),
        (4, "reference model: replaced by the policy"),
        (4, "weights: format 0.5"),
        (6, "weights: helpful 1"),
        (8, "reference model: replaced by the policy"),
        (8, "end"),
    ]


def test_a_shortened_run_keeps_its_proportions() -> None:
    config = AlignConfig(
        **R1_STAGE2,  # type: ignore[arg-type]
        rewards=[TermConfig(term="format", weight=[[1300, 0.0], [1700, 1.0]])],
        evaluation=EvaluationConfig(data=["x"], every=50),
    )
    short = shortened(config, 170)
    assert (short.steps, short.ref_update_steps, short.evaluation.every) == (170, 32, 5)  # 40 is no multiple of 16
    assert [phase.until for phase in short.phases] == [130, 170]
    assert short.rewards[0].weight == [[130, 0.0], [170, 1.0]]
    assert phases_of(short)[1].start == 144
    assert shortened(config, 1700) == config
    with pytest.raises(ValueError, match="would never begin"):
        shortened(config, 10)


@pytest.mark.parametrize(
    ("phases", "reason"),
    [
        ([PhaseConfig(until=10)], "until must rise to steps=32"),
        ([PhaseConfig(until=20), PhaseConfig(until=10), PhaseConfig(until=32)], "until must rise"),
        ([PhaseConfig(until=17), PhaseConfig(until=20), PhaseConfig(until=32)], "would never begin"),
        ([PhaseConfig(until=32, weights={"helpfull": 1})], "weighs helpfull; rewards names accuracy, format"),
    ],
)
def test_phases_that_cannot_be_are_refused(phases: list[PhaseConfig], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AlignConfig(model=PolicyConfig(path="some/model"), steps=32, phases=phases)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0, 10), min_size=1).filter(lambda m: sum(m.values()) > 0.01),
    st.integers(0, 1000),
)
def test_shares_add_up_and_none_is_off_by_one(mix: dict[str, float], count: int) -> None:
    whole = shares(mix, count)
    assert sum(whole.values()) == count
    assert all(abs(n - count * mix[kind] / sum(mix.values())) < 1 + 1e-9 for kind, n in whole.items())
