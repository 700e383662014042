"""The simulation of a rollout: seconds by hand, waiting for places, the tail, and lengths that are drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from align.planning.assumptions import Assumptions, assumptions_for
from align.planning.decoding import Replica, decode, rollout
from align.planning.lengths import Lengths, observed_lengths
from reward_models.planning.devices import Device
from reward_models.planning.shapes import ModelShape, shape_from_settings

# 1 layer, 2 heads of 2: 48 + 96 + 40 = 184 weights that a token passes; keys and values of a token are 16 bytes.
SHAPE: ModelShape = shape_from_settings(
    {
        "model_type": "llama",
        "hidden_size": 4,
        "intermediate_size": 10,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 10,
        "tie_word_embeddings": True,
    },
    "tiny",
    "test",
)
GIVEN = Assumptions(bandwidth_share=1.0, layer_seconds=1e-30, mfu_decode=1.0)


def replica(*, slots: int = 100, cache: float = 1e9, flops: float = 1e30, bandwidth: float = 1.0) -> Replica:
    return Replica(SHAPE, Device(name="x", memory=1e9, flops=flops, bandwidth=bandwidth), GIVEN, 1, False, slots, cache)


def test_the_sizes_that_the_figures_below_rest_on() -> None:
    assert SHAPE.active == 4 * 12 + 4 * 4 + 3 * 4 * 10 + 40 == 224
    assert SHAPE.cache_bytes(2) == 16


def test_a_step_reads_weights_and_cache_or_computes() -> None:
    reads = replica().step(3, 5.0)
    assert reads["reading weights"] == 2 * 224
    assert reads["reading keys and values"] == 3 * 5 * 16
    assert reads["arithmetic"] == 0
    slow = replica(flops=1.0).step(3, 5.0)
    assert slow["arithmetic"] == 3 * (2 * 224 + 2 * 2 * 2 * 2 * 5)  # 2 per weight; 4 per key and unit of a head's width
    assert slow["reading weights"] == 0
    twice = replace(replica(), assumptions=replace(GIVEN, tokens_per_step=2.0)).step(3, 5.0)
    assert twice["reading weights"] == 224  # of a token: the step gives two


def test_two_sequences_by_hand() -> None:
    """Lengths 2 and 4 after a prompt of 10: two steps of both, then two of the longer one."""
    found = decode(replica(), [2, 4], 10.0)
    both = 2 * (448 + 16 * (2 * 10 + 2 * 2 / 2))
    one = 2 * (448 + 16 * (10 + 2 + 2 / 2))
    assert found.seconds == both + one
    assert found.course == [(0.0, 2), (float(both), 1), (float(both + one), 0)]
    assert found.tail == one  # at most a tenth of the first two, and one at least
    assert found.parts["reading weights"] == 4 * 448


def test_sequences_wait_for_a_slot_and_for_room_in_the_cache() -> None:
    one_by_one = decode(replica(slots=1), [3, 3], 0.0)
    assert one_by_one.seconds == 2 * decode(replica(), [3], 0.0).seconds
    assert one_by_one.waited == 1
    assert decode(replica(cache=12.0), [3, 3], 10.0).waited == 1
    assert decode(replica(cache=24.0), [3, 3], 10.0).waited == 0


def test_a_rollout_is_as_slow_as_its_slowest_replica() -> None:
    alone = decode(replica(), [5, 9], 1.0)
    found = rollout(replica(), [5, 9, 1, 1], 2, 1.0, 2)  # two prompts of two responses: one for each replica
    assert found.seconds == alone.seconds


def test_lengths_have_the_mean_of_the_schedule_and_end_at_the_limit() -> None:
    rng = np.random.default_rng(0)
    lengths = Lengths([(0, 100.0), (10, 300.0)], 0.5)
    assert lengths.draw(rng, 20_000, 0, 10**9).mean() == pytest.approx(100, rel=0.03)
    assert lengths.draw(rng, 20_000, 5, 10**9).mean() == pytest.approx(200, rel=0.03)
    assert lengths.draw(rng, 1000, 10, 250).max() == 250
    scaled = Lengths(20.0, observed=(5, 15)).draw(rng, 1000, 0, 10**9)
    assert set(scaled.tolist()) == {10, 30}


def test_observed_lengths_leave_out_the_best_and_the_worst(tmp_path: Path) -> None:
    rows = [{"pick": "random", "tokens": 7}, {"pick": "best", "tokens": 99}, {"pick": "random", "tokens": 9}]
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert observed_lengths(file) == (7, 9)
    file.write_text('{"pick": "random"}\n')
    with pytest.raises(ValueError, match=r"samples.jsonl:1: no sample with its number of tokens"):
        observed_lengths(file)


def test_assumptions_are_all_explained_and_checked() -> None:
    said = assumptions_for("vllm", ["mfu_update=0.5", "cache_bytes=1"])
    assert (said.mfu_update, said.cache_bytes) == (0.5, 1)
    assert assumptions_for("local", []).layer_seconds > said.layer_seconds
    for name in Assumptions.__dataclass_fields__:
        assert any(line.startswith(f"{name} = ") for line in said.lines()), name
    for word, reason in (("mfu=1", "no such assumption"), ("mfu_update=x", "no number"), ("mfu_update=2", "share")):
        with pytest.raises(ValueError, match=reason):
            assumptions_for("vllm", [word])
