"""Laws: a record written in any layout reads back to itself, and reading changes no text."""

from __future__ import annotations

import json
from typing import Any

import pyarrow
from hypothesis import given
from hypothesis import strategies as st

from reward_models.data.conversations import to_conversation
from reward_models.data.files import arrow_row
from reward_models.data.formats import infer_record_type, to_record, to_responses, to_row
from reward_models.data.records import Comparison, Conversation, Message, Record
from reward_models.data.splits import content_key, verdict

# Letters, quotes, brackets and line breaks: what printing as text has to escape. Texts that are messages or transcripts
# themselves cannot be made of them.
ALPHABET = "abc é中'\"\\[]{},:\n\r\t0"
texts = st.text(ALPHABET, min_size=1).filter(lambda text: text.strip() and "{" not in text.strip()[:2])
arguments = st.dictionaries(texts, texts | st.integers(), max_size=2)
calls = st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": texts, "arguments": arguments})})
extras = st.sampled_from([{}]) | st.fixed_dictionaries({"tool_calls": st.lists(calls, min_size=1, max_size=2)})


def message(role: str) -> st.SearchStrategy[Message]:
    return st.builds(lambda text, extra: Message(role, text, json.dumps(extra) if extra else ""), texts, extras)  # type: ignore[arg-type]


prompts: st.SearchStrategy[Conversation] = st.lists(
    st.tuples(message("user"), message("assistant")), max_size=2
).flatmap(
    lambda turns: st.builds(
        lambda system, last: (*system, *(m for turn in turns for m in turn), last),
        st.just(()) | st.tuples(st.builds(lambda text: Message("system", text), texts)),
        st.builds(lambda text: Message("user", text), texts),
    )
)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    a, b = draw(st.lists(message("assistant"), min_size=2, max_size=2, unique=True))
    label = draw(st.sampled_from(["a", "b"]))
    return Comparison(prompt=draw(prompts), response_a=(a,), response_b=(b,), label=label, strength=draw(st.just(2.0)))  # type: ignore[arg-type]


def dicts(conversation: Conversation) -> list[dict[str, Any]]:
    return [m.to_dict() for m in conversation]


def layouts(record: Comparison) -> list[dict[str, Any]]:
    """The same comparison in the layouts that can hold it."""
    prompt, a, b = dicts(record.prompt), dicts(record.response_a), dicts(record.response_b)
    better, worse = (a, b) if record.label == "a" else (b, a)
    sign = -2 if record.label == "a" else 2
    trl = {"chosen": better, "rejected": worse, "margin": 2}
    whole = {"chosen": prompt + better, "rejected": prompt + worse, "chosen_score": 3, "rejected_score": 1}
    return [
        to_row(record),
        {"prompt": prompt, **trl},
        whole,
        {"prompt": prompt, **whole},
        {"prompt": prompt[-1:], **whole, "messages": prompt + better},
        {"context": prompt, "response1": a, "response2": b, "overall_preference": sign},
        {"prompt": prompt, "response_1": a, "response_2": b, "preference_strength": sign},
        {"question": json.dumps(prompt), **{k: json.dumps(v) if isinstance(v, list) else v for k, v in trl.items()}},
        {"query": str(prompt), **{k: str(v) for k, v in trl.items()}},
        {"conversations": prompt, **trl},
    ]


def judged(record: Record) -> tuple[bytes, str]:
    return content_key(record), verdict(record)


@given(comparisons())
def test_a_comparison_is_the_same_in_every_layout(record: Comparison) -> None:
    for row in layouts(record):
        read = to_record(row)
        assert isinstance(read, Comparison)
        assert read.prompt == record.prompt
        assert judged(read) == judged(record)
        assert read.strength == 2
        assert to_record(to_row(read)) == read
        assert infer_record_type(row) == "comparison"
        assert {content for said in to_responses(row)[1].values() for content in said} == {
            *record.response_a,
            *record.response_b,
        }


@given(comparisons())
def test_a_row_survives_arrow(record: Comparison) -> None:
    """Objects of one list have the same members in Arrow, null where an object had none."""
    row = {"prompt": dicts(record.prompt), "chosen": dicts(record.response_a), "rejected": dicts(record.response_b)}
    for m in (m for conversation in row.values() for m in conversation if "tool_calls" in m):
        # Arrow has no empty object, one type for a member, and merges the arguments of several calls.
        m["tool_calls"] = [{"function": {"name": "f", "arguments": {"x": str(m["tool_calls"])}}}]
    table = pyarrow.Table.from_pylist([row])
    assert judged(to_record(arrow_row(table.to_pylist()[0]))) == judged(to_record(row))


@given(texts)
def test_no_text_is_changed(text: str) -> None:
    assert to_conversation(text, "prompt", role="user")[0].content == text
    (record,) = [to_record({"prompt": text, "response_a": text, "response_b": text + "x", "label": "b"})]
    assert isinstance(record, Comparison)
    assert (record.prompt[0].content, record.response_a[0].content) == (text, text)


@given(st.lists(texts, min_size=1, max_size=3))
def test_messages_printed_as_text_are_read_as_messages(turns: list[str]) -> None:
    messages = [{"role": "user", "content": text} for text in turns]
    wanted = tuple(Message("user", text) for text in turns)
    numpy = "[" + "\n ".join(map(repr, messages)) + "]"
    for cell in (
        json.dumps(messages),
        json.dumps(messages, indent=1),
        str(messages),
        numpy,
        f"array({numpy}, dtype=object)",
    ):
        assert to_conversation(cell, "prompt", role="user") == wanted
