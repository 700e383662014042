"""A judge that compares the responses to a prompt with one another."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

from align.rewards.grouping import places_by_group
from align.rewards.judges.base import JudgeTerm, Verdict, text_of
from align.rewards.judges.letters import PAIRWISE, letter_question
from align.rewards.judges.pairing import Pair, bradley_terry, circular, mean_wins, next_round, round_robin
from align.rewards.judges.quoting import Question, answer_of, question
from align.rewards.terms import Sample, TermError

Pairing = Literal["round_robin", "circular", "tournament"]
Score = Literal["bradley_terry", "mean_wins"]
Reply = Literal["json", "letter"]
GAINS = {"A": 1.0, "tie": 0.5, "B": 0.0}


class GroupJudge(JudgeTerm):
    """A response's standing among the responses to its prompt, in 0 … 1, from pairwise comparisons by a judge.

    Every pair is shown in both orders, and what a response gains is the mean of the two verdicts: a judge that always
    prefers the first makes all pairs ties, which teaches nothing. A pair of which one order has no verdict is no
    comparison. A sample without a comparison has no score. A question that failed makes both of its samples fail.

    Responses that read the same are ties, and one that answers nothing loses against all that do; no call is made for
    these. A group of one sample has no score.

    Args:
        pairing: ``round_robin``: all pairs, n · (n − 1) calls for n samples. ``circular``: neighbours in a circle,
            2 · n calls. ``tournament``: rounds between samples of about equal standing (Swiss system), up to ``calls``.
        calls: most calls for a group in a tournament, at least 2 for every two samples.
        scores: ``bradley_terry``: the mean chance against the others of the group. ``mean_wins``: the mean gain.
        instructions: what the judge is told in place of our own words about what to judge.
        reply: the form of a verdict. ``json``: an object with a reason, for any model. ``letter``: reasoning, then the
            letter in ``<answer>``, as a judge trained on prompts of ``keel data judge-prompts`` replies; no ties.
        endpoint: of :class:`JudgeTerm`.
    """

    name = "group_judge"
    whole_groups: ClassVar[bool] = True

    def __init__(
        self,
        *,
        pairing: Pairing = "round_robin",
        calls: int | None = None,
        scores: Score = "bradley_terry",
        instructions: str | None = None,
        reply: Reply = "json",
        **endpoint: Any,
    ) -> None:
        for name, value, values in (
            ("pairing", pairing, get_args(Pairing)),
            ("scores", scores, get_args(Score)),
            ("reply", reply, get_args(Reply)),
        ):
            if value not in values:
                raise ValueError(f"{name} = {value!r} is none of {', '.join(values)}")
        if (calls is not None) != (pairing == "tournament"):
            raise ValueError("calls is the budget of a tournament: give it with pairing: tournament, and there only")
        self._pairing, self._calls, self._task = pairing, calls or 0, instructions or PAIRWISE
        self._letter = reply == "letter"
        self._scores = bradley_terry if scores == "bradley_terry" else mean_wins
        super().__init__(**endpoint)

    async def judge(self, samples: Sequence[Sample], totals: dict[str, float]) -> list[Verdict]:
        groups = [_Group(samples, places) for places in places_by_group(samples)]
        for group in groups:
            self._check_budget(group.size)
        # All groups play a round at the same time: the endpoint's limit of calls in flight holds over all of them.
        while rounds := [(group, pairs) for group in groups if (pairs := self._next(group))]:
            await self._compare(rounds, totals)
        verdicts = [Verdict(None, "its group has no other sample")] * len(samples)
        for group in groups:
            scores = self._scores(group.size, group.outcomes)
            for number, score in enumerate(scores if group.size > 1 else ()):
                verdicts[group.order[number]] = group.verdict(number, score)
        return verdicts

    def _check_budget(self, size: int) -> None:
        needed = 2 * math.ceil(size / 2)
        if self._pairing == "tournament" and size > 1 and self._calls < needed:
            raise TermError(
                f"rewards: {self.name}: calls = {self._calls} do not reach for a group of {size}: every sample must be "
                f"compared once, in both orders, which takes {needed}"
            )

    def _next(self, group: _Group) -> list[Pair]:
        """The pairs of the group's next round."""
        if self._pairing == "tournament":
            return next_round(group.size, group.outcomes, group.asked, self._calls // 2 - len(group.asked))
        if group.asked:
            return []
        return round_robin(group.size) if self._pairing == "round_robin" else circular(group.size)

    async def _compare(self, rounds: Sequence[tuple[_Group, list[Pair]]], totals: dict[str, float]) -> None:
        """Have pairs judged in both orders, and put their outcomes into the groups."""
        asked: list[tuple[_Group, Pair]] = []
        for group, pairs in rounds:
            group.asked += pairs
            asked += [(group, pair) for pair in pairs if not group.settled(pair)]
        questions = [
            self._question(group.samples[first], group.samples[second])
            for group, (i, j) in asked
            for first, second in ((i, j), (j, i))
        ]
        verdicts = await self.ask(questions, lambda place, found: _read(found), totals)
        for number, (group, pair) in enumerate(asked):
            group.add(pair, verdicts[2 * number], verdicts[2 * number + 1])

    def _question(self, first: Sample, second: Sample) -> tuple[Question, Mapping[str, Any]]:
        if self._letter:
            return letter_question(first.prompt, answer_of(first), answer_of(second), self._task), {}
        asked = question(
            self._task,
            first.prompt,
            {"RESPONSE A": answer_of(first), "RESPONSE B": answer_of(second)},
            {"reason": "your reason, in a few sentences", "better": '"A", "B" or "tie"'},
        )
        return asked, {"reason": {"type": "string"}, "better": {"type": "string", "enum": list(GAINS)}}


class _Group:
    """The samples of a prompt, and what is known of their pairs.

    They are numbered by a hash of their answers, so that nothing depends on the order in which they come.

    Attributes:
        order: number → place among all samples.
    """

    def __init__(self, samples: Sequence[Sample], places: Sequence[int]) -> None:
        self.order = sorted(places, key=lambda place: _lot(samples[place]))
        self.samples = [samples[place] for place in self.order]
        self.size = len(places)
        self.asked: list[Pair] = []
        self.outcomes: dict[Pair, float] = {}
        self.failed: set[int] = set()
        self._texts = [answer_of(sample) for sample in self.samples]
        self._reasons: dict[int, list[str]] = {number: [] for number in range(self.size)}

    def settled(self, pair: Pair) -> bool:
        """True if the outcome needs no judge; it is then noted."""
        a, b = (self._texts[number] for number in pair)
        if a == b:
            self.outcomes[pair] = 0.5
        elif not a or not b:
            self.outcomes[pair] = 1.0 if a else 0.0
        return pair in self.outcomes

    def add(self, pair: Pair, one: Verdict, other: Verdict) -> None:
        """The verdicts about a pair as it is, and the other way round."""
        i, j = pair
        for first, verdict in ((i, one), (j, other)):
            self._reasons[first].append(verdict.reason)
            if verdict.score is not None and math.isnan(verdict.score):
                self.failed |= {i, j}
        if one.score is not None and other.score is not None:
            self.outcomes[pair] = (one.score + 1 - other.score) / 2

    def verdict(self, number: int, score: float | None) -> Verdict:
        reasons = "; ".join(reason for reason in self._reasons[number] if reason)[:1000]
        if number in self.failed:
            return Verdict(math.nan, reasons)
        return Verdict(score, reasons or ("no call was needed" if score is not None else "no pair has a verdict"))


def _lot(sample: Sample) -> bytes:
    return hashlib.sha256(answer_of(sample).encode("utf-8", "surrogatepass")).digest()


def _read(found: dict[str, Any]) -> Verdict | None:
    gain = GAINS.get(found["better"]) if isinstance(found.get("better"), str) else None
    return None if gain is None else Verdict(gain, text_of(found.get("reason")))
