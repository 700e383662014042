"""Constraints of IFBench on the form of a response; see :mod:`align.rewards.instructions.ifbench`."""

from __future__ import annotations

import re
import string
from itertools import pairwise

from align.rewards.instructions.lexicon import SMALL_WORDS
from align.rewards.instructions.registry import constraint
from align.rewards.instructions.text import Text, compared

EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u203c\u2049\u231a-\u23ff\u3030\u303d]")
CLOSING = {")": "(", "]": "[", "}": "{"}
DEEP, DEEP_QUOTES = 5, 3


@constraint("format:parentheses")
def nested_brackets(text: Text) -> bool:
    """Five brackets inside one another, rightly closed."""
    open_: list[str] = []
    deepest = 0
    for char in text.text:
        if char in "([{":
            open_.append(char)
            deepest = max(deepest, len(open_))
        elif char in CLOSING:
            if not open_ or open_.pop() != CLOSING[char]:
                open_, deepest = [], 0
            elif not open_:
                if deepest >= DEEP:
                    return True
                deepest = 0
    return False


@constraint("format:quotes")
def nested_quotes(text: Text) -> bool:
    """Three quotations inside one another, double and single marks in turn."""
    open_: list[str] = []
    deepest = 0
    plain = re.sub("[“”„]", '"', re.sub("[‘’]", "'", text.text))
    plain = re.sub(r"(?<=\w)'(?=\w)", "", plain)  # an apostrophe
    for char in plain:
        if char not in "\"'":
            continue
        if open_ and open_[-1] == char:
            open_.pop()
            if not open_ and deepest >= DEEP_QUOTES:
                return True
            deepest = deepest if open_ else 0
        else:
            open_.append(char)
            deepest = max(deepest, len(open_))
    return False


@constraint("format:options")
def one_option(text: Text, options: str) -> bool:
    """One of the options and nothing else. They are separated by a slash, by "or" or by commas."""
    separator = "/" if "/" in options else r"\bor\b" if re.search(r"\bor\b", options) else ","
    known = {compared(option).strip(string.punctuation + " ") for option in re.split(separator, options)}
    return compared(text.text).strip(string.punctuation + " ") in known - {""}


@constraint("format:newline")
def a_word_a_line(text: Text) -> bool:
    return all(len(line.split()) == len(Text(line).pieces) == 1 for line in text.lines) and len(text.lines) > 1


@constraint("format:emoji")
def emoji_ends(text: Text) -> bool:
    """An emoji at the end of every sentence, in front of its full stop or behind it."""
    lines = (line for line in text.lines if not line.lstrip().startswith("#"))  # a heading is no sentence
    parts = [part for line in lines for part in re.split(r"(?<=[.!?。！？])", re.sub(r"\s+", " ", line))]
    marked: list[bool] = []
    for part in parts:
        lead = re.match(rf"[\s\"'”’)]*(?:{EMOJI.pattern})", part)
        if lead and marked:
            marked[-1] = True
            part = part[lead.end() :]
        if re.search(r"\w", part):
            marked.append(EMOJI.fullmatch(re.sub(r"[\s.!?。！？\"'”’)]+$", "", part)[-1:]) is not None)
    return bool(marked) and all(marked)


@constraint("format:line_indent")
def stairs(text: Text) -> bool:
    """Each line begins further to the right than the one before it."""
    indents = [len(line) - len(line.lstrip(" \t")) for line in text.lines]
    return len(indents) > 1 and all(a < b for a, b in pairwise(indents))


@constraint("format:quote_unquote")
def quotes_explained(text: Text) -> bool:
    """Words follow every quotation, up to the next one."""
    parts = re.split('[“”"]', text.text)
    return len(parts) > 2 and len(parts) % 2 == 1 and all(re.search(r"\w", part) for part in parts[2::2])


@constraint("format:list")
def items_behind(text: Text, sep: str) -> bool:
    """At least two lines that begin with the given marker."""
    return sum(re.search(r"\w", line) is not None and line.strip().startswith(sep.strip()) for line in text.lines) >= 2


@constraint("format:thesis")
def italic_thesis(text: Text) -> bool:
    found = re.search(r"<(i|em)>([^<]*\w[^<]*)</\1>(.*)", text.text, re.DOTALL | re.IGNORECASE)
    return found is not None and re.search(r"\w", found[3]) is not None


@constraint("format:sub-bullets")
def bullets_below_bullets(text: Text) -> bool:
    items = [line.strip() for line in text.lines if line.strip()[0] in "*-"]
    signs = [item[0] for item in items if re.search(r"\w", item)]
    return (
        len(signs) == len(items)
        and "*" in signs
        and signs[0] == "*"
        and all(b == "-" for a, b in pairwise([*signs, "*"]) if a == "*")
    )


@constraint("format:no_bullets_bullets")
def sentences_then_bullets(text: Text) -> bool:
    """Two sentences that end with a full stop, then at least two bullets and nothing else."""
    bullets = [re.match(r"\s*\*.*\w", line) is not None for line in text.lines]
    first = bullets.index(True) if True in bullets else len(bullets)
    before = Text("\n".join(text.lines[:first])).sentences
    return sum(each.endswith(".") for each in before) >= 2 and sum(bullets) >= 2 and all(bullets[first:])


@constraint("format:title_case")
def title_case(text: Text) -> bool:
    """Every word but articles, conjunctions and prepositions begins with a capital; the first one does."""
    words = [word for word in text.pieces if word[0].isalpha()]
    return bool(words) and all(
        word[0].isupper() or (place > 0 and word in SMALL_WORDS) for place, word in enumerate(words)
    )


@constraint("format:output_template")
def template(text: Text) -> bool:
    """The three headings in order, each with text."""
    found = re.search(r"My Answer:(.*)My Conclusion:(.*)Future Outlook:(.*)", text.text, re.DOTALL)
    return found is not None and all(re.search(r"\w", part) for part in found.groups())


@constraint("format:no_whitespace")
def no_white_space(text: Text) -> bool:
    return not any(char.isspace() for char in text.shown)
