"""The size of powers and factorials, told from their text: a tower of powers is refused before anything computes it.

sympy evaluates powers of integers while it reads them, and the libraries below end the process when memory runs out.
"""

from __future__ import annotations

import math
import re

LARGEST = 5.0  # decimal logarithm of an exponent
LARGEST_FACTORIAL = 4.0  # … of a number whose factorial is taken
NUMERAL = re.compile(r"\d[\d,]*(?:\.\d+)?")
POWER = re.compile(r"\^\s*")
FACTORIAL = re.compile(r"!")


def too_large(latex: str) -> bool:
    """True if a power has an exponent, or a factorial a number, that is too large to compute, or one is taken twice."""
    if re.search(r"!\s*[)}\]]*\s*!", latex):
        return True
    if any(_size(_operand_after(latex, found.end())) > LARGEST for found in POWER.finditer(latex)):
        return True
    return any(_size(_operand_before(latex, found.start())) > LARGEST_FACTORIAL for found in FACTORIAL.finditer(latex))


def _size(text: str) -> float:
    """An upper bound of the decimal logarithm of the numbers in an operand; infinite for a tower or a factorial."""
    numbers = [float(n.replace(",", "")) for n in NUMERAL.findall(text)[:50]]
    size = sum(math.log10(n) for n in numbers if n > 1)
    if "!" in text or text.count("^") > 1:
        return math.inf if numbers else 0.0
    if "^" in text:
        base, _, exponent = text.partition("^")
        bases = [float(n.replace(",", "")) for n in NUMERAL.findall(base)[:50]]
        exponents = [float(n.replace(",", "")) for n in NUMERAL.findall(exponent)[:50]]
        return size + math.log10(max([2.0, *bases])) * max([0.0, *exponents]) if bases else size
    return size


def _operand_after(text: str, start: int) -> str:
    """The exponent at ``start``: a group in brackets, with what is raised further, or one token."""
    start += len(text[start:]) - len(text[start:].lstrip(" +-"))
    end = _group_end(text, start)
    if end is None:
        token = re.match(r"\\[A-Za-z]+|[\d.,]+|.?", text[start:])
        end = start + (token.end() if token else 0)
    further = re.match(r"\s*\^", text[end:])
    return text[start:end] + ("^" + _operand_after(text, end + further.end()) if further else "")


def _group_end(text: str, start: int) -> int | None:
    if start >= len(text) or text[start] not in "({[":
        return None
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] in "({[") - (text[place] in ")}]")
        if depth == 0:
            return place + 1
    return len(text)


def _operand_before(text: str, end: int) -> str:
    """The operand of the factorial sign at ``end``: a group in brackets, or the last numeral or letter."""
    text = text[:end].rstrip()
    if text[-1:] not in (")", "}", "]"):
        found = re.search(r"[\d.,]+$", text)
        return found[0] if found else text[-1:]
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += (text[place] in ")}]") - (text[place] in "({[")
        if depth == 0:
            return text[place:]
    return text
