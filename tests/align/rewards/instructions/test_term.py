"""The term ``instructions``: where the response is, gradings, loose forms, errors of data, and prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.checks import unusable_prompts
from align.rewards.build import TermConfig, build_terms
from align.rewards.instructions.registry import instructions_of
from align.rewards.instructions.term import Instructions, instructions_problem, loose_forms
from align.rewards.instructions.text import Text, sentences_of
from align.rewards.mixer import Mixer, accuracy_of
from align.rewards.terms import TermError, run_terms
from reward_models.data.sources import BadRowsError, load
from reward_models.data.synthetic.constrained import constrained_prompts

BULLETS = {"id": "detectable_format:number_bullet_lists", "kwargs": {"num_bullets": 2}}
NO_COMMA = {"id": "punctuation:no_comma", "kwargs": {}}
LAMP = {"id": "keywords:existence", "kwargs": {"keywords": ["lamp"]}}
GOOD = "* The lamp stands here\n* It is bright"


def columns(*wanted: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"verifier": "instructions", "instructions": list(wanted), **more}


@pytest.mark.parametrize(
    ("response", "prefilled", "want"),
    [
        (GOOD, False, 1.0),
        (f"<think>Two bullets, a lamp, no commas.</think>\n{GOOD}", False, 1.0),
        (f"Two bullets, and so on.</think>{GOOD}", True, 1.0),
        (f"<think>Fine, then.</think><answer>\n{GOOD}\n</answer>", False, 1.0),
        (f"<think>{GOOD}", False, 0.0),  # thoughts that were never closed
        (GOOD, True, 0.0),
        (f"<think>x</think>{GOOD}<think>, well, and so on", False, 0.0),  # opened again: it would not be checked
        (f"<think>{GOOD}</think>", False, 0.0),  # all of it inside the thoughts
        (f"Well, well. <answer>{GOOD}</answer>", False, 0.0),  # text outside of the answer counts too
        (f"<think>x</think>{GOOD}<think>, and more</think>, ha", False, 0.0),
        ("", False, 0.0),
        ("lamp lamp lamp", False, 0.0),
    ],
)
def test_the_response_is_what_follows_the_thoughts(sample: Any, response: str, prefilled: bool, want: float) -> None:
    made = sample(response, think_prefilled=prefilled, columns=columns(BULLETS, NO_COMMA, LAMP))
    assert list(Instructions().score([made])) == [want]


def test_keywords_alone_are_no_response(sample: Any) -> None:
    made = [
        sample(text, columns=columns(LAMP))
        for text in ("lamp", "Lamp, lamp. Lamp!", "the lamp", "A lamp lights this room")
    ]
    assert list(Instructions().score(made)) == [0.0, 0.0, 0.0, 1.0]
    assert list(Instructions(least_words=0).score(made)) == [1.0, 1.0, 1.0, 1.0]
    copied = columns({"id": "copy:copy", "kwargs": {"prompt_to_repeat": "Say it."}})
    assert list(Instructions().score([sample("Say it.", columns=copied)])) == [1.0]


def test_gradings(sample: Any) -> None:
    made = sample(
        "* The lamp, bright and new", columns=columns(BULLETS, NO_COMMA, LAMP, {"id": "detectable_format:title"})
    )
    strict, share = Instructions().score([made]), Instructions(grading="fraction").score([made])
    assert list(strict) == [0.0]
    assert list(share) == [0.25]
    assert strict.extras == share.extras == {"followed": [0.25]}
    row = sample(made.response, columns={**made.columns, "grading_mode": "fraction"})
    assert list(Instructions().score([row])) == [0.25]
    row = sample(made.response, columns={**made.columns, "grading_mode": "binary"})
    assert list(Instructions(grading="fraction").score([row])) == [0.0]
    ((score, reason),) = Instructions().explain([made])
    assert score == 0.0
    assert reason == (
        "1 of 4 constraints are kept; not: detectable_format:number_bullet_lists, punctuation:no_comma, "
        "detectable_format:title"
    )


def test_loose_forms_are_those_of_ifeval(sample: Any) -> None:
    assert loose_forms("Sure!\n*a*\nBye") == [
        *("Sure!\n*a*\nBye", "*a*\nBye", "Sure!\n*a*", "*a*"),
        *("Sure!\na\nBye", "a\nBye", "Sure!\na", "a"),
    ]
    made = sample('Sure, here it is:\n"The lamp is bright."', columns=columns({"id": "startend:quotation"}))
    assert list(Instructions().score([made])) == [0.0]
    assert list(Instructions(loose=True).score([made])) == [1.0]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("text", "not a list"),
        ([], "not a list"),
        ([{"kwargs": {}}], "that is not {'id'"),
        ([{"id": "keywords:existance", "kwargs": {}}], "did you mean keywords:existence"),
        ([{"id": "custom:csv_city"}], "no constraint is called 'custom:csv_city'"),
        ([{"id": "keywords:existence"}], "needs a value for keywords"),
        ([{"id": "keywords:existence", "kwargs": {"keywords": []}}], "not a list of words"),
        ([{"id": "keywords:existence", "kwargs": {"keywords": ["a"], "n": 3}}], "takes no n; it takes keywords"),
        ([{"id": "count:numbers", "kwargs": {"N": "3"}}], "N='3' is not a number"),
        ([{"id": "count:numbers", "kwargs": {"N": True}}], "N=True is not a number"),
        ([{"id": "count:numbers", "kwargs": {"N": float("nan")}}], "is not a number"),
        ([{"id": "count:numbers", "kwargs": {"N": -1}}], "is not a number"),
        ([{"id": "count:numbers", "kwargs": [3]}], "kwargs are not an object"),
        (
            [{"id": "length_constraints:number_words", "kwargs": {"num_words": 3, "relation": "around"}}],
            "relation='around' is none of at least",
        ),
        ([{"id": "language:response_language", "kwargs": {"language": "klingon"}}], "klingon"),
    ],
)
def test_constraints_that_cannot_be_checked(sample: Any, wanted: Any, message: str) -> None:
    problem = instructions_problem({"instructions": wanted})
    assert problem is not None
    assert message in problem
    term = Instructions()
    assert list(term.score([sample("a good answer here", columns={"instructions": wanted})])) == [None]
    assert term.errors == {"instructions": 1}


def test_numbers_and_single_words_as_files_have_them() -> None:
    row = {"id": "keywords:frequency", "kwargs": {"keyword": "a", "frequency": 3.0, "relation": "at least", "N": None}}
    (wanted,) = instructions_of({"instructions": [row]})
    assert wanted.values == {"keyword": "a", "frequency": 3, "relation": "at least"}
    (wanted,) = instructions_of({"instructions": [{"id": "keywords:existence", "kwargs": {"keywords": "lamp"}}]})
    assert wanted.values == {"keywords": ["lamp"]}


def test_public_layouts_are_read(tmp_path: Path) -> None:
    values = {"num_bullets": 2, "keywords": None}
    truth = [
        {"instruction_id": ["detectable_format:number_bullet_lists", "punctuation:no_comma"], "kwargs": [values, None]}
    ]
    rows = [
        {
            "key": 1000,
            "prompt": "Write.",
            "instruction_id_list": ["detectable_format:number_bullet_lists", "punctuation:no_comma"],
            "kwargs": [values, {}],
        },
        {"messages": [{"role": "user", "content": "Write."}], "ground_truth": json.dumps(truth), "dataset": "ifeval"},
        {"messages": [{"role": "user", "content": "Write."}], "ground_truth": repr(truth)},
        {"prompt": "Write.", "ground_truth": json.dumps([json.dumps(truth[0])])},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load(str(file), "prompt").records
    wanted = [
        {"id": "detectable_format:number_bullet_lists", "kwargs": {"num_bullets": 2}},
        {"id": "punctuation:no_comma", "kwargs": {}},
    ]
    assert [(each.domain, each.answer, each.columns["verifier"]) for each in found] == [
        ("reasoning", None, "instructions")
    ] * 4
    assert all(each.columns["instructions"] == wanted for each in found)
    assert load(str(file), None).records == found  # the record type is found by the columns


def test_constraints_without_values_need_no_kwargs(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [{"instruction_id_list": ["punctuation:no_comma"]}, {"instruction_id_list": None, "answer": "4"}]
    file.write_text("".join(json.dumps({"prompt": "Write."} | row) + "\n" for row in rows))
    constrained, plain = load(str(file), "prompt").records
    assert constrained.columns["instructions"] == [{"id": "punctuation:no_comma", "kwargs": {}}]
    assert constrained.columns["verifier"] == "instructions"
    assert plain.answer == "4"  # a row of another source in the same file
    assert not plain.columns


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction_id_list": ["a:b", "c:d"], "kwargs": [{}]}, "2 constraints, and 'kwargs' 1"),
        ({"instruction_id_list": [], "kwargs": []}, "list of constraint ids"),
        ({"instruction_id_list": []}, "list of constraint ids"),
        ({"instruction_id_list": ["a:b"], "kwargs": ["{"]}, "a:b are text, and not JSON"),
        ({"ground_truth": "[{'instruction_id': __import__('os')}]"}, "neither JSON nor a list of Python"),
        ({"ground_truth": '{"instruction_id": 3}'}, "list of constraint ids"),
    ],
)
def test_rows_that_are_in_no_layout_are_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "Write."} | row) + "\n")
    with pytest.raises(BadRowsError, match=message):
        load(str(file), "prompt")


def test_an_unknown_constraint_is_named_with_its_row_before_training(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    good = {"prompt": "Write.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    bad = good | {"instruction_id_list": ["punctuation:no_coma"]}
    file.write_text("".join(json.dumps(row) + "\n" for row in (good, bad, bad | {"domain": "helpfulness"})))
    records = load(str(file), "prompt").records
    for term in ("accuracy", "instructions"):
        found = unusable_prompts([TermConfig(term=term)], records)
        assert found == dict.fromkeys(
            (1, 2), "no constraint is called 'punctuation:no_coma'; did you mean punctuation:no_comma?"
        )
    assert unusable_prompts([TermConfig(term="format")], records) == {}


def test_one_term_under_two_names_scores_once(sample: Any) -> None:
    made = [sample(GOOD, columns=columns(BULLETS)), sample("7", answer="7")]
    for names in (["accuracy"], ["accuracy", "instructions"], ["instructions", "accuracy_math"]):
        terms = build_terms([TermConfig(term=name) for name in names], {"math", "instructions"})
        mixer = Mixer(terms)
        rewards = mixer.mix(run_terms(terms, made), mixer.weights(0), learn=False)
        assert rewards.reward_N.tolist() == [1.0, 1.0]
        assert accuracy_of(rewards).tolist() == [1.0, 1.0]
    with pytest.raises(TermError, match="takes no argument 'strict'"):
        build_terms([TermConfig(term="instructions", arguments={"strict": True})], set())


def test_generated_prompts_are_each_once_seeded_and_can_be_checked() -> None:
    train, test = list(constrained_prompts("train", 400)), list(constrained_prompts("test", 100))
    texts = [each.prompt[-1].content for each in (*train, *test)]
    assert len(set(texts)) == 500
    assert [each.prompt for each in train[:50]] == [each.prompt for each in constrained_prompts("train", 50)]
    assert [each.prompt for each in train[:50]] != [each.prompt for each in constrained_prompts("train", 50, seed=1)]
    assert all(instructions_problem(each.columns) is None for each in (*train, *test))
    ids = {wanted["id"] for each in train for wanted in each.columns["instructions"]}
    assert len(ids) == 20
    assert {len(each.columns["instructions"]) for each in train} == {1, 2, 3}


def test_generated_constraints_can_be_kept_together(sample: Any) -> None:
    """An answer put together by rules keeps all constraints of nearly every prompt, and some answer keeps each."""
    prompts = list(constrained_prompts("train", 300))
    made = [sample(answer_to(each.columns["instructions"]), columns=each.columns) for each in prompts]
    missed = [
        (row.response, why)
        for row, (score, why) in zip(made, Instructions().explain(made), strict=True)
        if score != 1.0
    ]
    assert missed == []


def answer_to(wanted: list[dict[str, Any]]) -> str:
    values = {each["id"]: each["kwargs"] for each in wanted}
    words: list[str] = []
    for given in values.values():
        words += given.get("keywords", [])
        words += [given["keyword"]] * given.get("frequency", 1) if "keyword" in given else []
    length = values.get("length_constraints:number_words")
    sentences = values.get("length_constraints:number_sentences")
    count = 1
    if length and length["relation"] == "at least":
        count = length["num_words"] // 8 + 1
    if sentences and sentences["relation"] == "at least":
        count = sentences["num_sentences"]
    parts = [f"Here we see {' and '.join(words)}." if words else "Here we see it all."]
    parts += ["This is what they said to us then."] * count
    body = " ".join(parts)
    if "detectable_content:number_placeholders" in values:
        body = "[name] [place] [time] " + body
    for id, given in values.items():
        if id == "detectable_format:number_bullet_lists":
            body = "\n".join([f"* {body}", *["* and so on"] * (given["num_bullets"] - 1)])
        elif id == "detectable_format:number_highlighted_sections":
            body += " *one* *two* *three*"
        elif id == "length_constraints:number_paragraphs":
            body = "\n***\n".join([body, *["And so on."] * (given["num_paragraphs"] - 1)])
        elif id == "paragraphs:paragraphs2":
            body += "\n\nAnd so on."
        elif id == "combination:two_responses":
            body += "\n******\nAnd so on."
        elif id == "detectable_format:title":
            body = f"<<It>> {body}"
        elif id == "first_word:first_word_answer":
            body = f"{given['first_word']} {body}"
        elif id == "startend:end_checker":
            body += f" {given['end_phrase']}"
        elif id == "last_word:last_word_answer":
            body = body.rstrip(".") + f" {given['last_word']}"
        elif id == "change_case:english_capital":
            body = body.upper()
        elif id == "change_case:english_lowercase":
            body = body.lower()
    if sentences and sentences["relation"] == "less than":
        body = body.replace(". This", " and this").replace(". this", " and this").replace(". THIS", " AND THIS")
    return body


def test_sentences() -> None:
    assert sentences_of("Dr. Smith left at 5 p.m. today. Was he late? No!") == [
        "Dr. Smith left at 5 p.m. today.",
        "Was he late?",
        "No!",
    ]
    assert sentences_of("1. Eat.\n2. Sleep.") == ["1. Eat.", "2. Sleep."]
    assert sentences_of("A title\n\nIt rains") == ["A title", "It rains"]
    assert sentences_of("他来了。我走了！") == ["他来了。", "我走了！"]
    assert sentences_of("It costs 3.50 or v1.2.3 now") == ["It costs 3.50 or v1.2.3 now"]
    assert sentences_of("") == []


def test_parts_between_dividers() -> None:
    assert Text("a\n***\nb").divided() == ["a", "b"]
    assert Text("***a***b***").divided() == ["a", "b"]
    assert Text("a\n***\n\n***\nb").divided() is None
    assert Text("a").divided() == ["a"]
    assert Text("").divided() is None
