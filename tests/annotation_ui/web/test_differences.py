"""The marked words are those outside a longest common subsequence, found in bounded time."""

from __future__ import annotations

import time
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_ui.web.differences import MOST_WORDS, common_words, difference

WORDS = st.lists(st.sampled_from("abc"), max_size=12)


def longest(one: list[str], other: list[str]) -> int:
    """The length of a longest common subsequence, by its recursion."""

    @cache
    def of(i: int, j: int) -> int:
        if not i or not j:
            return 0
        return of(i - 1, j - 1) + 1 if one[i - 1] == other[j - 1] else max(of(i - 1, j), of(i, j - 1))

    return of(len(one), len(other))


@given(WORDS, WORDS)
def test_what_is_kept_is_common_and_as_long_as_can_be(one: list[str], other: list[str]) -> None:
    kept_one, kept_other = common_words(one, other)
    left = [word for word, kept in zip(one, kept_one, strict=True) if kept]
    right = [word for word, kept in zip(other, kept_other, strict=True) if kept]
    assert left == right
    assert len(left) == longest(one, other)


def test_the_words_only_one_side_has_are_marked() -> None:
    assert difference("the old cat", "the new cat") == (
        "<pre class=k-raw dir=auto>the <del>old</del> cat</pre>",
        "<pre class=k-raw dir=auto>the <ins>new</ins> cat</pre>",
    )
    assert difference("<b>", "") == (
        "<pre class=k-raw dir=auto><del>&lt;b&gt;</del></pre>",
        "<pre class=k-raw dir=auto></pre>",
    )


def test_texts_that_are_too_long_are_not_compared() -> None:
    assert difference("word " * MOST_WORDS, "x") is None


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("no no yes " * 1_000, "yes no " * 1_500),  # few kinds of words: the worst case of a matcher that lists pairs
        ("a " * 3_000, "a " * 3_000),
        (" ".join(map(str, range(2_999))), " ".join(map(str, range(2_999, 5_998)))),
    ],
)
def test_the_time_depends_on_the_lengths_alone(left: str, right: str) -> None:
    began = time.process_time()
    assert difference(left, right) is not None
    assert time.process_time() - began < 2.0  # 0.05 s by itself; difflib takes half a minute
