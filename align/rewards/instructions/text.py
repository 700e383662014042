"""The words, sentences and paragraphs of a response, and the places where a keyword stands in it.

Counting is where hacks begin: zero-width characters cut a word in two, a Cyrillic letter hides a forbidden word, a
full-width comma is a comma. Every text is therefore read without invisible characters and in compatibility form (NFKC).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cached_property
from operator import eq, ge, gt, le, lt

import regex

from align.rewards.characters import without_invisible
from align.rewards.rules.words import UNSPACED

# A run of letters and digits, as in IFEval; single characters where words are not separated.
WORD = regex.compile(rf"{UNSPACED}|(?:(?!{UNSPACED})[\p{{L}}\p{{N}}\p{{M}}])+")
LONGEST_WORD, USUAL_WORD = 20, 6  # letters: longer runs are words without spaces between them
TOKEN = re.compile(r"\S+")
BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
DIVIDER = re.compile(r"\s?\*\*\*\s?")
_ABBREVIATIONS = (
    "mr mrs ms dr prof sr jr st vs etc e.g i.e fig vol inc ltd co dept approx u.s u.k a.m p.m p.s p.p.s ph.d"
)
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
SENTENCE_END = regex.compile(r"(?:[.!?…]+[\"'”’)\]*_]*(?=\s)|[。！？]+[”』」]?|\n[ \t]*\n)")
# Letters of other scripts that look like Latin ones. Full-width and mathematical letters are plain ones after NFKC.
_LIKE = "аaеeоoрpсcуyхxіiјjѕsһhԁdԛqԝwвbкkмmнhтtΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧXοoαaνvιiρpАAВBЕEКKМMНHОOРPСCТTХXУYІIЈJЅS"
LOOK_ALIKE = str.maketrans(dict(zip(_LIKE[::2], _LIKE[1::2], strict=True)))
RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": ge,
    "less than": lt,
    "at most": le,
    "more than": gt,
    "exactly": eq,
}


class Text:
    """A response, read for checking."""

    def __init__(self, text: str) -> None:
        self.text = unicodedata.normalize("NFKC", without_invisible(text.replace("\r\n", "\n"))).strip()

    @cached_property
    def words(self) -> list[str]:
        """Words without punctuation, as they are written."""
        return WORD.findall(self.text)

    @cached_property
    def most_words(self) -> int:
        """The number of words for an upper bound, which words that are glued together do not keep."""
        return sum(1 if len(word) <= LONGEST_WORD else -(-len(word) // USUAL_WORD) for word in self.words)

    @cached_property
    def tokens(self) -> list[str]:
        """The parts between white space, without punctuation at the ends; signs alone are left out."""
        stripped = (bare(token) for token in TOKEN.findall(self.text))
        return [token for token in stripped if token]

    @cached_property
    def sentences(self) -> list[str]:
        """Sentences, each with its full stop. A blank line ends one, and so does the end of a list item."""
        return sentences_of(self.text)

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank, with their indentation."""
        return [line for line in self.text.split("\n") if line.strip()]

    @cached_property
    def paragraphs(self) -> list[str]:
        """The parts between blank lines."""
        return [part.strip() for part in BLANK_LINE.split(self.text) if part.strip()]

    def divided(self, divider: re.Pattern[str] = DIVIDER) -> list[str] | None:
        """The parts between dividers; ``None`` if one is empty. A divider at either end divides nothing."""
        parts = [part.strip() for part in divider.split(self.text)]
        inner = parts[not parts[0] : len(parts) - (len(parts) > 1 and not parts[-1])]
        return inner if inner and all(inner) else None

    def count(self, keyword: str) -> int:
        """The number of places where a keyword stands at the beginning of a word, in any case of letters."""
        return len(_keyword(keyword).findall(self.text))

    def holds(self, word: str) -> bool:
        """True if a word stands in the text alone, also if other letters are written to look like it."""
        pattern = _whole(word)
        return bool(pattern.search(self.text) or pattern.search(folded(self.text)))


def sentences_of(text: str) -> list[str]:
    """The sentences of a text that have a letter, without the white space around them."""
    found, start = [], 0
    for end in SENTENCE_END.finditer(text):
        before = text[start : end.start()].rsplit(None, 1)[-1:] or [""]
        word = before[0].lower().lstrip("(\"'“‘[")
        if end.group().startswith(".") and (word in ABBREVIATIONS or _is_label(text, end.end())):
            continue
        found.append(text[start : end.end()].strip())
        start = end.end()
    found.append(text[start:].strip())
    return [sentence for sentence in found if any(map(str.isalpha, sentence))]


def _is_label(text: str, end: int) -> bool:
    """True for the number of a list item and for an initial (``1. First``, ``J. Smith``): they end no sentence."""
    line = text[text.rfind("\n", 0, end) + 1 : end].strip()
    return re.fullmatch(r"(?:[-*]\s*)?(?:\d+|[A-Za-z])\.|.*\b[A-HJ-Z]\.", line) is not None


def bare(token: str) -> str:
    """A token without punctuation and symbols at its ends."""
    return re.sub(r"^[\W_]+|[\W_]+$", "", token)


def folded(text: str) -> str:
    """``text`` with letters that look like Latin ones, and letters with accents, in their place."""
    plain = unicodedata.normalize("NFD", text.translate(LOOK_ALIKE))
    return "".join(char for char in plain if unicodedata.category(char) != "Mn")


def compared(text: str) -> str:
    """``text`` as two texts are compared: without invisible characters, on one line, in small letters."""
    return " ".join(unicodedata.normalize("NFKC", without_invisible(text)).split()).lower()


def _keyword(keyword: str) -> regex.Pattern[str]:
    words = regex.escape(unicodedata.normalize("NFKC", keyword).strip(), special_only=True, literal_spaces=True)
    boundary = r"\b" if regex.match(rf"(?!{UNSPACED})\w", keyword.strip()) else ""
    return regex.compile(boundary + regex.sub(r" +", r"\\s+", words), regex.IGNORECASE)


def _whole(word: str) -> regex.Pattern[str]:
    inner = _keyword(word).pattern
    end = r"\b" if regex.search(rf"(?!{UNSPACED})\w\Z", word.strip()) else ""
    return regex.compile(inner + end, regex.IGNORECASE)
