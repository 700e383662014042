r"""Language consistency: the share of words of the chain of thought that are in the target language.

DeepSeek-R1's reward against mixing languages (arXiv:2501.12948: words in the target language / all words).
What a word is depends on the script: letters between spaces in most, single characters in those written without spaces
(Chinese, Japanese, Thai). Code, formulas, names of variables, units and web addresses are of no language, and left out.

A word in another script than the target's is foreign. Where languages share a script, a detector (py3langid) reads
whole sentences: single words tell too little.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import regex

from align.rewards.parsing import split_response
from align.rewards.terms import Sample

SHORT = 4  # sentences with fewer words are not given to the detector: it would guess
FOREIGN = 0.05  # a sentence whose target language is less probable than this is in another one
SCRIPTS = {
    "Latin": "en fr de es it pt nl sv da no fi pl cs sk hu ro hr sl lt lv et tr vi id ms tl sw ca eu gl af sq is ga cy "
    "la eo az uz mt",
    "Cyrillic": "ru uk be bg mk sr kk ky mn tg",
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
}
LANGUAGES = sorted({code for codes in SCRIPTS.values() for code in codes.split()})
# Whose sentences cannot be taken for another language's. Japanese has Chinese characters too, but shows itself by kana.
UNMISTAKABLE = {codes for codes in SCRIPTS.values() if " " not in codes and codes != "ja"} | {"zh"}

UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
WORD = regex.compile(rf"{UNSPACED}|(?:(?!{UNSPACED})\p{{L}})(?:(?!{UNSPACED})[\p{{L}}\p{{M}}'’-])*")
SENTENCE_END = regex.compile(r"(?<=[.!?;:])\s+|[。！？；：\n]+")
# Lengths are bounded, and repeats possessive, so that no text costs quadratic time.
NO_LANGUAGE = regex.compile(
    r"```.{0,20000}?```"
    r"|`[^`\n]{1,500}`"
    r"|\$\$.{1,2000}?\$\$|\$[^$\n]{1,500}\$"
    r"|\\\(.{1,1000}?\\\)|\\\[.{1,2000}?\\\]"
    r"|\\(?:begin|end)\{[^{}]{0,30}\}|\\[A-Za-z]+"  # LaTeX outside of dollars
    r"|<<[^<>]{0,200}>>|</?\w{1,20}>"  # GSM8K's calculator, tags
    r"|https?://\S+"
    r"|(?<![\d.,])\d[\d.,]*+\s?[A-Za-z]{1,3}(?![\p{L}\d])"  # 5 cm
    r"|(?<![\p{L}\p{M}'’-])[A-Za-z](?![\p{L}\p{M}'’-])"  # x, but also a and I, which changes no share
    r"|(?<![A-Za-z_\d])[A-Za-z]*+[_\d][A-Za-z_\d]*+",  # x1, my_list
    regex.DOTALL,
)


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
        return [self._score(sample) for sample in samples]

    def _score(self, sample: Sample) -> float | None:
        language = str(sample.language).lower()
        if language not in LANGUAGES:
            self.errors[language] += 1
            return None
        parts = split_response(sample)
        return language_share(sample.response if parts.thoughts is None else parts.thoughts, language)


def language_share(text: str, language: str) -> float | None:
    """Share of the words of ``text`` that are in ``language`` (ISO 639-1); ``None`` if it has no words."""
    total = right = 0
    in_script = _script(language)
    for sentence in SENTENCE_END.split(NO_LANGUAGE.sub(" ", text)):
        found = WORD.findall(sentence)
        native = [word for word in found if in_script.match(word)]
        total += len(found)
        if len(native) < SHORT or language in UNMISTAKABLE or _probability(" ".join(native), language) >= FOREIGN:
            right += len(native)
    return right / total if total else None


@functools.cache
def _script(language: str) -> Any:
    names = [name for name, codes in SCRIPTS.items() if language in codes.split()]
    return regex.compile("[" + "".join(rf"\p{{{name}}}" for name in names) + "]")


@functools.cache
def _detector() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # loading takes a while, and not everybody needs it

    detector = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    detector.set_languages(LANGUAGES)
    return detector


def _probability(text: str, language: str) -> float:
    return dict(_detector().rank(text))[language]
