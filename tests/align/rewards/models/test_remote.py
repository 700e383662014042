"""Reward models behind servers: equal scores by every protocol, and traps caught before the first score."""

from __future__ import annotations

import asyncio
import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from remote_samples import PROMPT, SAMPLES, length, lengths, sample, scores
from stand_in_rewards import StandIn, keel, serving
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from align.rewards.build import TermConfig, build_terms
from align.rewards.models.client import RewardClient
from align.rewards.models.local import ModelReward
from align.rewards.models.remote import RemoteReward
from align.rewards.models.replicas import TOKEN_VARIABLE, RewardServerError
from align.rewards.models.server_check import looks_like
from align.rewards.terms import Sample, run_terms
from reward_models import RewardModel

TOKEN_PROTOCOLS = ("vllm_classify", "vllm_pooling", "sglang")


@pytest.fixture
def helpful(models: dict[str, Path]) -> RewardModel:
    return RewardModel.load(models["helpful"])


def library(model: RewardModel) -> StandIn:
    """``keel serve`` by the library itself."""

    def score(conversation: list[dict[str, str]]) -> dict[str, Any]:
        found = model.score([conversation])[0]
        return {"raw": found.raw, "calibrated": found.calibrated}

    return keel(score)


def engine(model: RewardModel, change: Callable[[float], float] = lambda score: score, cut: int = 0) -> StandIn:
    """vLLM and SGLang as their sources answer; an activation unless the request says no."""

    def raw(sequences: list[list[int]]) -> list[float]:
        arrays = [np.array(ids, dtype=np.int32) for ids in sequences]
        return [score.raw for score in model.score_sequences(arrays, [[place] for place in range(len(arrays))])]

    def answer(path: str, body: Any) -> Any:
        if "input_ids" in body:
            assert path == "/classify"
            found = raw(body["input_ids"])
            return [{"embedding": [change(value)], "meta_info": {}} for value in found]
        assert body["use_activation"] is False
        found = [change(v) for v in raw([ids[: len(ids) - cut] for ids in body["input"]])]
        if path == "/pooling":
            assert body["task"] == "classify"
            return {"object": "list", "data": [{"index": i, "data": [v]} for i, v in enumerate(found)]}
        data = [{"index": i, "label": "LABEL_0", "probs": [v], "num_classes": 1} for i, v in enumerate(found)]
        return {"object": "list", "data": data}

    return StandIn(answer)


# --- scores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["keel", *TOKEN_PROTOCOLS])
@pytest.mark.parametrize("value", ["calibrated", "raw"])
def test_scores_are_the_local_models_by_every_protocol(
    models: dict[str, Path], helpful: RewardModel, protocol: Any, value: Any
) -> None:
    batch = [*SAMPLES, sample(""), sample("<think>one and two</think>It is 3.")]
    expected = ModelReward(task="preference", model=str(models["helpful"]), value=value).score(batch)
    stand_in = library(helpful) if protocol == "keel" else engine(helpful)
    with serving(stand_in) as urls:
        reference = str(models["helpful"])
        term = RemoteReward(task="preference", urls=urls, value=value, protocol=protocol, reference=reference, batch=3)
        found = scores(term, batch)
    assert found == [None if e is None else pytest.approx(e, abs=1e-5) for e in expected]
    assert found[10] is None
    assert term.counts["requests"] == 4


def test_it_is_built_like_the_local_term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    stand_in = keel(length)
    with serving(stand_in) as urls:
        config = TermConfig(term="helpful", weight=0.5, arguments={"urls": urls, "model": "helpful"})
        (term,) = build_terms([config], set())
        found = run_terms([term], [*SAMPLES[:2], sample("x", "reasoning")])
    assert term.entry == "helpful"
    assert found["helpful"].scores == (*lengths(SAMPLES[:2]), None)
    assert found["helpful"].applies == (True, True, False)
    path, body, headers = stand_in.requests[-1]
    assert path == "/v1/score"
    assert body["conversations"][0][-1] == {"role": "assistant", "content": SAMPLES[0].response}
    assert headers["Authorization"] == "Bearer secret"


