"""The words, sentences and paragraphs of a response, and the places where a keyword stands in it.

Counting is where hacks begin: zero-width characters cut a word in two, a Cyrillic letter hides a forbidden word, a full
stop without a space behind it hides a sentence. So there are two readings. For what a response must have, the text is
taken without invisible characters and in compatibility form (NFKC): a word with a foreign letter in it is another word.
For what it must not have, or have too much of, it is read as a person sees it (:attr:`Text.shown`): letters that look
like Latin ones are those, blanks without a name are spaces, and whatever may end a sentence does
(:mod:`align.rewards.instructions.sentences`).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from functools import cached_property
from operator import eq, ge, gt, le, lt

import regex

from align.rewards.characters import BLANKS, without_invisible
from align.rewards.instructions.alike import folded, marks_of
from align.rewards.instructions.sentences import finest_sentences, sentences_of
from align.rewards.rules.words import UNSPACED

RUN = rf"(?:(?!{UNSPACED})[\p{{L}}\p{{N}}\p{{M}}])+"
# A run of letters and digits, as in IFEval; single characters where words are not separated.
WORD = regex.compile(rf"{UNSPACED}|{RUN}")
# A word with its apostrophes: don't, e-mail. Other hyphens join words.
PIECE = regex.compile(rf"{UNSPACED}|(?:(?<![\p{{L}}\p{{N}}])[^\P{{L}}AaIi]-)?{RUN}(?:['’]{RUN})*")
LONGEST_WORD, USUAL_WORD = 20, 6  # letters: longer runs are words without spaces between them
LONGEST_MEAN, MANY_WORDS = 9, 4  # letters a word, over so many words, that no language reaches
CAPITALS_INSIDE = regex.compile(r"(?<=\p{Ll})(?=\p{Lu})")
LONGEST_SENTENCE, USUAL_SENTENCE = 80, 40  # words: longer ones are sentences without full stops between them
JOINT = r"[\s_\-/·*`~]+"  # between the words of a phrase
TOKEN = re.compile(r"\S+")
BREAK = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
BLANK = re.compile(f"[{BLANKS}]")
OVERLAY = re.compile("[\u0305\u0332-\u0338\u20d0-\u20f0]")  # lines, strokes and frames over any character
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
TAG = re.compile(r"</?[A-Za-z][A-Za-z0-9]{0,15}(?:\s+[\w-]{1,20}=[^<>\n]{0,200})?\s?/?>")
EMPHASIS = regex.compile(r"(?<=[\p{L}\p{So}])(?:\*{1,3}|~~|`)(?=[\p{L}\p{So}])")
BLANK_LINE = re.compile(r"\n[ \t]*\n\s*")
DIVIDER = re.compile(r"\s?\*\*\*\s?")
RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": ge,
    "less than": lt,
    "at most": le,
    "more than": gt,
    "exactly": eq,
}


def keeps(relation: str, least: int, most: int, bound: int) -> bool:
    """True if a number keeps a bound in both readings of it: ``least`` as it is written, ``most`` as it is seen."""
    return all(RELATIONS[relation](number, bound) for number in (least, max(least, most)))


class Text:
    """A response, read for checking.

    Attributes:
        raw: as it was written, with ``\\n`` at the end of lines.
        text: without invisible characters, in compatibility form.
    """

    def __init__(self, text: str) -> None:
        self.raw = BREAK.sub("\n", text).strip()
        self.text = _compatible(self.raw)

    @cached_property
    def shown(self) -> str:
        """The text as a person sees it; see :func:`~align.rewards.instructions.alike.folded`."""
        return folded(self.spaced)

    @cached_property
    def spaced(self) -> str:
        """The text with spaces for blanks, and with the characters that HTML entities stand for."""
        text = html.unescape(self.raw) if "&" in self.raw else self.raw
        return _compatible(OVERLAY.sub("", BLANK.sub(" ", text)))

    @cached_property
    def rendered(self) -> str:
        """The same without what markdown does not show: comments, tags, and emphasis inside of words."""
        text = TAG.sub("", COMMENT.sub("", self.spaced)) if "<" in self.spaced else self.spaced
        return EMPHASIS.sub("", text)

    @cached_property
    def words(self) -> list[str]:
        """Words without punctuation, as they are written."""
        return WORD.findall(self.text)

    @cached_property
    def most_words(self) -> int:
        """The number of words for an upper bound, which words that are glued together do not keep."""
        words = WORD.findall(self.shown)
        letters, apart = sum(map(len, words)), sum(map(words_in, words))
        glued = len(words) >= MANY_WORDS and letters > LONGEST_MEAN * len(words)
        return max(apart, letters // USUAL_WORD) if glued else apart

    @cached_property
    def tokens(self) -> list[str]:
        """The parts between white space, without punctuation at the ends; signs alone are left out."""
        stripped = (bare(token) for token in TOKEN.findall(self.text))
        return [token for token in stripped if token]

    @cached_property
    def pieces(self) -> list[str]:
        """The words as they are seen, those that signs join taken apart: for rules about every word."""
        return PIECE.findall(self.shown)

    @cached_property
    def sentences(self) -> list[str]:
        """Sentences, each with its full stop. A blank line ends one, and so does the end of a list item."""
        return sentences_of(self.text)

    @cached_property
    def finest(self) -> list[str]:
        """Sentences, ended by whatever may end one: for upper bounds, and for rules about every sentence."""
        return finest_sentences(self.rendered)

    @cached_property
    def most_sentences(self) -> int:
        """The number of sentences for an upper bound, which sentences that run into one another do not keep."""

        def count(sentences: list[str]) -> int:
            lengths = [len(WORD.findall(sentence)) for sentence in sentences]
            return sum(1 if length <= LONGEST_SENTENCE else -(-length // USUAL_SENTENCE) for length in lengths)

        return (
            count(self.finest) if self.text.isascii() else max(count(self.finest), count(finest_sentences(self.shown)))
        )

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
        return len(_beginning(keyword).findall(self.text))

    def most(self, keyword: str) -> int:
        """The number of places where a reader sees a keyword, inside of words too, as in IFEval: for upper bounds."""
        return max(len(_anywhere(word).findall(text)) for word, text in self._readings(keyword))

    def holds(self, word: str) -> bool:
        """True if a reader sees a word that stands alone, once or several times without a space."""
        return any(_whole(each).search(text) for each, text in self._readings(word))

    def _readings(self, keyword: str) -> list[tuple[str, str]]:
        """A keyword and the text, as written and as seen; marks that the keyword has count in both."""
        marks = marks_of(keyword)
        texts = dict.fromkeys((self.text, self.spaced, self.rendered))
        return [(keyword, text) for text in texts] + [(folded(keyword, marks), folded(text, marks)) for text in texts]


def words_in(run: str) -> int:
    """The number of words that a run of letters may be: ``TheOldLamp`` is three."""
    parts = CAPITALS_INSIDE.split(run)
    parts = parts if len(parts) > 2 else [run]  # JavaScript is one
    return sum(1 if len(part) <= LONGEST_WORD else -(-len(part) // USUAL_WORD) for part in parts)


def bare(token: str) -> str:
    """A token without punctuation and symbols at its ends."""
    return re.sub(r"^[\W_]+|[\W_]+$", "", token)


def compared(text: str) -> str:
    """``text`` as two texts are compared: without invisible characters, on one line, in small letters."""
    return " ".join(unicodedata.normalize("NFKC", without_invisible(text)).split()).lower()


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", without_invisible(text)).strip()


def _escaped(keyword: str, space: str = r"\s+") -> str:
    words = regex.escape(unicodedata.normalize("NFKC", keyword).strip(), special_only=True, literal_spaces=True)
    return regex.sub(r" +", lambda _: space, words)


def _anywhere(keyword: str) -> regex.Pattern[str]:
    return regex.compile(_escaped(keyword, JOINT), regex.IGNORECASE)


def _beginning(keyword: str) -> regex.Pattern[str]:
    spaced = regex.match(rf"(?!{UNSPACED})[\p{{L}}\p{{N}}]", keyword.strip())
    return regex.compile((r"(?<![\p{L}\p{N}\p{M}])" if spaced else "") + _escaped(keyword), regex.IGNORECASE)


def _whole(word: str) -> regex.Pattern[str]:
    """A digit beside a word does not make it another one, nor does an underscore."""

    def edge(char: str) -> str:
        if not regex.fullmatch(rf"(?!{UNSPACED})[\p{{L}}\p{{N}}\p{{M}}]", char):
            return ""
        return r"\p{N}" if regex.fullmatch(r"\p{N}", char) else r"[\p{L}\p{M}]"

    word = word.strip()
    before, behind = edge(word[:1]), edge(word[-1:])
    pattern = rf"(?:{_escaped(word, JOINT)})+"
    pattern = (f"(?<!{before})" if before else "") + pattern + (f"(?!{behind})" if behind else "")
    return regex.compile(pattern, regex.IGNORECASE)
