"""Reward models behind servers: equal scores by every protocol, traps caught before the first score, and chaos."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import pickle
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stand_in_rewards import StandIn, keel, serving
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from align.rewards.build import TermConfig, build_terms
from align.rewards.client import RewardClient
from align.rewards.models import ModelReward
from align.rewards.remote import RemoteReward
from align.rewards.replicas import TOKEN_VARIABLE, RewardServerError
from align.rewards.terms import Sample, run_terms
from align.scorer import RewardFailure, check_failures
from reward_models import RewardModel
from reward_models.data.records import Message

PROMPT = (Message("user", "What is 1 + 2?"),)
QUICK = {"timeout": 1.0, "give_up_after": 3.0, "first_wait": 0.01, "breaker_seconds": 0.2}
TOKEN_PROTOCOLS = ("vllm_classify", "vllm_pooling", "sglang")


def sample(response: str, kind: Any = "helpfulness") -> Sample:
    return Sample(prompt=PROMPT, response=response, kind=kind, tokens=5, finished=True)


SAMPLES = [sample(f"It is {i}." + " Truly." * (i % 3)) for i in range(10)]


def length(conversation: list[dict[str, str]]) -> dict[str, Any]:
    """A score that anybody can check."""
    return {"raw": float(len(conversation[-1]["content"])), "calibrated": len(conversation[-1]["content"]) / 10}


def scores(term: RemoteReward, samples: list[Sample] = SAMPLES) -> list[float | None]:
    return asyncio.run(term.score(samples))


def lengths(samples: list[Sample] = SAMPLES) -> list[float]:
    return [len(s.response) / 10 for s in samples]


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
    expected = ModelReward(kind="helpful", model=str(models["helpful"]), value=value).score(batch)
    stand_in = library(helpful) if protocol == "keel" else engine(helpful)
    with serving(stand_in) as urls:
        reference = str(models["helpful"])
        term = RemoteReward(kind="helpful", urls=urls, value=value, protocol=protocol, reference=reference, batch=3)
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
        prompt=PROMPT, response="a</think>b", kind="helpfulness", tokens=1, finished=True, think_prefilled=True
    )
    with serving(stand_in) as urls:
        scores(RemoteReward(kind="helpful", urls=urls), [prefilled])
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
        RemoteReward(kind="helpful", urls=urls, protocol=protocol, reference=str(models["helpful"]))


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
        found = scores(RemoteReward(kind="helpful", urls=urls, **options))
        assert found == pytest.approx(
            ModelReward(kind="helpful", model=str(models["helpful"]), value="raw").score(SAMPLES), abs=1e-5
        )
    with serving(engine(helpful, change)) as urls, pytest.raises(RewardServerError, match=said):
        RemoteReward(kind="helpful", urls=urls, **options)


def test_a_server_that_computes_in_bf16_is_no_trap(models: dict[str, Path], helpful: RewardModel) -> None:
    with serving(engine(helpful, lambda score: float(torch.tensor(score).bfloat16()))) as urls:
        RewardClient(urls, protocol="vllm_classify", reference=str(models["helpful"])).connect()


def test_every_replica_is_checked(models: dict[str, Path], helpful: RewardModel) -> None:
    with serving(engine(helpful), engine(helpful, SIGMOID)) as urls, pytest.raises(RewardServerError) as caught:
        RewardClient(urls, protocol="sglang", reference=str(models["helpful"])).connect()
    assert urls[1] in str(caught.value)


def test_servers_of_another_kind_or_of_nothing_fitting_are_refused() -> None:
    with serving(keel(length, kind="safety"), keel(length)) as (safety, helpful):
        with pytest.raises(RewardServerError, match="is no helpful model"):
            RemoteReward(kind="helpful", urls=safety)
        with pytest.raises(RewardServerError, match="different models"):
            RewardClient([safety, helpful]).connect()
        with pytest.raises(RewardServerError, match=r"no model 'other'; it serves helpful \(helpful\)"):
            RewardClient(helpful, model="other").connect()
    with pytest.raises(RewardServerError, match="no reward server is ready"):
        RewardClient(helpful).connect()
    with pytest.raises(RewardServerError, match=TOKEN_VARIABLE):
        RewardClient("http://me:secret@host")
    with pytest.raises(RewardServerError, match="as reference"):
        RewardClient("http://host", protocol="sglang")


# --- chaos ----------------------------------------------------------------------------------------------------------


def garbled(kinds: Iterator[Any]) -> Callable[[StandIn], StandIn]:
    """A server that gives the next of ``kinds`` instead of its answer, which a kind may also be made from."""

    def spoil(stand_in: StandIn) -> StandIn:
        honest = stand_in.answer

        def answer(path: str, body: Any) -> Any:
            kind = next(kinds, None)
            true = honest(path, body)
            return true if kind is None else kind(true) if callable(kind) else kind

        stand_in.answer = answer
        return stand_in

    return spoil


def _changed(key: str, value: Any) -> Callable[[Any], Any]:
    return lambda true: {**true, "results": [{**true["results"][0], key: value}, *true["results"][1:]]}


GARBAGE: list[Any] = [
    (200, {}, b"<html>Bad gateway</html>"),
    (200, {}, b""),
    (200, {}, b"[" * 100_000),
    (200, {}, b'{"results": NaN}'),
    [],
    "scores",
    None,
    lambda true: {**true, "results": true["results"][1:]},
    lambda true: {**true, "results": true["results"] * 2},
    lambda true: {**true, "model": "other"},
    lambda true: {**true, "manifest": "reloaded"},
    _changed("raw", float("nan")),
    _changed("raw", float("inf")),
    _changed("raw", "1.5"),
    _changed("raw", True),
    _changed("raw", [1.0]),
    _changed("calibrated", "high"),
    _changed("terms", [1]),
    (500, {}, b"Traceback"),
    (302, {"Location": "http://127.0.0.1:1/"}, b""),
]


def test_garbage_is_asked_again_elsewhere_and_never_a_score() -> None:
    honest = keel(length)
    for kind in [*GARBAGE[:6], *GARBAGE[7:]]:  # None is the honest answer
        stand_in = garbled(itertools.repeat(kind))(keel(length))
        with serving(stand_in, honest) as urls:
            term = RemoteReward(kind="helpful", urls=urls, batch=2, concurrency=2, **QUICK)
            assert scores(term) == lengths()
            failed = term.counts["garbage"] + term.counts["errors"]
            assert failed == len(stand_in.requests)
            assert term.counts["retries"] == failed
            assert not term.counts["failed"]


def test_where_every_answer_is_garbage_there_is_no_score_and_the_run_stops() -> None:
    with serving(garbled(itertools.repeat(_changed("raw", "1.5")))(keel(length))) as urls:
        term = RemoteReward(kind="helpful", urls=urls, **(QUICK | {"give_up_after": 0.3}))
        found = run_terms([term], SAMPLES, retries=0)["helpful"]
    assert found.scores == (None,) * 10
    assert found.failures == 10
    assert term.counts["failed"] == 10
    assert term.counts["gave_up"] == 1
    with pytest.raises(RewardFailure, match="failed on 10 of 10"):
        check_failures({"helpful": (found.failures, found.applicable)}, 0.1)


def test_a_replica_that_dies_costs_nothing_but_time_and_comes_back() -> None:
    dying, other = keel(length), keel(length)
    with serving(dying, other) as urls:
        term = RemoteReward(kind="helpful", urls=urls, batch=1, concurrency=4, **QUICK)
        assert scores(term) == lengths()
        dying.stop()
        for _ in range(3):
            assert scores(term) == lengths()
        assert term.counts["unreachable"] >= 3
        assert term.counts["circuits"] == 1
        seen = term.counts["unreachable"]
        assert scores(term) == lengths()
        assert term.counts["unreachable"] - seen <= 4  # whoever is out is looked at, not worked with
        dying.start()
        before = len(dying.requests)
        time.sleep(QUICK["breaker_seconds"])
        for _ in range(3):
            assert scores(term) == lengths()
    assert len(dying.requests) > before
    assert not term.counts["failed"]


def test_no_answer_at_all_is_given_up_in_time() -> None:
    stand_in = keel(length)
    with serving(stand_in) as urls:
        term = RemoteReward(kind="helpful", urls=urls, **(QUICK | {"timeout": 0.1, "give_up_after": 0.5}))
        stand_in.delay = 5.0
        began = time.monotonic()
        found = scores(term)
        took = time.monotonic() - began
    assert all(math.isnan(value) for value in found if value is not None)
    assert None not in found
    assert took < 2.0
    assert term.counts["timeouts"] >= 2
    assert term.counts["failed"] == 10


def test_a_slow_replica_is_hedged_only_if_asked() -> None:
    slow, quick = keel(length, delay=0.6), keel(length)
    with serving(slow, quick) as urls:
        term = RemoteReward(kind="helpful", urls=urls, batch=1, hedge_after=0.05, **QUICK)
        began = time.monotonic()
        assert scores(term) == lengths()
        assert time.monotonic() - began < 0.6
        assert term.counts["hedges"] >= term.counts["hedges_won"] > 0
        plain = RemoteReward(kind="helpful", urls=urls, batch=1, **QUICK)
        assert scores(plain) == lengths()
    assert plain.counts["hedges"] == 0
    assert plain.counts["requests"] == 10


def test_a_busy_server_is_left_alone_as_long_as_it_asks_and_a_draining_one_avoided() -> None:
    busy = iter([(429, {"Retry-After": "1"}, b"later")])
    with serving(garbled(busy)(keel(length))) as urls:
        term = RemoteReward(kind="helpful", urls=urls, **QUICK)
        began = time.monotonic()
        assert scores(term) == lengths()
        assert time.monotonic() - began >= 1.0
    assert (term.counts["busy"], term.counts["errors"], term.counts["circuits"]) == (1, 0, 0)
    draining = garbled(itertools.repeat((503, {}, b"draining")))(keel(length))
    with serving(draining, keel(length)) as urls:
        term = RemoteReward(kind="helpful", urls=urls, batch=1, concurrency=1, **QUICK)
        assert scores(term) == lengths()
    assert len(draining.requests) <= 1


def test_one_sample_that_is_refused_does_not_cost_its_neighbours_their_scores() -> None:
    stand_in = keel(length)
    honest = stand_in.answer

    def answer(path: str, body: Any) -> Any:
        too_long = any("7" in c[-1]["content"] for c in body["conversations"])
        return (422, {}, b"too long") if too_long else honest(path, body)

    stand_in.answer = answer
    with serving(stand_in) as urls:
        term = RemoteReward(kind="helpful", urls=urls, **QUICK)
        found = run_terms([term], SAMPLES, retries=0)["helpful"]
    assert found.scores == tuple(None if i == 7 else value for i, value in enumerate(lengths()))
    assert found.failures == 1


def test_an_error_of_one_sample_is_a_failure_of_it_alone() -> None:
    with serving(keel(lambda c: {"error": "no"} if "3" in c[-1]["content"] else length(c))) as urls:
        found = run_terms([RemoteReward(kind="helpful", urls=urls)], SAMPLES, retries=0)["helpful"]
    assert found.failures == 1
    assert found.scores[3] is None
    assert [s for s in found.scores if s is not None] == [v for i, v in enumerate(lengths()) if i != 3]


def test_many_threads_ask_for_one_sample_each_as_openrlhf_does() -> None:
    stand_in = keel(length)
    with serving(stand_in) as urls, ThreadPoolExecutor(32) as threads:
        client = RewardClient(urls, concurrency=8)
        found = list(threads.map(lambda s: asyncio.run(client.answers([s]))[0].calibrated, SAMPLES * 20))
    assert found == lengths() * 20
    assert len(stand_in.requests) == client.counts["requests"] == 200


def test_whatever_happens_no_score_is_wrong_and_every_failure_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three replicas that lie, stall, refuse and die at random, for as long as it takes to ask for 600 scores."""
    monkeypatch.setattr("align.rewards.replicas.LONGEST_WAIT", 0.2)
    chance = random.Random(0)
    replicas = [keel(length) for _ in range(3)]
    lies = [kind for kind in GARBAGE if kind is not None]
    for replica in replicas:
        garbled(iter(lambda: chance.choice(lies) if chance.random() < 0.3 else None, object()))(replica)
    ended = threading.Event()

    def unrest() -> None:
        while not ended.wait(0.05):
            victim = chance.choice(replicas)
            victim.stop()
            victim.delay = chance.choice([0.0, 0.0, 0.3])
            ended.wait(0.05)
            victim.start()

    with serving(*replicas) as urls:
        term = RemoteReward(
            kind="helpful", urls=urls, batch=2, timeout=0.2, give_up_after=20, first_wait=0.01, breaker_seconds=0.05
        )
        trouble = threading.Thread(target=unrest)
        trouble.start()
        began = time.monotonic()
        found = scores(term, SAMPLES * 60)
        took = time.monotonic() - began
        ended.set()
        trouble.join()
    wrong = [(f, e) for f, e in zip(found, lengths() * 60, strict=True) if f != e and not math.isnan(f or 0.0)]
    assert not wrong
    assert sum(math.isnan(f or 0.0) for f in found) == term.counts["failed"] == 2 * term.counts["gave_up"]
    assert term.counts["garbage"] > 50
    assert term.counts["unreachable"] + term.counts["timeouts"] > 0
    assert took < 60
