"""Expressions in LaTeX whose every token is known, and the operations they use.

A word of a language is no product of letters: ``2xy`` is an expression, ``2 apples`` is none.
"""

from __future__ import annotations

import re

from align.rewards.verifiers.math_text import ROMAN
from align.rewards.verifiers.math_units import UNITS

_FUNCTIONS = """
arcsin arccos arctan arccot sinh cosh tanh coth sin cos tan cot sec csc log ln lg exp gcd lcm max min det mod sqrt
infty infinity pi
"""
FUNCTIONS = _FUNCTIONS.split()
_COMMANDS = """
frac sqrt times cdot div pm mp pi infty sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh coth log
ln lg exp gcd lcm max min det bmod pmod mod sum prod int lim to binom dbinom tbinom lfloor rfloor lceil rceil
overline bar alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi
psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega begin end mathbb imath partial
vec hat operatorname langle rangle prime emptyset le ge
"""
COMMANDS = frozenset(_COMMANDS.split())
TOKEN = re.compile(
    r"\\begin\{([pbvB]?matrix|cases|array)\}(?:\{[clr|]{1,20}\})?|\\end\{(?:[pbvB]?matrix|cases|array)\}|\\[A-Za-z]+|\\[{}|\\]|[A-Za-z]+|\d[\d.,]*|.",
    re.DOTALL,
)
OPERATORS = frozenset("+-*/^_()[]{}|!'.,")
_SHORT_WORDS = """
in to of or by at is no on if am pm we he me my up us go do so as an be it ok and the not but for one two six ten
per out all any few old new yes bad odd even none less more last off via
"""
SHORT_WORDS = frozenset(_SHORT_WORDS.split())
MATRIX = re.compile(r"\\begin\{[pbvB]?matrix\}")
CLASSES = {
    "sum": r"\\(?:sum|prod)(?![a-z])",
    "integral": r"\\int(?![a-z])",
    "limit": r"\\lim(?![a-z])",
    "derivative": r"\\(?:partial|prime)(?![a-z])|(?<=[A-Za-z)])'"
    r"|\\frac\s*\{\s*(?:d|\\partial)\s*\w*\s*\}\s*\{\s*(?:d|\\partial)\s*[a-z]",
    "binomial": r"\\[dt]?binom|\bC_",
    "factorial": r"!",
    "divisor": r"\\(?:gcd|lcm|max|min)(?![a-z])",
    "determinant": r"\\det(?![a-z])|\\begin\{vmatrix\}",
    "modulo": r"\\(?:bmod|pmod|mod)(?![a-z])",
    "trigonometry": r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?(?![a-z])",
    "logarithm": r"\\(?:log|ln|lg)(?![a-z])",
    "rounding": r"\\[lr](?:floor|ceil)",
    "absolute": r"(?<!\\)\|",
    "arithmetic": r"(?<=[\w}).!])\s*[-+*/^]|\\(?:times|cdot|div|frac|sqrt|pm)(?![a-z])"
    r"|(?<=[\d}a-z)])\s*[({\\a-zA-Z]|\d\s+\d",
}
CLASSES_COMPILED = {name: re.compile(pattern) for name, pattern in CLASSES.items()}


def as_latex(text: str) -> str | None:
    """``text`` as LaTeX whose every token is known, with words such as ``sqrt`` as commands; ``None`` if one is not."""
    text = re.sub(r"\bover\b", "/", text) if re.fullmatch(r"[\s\S]*\d\s+over\s+\d[\s\S]*", text) else text
    text = re.sub(
        r"(?<![\\A-Za-z])sqrt\s*(?:\(([^()]{1,60})\)|(\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z])))", r"\\sqrt{\1\2}", text
    )
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    # math-verify takes 2(5) for the mixed number 7; not after a subscript, as in log_2(8)
    text = re.sub(r"(?<![\w_^.\\}])(\d+)\s*\((?=[\d\\-])", r"\1\\cdot(", text)
    text = text.replace(ROMAN, "")
    matrix = bool(MATRIX.search(text))
    out: list[str] = []
    before = ""
    for found in TOKEN.finditer(text):
        token = found[0]
        if token.startswith((r"\begin", r"\end")):
            out.append(token)
        elif token.startswith("\\"):
            if (token == r"\\" and matrix) or token in (r"\{", r"\}", r"\|"):
                out.append(token)
            elif token[1:] in COMMANDS:
                out.append(token + (" " if token[1:].isalpha() else ""))
            else:
                return None
        elif token.isascii() and token.isalpha():
            word = _letters_as_latex(
                token, glued=bool(before) and not before.isspace(), after=text[found.end() : found.end() + 1]
            )
            if word is None:
                return None
            out.append(word)
        elif token[0].isdigit():
            out.append(token.rstrip(",."))
            if token.endswith(","):
                out.append(",")
        elif token.isspace():
            out.append(" ")
        elif token in OPERATORS or (matrix and token == "&") or token == "°":
            out.append(r"\cdot " if token == "*" else r"\cdot\frac{\pi}{180}" if token == "°" else token)
        else:
            return None
        before = token
    latex = "".join(out).strip()
    if not re.search(r"[\w\\]", latex) or (
        "," in latex and not (matrix or re.search(r"\(|\\(?:gcd|lcm|max|min)", latex))
    ):
        return None
    return (
        None
        if latex.startswith(("/", "^", "!", ")", "_", "\\cdot", "\\times"))
        or latex.endswith(("+", "-", "/", "^", "\\cdot", "_"))
        else latex
    )


def _letters_as_latex(word: str, *, glued: bool, after: str) -> str | None:
    """A run of letters: a function's name, a product of variables; ``None`` for a word of a language."""
    if len(word) == 1:
        return word
    lower = word.lower()
    for name in FUNCTIONS:
        if lower == name or (
            lower.startswith(name) and len(lower) - len(name) == 1 and name not in ("pi", "infty", "infinity")
        ):
            command = {"infinity": "infty", "mod": "bmod"}.get(name, name)
            return rf"\{command} " + word[len(name) :]
    if lower in SHORT_WORDS or len(word) > 4:
        return None
    touching = glued or bool(after and after in "^_(+-*/=!|\\")
    if (
        (touching and (len(word) < 4 or not re.search("[aeiou]", word)))
        or (len(word) <= 3 and lower not in UNITS and (len(word) < 3 or not re.search("[aeiou]", lower)))
        or (word.isupper() and len(word) < 4)
    ):
        return word
    return None


def operations(latex: str) -> frozenset[str]:
    """The kinds of operations an expression leaves to the reader."""
    return frozenset(name for name, pattern in CLASSES_COMPILED.items() if pattern.search(latex))


def letters_of(text: str) -> set[str]:
    """The variables of an expression."""
    bare = re.sub(r"\\(?!alpha|beta|gamma|delta|theta|lambda|mu|sigma|phi|omega|rho|tau|epsilon)[A-Za-z]+", " ", text)
    return set(re.findall(r"\\[a-z]+|[A-Za-z]", bare)) - {"e", "i"}
