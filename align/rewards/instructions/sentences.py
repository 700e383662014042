"""Sentences in two readings: ended by what surely ends one, and by whatever may.

A lower bound counts the first, an upper bound the second: a policy that must keep to two sentences learns to leave out
the space behind a full stop, or the full stop, and to end sentences with abbreviations.
"""

from __future__ import annotations

import re

import regex

from align.rewards.instructions.lexicon import STOP_WORDS

_TITLES = "mr mrs ms dr prof sr jr st vs fig vol e.g i.e"  # a name or a number follows
_ABBREVIATIONS = "etc inc ltd co dept approx u.s u.k a.m p.m p.s p.p.s ph.d"  # may end a sentence
TITLES = frozenset(_TITLES.split())
ABBREVIATIONS = TITLES | frozenset(_ABBREVIATIONS.split())
_CLOSING = r"[\"'”’)\]*_`」』]*"
SENTENCE_END = regex.compile(r"(?:[.!?…]+[\"'”’)\]*_]*(?=\s)|[。！？]+[”』」]?|\n[ \t]*\n)")
POSSIBLE_END = regex.compile(rf"(?P<sign>[\p{{STerm}}.…]+){_CLOSING}|\n\s*")
# Inside of addresses and names of files a full stop ends nothing.
_SUFFIXES = """
com org net edu gov info io ai co uk de fr eu py js ts txt csv pdf json html htm xml md exe png jpg gif zip doc docx
cpp java css yaml toml log mp3 mp4
"""
SUFFIXES = frozenset(_SUFFIXES.split())
NEXT_WORD = regex.compile(r"\s*[\"'“‘(\[]*([\p{L}\p{M}'’]*)")
OPENED = regex.compile(r"[(\[{\"“‘«*_`/·–—-]*(\p{L}*)")
LETTERS = regex.compile(r"\p{L}+")
WRAPPED = 60  # characters of a line that was broken at a margin
WINDOW = 40  # characters before a sign that are looked at, so that no text costs quadratic time


def sentences_of(text: str) -> list[str]:
    """The sentences of a text that have a letter, without the white space around them."""
    found, start = [], 0
    for end in SENTENCE_END.finditer(text):
        word = _word_before(text, start, end.start()).lower()
        if end.group().startswith(".") and (word in ABBREVIATIONS or _is_label(text, end.end())):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if any(map(str.isalpha, sentence))]


def finest_sentences(text: str) -> list[str]:
    """The sentences if all that may end one does: a sign without a space behind it, an abbreviation, a line's end."""
    found, start = [], 0
    for end in POSSIBLE_END.finditer(text):
        if end.end() < len(text) and not _may_end(text, start, end):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if any(map(str.isalpha, sentence))]


def _may_end(text: str, start: int, end: regex.Match[str]) -> bool:
    if end["sign"] is None:
        return _line_ends(text, end)
    next_ = text[end.end()]
    if end["sign"] != ".":  # several signs, or one that stands nowhere else
        return next_.isspace() or next_.isalpha() or end["sign"][0] not in ".!?…" or next_ in '([{"“‘«¡¿'
    if next_.isspace():
        return not _is_abbreviation(text, start, end)
    return _is_glued(text, end)


def _line_ends(text: str, end: regex.Match[str]) -> bool:
    before = text[max(0, end.start() - WINDOW - WRAPPED) : end.start()].rstrip()
    if end.group().count("\n") > 1 or not before:
        return True
    wrapped = len(before) - before.rfind("\n") > WRAPPED and text[end.end()].islower()
    return not wrapped and before[-1] not in ",;:-–—"


def _is_abbreviation(text: str, start: int, end: regex.Match[str]) -> bool:
    """True if the full stop belongs to the word before it, and the words around it show that the sentence goes on."""
    word = _word_before(text, start, end.start())
    behind = NEXT_WORD.match(text, pos=end.end())
    next_ = behind[1] if behind else ""
    goes_on = next_[:1].islower() or not next_
    initial = behind is not None and len(next_) == 1 and text[behind.end() : behind.end() + 1] == "."
    name_follows = initial or next_.lower() not in STOP_WORDS
    if word.lower() in ABBREVIATIONS:
        return goes_on or (word.lower() in TITLES and name_follows)
    if _is_number(_line(text, end.end())):
        return True
    if not regex.fullmatch(r"\p{Lu}", word):
        return False
    before = text[max(0, end.start() - WINDOW) : end.start()].split()[-2:-1] or [""]
    # J. Smith, George W. Bush, by J. Smith; not: vitamin C. We
    named = not before[0] or before[0][:2].istitle() or before[0].lower() in STOP_WORDS
    return name_follows and named and not goes_on and word != "I"


def _is_glued(text: str, end: regex.Match[str]) -> bool:
    """True for a full stop between two words without a space; not in ``3.5``, ``U.S.A`` and ``example.com``."""
    before, behind = text[max(0, end.start() - WINDOW) : end.start()], text[end.end() : end.end() + WINDOW]
    next_ = OPENED.match(behind)
    one, other = LETTERS.match(before[::-1]), next_[1] if next_ else ""
    if len(other) < 2 or (one is not None and len(one[0]) == 1 and not other[0].isupper()):
        return False
    token = f"{before.rsplit(None, 1)[-1]}.{behind.split(None, 1)[0]}".lower()
    return SUFFIXES.isdisjoint(part for part in re.split(r"\W+", token)[1:])


def _word_before(text: str, start: int, end: int) -> str:
    return (text[max(start, end - WINDOW) : end].rsplit(None, 1)[-1:] or [""])[0].lstrip("(\"'“‘[")


def _line(text: str, end: int) -> str:
    """The line up to ``end``, or so much of it that it is no short one."""
    begin = max(0, end - WINDOW)
    return text[max(begin, text.rfind("\n", begin, end) + 1) : end].strip()


def _is_number(line: str) -> bool:
    """True for the number of a list item."""
    return re.fullmatch(r"(?:[-*]\s*)?(?:\d+|[A-Za-z])\.", line) is not None


def _is_label(text: str, end: int) -> bool:
    """True for the number of a list item and for an initial (``1. First``, ``J. Smith``): they may end no sentence."""
    line = _line(text, end)
    return _is_number(line) or re.search(r"\b[A-HJ-Z]\.\Z", line) is not None
