"""The responses of a rollout as reward terms see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import torch

from align.rollouts.prompts import PromptSet
from align.rollouts.sampler import Sampler
from align.training.rollout import new_rollout
from reward_models.data.records import Message, Prompt
from reward_models.runtime.distributed import World


class Counted(Sequence[Prompt]):
    """Records that count how often each is read, as those in a file would be."""

    def __init__(self, records: Sequence[Prompt]) -> None:
        self._records, self.read = records, list[int]()

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, place: int) -> Prompt: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Prompt]: ...
    def __getitem__(self, place: Any) -> Any:
        self.read.append(place)
        return self._records[place]


class Words:
    def batch_decode(self, ids: list[list[int]], **_: Any) -> list[str]:
        return [" ".join(map(str, each)) for each in ids]


def test_the_record_of_a_prompt_is_read_once_for_all_its_responses() -> None:
    records = [Prompt(prompt=(Message("user", f"{n}?"),), domain="reasoning", answer=str(n)) for n in range(3)]
    ids = [np.array([n], np.int32) for n in range(3)]
    prompts = PromptSet.of(counted := Counted(records), ids, [False, True, False], {})
    counted.read.clear()
    rollout = new_rollout(ids[1:], 2, np.arange(4), np.zeros(4), np.ones(4), np.array([1, 1, 0, 1]))
    rollout.prompt_P.add_(1)  # the second and the third prompt of the set
    world = World(0, 1, 0, torch.device("cpu"))
    sampler = Sampler(engine=None, tokenizer=Words(), end_ids=(), world=world)  # type: ignore[arg-type]
    found = sampler.samples(prompts, rollout)
    assert [(s.answer, s.response, s.group) for s in found] == [
        ("1", "0", 0),
        ("1", "1", 0),
        ("2", "2", 1),
        ("2", "3", 1),
    ]
    assert [(s.think_prefilled, s.finished) for s in found] == [
        (True, True),
        (True, True),
        (False, False),
        (False, True),
    ]
    assert sorted(counted.read) == [1, 2]
