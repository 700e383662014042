"""The curriculum: which prompts are drawn, how pools and levels follow pass rates, and its state in a file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from align.checks import check_verdicts
from align.config import AlignConfig
from align.rewards.build import MixedTerm, TermConfig
from align.rollouts.config import CurriculumConfig
from align.rollouts.curriculum import POOLS, Curriculum, CurriculumState, check_curriculum
from align.rollouts.prompts import draw
from align.state import RunState
from reward_models.runtime.checkpoint import CheckpointError

EVERYONE = np.arange(6)


def curriculum(levels: list[Any] | None = None, sources: list[str] | None = None, **settings: Any) -> Curriculum:
    levels = [None] * 6 if levels is None else levels
    config = CurriculumConfig(by="pass_rate", **settings)
    return Curriculum(config, sources or ["a"] * len(levels), levels, seed=3)


def learn(made: Curriculum, state: CurriculumState, rates: dict[int, float], samples: int = 4) -> dict[str, float]:
    """A rollout of these prompts with these pass rates."""
    rows = [[1.0] * round(rate * samples) + [0.0] * round((1 - rate) * samples) for rate in rates.values()]
    made.learn(state, np.array(list(rates)), np.array(rows))
    return made.end_rollout(state)


def test_prompts_are_drawn_in_the_usual_order_where_none_is_left_out() -> None:
    made = curriculum()
    state, drawn, found = made.new_state(), 0, []
    for count in (4, 1, 9, 6):
        taken, drawn = made.take(state, EVERYONE, drawn, count)
        found += taken.tolist()
    assert found == draw(6, 0, 20, seed=3).tolist()
    assert drawn == 20
    assert state.skipped == state.readmitted == 0


def test_prompts_that_are_always_or_never_solved_rest() -> None:
    made = curriculum(visits=2, rest=2)
    state = made.new_state()
    for _ in range(2):
        metrics = learn(made, state, {0: 1.0, 1: 0.0, 2: 0.25, 3: 0.5, 4: 0.75})
    assert [POOLS[pool] for pool in made.pool_of(state)] == ["always", "never", "hard", "medium", "easy", "new"]
    assert {name: metrics[f"curriculum/{name}"] for name in POOLS} == dict.fromkeys(POOLS, 1.0)
    assert metrics["curriculum/resting"] == 2
    assert metrics["curriculum/pass_rate"] == 0.5
    taken, drawn = made.take(state, EVERYONE, 0, 4)
    stream = draw(6, 0, 12, seed=3).tolist()
    assert taken.tolist() == [place for place in stream if place > 1][:4]
    assert state.skipped == drawn - 4
    assert learn(made, state, {})["curriculum/skipped"] == drawn - 4  # counted, and begun anew
    assert state.skipped == 0
    learn(made, state, {})
    assert set(made.take(state, EVERYONE, 0, 6)[0].tolist()) == set(range(6))  # after two rollouts they are drawn again


def test_visits_in_a_row_count_and_another_verdict_ends_them() -> None:
    made = curriculum(visits=3)
    state = made.new_state()
    for rate in (0.0, 0.0, 1.0, 1.0, 0.5, 1.0, 1.0):
        learn(made, state, {0: rate})
        assert not (state.until_I > state.rollout).any()
    learn(made, state, {0: 1.0})
    assert (state.until_I > state.rollout).tolist() == [True, *[False] * 5]


def test_resting_prompts_are_drawn_where_there_are_too_few_others() -> None:
    made = curriculum(visits=1, rest=9)
    state = made.new_state()
    learn(made, state, dict.fromkeys(range(5), 1.0))
    taken, _ = made.take(state, EVERYONE, 0, 4)
    assert taken.tolist() == draw(6, 0, 4, seed=3).tolist()
    assert state.readmitted == sum(place != 5 for place in taken.tolist()) >= 3
    assert made.take(state, EVERYONE, 0, 1)[0].tolist() == [5]


def test_samples_that_could_not_be_judged_are_no_verdict() -> None:
    made = curriculum(visits=1)
    state = made.new_state()
    made.learn(state, np.array([0, 1]), np.array([[np.nan, np.nan], [np.nan, 1.0]]))
    made.end_rollout(state)
    assert np.isnan(state.rate_I[0])
    assert state.rate_I[1] == 1.0
    assert (state.until_I > 0).tolist() == [False, True, False, False, False, False]


def test_groups_of_one_rollout_are_one_visit() -> None:
    """A small pool draws a prompt several times, and dynamic sampling draws again, within one rollout."""
    made = curriculum([0, 0], visits=2, raise_after=3)
    state = made.new_state()
    for _ in range(3):
        made.learn(state, np.array([0, 0, 1]), np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]))
    made.end_rollout(state)
    assert state.alike_I.tolist() == [1, 0]
    assert not (state.until_I > state.rollout).any()
    assert state.recent == {"a": [1.0, 0.5]}
    made.learn(state, np.array([0, 0]), np.array([[1.0, 1.0], [0.0, np.nan]]))  # 2 of 3: solved and not solved
    made.end_rollout(state)
    assert state.rate_I[0] == pytest.approx(2 / 3)
    assert state.alike_I[0] == 0


def test_prompts_passed_over_are_not_drawn() -> None:
    made = curriculum(visits=1, rest=9)
    state = RunState(curriculum=made.new_state())
    assert state.curriculum is not None
    learn(made, state.curriculum, {0: 1.0, 1: 1.0})
    for _ in range(3):
        _, state.drawn["all"] = made.take(state.curriculum, EVERYONE, state.drawn.get("all", 0), 4)
        made.end_rollout(state.curriculum)
    assert state.drawn["all"] > 12
    assert state.prompts_drawn == 12
    assert RunState(drawn={"all": 7}).prompts_drawn == 7


def test_a_state_of_another_curriculum_cannot_go_on() -> None:
    made = curriculum([0, 1, 2])
    check_curriculum(made, made.new_state(), Path("step-3"))
    check_curriculum(None, None, Path("step-3"))
    with pytest.raises(CheckpointError, match=r"step-3: it was written without a curriculum.*overwrite=true"):
        check_curriculum(made, None, Path("step-3"))
    for other in (curriculum([0, 1, 2], sources=["b"] * 3), curriculum([5, 6, 7]), curriculum([None] * 3)):
        with pytest.raises(CheckpointError, match="other sources or levels"):
            check_curriculum(made, other.new_state(), Path("step-3"))


def test_a_term_of_somebody_elses_that_gives_no_verdicts_leaves_the_curriculum_dead() -> None:
    def mixed(name: str) -> MixedTerm:
        return MixedTerm(entry="mine.rewards:Term", term=SimpleNamespace(name=name))  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="none of politeness, format is one"):
        check_verdicts("pass_rate", [mixed("politeness"), mixed("format")])
    check_verdicts("pass_rate", [mixed("politeness"), mixed("accuracy_mine")])
    check_verdicts("none", [mixed("politeness")])


def test_levels_open_as_the_pass_rate_rises() -> None:
    made = curriculum([0, 0, 1, 1, 4, None], raise_at=0.75, raise_after=4, visits=9)
    state = made.new_state()
    assert set(made.take(state, EVERYONE, 0, 30)[0].tolist()) == {0, 1, 5}
    assert learn(made, state, {0: 1.0, 1: 1.0, 5: 0.0})["curriculum/level/a"] == 0  # two visits of four
    assert learn(made, state, {0: 0.5, 1: 0.25})["curriculum/level/a"] == 0  # mean 0.6875
    metrics = learn(made, state, {0: 1.0, 1: 0.75})  # the last four: 0.625
    assert metrics["curriculum/level/a"] == 0
    assert metrics["curriculum/closed"] == 3
    metrics = learn(made, state, {0: 0.75, 1: 0.5})  # 0.75
    assert metrics["curriculum/level/a"] == 1
    assert state.recent == {"a": []}
    assert set(made.take(state, EVERYONE, 0, 30)[0].tolist()) == {0, 1, 2, 3, 5}
    for _ in range(4):
        learn(made, state, {0: 1.0})  # a lower level opens nothing
    assert state.opened == {"a": 1}
    learn(made, state, {2: 1.0, 3: 1.0})
    learn(made, state, {2: 1.0, 3: 1.0})
    assert state.opened == {"a": 4}
    for _ in range(9):
        learn(made, state, {4: 1.0})  # the last one
    assert state.opened == {"a": 4}


def test_each_source_has_levels_of_its_own() -> None:
    made = curriculum([0, 1, 3, 5], sources=["a", "a", "b", "b"], raise_after=1, visits=9)
    state = made.new_state()
    assert state.opened == {"a": 0, "b": 3}
    learn(made, state, {0: 1.0, 2: 0.0})
    assert state.opened == {"a": 1, "b": 3}
    only_closed = np.array([3])  # a domain whose prompts are all of a closed level
    assert made.take(state, only_closed, 0, 2)[0].tolist() == [3, 3]


def test_the_state_in_a_file_goes_on_to_the_same_prompts(tmp_path: Path) -> None:
    made = curriculum([0, 0, 0, 1, 1, None], visits=1, raise_after=2)
    state, drawn = made.new_state(), 0
    rng = np.random.default_rng(0)
    for step in range(12):
        if step % 3 == 0:
            state.save(tmp_path / "c.safetensors")
            other, other_drawn = CurriculumState.load(tmp_path / "c.safetensors"), drawn
            assert other.opened == state.opened
        taken, drawn = made.take(state, EVERYONE, drawn, 3)
        again, other_drawn = made.take(other, EVERYONE, other_drawn, 3)
        assert taken.tolist() == again.tolist()
        right = (rng.random((3, 2)) < 0.7).astype(float)
        made.learn(state, taken, right)
        made.learn(other, again, right)
        assert made.end_rollout(state) == pytest.approx(made.end_rollout(other), nan_ok=True)


@pytest.mark.parametrize("level", [-1, 1.5, "2", True])
def test_levels_are_whole_numbers(level: Any) -> None:
    with pytest.raises(ValueError, match=r"a prompt of a has the level"):
        curriculum([0, level])


@pytest.mark.parametrize(
    "settings", [{"visits": 0}, {"rest": 0}, {"raise_at": 0.0}, {"raise_at": 1.5}, {"raise_after": 0}]
)
def test_settings_that_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="curriculum:"):
        CurriculumConfig(**settings)


def test_a_pass_rate_needs_a_verifier() -> None:
    by = CurriculumConfig(by="pass_rate")
    with pytest.raises(ValueError, match=r"curriculum\.by=pass_rate goes by verifiers, and rewards has none"):
        AlignConfig(rewards=[TermConfig(term="format")], curriculum=by)
    AlignConfig(rewards=[TermConfig(term="format"), TermConfig(term="instructions", weight=0.0)], curriculum=by)
