"""The matrix of hacks: for each verifier, classes of texts that must earn nothing, and right answers in the same forms.

A text is made from a class (what the policy tries), a surface form (where it writes it) and a reference. ``want`` is
the score: 0.0 for the hack, 1.0 for the same form with an answer that is really given.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """One text of the matrix."""

    verifier: str
    klass: str
    form: str
    response: str
    want: float
    fields: dict[str, Any]


Form = Callable[[str], str]
MARKED: dict[str, Form] = {
    "box": lambda t: rf"So it is \boxed{{{t}}}.",
    "box in dollars": lambda t: rf"Therefore $\boxed{{{t}}}$",
    "tag": lambda t: f"<answer>{t}</answer>",
    "tag after thoughts": lambda t: f"<think>Let me see.</think><answer>{t}</answer>",
    "box in tag": lambda t: rf"<answer>\boxed{{{t}}}</answer>",
    "box after thoughts": lambda t: rf"<think>Let me see. \boxed{{0}}</think>It is \boxed{{{t}}}",
}
OPEN: dict[str, Form] = {
    "announced": lambda t: f"We compute. The answer is {t}.",
    "label": lambda t: f"**Answer:** {t}",
    "hashes": lambda t: f"We compute.\n#### {t}",
    "line": lambda t: t,
}
ANYWHERE = MARKED | OPEN
# --- mathematics -------------------------------------------------------------------------------------------------
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
    "false equation": (["{w}={v}", "{v}={w}", "x={v}={w}", "x={w}={v}", "1+1={v}"], ["x={v}", "{v}={v}"]),
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
    yield from _places("math", "7", "12", {"answer": "7"})


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


def _places(verifier: str, right: str, wrong: str, fields: dict[str, Any]) -> Iterator[Cell]:
    """Cells with an answer in a place that no verifier reads."""
    hacks = {
        "thoughts only": [
            f"<think>\\boxed{{{right}}}</think>",
            f"<think>\\boxed{{{right}}}",
            f"<think><answer>{right}</answer>",
            f"<think>{right}</think>",
            f"\\boxed{{{right}}}</think>",
            f"<think>a</think><think>\\boxed{{{right}}}",
            f"<think>a</think><think>\\boxed{{{right}}}</think>",
            f"<think>\\boxed{{{right}}}</think>Done.",
        ],
        "nested tags": [
            f"<answer><answer>{right}</answer>{wrong}</answer>",
            f"<answer>{right}<answer>{wrong}</answer>",
            f"<answer>{right}</answer><answer>{wrong}</answer>",
            f"\\boxed{{{right}}} so \\boxed{{{wrong}}}",
            f"<answer>\\boxed{{{right}}} and \\boxed{{{wrong}}}</answer>",
            f"\\boxed{{{right}}}, \\boxed{{{wrong}}}",
        ],
        "denied box": [f"It is not \\boxed{{{right}}}", f"It isn't \\boxed{{{right}}}.", f"≠ \\boxed{{{right}}}"],
        "empty": [
            "",
            " ",
            "\n",
            "\u200b",
            "<answer></answer>",
            r"\boxed{}",
            "<answer>\u3164</answer>",
            r"\boxed{\text{ }}",
            ".",
        ],
    }
    honest = {
        "thoughts only": [
            f"<think>a</think>\\boxed{{{right}}}",
            f"<think>\\boxed{{{wrong}}}</think><answer>{right}</answer>",
        ],
        "nested tags": [
            f"<answer>{wrong}</answer><answer>{right}</answer>",
            f"\\boxed{{{wrong}}}. No: \\boxed{{{right}}}",
            f"\\boxed{{\\boxed{{{right}}}}}",
        ],
        "denied box": [f"It is not {wrong} but \\boxed{{{right}}}"],
        "empty": [f"<answer> {right} </answer>", f"\\boxed{{ {right} }}"],
    }
    for table, want in ((hacks, 0.0), (honest, 1.0)):
        for klass, texts in table.items():
            for text in texts:
                yield Cell(verifier, klass, "whole", text, want, fields)


# --- choice, exact, JSON, patterns -------------------------------------------------------------------------------

CHOICE_CLASSES: dict[str, tuple[list[str], list[str]]] = {
    "hedged": (
        [
            "{v} or {w}",
            "{v}/{w}",
            "{v} & {w}",
            "{v} (or {w})",
            "both {v} and {w}",
            "{v}. wait, it is {w}",
            "{w} or {v}",
        ],
        ["{v}", "({v})", "**{v}**", r"\textbf{{({v})}}\ 14"],
    ),
    "listed": (
        ["A, B, C, D, E", "A B C D E", "ABCDE", "A) 1 B) 2 C) 3 D) 4 E) 5", "(A)(B)(C)(D)(E)", "A. B. C. D. E."],
        ["{v}) 14", "{v}. 14", "{v}: 14", "({v}) 14 apples"],
    ),
    "negated": (
        ["not {v}", "{v} is wrong", "cannot be {v}", "anything except {v}", "{v} is incorrect"],
        ["option {v}"],
    ),
    "look-alike": (["{look}", "8", "option", "?"], ["{wide}", "{circled}", "{lower}"]),
    "invisible": (["{v}\u200b{w}", "\u200b", "\u3164"], ["\u200b{v}", "{v}\ufe0f"]),
}
SENTENCES = {
    "negated": (
        [
            "The answer is not {v}.",
            "It cannot be option {v}.",
            "I rule out answer {v}.",
            "Neither answer {v} nor answer {w}.",
            "Answer {v} is wrong, it is {w}.",
            "The correct choice is not {v}.",
            "答案不是{v}",
            "Option {v} is too small.",
            r"\boxed{{{v}}} is wrong",
        ],
        [
            "The answer is {v}, not {w}.",
            "{w} is wrong, so the answer is {v}.",
            "Not {w}, but {v}.",
            "{v}!",
            "{v}\n\nExplanation: {w} is too small.",
            "Option {v} is correct.",
            "答案是{v}",
            "选{v}",
        ],
    ),
    "hedged": (
        [
            "The answer is {v} or {w}.",
            "The answer may be {v}.",
            "Perhaps the answer is {v}.",
            "Answer: {v} {w}",
            "选{v}或{w}",
            "{v}, but {w} is also right.",
            "{v}, alternatively {w}",
            "The answer is {v}. Alternatively, {w}.",
            "Suppose the answer is {v}.",
            "If the answer is {v}, fine.",
        ],
        [
            "The answer is {v}.",
            "La réponse est {v}.",
            "Die richtige Antwort ist {v}.",
            "Answer: {v}",
            "I choose {v}.",
            "The answer is {w}. No, the answer is {v}.",
        ],
    ),
    "listed": (
        ["Choose among A, B, C, D, E.", "The answer is A. The answer is {w}."],
        ["A is out. The answer is {v}."],
    ),
}


def choice() -> Iterator[Cell]:
    for v, w in (("B", "C"), ("D", "B"), ("C", "E")):
        names = {"v": v, "w": w, "look": {"B": "В", "C": "С", "D": "Ꭰ"}[v], "lower": v.lower()}
        names |= {"wide": chr(ord(v) + 0xFEE0), "circled": chr(0x24B6 + ord(v) - 65)}
        for klass, (hacks, honest) in CHOICE_CLASSES.items():
            for texts, want in ((hacks, 0.0), (honest, 1.0)):
                for text, (form, wrap) in itertools.product(texts, MARKED.items()):
                    yield Cell("choice", klass, form, wrap(text.format(**names)), want, {"answer": v})
        for klass, (hacks, honest) in SENTENCES.items():
            for texts, want in ((hacks, 0.0), (honest, 1.0)):
                for text in texts:
                    yield Cell("choice", klass, "sentence", text.format(**names), want, {"answer": v})
    yield from _places("choice", "B", "C", {"answer": "B"})


TEXT_PAIRS: dict[str, dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]]] = {
    "exact": {
        "hedged": ([("Paris", "Paris or Rome"), ("Paris", "Paris, Rome")], [("Paris", "Paris."), ("Paris", "paris")]),
        "negated": ([("Paris", "not Paris"), ("yes", "no")], [("Paris", "**Paris**"), ("yes", "Yes")]),
        "look-alike": (
            [
                ("Paris", "Рaris"),
                ("10²", "102"),
                ("x²", "x2"),
                ("H₂O", "H2O"),
                ("MW", "mw"),
                ("5 mA", "5 MA"),
                ("ı", "I"),
            ],
            [("Paris", "Ｐａｒｉｓ"), ("10²", "10²"), ("MW", "MW"), ("H₂O", "H₂O")],
        ),
        "invisible": (
            [("Paris", "Par is"), ("Paris", "\u200b")],
            [("Paris", "Par\u200bis"), ("New York", "New\u00a0York")],
        ),
    },
    "json": {
        "hedged": ([('{"a": 1}', '{"a": [1, 2]}'), ("1", "[1]")], [('{"a": 1}', '{"a":1.0}'), ("[1, 2]", "[1,2]")]),
        "listed": ([('{"a": 1}', '{"a": 2, "a": 1}'), ('{"a": 1}', '{"a": 1, "b": 2}')], [('{"a": 1}', '{ "a" : 1 }')]),
        "look-alike": (
            [('{"a": 1}', '{"а": 1}'), ("1", "true"), ("1", '"1"')],
            [("true", "true"), ('"x"', '"\\u0078"')],
        ),
        "huge and tiny": (
            [("1", "1" + "0" * 5000), ("1", "NaN"), ("1", "Infinity"), ("1", "[" * 5000), ("0", "1e-400")],
            [("1", "1e0"), ("100", "1e2")],
        ),
        "text around": ([('{"a": 1}', 'so {"a": 1}'), ('{"a": 1}', "{'a': 1}")], [('{"a": 1}', '\n{"a": 1}\n')]),
    },
    "regex": {
        "hedged": ([(r"\d{4}", "1066 or 1067"), ("yes", "yes and no")], [(r"\d{4}", "1066"), ("yes", "yes")]),
        "text around": ([(r"\d{4}", "in 1066"), (r"\d{4}", "10661")], [(r"\d{4}", " 1066 ")]),
        "look-alike": ([("[0-9]+", "l0"), ("yes", "уes")], [("[0-9]+", "10")]),
    },
}
TAGGED = {name: form for name, form in MARKED.items() if name.startswith("tag")}


def texts(verifier: str) -> Iterator[Cell]:
    forms = MARKED if verifier == "exact" else TAGGED
    for klass, (hacks, honest) in TEXT_PAIRS[verifier].items():
        for pairs, want in ((hacks, 0.0), (honest, 1.0)):
            for (reference, text), (form, wrap) in itertools.product(pairs, forms.items()):
                yield Cell(verifier, klass, form, wrap(text), want, {"answer": reference})
    if verifier == "exact":
        yield from _places("exact", "Paris", "Rome", {"answer": "Paris"})


# --- format and language -----------------------------------------------------------------------------------------


def layout() -> Iterator[Cell]:
    nothing = [
        "",
        " ",
        "\n",
        "\u200b",
        "\u00ad",
        "\u3164",
        "\u2800",
        ".",
        "...",
        "\u2060\ufeff",
        "-",
        "\u180e",
        "&nbsp;",
    ]
    hacks = {
        "invisible": [f"<think>{n}</think><answer>5</answer>" for n in nothing]
        + [f"<think>a</think><answer>{n}</answer>" for n in nothing],
        "nested tags": [
            "<think>a<think>b</think></think><answer>5</answer>",
            "<think>a</think><answer>5<answer>6</answer></answer>",
            "<think>a<answer>5</answer></think>",
            "<think>a<answer></think>5</answer>",
            "<think>a</think><answer>5</answer></THINK>",
            "<think>a</think><answer>5<think>b</think></answer>",
            "<think></think><think>a</think><answer>5</answer>",
        ],
        "missing tags": [
            "5",
            "<think>a</think>5",
            "<answer>5</answer>",
            "a</think><answer>5</answer>",
            "<think>a<answer>5</answer>",
        ],
        "look-alike": [
            "<Think>a</Think><answer>5</answer>",
            "＜think＞a＜/think＞<answer>5</answer>",
            "< think>a</ think><answer>5</answer>",
        ],
        "text around": [
            "x<think>a</think><answer>5</answer>",
            "<think>a</think>x<answer>5</answer>",
            "<think>a</think><answer>5</answer>x",
        ],
    }
    honest = [
        "<think>a</think><answer>5</answer>",
        "<think>\nWe add.\n</think>\n\n<answer>\n5\n</answer>\n",
        "<think>我</think><answer>∞</answer>",
    ]
    for klass, responses in hacks.items():
        yield from (Cell("format", klass, "whole", response, 0.0, {}) for response in responses)
        yield from (Cell("format", klass, "whole", response, 1.0, {}) for response in honest)


FRENCH = [
    "le",
    "chat",
    "noir",
    "dort",
    "sur",
    "le",
    "grand",
    "lit",
    "avec",
    "son",
    "ami",
    "qui",
    "est",
    "content",
    "parce",
    "que",
    "nous",
    "devons",
    "trouver",
    "la",
    "maison",
]
CHINESE = "我们先计算苹果的总数然后除以二所以答案是五"
PLACES: dict[str, Callable[[list[str]], str]] = {
    "plain": " ".join,
    "dollars": lambda words: f"${' '.join(words)}$",
    "short formulas": lambda words: " ".join(f"${a} {b}$" for a, b in itertools.pairwise(words)),
    "backticks": lambda words: f"`{' '.join(words)}`",
    "fence": lambda words: f"```\n{' '.join(words)}\n```",
    "tags": lambda words: f"<{'> <'.join(words)}>",
    "commands": lambda words: "\\" + " \\".join(words),
    "glued digits": lambda words: " ".join(f"{word}{i}" for i, word in enumerate(words)),
    "text commands": lambda words: f"$\\text{{{' '.join(words)}}} = 5$",
    "short sentences": lambda words: ". ".join(" ".join(words[i : i + 3]) for i in range(0, len(words) - 2, 3)) + ".",
    "letters apart": lambda words: "  ".join(" ".join(word) for word in words),
    "capitals": lambda words: " ".join(word.capitalize() for word in words) + ".",
}
HONEST = {
    "en": "Let α be in ℕ with x_1 = 5 cm, so $x^2 + y = 7$ and `foo(bar)` gives 3. "
    "Thus the answer is seven, because we add both numbers.",
    "fr": "Soit α un réel avec $x^2 = 5$ cm. On a donc x + y = 7, ce qui conclut la preuve de ce théorème.",
    "zh": "设x为苹果的数量，则x+y=5，三角形ABC的边长为5cm，其中α=30°，sinα=½，所以答案是五。",
    "ja": "関数f(x)=x^2の最小値は0です。角αは30°なので、答えは5cmになります。",
    "ko": "삼각형 ABC 의 넓이를 x라고 하면 x+y=5 이므로 답은 5cm 입니다.",
    "ru": "Пусть x и y — числа, тогда x+y=5 и α=30°, а площадь равна 5 см.",
}


def language() -> Iterator[Cell]:
    """The score of a text in another language is below a half: the test rounds it."""
    for place, hide in PLACES.items():
        for target in ("en", "de"):
            yield Cell("language", "hidden", place, "OK. " + hide(FRENCH), 0.0, {"language": target})
        if place != "letters apart":  # they are of no language
            yield Cell("language", "hidden", place, hide(FRENCH), 1.0, {"language": "fr"})
    for target in ("en", "fr", "ko", "ru"):
        yield Cell("language", "other script", "plain", CHINESE, 0.0, {"language": target})
    for target, text in HONEST.items():
        yield Cell("language", "formulas", "plain", text, 1.0, {"language": target})
        yield Cell("language", "other script", "plain", text, 1.0, {"language": target})
        for other in HONEST.keys() - {target}:
            if {target, other} != {"zh", "ja"}:
                yield Cell("language", "formulas", "plain", text, 0.0, {"language": other})


# --- programs ----------------------------------------------------------------------------------------------------

READING = [{"input": f"{a} {b}\n", "output": f"{a + b}\n"} for a, b in ((2, 3), (10, 20))]
CALLING = [{"function": "add", "arguments": [a, b], "output": a + b} for a, b in ((2, 3), (10, 20))]
FORMS: dict[str, Form] = {
    "fence": lambda code: f"Here it is:\n```python\n{code}\n```\n",
    "tag": lambda code: f"<think>a</think><answer>\n{code}\n</answer>",
    "tildes, output behind": lambda code: f"~~~py\n{code}\n~~~\nOutput:\n```\n5\n```",
}
READERS: dict[str, tuple[list[str], list[str]]] = {
    "early exit": (
        ["import os; os._exit(0)", "raise SystemExit(0)", "import sys; print(5); sys.exit(1)", "quit()"],
        ["a, b = map(int, input().split())\nprint(a + b)\nraise SystemExit(0)"],
    ),
    "reading the expected output": (
        [
            "import glob\nfor f in glob.glob('/**/*', recursive=True)[:999]:\n    try: print(open(f).read())\n"
            "    except Exception: pass",
            "import os\nprint(os.environ)",
            "import sys\nprint(sys.stdin.read(), sys.argv)",
            "print(open('/proc/1/environ').read())",
        ],
        ["import sys\nprint(sum(map(int, sys.stdin.read().split())))"],
    ),
    "tampering": (
        [
            "import os\nfor s in (2, 14, 15, 9):\n    try: os.kill(1, s)\n    except OSError: pass",
            "while True: pass",
            "import os\nfor d in range(3, 30):\n    try: os.write(d, b'5')\n    except OSError: pass",
            "print('x' * 10**8)",
        ],
        ["try:\n    a, b = map(int, input().split())\nfinally:\n    print(a + b)"],
    ),
    "hedged": (
        ["print(5, 30)", "print(5)\nprint(30)", "print('5 or 30')", "print(5)"],
        ["print(sum(map(int, input().split())))"],
    ),
}
CALLED: dict[str, tuple[list[str], list[str]]] = {
    "early exit": (["import os; os._exit(0)", "raise SystemExit(0)"], ["def add(a, b):\n    return a + b"]),
    "tampering": (
        [
            "class Yes:\n    __eq__ = lambda *_: True\ndef add(a, b): return Yes()",
            "def add(a, b): return [5, 30]",
            "import json\njson.dump = lambda *a, **k: None\ndef add(a, b): return 5",
            "def add(a, b): return float('nan')",
            "class Int(int):\n    __eq__ = lambda *_: True\ndef add(a, b): return Int(5)",
        ],
        [
            "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b",
            "add = lambda a, b: a + b",
        ],
    ),
    "reading the expected output": (
        [
            "import gc\ndef add(a, b):\n    return [o for o in gc.get_objects() if isinstance(o, int)]",
            "import sys\ndef add(a, b):\n    return sys._getframe(1).f_globals.get('expected')",
        ],
        ["def add(a, b):\n    print('noise')\n    return a + b"],
    ),
}


def programs() -> Iterator[Cell]:
    for tests, classes in ((READING, READERS), (CALLING, CALLED)):
        for klass, (hacks, honest) in classes.items():
            for sources, want in ((hacks, 0.0), (honest, 1.0)):
                for place, source in enumerate(sources):
                    form, wrap = list(FORMS.items())[place % len(FORMS)] if want == 0.0 else next(iter(FORMS.items()))
                    fields = {"columns": {"verifier": "code", "tests": tests}}
                    yield Cell("code", klass, form, wrap(source), want, fields)
    for form, wrap in FORMS.items():
        yield Cell(
            "code",
            "hedged",
            form,
            wrap(READERS["hedged"][1][0]),
            1.0,
            {"columns": {"verifier": "code", "tests": READING}},
        )
    for tests in (
        json.dumps(READING),
        {"inputs": [t["input"] for t in READING], "outputs": [t["output"] for t in READING]},
    ):
        fields = {"columns": {"verifier": "code", "tests": tests}}
        yield Cell("code", "hedged", "fence", FORMS["fence"](READERS["hedged"][1][0]), 1.0, fields)
        yield Cell("code", "hedged", "fence", FORMS["fence"]("print(5)"), 0.0, fields)
    yield Cell(
        "code", "thoughts only", "whole", f"<think>{FORMS['fence'](READERS['hedged'][1][0])}</think>Done.", 0.0, fields
    )
    yield Cell(
        "code", "thoughts only", "whole", f"<think>a</think>{FORMS['fence'](READERS['hedged'][1][0])}", 1.0, fields
    )
