"""Judge terms against a stand-in that is slow, wrong, biased, silent, or refuses schemas; costs and the cache."""

from __future__ import annotations

import asyncio
import json
import math
import time
from itertools import permutations
from pathlib import Path
from typing import Any

import httpx2
import pytest
from stand_in_scores import StandInScores

from align.config import AlignConfig
from align.rewards.build import MixedTerm, TermConfig, build_terms, check_terms
from align.rewards.judges.group import GroupJudge
from align.rewards.judges.single import Judge, Rubric, criteria_of
from align.rewards.mixer import Mixer
from align.rewards.terms import Sample, TermError, TermScores, run_terms
from reward_models.data.records import Message
from reward_models.endpoint.answers import Answer, JudgeError
from reward_models.endpoint.client import GIVE_UP_AFTER, Reply


def of(response: str, group: int = 0, **fields: Any) -> Sample:
    facts: dict[str, Any] = {"domain": "helpfulness", "tokens": 1, "finished": True} | fields
    return Sample(prompt=(Message("user", "Which?"),), response=response, group=group, **facts)


def texts(*merits: float, group: int = 0) -> list[Sample]:
    return [of(f"<think>0.0</think>this is worth {merit}", group) for merit in merits]


def settings(stand_in: StandInScores, tmp_path: Path, **options: Any) -> dict[str, Any]:
    cache = str(tmp_path / "judge.jsonl")
    return {"url": stand_in.url, "model": "m", "cache": cache, "first_wait": 0.01, "timeout": 5.0, **options}


def run(term: Any, samples: list[Sample]) -> TermScores:
    return run_terms([term], samples)[term.name]


# --- values ---------------------------------------------------------------------------------------------------------


def test_score_and_equivalence(tmp_path: Path) -> None:
    with StandInScores() as stand_in:
        scores = run(Judge(**settings(stand_in, tmp_path)), texts(0.0, 1.0, 1 / 3)).scores
        assert scores == pytest.approx([0.0, 1.0, 1 / 3])
        judge = Judge(ask="equivalence", **settings(stand_in, tmp_path))
        answered = [of("it is 0.5", answer="0.5"), of("it is 0.7", answer="0.5"), of("it is 0.7")]
        assert run(judge, answered).scores == (1.0, 0.0, None)
        assert run(judge, answered).applies == (True, True, False)


def test_rubric_by_hand(tmp_path: Path) -> None:
    criteria = [
        {"criterion": "0.2", "weight": 1},
        {"criterion": "0.5", "weight": 3},
        {"criterion": "0.9", "weight": -2},
    ]
    with StandInScores() as stand_in:
        rubric = Rubric(criteria=criteria, **settings(stand_in, tmp_path))
        assert run(rubric, texts(0.1, 0.3, 0.6, 1.0)).scores == (0.0, 0.25, 1.0, 0.5)
        own = of("0.6", columns={"rubric": ["0.5", {"criterion": "0.7", "points": 3}]})
        assert run(rubric, [own]).scores == (0.25,)
        bad = run(rubric, [of("0.6", columns={"rubric": "be good"})])
        assert (bad.scores, bad.failures, bad.unscorable) == ((None,), 0, 1)
        assert not Rubric(**settings(stand_in, tmp_path)).applies(of("0.6"))


def test_a_call_that_is_broken_off_is_paid_for(tmp_path: Path) -> None:
    """The first try takes too long after some answers; what these took is counted, once."""

    async def slow(requests: Any, advance: Any = None, *, alone: bool = False, heard: Any = None) -> Any:
        tries.append(len(requests))
        if len(tries) == 1:
            heard(Reply(Answer("x", "stop", 7, 3), paid=True))
            await asyncio.sleep(30)
        replies = [Reply(Answer("no verdict", "stop", 5, 2), paid=True) for _ in requests]
        for reply in replies:
            heard(reply)
        return replies

    tries: list[int] = []
    with StandInScores() as stand_in:
        term = Judge(**settings(stand_in, tmp_path))
        term.client.ask = slow  # type: ignore[method-assign]
        found = run_terms([term], texts(0.0, 1.0), time_limit=0.1)["judge"]
        assert tries == [2, 2]
        totals = {name: found.totals[f"judge_{name}"] for name in ("calls", "tokens_in", "tokens_out", "unread")}
        assert totals == {"calls": 3.0, "tokens_in": 17.0, "tokens_out": 7.0, "unread": 2.0}
        assert term.unreported_totals() == {}
        mixed = MixedTerm(entry="judge", term=term)
        tries.clear()
        assert run_terms([mixed], texts(0.0), time_limit=0.1)["judge"].totals["judge_calls"] == 2.0


