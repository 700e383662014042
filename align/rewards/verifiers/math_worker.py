"""A process that compares mathematical answers, one JSON line in, one JSON line out.

:mod:`align.rewards.verifiers.mathematics` starts it: an answer that makes sympy compute for ever, or use up memory,
ends with the process.
"""

from __future__ import annotations

import faulthandler
import functools
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

from align.rewards.verifiers.math_answer import MOST_WORDS, read_answer, read_reference
from align.rewards.verifiers.math_compare import Form, same
from align.rewards.verifiers.math_expressions import ReferenceError, latex_equal, parsed
from align.rewards.verifiers.math_numbers import Value
from align.rewards.verifiers.math_size import too_large
from align.rewards.verifiers.math_text import Unreadable


class OutOfTimeError(BaseException):
    """Not an ``Exception``: the libraries below catch those."""


@functools.lru_cache(maxsize=4096)
def reference_value(reference: str) -> Value:
    """The value of a reference whose expressions sympy can read.

    Raises:
        ReferenceError: it cannot, or the reference is empty or a sentence.
    """
    if not reference.strip():
        raise ReferenceError("it is empty")
    try:
        value = read_reference(reference)
    except Unreadable as error:
        raise ReferenceError(str(error)) from error
    if value.kind == "words" and len(value.text.split()) > MOST_WORDS:
        raise ReferenceError("it is a sentence, and no mathematics")
    for latex in _expressions(value):
        if parsed(latex) is None:
            raise ReferenceError(f"sympy cannot read {latex[:80]}")
    return value


def _expressions(value: Value) -> Iterator[str]:
    if value.kind == "expression":
        yield value.text
    for item in value.items:
        yield from _expressions(item)


def _formulas(value: Value) -> Iterator[str]:
    """The LaTeX of all parts that sympy may be given."""
    if value.kind in ("expression", "relation"):
        yield value.text
    for part in (*value.items, *value.checks, *value.rounded):
        yield from _formulas(part)


def judge(reference: str, answer: str, marked: bool, behind: str, form: Form, explain: bool) -> dict[str, Any]:
    """The verdict on one answer, and how both were read.

    Args:
        explain: find out whether an answer was refused for its form alone, which takes a second comparison.
    """
    wanted = reference_value(reference)
    reply: dict[str, Any] = {"verdict": False, "reference": str(wanted)[:200]}
    try:
        given = read_answer(answer, marked=marked, behind=behind)
        if any(map(too_large, set(_formulas(given)) - set(_formulas(wanted)))):
            return reply | {"read": "nothing: its powers or factorials are too large to compute"}
        verdict = same(wanted, given, form)
        unfinished = explain and not verdict and form == "reference" and same(wanted, given, "any")
    except Unreadable as error:
        return reply | {"read": f"nothing: {error}"}
    except ReferenceError as error:
        same(wanted, wanted, form)  # raises again if the reference is at fault, and not what the answer compares
        return reply | {"read": f"nothing: {error}"}
    except OutOfTimeError:
        return reply | {"read": "nothing: it takes too long to compute", "error": "time"}
    except MemoryError:
        return reply | {"read": "nothing: it takes too much memory", "error": "memory"}
    except Exception as error:  # whatever the libraries raise on strange input
        return reply | {"read": f"nothing: {type(error).__name__}", "error": type(error).__name__}
    reply |= {"verdict": verdict, "read": ("words: " if given.kind == "words" else "") + str(given)[:200]}
    if unfinished:
        reply["read"] += ", which has the value of the reference but is not written as a final answer"
    return reply


def _out_of_time(*_: Any) -> None:
    raise OutOfTimeError


def reply(line: str, time_limit: float) -> dict[str, Any]:
    """The verdict, or ``{"error": …}`` if the reference allows none.

    An answer that cannot be computed within the limits, while its reference can be read, is wrong, and ``error`` says
    why: no score at all would be a way out of a bad one.
    """
    request = json.loads(line)
    signal.setitimer(signal.ITIMER_PROF, time_limit)  # processor time: a busy machine changes no verdict
    try:
        return judge(**request)
    except ReferenceError as error:
        return {"error": "reference", "why": str(error)}
    except OutOfTimeError:
        return {"error": "reference", "why": "it takes too long to read"}
    except Exception as error:
        return {"error": "reference", "why": type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main(time_limit: float, memory: int) -> None:
    """Serve until stdin is closed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints may pass for an answer
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.signal(signal.SIGPROF, _out_of_time)
    latex_equal("x+1", "1+x")  # load the grammar before the clock runs
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        # a thread in C ends the process even where Python code no longer runs, for when nobody is left to kill it
        faulthandler.dump_traceback_later(10 * time_limit + 10, exit=True, file=sys.stderr)
        print(json.dumps(reply(line, time_limit)), file=answers, flush=True)
        faulthandler.cancel_dump_traceback_later()
