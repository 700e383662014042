"""The 25 families of constraints of IFEval (Zhou et al. 2023, arXiv:2311.07911), under the ids of its data set.

Where IFEval's own program can be fooled, these are stricter: a keyword counts at the beginning of a word only, two
responses must be two, sections must have text, and a language is that of the words
(:mod:`align.rewards.rules.language`).
"""

from __future__ import annotations

import json
import re
from collections import Counter

from align.rewards.instructions.registry import constraint
from align.rewards.instructions.text import BLANK_LINE, WORD, Text, bare, compared, keeps, words_in
from align.rewards.rules.language import language_share, supported_language

ALIKE = 0.8
ENTIRE = 0.9  # share of words in the language that a response is to be written in: names of other languages are allowed
COMMAS = re.compile("[,،、‚՝߸፣᠂᠈⸲⸴⹁⹉⹌꓾꘍꛵❟❠\U0001144d\U00016e97]")
BULLET = re.compile(r"^[ \t]*(?:[*•‣⁃◦▪▫●○∙·➤→+–—]|-(?!--))(?:[ \t]+\S|(?=\w))", re.MULTILINE)
SEPARATOR = re.compile(r"\*{6}")
ANSWERS = ("my answer is yes", "my answer is no", "my answer is maybe")
QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»", "「": "」"}


@constraint("keywords:existence")
def keywords(text: Text, keywords: list[str]) -> bool:
    return all(text.count(keyword) for keyword in keywords)


@constraint("keywords:frequency")
def keyword_frequency(text: Text, keyword: str, frequency: int, relation: str) -> bool:
    return keeps(relation, text.count(keyword), text.most(keyword), frequency)


@constraint("keywords:forbidden_words")
def forbidden_words(text: Text, forbidden_words: list[str]) -> bool:
    return not any(text.holds(word) for word in forbidden_words)


@constraint("keywords:letter_frequency")
def letter_frequency(text: Text, letter: str, let_frequency: int, let_relation: str) -> bool:
    wanted = letter.strip().lower()
    written, seen = (each.lower().count(wanted) for each in (text.text, text.shown))
    return keeps(let_relation, written, seen, let_frequency)


@constraint("language:response_language")
def response_language(text: Text, language: str) -> bool:
    share = language_share(text.text, supported_language(language))
    return share is not None and share >= ENTIRE


@constraint("length_constraints:number_sentences")
def number_of_sentences(text: Text, num_sentences: int, relation: str) -> bool:
    return keeps(relation, len(text.sentences), text.most_sentences, num_sentences)


@constraint("length_constraints:number_paragraphs")
def number_of_paragraphs(text: Text, num_paragraphs: int) -> bool:
    return len(text.divided() or ()) == num_paragraphs


@constraint("length_constraints:number_words")
def number_of_words(text: Text, num_words: int, relation: str) -> bool:
    return keeps(relation, len(text.words), text.most_words, num_words)