def test_a_reply_is_heard_as_often_as_it_was_asked_for(tmp_path: Path) -> None:
    with StandInScores() as stand_in:
        term = Judge(**settings(stand_in, tmp_path))
        same = [*texts(0.5), *texts(0.5), *texts(1.0)]
        first, second = (run(term, same).totals for _ in range(2))
        assert (first["judge_calls"], first["judge_cached"]) == (2.0, 1.0)
        assert (second["judge_calls"], second["judge_cached"]) == (0.0, 3.0)


def test_a_key_that_is_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with StandInScores() as stand_in:
        with pytest.raises(TermError, match="key_variable names MY_KEY, which is not set or empty"):
            Judge(key_variable="MY_KEY", **settings(stand_in, tmp_path))
        monkeypatch.setenv("MY_KEY", "secret")
        term = Judge(key_variable="MY_KEY", **settings(stand_in, tmp_path))
    with pytest.raises(JudgeError, match=r"refuses the key .*; set MY_KEY"):
        term.client._refuse(httpx2.Response(401, text="no"))


@pytest.mark.parametrize(
    "given",
    [
        "good",
        [{"weight": 1}],
        [{"criterion": "x", "weight": 0}],
        [{"criterion": 3}],
        [],
        [{"criterion": "x", "weight": -1}],
        [{"criterion": "x", "weight": "much"}],
        [{"criterion": "x", "weight": 1}, {"criterion": "is rude", "wieght": -1}],
    ],
    ids=str,
)
def test_rubrics_that_are_none(given: Any) -> None:
    with pytest.raises(ValueError, match=r"rubric|criterion"):
        criteria_of(given)


@pytest.mark.parametrize("pairing", [{}, {"pairing": "circular"}, {"pairing": "tournament", "calls": 8}], ids=str)
@pytest.mark.parametrize("scores", ["bradley_terry", "mean_wins"])
def test_groups_are_ranked_whatever_their_order(pairing: dict[str, Any], scores: str, tmp_path: Path) -> None:
    merits = [0.1, 0.4, 0.6, 0.9]
    with StandInScores() as stand_in:
        judge = GroupJudge(scores=scores, **pairing, **settings(stand_in, tmp_path))  # type: ignore[arg-type]
        first = run(judge, texts(*merits)).scores
        for order in list(permutations(range(4)))[5::6]:
            again = run(judge, texts(*(merits[i] for i in order))).scores
            assert again == pytest.approx([first[i] for i in order])
    assert first[0] < 0.5 < first[3]  # type: ignore[operator]
    if not pairing:
        assert list(first) == sorted(first)  # type: ignore[type-var]


def test_the_calls_of_each_pairing(tmp_path: Path) -> None:
    for number, (pairing, calls) in enumerate(
        [({}, 12), ({"pairing": "circular"}, 8), ({"pairing": "tournament", "calls": 11}, 10)]
    ):
        with StandInScores() as stand_in:
            judge = GroupJudge(**pairing, **settings(stand_in, tmp_path / str(number)))  # type: ignore[arg-type]
            both = [*texts(0.1, 0.4, 0.6, 0.9), *texts(0.2, 0.3, 0.5, 0.8, group=1)]
            found = run(judge, both)
            assert found.totals["judge_calls"] == len(stand_in.answered) == 2 * calls
            assert set(stand_in.answered.values()) == {1}


