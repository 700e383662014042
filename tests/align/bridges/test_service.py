"""A served mixer gives the rewards that a run would, and an error where a run would have none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from live_server import Live, running, save_small

from align.bridges.rewarder import rewarder
from align.bridges.service import MixerService, load_mixer, score_apart
from align.config import AlignConfig, phases_of
from align.phases import PhaseConfig, phase_at
from align.rewards.build import TermConfig, build_terms
from align.rewards.mixer import Mixer
from align.rewards.models.client import RewardClient
from align.rewards.terms import Sample, run_terms
from reward_models.data.records import Message
from reward_models.runtime.config import ConfigError
from reward_models.serving.limits import Limits
from reward_models.serving.metrics import Metrics
from reward_models.serving.results import Context

QUESTION = {"role": "user", "content": "What is 1 + 2?"}
RIGHT = "<think>one and two</think>\n\n<answer>3</answer>"
RESPONSES = [RIGHT, "<think>no</think>\n\n<answer>4</answer>", "hello", ""]
DOMAINS = ["reasoning", "reasoning", "helpfulness", "helpfulness"]
ANSWERS = ["3", "3", None, None]


def turns(response: str) -> list[dict[str, str]]:
    return [QUESTION, {"role": "assistant", "content": response}]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> AlignConfig:
    model = save_small(tmp_path_factory.mktemp("model") / "helpful", "preference")
    return AlignConfig(
        steps=32,
        steps_per_rollout=1,
        ref_update_steps=0,
        rewards=[
            TermConfig(term="accuracy", weight=2.0),
            TermConfig(term="format", weight=[[0, 0.0], [10, 1.0]], domains=["reasoning"]),
            TermConfig(term="helpful", weight=0.5, arguments={"model": str(model)}),
        ],
        phases=[PhaseConfig(until=20), PhaseConfig(until=32, weights={"accuracy": 1.0})],
    )


@pytest.fixture(scope="module")
def live(config: AlignConfig) -> Iterator[Live]:
    with running({"stage2": lambda metrics: MixerService("stage2", config, Limits(), metrics)}) as server:
        yield server


def ask(live: Live, responses: list[str] | None = None, **options: Any) -> Any:
    chosen = RESPONSES if responses is None else responses
    return live.post("/v1/score", {"model": "stage2", "conversations": [turns(r) for r in chosen], **options})


@pytest.mark.parametrize("step", [0, 5, 25])
def test_rewards_are_those_of_a_run_at_that_step(step: int, live: Live, config: AlignConfig) -> None:
    answer = ask(live, domains=DOMAINS, step=step, columns={"answer": ANSWERS}).json()
    assert answer["task"] == "mixer"
    samples = [
        Sample(prompt=(Message(**QUESTION),), response=r, domain=k, answer=a, tokens=1, finished=True)  # type: ignore[arg-type]
        for r, k, a in zip(RESPONSES, DOMAINS, ANSWERS, strict=True)
    ]
    mixer = Mixer(build_terms(config.rewards, {"math"}))
    weights = mixer.weights(step, phase_at(phases_of(config), step).weights)
    mixed = mixer.mix(run_terms(mixer.terms, samples), weights, learn=False)
    for row, result in enumerate(answer["results"][:3]):
        assert result["error"] is result["calibrated"] is None
        assert result["raw"] == pytest.approx(mixed.reward_N[row].item(), abs=1e-6)
        for name, values in mixed.weighted.items():
            value = values[row].item()
            expected = None if value != value else pytest.approx(value, abs=1e-6)
            assert result["terms"][name]["weighted"] == expected
    assert answer["results"][0]["raw"] == {0: 2.0, 5: 2.5, 25: 2.0}[step]
    # an empty response is nothing that a reward model reads: no score, and no zero in its place
    assert answer["results"][3]["raw"] is None
    assert answer["results"][3]["error"] == "no score from helpful"


def test_the_last_weights_hold_after_the_last_step(live: Live) -> None:
    last, later = (
        ask(live, domains=DOMAINS, step=step, columns={"answer": ANSWERS}).json()["results"] for step in (31, 99)
    )
    assert last[:3] == later[:3]


def test_requests_of_several_steps_share_a_batch_and_keep_their_weights(live: Live) -> None:
    bodies = [
        {"model": "stage2", "step": step, "conversations": [turns(RIGHT)], "columns": {"answer": ["3"]}}
        for step in range(20)
    ]
    rewards = [a["results"][0]["raw"] for _, _, a in live.at_once("/v1/score", bodies, 20)]
    assert rewards == pytest.approx([2 + min(step, 10) / 10 for step in range(20)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "in stage2 follows the step: say which, 0 to 31"),
        ({"step": 0, "domains": ["reasoning"]}, "domain has 1 values for 4 conversations"),
        ({"step": 0, "columns": {"answer": ["3"] * 3}}, "answer has 3 values for 4 conversations"),
        ({"step": 0, "columns": {"answer": [3] * 4}}, "answer: '3' is not of type str"),
        ({"step": 0, "domains": ["chess"] * 4}, "domains.0: Input should be 'reasoning'"),
    ],
)
def test_what_a_mixer_needs_is_asked_for(live: Live, options: dict[str, Any], message: str) -> None:
    answer = ask(live, **options)
    assert answer.status_code == 422
    assert message in answer.json()["detail"]


def test_a_sample_without_a_reward_says_why(live: Live) -> None:
    columns = {"answer": ["3"] * 2, "verifier": ["math", "chess"]}
    results = ask(live, [RIGHT, RIGHT], step=0, columns=columns).json()["results"]
    assert results[0]["raw"] == 2.0
    assert "no verifier 'chess' here; there are choice" in results[1]["error"]
    results = ask(live, [RIGHT], step=0, domains=["safety"]).json()["results"]
    assert results[0]["error"] == "no term with a weight applies to it"
    body = {"model": "stage2", "step": 0, "conversations": [[QUESTION], turns(RIGHT)[1:], []]}
    assert [r["raw"] for r in live.post("/v1/score", body).json()["results"]] == [None] * 3


def test_texts_are_not_conversations_but_slime_can_send_messages(config: AlignConfig) -> None:
    fixed = AlignConfig(steps=8, rewards=config.rewards[:1], ref_update_steps=0)
    with running({"rules": lambda metrics: MixerService("rules", fixed, Limits(), metrics)}) as server:
        assert server.post("/get_reward", {"query": ["x"]}).status_code == 422
        assert server.post("/slime", {"prompt": [QUESTION], "response": RIGHT, "label": "3"}).json() == 2.0
        assert server.post("/slime", {"prompt": "x", "response": "y"}).status_code == 422


def test_what_cannot_be_served_is_refused_at_the_start(tmp_path: Path) -> None:
    def start(*rewards: dict[str, Any]) -> MixerService:
        config = AlignConfig(steps=8, ref_update_steps=0, rewards=[TermConfig(**each) for each in rewards])
        return MixerService("mix", config, Limits(), Metrics())

    with pytest.raises(ValueError, match="format has normalise: running"):
        start({"term": "format", "normalise": "running"})
    file = tmp_path / "mix.yaml"
    file.write_text("loss: {aggregation: gdpo}")
    with pytest.raises(ValueError, match=r"mix: loss.aggregation=gdpo normalises each term within groups"):
        load_mixer("mix", file, Limits(), Metrics())
    with pytest.raises(ConfigError, match=r"mix.yaml: loss.aggregation=gdpo .* Set loss.aggregation=sum"):
        rewarder(str(file))
    assert rewarder(str(file), ["loss.aggregation=sum"])
    file.write_text("rewards: [{term: acuracy}]")
    with pytest.raises(ValueError, match=r"mix.yaml: .*no term 'acuracy'"):
        load_mixer("mix", file, Limits(), Metrics())
    service = start({"term": "overlong", "arguments": {"max_tokens": 10, "buffer": 5}})
    for columns, error in (({}, "needs the column tokens"), ({"tokens": [20]}, None)):
        result = asyncio.run(service.score([turns("x")], Context(columns=columns))).results[0]  # type: ignore[arg-type]
        assert (result.error is None) == (error is None)
        assert result.raw == (None if error else -1.0)
    service.close()


BROKEN = """
class Short:
    name = "short"

    def applies(self, sample):
        return True

    def score(self, samples):
        return [] if any("boom" in sample.response for sample in samples) else [1.0] * len(samples)
