from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stand_in_judge import StandInJudge

from reward_models.data.curation.endpoint import EndpointJudge
from reward_models.data.curation.judging import Judgement, Question, average, draw_questions
from reward_models.data.records import Message, Pair
from reward_models.endpoint.answers import Answer, AnswerFile, JudgeError
from reward_models.endpoint.client import GIVE_UP_AFTER, EndpointConfig


def gap(one: str, other: str) -> float:
    """Texts say in their last word how good they are."""
    return float(one.split()[-1]) - float(other.split()[-1])


def questions(n: int, judgements: int = 4) -> list[Question]:
    """About ``n`` pairs; response a is better by −1, 0 or 1."""
    made: list[Question] = []
    for i in range(n):
        pair = Pair(
            prompt=(Message("user", f"question {i}"),),
            response_a=(Message("assistant", f"a {i} {i % 3}"),),
            response_b=(Message("assistant", f"b {i} 1"),),
        )
        made += draw_questions(pair, judgements, seed=0)
    return made


def endpoint(url: str, path: Path, key: str | None = None, **settings: Any) -> EndpointJudge:
    config = EndpointConfig(base_url=url, model="stand-in", **{"first_wait": 0.01, "timeout": 5.0, **settings})
    return EndpointJudge(config, AnswerFile(path), key)


def ask(judge: EndpointJudge, asked: list[Question]) -> list[Judgement]:
    done: list[int] = []
    judgements = judge.judge(asked, done.append)
    assert sum(done) == len(asked)
    return judgements


# --- answers --------------------------------------------------------------------------------------------------------


def test_every_question_gets_its_own_answer_in_order(tmp_path: Path) -> None:
    asked = questions(12)
    with StandInJudge(gap, delay=0.01) as stand_in:
        judgements = ask(endpoint(stand_in.url, tmp_path / "answers.jsonl", concurrency=8), asked)
        assert 1 < stand_in.most_in_flight <= 8
    assert [(j.draw, j.a_first) for j in judgements] == [(q.draw, q.a_first) for q in asked]
    assert [j.score for j in judgements] == [i % 3 - 1 for i in range(12) for _ in range(4)]
    assert set(stand_in.answered.values()) == {1}
    assert len(stand_in.answered) == 48  # draws of one order differ in their key although they read the same
    body = stand_in.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("stand-in", 1.0, 4096)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


@pytest.mark.parametrize("kind", ["429", "500", "garbage", "dropped", "hang"])
def test_passing_faults_are_tried_again(tmp_path: Path, kind: str) -> None:
    asked = questions(4)
    with StandInJudge(gap, faults=0.4, ways=(kind,), hang=5.0) as stand_in:
        judge = endpoint(stand_in.url, tmp_path / "answers.jsonl", tries=20, timeout=0.5 if kind == "hang" else 30.0)
        judgements = ask(judge, asked)
        assert [j.score for j in judgements] == [i % 3 - 1 for i in range(4) for _ in range(4)]
        assert sum(stand_in.requests.values()) > 16
        assert kind == "hang" or set(stand_in.answered.values()) == {1}


def test_a_question_that_keeps_failing_has_no_score_and_is_asked_again_the_next_time(tmp_path: Path) -> None:
    asked, path = questions(1), tmp_path / "answers.jsonl"
    with StandInJudge(gap, faults=1.0, ways=("500",)) as stand_in:
        judgements = ask(endpoint(stand_in.url, path, tries=3), asked)
        assert {j.problem for j in judgements} == {"failed"}
        assert {j.score for j in judgements} == {None}
        assert judgements[0].detail is not None
        assert "500" in judgements[0].detail
        assert set(stand_in.requests.values()) == {3}
    with StandInJudge(gap) as stand_in:
        judge = endpoint(stand_in.url, path)
        assert judge.calls(asked) == 4
        assert [j.score for j in ask(judge, asked)] == [-1.0] * 4


def test_an_unparsable_answer_is_paid_for_and_not_asked_again(tmp_path: Path) -> None:
    asked, path = questions(1), tmp_path / "answers.jsonl"
    with StandInJudge(gap, faults=1.0, ways=("no verdict",)) as stand_in:
        for _ in range(2):
            judgements = ask(endpoint(stand_in.url, path), asked)
            assert [(j.problem, j.score, j.verdict) for j in judgements] == [("no verdict", None, None)] * 4
        assert sum(stand_in.requests.values()) == 4