def test_it_can_be_pickled_and_called_from_many_threads() -> None:
    with serving(keel(length)) as urls:
        client = pickle.loads(pickle.dumps(RewardClient(urls)))
        loops = [asyncio.new_event_loop() for _ in range(3)]
        found = [loop.run_until_complete(client.answers(SAMPLES)) for loop in loops]
        for loop in loops:
            loop.close()
    assert [[a.calibrated for a in answers] for answers in found] == [lengths()] * 3


def test_the_tag_that_the_template_wrote_is_sent() -> None:
    stand_in = keel(length)
    prefilled = Sample(
        prompt=PROMPT, response="a</think>b", domain="helpfulness", tokens=1, finished=True, think_prefilled=True
    )
    with serving(stand_in) as urls:
        scores(RemoteReward(task="preference", urls=urls), [prefilled])
    assert stand_in.requests[-1][1]["conversations"][0][-1]["content"] == "<think>a</think>b"


# --- what is caught before the first score --------------------------------------------------------------------------

SIGMOID: Any = lambda score: 1 / (1 + math.exp(-score))  # noqa: E731


@pytest.mark.parametrize(
    ("protocol", "trap", "said"),
    [
        ("vllm_classify", {"change": SIGMOID}, "a sigmoid over the score"),
        ("vllm_pooling", {"change": SIGMOID}, "a sigmoid over the score"),
        ("sglang", {"change": lambda score: 1.0}, "a softmax over one label"),
        ("sglang", {"change": lambda score: -score}, "the opposite sign"),
        ("sglang", {"change": lambda score: (score - 0.3) / 0.5}, "the calibrated score"),
        ("vllm_classify", {"cut": 1}, "the last token left out"),
        ("vllm_classify", {"change": lambda score: 0.7 * score + 1.3}, "another model, tokenizer or chat template"),
    ],
)
def test_a_server_that_gives_other_scores_is_refused_and_the_trap_named(
    models: dict[str, Path], helpful: RewardModel, protocol: Any, trap: dict[str, Any], said: str
) -> None:
    with serving(engine(helpful, **trap)) as urls, pytest.raises(RewardServerError, match=said):
        RemoteReward(task="preference", urls=urls, protocol=protocol, reference=str(models["helpful"]))


