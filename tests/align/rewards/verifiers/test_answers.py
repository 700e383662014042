"""Multiple choice, exact text, patterns and JSON."""

from __future__ import annotations

from typing import Any

import pytest

from align.rewards.explain import explain_rows
from align.rewards.verifiers.answers import AnswerAccuracy


@pytest.mark.parametrize(
    ("response", "letter", "reward"),
    [
        (r"\boxed{B}", "B", 1.0),
        (r"\boxed{\text{B}}", "B", 1.0),
        (r"\boxed{\textbf{(B)}}", "B", 1.0),
        ("<answer>b</answer>", "B", 1.0),
        ("<answer>B) 14</answer>", "B", 1.0),
        ("<answer>**B**</answer>", "B", 1.0),
        ("<answer>Option B</answer>", "B", 1.0),
        ("<answer>14</answer>", "B", 0.0),
        ("<answer>A</answer>", "B", 0.0),
        ("<answer>Because</answer>", "B", 0.0),
        ("A is too small, so the answer is B.", "B", 1.0),
        ("The answer would be (C). No, the answer is **B**, not A.", "B", 1.0),
        ("The answer is a number.", "A", 0.0),
        ("Answer: Bananas", "B", 0.0),
        ("We compute.\nB. 14", "B", 1.0),
        ("We compute 14.", "B", 0.0),
        ("<think>The answer is B", "B", 0.0),
        (r"\boxed{B}", "(b)", 1.0),
        ("Among A, B, C and D, the correct one is B.", "B", 1.0),
        ("The correct one isn't B.", "B", 0.0),
        ("The letter is B.", "B", 1.0),
        ("A, C and D can be ruled out.", "A", 0.0),
        ("A, C and D have been excluded, so the answer is B.", "B", 1.0),
        ("Eliminating A, C and D leaves B.", "B", 1.0),
        ("This leaves us with only option B.", "B", 1.0),
        ("This leaves A and B.", "A", 0.0),
        ("This leaves A unexplained.", "A", 0.0),
        ("The letter B is between A and C", "B", 0.0),
        ("选项B正确", "B", 1.0),
        ("选项B错误", "B", 0.0),
        ("选项B和C正确", "B", 0.0),
        (r"\boxed{B}", "14", None),
    ],
)
def test_choice(response: str, letter: str, reward: float | None, sample: Any) -> None:
    term = AnswerAccuracy(verifier="choice")
    assert term.score([sample(response, answer=letter)]) == [reward]
    assert term.errors == ({"reference": 1} if reward is None else {})


@pytest.mark.parametrize(
    ("response", "reference", "reward"),
    [
        ("<answer> New  York. </answer>", "new york", 1.0),
        ("<answer>ＡＢＣ</answer>", "abc", 1.0),
        ("<answer>York</answer>", "New York", 0.0),
        ("The answer is New York.", "New York", 1.0),
        ("**Answer:** Dr. No", "Dr. No", 1.0),
        ("O’Brien", "O'Brien", 1.0),
        ("5 Mg", "5 mg", 0.0),
        ("5pa", "5Pa", 0.0),
        ("5 Kg", "5 kg", 1.0),
        ("Me and 5 Mice", "me and 5 mice", 1.0),
        ("The answer is not New York.", "New York", 0.0),
        ("The wrong answer is New York.", "New York", 0.0),
        ("If the answer is New York", "New York", 0.0),
        ("The answer is New York. No, Paris.", "New York", 0.0),
        ("The answer is Paris. The answer is New York.", "New York", 0.0),
        ("", "x", 0.0),
        ("```\nfoo bar\n```", "foo bar", 1.0),
        ("<answer>```text\nfoo\n```</answer>", "foo", 1.0),
        ("```\nfoo\n```\n```\nbar\n```", "foo", 0.0),
        ("```\nfoo\n```", "bar", 0.0),
    ],
)
def test_exact(response: str, reference: str, reward: float, sample: Any) -> None:
    assert AnswerAccuracy(verifier="exact").score([sample(response, answer=reference)]) == [reward]