def test_what_needs_no_judge_costs_no_call(tmp_path: Path) -> None:
    with StandInScores() as stand_in:
        judge = GroupJudge(scores="mean_wins", **settings(stand_in, tmp_path))
        group = [of("0.5"), of("0.5"), of("<think>cut"), of("")]
        assert run(judge, group).scores == pytest.approx([5 / 6, 5 / 6, 1 / 6, 1 / 6])
        assert run(judge, [of("0.5", 1), of("0.6", 2)]).scores == (None, None)  # groups of one, as in greedy evaluation
        assert run(Judge(**settings(stand_in, tmp_path)), [of(""), of("<think>cut")]).scores == (0.0, 0.0)
        assert not stand_in.requests


def test_a_judge_that_prefers_the_first_teaches_nothing(tmp_path: Path) -> None:
    with StandInScores(prefers_first=True) as stand_in:
        judge = GroupJudge(**settings(stand_in, tmp_path))
        assert run(judge, texts(0.1, 0.4, 0.9)).scores == pytest.approx([0.5, 0.5, 0.5])


# --- faults ---------------------------------------------------------------------------------------------------------


def test_a_slow_judge_is_asked_by_many_at_once(tmp_path: Path) -> None:
    with StandInScores(delay=0.1) as stand_in:
        began = time.monotonic()
        run(Judge(concurrency=8, **settings(stand_in, tmp_path)), texts(*(n / 100 for n in range(16))))
        assert stand_in.most_in_flight <= 8
        assert time.monotonic() - began < 16 * 0.1
        groups = [sample for g in range(4) for sample in texts(g / 100, 0.5, 0.9, group=g)]
        run(GroupJudge(concurrency=3, **settings(stand_in, tmp_path)), groups)
        assert stand_in.most_in_flight <= 8  # the limit holds over all groups


@pytest.mark.parametrize("way", ["429", "500", "garbage", "dropped"])
def test_passing_faults_are_tried_again(way: str, tmp_path: Path) -> None:
    with StandInScores(faults=0.3, ways=(way,)) as stand_in:
        judge = Judge(**settings(stand_in, tmp_path, tries=20))
        assert run(judge, texts(*(n / 9 for n in range(10)))).scores == pytest.approx([n / 9 for n in range(10)])


def test_a_judge_that_is_silent_at_times_gives_no_score_and_no_zero(tmp_path: Path) -> None:
    with StandInScores(faults=0.4, ways=("no verdict",)) as stand_in:
        found = run(Judge(**settings(stand_in, tmp_path)), texts(*(n / 9 for n in range(10))))
        known = [n for n, score in enumerate(found.scores) if score is not None]
        assert 0 < len(known) < 10
        assert [found.scores[n] for n in known] == pytest.approx([n / 9 for n in known])
        assert (found.failures, found.unscorable) == (0, 10 - len(known))
        assert found.totals["judge_unread"] == 10 - len(known)
        group = run(GroupJudge(**settings(stand_in, tmp_path)), texts(0.1, 0.3, 0.5, 0.7, 0.9))
        assert found.failures == 0
        assert group.totals["judge_unread"] > 0


def test_a_pair_with_one_order_unread_is_no_comparison(tmp_path: Path) -> None:
    def says(verdict: str, seal: str, shown: str) -> str:
        first = shown.index("worth 0.9") < shown.index("worth 0.1")
        return verdict if first else "hm"

    with StandInScores(says=says) as stand_in:
        found = run(GroupJudge(**settings(stand_in, tmp_path)), texts(0.1, 0.9))
    assert (found.scores, found.unscorable, found.failures) == ((None, None), 2, 0)


