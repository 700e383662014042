"""Sequence parallelism: two ranks that share the tokens of a batch against one, and what is refused before a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import training_runs
from transformers import AutoConfig

from reward_models.backbone.config import ModelConfig
from reward_models.backbone.pretrained import check_sequence_parallel
from reward_models.backbone.tree_attention import TREE_MODEL_TYPES, sequence_problem
from reward_models.runtime.config import ConfigError
from reward_models.runtime.training_config import check_divisible


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """The largest differences of every case of ``tests/support/sequence_ranks.py``."""
    folder = tmp_path_factory.mktemp("sequence")
    file = folder / "found.json"
    run = training_runs.start(file, ranks=2, program="sequence_ranks", settings=())
    run.finish()
    found: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("model_type", sorted(TREE_MODEL_TYPES))
def test_ranks_that_share_tokens_compute_what_one_computes(
    model_type: str, compared: dict[str, dict[str, float]]
) -> None:
    """Trees, packed rows, an odd number of tokens, grouped heads, windows, a rank without any target."""
    cases = {name: case for name, case in compared.items() if model_type in name.split()}
    assert {name.split()[0] for name in cases} == {"policy", "scorer"}
    for name, case in cases.items():
        assert case["spread"] > 0.1, name  # equal values would agree whatever the attention does
        assert case["outputs"] < 2e-6, name
        assert case["gradients"] < 2e-5, name


def test_the_exchange_is_that_of_deepspeed(compared: dict[str, dict[str, float]]) -> None:
    assert compared["deepspeed"]["spread"] > 0.1
    assert (compared["deepspeed"]["outputs"], compared["deepspeed"]["gradients"]) == (0, 0)


def test_heads_that_the_ranks_do_not_divide_are_refused_with_the_numbers_that_do() -> None:
    config = AutoConfig.for_model("qwen3", num_attention_heads=6, num_key_value_heads=3)
    assert [ranks for ranks in range(1, 7) if sequence_problem(config, ranks) is None] == [1, 2, 3, 6]
    assert sequence_problem(config, 4) == "it does not divide the model's 6 attention heads; 1, 2, 3, 6 do"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"model_type": "bert"}, "the attention of bert models cannot be exchanged between ranks; that of gemma,"),
        ({"model_type": "gemma2"}, "the attention of gemma2 models cannot be exchanged"),
        ({"model_type": "qwen3", "num_attention_heads": 3}, "does not divide the model's 3 attention heads"),
        (
            {"model_type": "llama", "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "rope_type dynamic",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused_before_a_run(model: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.sequence_parallel=2: ") as refused:
        check_sequence_parallel(ModelConfig(config=model), 2)
    assert reason in str(refused.value)
    check_sequence_parallel(ModelConfig(config=model), 1)


def test_padded_batches_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"leave model\.layout at auto"):
        check_sequence_parallel(ModelConfig(config={"model_type": "qwen3"}, layout="padded"), 2)


def test_ranks_that_the_group_does_not_divide_are_refused(tmp_path: Path) -> None:
    check_divisible(8, 4)
    with pytest.raises(ValueError, match=r"engine\.sequence_parallel=4 does not divide the 6 ranks of this job"):
        check_divisible(6, 4)
    said = training_runs.train(tmp_path / "run", "engine.sequence_parallel=2", status=1)
    assert "engine.sequence_parallel=2 does not divide the 1 ranks" in said
    assert "Traceback" not in said
