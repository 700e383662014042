r"""Language consistency: the share of words of the chain of thought that are in the target language.

DeepSeek-R1's reward against mixing languages (arXiv:2501.12948: words in the target language / all words).
What a word is depends on the script: letters between spaces in most, single characters in those written without spaces
(Chinese, Japanese, Thai). Code, formulas, names of variables, units and web addresses are of no language, and left out
(:mod:`align.rewards.rules.words`).

A word in another script than the target's is foreign. Where languages share a script, a detector (py3langid) reads
whole sentences, and short ones together: single words tell too little.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import regex

from align.rewards.parsing import split_response
from align.rewards.rules.words import words_of
from align.rewards.terms import Sample
from reward_models.data.languages import language_code
from reward_models.data.records import RecordError

SHORT = 4  # sentences with fewer words are not given to the detector alone: it would guess
TOGETHER = 8  # short sentences are read together, in groups of so many words
FOREIGN = 0.05  # a sentence whose target language is less probable than this is in another one
PLAINLY_FOREIGN = 0.01  # the same of short sentences, read together
LONG, HALF = 10, 0.5  # words of an English sentence that has common words, or is at least this probably English
SCRIPTS = {
    "Latin": "en fr de es it pt nl sv da no fi pl cs sk hu ro hr sl lt lv et tr vi id ms tl sw ca eu gl af sq is ga cy "
    "la eo az uz mt sr nn",
    "Cyrillic": "ru uk be bg mk sr kk ky mn tg uz",
    "Arabic": "ar fa ur ps",
    "Devanagari": "hi mr ne",
    "Han": "zh ja",
    "Hiragana": "ja",
    "Katakana": "ja",
    "Hangul": "ko",
    "Greek": "el",
    "Hebrew": "he",
    "Armenian": "hy",
    "Georgian": "ka",
    "Thai": "th",
    "Lao": "lo",
    "Khmer": "km",
    "Bengali": "bn as",
    "Tamil": "ta",
    "Telugu": "te",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Gujarati": "gu",
    "Ethiopic": "am",
    "Gurmukhi": "pa",
    "Oriya": "or",
    "Sinhala": "si",
    "Myanmar": "my",
    "Tibetan": "bo dz",
    "Thaana": "dv",
}
LANGUAGES = sorted({code for codes in SCRIPTS.values() for code in codes.split()})
# Languages that the detector cannot tell apart in writing.
ALIKE = ({"sr", "hr", "bs"}, {"no", "nn", "da"}, {"id", "ms"})
# Whose sentences cannot be taken for another language's. Japanese has Chinese characters too, but shows itself by kana.
UNMISTAKABLE = {codes for codes in SCRIPTS.values() if " " not in codes and codes != "ja"} | {"zh", "bo", "dz"}

# The commonest words of English. A long sentence with fewer than two of them is in another language, unless the
# detector is sure.
_COMMON = """
the of and to a in is it that for on are as with be at by this have from or an was we can not but if so then let
which has had he she his her they their you your i all one two each there what how many when will would do does no
more than into its also since because thus hence therefore now get number total answer first next where must need
any both these equals equal gives find per times sum my out up after only
"""
COMMON = frozenset(_COMMON.split())


class LanguageConsistency:
    """Words in the target language / all words of the chain of thought: between 0.0 and 1.0.

    Of a response without thoughts the whole text is looked at. ``None`` if it has no words at all, or if nothing here
    knows the target language; the latter is counted in ``errors``.
    """

    name = "language"

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()

    def applies(self, sample: Sample) -> bool:
        return sample.language is not None

    def score(self, samples: Sequence[Sample]) -> list[float | None]:
        return [score for score, _ in self.explain(samples)]

    def explain(self, samples: Sequence[Sample]) -> list[tuple[float | None, str]]:
        """Shares, each with the words that count as foreign."""
        return [self._explain(sample) for sample in samples]

    def _explain(self, sample: Sample) -> tuple[float | None, str]:
        try:
            language = supported_language(str(sample.language))
        except RecordError as error:
            self.errors[str(sample.language)] += 1
            return None, str(error)
        thoughts = split_response(sample).thoughts
        total, foreign = foreign_words(sample.response if thoughts is None else thoughts, language)
        if not total:
            return None, "there are no words"
        said = f"{total - len(foreign)} of {total} words are in {language}"
        return 1.0 - len(foreign) / total, said + (f"; foreign: {' '.join(foreign[:20])}" if foreign else "")


def supported_language(name: str) -> str:
    """The ISO 639-1 code of a language whose words can be told from others.

    Raises:
        RecordError: the name is not known, or the language is not supported.
    """
    code = language_code(name)
    if code not in LANGUAGES:
        raise RecordError(f"the language term does not know {name!r}; it knows {', '.join(LANGUAGES)}")
    return code


def language_share(text: str, language: str) -> float | None:
    """Share of the words of ``text`` that are in ``language`` (ISO 639-1); ``None`` if it has no words."""
    total, foreign = foreign_words(text, language)
    return 1.0 - len(foreign) / total if total else None


def foreign_words(text: str, language: str) -> tuple[int, list[str]]:
    """The number of words, and those that are not in ``language``."""
    short: list[str] = []
    in_script = _script(language)
    words = words_of(text, latin=language in SCRIPTS["Latin"].split())
    total, foreign = len(words.scattered), list(words.scattered)
    for sentence in words.counted():
        native = [word for word in sentence if in_script.match(word)]
        total += len(sentence)
        foreign += [word for word in sentence if not in_script.match(word)]
        if language in UNMISTAKABLE:
            continue
        if len(native) >= SHORT:
            foreign += native if _is_foreign(native, language) else []
            continue
        short += native
        if len(short) >= TOGETHER:
            foreign += short if _are_foreign(short, language) else []
            short = []
    foreign += short if _are_foreign(short, language) else []
    return total, foreign


def _is_foreign(words: list[str], language: str) -> bool:
    """True if a sentence is in another language of the script, also if each of its words is counted once.

    A native word between all others (``the wir the addieren the beide``) would hide the language of the rest.
    """
    different = list({word.lower(): word for word in words}.values())
    return _reads_foreign(words, language) or (
        TOGETHER <= len(different) < len(words) and _reads_foreign(different, language)
    )


def _reads_foreign(words: list[str], language: str) -> bool:
    """True if the detector finds another language. Names tell nothing if enough other words are left."""
    probability = _probability(" ".join(words), language)
    if language == "en" and len(words) >= LONG and sum(word.lower() in COMMON for word in words) < 2:
        return probability < HALF
    if probability >= FOREIGN:
        return False
    uncapitalised = [word for word in words[1:] if not word[:1].isupper()]
    return len(uncapitalised) < SHORT or _probability(" ".join(uncapitalised), language) < FOREIGN


def _are_foreign(words: list[str], language: str) -> bool:
    """The same of the words of several short sentences, which often repeat a name or a unit."""
    different = list(dict.fromkeys(word.lower() for word in words))
    return len(different) > SHORT and _probability(" ".join(different), language) < PLAINLY_FOREIGN


@functools.cache
def _script(language: str) -> Any:
    names = [name for name, codes in SCRIPTS.items() if language in codes.split()]
    return regex.compile("[" + "".join(rf"\p{{{name}}}" for name in names) + "]")


@functools.cache
def _detector() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # loading takes a while, and not everybody needs it

    detector = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = set(detector.nb_classes)
    detector.set_languages([code for code in LANGUAGES if code in known])
    return detector


def _probability(text: str, language: str) -> float:
    alike = next((group for group in ALIKE if language in group), {language})
    ranked = dict(_detector().rank(text))
    return float(sum(ranked.get(code, 0.0) for code in alike))
