"""A stand-in for a judge's endpoint that answers the questions of judge terms, and has faults of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

from stand_in_judge import StandInJudge

SHOWN = re.compile(r"<<<<< BEGIN ([A-Z ]+) (\w+) >>>>>\n(.*?)\n<<<<< END \1 \2 >>>>>", re.DOTALL)
Merit = Callable[[str], float]


def last_number(text: str) -> float:
    """Texts say in their last word how good they are, 0 … 1."""
    return float(text.split()[-1])


class StandInScores(StandInJudge):
    """Scores, verdicts on rubrics and on pairs, by the merit of what is shown.

    Args:
        merit: of a text, 0 … 1. Two answers are the same if their merits are; a criterion, which is a number, is met by
            a response of at least this merit.
        prefers_first: of two responses the first is always better.
        says: makes the reply of the verdict, the seal and what was shown; by default it is the verdict as JSON.
        takes_schemas: false refuses requests with a schema, as some servers do.
        fickle: a question that is asked a second time gets another verdict.
        options: of :class:`StandInJudge`.
    """

    def __init__(
        self,
        merit: Merit = last_number,
        *,
        prefers_first: bool = False,
        says: Callable[[str, str, str], str] = lambda verdict, seal, shown: verdict,
        takes_schemas: bool = True,
        fickle: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(lambda one, other: 0.0, **options)
        self.merit, self.says = merit, says
        self.prefers_first, self.takes_schemas, self.fickle = prefers_first, takes_schemas, fickle

    def scored(self, system: str, content: str, key: str) -> str:
        """The reply to the question in the two messages."""
        parts = {name: text for name, _, text in SHOWN.findall(content)}
        seal = SHOWN.findall(content)[0][1]
        noise = Random(key).gauss(0, self.noise)
        if self.fickle and self.requests[key] > 1:
            noise += 0.5
        verdict = {"seal": seal, "reason": "as I see it", **self._verdict(parts, noise, system)}
        return self.says(json.dumps(verdict), seal, content)

    def _verdict(self, parts: dict[str, str], noise: float, system: str) -> dict[str, Any]:
        if "RESPONSE A" in parts:
            gap = self.merit(parts["RESPONSE A"]) - self.merit(parts["RESPONSE B"]) + noise
            return {"better": "A" if self.prefers_first or gap > 0 else "tie" if gap == 0 else "B"}
        merit = self.merit(parts["RESPONSE"])
        if "CRITERIA" in parts:
            bars = [float(line.split(". ", 1)[1]) for line in parts["CRITERIA"].splitlines()]
            items = [{"number": n, "reason": "so", "met": merit >= bar} for n, bar in enumerate(bars, 1)]
            return {"criteria": items}
        if '- "equivalent"' in system:
            return {"equivalent": merit == self.merit(parts["REFERENCE ANSWER"])}
        return {"score": max(1, min(10, round(1 + 9 * (merit + noise))))}

    def _answer(self, handler: Any, fault: str | None, body: dict[str, Any], key: str) -> None:
        if not self.takes_schemas and "response_format" in body:
            handler.send(400, {"error": {"message": "response_format of type json_schema is not supported"}})
            return
        if fault is not None:
            super()._answer(handler, fault, body, key)
            return
        system, user = (message["content"] for message in body["messages"])
        said = self.scored(system, user, key)
        with self._lock:
            self.answered[key] += 1
        choice = {"message": {"content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        handler.send(200, {"choices": [choice], "usage": usage})
