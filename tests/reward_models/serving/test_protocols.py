"""One model, one score: from the library, every protocol and plain transformers, however requests are made up."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from live_server import Live, conversations
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reward_models import RewardModel
from reward_models.inference.reward_model import split_turns

Turns = list[dict[str, str]]
TALK = [{"role": "user", "content": "why"}, {"role": "assistant", "content": "because"}]


def rendered(directory: Path, turns: list[Turns]) -> list[str]:
    renderer = RewardModel.load(directory).renderer
    return [renderer.text(*split_turns(each)) for each in turns]


def plain_scores(directory: Path, texts: list[str]) -> list[float]:
    """transformers alone, one text at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    inputs = (tokenizer(text, add_special_tokens=False, return_tensors="pt") for text in texts)
    return [model(input_ids=i["input_ids"], attention_mask=i["attention_mask"]).logits.item() for i in inputs]


@pytest.mark.parametrize("name", ["helpful", "safety", "encoder"])
def test_every_protocol_gives_the_scores_of_plain_transformers(name: str, live: Live, models: dict[str, Path]) -> None:
    turns = conversations()
    texts = rendered(models[name], turns)
    expected = pytest.approx(plain_scores(models[name], texts), abs=1e-5)
    ids = RewardModel.load(models[name]).encode_texts(texts)
    assert [score.raw for score in RewardModel.load(models[name]).score(turns)] == expected
    assert live.scores(name, turns) == expected

    def post(path: str, body: dict[str, Any]) -> Any:
        answer = live.post(path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    openrlhf = post(f"/get_reward?model={name}", {"query": texts, "prompts": texts, "labels": ["x"] * len(texts)})
    assert openrlhf["rewards"] == openrlhf["scores"] == expected
    assert openrlhf["extra_logs"]["calibrated"] == [s.calibrated for s in live_scores(models[name], turns)]
    given: dict[str, Any] = {"model": name, "use_activation": False}
    classified = post("/classify", given | {"input": texts})
    assert [each["probs"][0] for each in classified["data"]] == expected
    assert [each["index"] for each in classified["data"]] == list(range(len(texts)))
    assert classified["usage"]["prompt_tokens"] == sum(map(len, ids))
    pooled = post("/pooling", given | {"input": [each.tolist() for each in ids], "task": "classify"})
    assert [each["data"][0] for each in pooled["data"]] == expected
    assert [post("/classify", given | {"messages": t})["data"][0]["probs"][0] for t in turns[:3]] == expected_of(
        expected, 3
    )
    sglang = post("/classify", {"model": name, "text": texts})
    assert [each["embedding"][0] for each in sglang] == expected
    assert post("/classify", {"model": name, "text": texts[0]})["embedding"] == expected_of(expected, 1)
    assert post("/classify", {"model": name, "input_ids": ids[0].tolist()})["embedding"] == expected_of(expected, 1)
    for prompt, response in ((turns[0][:-1], turns[0][-1]["content"]), (texts[0][:9], texts[0][9:])):
        body = {"prompt": prompt, "response": response, "label": "4"}
        assert [post(f"/slime?model={name}", body)] == expected_of(expected, 1)


def live_scores(directory: Path, turns: list[Turns]) -> list[Any]:
    scores = RewardModel.load(directory).score(turns)
    return [type(s)(s.raw, pytest.approx(s.calibrated, abs=1e-5)) for s in scores]


def expected_of(expected: Any, count: int) -> Any:
    return pytest.approx(expected.expected[:count], abs=1e-5)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_scores_do_not_depend_on_how_requests_are_cut_or_on_who_else_asks(
    size: int, live: Live, models: dict[str, Path]
) -> None:
    turns = conversations(16)
    random.Random(size).shuffle(turns)
    parts = [turns[at : at + size] for at in range(0, len(turns), size)]
    names = ("helpful", "safety", "encoder")
    bodies = [{"model": name, "conversations": part} for part in parts for name in names]
    answers = live.at_once("/v1/score", bodies, 16)
    for k, name in enumerate(names):
        found = [r["raw"] for status, _, a in answers[k :: len(names)] if status == 200 for r in a["results"]]
        ours = [score.raw for score in RewardModel.load(models[name]).score(turns)]
        assert found == pytest.approx(ours, abs=1e-5)


def test_requests_of_one_prompt_share_a_batch(live: Live) -> None:
    before = live.metrics.registry.get_sample_value("keel_batch_requests_count", {"model": "helpful"}) or 0
    bodies = [{"model": "helpful", "conversations": [each]} for each in conversations(2, 16)]
    live.at_once("/v1/score", bodies, 32)
    batches = live.metrics.registry.get_sample_value("keel_batch_requests_count", {"model": "helpful"}) - before
    assert batches < 20  # 32 requests


def test_a_safety_score_is_activated_as_vllm_does_it_unless_told_not_to(live: Live, models: dict[str, Path]) -> None:
    text = rendered(models["safety"], conversations(1, 1))[0]
    plain = {
        n: live.post("/classify", {"model": n, "input": text}).json()["data"][0]["probs"][0]
        for n in ("safety", "helpful")
    }
    raw = {n: live.post("/classify", {"model": n, "text": text}).json()["embedding"][0] for n in ("safety", "helpful")}
    assert plain["safety"] == pytest.approx(1 / (1 + math.exp(-raw["safety"])), abs=1e-6)
    assert plain["helpful"] == pytest.approx(raw["helpful"], abs=1e-6)


def test_reasoning_is_cut_from_conversations_and_refused_in_rendered_texts(live: Live, models: dict[str, Path]) -> None:
    question = {"role": "user", "content": "what is it"}
    thought = [question, {"role": "assistant", "content": "<think>one two</think>\n\nfour"}]
    bare = [question, {"role": "assistant", "content": "four"}]
    first, second = live.scores("summary", [thought, bare])
    assert first == pytest.approx(second, abs=1e-6)
    answer = live.post("/get_reward?model=summary", {"query": ["what<think>one</think>four"]})
    assert answer.status_code == 422
    assert "reads summaries" in answer.json()["detail"]


def test_each_conversation_has_its_own_error(live: Live) -> None:
    good = [{"role": "user", "content": "why"}, {"role": "assistant", "content": "because"}]
    wrong = [
        good[:1],
        [],
        [good[0], {"role": "assistant", "content": " "}],
        [{"role": "judge", "content": "x"}, good[1]],
    ]
    answer = live.post("/v1/score", {"model": "helpful", "conversations": [good, *wrong, good]}).json()
    assert answer["task"] == "preference"
    assert len(answer["manifest"]) == 16
    results = answer["results"]
    assert results[0]["raw"] == pytest.approx(results[-1]["raw"], abs=1e-5)
    assert results[0]["error"] is None
    assert results[0]["calibrated"] == pytest.approx((results[0]["raw"] - 0.25) / 2)
    messages = ["it must hold a prompt", "it must hold a prompt", "empty assistant", "'judge' is none of"]
    for result, message in zip(results[1:-1], messages, strict=True):
        assert result["raw"] is result["calibrated"] is None
        assert message in result["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (
            "/v1/score",
            {"model": "harmless", "conversations": []},
            404,
            "no model 'harmless'; there are helpful",
        ),
        ("/v1/score", {"conversations": []}, 422, "body.model: Field required"),
        ("/v1/score", {"model": "helpful", "conversation": []}, 422, "body.conversation: Extra inputs"),
        ("/v1/score", {"model": "helpful", "conversations": [[{"role": "user"}]]}, 422, "content: Field required"),
        ("/v1/score", {"model": "helpful", "conversations": [], "step": 3}, 422, "are for mixers"),
        ("/get_reward", {"query": ["x"]}, 422, "name one of them: helpful, safety"),
        ("/get_reward?model=helpful", {"query": ["x", ""]}, 422, "text 1: it has no tokens"),
        ("/classify", {"model": "helpful"}, 422, "exactly one of input, messages"),
        ("/classify", {"model": "helpful", "text": "x", "input_ids": [1]}, 422, "exactly one of input, messages"),
        ("/classify", {"model": "helpful", "input": "x", "messages": TALK}, 422, "exactly one of input, messages"),
        ("/classify", {"model": "helpful", "text": "x", "messages": TALK}, 422, "exactly one of input, messages"),
        ("/pooling", {"model": "helpful", "input": "x", "messages": TALK}, 422, "exactly one of input, messages"),
        ("/classify", {"model": "helpful", "input": [1, 10**30]}, 422, "Input should be less than"),
        (
            "/classify",
            {"model": "helpful", "input_ids": [[1], [-1]]},
            422,
            "Input should be greater than or equal",
        ),
        ("/classify", {"model": "helpful", "input_ids": ["x"] * 3}, 422, "Input should be a valid integer"),
        ("/classify", {"model": "helpful", "input_ids": ["x"] * 200_000}, 413, "200000 conversations are more than"),
        ("/classify", {"model": "helpful", "input": [1, 99999]}, 422, "a token id is not between 0 and"),
        ("/classify", {"model": "helpful", "input": "x", "truncate_prompt_tokens": 5}, 422, "truncate_prompt_tokens"),
        ("/classify", {"model": "helpful", "input": "x", "add_special_tokens": True}, 422, "add_special_tokens"),
        ("/pooling", {"model": "helpful", "input": "x", "task": "embed"}, 422, "task"),
        ("/v1/reload", {}, 403, "needs a server with a token"),
    ],
)
def test_what_cannot_be_answered_says_why(live: Live, path: str, body: Any, status: int, message: str) -> None:
    answer = live.post(path, body)
    assert answer.status_code == status
    assert message in answer.json()["detail"]


