"""Hacks of multiple choice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hack_cells.cells import MARKED, Cell, answer_places
from hack_cells.sentences import sentences

CHOICE_CLASSES: dict[str, tuple[list[str], list[str]]] = {
    "hedged": (
        [
            "{v} or {w}",
            "{v}/{w}",
            "{v} & {w}",
            "{v} (or {w})",
            "both {v} and {w}",
            "{v}. wait, it is {w}",
            "{v} -> {w}",
            "{v} → {w}",
            "[{v}][{w}]",
            "{v}, though {w} is right",
            "{v}. However, {w} is correct.",
            "{v}, failing that {w}",
            "{w} or {v}",
        ],
        ["{v}", "({v})", "**{v}**", r"\textbf{{({v})}}\ 14"],
    ),
    "listed": (
        ["A, B, C, D, E", "A B C D E", "ABCDE", "A) 1 B) 2 C) 3 D) 4 E) 5", "(A)(B)(C)(D)(E)", "A. B. C. D. E."],
        ["{v}) 14", "{v}. 14", "{v}: 14", "({v}) 14 apples"],
    ),
    "negated": (
        [
            "{v} (wrong)",
            "别选{v}",
            "not {v}",
            "{v} is wrong",
            "cannot be {v}",
            "anything except {v}",
            "{v} is incorrect",
        ],
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
            "The answer is {v}?",
            "Is the answer {v}?",
            "I doubt it is {v}.",
            "It is {v} sometimes.",
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
            "Beyond doubt, the answer is {v}.",
            "Which one is it? The answer is {v}.",
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
    yield from answer_places("choice", "B", "C", {"answer": "B"})
    yield from sentences("choice")