@pytest.mark.parametrize(
    ("response", "reference", "reward", "error"),
    [
        ("<answer>2024-05-01</answer>", r"\d{4}-\d\d-\d\d", 1.0, None),
        ("<answer>on 2024-05-01</answer>", r"\d{4}-\d\d-\d\d", 0.0, None),  # the whole answer
        ("The answer is 2024-05-01.", r"\d{4}-\d\d-\d\d", 1.0, None),
        ("**Answer:** 2024-05-01", r"\d{4}-\d\d-\d\d", 1.0, None),
        ("The answer is not 2024-05-01.", r"\d{4}-\d\d-\d\d", 0.0, None),
        ("The wrong answer is 2024-05-01.", r"\d{4}-\d\d-\d\d", 0.0, None),
        ("The answer is 2024-05-01 or later.", r"\d{4}-\d\d-\d\d", 0.0, None),
        ("<answer>x</answer>", "(", None, "reference"),
        (f"<answer>{'a' * 200}!</answer>", r"(?:a|aa)+$", 0.0, "time"),
    ],
)
def test_regex(response: str, reference: str, reward: float | None, error: str | None, sample: Any) -> None:
    term = AnswerAccuracy(verifier="regex")
    assert term.score([sample(response, answer=reference)]) == [reward]
    assert list(term.errors) == ([] if error is None else [error])


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ('{"b": [1.0, true, null], "a": "x"}', 1.0),
        ('```json\n{"a": "x", "b": [1, true, null]}\n```', 1.0),
        ('{"a": "x", "b": [true, true, null]}', 0.0),  # true is not 1
        ('{"a": "x", "b": [1, 1, null]}', 0.0),
        ('{"a": "x"}', 0.0),
        ('{"a": "x", "b": [1, true, NaN]}', 0.0),
        ("{'a': 'x'}", 0.0),
        ('The answer is {"a": "x", "b": [1, true, null]}.', 1.0),
        ('The answer is not {"a": "x", "b": [1, true, null]}.', 0.0),
        ('The answer is {"a": "x", "b": [1, true, null]} or {}.', 0.0),
        ("[" * 100_000, 0.0),
        ("1" + "0" * 100_000, 0.0),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json(response: str, reward: float, sample: Any) -> None:
    reference = '{"a": "x", "b": [1, true, null]}'
    scores = AnswerAccuracy(verifier="json").score([sample(f"<answer>{response}</answer>", answer=reference)])
    assert scores == [reward]


def test_a_reference_that_is_not_json_is_counted(sample: Any) -> None:
    term = AnswerAccuracy(verifier="json")
    assert term.score([sample("<answer>1</answer>", answer="{")]) == [None]
    assert term.errors == {"reference": 1}


def test_each_verifier_sees_only_its_prompts(sample: Any) -> None:
    term = AnswerAccuracy(verifier="choice")
    assert term.name == "accuracy_choice"
    assert term.applies(sample("x", answer="A", columns={"verifier": "choice"}))
    assert not term.applies(sample("x", answer="A"))  # mathematics, unless it says otherwise
    assert not term.applies(sample("x", columns={"verifier": "choice"}))
    assert not term.applies(sample("x", answer="A", domain="safety", columns={"verifier": "choice"}))
    with pytest.raises(ValueError, match="none of choice, exact, regex, json"):
        AnswerAccuracy(verifier="essay")


def test_one_rows_pattern_costs_no_other_row_its_score(sample: Any) -> None:
    """A pattern that nests too deeply once took the scores of the whole batch."""
    references = [r"\d+", "(" * 5000 + ")" * 5000, "[", r"(?:(?:a{1,999}){1,999}){1,999}", "a{1,99999999999}", r"\d+"]
    term = AnswerAccuracy(verifier="regex")
    scores = term.score([sample("<answer>12</answer>", answer=reference) for reference in references])
    assert (scores[0], scores[-1]) == (1.0, 1.0)
    assert scores[1] is scores[2] is None
    assert set(scores[3:5]) <= {0.0, None}
    assert sum(term.errors.values()) == scores.count(None)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("It is not true that the answer is 4", False),
        ("It is false, as everybody knows, that the answer is 4", False),
        ("I doubt that the answer is 4", False),
        ("You might think the answer is 4", False),
        ("I can't say that the answer is 4", False),
        ("The answer is 4", True),
        ("It is not 3. The answer is 4", True),
        ("Since it is not 3, the answer is 4", True),
        ("There is no doubt that the answer is 4", True),
    ],
)
def test_an_announcement_that_its_sentence_denies_is_none(text: str, right: bool) -> None:
    sample = {"prompt": "q", "response": f"<think>t</think><answer>{text}</answer>", "answer": "4"}
    for verifier in ("regex", "exact", "json"):
        assert explain_rows(f"accuracy_{verifier}", {}, [sample])[0].score == float(right), verifier
