"""Constraints of IFBench (Pyatkin et al. 2025, arXiv:2507.02833), under the ids of allenai/IFBench_test.

Those on the form of a response are in :mod:`align.rewards.instructions.ifbench_format`. Left out, and so refused by
name, are those that need a tagger, a dictionary of syllables or knowledge of the world (``words:start_verb``,
``words:odd_even_syllables``, ``custom:…``), and ``repeat:repeat_simple``, whose right response is a sentence of the
prompt.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from itertools import pairwise

import regex

from align.rewards.instructions.ifeval import keyword_frequency
from align.rewards.instructions.lexicon import CONJUNCTIONS, NAMES, PALINDROMES, PRONOUNS, STOP_WORDS
from align.rewards.instructions.registry import constraint
from align.rewards.instructions.text import WORD, Text, bare, compared, keeps

CONSONANTS = re.compile("[bcdfghjklmnpqrstvwxyz]{2}")
JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
NUMBER = regex.compile(r"\d+(?:[.,]\d+)*")
ANY_NUMBER = regex.compile(r"\d+(?:[.,]\d+)*|[\p{No}\p{Nl}]")


@constraint("count:word_count_range")
def words_between(text: Text, min_words: int, max_words: int) -> bool:
    return keeps("at least", len(text.words), text.most_words, min_words) and text.most_words <= max_words


@constraint("count:unique_word_count")
def different_words(text: Text, N: int) -> bool:
    return len({piece.lower() for piece in text.pieces}) >= N


@constraint("ratio:stop_words")
def stop_words(text: Text, percentage: int) -> bool:
    words = WORD.findall(text.shown)
    return 100 * sum(word.lower() in STOP_WORDS for word in words) <= percentage * len(words)


@constraint("ratio:sentence_type")
def two_statements_a_question(text: Text) -> bool:
    ends = _ends(text)
    return ends["?"] > 0 and ends["."] == 2 * ends["?"]


@constraint("ratio:sentence_balance")
def balanced_sentences(text: Text) -> bool:
    ends = _ends(text)
    return ends["."] > 0 and ends["."] == ends["?"] == ends["!"]


@constraint("count:conjunctions")
def conjunctions(text: Text, small_n: int) -> bool:
    return len({word.lower() for word in text.tokens} & CONJUNCTIONS) >= small_n


@constraint("count:person_names")
def person_names(text: Text, N: int) -> bool:
    return len(set(text.words) & NAMES) >= N


@constraint("ratio:overlap")
def overlap(text: Text, reference_text: str, percentage: int) -> bool:
    """Share of the response's runs of three characters that stand in the reference, to 2 percentage points."""
    ours, theirs = (
        {body[place : place + 3] for place in range(len(body) - 2)} for body in (text.text, Text(reference_text).text)
    )
    return bool(ours) and abs(100 * len(ours & theirs) / len(ours) - percentage) <= 2


@constraint("count:numbers")
def numbers(text: Text, N: int) -> bool:
    written, seen = (NUMBER.findall(text.text), ANY_NUMBER.findall(text.text))
    return keeps("exactly", len(written), len(seen), N)


@constraint("words:alphabet")
def alphabetical(text: Text) -> bool:
    """Each word begins with the letter that follows the one before it; ``a`` follows ``z``."""
    first = [word[0].lower() for word in text.pieces]
    letters = string.ascii_lowercase
    return (
        len(first) > 1
        and all(letter in letters for letter in first)
        and all(letters.index(b) == (letters.index(a) + 1) % 26 for a, b in pairwise(first))
    )


@constraint("words:vowel")
def three_vowels(text: Text) -> bool:
    """One paragraph with at most three of the five vowels, in Latin letters: vowels of others are not known."""
    letters = {char for char in text.shown.lower() if char.isalpha()}
    return "\n" not in text.text and len(letters & set("aeiou")) <= 3 and all(map(str.isascii, letters))


@constraint("words:consonants")
def consonant_clusters(text: Text) -> bool:
    return all(CONSONANTS.search(word.lower()) for word in text.pieces)


@constraint("sentence:alliteration_increment")
def growing_alliteration(text: Text) -> bool:
    counts = [_alliterative(sentence) for sentence in text.finest]
    return len(counts) > 1 and all(a < b for a, b in pairwise(counts))


@constraint("words:palindrome")
def palindromes(text: Text) -> bool:
    return sum(len(word) >= 5 for word in PALINDROMES.intersection(map(str.lower, text.words))) >= 10


@constraint("count:punctuation")
def every_sign(text: Text) -> bool:
    """Every standard sign, and an interrobang beside them."""
    rest = re.sub(r"\?!|!\?|‽", "", text.text, count=1)
    return rest != text.text and all(sign in rest for sign in ".,!?;:")


