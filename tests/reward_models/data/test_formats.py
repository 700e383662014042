from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.data.formats import infer_record_type, rename, to_record, to_row
from reward_models.data.records import Comparison, Message, Pair, Prompt, RecordError, SafetyLabel

USER = {"role": "user", "content": "Why is the sky blue?"}
GOOD = {"role": "assistant", "content": "Rayleigh scattering."}
BAD = {"role": "assistant", "content": "It is the sea's reflection."}


def better(record: Any) -> str:
    assert isinstance(record, Comparison)
    return (record.response_a if record.label == "a" else record.response_b)[-1].content


PAIRS = {
    "TRL, explicit prompt": {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    "TRL, implicit prompt": {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    "prompt as text, repeated in the responses": {
        "prompt": USER["content"],
        "chosen": [USER, GOOD],
        "rejected": [USER, BAD],
    },
    "plain text": {"prompt": USER["content"], "chosen": GOOD["content"], "rejected": BAD["content"]},
    "hh-rlhf": {
        "chosen": f"\n\nHuman: {USER['content']}\n\nAssistant: {GOOD['content']}",
        "rejected": f"\n\nHuman: {USER['content']}\n\nAssistant: {BAD['content']}",
    },
    "hh-rlhf with its prompt apart": {
        "prompt": f"\n\nHuman: {USER['content']}\n\nAssistant:",
        "chosen": GOOD["content"],
        "rejected": BAD["content"],
    },
    "HelpSteer3": {
        "context": [USER],
        "response1": GOOD["content"],
        "response2": BAD["content"],
        "overall_preference": -2,
    },
    "own": {"prompt": [USER], "response_a": [BAD], "response_b": [GOOD], "label": "b", "strength": 2},
}


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS.keys())
def test_every_layout_of_a_comparison_gives_the_same_judgement(row: dict[str, Any]) -> None:
    record = to_record(row)
    assert isinstance(record, Comparison)
    assert record.prompt == (Message("user", USER["content"]),)
    assert better(record) == GOOD["content"]
    assert {record.response_a, record.response_b} == {
        (Message("assistant", GOOD["content"]),),
        (Message("assistant", BAD["content"]),),
    }


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS.keys())
def test_every_layout_of_a_comparison_can_be_read_as_a_pair_with_its_label(row: dict[str, Any]) -> None:
    pair, comparison = to_record(row, "pair"), to_record(row)
    assert isinstance(pair, Pair)
    assert isinstance(comparison, Comparison)
    assert (pair.prompt, pair.response_a, pair.response_b, pair.label) == (
        comparison.prompt,
        comparison.response_a,
        comparison.response_b,
        comparison.label,
    )
    assert to_record(to_row(pair), "pair") == pair


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ({"prompt": "a", "response_a": "b", "response_b": "c"}, {"label": "b"}),
        ({"prompt": "a", "response1": "b", "response2": "c"}, {"overall_preference": 1}),
    ],
)
def test_only_a_pair_may_come_without_a_verdict(row: dict[str, Any], verdict: dict[str, Any]) -> None:
    pair = to_record(row, "pair")
    assert isinstance(pair, Pair)
    assert pair.label is None
    assert "label" not in to_row(pair)
    judged = to_record(row | verdict, "pair")
    assert isinstance(judged, Pair)
    assert judged.label == "b"
    with pytest.raises(RecordError):
        to_record(row, "comparison")


@pytest.mark.parametrize(
    ("preference", "label", "strength"), [(-3, "a", 3), (-1, "a", 1), (0, "tie", None), (1, "b", 1), (3, "b", 3)]
)
def test_helpsteer3_prefers_response1_below_zero(preference: int, label: str, strength: float | None) -> None:
    record = to_record(PAIRS["HelpSteer3"] | {"overall_preference": preference})
    assert isinstance(record, Comparison)
    assert (record.label, record.strength) == (label, strength)
    assert record.response_a[0].content == GOOD["content"]


