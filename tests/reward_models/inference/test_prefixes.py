"""Prefixes kept across forward passes: the same scores, within a bound of memory, and nothing stale."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from live_server import Live, conversations, model_loader, running, save_small
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from transformers import AutoConfig, AutoModelForSequenceClassification
from tree_models import EXPERTS, SHAPE

from reward_models import RewardModel
from reward_models.backbone import tree_attention as attention_module
from reward_models.backbone.tree_attention import TREE_ATTENTION, TREE_MODEL_TYPES
from reward_models.data.batching import group_by_prefix
from reward_models.data.tree_batches import pack
from reward_models.data.trees import PromptTree
from reward_models.inference.prefixes import BLOCK, PrefixCache
from reward_models.model import SequenceScorer
from reward_models.serving.limits import Limits

# What one block of the small decoder takes: layers x (keys, values) x heads x tokens x size x 4 bytes.
BLOCK_BYTES = 2 * 2 * 1 * BLOCK * 16 * 4
LONG = SHAPE | {"max_position_embeddings": 512}
WINDOWS: dict[str, dict[str, Any]] = {
    "gemma3_text": {"sliding_window": 40, "layer_types": ["sliding_attention", "full_attention"]},
    "mistral": {"sliding_window": 40},
    "qwen3_moe": EXPERTS,
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("prefixes") / "model", "preference")


@pytest.fixture(scope="module")
def plain(directory: Path) -> RewardModel:
    return RewardModel.load(directory, max_tokens=600)


def keeping(directory: Path, blocks: int = 10_000) -> RewardModel:
    model = RewardModel.load(directory, max_tokens=600)
    assert model.keep_prefixes(blocks * BLOCK_BYTES)
    return model


def draw(rng: np.random.Generator, length: int, highest: int = 300) -> np.ndarray:
    return rng.integers(5, highest, length).astype(np.int32)


def raw(model: RewardModel, sequences: list[np.ndarray]) -> list[float]:
    return [score.raw for score in model.score_sequences(sequences, group_by_prefix(sequences))]


def batches(rng: np.random.Generator, number: int) -> list[list[np.ndarray]]:
    """Single sequences, groups, repeats and continuations over a few prompts, shorter and longer than a block."""
    prompts = [draw(rng, length) for length in (3, 31, 32, 33, 64, 100, 250)]
    prompts.append(np.concatenate((prompts[5], draw(rng, 70))))  # continues another one
    seen: list[np.ndarray] = []
    made = []
    for _ in range(number):
        batch = []
        for _ in range(rng.integers(1, 6)):
            prompt = prompts[rng.integers(len(prompts))]
            batch += [np.concatenate((prompt, draw(rng, rng.integers(1, 90)))) for _ in range(rng.integers(1, 5))]
        if seen and rng.random() < 0.5:
            batch.append(seen[rng.integers(len(seen))])
            batch.append(np.concatenate((batch[-1], draw(rng, 40))))
        seen += batch
        made.append([batch[i] for i in rng.permutation(len(batch))])
    return made


@pytest.mark.parametrize(("seed", "blocks"), [(0, 10_000), (1, 40), (2, 9), (3, 1)])
def test_scores_are_those_without_kept_prefixes(seed: int, blocks: int, directory: Path, plain: RewardModel) -> None:
    model = keeping(directory, blocks)
    assert model.prefixes is not None
    for batch in batches(np.random.default_rng(seed), 25):
        assert raw(model, batch) == pytest.approx(raw(plain, batch), abs=1e-5)
        assert model.prefixes.used_bytes <= blocks * BLOCK_BYTES
    assert model.prefixes.reused > 0


@pytest.mark.parametrize("model_type", sorted(TREE_MODEL_TYPES))
def test_every_architecture_continues_a_kept_prefix(model_type: str) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **LONG | WINDOWS.get(model_type, {}))
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        pytest.skip(f"this transformers has no classifier for {model_type}")
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation=TREE_ATTENTION)
    scorer = SequenceScorer(model.eval(), "tree")
    cache = PrefixCache(model.config, 2**22, dtype=torch.float32, device=torch.device("cpu"))
    rng = np.random.default_rng(0)
    prompt = draw(rng, 2 * BLOCK + 5, 60)
    trees = [PromptTree(prompt, tuple(draw(rng, 4 + n, 60) for n in range(3))), PromptTree.from_sequences([prompt])]
    with torch.inference_mode():
        expected = scorer(pack(trees))
        for _ in range(2):
            with cache.reading(trees) as (rest, past, keep):
                found = scorer(pack(rest, past), keep)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.01
    assert cache.reused == 2 * 2 * BLOCK


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("window", [None, 40])
def test_flex_attention_sees_the_past_of_its_own_tree(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_module, "_compiled_flex", lambda: (flex_attention, create_block_mask))
    rng = np.random.default_rng(0)
    trees = [PromptTree(draw(rng, 70), (draw(rng, 5), draw(rng, 9))), PromptTree(draw(rng, 3), (draw(rng, 4),) * 2)]
    trees.append(PromptTree.from_sequences([draw(rng, 40)]))
    config = AutoConfig.for_model("llama", **LONG | {"num_hidden_layers": 1})
    cache = PrefixCache(config, 2**20, dtype=torch.float64, device=torch.device("cpu"))
    with cache.reading(trees) as (rest, past, keep):
        assert past is None
        assert keep is not None
        keep(0, *(torch.randn(1, 2, pack(rest).tokens, 4, dtype=torch.float64) for _ in range(2)))
    with cache.reading(trees) as (rest, past, _):
        assert past is not None
        assert past.lengths == (2 * BLOCK, 0, BLOCK)
        batch = pack(rest, past)
        inputs = [torch.randn(1, heads, batch.tokens, 4, dtype=torch.float64) for heads in (4, 2, 2)]
        layer = (past.layers[0][:1], past.layers[0][1:])
        flex = attention_module._flex(*inputs, batch, 0.7, window, layer)
        paths = attention_module._path_by_path(*inputs, batch.to("cpu"), 0.7, window, layer)
    torch.testing.assert_close(flex, paths, rtol=0, atol=1e-12)


def test_what_is_computed_and_what_is_reused(directory: Path) -> None:
    """By hand: blocks of 32 tokens; the last token of a sequence is always computed."""
    model, rng = keeping(directory), np.random.default_rng(0)
    prompt = draw(rng, 3 * BLOCK)
    group = [np.concatenate((prompt, draw(rng, 10))) for _ in range(4)]
    raw(model, group)
    assert model.prefixes is not None
    assert (model.prefixes.reused, model.prefixes.computed) == (0, 96 + 4 * 10)
    assert model.prefixes.used_bytes == 3 * BLOCK_BYTES  # of the prompt, and none of the branches
    raw(model, [np.concatenate((prompt, draw(rng, 7)))])
    assert (model.prefixes.reused, model.prefixes.computed) == (96, 136 + 7)
    raw(model, [prompt])
    assert (model.prefixes.reused, model.prefixes.computed) == (96 + 64, 143 + 32)


def test_the_least_recently_used_prefix_goes_first(directory: Path) -> None:
    model, rng = keeping(directory, blocks=4), np.random.default_rng(0)
    prompts = [draw(rng, 2 * BLOCK) for _ in range(3)]
    first, second, third = ([np.concatenate((p, draw(rng, 3))) for _ in range(2)] for p in prompts)

    def reused(sequences: list[np.ndarray]) -> int:
        assert model.prefixes is not None
        before = model.prefixes.reused
        raw(model, sequences)
        return model.prefixes.reused - before

    assert [reused(each) for each in (first, second, first, third, first, second)] == [0, 0, 64, 0, 64, 0]


def test_prompts_that_never_come_back_take_no_more_than_the_bound(directory: Path) -> None:
    model, rng = keeping(directory, blocks=20), np.random.default_rng(0)
    assert model.prefixes is not None
    for _ in range(40):
        raw(model, [draw(rng, 130) for _ in range(4)])
        assert model.prefixes.used_bytes <= 20 * BLOCK_BYTES
    assert model.prefixes.reused == 0
    assert len(model.prefixes._free) + len(model.prefixes._blocks) == 20


def test_a_failed_pass_keeps_nothing_and_loses_no_block(
    directory: Path, plain: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rng = keeping(directory, blocks=8), np.random.default_rng(0)
    assert model.prefixes is not None
    batch = [draw(rng, 100), draw(rng, 90)]
    with monkeypatch.context() as patched:
        patched.setattr(model.scorer.classifier.score, "forward", lambda hidden: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            raw(model, batch)
    assert (model.prefixes.used_bytes, len(model.prefixes._free)) == (0, 8)
    for _ in range(2):
        assert raw(model, batch) == pytest.approx(raw(plain, batch), abs=1e-5)


def test_too_little_memory_for_one_block_is_an_error(directory: Path) -> None:
    with pytest.raises(ValueError, match=f"{BLOCK_BYTES - 1} bytes do not hold 32 tokens .* give prefix_bytes more"):
        RewardModel.load(directory).keep_prefixes(BLOCK_BYTES - 1)


# --- in a server ------------------------------------------------------------------------------------------------------


def figure(server: Live, name: str, model: str) -> float:
    return server.metrics.registry.get_sample_value(name, {"model": model}) or 0.0


def long_prompts() -> list[Any]:
    return [[{"role": "user", "content": "what is it " * 30}, *turns[1:]] for turns in conversations(6, 4)]


def test_concurrent_clients_of_two_models_get_their_own_scores(tmp_path: Path) -> None:
    """The same prompts, two models, eight clients at a time: the prefixes of one are never those of the other."""
    folders = {name: save_small(tmp_path / name, "preference", seed=seed) for seed, name in enumerate(("a", "b"))}
    turns = long_prompts()
    expected = {name: [s.raw for s in RewardModel.load(path).score(turns)] for name, path in folders.items()}
    assert max(abs(a - b) for a, b in zip(*expected.values(), strict=True)) > 0.1
    limits = Limits(prefix_bytes=30 * BLOCK_BYTES)
    loaders = {name: model_loader(name, path, limits, max_tokens=600) for name, path in folders.items()}
    with running(loaders, limits) as server:
        errors: list[float] = []

        def client(seed: int) -> None:
            rng = np.random.default_rng(seed)
            for _ in range(6):
                name, places = str(rng.choice(["a", "b"])), rng.integers(len(turns), size=rng.integers(1, 4))
                found = server.scores(name, [turns[i] for i in places])
                errors.extend(abs(value - expected[name][i]) for value, i in zip(found, places, strict=True))

        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(errors) >= 48
        assert max(errors) < 1e-5
        for name in folders:
            assert figure(server, "keel_reused_tokens_total", name) > 0
            assert 0 < figure(server, "keel_prefix_bytes", name) <= 30 * BLOCK_BYTES


def test_a_reload_drops_the_prefixes_of_the_old_weights(tmp_path: Path) -> None:
    directory = save_small(tmp_path / "model", "preference", seed=1)
    token, turns = "0123456789abcdef0123", long_prompts()
    with running({"model": model_loader("model", directory)}, token=token) as server:

        def scores() -> list[float]:
            headers = {"Authorization": f"Bearer {token}"}
            answer = server.post("/v1/score", {"model": "model", "conversations": turns}, headers=headers)
            return [each["raw"] for each in answer.json()["results"]]

        before = [scores(), scores()]
        assert before[0] == pytest.approx(before[1], abs=1e-5)
        save_small(directory, "preference", seed=2)
        reloaded = server.post("/v1/reload", {"model": "model"}, headers={"Authorization": f"Bearer {token}"})
        assert reloaded.status_code == 200
        after = scores()
    assert after == pytest.approx([s.raw for s in RewardModel.load(directory).score(turns)], abs=1e-5)
    assert max(abs(a - b) for a, b in zip(before[0], after, strict=True)) > 0.1


def test_an_encoder_keeps_none_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bert = {"model_type": "bert", "max_position_embeddings": 512}
    directory = save_small(tmp_path / "model", "preference", settings=bert)
    with caplog.at_level("INFO"), running({"model": model_loader("model", directory)}) as server:
        turns = conversations(1, 3)
        for _ in range(2):
            assert len(server.scores("model", turns)) == 3
        assert figure(server, "keel_reused_tokens_total", "model") == 0
    assert "keeps no prefixes: prefix_bytes has no effect" in caplog.text


def test_no_memory_keeps_none(directory: Path) -> None:
    limits = Limits(prefix_bytes=0)
    with running({"model": model_loader("model", directory, limits)}, limits) as server:
        turns = long_prompts()
        assert server.scores("model", turns) == pytest.approx(server.scores("model", turns), abs=1e-5)
        assert figure(server, "keel_reused_tokens_total", "model") == 0