def test_half_a_character_is_refused(live: Live) -> None:
    body = json.dumps({"prompt": "x", "response": "\ud800"}).encode()
    answer = live.call("POST", "/slime?model=helpful", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "body.response: Input should be a valid string, unable to parse" in answer.json()["detail"]


def test_a_field_that_is_null_is_not_given(live: Live) -> None:
    body = {"model": "helpful", "messages": TALK, "input": None, "use_activation": False}
    expected = live.scores("helpful", [TALK])
    assert live.post("/classify", body).json()["data"][0]["probs"] == pytest.approx(expected, abs=1e-5)


def test_what_operators_look_at(live: Live) -> None:
    live.scores("helpful", conversations(1, 2))
    assert live.call("GET", "/health").json() == {"status": "ok"}
    assert live.call("GET", "/ready").status_code == 200
    served = live.call("GET", "/models").json()["models"]
    assert [(each["name"], each["task"]) for each in served][:2] == [("helpful", "preference"), ("safety", "safety")]
    assert len({each["manifest"] for each in served}) == 4
    figures = live.call("GET", "/metrics").text
    assert 'keel_conversations_total{model="helpful",outcome="scored"}' in figures
    assert 'keel_requests_total{path="/v1/score",status="200"}' in figures
    examples = live.call("GET", "/openapi.json").json()["components"]["schemas"]["ScoreRequest"]["examples"]
    assert live.post("/v1/score", examples[0]).json()["results"][0]["error"] is None
