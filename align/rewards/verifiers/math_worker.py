"""A process that compares mathematical answers, one JSON line in, one JSON line out.

It is run as a file of its own, by :mod:`align.rewards.verifiers.mathematics`: whatever an answer does to it (endless
simplification, huge powers, a crash) is ended with the process. It imports nothing of this project.
"""

from __future__ import annotations

import faulthandler
import functools
import json
import os
import re
import resource
import signal
import sys
import unicodedata
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

SYMBOLS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": r"\times ",
        "÷": r"\div ",
        "⁄": "/",
        "∞": r"\infty ",
        "π": r"\pi ",
        "≤": r"\le ",
        "≥": r"\ge ",
    }
)
NUMBER = r"[-+]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
# A number with a unit in plain letters; words that change the value, or join two values, are no units.
UNIT = re.compile(
    rf"({NUMBER})\s*(?!(?:percent|pct|percentage|or|and|pi|thousand|million|billion|trillion|hundred|dozen)\b)"
    r"[A-Za-z]{2,}[A-Za-z ./^0-9]{0,40}"
)
MIXED = re.compile(r"([-+]?\d+)\s+(\d+/\d+)")
SCIENTIFIC = re.compile(rf"({NUMBER})[eE]([-+]?\d{{1,6}})")
# math-verify takes 2(5) for the mixed number 7; not after a subscript, as in log_2(8)
FACTOR = re.compile(r"(?<![\w_^.\\}])(\d+)\s*\((?=[\d\\-])")
PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}[ ,:]+[A-Za-z]{2,}")


class OutOfTimeError(BaseException):
    """Not an ``Exception``: the libraries below catch those."""


def as_math(text: str) -> str:
    """An answer that was marked as one, in the form math-verify reads: LaTeX in dollars, unless it is prose."""
    text = re.sub(r"(\d)([¼-¾⅐-⅞])", r"\1 \2", text)
    text = unicodedata.normalize("NFKC", text).translate(SYMBOLS).strip().rstrip("。.").strip()
    text = re.sub(r"√\s*(\d+|\w)", r"\\sqrt{\1}", text)
    text = FACTOR.sub(r"\1\\cdot(", text)
    if text.count("$") == 1 and "\\$" not in text:  # a currency
        text = text.replace("$", "")
    if match := UNIT.fullmatch(text):
        text = match[1]
    elif match := MIXED.fullmatch(text):
        sign = "-" if match[1].startswith("-") else "+"
        text = f"{match[1]}{sign}{match[2]}"
    elif match := SCIENTIFIC.fullmatch(text):
        text = rf"{match[1]}\times 10^{{{match[2]}}}"
    if any(mark in text for mark in ("$", r"\(", r"\[", r"\boxed")) or PROSE.search(text):
        return text
    return f"${text}$"


@functools.lru_cache(maxsize=4096)
def parsed_reference(reference: str) -> list[Any]:
    return _parse(as_math(reference))


def judge(reference: str, answer: str, marked: bool) -> bool | None:
    """Whether the answer equals the reference; ``None`` if the reference itself is not mathematics."""
    gold = parsed_reference(reference)
    if not any(not isinstance(value, str) for value in gold):
        return None
    found = _parse(as_math(answer) if marked else answer)
    return bool(found) and verify(gold, found, timeout_seconds=None, allow_set_relation_comp=True, raise_on_error=True)


def _parse(text: str) -> list[Any]:
    targets = (LatexExtractionConfig(), ExprExtractionConfig())
    return parse(text, targets, parsing_timeout=None, raise_on_error=True)


def _out_of_time(*_: Any) -> None:
    raise OutOfTimeError


def reply(line: str, time_limit: float) -> dict[str, Any]:
    """``{"verdict": …}``, or ``{"error": …}`` if there can be none."""
    request = json.loads(line)
    signal.setitimer(signal.ITIMER_PROF, time_limit)  # processor time: a busy machine changes no verdict
    try:
        verdict = judge(request["reference"], request["answer"], request["marked"])
        signal.setitimer(signal.ITIMER_PROF, 0)
    except OutOfTimeError:
        return {"error": "time"}
    except MemoryError:
        return {"error": "memory"}
    except Exception as error:  # whatever the libraries raise on strange input
        return {"error": type(error).__name__}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return {"error": "reference"} if verdict is None else {"verdict": verdict}


def main(time_limit: float, memory: int) -> None:
    """Serve until stdin is closed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints may pass for an answer
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    signal.signal(signal.SIGPROF, _out_of_time)
    parsed_reference("1")  # load the grammar before the clock runs
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        # a thread in C ends the process even where Python code no longer runs, for when nobody is left to kill it
        faulthandler.dump_traceback_later(10 * time_limit + 10, exit=True, file=sys.stderr)
        print(json.dumps(reply(line, time_limit)), file=answers, flush=True)
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
