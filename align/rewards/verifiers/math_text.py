"""From the text of an answer to one line of LaTeX: characters, markup, and the place of the answer in a sentence.

Nothing here knows mathematics. A text that hides or reorders what it shows (bidirectional controls) is refused.
"""

from __future__ import annotations

import re
import unicodedata

from align.rewards.characters import REORDERING, without_invisible
from align.rewards.verifiers.math_units import EASTERN_HEDGES, HEDGES

LONGEST = 2000  # characters of one answer; longer ones are none
ROMAN = "\ue001"  # before a letter that was set upright behind a number: a unit
MONEY = "\ue000"  # a dollar sign that is money, once the dollars around formulas are gone

SUPERSCRIPT = {c: unicodedata.normalize("NFKC", c) for c in "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ"}
ROOTS = {"√": "", "∛": "[3]", "∜": "[4]"}
SUBSCRIPT = {c: unicodedata.normalize("NFKC", c) for c in "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎"}
GREEK = {c: rf"\{unicodedata.name(c).split()[-1].lower()} " for c in "αβγδζηθικλμνξρστφχψωΓΔΘΛΞΣΦΨΩ"} | {
    "λ": r"\lambda ",
    "Λ": r"\Lambda ",
    "ε": r"\epsilon ",
    "π": r"\pi ",
    "ϕ": r"\phi ",
    "ϵ": r"\epsilon ",
    "ϑ": r"\theta ",
}
GREEK |= {c: rf"\{GREEK[c.lower()].strip()[1:].capitalize()} " for c in "ΓΔΘΞΣΦΨΩ"}
SYMBOLS = GREEK | {
    "−": "-",
    "–": "-",
    "—": "-",
    "‐": "-",
    "‑": "-",
    "﹣": "-",
    "×": r"\times ",
    "✕": r"\times ",
    "·": r"\cdot ",
    "⋅": r"\cdot ",
    "∙": r"\cdot ",
    "÷": r"\div ",
    "∕": "/",
    "⁄": "/",
    "∞": r"\infty ",
    "≤": r"\le ",
    "⩽": r"\le ",
    "≥": r"\ge ",
    "⩾": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "∠": r"\angle ",
    "ℝ": r"\mathbb{R}",
    "ℕ": r"\mathbb{N}",
    "ℤ": r"\mathbb{Z}",
    "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}",
    "′": "'",
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
    "、": ",",
    "，": ",",
    "∶": ":",
    "：": ":",
    "；": ";",
    "˚": "°",
    "º": "°",
    "∑": r"\sum ",
    "∏": r"\prod ",
    "∫": r"\int ",
}
# Spacing and sizes, which carry no meaning. \, becomes a space: it separates thousands.
NO_MEANING = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|mathstrut|rm|bf|it|large|Large)(?![A-Za-z])\.?|\\!"
)
SPACE = re.compile(r"(?<!\\)\\(?:quad|qquad|thinspace|medspace|thickspace|hspace\{[^{}]{0,20}\}|[,;:> ])|(?<!~)~(?!~)")
TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|up|normal)?|bold|mathrm|mathbf|mathit|mathsf|operatorname\*?|mbox|hbox|boldsymbol|bm|emph|underline|"
    r"boxed|fbox|framebox|ensuremath|mathbf|(?:text)?color\{(?!white)\w{1,20}\})\s*\{((?:[^{}]|\{[^{}]{0,200}\})*)\}"
)
COLOUR = re.compile(r"\\color\s*\{(?!white)\w{1,20}\}(?!\s*\{)")
# A mark that the answer is right, or that a proof ends.
TICKS = re.compile(r"[✅✓✔☑🎉∎■□▪]\ufe0f?|\\(?:checkmark|blacksquare|qed|square)(?![A-Za-z])")
# The words with which an author ends, behind the answer: "7 — done", "7 QED"; not the end of a word, as in "well-done".
CLOSED = re.compile(
    r"(?<=[\w})%°])(?:(?:\s*[,;.]|(?:(?<=[\d})%°])|\s+)\s*[-(])[-,;.(]*\s*(?:done|finished|solved|that'?s\s+(?:it|all))|[\s,;.(-]+q\.?\s?e\.?\s?d)[.!)]*$",
    re.IGNORECASE,
)
# 1'234'567, 1_234_567
GROUPED = re.compile(r"(?<![\w.'])\d{1,3}(?:'\d{3})+(?![\w'])|(?<![\w.])\d{1,3}(?:_\d{3})+(?![\w])")
SET_BUILDER = re.compile(r"^\\\{\s*([A-Za-z])\s*(?:\\in\s*\\mathbb\s*\{?R\}?\s*)?[:|]\s*(.+?)\s*\\\}$")
SAME = {
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\nicefrac": r"\frac",
    r"\sfrac": r"\frac",
    r"\textdollar": MONEY,
    r"\notin": r"\not\in",
    r"\cfrac": r"\frac",
    r"\leqslant": r"\le",
    r"\geqslant": r"\ge",
    r"\leqq": r"\le",
    r"\geqq": r"\ge",
    r"\leq": r"\le",
    r"\geq": r"\ge",
    r"\neq": r"\ne",
    r"\lt": "<",
    r"\gt": ">",
    r"\varnothing": r"\emptyset",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\lbrack": "[",
    r"\rbrack": "]",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\vert": "|",
    r"\mid": "|",
    r"\ast": "*",
    r"\colon": ":",
    r"\degree": "°",
    r"\deg": "°",
    r"\textdegree": "°",
    r"\infin": r"\infty",
    r"\varphi": r"\phi",
    r"\varepsilon": r"\epsilon",
    r"\rightarrow": r"\to",
    r"\land": r" and ",
    r"\lor": r" or ",
    r"\euro": "€",
    r"\pounds": "£",
    r"\cent": "¢",
}
# A matrix in brackets of its own, after \left and \right are gone.
ARRAY = re.compile(
    r"(?P<open>[(\[|])\s*\\begin\{array\}\s*\{[clr|\s]{1,20}\}(?P<rows>.*?)\\end\{array\}\s*[)\]|]", re.DOTALL
)
ANGLE = re.compile(r"\\(sin|cos|tan|cot|sec|csc)(?![a-z])\s*[({]?\s*(\d+(?:\.\d+)?)\s*°\s*[)}]?")
UPRIGHT = re.compile(r"(?<=[\d}])\s*\\(?:text|mathrm)\s*\{\s*([A-Za-z])\s*\}")
COMMAND = re.compile(r"\\[A-Za-z]+")
SHORT_FRACTION = re.compile(r"\\frac\s*(?:(\d)\s*(\d)|(\d)\s*\{([^{}]*)\}|\{([^{}]*)\}\s*(\d))(?![\d}])")
# LaTeX between dollars as pandoc has it: no space inside the dollars, no digit behind the last.
DOLLARS = re.compile(r"\$\$(.{1,2000}?)\$\$|\$(?![\s$])((?:[^$]){0,2000}?)(?<![\s\\])\$(?!\d)", re.DOTALL)
MONTH = re.compile(r"(?<=[A-Za-z,] )May\b(?!\s+be\b)|^May(?=\s+(?:and|\d))")


class Unreadable(ValueError):
    """The text shows something else than it holds, or is too long to be an answer."""


def tidy(text: str) -> str:
    """One line of LaTeX without dollars, in ASCII digits, with one spelling of each symbol.

    Raises:
        Unreadable: bidirectional controls, or more than :data:`LONGEST` characters.
    """
    if REORDERING.search(text):
        raise Unreadable("it holds characters that change the order of what is shown")
    if len(text) > LONGEST:
        raise Unreadable(f"it is longer than {LONGEST} characters")
    text = characters(without_invisible(text))
    text = re.sub(r"\\\$", MONEY, text)
    text = _without_dollars(text)
    text = re.sub(r"\\[()]|\\[\[\]](?!\d*(?:em|ex|pt|mm)\])", " ", text)
    text = re.sub(r"\\(?:begin|end)\{(?:equation|align|aligned|gather|math|displaymath)\*?\}", " ", text)
    text = COMMAND.sub(lambda found: SAME.get(found[0], found[0]), NO_MEANING.sub("", text))
    text = SPACE.sub(" ", COLOUR.sub("", TICKS.sub(" ", text)))
    text = re.sub(r"\\not\s*=", r"\\ne ", text)
    text = re.sub(r">\s?=", r"\\ge ", re.sub(r"<\s?=(?!>)", r"\\le ", text))
    text = GROUPED.sub(lambda found: re.sub("['_]", "", found[0]), text)
    text = re.sub(r"\{\s*([,:])\s*\}", r"\1", text).replace(r"\%", "%")
    text = re.sub(r"\^\s*\{?\s*(?:\\circ|°)\s*\}?", "°", text)
    text = _without_text_commands(text)
    text = _without_markdown(text)
    text = re.sub(r"[负負](?=\d)", "-", text)
    text = re.sub(r"\^\s*\{?\s*(?:\\circ|°)\s*\}?", "°", text)
    text = re.sub(r"\s+\^", "^", text)
    text = re.sub(r"(?<=\d)\s?\^\s*\{?\s*o\s*\}?(?![A-Za-z])", "°", text)
    text = re.sub(r"(?<![A-Za-z\\])inf(?![A-Za-z])", r"\\infty ", text)
    text = re.sub(r"\\mathbb\s*([A-Z])", r"\\mathbb{\1}", text)
    text = ARRAY.sub(_matrix, text)
    text = ANGLE.sub(r"\\\1(\\frac{\2\\pi}{180})", text)
    for _ in range(3):
        text = SHORT_FRACTION.sub(_full_fraction, text)
    text = re.sub(r"\{\s*(-?\d+)\s*\\over(?![a-z])\s*(-?\d+)\s*\}|^(-?\d+)\s*\\over(?![a-z])\s*(-?\d+)$", _over, text)
    text = re.sub(r"\\sqrt\s*(\[\d+\])?\s*(\d)(?!\d)", r"\\sqrt\1{\2}", text)
    text = re.sub(r"\\sqrt\s*\(([^()]{1,40})\)", r"\\sqrt{\1}", text)
    return trim(CLOSED.sub("", re.sub(r"(?<!\\)\\$", "", " ".join(text.split()))))


def trim(text: str) -> str:
    """Without punctuation and quotes around it, and without braces around the whole."""
    while True:
        before = text
        text = text.strip().rstrip(".。,;、:").strip().removesuffix("\\\\")
        if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'":
            text = text[1:-1]
        if text.startswith("{") and closing(text, 0) == len(text) - 1:
            text = text[1:-1]
        if text.startswith("*"):
            text = text.strip("*")
        if len(text) > 2 and text[0] == text[-1] == "_" and "_" not in text[1:-1]:
            text = text[1:-1]
        if text == before:
            return text


def closing(text: str, start: int) -> int:
    """The place of the bracket that closes the one at ``start``; −1 without one. ``\\{`` counts as a bracket."""
    depth = 0
    skip = False
    for place in range(start, len(text)):
        if skip:
            skip = False
            if text[place] in "{}":
                depth += 1 if text[place] == "{" else -1
                if depth == 0:
                    return place
            continue
        char = text[place]
        if char == "\\":
            skip = True
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return place
    return -1


def characters(text: str) -> str:
    text = re.sub(f"[{''.join(SUPERSCRIPT)}]+", lambda m: "^{" + "".join(SUPERSCRIPT[c] for c in m[0]) + "}", text)
    text = re.sub(f"[{''.join(SUBSCRIPT)}]+", lambda m: "_{" + "".join(SUBSCRIPT[c] for c in m[0]) + "}", text)
    text = re.sub(r"(?<=\d)\s*([¼-¾⅐-⅞])", r" \1", text)
    text = re.sub("[¼-¾⅐-⅞]", _vulgar_fraction, text)
    out: list[str] = []
    for char in text:
        if char.isascii():
            out.append(char)
        elif char in SYMBOLS:
            out.append(SYMBOLS[char])
        elif char.isdecimal():
            out.append(str(unicodedata.decimal(char)))
        else:
            folded = unicodedata.normalize("NFKC", char)
            out.append(folded if folded == char else "".join(SYMBOLS.get(c, c) for c in folded))
    text = "".join(out)
    return re.sub(
        r"([√∛∜])\s*(\d+(?:\.\d+)?|[A-Za-z]|\{[^{}]{1,40}\})",
        lambda m: rf"\sqrt{ROOTS[m[1]]}{{{m[2].strip('{}')}}}",
        text,
    ).replace("√", r"\sqrt ")


def _without_dollars(text: str) -> str:
    """Drop the dollars around formulas; those before or behind a number are money."""
    text = DOLLARS.sub(lambda found: f" {found[1] or found[2]} ", text)
    text = re.sub(r"\$(?=\s*-?[\d.])|(?<=\d)\s?\$", MONEY, text)
    return text.replace("$", " ")


def _without_markdown(text: str) -> str:
    """Drop marks around whole values. Between two operands ``**`` is a power; other marks there stay, unread."""
    text = re.sub(r"^#{1,6}\s+", "", text)
    for _ in range(3):
        text = re.sub(r"(?<![\w)}\]*_`])(\*\*|__|`)(?=\S)([^`]{1,500}?)(?<=\S)\1(?![\w({\\])", r"\2", text)
    text = re.sub(r"(?<![\w)}\]])(?:\*\*|__|`)+|(?:\*\*|__|`)+(?!\s*(?:[\w({\\+-]|\.\d))", "", text)
    return re.sub(r"\s*\*\*\s*(-?(?:\d+(?:\.\d+)?|[A-Za-z](?!\w)))", r"^{\1}", text)


def _without_text_commands(text: str) -> str:
    """Unwrap ``\\text{…}`` and its like, five levels deep."""

    def plain(found: re.Match[str]) -> str:
        content = found[1]
        return (
            content
            if len(content.strip()) == 1 and found[0].startswith((r"\mathrm", r"\mathbf", r"\mathit", r"\bm", r"\bold"))
            else f" {content} "
        )

    text = UPRIGHT.sub(rf" {ROMAN}\1", text)
    for _ in range(5):
        changed = TEXT.sub(plain, text)
        if changed == text:
            break
        text = changed
    return text


def _vulgar_fraction(found: re.Match[str]) -> str:
    over, under = unicodedata.normalize("NFKC", found[0]).split("⁄")
    return rf"\frac{{{over}}}{{{under}}}"


def _over(found: re.Match[str]) -> str:
    return rf"\frac{{{found[1] or found[3]}}}{{{found[2] or found[4]}}}"


def _matrix(found: re.Match[str]) -> str:
    name = "vmatrix" if found["open"] == "|" else "pmatrix"
    return rf"\begin{{{name}}}{found['rows']}\end{{{name}}}"


def _full_fraction(found: re.Match[str]) -> str:
    over, under = (found[1], found[2]) if found[1] else (found[3], found[4]) if found[3] else (found[5], found[6])
    return rf"\frac{{{over}}}{{{under}}}"


def words_of(text: str) -> list[str]:
    """Its words of two letters or more outside of LaTeX commands, in lower case."""
    return [w.lower() for w in re.findall(r"(?<![\\A-Za-z])[^\W\d_]{2,}(?:'[a-z]+)?", text)]


def hedged(text: str) -> bool:
    """True if the text denies a value, gives a bound for it, or offers several."""
    text = MONTH.sub("", text)
    return any(word in HEDGES or word.endswith("n't") for word in words_of(text)) or bool(EASTERN_HEDGES.search(text))
