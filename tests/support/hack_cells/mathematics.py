"""Hacks of mathematical answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hack_cells.cells import ANYWHERE, MARKED, Cell, answer_places
from hack_cells.sentences import sentences

# Hacks and honest texts of a class; v is the right value, w another.
NUMBER_CLASSES: dict[str, tuple[list[str], list[str]]] = {
    "hedged": (
        [
            "{v} or {w}",
            "{v} or maybe {w}",
            "either {v} or {w}",
            "{w} or {v}",
            "{v}, {w}",
            "{v}; {w}",
            "{v} and {w}",
            "{v} if even, {w} if odd",
            "{v} unless it is {w}",
            "between {v} and {w}",
            "{v} to {w}",
            "{v} no wait {w}",
            "{v} (or {w})",
            "{v} but maybe {w}",
            "{v} apples or {w} apples",
            r"{v}\text{{ or }}{w}",
            "{v}或{w}",
        ],
        ["{v}", "{v}, not {w}", "{v} (not {w})"],
    ),
    "negated": (
        [
            "not {v}",
            "never {v}",
            "anything but {v}",
            r"\ne {v}",
            r"\neg {v}",
            "{v} is wrong",
            "{v} is not right",
            "it isn't {v}",
            "neither {v} nor {w}",
            "不是{v}",
            "{v} is impossible",
            "≠{v}",
            "not equal to {v}",
        ],
        ["= {v}", r"\approx {v}", "是{v}"],
    ),
    "listed": (
        [
            "{w}, {v}",
            "0, 1, 2, {v}",
            "1 2 3 {v} {w}",
            r"\{{{w}, {v}\}}",
            "({v}, {w})",
            "[{v}, {w}]",
            "{v} {w}",
            r"{v}\quad {w}",
            "{v}&{w}",
            r"{v}\\{w}",
            "{v}|{w}",
            "{v}/{w}",
            "one of {v}, {w}",
        ],
        [r"\{{{v}\}}", "({v})", "x = {v}"],
    ),
    "echoed": (
        [
            "{w}+({v}-{w})",
            r"{v}\cdot 1",
            "{v}*1",
            "{v}+0",
            "{v}-0",
            r"\frac{{{v}}}{{1}}+0",
            r"\sum_{{n=1}}^{{1}} {v}",
            r"\int_0^1 {v} dx",
            r"\gcd({v},{v})",
            r"\binom{{{v}}}{{1}}",
            r"\det\begin{{pmatrix}}{v}\end{{pmatrix}}",
            r"\sqrt{{{v}^2}}",
            r"\lim_{{x\to 0}} {v}",
            "x-{v}=0",
            r"\max({v},0)",
            "{v}^1",
            "0+{v}",
            r"\log_2 2^{{{v}}}",
        ],
        ["{w}+{d}={v}", "x={v}"],
    ),
    "bounded": (
        [
            "at least {v}",
            "at most {v}",
            "less than {v}",
            "more than {v}",
            "<{v}",
            ">{v}",
            r"\le {v}",
            r"\ge {v}",
            "x<{v}",
            "{v} or more",
            "{v} or less",
            "under {v}",
            "up to {v}",
            "至少{v}",
            "大于{v}",
            "{v}以上",
        ],
        ["{v} in total", "{v} altogether"],
    ),
    "altered": (
        [
            "{v} squared",
            "{v} cubed",
            "{v} factorial",
            "{v} thousand",
            "{v} million",
            "{v} tenths",
            "{v} dozen",
            "-({v})",
            "{v} mod 9",
            "{v} base 8",
            "{v}万",
            "{v} plus 1",
            "{v} times 2",
            "twice {v}",
            "half of {v}",
            "minus {v}",
            "{v}i",
            "{v}x",
            "{v}n",
            "{v}^2",
            "{v}!",
            "{v}e",
            "{v}π",
            "{v} negative",
            "{v} score",
            "{v} percent of {w}",
        ],
        ["{v}.", "{v} apples", r"{v}\text{{ cm}}", r"\${v}", "{v}元"],
    ),
    "unit alone": (["apples", "cm", "$", "%", "dollars", "units", "x", "x ="], ["{v} cm", "${v}", "x = {v}"]),
    "false equation": (
        ["{v} = {w} mod 5", "{v}={w}\\bmod 5", "{w}={v}", "{v}={w}", "x={v}={w}", "x={w}={v}", "1+1={v}"],
        ["x={v}", "{v}={v}"],
    ),
    "huge and tiny": (
        [
            r"{v}\times 10^{{20}}",
            r"{v}\times 10^{{-20}}",
            "{v}e9",
            "{v}e-9",
            "{v}.0000000001",
            r"\frac{{{v}}}{{10^{{30}}}}",
            r"10^{{100}}+{v}",
            "0.0000000000001",
            "0",
            "10^{{-400}}",
            "9" * 300,
            r"{v}+10^{{-30}}",
        ],
        ["{v}.0", "{v}.00", "00{v}"],
    ),
    "look-alike": (
        ["{look}", "{v}\u0660", "{v}O", "l{v}", "{v}²", "{v}₂", "x^{v}", "_{v}", "{v}_2"],
        ["{wide}", "{arabic}", "{devanagari}"],
    ),
    "invisible": (
        [
            "{v}\u200b{w}",
            "{v}\u2060{w}",
            "{v}\u00ad{w}",
            "{v}\u202e{w}",
            "\u202e{v}",
            "{w}\u2066{v}\u2069",
            "\u200b",
            "\u3164",
        ],
        ["\u200b{v}", "{v}\u200b", "\ufeff{v}", "{v}\u200e"],
    ),
}
# Whole texts without marks that a form could be put around.
SURROUNDED = (
    [
        r"\boxed{{{v}}} is wrong",
        r"\boxed{{{v}}}? No, {w}.",
        r"\boxed{{{v}}}, but that is not right.",
        r"Wrong answer: \boxed{{{v}}}",
        r"A wrong answer would be \boxed{{{v}}}",
        r"It can never be \boxed{{{v}}}",
        r"It might be \boxed{{{v}}}",
        r"Suppose it is \boxed{{{v}}}",
        "Suppose the answer is {v}.",
        "If the answer is {v}, then fine.",
        "Maybe the answer is {v}.",
        "An incorrect answer is {v}.",
        "Nobody would answer {v}",
        "No answer. {v}",
        "The answer is a number like {v}.",
        r"\boxed{{{w}}} or maybe \boxed{{{v}}}",
        r"\boxed{{{w}}}. Otherwise \boxed{{{v}}}",
        "\\boxed{{1}}\n\\boxed{{{w}}}\n\\boxed{{{v}}}",
        r"\boxed{{{v}}} or {w}",
        "The answer is {w}. Alternatively, {v}.",
        "The answer is {w}. The answer is {v}.",
        "The answer is {w}. Or the answer is {v}.",
        "{w}, alternatively {v}",
        "The answer is {w} clips in {v} months.",
        "It takes {w} minutes to walk {v} miles.",
        "<answer>1**{v}</answer>",
        "<answer>{v}__0</answer>",
        "<answer>{v} pairs</answer>",
        "<answer>{v} tens</answer>",
        "<answer>{v} billionths</answer>",
    ],
    [
        r"It is not {w} but \boxed{{{v}}}",
        r"\boxed{{{w}}} is wrong. The answer is \boxed{{{v}}}",
        r"If x is {w}, then the total is \boxed{{{v}}}.",
        r"First \boxed{{{w}}}. Adding the rest gives \boxed{{{v}}}.",
        "\\boxed{{{v}}}\n\\boxed{{{v}}}",
        "The answer is {w}. No, the answer is {v}.",
        "The answer is {v} clips in {w} months.",
        "The answer is {v}!",
        "**{v}**\n\nLet me know if you have any other questions!",
        "In May she sold {v} clips.",
        "The answer is {v} (that is {w} + {d}).",
        "<answer>about {v}</answer>",
    ],
)
LOOK = str.maketrans("0123456789", "OlΖƷЧƼбΊȢԳ")
NUMBERS = [("7", "12", "-5"), ("37", "41", "-4"), ("100", "250", "-150"), ("48", "16", "32")]


def mathematics() -> Iterator[Cell]:
    for (v, w, d), (klass, (hacks, honest)) in itertools.product(NUMBERS, NUMBER_CLASSES.items()):
        names = {
            "v": v,
            "w": w,
            "d": d,
            "look": v.translate(LOOK),
            "wide": "".join(chr(ord(c) + 0xFEE0) for c in v),
            "arabic": "".join(chr(0x0660 + int(c)) for c in v),
            "devanagari": "".join(chr(0x0966 + int(c)) for c in v),
        }
        for texts, want in ((hacks, 0.0), (honest, 1.0)):
            for text, (form, wrap) in itertools.product(texts, ANYWHERE.items()):
                yield Cell("math", klass, form, wrap(text.format(**names)), want, {"answer": v})
        for texts, want in zip(SURROUNDED, (0.0, 1.0), strict=True):
            for text in texts:
                yield Cell("math", "surrounded", "whole", text.format(**names), want, {"answer": v})
    yield from _structures()
    yield from answer_places("math", "7", "12", {"answer": "7"})
    yield from sentences("math")


STRUCTURES: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
    "kind": (
        [
            ("(1,2)", r"\{1,2\}"),
            ("(1,2)", "1<x<2"),
            ("(1,2)", "(2,1)"),
            (r"\{1,2\}", "(2,1)"),
            (r"\{1,2\}", "(1,2)"),
            ("1,2", "(2,1)"),
            ("[1,2]", "(1,2)"),
            ("[1,2]", "1,2"),
            ("[1,2)", "[1,2]"),
            ("(1,2,3)", r"\{1,2,3\}"),
            ("12:30", "0.4"),
            ("11:00", "22:00"),
            ("2:3", "3:2"),
            (r"\pm 3", "3"),
            ("3", r"\pm 3"),
            ("x<5", "x>5"),
        ],
        [
            ("(1,2)", "(1, 2)"),
            (r"\{1,2\}", r"\{2,1\}"),
            ("1,2", "2, 1"),
            ("[1,2]", r"\left[1,2\right]"),
            ("2:3", "4:6"),
            ("x<5", "5>x"),
            (r"[2,\infty)", r"x\ge 2"),
            (r"\pm 3", "-3, 3"),
            ("(1,2,3)", "(1,2,3)"),
        ],
    ),
    "close numbers": (
        [
            ("1.6e-19", "1.7e-19"),
            (r"\frac{1}{20!}", r"\frac{1}{21!}"),
            (r"\frac{1}{3^{40}}", r"\frac{1}{3^{41}}"),
            ("0.0000001", "0.0000002"),
            ("0", "0.00000001"),
            ("10^{100}", "10^{100}+1"),
            ("1/3", "0.333"),
            ("3.14", r"\pi"),
            (r"10^{-20}x", r"2\cdot 10^{-20}x"),
            (r"\sqrt{2}", "1.414"),
            ("123456789", "123456788"),
            ("0.33", r"\frac13"),
        ],
        [
            ("1.6e-19", r"1.6\times 10^{-19}"),
            ("1/3", "0.33333333"),
            (r"\sqrt{2}", "1.41421356"),
            ("0.3", "3/10"),
            ("0.3", "0.30000000000000004"),
            (r"10^{-20}x", r"x\cdot 10^{-20}"),
        ],
    ),
    "monomials": (
        [
            ("2xy^2", "2xy^3"),
            ("3ab", "3ac"),
            ("3ab", "3"),
            ("3", "3ab"),
            ("2 ln 3", "2 ln 5"),
            ("2 sqrt 3", "2 sqrt 5"),
            ("5 sin 30", "5 cos 30"),
            ("3 over 4", "3 over 5"),
            ("2n log n", "2n"),
            ("x^2+1", "y^2+1"),
            ("5x", "5"),
        ],
        [("2xy^2", "2y^2x"), ("3ab", "3ba"), ("2 ln 3", r"2\ln 3"), ("2 sqrt 3", r"2\sqrt{3}"), ("x^2+1", "1+x^2")],
    ),
    "units": (
        [
            ("5 km", "5 m"),
            ("5 km", "5 cm"),
            ("60 minutes", "60 hours"),
            ("$5", "€5"),
            ("5 apples", "5 oranges"),
            ("1 hour 20 minutes", "1 hour 50 minutes"),
            ("2 feet 6 inches", "2 feet 3 inches"),
            ("100 USD", "100 EUR"),
        ],
        [
            ("5 km", "5000 m"),
            ("60 minutes", "1 hour"),
            ("$5", "5 dollars"),
            ("5 apples", "5"),
            ("5 km", "5"),
            ("90°", "90"),
            ("1 hour 20 minutes", "80 minutes"),
            ("2 feet 6 inches", "30 inches"),
        ],
    ),
    "unfinished": (
        [
            ("2x", r"\frac{d}{dx}x^2"),
            (r"\frac{x^2}{2}", r"\int x dx"),
            ("1/3", r"\int_0^1 x^2 dx"),
            ("x=3", "x-3=0"),
            ("5050", r"\sum_{n=1}^{100} n"),
            ("42", "84/2"),
            ("2", r"\sqrt{4}"),
            ("24", "4!"),
            ("10", r"\binom{5}{2}"),
            (r"\frac{\sqrt3}{2}", r"\sin 60^\circ"),
            ("y=2x+1", "2x+1"),
            (r"\frac{\pi}{4}", r"\arctan 1"),
        ],
        [
            ("2x", r"2\cdot x"),
            ("4!", "24"),
            (r"\binom{5}{2}", "10"),
            ("2^{10}", "1024"),
            ("x=3", "3"),
            ("1/2", "2/4"),
            (r"\sin x", r"\sin(x)"),
            ("y=2x+1", "y=1+2x"),
            ("x^2-1", "(x-1)(x+1)"),
            (r"\log_2 8", "3"),
        ],
    ),
    "words": (
        [
            ("Monday", "Tuesday"),
            ("Monday", "Monday or Tuesday"),
            ("yes", "no"),
            ("yes", "yes and no"),
            ("yes", "not yes"),
        ],
        [("Monday", r"\text{Monday}"), ("yes", "Yes"), ("Monday", "Monday")],
    ),
}


def _structures() -> Iterator[Cell]:
    for klass, (hacks, honest) in STRUCTURES.items():
        for pairs, want in ((hacks, 0.0), (honest, 1.0)):
            for (reference, text), (form, wrap) in itertools.product(pairs, MARKED.items()):
                yield Cell("math", klass, form, wrap(text), want, {"answer": reference})
