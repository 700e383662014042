"""The source ``reasoning_gym:…``: its form, its errors, and rows that are the same every time."""

from __future__ import annotations

import subprocess

import pytest

from reward_models.data import gym_tasks
from reward_models.data.gym_tasks import parsed
from reward_models.data.sources import SourceError, is_hub, load
from reward_models.extras import MissingExtraError


def test_the_form_of_a_source() -> None:
    assert parsed("reasoning_gym:lcm") == ("lcm", {"size": 500, "seed": 0}, None)
    assert parsed("reasoning_gym:lcm?size=3&seed=7&level=2") == ("lcm", {"size": 3, "seed": 7}, [2])
    assert parsed("reasoning_gym:lcm?level=0-2&max_value=9") == (
        "lcm",
        {"size": 500, "seed": 0, "max_value": 9},
        [0, 1, 2],
    )
    assert parsed("reasoning_gym:a?b=true&c=[1, 2]&d=x")[1] == {
        "size": 500,
        "seed": 0,
        "b": True,
        "c": [1, 2],
        "d": "x",
    }
    assert not is_hub("reasoning_gym:lcm?size=3")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("reasoning_gym:", "not of the form"),
        ("reasoning_gym:lcm?size=3&size=4", "not of the form"),
        ("reasoning_gym:lcm?size", "bad query field"),
        ("reasoning_gym:lcm?size=0", "size=0 is not a number from 1"),
        ("reasoning_gym:lcm?seed=x", "seed='x' is not a number from 0"),
        ("reasoning_gym:lcm?level=high", "level=high is not a number"),
        ("reasoning_gym:lcm?level=3-1", "level=3-1 is not a number"),
    ],
)
def test_sources_that_are_refused(spec: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        load(spec, "prompt")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("reasoning_gym:chain_sun", "no task 'chain_sun'; nearest: chain_sum"),
        ("reasoning_gym:lcm?maxvalue=3", "takes no maxvalue; it takes level, max_numbers"),
        ("reasoning_gym:lcm?level=99", "its levels are 0 to"),
        ("reasoning_gym:acre?level=0", "it has no levels"),
        ("reasoning_gym:composite", "it mixes other tasks"),
        ("reasoning_gym:propositional_logic", "a premise that is repeated"),
        ("reasoning_gym:chain_sum?min_terms=9&max_terms=2", "max_terms must be"),
    ],
)
def test_tasks_that_cannot_be_made(spec: str, message: str) -> None:
    pytest.importorskip("reasoning_gym")
    with pytest.raises(SourceError, match=message):
        load(spec, "prompt")


def test_rows_are_the_same_every_time_and_harder_by_level() -> None:
    pytest.importorskip("reasoning_gym")
    spec = "reasoning_gym:isomorphic_strings?size=5&seed=2"  # depends on the order of a set
    assert load(spec, "prompt").records == load(spec, "prompt").records
    found = load("reasoning_gym:chain_sum?size=20&level=0-3", "prompt").records
    assert [each.columns["level"] for each in found] == [level for level in range(4) for _ in range(20)]
    lengths = [sum(len(each.prompt[-1].content) for each in found[start : start + 20]) for start in (0, 20, 40, 60)]
    assert lengths == sorted(set(lengths))
    assert len({each.id for each in found}) == 80
    assert {each.source for each in found} == {"reasoning_gym:chain_sum"}


def test_seeds_and_levels_have_no_problems_in_common() -> None:
    """The package makes problem i of seed s from s + i: its neighbouring seeds share nearly all problems."""
    pytest.importorskip("reasoning_gym")
    specs = ("seed=1", "seed=2", "seed=1&level=3", "seed=1&level=4")
    found = [
        {each.prompt[-1].content for each in load(f"reasoning_gym:decimal_chain_sum?size=40&{spec}", "prompt").records}
        for spec in specs
    ]
    assert len(set().union(*found)) == sum(map(len, found)) == 160


def test_problems_without_an_answer_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("reasoning_gym")
    found = load("reasoning_gym:intermediate_integration?size=30&seed=3", "prompt").records
    assert 0 < len(found) < 30  # some would be integrals again
    assert f"{30 - len(found)} of 30 problems are left out" in caplog.text
    assert all(each.answer and "Integral" not in each.answer for each in found)


def test_a_source_without_any_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("reasoning_gym")
    nothing = subprocess.CompletedProcess([], 0, stdout="", stderr="")
    monkeypatch.setattr(gym_tasks.subprocess, "run", lambda *_, **__: nothing)
    with pytest.raises(SourceError, match="none of its 6 problems has an answer"):
        load("reasoning_gym:lcm?size=3&level=0-1", "prompt")


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gym_tasks, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'keel-align\[reasoning\]'"):
        load("reasoning_gym:lcm", "prompt")