"""


def test_a_term_that_breaks_its_contract_fails_the_request_and_not_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_term.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    config = AlignConfig(steps=8, ref_update_steps=0, rewards=[TermConfig(term="broken_term:Short")])
    with running({"stage2": lambda metrics: MixerService("stage2", config, Limits(), metrics)}) as server:
        refused = ask(server, ["boom", "calm"])
        assert refused.status_code == 500
        assert refused.json()["detail"] == "stage2 failed with TermError; the server's log says why"
        assert [result["raw"] for result in ask(server, ["calm"]).json()["results"]] == [1.0]
        assert server.call("GET", "/health").status_code == 200


class Picky:
    """Raises an exception for a batch with a response that says "boom", as a pattern that cannot be compiled does."""

    name = "picky"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def applies(self, sample: Sample) -> bool:
        return sample.response != ""

    def score(self, samples: list[Sample]) -> list[float | None]:
        self.calls.append(len(samples))
        if any("boom" in sample.response for sample in samples):
            raise RecursionError("boom")
        return [float(len(sample.response)) for sample in samples]


def said(*responses: str) -> list[Sample]:
    prompt = (Message("user", "why"),)
    return [Sample(prompt=prompt, response=r, domain="helpfulness", tokens=1, finished=True) for r in responses]


def test_a_sample_that_breaks_a_term_does_not_cost_the_others_their_scores() -> None:
    responses = [str(10**i) for i in range(16)]
    responses[3], responses[9], responses[12] = "boom", "", "boom"
    term = Picky()
    found = score_apart([term], said(*responses), None)["picky"]
    assert found.scores == tuple(None if r in ("boom", "") else float(len(r)) for r in responses)
    assert found.applies == tuple(r != "" for r in responses)
    assert len(term.calls) < 25
    calm = Picky()
    assert score_apart([calm], said("a", "b"), None)["picky"].scores == (1.0, 1.0)
    assert calm.calls == [2]


def test_the_search_for_the_sample_at_fault_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("align.bridges.service.ISOLATION_SECONDS", 0.0)
    term = Picky()
    found = score_apart([term], said(*["boom"] * 50), None)["picky"]
    assert found.scores == (None,) * 50
    assert term.calls == [50, 50]  # once, and once again


def test_a_conversation_beyond_the_limit_is_an_error_of_its_own(config: AlignConfig) -> None:
    service = MixerService("stage2", config, Limits(conversation_tokens=10), Metrics())
    try:
        context = Context(domains=["helpfulness"] * 2, step=1)
        answer = asyncio.run(service.score([turns("x" * 200), turns("short")], context))
    finally:
        service.close()
    assert answer.results[0].error == "214 bytes of text are more than the 160 of one conversation"
    assert answer.results[1].error is None


def test_a_number_of_tokens_that_is_none_is_refused(live: Live) -> None:
    answer = ask(live, ["x"], step=1, columns={"tokens": [10**400]})
    assert answer.status_code in (400, 422)
    assert ask(live, ["x"], step=1, columns={"tokens": [-1]}).status_code == 422


# --- terms that compare the samples of a prompt -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def grouped() -> Iterator[Live]:
    config = AlignConfig(steps=8, ref_update_steps=0, rewards=[TermConfig(term="length_in_group")])
    with running({"stage2": lambda metrics: MixerService("stage2", config, Limits(), metrics)}) as server:
        yield server


def test_a_group_is_compared_with_itself_and_never_with_another_request(grouped: Live) -> None:
    lengths = [[10, 30], [5, 15], [100, 300]]
    bodies = [
        {"model": "stage2", "conversations": [turns("x" * n) for n in pair], "columns": {"group": [7, 7]}}
        for pair in lengths * 5
    ]
    answers = grouped.at_once("/v1/score", bodies, 15)
    assert [[r["raw"] for r in a["results"]] for _, _, a in answers] == [[0.0, -0.5]] * 15
    answer = ask(grouped, ["xxxx", "x", "x" * 12, "xxx"], columns={"group": [1, 2, 1, 2]}).json()
    assert [r["raw"] for r in answer["results"]] == pytest.approx([0.0, 0.0, -0.5, -0.5])


def test_samples_without_a_whole_group_have_an_error_that_says_so(grouped: Live) -> None:
    results = ask(grouped, ["a", "b"]).json()["results"]
    assert all("length_in_group compares all samples of a prompt: send the column group" in r["error"] for r in results)
    body = {"model": "stage2", "conversations": [turns("a"), [QUESTION], turns("b")], "columns": {"group": [1, 1, 2]}}
    results = grouped.post("/v1/score", body).json()["results"]
    assert "another one of the group cannot be read" in results[0]["error"]
    assert results[2]["error"] == "no score from length_in_group"  # it is alone in its group
    assert ask(grouped, ["a"], columns={"group": ["x"]}).status_code == 422
    other = [{"role": "user", "content": "Another question?"}, turns("b")[-1]]
    body = {"model": "stage2", "conversations": [turns("a"), other], "columns": {"group": [1, 1]}}
    errors = [each["error"] for each in grouped.post("/v1/score", body).json()["results"]]
    assert all("group 1 has several prompts" in error for error in errors)


def test_the_client_sends_whole_groups_whatever_the_batch(grouped: Live) -> None:
    client = RewardClient([f"http://127.0.0.1:{grouped.port}"], batch=3)
    texts = ["x" * n for n in (10, 30, 20, 20, 4, 12)]
    samples = [replace(sample, group=place // 2) for place, sample in enumerate(said(*texts))]
    answers = asyncio.run(client.answers(samples))
    assert [answer.raw for answer in answers] == pytest.approx([0.0, -0.5, 0.0, 0.0, 0.0, -0.5])
    client.close()


class PickyGroups(Picky):
    whole_groups = True


def test_the_search_for_the_group_at_fault_divides_no_group() -> None:
    responses = ["a", "bb", "boom", "cc", "d", "e"]
    samples = [replace(sample, group=place // 2) for place, sample in enumerate(said(*responses))]
    found = score_apart([PickyGroups()], samples, None)["picky"]
    assert found.scores == (1.0, 2.0, None, None, 1.0, 1.0)
    assert found.failures == 2


def test_constraints_in_the_layout_of_a_public_data_set_are_read() -> None:
    config = AlignConfig(steps=8, ref_update_steps=0, rewards=[TermConfig(term="accuracy")])
    service = MixerService("stage2", config, Limits(), Metrics())
    columns = {"instruction_id_list": [["punctuation:no_comma"]] * 2, "kwargs": [[{}], []]}
    try:
        said = [turns("A short answer, with a comma."), turns("x")]
        broken, wrong = reversed(asyncio.run(service.score(said, Context(columns=columns))).results)
    finally:
        service.close()
    assert wrong.raw == 0.0
    assert "1 constraints, and 'kwargs' 0" in str(broken.error)