@pytest.mark.parametrize(
    ("extra", "strength"),
    [
        ({}, None),
        ({"margin": None}, None),
        ({"margin": 1.5}, 1.5),
        ({"margin": "1.5"}, 1.5),
        ({"score_chosen": 9, "score_rejected": 6.5}, 2.5),
        ({"score_chosen": 9}, None),
        ({"margin": 1, "score_chosen": 9, "score_rejected": 6.5}, 1),
    ],
)
def test_the_margin_is_the_strength(extra: dict[str, Any], strength: float | None) -> None:
    record = to_record(PAIRS["plain text"] | extra)
    assert isinstance(record, Comparison)
    assert record.strength == strength
    assert better(record) == GOOD["content"]


@pytest.mark.parametrize(("extra", "weight"), [({}, 1.0), ({"weight": None}, 1.0), ({"weight": "0.25"}, 0.25)])
def test_the_weight_of_a_comparison(extra: dict[str, Any], weight: float) -> None:
    for name in ("plain text", "HelpSteer3"):
        record = to_record(PAIRS[name] | extra)
        assert isinstance(record, Comparison)
        assert (record.weight, record.swapped().weight) == (weight, weight)
        assert to_record(to_row(record), "comparison") == record
        assert ("weight" in to_row(record)) == (weight != 1)


@pytest.mark.parametrize("extra", [{"margin": 0}, {"score_chosen": 7.0, "score_rejected": 7}])
def test_no_gap_is_a_tie(extra: dict[str, Any]) -> None:
    record = to_record(PAIRS["plain text"] | extra)
    assert isinstance(record, Comparison)
    assert (record.label, record.strength) == ("tie", None)


words = st.text("abcdefgh ", min_size=1).filter(str.strip)


@given(words, words, words)
def test_swapping_chosen_and_rejected_moves_the_label_and_not_the_responses(prompt: str, one: str, other: str) -> None:
    if one == other:
        return
    record = to_record({"prompt": prompt, "chosen": one, "rejected": other})
    swapped = to_record({"prompt": prompt, "chosen": other, "rejected": one})
    assert isinstance(record, Comparison)
    assert isinstance(swapped, Comparison)
    assert (record.response_a, record.response_b) == (swapped.response_a, swapped.response_b)
    assert {record.label, swapped.label} == {"a", "b"}


def test_the_better_response_is_at_either_position_as_often() -> None:
    rows = [{"prompt": f"question {n}", "chosen": "the same answer", "rejected": f"answer {n}"} for n in range(1000)]
    at_a = sum(to_record(row).label == "a" for row in rows)  # type: ignore[union-attr]
    assert 430 < at_a < 570


def test_a_response_compared_often_is_not_always_at_one_position() -> None:
    rows = [{"prompt": "question", "chosen": "the same answer", "rejected": f"answer {n}"} for n in range(1000)]
    at_a = sum(to_record(row).label == "a" for row in rows)  # type: ignore[union-attr]
    assert 430 < at_a < 570


@pytest.mark.parametrize(
    ("row", "label", "category"),
    [
        ({"response": "b", "label": "safe"}, "safe", None),
        ({"response": [GOOD], "label": "unsafe", "category": "violence"}, "unsafe", "violence"),
        ({"completion": [GOOD], "label": True}, "safe", None),
        ({"completion": "b", "label": False}, "unsafe", None),
        ({"completion": "b", "label": "False"}, "unsafe", None),
        ({"response": "b", "is_safe": True, "category": {"abuse": False}}, "safe", None),
        ({"response": "b", "is_safe": False, "category": {"theft": True, "abuse": True}}, "unsafe", "abuse, theft"),
    ],
)
def test_every_layout_of_a_safety_label(row: dict[str, Any], label: str, category: str | None) -> None:
    record = to_record({"prompt": "a"} | row)
    assert isinstance(record, SafetyLabel)
    assert (record.label, record.category) == (label, category)
    assert record.prompt == (Message("user", "a"),)
    assert record.response[0].role == "assistant"


