"""The table of a project's policies: its columns, differences and verdicts."""

from __future__ import annotations

from dataclasses import replace

from keel.pipeline.policies import Evaluated, comparison, verdict

BASE = Evaluated(
    "base",
    {"pass@1": 0.2, "pass@1_ci95": [0.1, 0.3], "tokens_mean": 90.0, "by_source": {}},
    frozenset(),
    "runs/base/samples.jsonl",
)
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
        "against": ["runs/base/samples.jsonl"],
    },
    frozenset({"accuracy", "helpful", "language"}),
    "runs/alignment/samples.jsonl",
)


def _plain(cell: str) -> str:
    return cell.replace("<br>", " ").replace("<small>", "").replace("</small>", "")


def test_policies_stand_side_by_side_with_the_difference_of_the_last_from_the_first() -> None:
    table = comparison([BASE, LAST])
    assert table is not None
    assert table.columns == ["", "alignment minus base", "base", "alignment"]
    rows = {row[0]: tuple(_plain(cell) for cell in row[1:]) for row in table.rows}
    assert list(rows) == [
        "right answers (pass@1)",
        "one of 4 right (pass@4)",
        "majority of 4 (consensus@4)",
        "gold judge: harmful (share)",
        "helpful reward model",
        "language of the prompt",
        "tokens a response",
    ]
    assert rows["right answers (pass@1)"] == ("better: +0.30 [+0.20, +0.40]", "0.20 [0.10, 0.30]", "0.50 [0.40, 0.60]")
    assert rows["one of 4 right (pass@4)"] == ("–", "–", "0.75")
    assert rows["helpful reward model"][0] == "worse: -0.50 [-0.90, -0.10]"
    # A term without weight: nobody says which direction is good.
    assert rows["gold judge: harmful (share)"][0] == "lower: -0.25 [-0.30, -0.20]"
    assert rows["tokens a response"] == ("lower: -40 [-50, -30]", "90", "50")
    assert rows["language of the prompt"][0] == "–"  # its interval contains 0


def test_a_sentence_says_at_what_the_last_policy_is_better() -> None:
    assert verdict([BASE, LAST]) == (
        "The last policy, alignment, compared with base: better: right answers (pass@1). worse: helpful reward model. "
        "lower: gold judge: harmful (share); tokens a response."
    )
    assert verdict([BASE]) == verdict([]) == ""


def test_the_difference_names_the_policy_that_was_compared_with() -> None:
    first = replace(BASE, name="zero", samples="runs/zero/samples.jsonl")
    table = comparison([first, BASE, LAST])
    assert table is not None
    assert table.columns[1] == "alignment minus base"  # not the first one
    assert "compared with base:" in verdict([first, BASE, LAST])
    other = replace(LAST, figures=LAST.figures | {"against": ["elsewhere.jsonl"]})
    assert "compared with elsewhere.jsonl:" in verdict([first, BASE, other])


def test_without_policies_there_is_no_table() -> None:
    assert comparison([]) is None


def test_sources_with_right_answers_have_a_row_each_where_there_are_several() -> None:
    parts = {"gsm8k": {"pass@1": 0.5}, "math": {"pass@1": 0.25}, "chat": {"pass@1": None}}
    table = comparison([Evaluated("base", {"pass@1": 0.3, "by_source": parts}, frozenset())])
    assert table is not None
    assert [tuple(row) for row in table.rows] == [
        ("right answers (pass@1)", "0.30"),
        ("right answers (pass@1): gsm8k", "0.50"),
        ("right answers (pass@1): math", "0.25"),
    ]