def test_a_second_bos_and_reasoning_that_must_not_be_read_are_named(
    models: dict[str, Path], helpful: RewardModel, tmp_path: Path
) -> None:
    shutil.copytree(models["helpful"], tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(models["helpful"])
    bos = tokenizer.convert_tokens_to_ids("<|im_start|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<|im_start|> $A", None, [("<|im_start|>", bos)])
    tokenizer.save_pretrained(tmp_path / "model")

    def raw(ids: list[int]) -> float:
        return helpful.score_sequences([np.array(ids, dtype=np.int32)], [[0]])[0].raw

    twice = StandIn(lambda path, body: [{"embedding": [raw([bos, *ids])]} for ids in body["input_ids"]])
    with (
        serving(twice) as urls,
        pytest.raises(RewardServerError, match=r"the special tokens \(BOS\) added a second time"),
    ):
        RewardClient(urls, protocol="sglang", reference=str(tmp_path / "model")).connect()

    def unread(conversation: list[dict[str, str]]) -> dict[str, Any]:
        text: Any = tokenizer.apply_chat_template(conversation, tokenize=False)
        return {"raw": raw(tokenizer(text, add_special_tokens=False)["input_ids"]), "calibrated": 0.0}

    with serving(keel(unread)) as urls, pytest.raises(RewardServerError, match="the reasoning, which this model must"):
        RewardClient(urls, reference=str(models["helpful"])).connect()


@pytest.mark.parametrize(("change", "said"), [(SIGMOID, "a sigmoid"), (lambda score: 1.0, "softmax over one label")])
def test_statistics_alone_tell_the_worst_traps(
    models: dict[str, Path], helpful: RewardModel, tmp_path: Path, change: Any, said: str
) -> None:
    shutil.copytree(models["helpful"], tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["keel"]["calibration"] |= {"mean": 0.6, "std": 0.3}  # what this model's scores are like
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    reference = str(tmp_path / "model")
    options: dict[str, Any] = {"protocol": "sglang", "reference": reference, "check": "statistics", "value": "raw"}
    with serving(engine(helpful)) as urls:
        found = scores(RemoteReward(task="preference", urls=urls, **options))
        assert found == pytest.approx(
            ModelReward(task="preference", model=str(models["helpful"]), value="raw").score(SAMPLES), abs=1e-5
        )
    with serving(engine(helpful, change)) as urls, pytest.raises(RewardServerError, match=said):
        RemoteReward(task="preference", urls=urls, **options)


SMALL = np.array([0.021, 0.052, 0.101, 0.034, 0.124, 0.073])  # all of the few scores happen to be positive


@pytest.mark.parametrize(
    ("scores", "mean", "std", "said"),
    [
        (SMALL, 0.010, 0.087, None),  # a right server of a small model
        (SMALL - 0.08, 0.010, 0.087, None),
        (1 / (1 + np.exp(-SMALL)), 0.010, 0.087, "It looks like a sigmoid"),
        (np.array([0.3, 0.9, 0.5, 0.6, 0.7, 0.4]), 0.5, 1.0, "cannot tell"),
        (1 / (1 + np.exp(-np.array([3.0, -2.0, 1.0, 0.2, -1.0, 2.0]))), 0.3, 2.0, "cannot tell"),
        (np.array([3.0, -2.0, 1.0, 0.2, -1.0, 2.0]), 0.3, 2.0, None),
        (np.array([3.0, -2.0, 40.0, 0.2, -1.0, 2.0]), 0.3, 2.0, "another model"),
        (SMALL + 5, 0.010, 0.087, "another model"),
    ],
)
def test_statistics_say_no_more_than_they_can_tell(
    scores: np.ndarray, mean: float, std: float, said: str | None
) -> None:
    found = looks_like(scores, mean, std)
    assert found is None if said is None else said in str(found)


def test_a_server_that_computes_in_bf16_is_no_trap(models: dict[str, Path], helpful: RewardModel) -> None:
    with serving(engine(helpful, lambda score: float(torch.tensor(score).bfloat16()))) as urls:
        RewardClient(urls, protocol="vllm_classify", reference=str(models["helpful"])).connect()


def test_every_replica_is_checked(models: dict[str, Path], helpful: RewardModel) -> None:
    with serving(engine(helpful), engine(helpful, SIGMOID)) as urls, pytest.raises(RewardServerError) as caught:
        RewardClient(urls, protocol="sglang", reference=str(models["helpful"])).connect()
    assert urls[1] in str(caught.value)


def test_servers_of_another_task_or_of_nothing_fitting_are_refused() -> None:
    with serving(keel(length, task="safety"), keel(length)) as (safety, helpful):
        with pytest.raises(RewardServerError, match="is no model of the task preference"):
            RemoteReward(task="preference", urls=safety)
        with pytest.raises(RewardServerError, match="different models"):
            RewardClient([safety, helpful]).connect()
        with pytest.raises(RewardServerError, match=r"no model 'other'; it serves helpful \(preference\)"):
            RewardClient(helpful, model="other").connect()
    with pytest.raises(RewardServerError, match="no reward server is ready"):
        RewardClient(helpful).connect()
    with pytest.raises(RewardServerError, match=TOKEN_VARIABLE):
        RewardClient("http://me:secret@host")
    with pytest.raises(RewardServerError, match="as reference"):
        RewardClient("http://host", protocol="sglang")
