"""The record of a rollout: selecting, putting together, and dividing prompts among ranks."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from align.training.batches import share_groups
from align.training.rollout import Rollout, concat, load_rollout, new_rollout, save_rollout

GROUP = 2


def rollout(prompts: list[list[int]], responses: list[list[int]]) -> Rollout:
    """Every field is filled, with values that tell prompts and responses apart."""
    tokens = np.array([token for response in responses for token in response])
    made = new_rollout(
        [np.array(prompt, np.int32) for prompt in prompts],
        GROUP,
        tokens,
        -tokens / 10,
        np.array([len(response) for response in responses]),
        np.array([len(response) % 2 == 0 for response in responses]),
    )
    rewards_PG = torch.tensor([len(response) for response in responses], dtype=torch.float64).view(-1, GROUP)
    old_T = made.rollout_logprobs_T - 1
    made = replace(made, prompt_P=torch.tensor([p[0] for p in prompts]), old_logprobs_T=old_T)
    return made.with_advantages(rewards_PG.flatten().numpy(), rewards_PG - rewards_PG.mean(1, keepdim=True))


PROMPTS = [[7], [8, 8, 8], [9, 9]]
RESPONSES = [[1], [2, 2], [3, 3, 3], [4], [5, 5, 5, 5], [6, 6]]


def assert_equal(first: Rollout, second: Rollout) -> None:
    for field in fields(Rollout):
        a, b = getattr(first, field.name), getattr(second, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


def test_select_takes_whole_prompts_in_the_order_given() -> None:
    chosen = rollout(PROMPTS, RESPONSES).select([2, 0])
    assert chosen.prompt_P.tolist() == [9, 7]
    assert chosen.prompt_T.tolist() == [9, 9, 7]
    assert chosen.prompt_length_P.tolist() == [2, 1]
    assert chosen.response_T.tolist() == [5, 5, 5, 5, 6, 6, 1, 2, 2]
    assert chosen.length_N.tolist() == [4, 2, 1, 2]
    assert chosen.finished_N.tolist() == [True, True, False, True]
    assert chosen.old_logprobs_T is not None
    assert chosen.old_logprobs_T.tolist() == pytest.approx([-1.5] * 4 + [-1.6] * 2 + [-1.1] + [-1.2] * 2)
    assert chosen.rewards_PG is not None
    assert chosen.rewards_PG.tolist() == [[4, 2], [1, 2]]
    assert chosen.reference_logprobs_T is None
    assert_equal(chosen, rollout([PROMPTS[2], PROMPTS[0]], [*RESPONSES[4:], *RESPONSES[:2]]))


def test_selecting_parts_and_putting_them_together_gives_the_whole() -> None:
    whole = rollout(PROMPTS, RESPONSES)
    assert_equal(concat([whole.select([0]), whole.select([]), whole.select([1, 2])]), whole)
    assert_equal(concat([whole, whole]).select([3, 1, 5]), whole.select([0, 1, 2]))


def test_rollouts_that_do_not_fit_together_are_refused() -> None:
    whole = rollout(PROMPTS, RESPONSES)
    for other in (replace(whole, old_logprobs_T=None), replace(whole, samples=3)):
        with pytest.raises(ValueError, match="cannot be put together"):
            concat([whole, other])


def test_a_saved_rollout_is_read_back(tmp_path: Path) -> None:
    whole = rollout(PROMPTS, RESPONSES)
    save_rollout(whole, tmp_path / "rollout.safetensors")
    assert_equal(load_rollout(tmp_path / "rollout.safetensors"), whole)


def test_a_slice_holds_all_samples_of_a_prompt_as_far_as_the_budget_goes() -> None:
    whole = rollout(PROMPTS, RESPONSES)
    assert [(s.prompt, s.samples, s.tokens) for s in whole.slices([1, 2], 100, "tree")] == [
        (1, (2, 3), 7),
        (2, (4, 5), 8),
    ]
    assert [s.samples for s in whole.slices([1, 2], 7, "tree")] == [(2, 3), (4,), (5,)]
    assert [s.samples for s in whole.slices([1, 2], 100, "padded")] == [(2,), (3,), (4,), (5,)]
    trees = whole.trees(whole.slices([1], 100, "tree"))
    assert trees[0].prompt.tolist() == [8, 8, 8]
    assert [branch.tolist() for branch in trees[0].branches] == [[3, 3, 3], [4]]
    assert whole.of(whole.response_T, whole.slices([2, 0], 100, "tree")).tolist() == [5, 5, 5, 5, 6, 6, 1, 2, 2]
    assert whole.group_tokens() == [4, 7, 8]


@given(st.lists(st.integers(1, 1000), max_size=40), st.integers(1, 8))
def test_every_group_is_on_one_rank_and_ranks_have_about_equal_work(sizes: list[int], ranks: int) -> None:
    shares = share_groups(sizes, ranks)
    assert len(shares) == ranks
    assert sorted(place for share in shares for place in share) == list(range(len(sizes)))
    loads = [sum(sizes[place] for place in share) for share in shares]
    # The rank with the most got its last group when it had the least.
    assert max(loads) - min(loads) <= max(sizes, default=0)
