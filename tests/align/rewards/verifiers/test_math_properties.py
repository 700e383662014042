"""Laws of mathematical answers: every way to write a number is that number and no other, and no text is two numbers."""

from __future__ import annotations

import contextlib
import re
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from align.rewards.verifiers.math_answer import read_answer, read_reference
from align.rewards.verifiers.math_compare import same
from align.rewards.verifiers.math_text import Unreadable
from align.rewards.verifiers.math_units import CARDINALS
from align.rewards.verifiers.math_words import number_in_words
from reward_models.data.synthetic import draws as synthetic

WHOLE = st.integers(-(10**7), 10**7)
FORMS = [
    "{n}",
    "{n}.0",
    "{n:,}",
    "{n:,}.00",
    "x = {n}",
    "{n} apples",
    r"{n}\text{{ cm}}",
    r"\text{{{n}}}",
    "${n}$",
    r"\({n}\)",
    "{{{n}}}",
    "**{n}**",
    "the answer is {n}",
    "答案是{n}",
    "{n}元",
    r"\mathbf{{{n}}}",
    "({n})",
    "\u200b{n}",
]
UNTIDY = [
    "or",
    "and",
    "not",
    "-",
    "+",
    "*",
    "/",
    "^",
    ",",
    ";",
    "=",
    "<",
    r"\le",
    r"\frac",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "%",
]
UNTIDY += [
    "7",
    "12",
    "3",
    "0",
    ".",
    " ",
    "x",
    "is",
    "maybe",
    "apples",
    r"\text",
    "$",
    r"\boxed",
    "\u200b",
    "\u202e",
    "no",
    ":",
]


def right(reference: str, answer: str) -> bool:
    try:
        return same(read_reference(reference), read_answer(answer, marked=True))
    except Unreadable:
        return False


@given(n=WHOLE, other=WHOLE, form=st.sampled_from(FORMS))
def test_a_whole_number_in_any_form_is_itself_alone(n: int, other: int, form: str) -> None:
    text = form.format(n=n)
    assert right(str(n), text)
    assert n == other or not right(str(other), text)


@given(over=st.integers(-500, 500), under=st.integers(2, 60))
def test_fractions(over: int, under: int) -> None:
    value = Fraction(over, under)
    forms = [
        f"{over}/{under}",
        rf"\frac{{{over}}}{{{under}}}",
        rf"\dfrac{{{3 * over}}}{{{3 * under}}}",
        f"{float(value):.12f}",
    ]
    for form in forms:
        if value.denominator != 1:
            assert right(str(value), form)
        assert not right(str(value + Fraction(1, 1000)), form)
    if value.denominator != 1 and value > 1:
        assert right(str(value), f"{int(value)} {value - int(value)}")


@given(n=st.integers(0, 999_999))
def test_numbers_in_words(n: int) -> None:
    assert number_in_words(in_words(n)) == n
    assert right(str(n), in_words(n))
    assert right(str(-n), f"minus {in_words(n)}")


def in_words(n: int) -> str:
    """English for a number below a million."""
    small = list(CARDINALS)[:20]
    tens = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
    if n < 20:
        return small[n]
    if n < 100:
        return tens[n // 10] + (f"-{small[n % 10]}" if n % 10 else "")
    if n < 1000:
        return f"{small[n // 100]} hundred" + (f" and {in_words(n % 100)}" if n % 100 else "")
    return f"{in_words(n // 1000)} thousand" + (f" {in_words(n % 1000)}" if n % 1000 else "")


@settings(max_examples=400)
@given(tokens=st.lists(st.sampled_from(UNTIDY), max_size=9))
def test_no_text_is_two_numbers(tokens: list[str]) -> None:
    for text in ("".join(tokens), " ".join(tokens)):
        assert sum(right(number, text) for number in ("7", "12", "3", "0")) <= 1


@settings(max_examples=300)
@given(text=st.text(max_size=80), marked=st.booleans())
def test_any_text_is_read_or_refused(text: str, marked: bool) -> None:
    with contextlib.suppress(Unreadable):
        str(read_answer(text, marked=marked))


def test_the_sum_of_a_questions_numbers_is_no_answer() -> None:
    """An answer that leaves the addition to the verifier was right on most of the built-in additions."""
    prompts = [prompt for prompt in synthetic.prompts("train", "reasoning", 400) if " + " in prompt.prompt[-1].content]
    assert len(prompts) > 20
    for prompt in prompts:
        numbers = re.findall(r"\d+", prompt.prompt[-1].content)
        total = str(sum(map(int, numbers)))
        assert right(total, total)
        assert not right(total, "+".join(numbers))
        assert not right(total, f"{' + '.join(numbers)} =")
