"""GDPO: values by hand, laws, and TRL's own code."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.objective.advantages import decoupled_advantages, group_advantages
from align.rewards.build import MixedTerm
from align.rewards.mixer import Mixer, as_list
from align.rewards.terms import TermScores

NAN = math.nan
batches = st.lists(
    st.lists(st.lists(st.integers(-3, 3).map(float), min_size=4, max_size=4), min_size=2, max_size=2),
    min_size=1,
    max_size=3,
)


def gdpo(values: list[list[list[float]]], weights: list[float], **options: float) -> torch.Tensor:
    """Advantages where every term applies to every sample."""
    values_KPG = torch.tensor(values, dtype=torch.float64)
    applies_KPG = torch.ones_like(values_KPG, dtype=torch.bool)
    return decoupled_advantages(
        values_KPG, applies_KPG, torch.tensor(weights, dtype=torch.float64), **options
    ).advantages_PG


def test_values_by_hand() -> None:
    # term 1: 0, 0, 1, 1 → ∓√3/2; term 2: 0, 100, 0, 100 → ∓√3/2; with weights 1 and 1/2 the sums are
    # √3/2 · (−1.5, −0.5, 0.5, 1.5), whose unbiased variance is 3/4 · 5/3 = 5/4
    found = gdpo([[[0, 0, 1, 1]], [[0, 100, 0, 100]]], [1.0, 0.5], epsilon=0.0)
    expected = [math.sqrt(3) / 2 * x / math.sqrt(5 / 4) for x in (-1.5, -0.5, 0.5, 1.5)]
    assert found[0].tolist() == pytest.approx(expected)


def test_what_sum_then_normalise_confuses_stays_apart() -> None:
    """Two terms of equal weight: one right, or both right, by two samples of two groups (the paper's figure 2)."""
    values = [[[0, 1], [0, 1]], [[0, 0], [0, 1]]]  # in group 2 the second sample has both
    summed = group_advantages(torch.tensor(values, dtype=torch.float64).sum(0), epsilon=0.0).advantages_PG
    assert summed[0].tolist() == pytest.approx(summed[1].tolist())
    apart = gdpo(values, [1.0, 1.0])
    assert apart[1, 1] > 1.9 * apart[0, 1] > 0


@given(values=batches, factor=st.floats(0.5, 1000), shift=st.floats(-100, 100))
@settings(max_examples=30, deadline=None)
def test_scale_and_shift_of_a_term_change_nothing(values: list[list[list[float]]], factor: float, shift: float) -> None:
    weights = [1.0, 0.3, 2.0][: len(values)]
    scaled = [[[factor * x + shift for x in group] for group in values[0]], *values[1:]]
    ours, theirs = gdpo(values, weights, epsilon=1e-12), gdpo(scaled, weights, epsilon=1e-12, tolerance=1e-6)
    assert torch.allclose(ours, theirs, atol=1e-5)


@given(values=batches)
@settings(max_examples=30, deadline=None)
def test_groups_sum_to_zero_and_the_batch_has_deviation_one(values: list[list[list[float]]]) -> None:
    found = gdpo(values, [1.0] * len(values))
    assert found.sum(dim=1).abs().max() < 1e-9
    deviation = float(found.std())
    assert deviation == pytest.approx(1.0, abs=1e-3) or not found.any()


@given(values=st.lists(st.floats(-5, 5), min_size=4, max_size=4))
@settings(max_examples=30, deadline=None)
def test_one_term_and_one_prompt_are_sum_then_normalise(values: list[float]) -> None:
    ours = gdpo([[values]], [3.0], epsilon=0.0, tolerance=1e-3)
    summed = group_advantages(torch.tensor([values], dtype=torch.float64), epsilon=0.0, tolerance=1e-3)
    assert torch.allclose(ours, summed.advantages_PG, atol=1e-6) or max(values) - min(values) < 2e-3


def test_a_sample_with_a_part_missing_is_as_if_it_had_not_been_sampled() -> None:
    values = torch.tensor([[[0.0, 1, NAN, 3]], [[5.0, 1, 2, 2]]], dtype=torch.float64)
    applies, weights = torch.ones_like(values, dtype=torch.bool), torch.tensor([1.0, 0.5], dtype=torch.float64)
    found = decoupled_advantages(values, applies, weights)
    rest = [0, 1, 3]
    without = decoupled_advantages(values[:, :, rest], applies[:, :, rest], weights)
    assert found.advantages_PG[0, rest].tolist() == pytest.approx(without.advantages_PG[0].tolist())
    assert (found.advantages_PG[0, 2], found.unscorable) == (0.0, 1)


def test_a_term_that_does_not_apply_is_no_part() -> None:
    values = torch.tensor([[[0.0, 1, 1]], [[NAN, NAN, NAN]]], dtype=torch.float64)
    applies, weights = ~torch.isnan(values), torch.ones(2, dtype=torch.float64)
    found = decoupled_advantages(values, applies, weights)
    alone = decoupled_advantages(values[:1], applies[:1], weights[:1])
    assert found.advantages_PG.tolist() == alone.advantages_PG.tolist()
    assert found.unscorable == 0
    nothing = decoupled_advantages(values[1:], applies[1:], weights[1:])
    assert (nothing.advantages_PG.tolist(), nothing.unscorable) == ([[0.0, 0.0, 0.0]], 3)


def test_the_samples_without_a_reward_are_those_of_the_mixer() -> None:
    raw = {"a": [1.0, NAN, 2.0, None], "b": [0.0, 1.0, None, None]}  # None: it does not apply
    terms = [MixedTerm(entry=name, term=SimpleNamespace(name=name)) for name in raw]  # type: ignore[arg-type]
    scores = {
        name: TermScores(
            tuple(None if v is None or v != v else v for v in values),
            tuple(v is not None for v in values),
            (False,) * 4,
        )
        for name, values in raw.items()
    }
    rewards = Mixer(terms).mix(scores, {"a": 1.0, "b": 1.0}, learn=False)
    stacked = torch.stack([torch.from_numpy(rewards.raw[n]) for n in raw])[:, None]
    applied = torch.stack([torch.from_numpy(rewards.applied[n]) for n in raw])[:, None]
    found = decoupled_advantages(stacked, applied, torch.ones(2, dtype=torch.float64))
    assert found.unscorable == sum(reward is None for reward in as_list(rewards.reward_N)) == 2


def test_it_equals_trl() -> None:
    """The branch of TRL's trainer, taken out of its source and run on a batch with terms that do not apply."""
    module = pytest.importorskip("trl.trainer.grpo_trainer")
    source = textwrap.dedent(inspect.getsource(module.GRPOTrainer._generate_and_score_completions))
    (branch,) = [
        node.body
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.If) and "'normalize_then_sum'" in ast.unparse(node.test)
    ]
    generator = torch.Generator().manual_seed(0)
    values_NK = torch.randn(24, 3, dtype=torch.float64, generator=generator) * torch.tensor([1.0, 50.0, 0.01])
    values_NK[0:4, 1] = values_NK[5, 2] = NAN  # a whole group without term 1, a sample without term 2
    values_NK[9] = NAN  # a sample that nothing applies to
    values_NK[16:20, 0] = 1.0  # a group that does not differ in term 0
    weights = torch.tensor([1.0, 0.2, -0.5], dtype=torch.float64)
    names = {
        "torch": torch,
        "nanstd": module.nanstd,
        "rewards_per_func": values_NK.clone(),
        "num_generations": 4,
        "device": "cpu",
        "unscorable_mask": torch.isnan(values_NK).all(dim=1),
        "self": SimpleNamespace(reward_funcs=[0, 1, 2], reward_weights=weights),
    }
    exec(compile(ast.Module(branch, []), "trl", "exec"), names)
    theirs = torch.nan_to_num(names["advantages"], nan=0.0).view(6, 4)
    values_KPG = values_NK.T.reshape(3, 6, 4)
    ours = decoupled_advantages(values_KPG, ~torch.isnan(values_KPG), weights)
    assert torch.allclose(ours.advantages_PG, theirs, atol=1e-12)
    assert ours.unscorable == 1


def test_a_batch_without_signal_moves_nothing() -> None:
    values = torch.tensor([[[0.1 + 0.2, 0.3, 0.3], [1.0, 1.0, 2.0]]], dtype=torch.float64)
    found = decoupled_advantages(values, torch.ones_like(values, dtype=torch.bool), torch.ones(1, dtype=torch.float64))
    assert found.signal_P.tolist() == [False, True]
    assert found.advantages_PG[0].tolist() == [0.0, 0.0, 0.0]


def test_shapes_that_do_not_fit_are_refused() -> None:
    ones = torch.ones(2, 1, 3)
    with pytest.raises(ValueError, match="with a weight per term"):
        decoupled_advantages(ones, ones.bool(), torch.ones(3))
