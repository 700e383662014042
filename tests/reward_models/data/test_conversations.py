from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models.data.conversations import (
    digest,
    is_transcript,
    parse_transcript,
    split_conversations,
    to_conversation,
)
from reward_models.data.records import Message, RecordError

texts = (
    st.text(st.characters(codec="utf-8"), min_size=1)
    .map(str.strip)
    .filter(lambda text: text and "\n\nHuman:" not in text and "\n\nAssistant:" not in text)
)


def transcript(*turns: str) -> str:
    names = ("Human", "Assistant")
    return "".join(f"\n\n{names[index % 2]}: {turn}" for index, turn in enumerate(turns))


SYSTEM = Message("system", "s")


def messages(*turns: str) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    return tuple(Message(roles[index % 2], turn) for index, turn in enumerate(turns))


@given(st.lists(texts, min_size=1, max_size=6))
def test_a_transcript_parses_back_to_its_turns(turns: list[str]) -> None:
    assert is_transcript(transcript(*turns))
    assert parse_transcript(transcript(*turns)) == messages(*turns)


def test_a_speaker_named_inside_a_turn_does_not_cut_it() -> None:
    turns = ("Write a play.\nHuman: hello\nAssistant: hi", "Human: is a word, and\n\nHumanity: too")
    assert parse_transcript(transcript(*turns)) == messages(*turns)


def test_neighbouring_turns_of_one_speaker_are_one_turn() -> None:
    text = "\n\nHuman: one\n\nHuman: two\n\nAssistant: three\n\nAssistant: \n\nAssistant: four"
    assert parse_transcript(text)[0] == Message("user", "one\n\ntwo")
    assert [message.role for message in parse_transcript(text)] == ["user", "assistant"]


def test_an_open_assistant_turn_is_left_out() -> None:
    assert parse_transcript("\n\nHuman: hi\n\nAssistant:") == messages("hi")


def test_a_transcript_stripped_of_its_first_blank_line_is_still_one() -> None:
    assert parse_transcript("Human: hi\n\nAssistant: hello") == messages("hi", "hello")
    assert not is_transcript("Human: hi")
    assert not is_transcript("What does Human: mean?")


def test_an_empty_turn_is_refused() -> None:
    with pytest.raises(RecordError, match="empty user message"):
        parse_transcript("\n\nHuman: \n\nAssistant: hello")


def test_the_prompt_is_the_longest_common_beginning_that_leaves_an_answer() -> None:
    prompt, chosen, rejected = split_conversations(messages("q", "a", "r", "good"), messages("q", "a", "r", "bad"))
    assert prompt == messages("q", "a", "r")
    assert (chosen[0].content, rejected[0].content) == ("good", "bad")


def test_conversations_that_part_early_keep_whole_answers() -> None:
    prompt, chosen, rejected = split_conversations(messages("q", "a", "r", "x"), messages("q", "a", "s", "y"))
    assert (prompt, chosen, rejected) == (
        messages("q"),
        messages("q", "a", "r", "x")[1:],
        messages("q", "a", "s", "y")[1:],
    )


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (messages("q", "a"), messages("r", "a"), "no common prompt"),
        (
            (Message("system", "s"), *messages("q", "a")),
            (Message("system", "s"), *messages("r", "a")),
            "no common prompt",
        ),
        (messages("q"), messages("q", "a"), "'chosen' does not end with an answer"),
    ],
)
def test_conversations_without_a_common_prompt_are_refused(chosen: tuple, rejected: tuple, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        split_conversations(chosen, rejected)


@given(st.lists(texts, min_size=1), st.lists(texts, min_size=1))
def test_digests_differ_when_conversations_do(one: list[str], other: list[str]) -> None:
    assert (digest(messages(*one)) == digest(messages(*other))) == (one == other)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "'prompt' is null"),
        (3, "'prompt' is int"),
        ("  ", "'prompt': empty user message"),
        ("half \ud800", "not UTF-8"),
        (["hello"], "holds a str that is no"),
        ([{"role": "user"}], "holds a dict that is no"),
        ([{"role": "robot", "content": "x"}], "'robot' is none of system, user"),
        ([{"role": ["user"], "content": "x"}], "is none of system, user"),
        ([{"role": "user", "content": None}], "'prompt.content' is null"),
        ([{"role": "user", "content": ["x"]}], "'prompt': a content has parts that are not text"),
    ],
)
def test_what_is_no_conversation_is_refused_by_name(value: object, reason: str) -> None:
    with pytest.raises(RecordError, match=reason):
        to_conversation(value, "prompt", role="user")
