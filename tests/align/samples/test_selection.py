"""The selection of samples: every filter by hand, the counts, the mix, and the random baseline."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from stand_in_scores import StandInScores

from align.samples.filters import Contamination, FilterConfig, filters_of, longest_paragraph
from align.samples.mixing import R1_DATA, rows_wanted, subject_of
from align.samples.rows import to_sample
from align.samples.select import run_selection
from align.samples.selection import SelectConfig
from align.sft.demonstrations import DemonstrationsConfig, load_conversations
from reward_models.data.records import Message, Prompt
from reward_models.data.sources import BadRowsError
from reward_models.endpoint.answers import JudgeError
from reward_models.runtime.config import ConfigError, load_config

GOOD = "<think>Two and two make four.</think>The answer is 4."


def row(response: str = GOOD, number: int = 0, prompt: str = "2 + 2?", **columns: Any) -> dict[str, Any]:
    """A row of a file of samples."""
    usual = {"domain": "reasoning", "answer": "4", "language": "en", "tokens": 10, "finished": True, "correct": 1.0}
    scored = {"scores": {}, "reward": columns.get("correct", 1.0)}
    return {"id": prompt, "prompt": prompt, "sample": number, "response": response, **usual, **scored, **columns}


def general(reward: float | None, number: int, prompt: str = "Say hello.", **columns: Any) -> dict[str, Any]:
    text = f"<think>A greeting.</think>Hello number {number}!"
    scores = {"helpful": reward}
    plain = {"domain": "helpfulness", "answer": None, "correct": None}
    return row(text, number, prompt, scores=scores, reward=reward, **plain, **columns)


def run(tmp_path: Path, rows: list[dict[str, Any]], *words: str) -> dict[str, Any]:
    """The report of a selection among these rows, into ``tmp_path/out``."""
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return run_selection(load_config(SelectConfig, None, [f"samples=['{file}']", f"out={tmp_path / 'out'}", *words]))


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def dropped(facts: dict[str, Any]) -> dict[str, int]:
    return {step["filter"]: step["dropped"] for step in facts["filters"] if step["dropped"]}


# --- filters ----------------------------------------------------------------------------------------------------------

FRENCH = "<think>Nous devons additionner les deux nombres pour trouver le bon total.</think>4"
LOOP = "<think>" + "one two three four five six seven eight nine ten eleven. " * 8 + "</think>4"


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (row(), None),
        (row("4"), None),  # a policy that does not think
        (row(correct=0.0), "wrong answer"),
        (row(finished=False), "cut"),
        (row("<think>Two and two make four."), "malformed"),
        (row("<think>Two and two make four.</think>"), "malformed"),
        (row("<think></think>4"), "malformed"),
        (row("  "), "malformed"),
        (row("<think>Hm.</think>Well: <answer>4</answer>"), "malformed"),
        (row("<think>Hm.</think><answer>4</answer>"), None),
        (row("<think>So:\n```python\nprint(2 + 2)\n```\n</think>4"), "code block in the thoughts"),
        (row("<think>So four.</think>```python\nprint(4)\n```"), None),  # the answer may hold code
        (row("<think>" + "two and two " * 200 + "</think>4"), "long paragraph"),
        (row(LOOP), "repetition"),
        (row(FRENCH), "mixed languages"),
        (row(FRENCH, language=None), None),
        (row("<think>We know that janet sells the eggs of her sixteen ducks at the market.</think>4"), "contamination"),
    ],
)
def test_each_filter_leaves_out_what_it_is_for(sample: dict[str, Any], reason: str | None) -> None:
    held_out = Prompt(
        prompt=(Message("user", "Janet sells the eggs of her sixteen ducks at the market. How many?"),),
        domain="reasoning",
    )
    filters = filters_of(FilterConfig(), Contamination([held_out], 10))
    found = to_sample(sample)
    assert next((name for name, leaves_out in filters.items() if leaves_out(found)), None) == reason


def test_filters_can_be_switched_off() -> None:
    config = FilterConfig(format="any", min_language=0, max_paragraph=0, code_blocks=True, max_repetition=1)
    filters = filters_of(config, Contamination([], 10))
    texts = (FRENCH, LOOP, "<think>", "<think>\n```\n1\n```</think>4", "<think>" + "word " * 900 + "</think>4")
    for text in texts:
        assert not any(leaves_out(to_sample(row(text))) for leaves_out in filters.values())


def test_a_paragraph_ends_with_its_line() -> None:
    assert longest_paragraph("ab\ncdef\n\ng") == 4
    assert longest_paragraph("") == 0


def test_prompts_and_solutions_of_the_evaluation_are_contamination() -> None:
    worked = "first we add the seven apples to the nine pears of the basket"
    held_out = Prompt(prompt=(Message("user", "How many fruits?"),), domain="reasoning", columns={"solution": worked})
    known = Contamination([held_out], 10)
    assert known.touches(to_sample(row(prompt="how many FRUITS")))
    assert known.touches(to_sample(row(f"<think>{worked}</think>16")))
    assert not known.touches(to_sample(row("<think>we add the seven apples to the nine</think>16")))  # nine words


# --- selection --------------------------------------------------------------------------------------------------------


def test_right_ones_are_kept_at_most_k_of_a_prompt_and_counted(tmp_path: Path) -> None:
    texts = [f"<think>Way {number} leads there.</think>4" for number in range(5)]
    rows = [row(text, number) for number, text in enumerate(texts)]
    rows += [row(texts[0].upper().replace("THINK", "think"), 5), row(texts[0], 6, correct=0.0)]
    rows += [row("x", 7, correct=None), row(prompt="3 + 3?", correct=0.0), row(prompt="3 + 3?", number=1)]
    facts = run(tmp_path, rows, "per_prompt=3")
    assert (facts["samples"], facts["kept"]) == (10, 4)
    expected = {"no verdict": 1, "wrong answer": 2, "duplicate": 1, "more than per_prompt": 2}
    assert dropped(facts) == expected
    assert facts["filters"][-1]["left"] == 4
    kept = lines(tmp_path / "out" / "train.jsonl")
    assert Counter(each["messages"][0]["content"] for each in kept) == {"2 + 2?": 3, "3 + 3?": 1}
    assert all(each["correct"] == 1.0 for each in kept)


def test_the_preferred_ones_are_kept(tmp_path: Path) -> None:
    rows = [row(f"<think>Way {n}.</think>4", n, tokens=50 - n, reward=float(n % 3)) for n in range(5)]
    run(tmp_path, rows, "per_prompt=1", "prefer=shortest")
    assert lines(tmp_path / "out" / "train.jsonl")[0]["sample"] == 4
    run(tmp_path, rows, "per_prompt=1", "prefer=reward")
    assert lines(tmp_path / "out" / "train.jsonl")[0]["sample"] == 2
    run(tmp_path, rows, "per_prompt=1")
    first = (tmp_path / "out" / "train.jsonl").read_bytes()
    run(tmp_path, rows, "per_prompt=1")
    assert (tmp_path / "out" / "train.jsonl").read_bytes() == first


def test_where_no_rule_decides_the_reward_models_best_is_kept(tmp_path: Path) -> None:
    rows = [general(value, number) for number, value in enumerate((0.1, 0.9, 0.5))]
    facts = run(tmp_path, rows)
    assert dropped(facts) == {"not the best by the reward": 2}
    (kept,) = lines(tmp_path / "out" / "train.jsonl")
    assert (kept["sample"], kept["subject"]) == (1, "general")
    rows = [each | {"scores": {"safety": -each["reward"]}} for each in rows]
    run(tmp_path, rows, "rank_by=safety")
    assert lines(tmp_path / "out" / "train.jsonl")[0]["sample"] == 0
    with pytest.raises(ValueError, match=r"no sample is left to learn from; left out: not the best by the reward 3$"):
        run(tmp_path, rows, "least=1")


def test_samples_that_nothing_can_rank_are_an_error_that_says_how_to_mend_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Say hello.*no reward to rank it by.*best_per_prompt=0"):
        run(tmp_path, [general(None, 0)])
    facts = run(tmp_path, [general(None, 0), row()], "best_per_prompt=0")
    assert dropped(facts) == {"not the best by the reward": 1}


def test_the_random_arm_has_the_same_prompts_and_counts(tmp_path: Path) -> None:
    rows = []
    for prompt in range(30):
        for number in range(8):
            right = float(number < prompt % 4)
            rows.append(row(f"<think>Way {number}.</think>{number}", number, f"{prompt} + 1?", correct=right))
    facts = run(tmp_path, rows, "per_prompt=2")
    ours, theirs = (lines(tmp_path / "out" / f"{name}.jsonl") for name in ("train", "random"))
    prompts = [Counter(each["messages"][0]["content"] for each in rows) for rows in (ours, theirs)]
    assert prompts[0] == prompts[1]
    assert len({(e["messages"][0]["content"], e["sample"]) for e in theirs}) == len(theirs)
    assert facts["sets"]["selected"]["correct"] == 1.0
    assert facts["sets"]["random"]["correct"] < 0.6
    assert facts["sets"]["selected"]["rows"] == facts["sets"]["random"]["rows"] == len(ours)


def test_where_every_sample_is_kept_both_arms_are_the_same(tmp_path: Path) -> None:
    run(tmp_path, [row(f"<think>Way {n}.</think>4", n) for n in range(3)])
    ours, theirs = (lines(tmp_path / "out" / f"{name}.jsonl") for name in ("train", "random"))
    assert ours == theirs


def test_the_evaluation_stays_out_of_both_arms(tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text(json.dumps({"prompt": "2 + 2?", "answer": "4"}) + "\n")
    facts = run(tmp_path, [row(), row(prompt="3 + 3?")], f"against=['{held_out}']")
    assert dropped(facts) == {"contamination": 1}
    for name in ("train", "random"):
        assert [e["messages"][0]["content"] for e in lines(tmp_path / "out" / f"{name}.jsonl")] == ["3 + 3?"]


# --- the mix ----------------------------------------------------------------------------------------------------------


def test_rows_by_weights_or_counts() -> None:
    available = {"mathematics": 100, "code": 10, "general": 50}
    assert rows_wanted(available, {}, {}) == available
    assert rows_wanted(available, {"mathematics": 7, "code": 99}, {}) == {"mathematics": 7, "code": 10, "general": 50}
    weights = {"mathematics": 4, "general": 2.0}
    assert rows_wanted(available, {}, weights) == {"mathematics": 100, "code": 0, "general": 50}
    assert rows_wanted(available, {}, {"mathematics": 1, "code": 1}) == {"mathematics": 10, "code": 10, "general": 0}
    with pytest.raises(ValueError, match="no rows of logic"):
        rows_wanted(available, {}, {"logic": 1})


def test_other_data_are_mixed_in_and_both_arms_can_be_learnt_from(tmp_path: Path) -> None:
    others = tmp_path / "others.jsonl"
    pairs = [(f"Write about item {n}", f"Item {n} is nice.") for n in range(6)]
    others.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in pairs))
    rows = [row(prompt=f"{n} + 2?") for n in range(4)]
    words = (f"others=[{{data: '{others}', subject: general}}]", "weights={mathematics: 2, general: 1}")
    facts = run(tmp_path, rows, *words)
    assert {name: s["rows"] for name, s in facts["subjects"].items() if s["rows"]} == {"mathematics": 4, "general": 2}
    assert facts["others"] == {str(others): {"read": 6, "contamination": 0}}
    for name in ("train", "random"):
        config = DemonstrationsConfig(train=[str(tmp_path / "out" / f"{name}.jsonl")])
        conversations, bad = load_conversations(config)
        assert (len(conversations), bad) == (6, 0)
        assert conversations[0][-1].content == GOOD


def test_rows_beyond_the_mix_are_counted(tmp_path: Path) -> None:
    facts = run(tmp_path, [row(prompt=f"{n} + 2?") for n in range(5)], "counts={mathematics: 2}")
    assert dropped(facts) == {"beyond the mix": 3}
    assert facts["sets"]["random"]["rows"] == 2


@pytest.mark.parametrize(
    ("columns", "subject"),
    [
        ({}, "mathematics"),
        ({"verifier": "code"}, "code"),
        ({"verifier": "choice"}, "stem"),
        ({"verifier": "exact"}, "logic"),
        ({"verifier": "choice", "subject": "logic"}, "logic"),
        ({"domain": "safety"}, "general"),
    ],
)
def test_a_subject_is_what_the_prompt_says(columns: dict[str, str], subject: str) -> None:
    assert subject_of(to_sample(row(**columns)).record) == subject


def test_the_table_is_that_of_the_report() -> None:
    assert sum(rows for rows, _ in R1_DATA.values()) == 804_745
    assert sum(rows for subject, (rows, _) in R1_DATA.items() if subject != "general") == 626_933  # "about 600k"
    assert R1_DATA["mathematics"] == (395_285, 6_094)
    assert R1_DATA["code"] == (211_129, 7_436)
    assert R1_DATA["stem"] == (10_124, 4_929)
    assert R1_DATA["logic"] == (10_395, 2_739)
    assert R1_DATA["general"] == (177_812, 1_420)


# --- the report and what is refused -----------------------------------------------------------------------------------


def test_the_report_shows_the_yield_and_examples(tmp_path: Path) -> None:
    run(tmp_path, [row(), row("<b>no</b>", 1, correct=0.0)])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for text in ("wrong answer", "395,285", "left out: wrong answer", "The selected rows and a random baseline"):
        assert text in page
    assert "<b>no</b>" not in page
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert facts["by_domain"]["reasoning"]["kept"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tokens": "many"}, "whole numbers"),
        ({"correct": 0.5}, "key 'correct' is 0.5"),
        ({"scores": {"helpful": "high"}}, "no number"),
        ({"response": None}, "must be a text"),
    ],
)
def test_a_row_that_is_no_sample_is_named(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadRowsError, match=rf"samples.jsonl:2: .*{reason}"):
        run(tmp_path, [row(), row() | change])
    with pytest.raises(BadRowsError, match="no row of a file that keel sample writes"):
        run(tmp_path, [{"prompt": "2 + 2?", "answer": "4"}])


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("counts={maths: 3}", "maths is no subject"),
        ("weights={logic: -1}", "must not be negative"),
        ("per_prompt=-1", "must not be negative"),
        ("filters.min_language=2", "shares between 0 and 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(word: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(SelectConfig, None, [word])
    with pytest.raises(ConfigError, match="exclude one another"):
        load_config(SelectConfig, None, ["counts={code: 1}", "weights={code: 1}"])


def test_other_data_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.jsonl").write_text("mine\n")
    with pytest.raises(FileExistsError, match="holds other data"):
        run(tmp_path, [row()])
    assert (tmp_path / "out" / "train.jsonl").read_text() == "mine\n"


def test_a_selection_that_was_killed_between_its_files_begins_anew(tmp_path: Path) -> None:
    whole = run(tmp_path, [row()])
    written = (tmp_path / "out" / "train.jsonl").read_text()
    (tmp_path / "out" / "train.jsonl").write_text(written[:9])
    for name in ("random.jsonl", "report.html", "report.json"):
        (tmp_path / "out" / name).unlink()
    assert run(tmp_path, [row()]) == whole
    assert (tmp_path / "out" / "train.jsonl").read_text() == written


# --- a judge where no rule decides ------------------------------------------------------------------------------------


def same_number(text: str) -> float:
    return 1.0 if "4" in text or "four" in text else 0.0


def test_a_judge_decides_where_no_verifier_does(tmp_path: Path) -> None:
    right = "<think>It is the second even number.</think>Four it is, that is four."
    open_ = {"correct": None, "reward": None, "prompt": "Which number?"}
    rows = [row(), row(right, 0, **open_), row("<think>I do not know it.</think>It is five.", 1, **open_)]
    with StandInScores(same_number) as stand_in:
        judge = (f"judge.url={stand_in.url}", "judge.model=m", "judge.input_price=10")
        facts = run(tmp_path, rows, *judge)
        assert facts["judge"] == {"asked": 2, "right": 1, "wrong": 1, "unread": 0}
        assert facts["judge_costs"]["judge_calls"] == 2
        assert facts["judge_costs"]["judge_cost"] == pytest.approx(2 * 100 * 10 / 1e6)
        assert dropped(facts) == {"wrong answer": 1}
        assert {line["correct"] for line in lines(tmp_path / "out" / "train.jsonl")} == {1.0}
        report = (tmp_path / "out" / "report.json").read_bytes()
        again = run(tmp_path, rows, *judge)
        assert (again["judge_costs"]["judge_calls"], again["judge_costs"]["judge_cached"]) == (0, 2)
        assert (tmp_path / "out" / "report.json").read_bytes() == report


def test_a_judge_without_a_verdict_or_an_answer_lets_nothing_in(tmp_path: Path) -> None:
    open_ = {"correct": None, "prompt": "Which number?"}
    rows = [row(), row("<think>It is so.</think>It is four.", 0, **open_)]
    with StandInScores(same_number, says=lambda verdict, seal, shown: "I cannot tell.") as stand_in:
        facts = run(tmp_path, rows, f"judge.url={stand_in.url}", "judge.model=m")
    assert facts["judge"]["unread"] == 1
    assert dropped(facts) == {"no verdict": 1}  # not ranked by its reward, which it has
    with StandInScores(faults=1.0, ways=("500",)) as stand_in:
        words = (f"judge.url={stand_in.url}", "judge.model=m", f"judge.cache={tmp_path / 'new'}", "judge.tries=1")
        with pytest.raises(JudgeError, match="failed on 1 of 1"):
            run(tmp_path, rows, *words)
    with pytest.raises(ConfigError, match="name the model that judges"):
        load_config(SelectConfig, None, ["judge.url=http://a"])
    with pytest.raises(ConfigError, match="name the endpoint that has it"):
        load_config(SelectConfig, None, ["judge.model=m"])
