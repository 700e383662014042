"""Penalties relative to the group: values by hand, laws, and ways to be short without an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.rewards.grouping import places_by_group, whole_batches, whole_halves
from align.rewards.rules.group import LengthInGroup, StyleInGroup
from align.rewards.terms import Sample, TermError, run_terms
from reward_models.data.records import Message

Make = Callable[..., Sample]
QUESTION = (Message("user", "question"),)


def of(response: str, group: int | None = 0, **fields: Any) -> Sample:
    facts: dict[str, Any] = {"domain": "reasoning", "tokens": 1, "finished": True} | fields
    return Sample(prompt=QUESTION, response=response, group=group, **facts)


def test_length_by_hand() -> None:
    texts = ["x" * 10, "x" * 20, "x" * 30, "x" * 60]  # the mean is 30
    group = [of(f"<think>{'y' * 500}</think>{text}") for text in texts]
    assert LengthInGroup().score(group) == [0.0, 0.0, 0.0, -1.0]
    assert LengthInGroup(slack=0.5).score(group) == [0.0, 0.0, 0.0, -0.5]
    assert LengthInGroup(full=4.0).score(group) == [0.0, 0.0, 0.0, -0.25]
    assert LengthInGroup(of="thoughts").score(group) == [0.0] * 4
    assert LengthInGroup(of="response").score([of("x"), of("xxx")]) == [0.0, -0.5]


def test_each_group_is_compared_with_itself_in_any_order() -> None:
    samples = [of("xx", 1), of("x" * 40, 2), of("xxxx", 1), of("x" * 80, 2)]
    scores = LengthInGroup().score(samples)
    assert scores[0::2] == LengthInGroup().score(samples[0::2])
    assert scores[1::2] == LengthInGroup().score(samples[1::2])
    assert scores == [0.0, 0.0, pytest.approx(-1 / 3), pytest.approx(-1 / 3)]


@given(lengths=st.lists(st.integers(1, 300), min_size=2, max_size=6), factor=st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_laws(lengths: list[int], factor: int) -> None:
    scores = LengthInGroup().score([of("x" * n) for n in lengths])
    assert all(-1 <= (score or 0.0) <= 0 for score in scores)
    ordered = [score for _, score in sorted(zip(lengths, scores, strict=True))]
    assert ordered == sorted(ordered, key=lambda s: -(s or 0.0))  # longer is never better
    assert scores == pytest.approx(LengthInGroup().score([of("x" * n * factor) for n in lengths]))
    reverse = LengthInGroup().score([of("x" * n) for n in reversed(lengths)])
    assert scores == pytest.approx(reverse[::-1])


@pytest.mark.parametrize("nothing", ["", "   ", "<think>never closed", "<think>x</think>", "<think>x</think> \n"])
@pytest.mark.parametrize("term", [LengthInGroup(), StyleInGroup()])
def test_hack_to_answer_nothing_is_no_way_to_be_short(nothing: str, term: Any) -> None:
    honest = [of("x" * 20), of("x" * 40)]
    with_it = term.score([*honest, of(nothing)])
    assert with_it[2] == -1.0
    assert with_it[:2] == term.score(honest)  # nor to make the others look long


def test_a_group_of_one_has_no_score() -> None:
    assert LengthInGroup().score([of("x", 1), of("y", 2), of("yy", 2)]) == [None, 0.0, pytest.approx(-1 / 3)]


def test_style_by_hand() -> None:
    plain, listed = "Just words, 2 * 3 - 1.", "# Title\n- one\n- two\n**bold** and 3. no list"
    # 0 and 4 pieces: (4 + 1) / (2 + 1) − 1 = 2/3
    assert StyleInGroup().score([of(plain), of(listed)]) == [0.0, pytest.approx(-2 / 3)]
    code = "```python\n# not a title\n- 1\n```"
    assert StyleInGroup().score([of(code), of(plain), of(f"<think>{listed}</think>{plain}")]) == [0.0] * 3
    assert "4 pieces of markup; the mean of its group is 2.0" in StyleInGroup().explain([of(plain), of(listed)])[1][1]


@pytest.mark.parametrize("arguments", [{"slack": -1.0}, {"full": 0.0}, {"of": "prompt"}])
def test_arguments_that_mean_nothing_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"slack|none of answer"):
        LengthInGroup(**arguments)


# --- groups and the runner ------------------------------------------------------------------------------------------


class FailsOnce:
    """Compares groups; fails on one sample of group 1 in its first call."""

    name, whole_groups = "fails_once", True

    def __init__(self) -> None:
        self.calls: list[list[tuple[int | None, str]]] = []

    def applies(self, sample: Sample) -> bool:
        return True

    def score(self, samples: Any) -> list[float | None]:
        self.calls.append([(s.group, s.response) for s in samples])
        first = len(self.calls) == 1
        return [float("nan") if first and s.response == "b" else 1.0 for s in samples]


def test_a_group_that_fails_is_asked_again_whole() -> None:
    term = FailsOnce()
    found = run_terms([term], [of("a", 1), of("b", 1), of("c", 2), of("d", 2)])["fails_once"]
    assert (found.scores, found.failures) == ((1.0,) * 4, 0)
    assert term.calls[1:] == [[(1, "a"), (1, "b")]]


def test_samples_without_a_group_are_refused_with_the_reason() -> None:
    with pytest.raises(TermError, match="compares all samples of a prompt, and the caller does not say"):
        run_terms([LengthInGroup()], [of("a", None)])


@given(groups=st.lists(st.one_of(st.none(), st.integers(0, 3)), max_size=12), size=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_no_batch_and_no_half_divides_a_group(groups: list[int | None], size: int) -> None:
    samples = [of("x", group) for group in groups]
    batches, halves = whole_batches(samples, size), whole_halves(samples)
    parts = [batches, *([list(halves)] if halves is not None else [])]
    for part in parts:
        assert sorted(place for batch in part for place in batch) == list(range(len(samples)))
        for batch in part:
            inside = {groups[place] for place in batch} - {None}
            assert all(sum(groups[i] == g for i in batch) == groups.count(g) for g in inside)
    assert (halves is None) == (len(places_by_group(samples)) < 2)
    assert all(len(batch) <= size or len({groups[i] for i in batch}) == 1 for batch in batches)


@pytest.mark.parametrize("nothing", ["\u200b", ".", "…", "&nbsp;", "\u3164"])
def test_an_answer_that_shows_nothing_is_no_short_one(nothing: str) -> None:
    made = [of(text) for text in (nothing, "a" * 40, "a" * 40)]
    assert LengthInGroup().score(made) == [-1.0, 0.0, 0.0]


def test_thoughts_that_are_opened_again_do_not_hide_a_long_answer() -> None:
    made = [of(text) for text in (f"<think>x</think>5<think>{'a' * 99}", "<think>x</think>aaaa")]
    hidden, plain = LengthInGroup().score(made)
    assert hidden < -0.5
    assert plain == 0.0


@pytest.mark.parametrize(
    ("answer", "pieces"),
    [
        ("# H\n- a\n**b**", 3),
        ("```\n# H\n- a\n**b**", 3),  # a fence that is never closed hides nothing
        ("```markdown\n# H\n- a\n**b**\n```", 3),
        ("```python\n# H\n- a\n```", 0),
        ("<h1>H</h1><ul><li>a<li>b</ul>", 3),
        ("▪ a\n‣ b\n✅ c\na) d\n(i) e", 5),
        ("𝐇𝐞𝐚𝐝: 𝐛𝐨𝐥𝐝", 2),
        ("H\n===\ntext", 1),
        ("x - y + z, 3 > 2 and a | b, e.g. 1.5", 0),
        ("x</think>ok<think># H\n- a", 1),
    ],
)
def test_markup_in_other_clothes_is_counted(answer: str, pieces: int) -> None:
    assert StyleInGroup().measure(of(answer)) == pieces
