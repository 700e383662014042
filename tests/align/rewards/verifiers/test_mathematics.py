"""Mathematical answers: equivalent forms, real solutions, and answers made to hang the verifier."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from align.rewards.verifiers.math_passages import without_check
from align.rewards.verifiers.mathematics import Comparison, MathAccuracy


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathAccuracy]:
    """One worker for the whole file; it takes a second to start."""
    term = MathAccuracy(workers=1)
    yield term
    term.close()


@pytest.fixture
def term(verifier: MathAccuracy) -> MathAccuracy:
    verifier.errors.clear()
    return verifier


EQUAL = [
    ("She needs 7 days.\n\nI hope this helps! 😊", "7"),
    ("The answer is 7.\n\n🎉🎉", "7"),
    ("The answer is not 12, it is 13.", "13"),
    ("The answer is not 12 but 13 apples.", "13"),
    ("73 miles to the north", "73"),
    ("The answer is 7 apples (3 red and 4 green).", "7"),
    ("Hence, x = 7 (since x > 0).", "7"),
    ("Hence x = 7 (rejecting x = -3).", "7"),
    ("Hence x = 7, because x = -3 is negative.", "7"),
    ("Since x = -3 is negative, x = 7.", "7"),
    ("12 after doubling the recipe", "12"),
    (r"\boxed{\frac12}", "0.5"),
    ("<answer>1/2</answer>", r"\frac{1}{2}"),
    (r"\boxed{3 1/2}", "7/2"),
    (r"\boxed{-3 1/2}", "-3.5"),
    (r"\boxed{½}", "0.5"),
    (r"\boxed{3½}", "3.5"),
    (r"\boxed{0.33333333}", "1/3"),
    (r"\boxed{1,600}", "1600"),
    (r"\boxed{1e3}", "1000"),
    (r"\boxed{√2}", r"\sqrt{2}"),
    (r"\boxed{２}", "2"),
    (r"\boxed{5\text{ cm}}", "5 cm"),
    (r"\boxed{18 km/h}", "18"),
    (r"<answer>$18</answer>", "18"),
    (r"\boxed{90^\circ}", "90"),
    (r"\boxed{50\%}", "0.5"),
    (r"\boxed{50%}", r"50\%"),
    (r"\boxed{2, 1}", r"\{1,2\}"),
    (r"\boxed{1 \text{ or } 2}", r"\{1,2\}"),
    (r"\boxed{(1,2]}", "(1, 2]"),
    (r"\boxed{[2,\infty)}", r"x \ge 2"),
    (r"\boxed{x \ge 2}", r"[2,\infty)"),
    (r"\boxed{x=5}", "5"),
    (r"\boxed{x^2-1}", "(x-1)(x+1)"),
    (r"\boxed{-\sqrt{2}+3}", r"$3-\sqrt{2}$"),
    ("<answer>The answer is 5.</answer>", "5"),
    (r"The answer is $\frac{1}{2}$.", "0.5"),
    ("It is 7.\nSo A: 12", "12"),
    (r"\boxed{十二}", "12"),
    ("<answer>一百零五</answer>", "105"),
    ("<answer>x**2</answer>", "x^2"),
    ("<answer>three and a half</answer>", "3.5"),
    ("<answer>seventy-two (72)</answer>", "72"),
    ("<answer>1.5 (3/2)</answer>", "1.5"),
    ("<answer>about 72</answer>", "72"),
    ("<answer>≈72</answer>", "72"),
    ("<answer>#### 72</answer>", "72"),
    ("<answer>no solution</answer>", r"\emptyset"),
    ("<answer>A∪B</answer>", r"A \cup B"),
    ("In May she sold 72 clips.", "72"),
    ("April and May", "April and May"),
    ("**72**\n\nLet me know if you have any other questions!", "72"),
    ("The answer is 72 (that is 48 + 24).", "72"),
    ("Answer - 72", "72"),
    ("The answer is 72 clips in 2 months.", "72"),
    ("The answer is 7!", "7"),
    (r"First, the half: \boxed{24}. Then adding 48 gives \boxed{72}.", "72"),
    (r"\boxed{72 \text{ clips}}, so \boxed{72}", "72"),
    ("If x is 2, then the total is \\boxed{72}.", "72"),
    ("The answer is 72 clips. Final answer: **72**", "72"),
    ("Thus the answer is $3:15$.", "3:15"),
    (r"\boxed{\left(\begin{array}{cc}1&2\\3&4\end{array}\right)}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    (r"\boxed{\frac12}", r"\sin 30^\circ"),
    (r"\boxed{\cos(60^{\circ})}", r"\sin 30^\circ"),
    (r"\boxed{10\sin{20°}}", r"10\sin 20^\circ"),
    (r"\boxed{∛2}", r"\sqrt[3]{2}"),
    (r"The answer is $\boxed{5}$, not $\boxed{6}$.", "5"),
]
DIFFERENT = [
    (r"\boxed{12 or 13}", "13"),  # naming several is no answer
    (r"\boxed{(2,1)}", "(1,2)"),
    (r"\boxed{[1,2]}", "(1,2)"),
    (r"\boxed{5 million}", "5"),
    (r"\boxed{0.333}", "1/3"),
    (r"\boxed{-5}", "5"),
    (r"\boxed{x+1}", "x"),
    (r"\boxed{二十十}", "20"),
    (r"\boxed{}", "2"),
    ("<think>5</think>6", "5"),
    ("<answer>seventy-two (73)</answer>", "72"),
    ("<answer>72 (48 + 25)</answer>", "72"),
    ("<answer>7!</answer>", "7"),
    ("<answer>72 pairs</answer>", "72"),
    ("<answer>72 billionths</answer>", "72"),
    ("The answer is 73 clips in 72 months.", "72"),
    ("It takes 73 minutes to walk 72 miles.", "72"),
    ("Thus the answer is $3:15$.", "15"),
    ("The answer is almost 7.", "7"),
    ("She needs 7 days.\n\n❌", "7"),
    ("The answer is not 12, but 13 is wrong.", "13"),
    ("The answer is not 12, it is not 13.", "13"),
    ("The answer is not 12, it is 13 or 14.", "13"),
    ("The answer is not 12, it is 13.", "12"),
    ("The answer is 10 to the power of 6.", "10"),
    ("The answer is 10 to the 6.", "10"),
    ("The answer is 7 apples (3 red and 4 green).", "4"),
    ("Hence x = 7 (rejecting x = -3).", "-3"),
    ("Hence x = 7, because x = -3 is negative.", "-3"),
    ("The answer is 7 (or 8).", "7"),
    ("It is not 7, because 7 is odd.", "7"),
    ("I guess 7, because I don't know.", "7"),
    ("The answer is 10 from 20.", "10"),
    ("The answer is 10 point 5.", "5"),
    ("The answer is 10 through 12.", "12"),
    ("The answer is 10 followed by six zeros.", "10"),
    ("The answer is 10 with three zeros.", "10"),
    ("The answer is 10 doubled.", "10"),
    ("The answer is 10 when halved.", "10"),
    ("The answer is 10 too few.", "10"),
    ("The answer is 10 in binary.", "10"),
    ("The answer is 70-something.", "70"),
    ("<answer>nearly 7</answer>", "7"),
    (r"\boxed{\left[\begin{array}{cc}1&2\\3&5\end{array}\right]}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    (r"\boxed{\cos 30^\circ}", r"\sin 30^\circ"),
    (r"\boxed{∜2}", r"\sqrt[3]{2}"),
    (r"The answer is $\boxed{5}$, not $\boxed{6}$.", "6"),
    (r"The answer is not $\boxed{5}$, not $\boxed{6}$.", "5"),
    (r"<think>\boxed{5}", "5"),
    ("", "5"),
]


def test_equivalent_forms_and_different_answers(term: MathAccuracy, sample: Any) -> None:
    scores = term.score([sample(response, answer=reference) for response, reference in EQUAL + DIFFERENT])
    expected = [1.0] * len(EQUAL) + [0.0] * len(DIFFERENT)
    wrong = [
        (pair, score) for pair, score, right in zip(EQUAL + DIFFERENT, scores, expected, strict=True) if score != right
    ]
    assert wrong == []
    assert not term.errors


def test_a_reference_that_is_not_mathematics_gives_no_reward(term: MathAccuracy, sample: Any) -> None:
    assert term.score([sample(r"\boxed{5}", answer="the pair is unknown")]) == [None]
    assert term.score([sample(r"\boxed{5}", answer=" ")]) == [None]
    assert term.errors == {"reference": 2}


# Each takes a second or more, or all memory, if nobody stops it.
HOSTILE = {
    "9^{9^{9^{9^9}}}": {"time", "memory", "killed", "crash", None},
    r"\sum_{n=1}^{10^{12}} \sin(n)": {"time", "memory", "killed", None},
    "100000!!!": {"time", "memory", "killed", None},
    "{" * 20_000 + "1" + "}" * 20_000: {"time", "RecursionError", "memory", None},
    "(" * 300 + "x" + ")^2" * 300: {"time", "RecursionError", "memory", "killed", None},
}


@pytest.mark.parametrize("text", ["-" * 6000, " " * 6000, ". " * 3000, "check " * 1000, "check:" + "1 " * 2900])
def test_a_calculation_behind_the_answer_is_looked_for_in_linear_time(text: str) -> None:
    began = time.process_time()
    assert without_check(f"7 {text}x") == f"7 {text}x"
    assert time.process_time() - began < 0.3  # where every character of a run is tried: above a second


TOWERS = ("10^{10^{10}}", "9^{9^{9^9}}", "(10^9)!", "2^{10^9}", "72!!", "10**10**10", r"\binom{1}{1}+(((9!)!)!)!")


@pytest.mark.parametrize("form", ["reference", "any"])
def test_towers_of_powers_are_wrong_and_not_computed(form: Any, sample: Any) -> None:
    term = MathAccuracy(workers=1, time_limit=30, answer_form=form)
    try:
        assert term.score([sample(f"<answer>{text}</answer>", answer="1") for text in TOWERS]) == [0.0] * len(TOWERS)
        assert not term.errors
    finally:
        term.close()


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda text: text[:12])
def test_hostile_answers_end_in_time_and_the_next_answer_is_judged(answer: str, sample: Any) -> None:
    term = MathAccuracy(workers=1, time_limit=0.5)
    try:
        batch = [sample(rf"\boxed{{{answer}}}", answer="7"), sample(r"\boxed{7}", answer="7")]
        bad, good = term.score(batch)
        assert good == 1.0
        errors = set(term.errors) or {None}
        assert errors <= HOSTILE[answer]
        assert bad == (None if "crash" in term.errors else 0.0)  # to be slow is no way out of a bad score
    finally:
        term.close()


def test_a_worker_that_stops_answering_is_killed_counted_and_replaced(sample: Any) -> None:
    term = MathAccuracy(workers=1, time_limit=0.4)
    try:
        assert term.score([sample(r"\boxed{1}", answer="1")]) == [1.0]
        process = term._workers._all[0]._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)  # deaf to its own alarm
        assert term.score([sample(r"\boxed{2}", answer="2")]) == [None]
        assert process.poll() == -signal.SIGKILL
        assert term.score([sample(r"\boxed{3}", answer="3")]) == [1.0]
        process = term._workers._all[0]._process
        assert process is not None
        process.kill()  # as the kernel does when memory runs out
        process.wait()
        assert term.score([sample(r"\boxed{4}", answer="4")]) == [None]
        assert term.errors == {"killed": 1, "crash": 1}
    finally:
        term.close()


def test_it_works_in_threads(term: MathAccuracy, sample: Any) -> None:
    """math-verify's own time limit fails there, and every reward would be 0."""
    results: list[list[float | None]] = []
    batch = [sample(rf"\boxed{{{n}/4}}", answer="1/2") for n in range(4)]
    threads = [threading.Thread(target=lambda: results.append(term.score(batch))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[0.0, 0.0, 1.0, 0.0]] * 2


def test_equal_answers_are_compared_once(term: MathAccuracy, sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(term, "_compare", lambda pair: asked.append(pair) or Comparison(True))
    assert term.score([sample(r"so \boxed{5}", answer="5"), sample(r"\boxed{5}", answer="5")]) == [1.0, 1.0]
    assert len(asked) == 1


def test_agrees_with_the_labels_of_real_solutions(term: MathAccuracy, keel_data: Path, sample: Any) -> None:
    with gzip.open(keel_data / "math" / "gsm8k_model_solutions.test.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream][::8]
    scores = term.score([sample(row["response"][0]["content"], answer=row["answer"]) for row in rows])
    assert Counter(zip((row["is_correct"] for row in rows), scores, strict=True)).keys() == {(True, 1.0), (False, 0.0)}
    assert not term.errors


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        MathAccuracy(workers=0)