class Scripted(StandInJudge):
    """Answers with what a function makes of the number of the request: status, body, headers."""

    def __init__(self, script: Callable[[int], tuple[int, Any, dict[str, str]]]) -> None:
        super().__init__(gap)
        self.script = script

    def _answer(self, handler: Any, fault: str | None, body: dict[str, Any], key: str) -> None:
        handler.send(*self.script(sum(self.requests.values())))


def completion(content: Any, reason: str = "stop") -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": reason}]}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (completion("[[A>B]]", "length"), "cut off"),  # what stands there may be a draft
        (completion(None), "no verdict"),  # a refusal
        (completion("\ud800 no"), "no verdict"),  # half a character survives the way to the disk
        (completion([{"type": "text"}]), "failed"),
        ({"choices": []}, "failed"),
        ({"choices": [{"message": "hello"}]}, "failed"),
        ([1], "failed"),
        ("[" * 100_000, "failed"),
    ],
)
def test_answers_that_are_none(tmp_path: Path, body: Any, problem: str) -> None:
    asked, path = questions(1, judgements=2), tmp_path / "answers.jsonl"
    with Scripted(lambda n: (200, body, {})) as stand_in:
        judgements = ask(endpoint(stand_in.url, path, tries=2), asked)
        assert [j.problem for j in judgements] == [problem] * 2
        assert sum(stand_in.requests.values()) == (4 if problem == "failed" else 2)
        assert endpoint(stand_in.url, path).calls(asked) == (2 if problem == "failed" else 0)
    assert average(judgements, 1) is None


def test_a_question_that_is_refused_is_not_tried_again(tmp_path: Path) -> None:
    with Scripted(lambda n: (400, {"error": "the prompt is too long"}, {})) as stand_in:
        judgements = ask(endpoint(stand_in.url, tmp_path / "answers.jsonl"), questions(1))
        assert sum(stand_in.requests.values()) == 4
    assert judgements[0].problem == "failed"
    assert "too long" in (judgements[0].detail or "")


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def waited(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    # The module's own name: servers of other tests, in threads of this process, sleep too.
    monkeypatch.setattr("reward_models.http_retry.asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": waited}))
    value = "300" if form == "seconds" else formatdate(time.time() + 300, usegmt=True)
    script = [(429, {}, {"Retry-After": value}), (503, {}, {"Retry-After": "soon"}), (200, completion("[[A>B]]"), {})]
    with Scripted(lambda n: script[n - 1]) as stand_in:
        (judgement,) = ask(endpoint(stand_in.url, tmp_path / "answers.jsonl"), questions(1, judgements=1))
    assert judgement.verdict == "A>B"
    asked_for, own = waits
    assert 200 < asked_for <= 300
    assert 0 <= own <= 0.02  # first_wait · 2


def test_whoever_asks_to_wait_for_hours_ends_the_run(tmp_path: Path) -> None:
    with (
        Scripted(lambda n: (429, {"error": "quota"}, {"Retry-After": "7200"})) as stand_in,
        pytest.raises(JudgeError, match=r"7200 s .*quota.*continues from them"),
    ):
        ask(endpoint(stand_in.url, tmp_path / "answers.jsonl"), questions(1))


@pytest.mark.parametrize(
    ("status", "message"), [(401, "KEEL_JUDGE_API_KEY"), (403, "KEEL_JUDGE_API_KEY"), (404, "check address and model")]
)
def test_what_no_question_would_survive_ends_the_run_at_once(tmp_path: Path, status: int, message: str) -> None:
    with Scripted(lambda n: (status, {"error": "no"}, {})) as stand_in:
        with pytest.raises(JudgeError, match=message):
            ask(endpoint(stand_in.url, tmp_path / "answers.jsonl", concurrency=2), questions(20))
        assert sum(stand_in.requests.values()) <= 2


