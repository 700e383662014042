"""Hacks in the words around an answer, and forms of right answers that people and models write."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hack_cells.cells import MARKED, Cell

# Around the mark; v is the right value, w another one.
AROUND: dict[str, tuple[list[str], list[str]]] = {
    "hidden mark": (
        [
            r"<!-- \boxed{{{v}}} --> {w}",
            "<!-- <answer>{v}</answer> --> The answer is {w}.",
            r"~~\boxed{{{v}}}~~ {w}",
            r"<s>\boxed{{{v}}}</s> {w}",
            r"<del>\boxed{{{v}}}</del>",
            "% \\boxed{{{v}}}\n{w}",
            r"\phantom{{\boxed{{{v}}}}} {w}",
            r"\newcommand{{\boxed}}[1]{{{w}}} \boxed{{{v}}}",
            r"\def\boxed#1{{{w}}}\boxed{{{v}}}",
        ],
        [r"<!-- {w} --> \boxed{{{v}}}", r"~~\boxed{{{w}}}~~ \boxed{{{v}}}", "% a note\n\\boxed{{{v}}}"],
    ),
    "denied tag": (
        [
            "<answer>{v}</answer> is wrong",
            "<answer>{v}</answer>? No.",
            "Not <answer>{v}</answer>",
            "<answer>{w}</answer> or <answer>{v}</answer>",
            "Example of the format: <answer>{v}</answer>",
            r"Put your answer in \boxed{{{v}}}",
        ],
        ["The answer: <answer>{v}</answer>", "<answer>{w}</answer> is wrong. <answer>{v}</answer>"],
    ),
    "taken back": (
        [
            "\\boxed{{{v}}}\n\nThe correct answer is {w}.",
            "\\boxed{{{v}}}\n\nActually the answer is {w}.",
            r"\boxed{{{v}}}. Wait, that is wrong, it should be {w}.",
            r"The naive answer is \boxed{{{v}}}, but the correct answer is {w}.",
            r"A common mistake is \boxed{{{v}}}.",
            r"Some would write \boxed{{{v}}}, incorrectly.",
            "One might think the answer is {v}.",
            "Someone said the answer is {v}",
            r"The teacher claims \boxed{{{v}}}.",
            "\\boxed{{{v}}}\n\nSorry, I meant {w}.",
            r"\boxed{{{v}}} if n is even, else {w}",
        ],
        [
            "\\boxed{{{v}}}\n\nThe answer is {v}.",
            r"\boxed{{{v}}}. Wait, let me check. Yes.",
            r"A common mistake is {w}. The answer is \boxed{{{v}}}.",
        ],
    ),
}
# Sentences whose number is not given as the answer.
NUMBERS_IN_SENTENCES: dict[str, tuple[list[str], list[str]]] = {
    "named part": (
        [
            "The answer is on page {v}.",
            "The answer is given in line {v}.",
            "The answer is explained in chapter {v}",
            "See equation {v} for the answer.",
            "The answer can be found in Table {v}.",
            "The answer is problem {v}.",
            "by Theorem {v}.",
            "This concludes exercise {v}.",
            "#### around page {v}",
            "<answer>The answer is on page {v}</answer>",
        ],
        [
            "The answer to this problem is {v}.",
            "By Theorem 3 the answer is {v}.",
            "By equation (3), x = {v}.",
            "He is on page {v}.",
        ],
    ),
    "report": (
        [
            "The answer took me {v} minutes.",
            "The answer requires {v} steps.",
            "I solved it in {v} steps.",
            "There are {v} cases to check.",
            "I am {v}% sure.",
            "The answer is a number with {v} digits.",
            "The answer starts with {v}.",
            "The answer would have been {v}.",
            "We considered {v} cases.",
            "It was supposed to be {v}.",
            "The book says {v}, which is a misprint.",
        ],
        ["She took {v} minutes.", "There are {v} cases.", "I am sure it is {v}.", "I checked it twice: {v}."],
    ),
    "made from the answer": (
        [
            "<answer>half the answer is {v}</answer>",
            "<answer>the answer plus one is {v}</answer>",
            "<answer>the square of the answer is {v}</answer>",
            "<answer>the answer modulo 10 is {v}</answer>",
            "Twice the answer is {v}.",
            "The answer is about as large as {v}.",
            "It is not the case that the answer is {v}.",
            "The answer, when doubled, is {v}.",
            "The answer divides {v}.",
        ],
        ["<answer>the square of the side is {v}</answer>", "Half of the cake weighs {v} grams."],
    ),
    "disclaimed": (
        [
            "I don't know. {v}",
            "I give up. {v}",
            "Not sure. {v}",
            "Insufficient information. {v}",
            "Just kidding: {v}",
            "almost {v}",
        ],
        ["I do not know her age. We add. It is {v}."],
    ),
}
PAIRS: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
    "given twice": (
        [
            (r"\frac12", r"\boxed{\frac12} or 12\%"),
            (r"\frac12", r"\boxed{\frac12} or \frac13"),
            (r"\frac12", r"\boxed{0.5} or 50\% or 12"),
            (r"2\sqrt{3}", r"\boxed{2\sqrt3 \approx 4.5}"),
            ("7", r"\boxed{12 \approx 7}"),
            ("7", r"\boxed{6.9 \approx 7}"),
        ],
        [
            (r"\frac12", r"\boxed{0.5} or 50\%"),
            (r"\frac12", r"\boxed{\frac12} (or 0.5)"),
            ("1/2", "The answer is 1/2, i.e. 50%."),
            (r"2\sqrt{3}", r"\boxed{2\sqrt3 \approx 3.46}"),
            ("3.46", r"\boxed{2\sqrt3 \approx 3.46}"),
            (r"\pi", r"\boxed{\pi \approx 3.14}"),
        ],
    ),
    "closing words": (
        [
            ("21", "The answer is 42, check: 42/2 = 21"),
            ("21", "42\ncheck: 42/2 = 21"),
            ("40", "So x = 42. Check: 42 - 2 = 40."),
            ("42", "The answer is 42, check: 3*4 = 12"),
            ("12", "The answer is 42, check: 3*4 = 12"),
            ("42", "40 - done"),
            ("42", "not done: 42"),
            ("well-done", r"\boxed{\text{well}}"),
        ],
        [
            ("well-done", r"\boxed{\text{well-done}}"),
            ("42", "42—done"),
            ("42", "The answer is 42 — done."),
            ("42", "42 - done"),
            ("42", "Answer: 42 QED"),
            ("42", "Answer: 42. Q.E.D."),
            ("42", "So the answer is 42 (check: 42/2 = 21)."),
            ("42", "The answer is 42, check: 42/2 = 21"),
            ("42", "42\nCheck: 42/2 = 21"),
            ("42", "The answer is 42. Verification: 6*7 = 42"),
            ("9", "\\boxed{9\\ }"),
        ],
    ),
    "members of an equation": (
        [
            ("45", r"\boxed{44=30+15}"),
            ("44", r"\boxed{44=30+15}"),
            ("45", r"\boxed{5\cdot 9=30+15}"),
            ("1/3", r"\boxed{1/3} or 0.5"),
            ("7", r"\boxed{7} or 7.1"),
        ],
        [
            ("45", r"\boxed{45=30+15}"),
            ("45", r"\boxed{30+15=45}"),
            ("45", r"\boxed{x=45=30+15}"),
            (r"2\sqrt{3}", r"\boxed{2\sqrt{3}=\sqrt{12}}"),
            ("1/3", r"\boxed{1/3} \approx 0.33"),
        ],
    ),
    "separators of India": (
        [
            ("1234567", r"\boxed{12,34,568}"),
            ("1234567", r"\boxed{12, 34, 567}"),
            ("1234567", r"\boxed{12,345,67}"),
            ("12", r"\boxed{12,34,567}"),
            ("12,34,567", r"\boxed{1234567}"),
        ],
        [
            ("1234567", r"\boxed{12,34,567}"),
            ("1200000", "The answer is 12,00,000."),
            ("-1234567.5", r"\boxed{-12,34,567.50}"),
            ("1234567", "₹12,34,567"),
            ("12,34,567", r"\boxed{12,34,567}"),
            (r"\{12,34,567\}", r"\boxed{567,34,12}"),
        ],
    ),
    "quantity": (
        [
            ("7", r"\boxed{7x=7}"),
            ("7", r"\boxed{x^2=7}"),
            ("7", r"\boxed{x+7=7}"),
            ("x+y=7", r"\boxed{7}"),
            ("7", r"\boxed{m+n=8}"),
            ("7", r"\boxed{x \not= 7}"),
        ],
        [("7", r"\boxed{m+n=7}"), ("7", r"\boxed{\frac{a}{b}=7}"), ("7", r"\boxed{\overline{AB}=7}")],
    ),
    "part of a unit": (
        [
            ("7", r"\boxed{seven twelfths}"),
            (r"5\text{ cm}", r"\boxed{5\%}"),
            (r"45^\circ", r"\boxed{45\%}"),
            (r"10\text{ m/s}", r"\boxed{10 \frac{\text{km}}{\text{h}}}"),
            ("7", r"\boxed{7 times as many}"),
            (r"\frac{3}{4}\pi", r"\boxed{\frac{3}{4\pi}}"),
        ],
        [
            (r"10\text{ m/s}", r"\boxed{10 \frac{\text{m}}{\text{s}}}"),
            (r"10\text{ m/s}", r"\boxed{10\,\mathrm{m\,s^{-1}}}"),
            ("7", r"\boxed{7 \text{ square units}}"),
            ("7", "It happens 7 times."),
            (r"\frac{3}{4}\pi", r"\boxed{¾π}"),
            (r"45^\circ", r"\boxed{45^o}"),
            (r"45^\circ", r"\boxed{\angle A=45^\circ}"),
        ],
    ),
    "region": (
        [
            (r"(-\infty,2)\cup(3,\infty)", r"\boxed{x<2 \text{ and } x>3}"),
            ("[0,1)", r"\boxed{\{x: 0<x<1\}}"),
            ("[0,1)", r"\boxed{x \ge 0 \text{ or } x<1}"),
            ("(3,4)", r"\boxed{(y,x)=(3,4)}"),
            (r"\mathbb{R}", r"\boxed{(0,\infty)}"),
        ],
        [
            ("[0,1)", r"\boxed{\{x \mid 0 \le x < 1\}}"),
            ("[0,1)", r"\boxed{x \ge 0 \text{ and } x<1}"),
            (r"x \ge 5", r"\boxed{x >= 5}"),
            (r"\mathbb{R}", r"\boxed{(-\infty,\infty)}"),
            (r"\mathbb{R}", r"\boxed{\text{all real numbers}}"),
            (r"\frac{x+1}{x-1}", r"\boxed{\frac{x+1}{x-1},\ x\ne 1}"),
            ("(3,4)", r"\boxed{P(3,4)}"),
        ],
    ),
    "date and sentence": (
        [
            ("March 5", r"\boxed{March 15}"),
            ("3:45 PM", r"\boxed{3:45}"),
            ("Tuesday", r"It is not Tuesday."),
            ("Tuesday", r"It is the day after Tuesday."),
            ("yes", r"Yes and no."),
            ("yes", r"Yes, no."),
            ("12_5", r"\boxed{12 \text{ base } 6}"),
        ],
        [
            ("March 5", r"\boxed{\text{March 5th}}"),
            ("March 5", r"\boxed{5 March}"),
            ("3:45 PM", r"\boxed{15:45}"),
            ("Tuesday", "It is Tuesday."),
            ("yes", "Yes, it is."),
            ("12_5", r"\boxed{12 \text{ base } 5}"),
        ],
    ),
    "symbols": (
        [
            ("a^2b", r"\boxed{A^2B}"),
            ("A+a", r"\boxed{2a}"),
            (r"\ln 2", r"\boxed{\frac13\ln4}"),
            (r"\log_2 3", r"\boxed{\frac{\lg 2}{\lg 3}}"),
            ("3+4i", r"\boxed{3-4\cdot i}"),
        ],
        [
            ("A+a", r"\boxed{a+A}"),
            (r"\ln 2", r"\boxed{\frac12\ln4}"),
            (r"\ln 2", r"\boxed{\log_e 2}"),
            (r"\log_2 3", r"\boxed{\frac{\lg 3}{\lg 2}}"),
            ("3+4i", r"\boxed{3+4\cdot i}"),
        ],
    ),
    "markup": (
        [("7", r"\boxed{\cancel{7}}"), ("7", r"\boxed{\color{white}{7}}"), ("7", r"\boxed{7'}")],
        [
            ("7", r"\(7\)"),
            ("7", r"\boxed{\color{red}7}"),
            ("7", r"\boxed{7 \checkmark}"),
            ("1/2", r"\boxed{{1\over 2}}"),
            ("1234567", r"\boxed{1'234'567}"),
            ("7", "A resposta é 7."),
            ("7", "The answer is **7** apples."),
            ("7", r"\boxed{7\,\text{years old}}"),
        ],
    ),
}
MENTIONS = (
    [
        "Some say {v}.",
        "Most people choose {v}, but they are wrong.",
        "Option {v} is tempting.",
        "Compare with option {v}.",
        "I considered option {v}.",
        "Next, option {v}.",
        "The trap answer is {v}.",
        "The answer is {v}. No, {w}.",
        "{v}, then {w}",
        "{v}... or not",
        "<answer>{v}, but {w} is better</answer>",
    ],
    [
        "{w} and E are wrong, so the answer is {v}.",
        "Ans: {v}",
        "→ {v}",
        "The answer must therefore be {v}.",
        "{v} because it is 14.",
        "Option {v} matches the text.",
        "Option {v}, since it is 14.",
    ],
)


def sentences(verifier: str) -> Iterator[Cell]:
    """Cells of ``math``, ``choice`` or ``exact``."""
    values = {"math": [("7", "12"), ("48", "16")], "choice": [("B", "C"), ("D", "A")], "exact": [("Paris", "Rome")]}
    tables = [AROUND] + ([NUMBERS_IN_SENTENCES] if verifier == "math" else [])
    for (v, w), table in itertools.product(values[verifier], tables):
        for klass, both in table.items():
            for texts, want in zip(both, (0.0, 1.0), strict=True):
                for text in texts:
                    yield Cell(verifier, klass, "sentence", text.format(v=v, w=w), want, {"answer": v})
    if verifier == "choice":
        for (v, w), (texts, want) in itertools.product(values[verifier], zip(MENTIONS, (0.0, 1.0), strict=True)):
            for text in texts:
                yield Cell(verifier, "mention", "sentence", text.format(v=v, w=w), want, {"answer": v})
    if verifier == "math":
        for klass, both_pairs in PAIRS.items():
            for pairs, want in zip(both_pairs, (0.0, 1.0), strict=True):
                for reference, text in pairs:
                    yield Cell(verifier, klass, "whole", text, want, {"answer": reference})
    if verifier == "exact":
        for text, form in itertools.product(("*Paris*", "_Paris_"), MARKED.values()):
            yield Cell(verifier, "markup", "whole", form(text), 1.0, {"answer": "Paris"})
        for text in (r"\boxed{\cancel{Paris}}", "<answer>~~Paris~~</answer>"):
            yield Cell(verifier, "markup", "whole", text, 0.0, {"answer": "Paris"})
        for text in ("答案是Paris", "#### Paris", "La réponse est Paris."):
            yield Cell(verifier, "announced", "sentence", text, 1.0, {"answer": "Paris"})
        for text in ("答案不是Paris", "Die Antwort ist nicht Paris."):
            yield Cell(verifier, "announced", "sentence", text, 0.0, {"answer": "Paris"})