@pytest.mark.parametrize(
    ("row", "given", "domain", "answer"),
    [
        ({"prompt": [USER], "domain": "safety"}, None, "safety", None),
        ({"prompt": "a", "domain": "safety"}, "helpfulness", "safety", None),
        ({"prompt": "a"}, "helpfulness", "helpfulness", None),
        ({"prompt": "a", "answer": "12"}, None, "reasoning", "12"),
        ({"prompt": "a", "answer": 12}, None, "reasoning", "12"),
        ({"question": "a", "answer": "It is 1,200.\n#### 1,200"}, None, "reasoning", "1200"),
        ({"question": "a", "answer": "(1, 2)"}, None, "reasoning", "(1, 2)"),
    ],
)
def test_every_layout_of_a_prompt(row: dict[str, Any], given: str | None, domain: str, answer: str | None) -> None:
    record = to_record(row, "prompt", domain=given)
    assert isinstance(record, Prompt)
    assert (record.domain, record.answer) == (domain, answer)


@pytest.mark.parametrize("row", PAIRS.values(), ids=PAIRS.keys())
def test_comparisons_can_be_read_for_their_prompts(row: dict[str, Any]) -> None:
    record = to_record(row, "prompt", domain="helpfulness")
    assert isinstance(record, Prompt)
    assert record.prompt == (Message("user", USER["content"]),)


@pytest.mark.parametrize(
    ("language", "code"),
    [("de", "de"), ("German", "de"), ("de-AT", "de"), ("python", None), ("unknown", None), ("", None), (None, None)],
)
def test_a_language_is_read_by_code_or_name(language: str | None, code: str | None) -> None:
    assert to_record({"prompt": "a", "domain": "safety", "language": language}).language == code  # type: ignore[union-attr]


def test_a_language_that_nobody_knows_is_refused() -> None:
    with pytest.raises(RecordError, match="Klingonese"):
        to_record({"prompt": "a", "domain": "safety", "language": "Klingonese"})


SAFETY = {"prompt": "a", "response": "b", "label": "safe"}


