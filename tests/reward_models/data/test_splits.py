from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.data.formats import to_record
from reward_models.data.records import Comparison, Conversation, Message, Prompt, Record, SafetyLabel
from reward_models.data.sources import load
from reward_models.data.splits import (
    content_key,
    contradictory,
    decontaminate,
    deduplicate,
    normalised,
    opening_key,
    prompt_key,
    split_by_prompt,
    verdict,
)


def said(*turns: str) -> Conversation:
    return tuple(Message("assistant" if index % 2 else "user", turn) for index, turn in enumerate(turns))


def pair(
    prompt: str | Conversation, one: str, other: str, label: Any = "a", strength: float | None = None
) -> Comparison:
    return Comparison(
        prompt=said(prompt) if isinstance(prompt, str) else prompt,
        response_a=(Message("assistant", one),),
        response_b=(Message("assistant", other),),
        label=label,
        strength=strength,
    )


def prompt(*turns: str, answer: str | None = None) -> Prompt:
    return Prompt(prompt=said(*turns), domain="reasoning", answer=answer)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What's UP, doc? 2+2", "whatsupdoc22"),
        ("Größe  ÉTÉ", "größeété"),
        ("e\u0301te\u0301", "été"),  # composed or not, it is the same text
        ("कि", "कि"),  # vowels written as marks stay: कि is not की
        ("?!", "?!"),
    ],
)
def test_normalised(text: str, expected: str) -> None:
    assert normalised(text) == expected


def test_prompt_keys_ignore_case_spacing_and_punctuation_but_not_roles() -> None:
    assert prompt_key(said("Hello,  world!")) == prompt_key(said("hello world"))
    assert prompt_key(said("?")) != prompt_key(said("!"))
    assert prompt_key((Message("user", "a"),)) != prompt_key((Message("system", "a"),))
    assert prompt_key(said("ab", "c", "d")) != prompt_key(said("a", "bc", "d"))


texts = st.text("abc", min_size=1)
turns = st.lists(st.tuples(texts, texts), max_size=30)
labels = st.sampled_from(["a", "b", "tie"])


@given(texts, texts, texts, labels)
def test_keys_and_verdicts_do_not_depend_on_the_positions(question: str, one: str, other: str, label: str) -> None:
    if one == other:
        label = "tie"
    record = pair(question, one, other, label)
    assert content_key(record) == content_key(record.swapped())
    assert verdict(record) == verdict(record.swapped())


def test_opposite_labels_contradict_and_ties_do_not() -> None:
    a, b, tie = (pair("q", "x", "y", label) for label in ("a", "b", "tie"))
    assert contradictory([verdict(a), verdict(b)])
    assert not contradictory([verdict(a), verdict(a.swapped()), verdict(tie)])


@given(
    st.lists(st.tuples(texts, texts), max_size=30), st.lists(st.tuples(texts, texts), max_size=30), st.integers(0, 9)
)
def test_growing_the_data_moves_no_prompt(before: list[Any], more: list[Any], seed: int) -> None:
    def parts(turns: list[Any]) -> dict[Any, str]:
        found = split_by_prompt([prompt(q, "ok", r) for q, r in turns], {"train": 0.5, "eval": 0.5}, seed=seed)
        assert sum(map(len, found.values())) == len(turns)
        return {record.prompt: name for name, records in found.items() for record in records}

    first, second = parts(before), parts(before + more)
    assert first.items() <= second.items()
    openings: dict[str, str] = {}
    for conversation, name in second.items():
        assert openings.setdefault(opening_key(conversation), name) == name


def test_fractions_are_kept_and_the_seed_matters() -> None:
    records = [prompt(f"question {n}") for n in range(2000)]
    parts = split_by_prompt(records, {"train": 0.8, "dev": 0.1, "eval": 0.1})
    assert 1520 < len(parts["train"]) < 1680
    assert 140 < len(parts["eval"]) < 260
    assert split_by_prompt(records, seed=0) != split_by_prompt(records, seed=1)
    assert split_by_prompt(records, {"train": 1.0, "eval": 0.0})["eval"] == []
    with pytest.raises(ValueError, match="do not sum to 1"):
        split_by_prompt(records, {"train": 0.5})