@constraint("words:prime_lengths")
def prime_lengths(text: Text) -> bool:
    lengths = {sum(char.isalnum() for char in word) for word in text.pieces}
    return all(number > 1 and all(number % d for d in range(2, int(number**0.5) + 1)) for number in lengths)


@constraint("ratio:sentence_words")
def three_alike(text: Text) -> bool:
    """Three sentences of equally many characters, without a word in common."""
    words = [{word.lower() for word in Text(sentence).pieces} for sentence in text.finest]
    alike = len({len(sentence) for sentence in text.finest}) == 1
    return len(words) == text.most_sentences == 3 and alike and len(set().union(*words)) == sum(map(len, words))


@constraint("count:words_japanese")
def japanese_words(text: Text, N: int) -> bool:
    """Every N-th word holds Japanese letters; a response without N words has none."""
    words = text.text.split()
    chosen = [word for word in words[N - 1 :: N] if bare(word) and not bare(word).isdigit()] if N else []
    return bool(chosen) and all(JAPANESE.search(word) for word in chosen)


@constraint("words:repeats")
def few_repeats(text: Text, small_n: int) -> bool:
    return max(Counter(word.lower() for word in text.pieces).values(), default=0) <= small_n


@constraint("sentence:keyword")
def keyword_in_sentence(text: Text, word: str, N: int) -> bool:
    return 1 <= N <= len(text.sentences) and Text(text.sentences[N - 1]).count(word) > 0


@constraint("count:pronouns")
def pronouns(text: Text, N: int) -> bool:
    return sum(word.lower() in PRONOUNS for word in text.words) >= N


@constraint("words:last_first")
def last_word_goes_on(text: Text) -> bool:
    """The last word of a sentence is the first of the next one."""
    words = [Text(sentence).pieces for sentence in text.finest]
    return len(words) > 1 and all(a[-1].lower() == b[0].lower() for a, b in pairwise(words))


@constraint("words:paragraph_last_first")
def paragraphs_end_as_they_begin(text: Text) -> bool:
    words = [Text(line).tokens for line in text.lines]
    return all(len(each) > 2 and each[0].lower() == each[-1].lower() for each in words)


@constraint("sentence:increment")
def growing_sentences(text: Text, small_n: int) -> bool:
    lengths = [len(Text(sentence).pieces) for sentence in text.finest]
    return len(lengths) > 1 and all(b - a == small_n for a, b in pairwise(lengths))


@constraint("words:no_consecutive")
def no_alliteration(text: Text) -> bool:
    return len(text.pieces) > 1 and all(a[0].lower() != b[0].lower() for a, b in pairwise(text.pieces))


@constraint("count:keywords_multiple")
def keywords_in_numbers(text: Text, keyword1: str, keyword2: str, keyword3: str, keyword4: str, keyword5: str) -> bool:
    wanted = zip((keyword1, keyword2, keyword3, keyword4, keyword5), (1, 2, 3, 5, 7), strict=True)
    return all(keyword_frequency(text, keyword, number, "exactly") for keyword, number in wanted)


@constraint("words:keywords_specific_position")
def keyword_at(text: Text, keyword: str, n: int, m: int) -> bool:
    if not (1 <= n <= len(text.sentences)):
        return False
    words = Text(text.sentences[n - 1]).tokens
    return 1 <= m <= len(words) and words[m - 1].lower() == keyword.strip().lower()


@constraint("words:words_position")
def second_words(text: Text, keyword: str) -> bool:
    words = [word.lower() for word in text.tokens]
    return len(words) > 3 and words[1] == words[-2] == keyword.strip().lower()


@constraint("repeat:repeat_change")
def repeated_with_a_change(text: Text, prompt_to_repeat: str) -> bool:
    ours, theirs = compared(text.text).split(), compared(prompt_to_repeat).split()
    return ours[1:] == theirs[1:] and ours[:1] != theirs[:1] and len(ours) > 1


@constraint("repeat:repeat_span")
def repeated_span(text: Text, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """The words of the request from one index to another, as IFBench's program counts them."""
    wanted = compared(prompt_to_repeat).split()[n_start:n_end]
    return bool(wanted) and compared(text.text).split() == wanted


def _ends(text: Text) -> Counter[str]:
    return Counter(sentence.rstrip("\"'”’)")[-1:] for sentence in text.finest)


def _alliterative(sentence: str) -> int:
    """The words of a sentence that stand beside another one with the same first letter."""
    first = [word[0].lower() for word in Text(sentence).pieces]
    pairs = [a == b for a, b in pairwise(first)]
    return sum(a or b for a, b in zip([False, *pairs], [*pairs, False], strict=True))
