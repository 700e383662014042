"""Records become trees: what is cut, what is dropped, and that both are counted."""

from __future__ import annotations

from itertools import dropwhile
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from reward_models.data.chat import ChatRenderer, train_tokenizer
from reward_models.data.encode import fit
from reward_models.data.records import Comparison, Message, Role, SafetyLabel
from reward_models.data.token_sets import TokenizedSet, tokenize_records

# One word is one token: a message costs one token for its role and one for each word.
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
ROLES = ["system", "user", "assistant", "tool"]
WORDS = [f"w{number}" for number in range(60)]


def word_tokenizer(template: str = TEMPLATE) -> Any:
    raw = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["<unk>", *ROLES, *WORDS])}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def renderer(monkeypatch: pytest.MonkeyPatch) -> ChatRenderer:
    return ChatRenderer(word_tokenizer(), "full")


def say(role: Role, first: int, words: int) -> Message:
    return Message(role, " ".join(WORDS[first : first + words]))


def pair(*prompt: Message, a: int = 2, b: int = 3, label: Literal["a", "b", "tie"] = "a", **more: Any) -> Comparison:
    """Two responses of ``a`` and ``b`` words to the prompt; they begin differently."""
    responses = {"response_a": (say("assistant", 40, a),), "response_b": (say("assistant", 50, b),)}
    return Comparison(prompt=prompt or (say("user", 0, 4),), label=label, **responses, **more)


def read(data: TokenizedSet, renderer: ChatRenderer, item: int = 0) -> list[str]:
    return [renderer.tokenizer.decode(s) for s in data.tree(item).sequences]


def texts(renderer: ChatRenderer, *messages: Message) -> str:
    return " ".join(f"{m.role} {m.content}" for m in messages)


# --- what a set holds -------------------------------------------------------------------------------------------------


def test_a_pair_shares_its_prompt_and_puts_the_chosen_response_first(renderer: ChatRenderer) -> None:
    records = [pair(id="x:1", source="x", strength=2.5), pair(label="b", id="y:1", source="y")]
    data = tokenize_records(records, renderer, None)
    question, answer_a, answer_b = say("user", 0, 4), say("assistant", 40, 2), say("assistant", 50, 3)
    assert read(data, renderer, 0) == [texts(renderer, question, r) for r in (answer_a, answer_b)]
    assert read(data, renderer, 1) == [texts(renderer, question, r) for r in (answer_b, answer_a)]
    assert [len(p) for p in (data.tree(0).prompt, *data.tree(0).branches)] == [6, 2, 3]  # the role is shared too
    assert data.tree_tokens.tolist() == [11, 11]
    assert data.unshared_tokens.tolist() == [17, 17]
    assert data.branch_lengths([0, 1]).tolist() == [[8, 9], [9, 8]]
    assert data.label.tolist() == [1.0, 1.0]
    assert data.strength.tolist() == pytest.approx([2.5, np.nan], nan_ok=True)
    assert ([data.sources[i] for i in data.source], data.ids[:]) == (["x", "y"], ["x:1", "y:1"])
    assert (data.truncated, data.dropped, len(data)) == (0, {}, 2)


def test_safety_labels_become_single_branches(renderer: ChatRenderer) -> None:
    given = {"prompt": (say("user", 0, 2),), "response": (say("assistant", 40, 1),)}
    data = tokenize_records([SafetyLabel(**given, label="safe"), SafetyLabel(**given, label="unsafe")], renderer, None)
    assert data.label.tolist() == [1.0, 0.0]
    assert np.isnan(data.strength).all()
    assert [len(data.tree(0).prompt), *map(len, data.tree(0).branches)] == [0, 5]


def test_an_empty_set_is_empty_and_not_an_error(renderer: ChatRenderer) -> None:
    data = tokenize_records([], renderer, 64)
    assert (len(data), data.truncated, data.dropped, len(data.tokens)) == (0, 0, {}, 0)


def test_more_records_than_are_tokenized_at_once_keep_their_order(renderer: ChatRenderer) -> None:
    records = [pair(say("user", n % 30, 1 + n % 7), id=str(n), label="b" if n % 3 else "a") for n in range(1100)]
    data = tokenize_records(iter(records), renderer, None)
    assert data.ids[:] == [r.id for r in records]
    for item in (0, 511, 512, 1099):
        alone = tokenize_records([records[item]], renderer, None)
        assert read(data, renderer, item) == read(alone, renderer)