@pytest.mark.parametrize(
    ("row", "record_type", "reason"),
    [
        ({"prompt": "a", "chosen": "b"}, None, "'rejected' is missing"),
        ({"text": "a"}, None, "no known layout .columns: text."),
        ({"text": "a"}, "comparison", "'chosen' is missing"),
        ({"text": "a"}, "safety", "'prompt' is missing"),
        ({"prompt": None, "chosen": "b", "rejected": "c"}, None, "'prompt' is null"),
        ({"prompt": "", "chosen": "b", "rejected": "c"}, None, "'prompt' is empty"),
        ({"prompt": "a", "chosen": "", "rejected": "c"}, None, "'chosen': empty assistant message"),
        ({"prompt": [], "chosen": "b", "rejected": "c"}, None, "'prompt' is empty"),
        ({"prompt": "a", "chosen": [], "rejected": "c"}, None, "is empty"),
        ({"prompt": [USER, GOOD], "chosen": "b", "rejected": "c"}, None, "prompt ends with an assistant"),
        ({"prompt": "a", "chosen": [USER], "rejected": "c"}, None, "'chosen' begins with a user message"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, None, "identical"),
        (
            {"prompt": "a", "chosen": "b", "rejected": "c", "margin": float("nan")},
            None,
            "'margin' is nan, not a finite",
        ),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "margin": "high"}, None, "'margin' is 'high'"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "margin": True}, None, "'margin' is True"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "margin": [1]}, None, "'margin' is"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "margin": -1}, None, "margin is -1, so the rejected response"),
        ({"prompt": "a", "response_a": "b", "response_b": "c", "label": "A"}, None, "'A', none of a, b, tie"),
        ({"prompt": "a", "response_a": "b", "response_b": "c", "label": ["a"]}, None, "none of a, b, tie"),
        ({"prompt": "a", "response_a": "b", "response_b": "c", "annotations": []}, None, "merge the single votes"),
        ({"prompt": "a", "response_a": "b", "response_b": "c", "label": "a", "strength": 0}, None, "not a positive"),
        ({"prompt": "a", "response1": "b", "response2": "c"}, None, "'overall_preference' is missing"),
        (SAFETY | {"label": "harmless"}, None, "'harmless', none of safe, unsafe"),
        (SAFETY | {"label": 1}, None, "is 1, none of safe, unsafe"),
        (SAFETY | {"label": None}, None, "'label' is null"),
        (SAFETY | {"category": 3}, None, "'category' is 3"),
        ({"prompt": "a"}, None, "nothing says the prompt's domain"),
        ({"prompt": "a", "domain": "poetry"}, None, "'poetry', none of reasoning"),
        ({"question": "a", "answer": "First\nthen 7"}, None, "worked solution without '#### answer'"),
        ({"question": "a", "answer": "7 ####"}, None, "empty answer"),
    ],
)
def test_a_bad_row_is_refused_by_name(row: dict[str, Any], record_type: Any, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        to_record(row, record_type)


def test_a_column_domain_or_kind_of_the_data_sets_own_is_kept_and_the_named_domain_counts() -> None:
    for name in ("domain", "kind"):
        record = to_record({"prompt": "a", name: "stem"}, "prompt", domain="helpfulness")
        assert isinstance(record, Prompt)
        assert (record.domain, record.columns) == ("helpfulness", {name: "stem"})
        assert to_record({"prompt": "a", name: "safety"}, "prompt", domain="helpfulness").domain == "safety"  # type: ignore[union-attr]


def test_reasons_do_not_quote_whole_contents() -> None:
    secret = "a very long text " * 50
    for row in (SAFETY | {"label": secret}, {"prompt": "a", "domain": secret}, {secret: 1}):
        with pytest.raises(RecordError) as caught:
            to_record(row)
        assert secret[:100] not in str(caught.value)


def test_columns_are_renamed_to_ours() -> None:
    row = {"q": "a", "good": "b", "bad": "c", "chosen": "something else"}
    renamed = rename(row, {"prompt": "q", "chosen": "good", "rejected": "bad"})
    assert renamed == {"prompt": "a", "chosen": "b", "rejected": "c"}
    with pytest.raises(RecordError, match="column 'godo', to be read as 'chosen', is missing"):
        rename(row, {"chosen": "godo"})


def test_a_row_keeps_its_id_and_source_and_else_takes_the_given() -> None:
    assert to_record(SAFETY | {"id": 7, "source": "x"}, id="n", source="s").id == "7"
    record = to_record(SAFETY | {"source": None}, id="n", source="s")
    assert (record.id, record.source) == ("n", "s")


@pytest.mark.parametrize(
    "row",
    [
        *PAIRS.values(),
        PAIRS["own"] | {"label": "tie", "strength": None},
        SAFETY | {"category": "x", "id": "i", "source": "s"},
        {"prompt": "a", "domain": "reasoning", "answer": "1", "language": "en"},
    ],
)
def test_our_own_layout_reads_back_to_the_record(row: dict[str, Any]) -> None:
    record = to_record(row)
    assert to_record(to_row(record)) == record
    assert infer_record_type(to_row(record)) == infer_record_type(row)


def test_other_columns_of_a_prompt_are_kept_for_reward_terms() -> None:
    row = {"prompt": "a", "answer": "1", "verifier": "code", "tests": [{"input": "1", "output": "2"}]}
    record = to_record(row)
    assert isinstance(record, Prompt)
    assert record.columns == {"verifier": "code", "tests": [{"input": "1", "output": "2"}]}
    assert to_record(to_row(record)).columns == record.columns  # type: ignore[union-attr]
