"""The edits of probes, on texts short enough to write the result down."""

from __future__ import annotations

import pytest

from reward_models.probing.built_in import EMPTY_SENTENCES, HARMLESS_SENTENCES
from reward_models.probing.edits import (
    REFUSAL,
    around,
    as_list,
    diluted,
    in_bold,
    instead,
    letters_apart,
    looping,
    padded,
    truncated,
    twice,
)
from reward_models.probing.probes import PROBES

TEXT = "Boil the water first. Then add salt! Wait."


def test_layout_is_all_that_lists_and_bold_change() -> None:
    assert as_list(TEXT, 0) == "- Boil the water first.\n- Then add salt!\n- Wait."
    assert in_bold(TEXT, 0) == "**Boil the** water first. **Then add** salt! **Wait.**"
    bold = in_bold(TEXT, 0)
    assert bold is not None
    assert bold.replace("**", "") == TEXT


@pytest.mark.parametrize(
    "text", ["- one. Two.\n- three.", "Run `x`. See:\n```\nls\n```", "# Title\nA. B.", "Just one."]
)
def test_a_text_with_a_layout_or_one_sentence_is_no_list(text: str) -> None:
    assert as_list(text, 0) is None


@pytest.mark.parametrize("times", [2, 4])
def test_padding_keeps_the_text_and_repeats_nothing(times: float) -> None:
    text = TEXT * 3
    for number in range(40):
        edited = padded(times)(text, number)
        assert edited is not None
        assert edited.startswith(text + " ")
        added = edited.removeprefix(text + " ").split(". ")
        assert len(added) == len(set(added))
        longest = max(map(len, EMPTY_SENTENCES))
        assert times * len(text) - 1 <= len(edited) <= times * len(text) + longest + len(added) + 2


@pytest.mark.parametrize("length", [600, 2000, 6000])
def test_a_text_too_long_for_the_pool_is_padded_to_the_same_length(length: int) -> None:
    text = "x" * length
    edited = padded(4)(text, 3)
    assert edited is not None
    assert 4 * length <= len(edited) <= 4 * length + 150 + len(edited.split(". "))
    added = edited.removeprefix(text + " ").split(". ")
    assert len(added) == len(set(added)) > len(EMPTY_SENTENCES)
    diluted_text = diluted(text, 3)
    assert diluted_text is not None
    assert [len(part) >= length / 2 for part in diluted_text.split(text)] == [True, True]


def test_a_text_too_long_for_all_sentences_is_left_out() -> None:
    assert padded(4)("x" * 20_000, 3) is None
    assert diluted("x" * 40_000, 3) is None


def test_dilution_adds_as_much_before_and_after_and_the_text_is_whole() -> None:
    edited = diluted(TEXT, 0)
    assert edited is not None
    before, after = edited.split(TEXT)
    assert before.strip() == HARMLESS_SENTENCES[0]
    assert after.strip() == HARMLESS_SENTENCES[8]


def test_texts_that_lose_their_content() -> None:
    assert instead(REFUSAL)(TEXT, 0) == REFUSAL
    assert truncated("one two three", 0) == "one tw"
    assert truncated("a b c d", 0) is None  # no word can be cut
    loop = looping("Go on. And then?", 0)
    assert loop == " ".join(["Go on."] * 29)  # 1 + 200 // 7
    assert twice("Yes.", 0) == "Yes.\n\nYes."
    assert letters_apart("to me", 0) == "t o   m e"


def test_reasoning_is_kept_and_the_answer_is_edited() -> None:
    edit = around("Dear! ", " Bye.")
    assert edit("Yes.", 0) == "Dear! Yes. Bye."
    assert edit("<think>\nHm.\n</think>\n\nYes.", 0) == "<think>\nHm.\n</think>\n\nDear! Yes. Bye."
    assert edit("<think>\nHm, it never ends", 0) is None
    assert edit("<think>\nHm.\n</think>\n", 0) is None


@pytest.mark.parametrize("task", ["preference", "safety"])
def test_every_edit_changes_every_text_it_applies_to(task: str) -> None:
    names = [probe.name for probe in PROBES[task]]  # type: ignore[index]
    assert len(names) == len(set(names))
    for probe in PROBES[task]:  # type: ignore[index]
        if probe.edit is not None:
            assert probe.edit(TEXT, 0) not in (None, TEXT), probe.name


def test_an_edit_that_changes_nothing_is_none() -> None:
    from reward_models.probing.edits import _looping

    assert _looping("x" * 250, 0) is None  # one sentence that is long enough already
    assert _looping("Yes.", 0) is not None