def test_raising_the_evaluation_share_only_takes_from_training() -> None:
    records = [prompt(f"question {n}") for n in range(500)]
    small = split_by_prompt(records, {"eval": 0.1, "train": 0.9})["eval"]
    large = split_by_prompt(records, {"eval": 0.3, "train": 0.7})["eval"]
    assert set(small) < set(large)


@pytest.mark.parametrize(("policy", "kept"), [("drop", "cde"), ("keep", "abcde"), ("first", "acde")])
def test_deduplicate(policy: Any, kept: str) -> None:
    records = {
        "a": pair("q", "x", "y", "a"),
        "a copy": pair("q", "y", "x", "b", strength=2.0),  # the same judgement the other way round
        "c": pair("q", "x", "z", "a"),
        "b": pair("q", "x", "y", "b"),
        "d": pair("Q", "x", "y", "b"),  # another prompt, if only by its case
        "e": pair("q", "x", "z", "tie"),
    }
    result = deduplicate(records.values(), conflicts=policy)
    assert result.kept == [record for name, record in records.items() if name in kept]
    assert (result.duplicates, result.conflicts) == (1, 1)
    assert len(result.kept) + result.duplicates + result.contradictions == len(records)


def test_safety_labels_and_answers_can_contradict_too() -> None:
    labels: list[Record] = [
        SafetyLabel(prompt=said("q"), response=said("q", "r")[1:], label=label) for label in ("safe", "unsafe")
    ]
    assert deduplicate(labels).kept == []
    answers: list[Record] = [prompt("q", answer="1"), prompt("q"), prompt("q", answer="2"), prompt("r", answer="1")]
    assert deduplicate(answers).kept == [answers[3]]


LONG = "Please tell me how many planets there are in the solar system and how they were all found"


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ((LONG.upper() + "?",), "same prompt"),
        (("hi", "hello", LONG), "same user message"),
        ((LONG, "eight", "and moons?"), "same user message"),
        (("Dear assistant! " + LONG + ", thank you.",), "overlapping words"),
        (("Please tell me how many planets there are in the galaxy, and who will ever count them",), None),
        (("go on",), None),
    ],
)
def test_decontaminate(turns: tuple[str, ...], reason: str | None) -> None:
    evaluation = [prompt(LONG), prompt("hi", "hello", "go on")]
    record = prompt(*turns)
    result = decontaminate([record], evaluation)
    assert result.removed == ([] if reason is None else [(record, reason)])
    assert result.kept == ([record] if reason is None else [])
    assert result.counts == ({} if reason is None else {reason: 1})


def test_text_without_spaces_is_compared_by_character() -> None:
    text = "请告诉我太阳系里一共有多少颗行星以及它们是怎样被发现的"
    assert decontaminate([prompt("你好。" + text)], [prompt(text)]).counts == {"overlapping words": 1}


def test_nothing_of_the_kits_training_data_is_in_its_test_data(keel_data: Path) -> None:
    def read(split: str) -> list[Record]:
        return load(str(keel_data / "helpful" / f"*.{split}.jsonl.gz"), None).records

    train, test = read("train"), read("test")
    assert not {prompt_key(record.prompt) for record in train} & {prompt_key(record.prompt) for record in test}
    assert decontaminate(train, test).counts == {}
    assert decontaminate(test, test).counts == {"same prompt": len(test)}
    assert deduplicate(train).kept == train


def test_prompts_of_the_kits_manifest_are_counted_alike(keel_data: Path) -> None:
    for file in json.loads((keel_data / "MANIFEST.json").read_text()):
        if file["path"] == "math/gsm8k.train.jsonl.gz":
            records = load(str(keel_data / file["path"]), "prompt").records
            assert len({prompt_key(record.prompt) for record in records}) == file["prompts"]


def test_a_row_read_either_way_round_has_one_key() -> None:
    row = {"prompt": "q", "chosen": "x", "rejected": "y"}
    swapped = {"prompt": "q", "chosen": "y", "rejected": "x"}
    assert content_key(to_record(row)) == content_key(to_record(swapped))
    assert contradictory([verdict(to_record(row)), verdict(to_record(swapped))])