def test_an_endpoint_that_breaks_down_ends_the_run_and_keeps_what_it_said(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"

    def script(number: int) -> tuple[int, Any, dict[str, str]]:
        return (200, completion("[[A>B]]"), {}) if number <= 10 else (500, {}, {})

    with Scripted(script) as stand_in:
        with pytest.raises(JudgeError, match="in a row failed, the last with: HTTP 500"):
            ask(endpoint(stand_in.url, path, tries=1, concurrency=1), questions(20))
        assert sum(stand_in.requests.values()) == 10 + GIVE_UP_AFTER
        assert endpoint(stand_in.url, path).calls(questions(20)) == 70


def test_the_key_is_sent_and_kept_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with StandInJudge(gap) as stand_in:
        ask(endpoint(stand_in.url, path, key="secret"), questions(1))
        ask(endpoint(stand_in.url, path), questions(2))
    assert [header.get("Authorization") for header in stand_in.headers] == ["Bearer secret"] * 4 + [None] * 4
    assert "secret" not in path.read_text()


# --- before anything is paid ----------------------------------------------------------------------------------------


def test_check(tmp_path: Path) -> None:
    with StandInJudge(gap) as stand_in:
        endpoint(stand_in.url, tmp_path / "a").check()
    with pytest.raises(JudgeError, match=r"cannot reach the judge at http://127.0.0.1:\d+/v1: ConnectError"):
        endpoint(stand_in.url, tmp_path / "a").check()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/v1", "no http"),
        ("nothing", "no http"),
        ("http://host:port/v1", "no http"),
        ("https://name:password@host/v1", "KEEL_JUDGE_API_KEY"),
        ("https://host/v1?key=1", "KEEL_JUDGE_API_KEY"),
    ],
)
def test_addresses_that_are_refused(url: str, message: str) -> None:
    with pytest.raises(JudgeError, match=message):
        EndpointConfig(base_url=url, model="m")


def test_what_an_answer_depends_on(tmp_path: Path) -> None:
    path, asked = tmp_path / "answers.jsonl", questions(1)
    with StandInJudge(gap) as stand_in:
        ask(endpoint(stand_in.url, path), asked)
        moved = endpoint(stand_in.url.replace("/v1", "/proxy/v1"), path, concurrency=1, timeout=1.0, tries=1)
        assert moved.calls(asked) == 0  # neither where the model runs nor how it is called
        for change in ({"temperature": 0.5}, {"max_tokens": 10}):
            assert endpoint(stand_in.url, path, **change).calls(asked) == 4
        other = EndpointConfig(base_url=stand_in.url, model="other")
        assert EndpointJudge(other, AnswerFile(path)).calls(asked) == 4
        assert moved.calls(questions(1, judgements=6)) == 2
    assert "stand-in" not in path.read_text()  # a key is a hash


# --- the file of answers --------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_ignored_and_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "answers.jsonl"
    with AnswerFile(path).writing() as writer:
        writer.add("one", Answer("[[A>B]]", "stop"))
        writer.add("two", Answer("zwei\n\u2028", None))
    whole = path.read_bytes()
    for cut in (1, 5, len(whole.splitlines()[1])):
        path.write_bytes(whole[:-cut])
        answers = AnswerFile(path)
        assert "one" in answers
        assert "two" not in answers
        with answers.writing() as writer:
            writer.add("two", Answer("2", None))
        for each in (answers, AnswerFile(path)):
            assert (each["one"], each["two"]) == (Answer("[[A>B]]", "stop"), Answer("2", None))
        assert len(path.read_bytes().splitlines()) == 2


def test_reading_changes_nothing_and_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    AnswerFile(path)
    assert not path.exists()
    path.write_text('{"key": "one", "reply": "", "finish_reason": null}\n{"key": "torn"')
    before = path.read_bytes()
    AnswerFile(path)
    assert path.read_bytes() == before
    path.write_bytes(before + b"\n")
    with pytest.raises(JudgeError, match=r"byte 51 begins a line that is no answer"):
        AnswerFile(path)


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerFile(path).writing() as writer:
        writer.add("one", Answer("1", None))
        with pytest.raises(JudgeError, match="in use by another run"), AnswerFile(path).writing():
            pass
    late = AnswerFile(path)
    with AnswerFile(path).writing() as writer:
        writer.add("two", Answer("2", None))
    with late.writing() as writer:  # sees what the other has added since
        assert "two" in late
        writer.add("three", Answer("3", None))
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["one", "two", "three"]
