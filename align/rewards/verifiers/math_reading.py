"""From one line of LaTeX to a value that can be compared: a number, an expression, a set, a tuple, an interval, words.

A text is a value only if all of it is understood. Nothing is cut off: ``7 squared``, ``7 or 8``, ``not 7`` and
``2xy^2`` are not the number they begin with. What is not understood is kept as words, which equal only themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from align.rewards.verifiers.math_latex import COMMANDS, FUNCTIONS, as_latex, letters_of
from align.rewards.verifiers.math_numbers import (
    Kind,
    Value,
    indian_number,
    read_number,
    read_number_words,
    read_quantity,
    read_special,
)
from align.rewards.verifiers.math_phrases import misleading
from align.rewards.verifiers.math_text import SET_BUILDER, closing, hedged, trim
from align.rewards.verifiers.math_units import CJK

DEEPEST = 30  # levels of brackets
MOST = 40  # items of a list
DOTS = (r"\ldots", r"\dots", r"\cdots", "...")
NAME = re.compile(
    r"(?P<name>(?:\\?[A-Za-z]+|\|?[A-Z]{2,3}\|?)'?(?:\s*_\s*(?:\{[^{}]{1,20}\}|\w))?(?:\s*\(\s*[\w\s,+-]{1,12}\s*\))?)"
    r"\s*(?P<sign>=|\\in(?![a-z])|\\approx|\\equiv)\s*(?P<rest>.*)",
    re.DOTALL,
)
VARIABLES = re.compile(r"\(\s*[A-Za-z](?:\s*,\s*[A-Za-z]){1,9}\s*\)\s*=\s*")  # (x, y) = (1, 2)
LEAD = re.compile(
    rf"(?:[^=:]*?[A-Za-z{CJK}][^=:]*?)?(?:\b(?:is|are|was|were|equals?|be|as|get|gets|got|gives?|obtain|have|has|need|needs|"
    rf"makes?|earns?|total\s+of|(?:comes?(?:\s+out)?|amounts?|adds\s+up|sums?|equal|evaluates|simplifies|reduces|leads)\s+to|think|believe)\b|[:：=]|是|为|為|等于|等於|有|得|はい?|은|는)\s*[:=]?\s*(?P<rest>\S.*)",
    re.DOTALL | re.IGNORECASE,
)
CONTRAST = re.compile(
    r"\s*(?:,|\(|;)\s*(?:and\s+)?(?:not|rather\s+than|instead\s+of|而不是|不是)\b[^,;]*\w[^,;]*$", re.IGNORECASE
)
ASIDE = re.compile(r"\s*\(([^()]*[A-Za-z]{3}[^()]*)\)$")
AGAIN = re.compile(
    r"([^()]*[^()\s])\s+\(\s*(?:that\s+is,?|i\.?e\.?,?|which\s+is|or(?:\s+equivalently)?,?|equivalently,?|=|\\approx)?\s*([^()]+)\)"
)
# What a value is given with: it is no second value. "for x ≠ 1", "m∠A =", "\vec v ="
SIDE = re.compile(
    r"\s*(?:,|;|\(|\s(?:for|where|with|provided|when|if))\s*(?:for\s+|where\s+)?([A-Za-z])\s*\\ne\s*[^,;()=]+\)?$"
)
PREFIX = re.compile(
    r"m?\s*\\angle\s*(?:\{?[A-Z\d]{1,3}\}?)\s*=\s*|\\(?:vec|hat|overrightarrow)\s*\{?\s*[A-Za-z]{1,2}\s*\}?\s*=\s*"
)
REALS = re.compile(
    r"\\mathbb\{R\}|(?:the\s+set\s+of\s+)?(?:all\s+)?(?:the\s+)?real\s+numbers|all\s+reals", re.IGNORECASE
)
NOTHING = re.compile(
    r"(?:there\s+(?:is|are)\s+)?no\s+(?:real\s+|integer\s+)?solutions?(?:\s+exists?)?|(?:the\s+)?empty\s+set",
    re.IGNORECASE,
)
AND = re.compile(
    r"\s*(?:,\s*)?(?<![A-Za-z\\])(?:and|or(?:\s+equivalently)?|i\.e\.|that\s+is|equivalently|\\land|\\lor|\\wedge|\\vee|和|或|以及|及)(?![A-Za-z])\s*(?:,\s*)?",
    re.IGNORECASE,
)
RELATION = re.compile(r"\\le(?![a-z])|\\ge(?![a-z])|\\ne(?![a-z])|(?<!\\)[<>]|=")
RELATIONS = re.compile(r"\\(?:le|ge|ne|in|notin|equiv|sim|to|approx|neg|not|subset|propto|mapsto|cong)(?![a-z])|[<>=]")


def read_value(text: str, depth: int = 0) -> Value:
    """The value that all of ``text`` is, else its words."""
    text = trim(CONTRAST.sub("", text))
    if not text or depth > 6 or _depth(text) > DEEPEST:
        return Value("words", _fold(text))
    text = PREFIX.sub("", text, count=1) if PREFIX.match(text) else text
    if (side := SIDE.search(text)) and re.search(rf"(?<![A-Za-z]){side[1]}(?![A-Za-z])", text[: side.start()]):
        text = text[: side.start()].strip()
    if re.match(r"(?:yes|no|true|false)\s*[,.:;-]\s*\S", text, re.IGNORECASE):
        return Value("words", _fold(text))
    if NOTHING.fullmatch(text):
        return Value("words", r"\emptyset")
    for attempt in (_read_twice, _read_whole, _read_led):
        value = attempt(text, depth)
        if value is not None:
            return value
    aside = ASIDE.search(text)
    if aside and aside.start() > 0 and not re.search(r"\d", aside[1]) and not hedged(aside[1]):
        return read_value(text[: aside.start()], depth + 1)
    return Value("words", _fold(text))


def _read_twice(text: str, depth: int) -> Value | None:
    """A number that is given again in brackets: ``seventy-two (72)``, ``1.5 (3/2)``, ``72 (that is 48 + 24)``."""
    again = AGAIN.fullmatch(text)
    if again is None:
        return None
    value = read_number(again[1]) or read_number_words(again[1])
    if value is None:
        return None
    second = _read_whole(trim(again[2]), depth + 1)
    return replace(value, checks=(second,)) if second and second.kind in ("number", "expression") else None


def _read_led(text: str, depth: int) -> Value | None:
    """Value of the text after an introduction such as ``the answer is``; ``None`` if there is no value."""
    lead = LEAD.fullmatch(text)
    while lead is not None:
        start = lead.start("rest")
        introduction, rest = text[:start], text[start:]
        if (
            re.search(r"\d|\\", introduction)
            or hedged(introduction)
            or misleading(introduction)
            or not re.search(rf"[A-Za-z]{{2}}|[{CJK}]", introduction)
        ):
            return None
        value = _read_whole(trim(rest), depth)
        if value is not None:
            return value
        following = LEAD.fullmatch(rest)
        if following is None:
            return None
        offset = start + following.start("rest")
        lead = re.compile(rf"[\s\S]{{{offset}}}(?P<rest>[\s\S]+)").fullmatch(text)
    return None


def _read_whole(text: str, depth: int) -> Value | None:
    alone: tuple[Callable[[str], Value | None], ...]
    for nested, alone in (
        (None, (read_number, read_number_words)),
        (_enclosed, (read_special,)),
        (_named, ()),
        (_several, (_relation, read_quantity, _expression)),
    ):
        value = nested(text, depth) if nested is not None else None
        for attempt in alone:
            value = value or attempt(text)
        if value is not None:
            return value
    return None


def _enclosed(text: str, depth: int) -> Value | None:
    """A set in braces, a tuple or interval in brackets, a union of these, or one value in brackets."""
    if text in (r"\emptyset", r"\{\}", r"\{ \}"):
        return Value("words", r"\emptyset")
    if REALS.fullmatch(text):
        return Value("interval", "()", items=(Value("expression", r"-\infty"), Value("expression", r"\infty")))
    if (built := SET_BUILDER.match(text)) and (region := read_value(built[2], depth + 1)).kind in ("relation", "list"):
        return region
    if point := re.fullmatch(r"[ABD-Z]\s*(\(.*\))", text, re.DOTALL):
        place = read_value(point[1], depth + 1)
        return place if place.kind == "tuple" else None
    if re.search(r"\\cup(?![a-z])|(?<=[)\]}])\s*U\s*(?=[(\[\\])", text):
        parts = split_top(text, r"\\cup(?![a-z])|(?<=[)\]}])\s*U\s*(?=[(\[\\])")
        items = tuple(read_value(p, depth + 1) for p in parts)
        return Value("union", items=items) if all(i.kind in ("interval", "set", "tuple") for i in items) else None
    if text.startswith(r"\{") and text.endswith(r"\}") and closing(text, 0) == len(text) - 1:
        return _items("set", text[2:-2], depth)
    french = re.fullmatch(r"([\[\]])\s*([^\[\]]+[,;][^\[\]]+)\s*([\[\]])", text)
    if french and (french[1] == "]" or french[3] == "["):
        inner = _items("interval", french[2], depth)
        return (
            replace(inner, text=("(" if french[1] == "]" else "[") + (")" if french[3] == "[" else "]"))
            if inner and len(inner.items) == 2
            else None
        )
    if text[:1] in ("(", "[") and closing(text, 0) == len(text) - 1:
        inside = text[1:-1]
        if len(split_top(inside, "[,;]")) < 2:
            return read_value(inside, depth + 1) if text[0] == "(" and inside.strip() else None
        value = _items("tuple", inside, depth)
        brackets = text[0] + text[-1]
        if value is None:
            return None
        pair = len(value.items) == 2
        return replace(value, kind="interval" if pair and brackets != "()" else "tuple", text=brackets)
    return None


def _items(kind: Kind, inside: str, depth: int) -> Value | None:
    parts = [trim(p) for p in split_top(inside, "[,;]")]
    if not all(parts) or len(parts) > MOST:
        return None
    items = tuple(read_value(p, depth + 1) for p in parts)
    return (
        None
        if any(i.kind == "words" and i.text not in DOTS and not re.fullmatch(r"[\w ]{1,30}", i.text) for i in items)
        else Value(kind, items=items)
    )


def split_top(text: str, separator: str) -> list[str]:
    """Cut at a separator that is inside no bracket."""
    pattern = re.compile(separator)
    parts, start, place = [], 0, 0
    while place < len(text):
        if text[place] in "([{" or text.startswith(r"\{", place):
            end = closing(text, place)
            if end < 0:
                break
            place = end + 1
            continue
        found = pattern.match(text, place)
        if found and found.end() > place:
            parts.append(text[start:place])
            start = place = found.end()
        else:
            place += 2 if text[place] == "\\" and place + 1 < len(text) and not text[place + 1].isalpha() else 1
    return [*parts, text[start:]]


def _several(text: str, depth: int) -> Value | None:
    """Values between commas, ``and``, ``or``; both values of ``±``."""
    parts = split_top(text, r"[,;](?!\d{3}(?!\d))|[,;]\s|\s*,\s*(?=\\text)")
    parts = [q for p in parts for q in split_top(p, AND.pattern + "|" + AND.pattern.upper())]
    parts = [trim(p) for p in parts]
    parts = [p for p in parts if p]
    if len(parts) < 2:
        return _both_signs(text, depth)
    if len(parts) > MOST:
        return None
    items = [read_value(p, depth + 1) for p in parts]
    words = [i for i in items if i.kind == "words" and i.text not in DOTS]
    if words and (len(words) < len(items) or any(len(i.text.split()) > 3 or hedged(i.text) for i in words)):
        return None
    flat = [x for i in items for x in (i.items if i.kind == "list" else (i,))]
    names = [i.name for i in flat]
    if names[0] and not any(names[1:]):
        flat = [replace(i, name=names[0]) for i in flat]
    together = all(i.kind == "relation" for i in flat) and not re.search(r"[,;]|\bor\b|\\lor|\\vee|或", text)
    return Value("list", "and" if together else "", indian_number(text), items=tuple(flat))


def _both_signs(text: str, depth: int) -> Value | None:
    if text.count(r"\pm") != 1 or r"\mp" in text:
        return None
    both = [read_value(text.replace(r"\pm", sign, 1).strip().removeprefix("+"), depth + 1) for sign in ("+", "-")]
    return None if any(b.kind not in ("number", "expression") for b in both) else Value("list", items=tuple(both))


def _named(text: str, depth: int) -> Value | None:
    """``x = 5``, ``f(x) = x^2``, ``5 = x``, ``x = 2 + 3 = 5``, ``2 + 3 = 5``, ``x \\in [0, 1]``, ``\\approx 5``."""
    if found := re.match(r"(?:=|\\approx(?![a-z])|(?:approximately|about|roughly|around)\s)\s*", text, re.IGNORECASE):
        return read_value(text[found.end() :], depth + 1)
    if found := VARIABLES.match(text):
        letters = re.findall("[A-Za-z]", found[0])
        if set(letters) <= set("xyz") and letters != sorted(letters):
            return None  # (y, x) = (3, 4)
        value = read_value(text[found.end() :], depth + 1)
        return value if value.kind == "tuple" and len(value.items) == found[0].count(",") + 1 else None
    found = NAME.fullmatch(text)
    if found and found["sign"] in ("\\in", "\\approx", "=") and "=" not in found["rest"] and _is_name(found["name"]):
        value = read_value(found["rest"], depth + 1)
        curve = found["sign"] == "=" and value.kind == "expression" and _is_curve(found["name"], value.text)
        if value.kind not in ("words", "relation") and not value.name and not curve:
            return _give_name(value, re.sub(r"[\s{}]", "", found["name"]), certain=found["sign"] == "\\in")
        return None
    members = [m.strip() for m in split_top(text, r"(?<![<>!\\])=|\\approx(?![a-z])")]
    if len(members) < 2 or len(members) > 6 or (len(split_top(text, "[,;]")) > 1 and len(members) > 2):
        return None
    if RELATION.search("".join(members)) or any(not m for m in members):
        return None
    values = [_read_whole(trim(m), depth + 1) if depth < 5 else None for m in members]
    if any(v is None or v.kind not in ("number", "expression") for v in values):
        return None
    known = [v for v in values if v is not None]
    name = ""
    if _is_name(members[0]) and known[0].kind == "expression":
        name, known = re.sub(r"[\s{}]", "", members[0]), known[1:]
    elif len(known) == 2 and _is_name(members[1]) and known[1].kind == "expression" and not letters_of(known[0].text):
        name, known = re.sub(r"[\s{}]", "", members[1]), known[:1]
    elif any(v.kind == "expression" and letters_of(v.text) for v in known):
        return None  # an equation
    if (
        len(known) == 1
        and letters_of(known[0].text)
        and known[0].kind == "expression"
        and _is_curve(name, known[0].text)
    ):
        return None
    if len(known) > 1 and re.search(r"\\approx(?![a-z])[^=]*$", text) and known[-1].digits and not known[0].digits:
        return replace(known[0], name=name, checks=tuple(known[1:-1]), rounded=(known[-1],))
    answer = next((v for v in reversed(known) if v.kind == "number"), known[-1])  # 45 of 45 = 30 + 15
    return replace(answer, name=name, checks=tuple(v for v in known if v is not answer))


def _give_name(value: Value, name: str, *, certain: bool) -> Value:
    if value.kind == "list":
        return replace(value, items=tuple(replace(i, name=i.name or name) for i in value.items))
    if certain and value.kind == "tuple" and len(value.items) == 2:
        return replace(value, kind="interval", name=name)
    return replace(value, name=name)


def _is_name(text: str) -> bool:
    bare = re.sub(r"\s*_\s*(?:\{[^{}]{1,20}\}|\w)|\([^()]*\)|['|\s]", "", text)
    if not re.fullmatch(r"[A-Za-z]|[A-Z]{2,3}|\\[A-Za-z]+", bare) or bare in ("e", "i", r"\pi", r"\infty"):
        return False
    return not bare.startswith("\\") or (bare[1:] in COMMANDS and bare[1:] not in FUNCTIONS and len(bare) < 9)


def _is_curve(name: str, text: str) -> bool:
    """True if ``name = text`` is an equation in coordinates: ``y = 2x + 1`` is a line, ``2x + 1`` is not."""
    return name in ("x", "y", "z") and bool(letters_of(text) & {"x", "y", "z"})


def _relation(text: str) -> Value | None:
    """An equation or inequality between expressions."""
    if not RELATION.search(text) or (r"\ne" in text and not re.search(r"\\ne(?![a-z])\s*\S", text)):
        return None
    sides = split_top(text, RELATION.pattern)
    signs = RELATION.findall(text)
    if len(sides) != len(signs) + 1 or not 2 <= len(sides) <= 3 or not all(s.strip() for s in sides):
        return None
    clean = [as_latex(s) for s in sides]
    if any(c is None for c in clean) or not letters_of("".join(c for c in clean if c)):
        return None
    joined = "".join(c + (f" {s} " if s else "") for c, s in zip(clean, [*signs, ""], strict=True) if c is not None)
    return Value("relation", joined)


def _expression(text: str) -> Value | None:
    if RELATIONS.search(re.sub(r"\\lim\s*_\s*\{[^{}]*\}|\\(?:sum|prod)\s*_\s*\{[^{}]*\}", "", text)):
        return None
    latex = as_latex(text)
    if latex is None:
        return None
    if re.fullmatch(r"[A-Za-z]{2,}", text.strip()) and text.strip() not in FUNCTIONS:
        return None  # a word
    return Value("expression", latex)


def _depth(text: str) -> int:
    depth = most = 0
    for char in text:
        if char in "([{":
            depth += 1
            most = max(most, depth)
        elif char in ")]}":
            depth -= 1
    return most


def _fold(text: str) -> str:
    return " ".join(re.sub(r"(\\[a-z]+)", r" \1 ", text.casefold()).split()).strip(" .。,!*\"'")