@constraint("length_constraints:nth_paragraph_first_word")
def first_word_of_paragraph(text: Text, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    found = text.paragraphs
    if len(found) != num_paragraphs or not 1 <= nth_paragraph <= num_paragraphs:
        return False
    return bare(found[nth_paragraph - 1].split()[0]).lower() == bare(first_word.strip()).lower()


@constraint("detectable_content:number_placeholders")
def placeholders(text: Text, num_placeholders: int) -> bool:
    return len(re.findall(r"\[[^\[\]\n]{0,80}?\w[^\[\]\n]{0,80}?\]", text.text)) >= num_placeholders


@constraint("detectable_content:postscript")
def postscript(text: Text, postscript_marker: str) -> bool:
    """A line that begins with the marker, which has text behind it."""
    letters = re.findall(r"\w", postscript_marker)
    marker = r"\.?\s?".join(letters) + r"[.:]?" if len(letters) <= 3 else re.escape(postscript_marker.strip())
    return re.search(rf"^[\s*_]*{marker}[\s*_:]*\S*\w", text.text, re.MULTILINE | re.IGNORECASE) is not None


@constraint("detectable_format:number_bullet_lists")
def bullets(text: Text, num_bullets: int) -> bool:
    """So many lines with a markdown bullet and text, and none with another sign for one."""
    written = re.findall(r"^[ \t]*(?:\*(?!\*)|-(?!--))[ \t]*.*\w", text.text, re.MULTILINE)
    return keeps("exactly", len(written), len(BULLET.findall(text.text)), num_bullets)


@constraint("detectable_format:constrained_response")
def one_of_the_answers(text: Text) -> bool:
    """Exactly one of the three sentences, and neither of the others."""
    return all(
        sum(re.search(rf"\b{answer}\b", compared(each)) is not None for answer in ANSWERS) == 1
        for each in (text.text, text.shown)
    )


@constraint("detectable_format:number_highlighted_sections")
def highlights(text: Text, num_highlights: int) -> bool:
    found = re.findall(r"(?<!\*)(\*{1,3})(?!\s|\*)([^*\n]*?\w[^*\n]*?)\1(?!\*)", text.text)
    return len(found) >= num_highlights


@constraint("detectable_format:multiple_sections")
def sections(text: Text, section_spliter: str, num_sections: int) -> bool:
    """At least so many sections with a number of their own each, and with text."""
    parts = re.split(rf"^[\s#*_]*{re.escape(section_spliter.strip())}\s?(\d+)\b", text.text, flags=re.MULTILINE)[1:]
    found = {int(number) for number, part in zip(parts[::2], parts[1::2], strict=True) if re.search(r"\w", part)}
    return len(found) >= num_sections


@constraint("detectable_format:json_format")
def json_format(text: Text) -> bool:
    """The whole response is one JSON value, with or without a fence. A bare word or number is no JSON format."""
    inner = re.fullmatch(r"```(?:json)?\s*\n?(.*?)\n?\s*```", text.raw, re.DOTALL | re.IGNORECASE)
    try:
        return isinstance(json.loads(inner[1] if inner else text.raw, parse_constant=_no_json), dict | list)
    except (ValueError, RecursionError):
        return False


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@constraint("detectable_format:title")
def title(text: Text) -> bool:
    return re.search(r"<<[^<>\n]*\w[^<>\n]*>>", text.text) is not None


@constraint("combination:two_responses")
def two_responses(text: Text) -> bool:
    """Two different responses with six asterisks between them: a fifth of the words of the longer one is not shared."""
    parts = text.divided(SEPARATOR)
    if parts is None or len(parts) != 2:
        return False
    one, other = (Counter(piece.lower() for piece in Text(part).pieces) for part in parts)
    return (one & other).total() <= ALIKE * max(one.total(), other.total())


@constraint("combination:repeat_prompt")
def repeat_prompt(text: Text, prompt_to_repeat: str) -> bool:
    """The request word by word, and something behind it."""
    wanted, given = compared(prompt_to_repeat), compared(text.text)
    return given.startswith(wanted) and re.search(r"\w", given[len(wanted) :]) is not None


@constraint("startend:end_checker")
def end_phrase(text: Text, end_phrase: str) -> bool:
    wanted, given = compared(end_phrase).strip('"'), compared(text.text).rstrip('"*_ ')
    return given.endswith(wanted.rstrip('"*_ '))


@constraint("change_case:capital_word_frequency")
def capital_words(text: Text, capital_frequency: int, capital_relation: str) -> bool:
    seen = sum(words_in(word) for word in WORD.findall(text.shown) if word.isupper() or _nearly_upper(word))
    return keeps(capital_relation, sum(word.isupper() for word in text.words), seen, capital_frequency)


def _nearly_upper(word: str) -> bool:
    """True for ``DVDs`` and ``SEaS``: a small letter or two hide no word in capitals."""
    return len(word) > 2 and 3 * sum(map(str.isupper, word)) >= 2 * len(word)


@constraint("change_case:english_capital")
def capital_letters(text: Text) -> bool:
    return text.text.isupper() and is_english(text)


@constraint("change_case:english_lowercase")
def small_letters(text: Text) -> bool:
    return text.text.islower() and is_english(text)


@constraint("punctuation:no_comma")
def no_comma(text: Text) -> bool:
    return not any(map(COMMAS.search, (text.text, text.spaced)))


@constraint("startend:quotation")
def quotation(text: Text) -> bool:
    body = text.text
    return len(body) > 2 and QUOTES.get(body[0]) == body[-1] and re.search(r"\w", body[1:-1]) is not None


def is_english(text: Text) -> bool:
    """True if nearly all words are English. The detector knows words in small letters."""
    share = language_share(BLANK_LINE.sub("\n\n", text.text.lower()), "en")
    return share is not None and share >= ENTIRE
