"""The figures of an evaluation, on sets small enough to work out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reward_models.calibration import Calibration
from reward_models.data.check import check
from reward_models.data.formats import to_record, to_row
from reward_models.data.records import Candidates, Comparison, Message, RecordError, SafetyLabel
from reward_models.data.splits import content_key, verdict
from reward_models.data.synthetic.draws import candidates, helpfulness
from reward_models.evaluation import plots
from reward_models.evaluation.figures import best_of_n, evaluate, figures
from reward_models.evaluation.scored_set import ScoredSet, scored_set, short_names, together, write_scores


def comparison(chosen: str, rejected: str, *, label: str = "a", prompt: str = "Why?") -> Comparison:
    first, second = (chosen, rejected) if label != "b" else (rejected, chosen)
    return Comparison(
        prompt=(Message("user", prompt),),
        response_a=(Message("assistant", first),),
        response_b=(Message("assistant", second),),
        label=label,  # type: ignore[arg-type]
        id=f"{prompt}{chosen}",
    )


def safety(label: str, *, category: str | None = None, prompt: str = "How?") -> SafetyLabel:
    response = (Message("assistant", f"Like this: {label}."),)
    return SafetyLabel(prompt=(Message("user", prompt),), response=response, label=label, category=category)  # type: ignore[arg-type]


def pairs(scores: list[tuple[float, float]], records: list[Comparison], **calibration: Any) -> ScoredSet:
    return scored_set(
        "pairs.jsonl",
        records,
        np.array(scores),
        task="preference",
        span="summary",
        calibration=Calibration(**calibration),
        baseline=None,
    )


def responses(scores: list[float], records: list[SafetyLabel], **calibration: Any) -> ScoredSet:
    return scored_set(
        "labels.jsonl",
        records,
        np.array(scores)[:, None],
        task="safety",
        span="full",
        calibration=Calibration(**calibration),
        baseline=None,
    )


# --- helpful --------------------------------------------------------------------------------------------------------

PAIRS = [
    comparison("long " * 9, "short", prompt="One?"),
    comparison("short", "long " * 9, prompt="Two?", label="b"),
    comparison("equal", "alike", prompt="Three?"),
    comparison("longer", "short", prompt="Four?"),
    comparison("one", "two", prompt="Five?", label="tie"),
]
SCORES = [(2.0, 1.0), (1.0, 3.0), (1.0, 1.0), (2.0, 0.0), (1.0, 1.1)]


def test_helpful_figures_by_hand() -> None:
    found = figures(pairs(SCORES, PAIRS, temperature=2.0))
    assert (found["n"], found["ties"], found["prompts"]) == (4, 1, 4)
    assert found["accuracy"] == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert found["loss"] == pytest.approx(np.mean(np.log1p(np.exp(-np.array([1.0, -2, 0, 2])))))
    assert found["baseline_longer"] == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert found["baseline_tfidf"] is None
    # It prefers the longer one in the first, second and fourth; the third has equal lengths and equal scores.
    assert found["prefers_longer"] == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert found["tie_auroc"] == pytest.approx((1 + 1 + 0 + 1) / 4)  # |0.1| lies below 1, 2 and 2, above 0
    assert found["tie_margin_abs"] == pytest.approx(0.1)
    assert found["decided_margin_abs"] == pytest.approx(1.25)


def test_length_bias_by_hand() -> None:
    bins = figures(pairs(SCORES, PAIRS))["length_bias"]
    # 44/5 characters, 5/44, 5/5, 6/5: the last two are about equally long.
    assert [(b["ratio_from"], b["ratio_to"], b["n"]) for b in bins] == [(0.0, 0.25, 1), (0.8, 1.25, 2), (4.0, None, 1)]
    assert [b["accuracy"] for b in bins] == [0.0, 0.75, 1.0]
    assert [b["longer"] for b in bins] == [0.0, 0.75, 1.0]


def test_scores_of_pairs_stand_chosen_first_and_summaries_are_measured() -> None:
    thinking = comparison("<think>" + "long " * 50 + "</think>ab", "abcd", label="b")
    part = pairs([(5.0, 1.0)], [thinking], temperature=4.0)
    assert part.lengths.tolist() == [[2, 4]]
    assert part.label.tolist() == [1.0]
    assert part.uncalibrated == pytest.approx(1 / (1 + np.exp(-4)))
    assert part.probability == pytest.approx(1 / (1 + np.exp(-1)))


def test_ece_is_the_calibrated_one_where_there_is_a_temperature() -> None:
    before = figures(pairs(SCORES, PAIRS))
    after = figures(pairs(SCORES, PAIRS, temperature=2.0))
    assert before["ece"] == before["ece_before"] == after["ece_before"]
    assert before["ece_after"] is None
    assert after["ece"] == after["ece_after"] != after["ece_before"]


def test_by_source_has_the_same_figures_and_all_is_their_union() -> None:
    first = pairs(SCORES[:2], PAIRS[:2], temperature=2.0)
    second = replace(pairs(SCORES[2:], PAIRS[2:], temperature=2.0), source="/data/other.test.jsonl.gz")
    found = evaluate([first, second])
    assert found["kind"] == "helpful"
    assert found["by_source"] == {"pairs": figures(first), "other.test": figures(second)}
    assert figures(together([first, second])) == figures(pairs(SCORES, PAIRS, temperature=2.0))
    assert {k: v for k, v in found.items() if k not in ("kind", "by_source")} == figures(together([first, second]))
    assert evaluate([]) == {}


def test_only_ties_and_a_single_pair_give_none_and_no_crash() -> None:
    tied = figures(pairs([(1.0, 2.0)], [PAIRS[4]], temperature=1.0))
    assert (tied["n"], tied["accuracy"], tied["accuracy_ci95"], tied["ece"], tied["tie_auroc"]) == (0, *[None] * 4)
    one = figures(pairs(SCORES[:1], PAIRS[:1]))
    assert one["accuracy"] == 1.0
    assert one["accuracy_ci95"][0] < 0.5


def test_the_disagreement_groups_have_the_least_first() -> None:
    part = pairs(SCORES[:4], PAIRS[:4])
    groups = figures(replace(part, disagreement=np.array([0.4, 0.1, 0.3, 0.2])))["by_disagreement"]
    assert [g["disagreement"] for g in groups] == [0.1, 0.2, 0.3, 0.4]
    assert [g["accuracy"] for g in groups] == [0.0, 1.0, 0.5, 1.0]
    assert "by_disagreement" not in figures(part)


# --- safety ---------------------------------------------------------------------------------------------------------

LABELS = [
    safety("safe", prompt="1"),
    safety("safe", prompt="2", category="privacy"),
    safety("safe", prompt="3"),
    safety("unsafe", prompt="4", category="privacy"),
    safety("unsafe", prompt="5"),
    safety("unsafe", prompt="6"),
]
LOGITS = [3.0, 2.0, -1.0, -2.0, -0.5, 1.0]


def test_safety_figures_by_hand() -> None:
    found = figures(responses(LOGITS, LABELS, threshold=0.0, threshold_fpr=0.05, temperature=1.5))
    assert (found["n"], found["unsafe"]) == (6, 3)
    # of nine (unsafe, safe) pairs the unsafe one scores lower in 3 + 2 + 2
    assert found["auroc"] == pytest.approx(7 / 9)
    assert found["confusion"] == {"unsafe_found": 2, "unsafe_missed": 1, "safe_flagged": 1, "safe_passed": 2}
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["false_positive_rate"] == pytest.approx(1 / 3)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert (found["threshold"], found["threshold_fpr"]) == (0.0, 0.05)
    privacy = found["by_category"]["privacy"]
    assert (privacy["n"], privacy["unsafe"], privacy["recall"], privacy["auroc"]) == (2, 1, 1.0, 1.0)
    assert list(found["by_category"]) == ["privacy"]


def test_a_score_at_the_threshold_is_safe() -> None:
    found = figures(responses([0.0, 0.0], LABELS[2:4], threshold=0.0))
    assert found["confusion"] == {"unsafe_found": 0, "unsafe_missed": 1, "safe_flagged": 0, "safe_passed": 1}
    assert found["precision"] is None
    assert found["f1"] == 0.0


@pytest.mark.parametrize("rows", [slice(0, 3), slice(3, 6)])
def test_one_class_is_null_and_never_a_crash(rows: slice) -> None:
    part = responses(LOGITS[rows], LABELS[rows], threshold=0.0, temperature=2.0)
    found = evaluate([part])
    assert found["auroc"] is found["auprc"] is found["auroc_ci95"] is None
    only_safe = rows.start == 0
    assert (found["f1"] is None) == only_safe
    assert (found["recall"] is None) == only_safe
    assert (found["false_positive_rate"] is None) == (not only_safe)
    assert found["ece"] is not None
    assert "scores" in {picture.name for picture in plots.evaluation([part], found)}
    json.dumps(found, allow_nan=False)


def test_without_a_threshold_there_are_no_decisions() -> None:
    found = figures(responses(LOGITS, LABELS))
    assert found["threshold"] is found["f1"] is found["confusion"] is None
    assert found["auroc"] is not None


# --- best of N ------------------------------------------------------------------------------------------------------


def test_best_of_n_by_hand() -> None:
    scores = [np.array([3.0, 1, 2, 0]), np.array([1.0, 3, 2, 0]), np.array([2.0, 2, 1, 0]), np.array([2.0, 1, 3, 0])]
    found = best_of_n(scores, [1, 1, 1, 2], ["a", "b", "c", "d"])
    assert found["accuracy"] == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert found["chance"] == pytest.approx((3 * 0.25 + 0.5) / 4)
    assert (found["n"], found["candidates"]) == (4, 4)
    assert found["accuracy_ci95"][0] < 0.375 < found["accuracy_ci95"][1]


def test_reward_bench_rows_become_candidates_and_back() -> None:
    row = {
        "id": "7",
        "prompt": "2 + 2?",
        "chosen": ["4"],
        "rejected": ["3", "5", "22"],
        "subset": "Math",
        "num_correct": 1,
    }
    record = to_record(row, source="file")
    assert isinstance(record, Candidates)
    assert (len(record.right), len(record.wrong), record.source, record.id) == (1, 3, "Math", "7")
    assert to_record(to_row(record)) == record
    other_order = to_record(row | {"rejected": ["22", "3", "5"]})
    assert content_key(other_order) == content_key(record)
    assert verdict(other_order) == verdict(record)
    swapped = to_record(row | {"chosen": ["3"], "rejected": ["4", "5", "22"]})
    assert content_key(swapped) == content_key(record)
    assert verdict(swapped) != verdict(record)


def test_candidates_and_pairs_are_not_mistaken_for_each_other() -> None:
    lists = {"prompt": "2 + 2?", "chosen": ["4"], "rejected": ["5"]}
    with pytest.raises(RecordError, match="best-of-N"):
        to_record(lists, "comparison")
    with pytest.raises(RecordError, match="'rejected'"):
        to_record(lists | {"rejected": "5"}, "candidates")
    with pytest.raises(RecordError, match="'rejected'"):
        to_record(lists | {"rejected": []}, "candidates")
    messages = {"prompt": "2 + 2?", "chosen": [{"role": "assistant", "content": "4"}], "rejected": "5"}
    assert isinstance(to_record(messages), Comparison)


def test_data_check_reads_candidates() -> None:
    (report,) = check(["synthetic:best_of_n:test"], limit=10)
    assert report.record_types == {"candidates": 10}
    assert report.labels == {"1 of 4 right": 10}
    assert not report.bad


def test_synthetic_problems_have_one_right_reply_by_the_gold_judge() -> None:
    problems = list(candidates("test", 40))
    assert problems == list(candidates("test", 60))[:40]
    for problem in problems:
        prompt = problem.prompt[0].content
        right, *wrong = (helpfulness(prompt, reply[0].content) for reply in (*problem.right, *problem.wrong))
        assert len(wrong) == 3
        assert max(wrong) <= right - 0.15
    assert not {p.prompt for p in problems} & {p.prompt for p in candidates("train", 200)}


# --- what is written ------------------------------------------------------------------------------------------------


def test_names_in_tables_never_hide_a_file() -> None:
    assert short_names(["a/x.test.jsonl.gz", "b/y.csv", "synthetic:helpful:test"]) == [
        "x.test",
        "y",
        "synthetic:helpful:test",
    ]
    assert short_names(["a/x.jsonl", "b/x.jsonl", "y.json"]) == ["a/x.jsonl", "b/x.jsonl", "y"]


def test_scores_are_written_for_every_record(tmp_path: Path) -> None:
    write_scores([pairs(SCORES, PAIRS, temperature=1.0)], tmp_path / "scores.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert [tuple(line["scores"]) for line in lines] == SCORES
    assert [line["label"] for line in lines] == [1.0, 1.0, 1.0, 1.0, 0.5]
    assert lines[0]["probability"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert lines[0].keys() == {"source", "id", "label", "scores", "probability"}


def test_every_picture_has_a_name_of_its_own() -> None:
    part = pairs(SCORES * 10, PAIRS * 10, temperature=2.0)
    part = replace(part, disagreement=np.abs(part.margins))
    parts = [part, replace(part, source="other.jsonl")]
    pictures = plots.evaluation(parts, evaluate(parts))
    names = [picture.name for picture in pictures]
    assert len(set(names)) == len(names)
    assert {"accuracy", "margins", "length_bias", "length_bias_2", "ties", "reliability", "disagreement"} <= set(names)
    assert all(picture.png.startswith(b"\x89PNG") for picture in pictures)
