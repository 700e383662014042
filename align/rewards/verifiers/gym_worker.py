"""A process that makes problems of reasoning-gym again and scores answers to them, one JSON line in, one out.

The package's own ``score_answer`` decides, and nothing short of its full marks counts: many of its scorers give a part
for an empty answer or for a guess among others. Some of them would also evaluate an answer as Python, or take words for
an answer; for these an answer must have a shape, and is refused before it comes near them
(:data:`reward_models.data.gym_shapes.SHAPES`). Some are replaced or joined by a check of ours (:data:`OWN`), because
they pass wrong answers.
"""

from __future__ import annotations

import ast
import faulthandler
import functools
import importlib
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from reward_models.data.gym_shapes import SHAPES
from reward_models.data.gym_tasks import build, version

LONGEST = 20_000  # characters of an answer
CLOSE = Fraction(1, 10_000)  # of a probability, as the package has it
CACHED = 64  # data sets that a worker keeps
# Modules whose ``eval`` reads answers: there it reads literals only, should a shape ever let one through.
_EVALUATING = (
    *("algorithmic.string_insertion", "algorithmic.spiral_matrix", "algorithmic.binary_matrix", "games.n_queens"),
)


def _same_text(answer: str, problem: Mapping[str, Any]) -> bool:
    return answer.casefold() == str(problem["answer"]).strip().casefold()


def _same_list(answer: str, problem: Mapping[str, Any]) -> bool:
    theirs, ours = ([word.strip() for word in text.split(",")] for text in (answer, str(problem["answer"])))
    return theirs == ours


def _close(answer: str, problem: Mapping[str, Any]) -> bool:
    return abs(Fraction(answer) - Fraction(str(problem["answer"]))) <= CLOSE


def _four_numbers(answer: str, problem: Mapping[str, Any]) -> bool:
    """The puzzle's own four numbers; the package checks that there are four, and that the result is 24."""
    return sorted(map(int, re.findall(r"\d+", answer))) == sorted(problem["metadata"]["numbers"])


# Halting compares truth values of texts, which are all true; jumbles and sorted words may have more words behind them;
# a probability may be the beginning of the right one; puzzle24 takes any four numbers.
OWN: dict[str, Callable[[str, Mapping[str, Any]], bool]] = {
    "game_of_life_halting": _same_text,
    "letter_jumble": _same_text,
    "word_sorting": _same_list,
    "coin_flip": _close,
    "puzzle24": _four_numbers,
}
DECIDED = ("game_of_life_halting", "letter_jumble", "word_sorting", "coin_flip")  # without the package's scorer


class OutOfTimeError(BaseException):
    """Not an ``Exception``: the libraries below catch those."""


@functools.lru_cache(maxsize=CACHED)
def _problems(task: str, options: str, level: int | None) -> Any:
    return build(task, json.loads(options), level)


@functools.lru_cache(maxsize=CACHED)
def _problem(task: str, options: str, level: int | None, index: int) -> Any:
    return _problems(task, options, level)[index]


def judge(made_with: Mapping[str, Any], question: str, answer: str | None) -> dict[str, Any]:
    """The verdict on an answer, with a reason; without an answer, whether the problem can be made again.

    A problem that cannot be made again, or that has become another one, gives ``{"error": "problem"}``.
    """
    task, index, level = str(made_with["task"]), made_with["index"], made_with["level"]
    options = json.dumps(made_with["options"], sort_keys=True)
    try:
        problems, problem = _problems(task, options, level), _problem(task, options, level, index)
    except Exception as error:
        return {"error": "problem", "why": f"{type(error).__name__}: {error}"[:300]}
    if str(problem["question"]).strip() != question.strip():
        made = f"reasoning-gym {made_with.get('version')} made it, {version()} is installed"
        return {"error": "problem", "why": f"the problem made again has another question ({made})"}
    if answer is None:
        return {"verdict": None, "why": "the problem is the same"}
    if len(answer) > LONGEST:
        return {"verdict": False, "why": f"the answer has over {LONGEST:,} characters"}
    try:
        shape = SHAPES.get(task)
        if shape is not None and not re.fullmatch(shape, answer, re.DOTALL):
            return {"verdict": False, "why": f"{answer[:80]!r} has not the form of an answer to {task}"}
        if task in OWN and not OWN[task](answer, problem):
            return {"verdict": False, "why": f"{answer[:80]!r} is no right answer to {task}"}
        score = 1.0 if task in DECIDED else float(problems.score_answer(answer, problem))
    except OutOfTimeError:
        return {"verdict": False, "why": "the answer takes too long to compute", "error": "time"}
    except Exception as error:  # of the package, on answers that it does not expect
        return {"verdict": False, "why": f"the scorer of {task} cannot read {answer[:80]!r}: {type(error).__name__}"}
    return {"verdict": score >= 1.0, "why": f"{answer[:80]!r} scores {score:.3g}"}


def _out_of_time(*_: Any) -> None:
    raise OutOfTimeError


def main(time_limit: float, memory: int) -> None:
    """Serve until stdin is closed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints may pass for an answer
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.signal(signal.SIGPROF, _out_of_time)
    for name in _EVALUATING:
        vars(importlib.import_module(f"reasoning_gym.{name}"))["eval"] = ast.literal_eval
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        # a thread in C ends the process even where Python code no longer runs, for when nobody is left to kill it
        faulthandler.dump_traceback_later(10 * time_limit + 10, exit=True, file=sys.stderr)
        signal.setitimer(signal.ITIMER_PROF, time_limit)  # processor time: a busy machine changes no verdict
        try:
            reply = judge(request["made_with"], request["question"], request["answer"])
        except OutOfTimeError:
            reply = {"error": "problem", "why": "the problem takes too long to make"}
        except Exception as error:
            reply = {"error": "problem", "why": f"{type(error).__name__}: {error}"[:300]}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), file=answers, flush=True)
        faulthandler.cancel_dump_traceback_later()