def test_ties_are_kept_as_one_half_or_left_out_and_counted(renderer: ChatRenderer) -> None:
    records = [pair(label="tie"), pair(), pair(label="tie")]
    assert tokenize_records(records, renderer, None).label.tolist() == [0.5, 1.0, 0.5]
    without = tokenize_records(records, renderer, None, ties=False)
    assert (without.label.tolist(), without.dropped) == ([1.0], {"tie": 2})
    assert tokenize_records([pair(label="tie")], renderer, None, ties=False).dropped == {"tie": 1}


# --- the truncation policy --------------------------------------------------------------------------------------------

SYSTEM = say("system", 0, 2)  # 3 tokens
HISTORY = (say("user", 2, 4), say("assistant", 6, 4), say("user", 10, 2), say("assistant", 12, 2))  # 5 + 5 + 3 + 3
LAST = say("user", 20, 9)  # 10 tokens; the longer response has 4


def kept_prompt(limit: int, renderer: ChatRenderer, *prompt: Message) -> str | None:
    """The rest of the prompt, read from both responses' sequences; ``None`` if the pair was dropped."""
    data = tokenize_records([pair(*(prompt or (SYSTEM, *HISTORY, LAST)))], renderer, limit)
    if not len(data):
        assert (data.truncated, data.dropped) == (0, {"response longer than max_length": 1})
        return None
    short, long = read(data, renderer)
    assert data.branch_lengths([0]).max() <= limit
    for text, reply in ((short, say("assistant", 40, 2)), (long, say("assistant", 50, 3))):
        assert text.endswith(texts(renderer, reply))  # the response is always whole
    prompts = {text.rpartition(" assistant ")[0] for text in (short, long)}
    assert len(prompts) == 1  # and both responses continue the same prompt
    return prompts.pop()


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (33, (SYSTEM, *HISTORY, LAST)),
        (32, (SYSTEM, *HISTORY[2:], LAST)),  # a user's turn goes with its answer
        (23, (SYSTEM, *HISTORY[2:], LAST)),
        (22, (SYSTEM, LAST)),
        (17, (SYSTEM, LAST)),
        (16, (SYSTEM, say("user", 21, 8))),  # then the last turn loses its beginning, one token and no more
        (12, (SYSTEM, say("user", 25, 4))),
        (9, (SYSTEM, say("user", 28, 1))),
        (8, None),
    ],
)
def test_the_oldest_turns_go_first_then_the_beginning_of_the_last(
    limit: int, kept: tuple[Message, ...] | None, renderer: ChatRenderer
) -> None:
    assert kept_prompt(limit, renderer) == (None if kept is None else texts(renderer, *kept))


def test_a_tool_result_does_not_outlive_the_turn_that_asked_for_it(renderer: ChatRenderer) -> None:
    prompt = (say("user", 2, 4), say("assistant", 6, 2), say("tool", 8, 2), say("user", 10, 2), LAST)
    assert kept_prompt(26, renderer, *prompt) == texts(renderer, *prompt[3:])


TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.integers(1, 6)), max_size=12)


@given(TURNS, st.integers(1, 60))
def test_the_fewest_turns_go_that_make_room(turns: list[tuple[Role, int]], limit: int) -> None:
    """By bisection, the same turns as one by one."""
    renderer = ChatRenderer(word_tokenizer(), "full")
    last, reply = say("user", 30, 2), (say("assistant", 40, 2),)
    prompt = (*(say(role, 5 * place % 40, words) for place, (role, words) in enumerate(turns)), last)
    system = [m for m in prompt[:-1] if m.role == "system"]
    left = [m for m in prompt[:-1] if m.role != "system"]
    whole = tokens = renderer.tokenize([renderer.text(prompt, reply)])[0]
    while left and len(tokens) > limit:
        left = list(dropwhile(lambda m: m.role != "user", left[1:]))
        tokens = renderer.tokenize([renderer.text((*system, *left, last), reply)])[0]
    found = fit(prompt, [reply], renderer, limit, [whole])
    if len(tokens) <= limit:
        assert found is not None
        assert found[0].tolist() == tokens.tolist()


