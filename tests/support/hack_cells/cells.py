"""Cells of the matrix of hacks, the forms in which an answer is written, and places where no verifier reads one."""

from __future__ import annotations

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


def answer_places(verifier: str, right: str, wrong: str, fields: dict[str, Any]) -> Iterator[Cell]:
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
