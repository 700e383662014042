"""The table of a project's policies: its columns, differences and verdicts."""

from __future__ import annotations

from keel.pipeline.policies import Evaluated, comparison, verdict

BASE = Evaluated("base", {"pass@1": 0.2, "pass@1_ci95": [0.1, 0.3], "tokens_mean": 90.0, "by_source": {}}, frozenset())
GAP = {
    "prompts": 50,
    "pass@1": 0.3,
    "pass@1_ci95": [0.2, 0.4],
    "score/helpful": -0.5,
    "score/helpful_ci95": [-0.9, -0.1],
    "score/gold_unsafe": -0.25,
    "score/gold_unsafe_ci95": [-0.3, -0.2],
    "score/language": 0.01,
    "score/language_ci95": [-0.1, 0.12],
    "tokens_mean": -40.0,
    "tokens_mean_ci95": [-50.0, -30.0],
}
LAST = Evaluated(
    "alignment",
    {
        "pass@1": 0.5,
        "pass@1_ci95": [0.4, 0.6],
        "pass@4": 0.75,
        "consensus@4": 0.5,
        "score/helpful": -1.0,
        "score/gold_unsafe": 0.05,
        "score/language": 1.0,
        "score/accuracy_math": 0.5,
        "tokens_mean": 50.0,
        "by_source": {},
        "difference": GAP,
    },
    frozenset({"accuracy", "helpful", "language"}),
)


def test_policies_stand_side_by_side_with_the_difference_of_the_last_from_the_first() -> None:
    table = comparison([BASE, LAST])
    assert table is not None
    assert table.columns == ["", "base", "alignment", "alignment less base"]
    rows = {row[0]: tuple(row[1:]) for row in table.rows}
    assert list(rows) == [
        "right answers (pass@1)",
        "pass@4",
        "consensus@4",
        "gold judge: harmful (share)",
        "helpful reward model",
        "language of the prompt",
        "tokens a response",
    ]
    assert rows["right answers (pass@1)"] == (
        "0.200 [0.100, 0.300]",
        "0.500 [0.400, 0.600]",
        "better: +0.3 [+0.2, +0.4]",
    )
    assert rows["pass@4"] == ("–", "0.750", "–")
    assert rows["helpful reward model"][2] == "worse: -0.5 [-0.9, -0.1]"
    assert (
        rows["gold judge: harmful (share)"][2] == "lower: -0.25 [-0.3, -0.2]"
    )  # it has no weight: nobody says which is good
    assert rows["language of the prompt"][2] == "–"  # its interval holds 0


def test_a_sentence_says_at_what_the_last_policy_is_better() -> None:
    assert verdict([BASE, LAST]) == (
        "alignment against base: better: right answers (pass@1). worse: helpful reward model. "
        "lower: gold judge: harmful (share); tokens a response."
    )
    assert verdict([BASE]) == verdict([]) == ""
    assert comparison([]) is None


def test_sources_with_right_answers_have_a_row_each_where_there_are_several() -> None:
    parts = {"gsm8k": {"pass@1": 0.5}, "math": {"pass@1": 0.25}, "chat": {"pass@1": None}}
    table = comparison([Evaluated("base", {"pass@1": 0.3, "by_source": parts}, frozenset())])
    assert table is not None
    assert [tuple(row) for row in table.rows] == [
        ("right answers (pass@1)", "0.300"),
        ("right answers (pass@1): gsm8k", "0.500"),
        ("right answers (pass@1): math", "0.250"),
    ]