def test_a_conversation_of_many_turns_is_rendered_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = ChatRenderer(word_tokenizer(), "full")
    calls: list[int] = []
    text = ChatRenderer.text
    monkeypatch.setattr(ChatRenderer, "text", lambda *given: [calls.append(1), text(*given)][1])
    prompt = tuple(say("user" if place % 2 == 0 else "assistant", 0, 3) for place in range(2001))
    found = fit(prompt, [(say("assistant", 40, 2),)], renderer, 50)
    assert found is not None
    assert 40 < len(found[0]) <= 50
    assert len(calls) < 20


def test_cut_and_dropped_items_are_counted(renderer: ChatRenderer) -> None:
    records = [pair(), pair(LAST), pair(a=9), pair(b=10), pair(say("user", 0, 1))]
    data = tokenize_records(records, renderer, 10)
    assert (len(data), data.truncated, data.dropped) == (3, 1, {"response longer than max_length": 2})
    assert data.branch_lengths(range(3)).max() <= 10


def test_pairs_that_read_the_same_are_left_out_of_training_and_counted() -> None:
    def thought(word: str) -> tuple[Message, ...]:
        return (Message("assistant", f"<think> {word} </think> w40 w41"),)

    same = Comparison(prompt=(say("user", 0, 4),), response_a=thought("w1"), response_b=thought("w2"), label="a")
    summary = ChatRenderer(word_tokenizer(), "summary")
    data = tokenize_records([same, pair()], summary, None, same=False)
    assert (len(data), data.dropped) == (1, {"responses that read the same": 1})
    assert len(tokenize_records([same, pair()], summary, None)) == 2
    assert len(tokenize_records([same], ChatRenderer(word_tokenizer(), "full"), None, same=False)) == 1


def test_a_cut_never_ends_in_half_a_character() -> None:
    tokenizer = train_tokenizer(["plain words"], 300)  # ✓ is three tokens, one a byte
    renderer = ChatRenderer(tokenizer, "full")
    prompt = (Message("user", "✓" * 40),)
    record = SafetyLabel(prompt=prompt, response=(Message("assistant", "ok"),), label="safe")
    whole = len(tokenize_records([record], renderer, None).tokens)
    for cut in range(1, 7):
        data = tokenize_records([record], renderer, whole - cut)
        text = tokenizer.decode(data.tree(0).sequences[0])
        assert "\ufffd" not in text
        assert text.count("✓") == 40 - (cut + 2) // 3


# --- what the template cannot take ------------------------------------------------------------------------------------


def test_a_conversation_the_template_refuses_is_named() -> None:
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + TEMPLATE
    renderer = ChatRenderer(word_tokenizer(template), "full")
    with pytest.raises(ValueError, match=r"pairs:7.*no system turn"):
        tokenize_records([pair(id="pairs:6"), pair(SYSTEM, LAST, id="pairs:7")], renderer, None)


# --- the fingerprint --------------------------------------------------------------------------------------------------


def test_the_fingerprint_follows_what_is_trained_on(renderer: ChatRenderer) -> None:
    records = [pair(strength=1.0), pair(LAST, label="tie"), pair(say("user", 5, 3), label="b")]

    def fingerprint(rows: list[Comparison] = records, maximum: int | None = None, ties: bool = True) -> str:
        return tokenize_records(rows, renderer, maximum, ties).fingerprint

    assert fingerprint() == fingerprint()
    changed = [
        fingerprint(maximum=12),
        fingerprint(ties=False),
        fingerprint(records[:2]),
        fingerprint(records[::-1]),
        fingerprint([pair(strength=2.0), *records[1:]]),
        fingerprint([pair(), *records[1:]]),  # without a strength
        fingerprint([pair(strength=1.0, weight=0.5), *records[1:]]),
        fingerprint([pair(strength=1.0, b=4), *records[1:]]),
        fingerprint([records[0], pair(LAST), records[2]]),  # decided instead of tied
        fingerprint([*records[:2], pair(say("user", 5, 3), label="a")]),
    ]
    assert len({fingerprint(), *changed}) == 1 + len(changed)


def test_the_fingerprint_of_safety_labels_follows_their_verdicts(renderer: ChatRenderer) -> None:
    given = {"prompt": (say("user", 0, 2),), "response": (say("assistant", 40, 1),)}
    safe, unsafe = SafetyLabel(**given, label="safe"), SafetyLabel(**given, label="unsafe")
    prints = {tokenize_records(rows, renderer, None).fingerprint for rows in ([safe], [unsafe], [safe, safe])}
    assert len(prints) == 3