@pytest.mark.parametrize(
    "reply",
    [
        lambda v, seal, s: v.replace(seal, "0" * 16),
        lambda v, seal, s: v[:-1],
        lambda v, seal, s: json.dumps({"seal": seal, "reason": "x"}),
        lambda v, seal, s: json.dumps({"seal": seal, "score": 11, "equivalent": 1, "better": "C", "criteria": []}),
        lambda v, seal, s: json.dumps({"seal": seal, "score": True, "equivalent": "true", "better": ["A"]}),
        lambda v, seal, s: json.dumps({"seal": seal, "score": "9", "criteria": [{"number": 1, "met": True}] * 2}),
        lambda v, seal, s: "",
    ],
)
def test_verdicts_that_are_none(reply: Any, tmp_path: Path) -> None:
    with StandInScores(says=reply) as stand_in:
        given = settings(stand_in, tmp_path)
        terms = [Judge(**given), Rubric(criteria=["0.1", "0.2"], **given), GroupJudge(**given)]
        for term in terms:
            assert run(term, texts(0.1, 0.9)).scores == (None, None)
        answered = [of("0.5", answer="0.5")]
        assert run(Judge(ask="equivalence", **given), answered).scores == (None,)


def test_a_reply_that_was_cut_off_is_none() -> None:
    from align.rewards.judges.base import _verdict
    from align.rewards.judges.quoting import Question
    from reward_models.endpoint.answers import Answer
    from reward_models.endpoint.client import Reply

    reply = Reply(Answer('{"seal": "S", "score": 3}', "length"))
    found = _verdict(0, Question([], "S"), reply, lambda place, each: pytest.fail("a draft was read"))
    assert (found.score, "cut off" in found.reason) == (None, True)


def test_a_question_that_keeps_failing_is_a_failure(tmp_path: Path) -> None:
    def fails_on_half(verdict: str, seal: str, shown: str) -> str:
        if "worth 0.5" in shown:
            raise ConnectionError
        return verdict

    with StandInScores(says=fails_on_half) as stand_in:
        given = settings(stand_in, tmp_path, tries=2)
        found = run(Judge(**given), texts(0.0, 0.5, 1.0))
        assert (found.scores, found.failed) == ((0.0, None, 1.0), (False, True, False))
        assert found.totals["judge_failed"] == 2  # it was asked again
        group = run(GroupJudge(**given), texts(0.0, 0.5, 1.0))
        assert group.failures == 3  # no comparison with it, so its group has not been judged whole


def test_an_endpoint_that_breaks_down_or_refuses_the_key_stops_the_run(tmp_path: Path) -> None:
    with StandInScores(faults=1.0, ways=("500",)) as stand_in:
        judge = Judge(**settings(stand_in, tmp_path, tries=1))
        with pytest.raises(TermError, match=f"judge: {GIVE_UP_AFTER} questions in a row failed.*HTTP 500"):
            run(judge, texts(*(n / 100 for n in range(40))))
    with pytest.raises(TermError, match="rewards: judge: cannot reach the judge"):
        Judge(**settings(stand_in, tmp_path))


def test_a_server_that_refuses_schemas_is_asked_without(tmp_path: Path) -> None:
    with StandInScores(takes_schemas=False) as stand_in:
        assert run(Judge(**settings(stand_in, tmp_path)), texts(0.0, 1.0)).scores == (0.0, 1.0)
        assert sum("response_format" not in body for body in stand_in.bodies) == 2
        strict = Judge(**settings(stand_in, tmp_path / "other", output="schema", tries=2))
        assert run(strict, texts(0.0)).failures == 1
    with StandInScores() as stand_in:
        run(Judge(**settings(stand_in, tmp_path, cache=str(tmp_path / "c"))), texts(0.0))
        (body,) = stand_in.bodies
        assert body["response_format"]["json_schema"]["schema"]["required"] == ["seal", "reason", "score"]
        assert (body["temperature"], body["max_tokens"]) == (0.0, 1024)


# --- the cache and the costs ----------------------------------------------------------------------------------------


def test_the_same_scores_from_the_cache_without_a_call(tmp_path: Path) -> None:
    with StandInScores(fickle=True, noise=0.2) as stand_in:
        for term in (Judge, GroupJudge):
            first = run(term(**settings(stand_in, tmp_path)), texts(0.1, 0.4, 0.9))
            asked = sum(stand_in.requests.values())
            again = run(term(**settings(stand_in, tmp_path)), texts(0.1, 0.4, 0.9))
            assert again.scores == first.scores
            assert sum(stand_in.requests.values()) == asked
            assert again.totals["judge_cached"] == first.totals["judge_calls"] > 0
            assert again.totals["judge_calls"] == again.totals["judge_cost"] == 0


