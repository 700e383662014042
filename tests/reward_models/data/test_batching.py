"""Laws of the sampler and of both plans of micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.data.batching import EpochSampler, group_by_prefix, plan_padded, plan_trees
from reward_models.data.trees import PromptTree

Plan = list[list[list[int]]]
sizes = st.lists(st.integers(1, 40), max_size=30)
budgets = st.integers(1, 100)
ranks = st.integers(1, 5)

# --- the sampler ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 3))
def test_an_epoch_holds_every_item_once(items: int, batch_size: int, epoch: int) -> None:
    sampler = EpochSampler(items, batch_size, seed=7)
    steps = range(epoch * sampler.steps_per_epoch, (epoch + 1) * sampler.steps_per_epoch)
    drawn = [sampler.step(step) for step in steps]
    assert sorted(np.concatenate(drawn).tolist()) == list(range(items))
    assert all(len(batch) == batch_size for batch in drawn[:-1])
    assert 1 <= len(drawn[-1]) <= batch_size


def test_a_step_depends_on_the_seed_and_the_epoch_and_on_nothing_drawn_before() -> None:
    sampler = EpochSampler(100, 10, seed=1)
    again = EpochSampler(100, 10, seed=1)
    assert sampler.step(13).tolist() == sampler.step(13).tolist() == again.step(13).tolist()
    assert sampler.step(3).tolist() != sampler.step(13).tolist()  # the same place in another epoch
    assert sampler.step(3).tolist() != EpochSampler(100, 10, seed=2).step(3).tolist()


@pytest.mark.parametrize(("items", "batch_size"), [(0, 4), (4, 0)])
def test_nothing_cannot_be_drawn(items: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"cannot draw batches of {batch_size} from {items} items"):
        EpochSampler(items, batch_size, seed=0)


# --- plans ------------------------------------------------------------------------------------------------------------


def tree_plan(tokens: list[int], budget: int, ranks: int) -> tuple[Plan, Callable[[list[int]], int]]:
    return plan_trees(tokens, budget, ranks), lambda batch: sum(tokens[i] for i in batch)


def padded_plan(lengths: list[int], budget: int, ranks: int) -> tuple[Plan, Callable[[list[int]], int]]:
    return plan_padded(lengths, 2, budget, ranks), lambda batch: 2 * len(batch) * max(lengths[i] for i in batch)


@pytest.mark.parametrize("make", [tree_plan, padded_plan])
@given(sizes, budgets, ranks)
def test_laws_of_a_plan(
    make: Callable[[list[int], int, int], tuple[Plan, Callable[[list[int]], int]]],
    sizes: list[int],
    budget: int,
    ranks: int,
) -> None:
    plan, cost = make(sizes, budget, ranks)
    batches = [batch for rank in plan for batch in rank]
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))  # every item once
    assert len(plan) == ranks
    assert len({len(rank) for rank in plan}) == 1  # collectives stay in step
    assert len(plan[0]) >= 1  # a rank without items still takes part
    assert all(len(batch) <= 1 or cost(batch) <= budget for batch in batches)
    assert make(sizes, budget, ranks)[0] == plan  # every rank computes the same one
    assert make(list(np.array(sizes, dtype=np.int64)), budget, ranks)[0] == plan


@given(sizes.filter(bool), budgets, ranks)
def test_trees_are_packed_into_few_micro_batches_of_like_weight(tokens: list[int], budget: int, ranks: int) -> None:
    plan = plan_trees(tokens, budget, ranks)
    loads = [sum(tokens[i] for i in batch) for rank in plan for batch in rank]
    # Largest first into the lightest: no two differ by more than one item.
    assert max(loads) - min(loads) <= max(tokens)


def test_a_packed_plan_by_hand() -> None:
    # 6 into the first, 5 into the second; 4 joins 5 and 3 joins 6: both hold 9.
    assert plan_trees([3, 4, 5, 6], budget=9) == [[[3, 0], [2, 1]]]
    assert plan_trees([3, 4, 5, 6], budget=9, ranks=2) == [[[3, 0]], [[2, 1]]]
    assert plan_trees([3, 4, 5, 6], budget=18) == [[[3, 2, 1, 0]]]
    assert plan_trees([2, 30, 2], budget=9)[0][0] == [1]  # larger than the budget: alone


def test_padded_batches_hold_neighbours_in_length() -> None:
    # A micro-batch costs budget / 64 beside its tokens. 10: two of two make 2·10 + 2·2 + 2·10, one of four 4·10 + 10.
    assert plan_padded([1, 9, 10, 2], rows=1, budget=640) == [[[2, 1], [3, 0]]]
    assert plan_padded([1, 9, 10, 2], rows=1, budget=3200) == [[[2, 1, 3, 0]]]  # 50: 90 against 124
    # Two rows an item: two of 10 make 40, a third would be too much.
    assert plan_padded([10, 10, 10], rows=2, budget=40) == [[[1, 2], [0]]]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=7), st.integers(1, 400))
def test_padded_batches_are_cut_where_it_costs_least(sizes: list[int], budget: int) -> None:
    def cost(groups: Iterable[Sequence[int]]) -> float:
        return sum(len(g) * max(g) + budget / 64 for g in groups)

    falling = sorted(sizes, reverse=True)
    cuts = [
        [falling[a:b] for a, b in pairwise((0, *places, len(falling)))]
        for n in range(len(falling))
        for places in combinations(range(1, len(falling)), n)
    ]
    allowed = [groups for groups in cuts if all(len(g) == 1 or len(g) * max(g) <= budget for g in groups)]
    plan = plan_padded(sizes, 1, budget)[0]
    assert cost([sizes[i] for i in batch] for batch in plan) == pytest.approx(min(map(cost, allowed)))


@pytest.mark.parametrize(
    ("items", "ranks", "batches"),
    [
        (1, 3, [[1], [0], [0]]),
        (2, 3, [[1], [1], [0]]),
        (3, 2, [[2], [1]]),  # one group, halved
        (4, 3, [[2], [1], [1]]),
    ],
)
def test_padded_groups_are_split_until_every_rank_has_one(items: int, ranks: int, batches: list[list[int]]) -> None:
    plan = plan_padded([5] * items, rows=1, budget=100, ranks=ranks)
    assert [[len(batch) for batch in rank] for rank in plan] == batches


SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=7)


def tree_tokens(sequences: list[np.ndarray], groups: Sequence[Sequence[int]], least: int) -> int:
    """Cost of groups: tokens of their trees, and ``least`` for every branch but the first."""
    trees = [PromptTree.from_sequences([sequences[i] for i in group]) for group in groups]
    return sum(tree.tokens + least * (len(tree.branches) - 1) for tree in trees)


@given(SEQUENCES, st.integers(0, 3))
def test_groups_by_prefix_are_the_cheapest_cut_of_the_sorted_sequences(drawn: list[list[int]], least: int) -> None:
    sequences = [np.array(each, dtype=np.int32) for each in drawn]
    groups = group_by_prefix(sequences, least)
    order = [i for group in groups for i in group]
    assert sorted(order) == list(range(len(sequences)))
    assert [drawn[i] for i in order] == sorted(drawn)
    cuts = product((False, True), repeat=len(order) - 1)
    every = []
    for cut in cuts:
        borders = [0, *(i + 1 for i, here in enumerate(cut) if here), len(order)]
        every.append([order[a:b] for a, b in pairwise(borders)])
    # a tree keeps the last token of its shortest sequence for a branch, so it may save a token less than the prefix has
    slack = sum(len(group) - 1 for group in groups)
    assert tree_tokens(sequences, groups, least) <= min(tree_tokens(sequences, each, least) for each in every) + slack


def test_samples_of_one_prompt_find_each_other_whoever_sent_them() -> None:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(10, 99, 50) for _ in range(4)]
    head = np.arange(5)  # every conversation begins alike
    sequences = [np.concatenate([head, prompts[i % 4], rng.integers(10, 99, 9)]).astype(np.int32) for i in range(32)]
    groups = group_by_prefix(sequences)
    assert sorted(map(len, groups)) == [8] * 4
    assert all(len({i % 4 for i in group}) == 1 for group in groups)
    assert group_by_prefix([]) == []
