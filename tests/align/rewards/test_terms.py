"""The runner: terms at the same time, only where they apply, and no failure turned into a reward."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from align.rewards.terms import Sample, TermError, load_term, run_terms


@dataclass
class Given:
    """Scores by a function, on samples whose response begins with ``prefix``."""

    name: str
    give: Callable[[Sequence[Sample]], Any]
    prefix: str = ""

    def applies(self, sample: Sample) -> bool:
        return sample.response.startswith(self.prefix)

    def score(self, samples: Sequence[Sample]) -> Any:
        return self.give(samples)


class Later(Given):
    async def score(self, samples: Sequence[Sample]) -> Any:
        await asyncio.sleep(0)
        return self.give(samples)


def lengths(samples: Sequence[Sample]) -> list[float]:
    return [float(len(s.response)) for s in samples]


@pytest.mark.parametrize("kind", [Given, Later])
def test_a_term_sees_only_its_samples_and_its_scores_go_to_their_places(kind: type[Given], sample: Any) -> None:
    seen: list[str] = []

    def give(samples: Sequence[Sample]) -> list[float]:
        seen.extend(s.response for s in samples)
        return lengths(samples)

    batch = [sample("b1"), sample("a22"), sample("b333"), sample("a4444")]
    result = run_terms([kind("term", give, "a")], batch)["term"]
    assert seen == ["a22", "a4444"]
    assert result.scores == (None, 3.0, None, 5.0)
    assert (result.applicable, result.unscorable, result.failures) == (2, 0, 0)


def test_none_and_zero_stay_apart(sample: Any) -> None:
    result = run_terms([Given("term", lambda _: [None, 0.0])], [sample("x"), sample("y")])["term"]
    assert result.scores == (None, 0.0)
    assert (result.unscorable, result.failures) == (1, 0)


def test_terms_run_at_the_same_time(sample: Any) -> None:
    barrier = threading.Barrier(3, timeout=20)  # broken unless all three get there

    def give(samples: Sequence[Sample]) -> list[float]:
        barrier.wait()
        return lengths(samples)

    class InThread(Given):
        async def score(self, samples: Sequence[Sample]) -> Any:
            return await asyncio.to_thread(self.give, samples)

    results = run_terms([Given("a", give), Given("b", give), InThread("c", give)], [sample("xy")])
    assert {name: r.scores for name, r in results.items()} == {"a": (2.0,), "b": (2.0,), "c": (2.0,)}


@pytest.mark.parametrize("kind", [Given, Later])
def test_a_failing_term_gives_no_reward_is_counted_and_leaves_the_others_alone(
    kind: type[Given], sample: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(samples: Sequence[Sample]) -> list[float]:
        raise RuntimeError("no connection")

    results = run_terms([kind("bad", fail, "a"), kind("good", lengths)], [sample("a"), sample("b"), sample("ab")])
    assert results["bad"].scores == (None, None, None)
    assert (results["bad"].failures, results["bad"].applicable) == (2, 2)
    assert results["good"].scores == (1.0, 1.0, 2.0)
    assert "reward term bad failed on 2 samples" in caplog.text
    assert "no connection" in caplog.text


def test_numbers_that_are_not_finite_are_failures(sample: Any, caplog: pytest.LogCaptureFixture) -> None:
    values = [float("nan"), float("-inf"), 1.0]
    result = run_terms([Given("term", lambda _: values)], [sample("x")] * 3, retries=0)["term"]
    assert result.scores == (None, None, 1.0)
    assert (result.failures, result.unscorable) == (2, 0)
    assert "term failed on 2 samples" in caplog.text


def test_what_a_term_fails_on_it_is_asked_again_and_nothing_else(sample: Any) -> None:
    calls: list[list[str]] = []

    def give(samples: Sequence[Sample]) -> list[float]:
        calls.append([s.response for s in samples])
        if len(calls) == 1:
            return [float("nan"), 2.0, float("inf")]
        if len(calls) == 2:
            raise RuntimeError("again")
        return [7.0, 8.0]

    batch = [sample("a"), sample("b"), sample("c")]
    result = run_terms([Given("term", give)], batch, retries=2)["term"]
    assert calls == [["a", "b", "c"], ["a", "c"], ["a", "c"]]
    assert (result.scores, result.failures) == ((7.0, 2.0, 8.0), 0)


@pytest.mark.parametrize("kind", [Given, Later])
def test_a_term_that_hangs_costs_its_own_scores_only(kind: type[Given], sample: Any) -> None:
    release = threading.Event()

    class Hangs(Given):
        def score(self, samples: Sequence[Sample]) -> Any:
            release.wait(30)

    class HangsLater(Given):
        async def score(self, samples: Sequence[Sample]) -> Any:
            await asyncio.sleep(30)

    hanging = Hangs("slow", lengths) if kind is Given else HangsLater("slow", lengths)
    results = run_terms([hanging, Given("quick", lengths)], [sample("abc")], time_limit=0.05)
    release.set()
    assert results["quick"].scores == (3.0,)
    assert (results["slow"].scores, results["slow"].failures) == ((None,), 1)


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda samples: [1.0], "term gave 1 scores for 2 samples"),
        (lambda samples: [1.0, "high"], "not a number or None"),
        (lambda samples: ["1.0", "0.5"], "not a number or None: '1.0'"),
        (lambda samples: "10", "gave a str"),
        (lambda samples: {0: 1.0, 1: 0.0}, "gave a dict"),
        (lambda samples: {1.0, 0.0}, "gave a set"),
    ],
    ids=["length", "type", "numbers as text", "text", "mapping", "set"],
)
def test_a_term_that_breaks_the_contract_stops_the_run(give: Any, message: str, sample: Any) -> None:
    with pytest.raises(TermError, match=message):
        run_terms([Given("term", give)], [sample("x"), sample("y")])


def test_names_are_unique(sample: Any) -> None:
    with pytest.raises(TermError, match="several reward terms are called term"):
        run_terms([Given("term", lengths), Given("term", lengths)], [sample("x")])


def test_no_samples_no_calls() -> None:
    assert run_terms([Given("term", lambda _: pytest.fail("called"))], [])["term"].scores == ()


def test_terms_by_import_path(sample: Any) -> None:
    term = load_term("align.rewards.rules.penalties:OverlongPenalty", max_tokens=10, buffer=4)
    assert run_terms([term], [sample("x", tokens=8)])["overlong"].scores == (-0.5,)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("align.rewards.rules.penalties", "write package.module:Class"),
        ("align.rewards.nothing:X", "cannot be imported: No module named"),
        ("align.rewards.rules.penalties:Nothing", "cannot be imported"),
        ("align.rewards.rules.penalties:OverlongPenalty", "cannot be built"),
        ("collections:Counter", "lacks name, applies, score"),
    ],
)
def test_bad_import_paths_are_named(path: str, message: str) -> None:
    with pytest.raises(TermError, match=message):
        load_term(path)


def test_rule_terms_need_no_torch() -> None:
    modules = ", ".join(
        f"align.rewards.{name}"
        for name in (
            *("terms", "build", "rules.format", "rules.language", "rules.penalties"),
            *("verifiers.answers", "verifiers.mathematics", "verifiers.programs", "verifiers.sandbox"),
        )
    )
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
