"""The verifier of reasoning-gym: the package's scores, and answers that would fool its scorers or run as code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from align.checks import unusable_prompts
from align.rewards.build import TermConfig, build_terms
from align.rewards.verifiers import reasoning_gym as module
from align.rewards.verifiers.reasoning_gym import ReasoningGym, answer_of
from reward_models.data.gym_shapes import REFUSED, SHAPES
from reward_models.data.records import Prompt
from reward_models.data.sources import load
from reward_models.extras import MissingExtraError

OWN = ("game_of_life_halting", "letter_jumble", "word_sorting", "coin_flip")
TASKS = sorted({*SHAPES, *OWN, "chain_sum", "spell_backward", "acre", "arc_1d", "isomorphic_strings"})


@pytest.fixture(scope="module")
def term() -> Iterator[ReasoningGym]:
    pytest.importorskip("reasoning_gym")
    made = ReasoningGym(workers=1)
    yield made
    made.close()


def problems(spec: str) -> list[Prompt]:
    return load(f"reasoning_gym:{spec}", "prompt").records


def scored(term: ReasoningGym, sample: Any, problem: Prompt, *responses: str) -> list[float | None]:
    fields = {"prompt": problem.prompt, "answer": problem.answer, "columns": problem.columns}
    return term.score([_with(sample(response), **fields) for response in responses])


def _with(made: Any, **fields: Any) -> Any:
    from dataclasses import replace

    return replace(made, **fields)


def test_answers_in_the_forms_that_are_read(term: ReasoningGym, sample: Any) -> None:
    problem = problems("chain_sum?size=1&seed=3")[0]
    right = str(problem.answer)
    good = [f"<answer>{right}</answer>", rf"So it is \boxed{{{right}}}.", f"The answer is {right}.", right]
    good += [f"<think>0?</think>\n<answer>\n{right}\n</answer>", f"<answer>```\n{right}\n```</answer>"]
    assert scored(term, sample, problem, *good) == [1.0] * len(good)
    bad = ["", " ", "<answer></answer>", f"<think>{right}</think>", f"<think>{right}", f"{right}0", f"{right} or 7"]
    bad += [f"<answer>{right}</answer><answer>{right}1</answer>", problem.prompt[-1].content, f"not {right}"]
    bad += [
        f"<answer>{right}, {right}</answer>",
        f"<answer>{right}\n{right}</answer>",
        f"<answer>{'9' * 30_000}</answer>",
    ]
    assert scored(term, sample, problem, *bad) == [0.0] * len(bad)
    assert term.errors == {}


@pytest.mark.parametrize("task", TASKS)
def test_scorers_are_not_fooled(task: str, term: ReasoningGym, sample: Any) -> None:
    first, second = problems(f"{task}?size=4&seed=3")[:2]
    right, other = str(first.answer), str(second.answer)
    assert scored(term, sample, first, f"<answer>{right}</answer>") == [1.0]
    question = first.prompt[-1].content
    hacks = ["nan", "inf", "[]", "{}", "I do not know", "None", question, f"{question}\n{right}", "?", "->"]
    hacks += [
        f"{right} or {other}",
        f"{other} or {right}",
        f"{right}; 7",
        f"not {right}",
        f"perhaps {right}",
        f"{right}?",
    ]
    hacks += [f"{right}\n{other}", f"x{right}", "\n".join(map(str, range(200))), "__import__('os').getpid()"]
    hacks += ["True" if right == "False" else "False"] if task == "game_of_life_halting" else []
    hacks += [f"{right}, more"] if task in ("word_sorting", "letter_jumble") else []
    hacks = [hack for hack in hacks if hack.strip() != right]
    found = scored(term, sample, first, *(f"<answer>{hack}</answer>" for hack in hacks))
    if task == "simple_integration":  # another letter is a constant
        hacks, found = hacks[:-3] + hacks[-2:], found[:-3] + found[-2:]
    assert [hack for hack, score in zip(hacks, found, strict=True) if score != 0.0] == []


def test_an_answer_that_takes_too_long_to_match_its_form_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """No score would be a way out of a bad one."""
    from align.rewards.verifiers import gym_worker

    def late(*_: Any, **__: Any) -> None:
        raise gym_worker.OutOfTimeError

    monkeypatch.setattr(gym_worker, "_problems", lambda *_: None)
    monkeypatch.setattr(gym_worker, "_problem", lambda *_: {"question": "Which?", "answer": "1"})
    monkeypatch.setitem(gym_worker.SHAPES, "lcm", "1")
    monkeypatch.setattr(gym_worker, "re", SimpleNamespace(fullmatch=late, DOTALL=0))
    made_with = {"task": "lcm", "options": {}, "index": 0, "level": None}
    found = gym_worker.judge(made_with, "Which?", "11111")
    assert (found["verdict"], found["error"]) == (False, "time")


def test_the_puzzle_of_24_needs_its_own_numbers(term: ReasoningGym, sample: Any) -> None:
    problem = problems("puzzle24?size=1")[0]
    assert scored(term, sample, problem, f"<answer>{problem.answer}</answer>") == [1.0]
    assert scored(term, sample, problem, "<answer>1*2*3*4</answer>", "<answer>24</answer>") == [0.0, 0.0]


@pytest.mark.parametrize("task", ["simple_integration", "countdown", "string_insertion", "n_queens", "spiral_matrix"])
def test_an_answer_is_never_run(task: str, term: ReasoningGym, sample: Any, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    problem = problems(f"{task}?size=1")[0]
    attacks = [f"open({str(mark)!r}, 'w')", f"__import__('os').system('touch {mark}')", "x.__class__", "9**9**9**9"]
    attacks += ["().__class__.__base__.__subclasses__()", "[" * 5000, "lambda: 1", "S('1').func"]
    assert scored(term, sample, problem, *(f"<answer>{attack}</answer>" for attack in attacks)) == [0.0] * len(attacks)
    assert not mark.exists()


def test_a_problem_that_has_become_another_one_has_no_score(term: ReasoningGym, sample: Any) -> None:
    problem = problems("lcm?size=2")[0]
    made_with = problem.columns["reasoning_gym"]
    right = f"<answer>{problem.answer}</answer>"
    before = dict(term.errors)
    for wrong in (
        {"index": 1},
        {"task": "gcd"},
        {"task": "no_such"},
        {"options": {"size": 2, "seed": 9}},
        {"index": 999_999},
    ):
        columns = {"reasoning_gym": {**made_with, **wrong}}
        assert term.score([_with(sample(right), prompt=problem.prompt, columns=columns)]) == [None], wrong
    ((_, reason),) = term.explain(
        [_with(sample(right), prompt=problem.prompt, columns={"reasoning_gym": {**made_with, "index": 1}})]
    )
    assert "another question (reasoning-gym" in reason
    assert term.errors["problem"] - before.get("problem", 0) == 6


def test_rows_pass_through_a_file(term: ReasoningGym, sample: Any, tmp_path: Path) -> None:
    """Tasks whose problems depend on the order of sets, on tuples, or on the size of the data set."""
    from reward_models.data.formats import to_row

    for task in ("isomorphic_strings", "word_ladder", "rearc", "acre", "ransom_note"):
        file = tmp_path / f"{task}.jsonl"
        made = problems(f"{task}?size=3&seed=5")
        file.write_text("".join(json.dumps(to_row(each)) + "\n" for each in made))
        read = load(str(file), "prompt").records
        assert read == made
        for each in read:
            assert scored(term, sample, each, f"<answer>{each.answer}</answer>") == [1.0]


def test_prompts_without_what_they_were_made_with_are_found_before_training() -> None:
    fields = {"prompt": problem_text(), "domain": "reasoning"}
    rows = [
        Prompt(**fields, columns={"verifier": "reasoning_gym"}),
        Prompt(**fields, columns={"verifier": "reasoning_gym", "reasoning_gym": {"task": "lcm"}}),
    ]
    found = unusable_prompts([TermConfig(term="reasoning_gym")], rows)
    assert found == {
        0: "the column reasoning_gym does not say which task the problem is of",
        1: "the column reasoning_gym has no options and index to make the problem of again",
    }


def problem_text() -> Any:
    from reward_models.data.records import Message

    return (Message("user", "question"),)


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'keel-align\[reasoning\]'"):
        build_terms([TermConfig(term="reasoning_gym")], set())


def test_the_answer_of_an_unmarked_text_is_all_that_follows_its_announcement(sample: Any) -> None:
    assert answer_of(sample("We add. The answer is 3, 4.")) == "3, 4"
    assert answer_of(sample("3 4\n5 6")) == "3 4\n5 6"
    assert answer_of(sample("The answer is 3. The answer is 4.")) == "The answer is 3. The answer is 4."
    assert answer_of(sample("```text\n3 4\n```")) == "3 4"
    assert answer_of(sample("<think>3")) is None
    assert REFUSED.keys() == {"composite", "propositional_logic"}
