"""Reasoning prompts with a checkable whole-number answer, in English and Chinese, and worked solutions.

Arithmetic is worked column by column or piece by piece, as a small model can follow it. Word problems take one to three
steps and may hold a number that has nothing to do with the question.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from reward_models.data.synthetic.lexicon import NAMES
from reward_models.data.synthetic.templates import Slots, Task, Template, read_task

CHINESE_NAMES = ("小明", "小红", "小李", "小华")
CHINESE_THINGS = (("个", "苹果"), ("本", "书"), ("支", "笔"), ("块", "糖"))
THINGS = ("apples", "bananas", "grapes", "lemons", "plums", "books", "pens", "cups")
ARITHMETIC = ("add", "subtract", "multiply")


@dataclass(frozen=True)
class Problem:
    """A kind of problem: its prompts by language, its worked steps as ``(expression, value)`` pairs."""

    english: tuple[Template, ...]
    chinese: tuple[Template, ...]
    steps: Callable[[dict[str, int]], list[tuple[str, int]]]


def _templates(*texts: str) -> tuple[Template, ...]:
    return tuple(Template(text) for text in texts)


def _chain(start: int, *moves: tuple[str, int]) -> list[tuple[str, int]]:
    """Steps that apply one operation after another, each as written and with its value."""
    steps, value = [], start
    for sign, amount in moves:
        result = {"+": value + amount, "-": value - amount, "*": value * amount}[sign]
        steps.append((f"{value}{sign}{amount}", result))
        value = result
    return steps


PROBLEMS: dict[str, Problem] = {
    "add": Problem(
        _templates("What is {a} + {b}?", "Add {a} and {b}."),
        _templates("{a} + {b} 等于多少?"),
        lambda v: _chain(v["a"], ("+", v["b"])),
    ),
    "subtract": Problem(
        _templates("What is {a} - {b}?", "Take {b} away from {a}."),
        _templates("{a} - {b} 等于多少?"),
        lambda v: _chain(v["a"], ("-", v["b"])),
    ),
    "multiply": Problem(
        _templates("What is {a} * {b}?"),
        _templates("{a} * {b} 等于多少?"),
        lambda v: _chain(v["a"], ("*", v["b"])),
    ),
    "gain": Problem(
        _templates(
            "{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have?",
            "{name} has {a} {thing}. {friend} is {d} years old and gives {name} {b} {thing}. "
            "How many {thing} does {name} have?",
        ),
        _templates("{name}有{a}{unit}{thing}, 又得到{b}{unit}。{name}有多少{unit}{thing}?"),
        lambda v: _chain(v["a"], ("+", v["b"])),
    ),
    "lose": Problem(
        _templates(
            "{name} had {a} {thing} and lost {b}. How many {thing} are left?",
            "{name} had {a} {thing} on day {d} and gave {b} to {friend}. How many {thing} are left?",
        ),
        _templates("{name}有{a}{unit}{thing}, 给了{friend}{b}{unit}。还剩多少{unit}{thing}?"),
        lambda v: _chain(v["a"], ("-", v["b"])),
    ),
    "boxes": Problem(
        _templates(
            "{name} has {c} boxes with {e} {thing} in each. How many {thing} is that?",
            "{name} is {d} years old and has {c} boxes with {e} {thing} in each. How many {thing} is that?",
        ),
        _templates("{name}有{c}盒{thing}, 每盒{e}{unit}。一共有多少{unit}{thing}?"),
        lambda v: _chain(v["c"], ("*", v["e"])),
    ),
    "boxes and more": Problem(
        _templates("{name} has {c} boxes with {e} {thing} in each and {b} more. How many {thing} is that?"),
        _templates("{name}有{c}盒{thing}, 每盒{e}{unit}, 又买了{b}{unit}。一共有多少{unit}{thing}?"),
        lambda v: _chain(v["c"], ("*", v["e"]), ("+", v["b"])),
    ),
    "gain and lose": Problem(
        _templates(
            "{name} has {a} {thing}, gets {b} more and gives {c} to {friend}. How many {thing} are left?",
            "{name} has {a} {thing}, gets {b} more and gives {c} to {friend}, who is {d}. How many {thing} are left?",
        ),
        _templates("{name}有{a}{unit}{thing}, 又买了{b}{unit}, 给了{friend}{c}{unit}。还剩多少{unit}{thing}?"),
        lambda v: _chain(v["a"], ("+", v["b"]), ("-", v["c"])),
    ),
    "three steps": Problem(
        _templates(
            "{name} has {c} boxes with {e} {thing} in each, gets {b} more and gives {f} to {friend}. "
            "How many {thing} are left?"
        ),
        _templates(
            "{name}有{c}盒{thing}, 每盒{e}{unit}, 又买了{b}{unit}, 给了{friend}{f}{unit}。还剩多少{unit}{thing}?"
        ),
        lambda v: _chain(v["c"], ("*", v["e"]), ("+", v["b"]), ("-", v["f"])),
    ),
}
CHINESE_SHARE = 0.2
_WEIGHTED = [name for name in PROBLEMS for _ in range(3 if name in ARITHMETIC[:2] else 1)]
_TEMPLATES = {name: problem.english + problem.chinese for name, problem in PROBLEMS.items()}


def _numbers(rng: Random, kind: str) -> dict[str, int]:
    if kind in ("add", "subtract"):
        digits = rng.choice((2, 3, 3))
        a, b = (rng.randrange(10 ** (digits - 1), 10**digits) for _ in range(2))
        return {"a": max(a, b), "b": min(a, b)} if kind == "subtract" else {"a": a, "b": b}
    if kind == "multiply":
        return {"a": rng.randint(2, 9), "b": rng.randint(11, 99)}
    c, e = rng.randint(2, 9), rng.randint(2, 9)
    a, b = rng.randint(12, 60), rng.randint(2, 11)
    return {"a": a, "b": b, "c": c, "d": rng.randint(5, 30), "e": e, "f": rng.randint(1, 3)}


def language_of(prompt: str) -> str:
    """``"zh"`` if the prompt holds a Chinese character, else ``"en"``."""
    return "zh" if any("\u4e00" <= char <= "\u9fff" for char in prompt) else "en"


def draw_task(rng: Random) -> Task:
    """A random reasoning prompt, one in five Chinese."""
    kind = rng.choice(_WEIGHTED)
    chinese = rng.random() < CHINESE_SHARE
    template = rng.choice(PROBLEMS[kind].chinese if chinese else PROBLEMS[kind].english)
    name, friend = rng.sample(CHINESE_NAMES if chinese else NAMES, 2)
    slots = {key: str(value) for key, value in _numbers(rng, kind).items()}
    unit, thing = rng.choice(CHINESE_THINGS) if chinese else ("", rng.choice(THINGS))
    slots |= {"name": name, "friend": friend, "unit": unit, "thing": thing}
    prompt = template.fill(slots)
    parsed = template.parse(prompt)
    if parsed is None:
        raise ValueError(f"template {template.text!r} cannot read back {prompt!r}")
    return Task(kind, parsed, prompt)


def parse(prompt: str) -> Task | None:
    """The task behind a reasoning prompt, or ``None``."""
    return read_task(_TEMPLATES, prompt)


def _values(slots: Slots) -> dict[str, int]:
    return {name: int(value) for name, value in slots.items() if len(name) == 1 and len(value) < 12}


def _steps(task: Task) -> list[tuple[str, int]]:
    return PROBLEMS[task.family].steps(_values(task.slots))


def solve(prompt: str) -> str | None:
    """The answer to a reasoning prompt as digits, or ``None`` if this package did not write it."""
    task = parse(prompt)
    try:
        return str(_steps(task)[-1][1]) if task else None
    except KeyError:
        return None


def _column_lines(a: int, b: int, sign: str, chinese: bool) -> list[str]:
    """One clause per column from the units up, with carry or borrow."""
    lines, carry = [], 0
    first, second = str(a)[::-1], str(b)[::-1]
    for index, digit in enumerate(first.ljust(len(second), "0")):
        x, y = int(digit), int(second[index]) if index < len(second) else 0
        value = x + y + carry if sign == "+" else x - y - carry
        text = f"{x}{sign}{y}" + (f"{sign}{carry}" if carry else "")
        carry = int(value > 9 if sign == "+" else value < 0)
        written = value - 10 * carry if sign == "+" else value + 10 * carry
        if carry:
            note = ("写{0}进1" if sign == "+" else "写{0}借1") if chinese else "write {0} carry 1"
            if sign == "-" and not chinese:
                note = "write {0} borrow 1"
            text += f"={value}, " + note.format(written)
        else:
            text += f"={value}"
        lines.append(text)
    if carry and sign == "+":
        lines.append("最后写1" if chinese else "then write 1")
    return lines


def thoughts(task: Task, language: str | None = None) -> list[str]:
    """The worked clauses of a solution in the prompt's language, or in ``language`` if given."""
    chinese = (language or language_of(task.prompt)) == "zh"
    lines: list[str] = ["我们一步一步算" if chinese else "Let me work step by step"]
    values = _values(task.slots)
    if task.family in ("add", "subtract"):
        lines += _column_lines(values["a"], values["b"], "+" if task.family == "add" else "-", chinese)
    elif task.family == "multiply":
        tens, units = values["b"] // 10 * 10, values["b"] % 10
        lines += [f"{values['a']}*{tens}={values['a'] * tens}", f"{values['a']}*{units}={values['a'] * units}"]
    words = ("先算", "再算", "最后算") if chinese else ("first", "then", "last")
    if task.family not in ARITHMETIC:
        lines += [f"{word} {step}={value}" for word, (step, value) in zip(words, _steps(task), strict=False)]
    return [*lines, f"{'答案是' if chinese else 'so the answer is'} {_steps(task)[-1][1]}"]


def solution(task: Task, language: str | None = None) -> str:
    """A full reply: the thoughts in ``<think>``, the number in ``<answer>``."""
    chinese = (language or language_of(task.prompt)) == "zh"
    text = "。".join(thoughts(task, language)) + "。" if chinese else ". ".join(thoughts(task, language)) + "."
    return f"<think>{text}</think><answer>{_steps(task)[-1][1]}</answer>"