def test_costs_are_counted_and_become_metrics(tmp_path: Path) -> None:
    with StandInScores() as stand_in:
        arguments = settings(stand_in, tmp_path, input_price=2.0, output_price=30.0)
        terms = build_terms([TermConfig(term="judge", arguments=arguments)], set())
        scores = run_terms(terms, [*texts(0.1, 0.4), *texts(0.4)])
        metrics = Mixer(terms).mix(scores, {"judge": 1.0}, learn=False).metrics()
    assert (metrics["judge_calls/judge"], metrics["judge_cached/judge"]) == (2, 1)  # the same response is paid once
    assert (metrics["judge_tokens_in/judge"], metrics["judge_tokens_out/judge"]) == (200, 20)
    assert metrics["judge_cost/judge"] == pytest.approx((200 * 2 + 20 * 30) / 1e6)
    assert (metrics["judge_unread/judge"], metrics["judge_failed/judge"]) == (0, 0)


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    with StandInScores(fickle=True) as stand_in:
        one, other = (Judge(**settings(stand_in, tmp_path)) for _ in range(2))  # both have read the empty file

        async def both() -> list[Any]:
            return list(await asyncio.gather(one.score(texts(0.1, 0.5)), other.score(texts(0.5, 0.9))))

        first, second = asyncio.run(both())
    assert first[1] == second[0]
    lines = [json.loads(line) for line in (tmp_path / "judge.jsonl").read_text().splitlines()]
    assert len(lines) == len({line["key"] for line in lines}) == 3


# --- settings -------------------------------------------------------------------------------------------------------


def test_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(TermError, match=r"judge takes no argument 'modell'; did you mean model\?"):
        check_terms([TermConfig(term="judge", arguments={"modell": "m"})])
    check_terms(
        [
            TermConfig(term="group_judge", arguments={"pairing": "circular", "url": "u", "timeout": 3}),
            TermConfig(term="rubric", arguments={"criteria": ["x"], "cache": "c", "output": "text"}),
        ]
    )
    with StandInScores() as stand_in:
        given = settings(stand_in, tmp_path)
        with pytest.raises(TermError, match=r"judge needs .*'cache'"):
            build_terms([TermConfig(term="judge", arguments={"url": stand_in.url, "model": "m"})], set())
        for arguments, message in (
            ({"ask": "opinion"}, "none of score, equivalence"),
            ({"output": "yaml"}, "none of auto, schema, text"),
            ({"tries": 0}, "at least 1"),
        ):
            with pytest.raises((TermError, ValueError), match=message):
                build_terms([TermConfig(term="judge", arguments=given | arguments)], set())
        for arguments, message in (
            ({"pairing": "knockout"}, "none of round_robin"),
            ({"calls": 5}, "budget of a tournament"),
            ({"pairing": "tournament"}, "budget of a tournament"),
        ):
            with pytest.raises(TermError, match=message):
                build_terms([TermConfig(term="group_judge", arguments=given | arguments)], set())
        with pytest.raises(TermError, match="a group of 5: every sample must be compared once"):
            run(GroupJudge(pairing="tournament", calls=5, **given), texts(0.1, 0.2, 0.3, 0.4, 0.5))
    assert AlignConfig(rewards=[TermConfig(term="judge", arguments={"url": "u"})]).rewards[0].term == "judge"


def test_reasons_are_the_judges(tmp_path: Path) -> None:
    with StandInScores() as stand_in:
        given = settings(stand_in, tmp_path)
        assert Judge(**given).explain(texts(1.0)) == [(1.0, "as I see it")]
        assert Rubric(criteria=["0.5"], **given).explain(texts(0.6)) == [(1.0, "1 met: so")]
        (score, reason), _ = GroupJudge(**given).explain(texts(0.6, 0.1))
        assert score is not None
        assert not math.isnan(score)
        assert reason == "as I see it"
