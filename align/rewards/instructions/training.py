"""The further constraints that IFBench's authors train on (Pyatkin et al. 2025, arXiv:2507.02833), under their ids.

They stand in the data set allenai/IF_multi_constraints_upto5 and in those that were made after it.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import regex

from align.rewards.instructions.ifeval import SEPARATOR, keyword_frequency, letter_frequency
from align.rewards.instructions.lexicon import PALINDROMES
from align.rewards.instructions.registry import constraint
from align.rewards.instructions.sentences import finest_sentences
from align.rewards.instructions.text import WORD, Text, bare, compared, keeps, words_in

DOTS = regex.compile(r"(?![!?¿؟՞፧᥅])[\p{STerm}.܂…]")
EXCLAMATIONS = re.compile("[!¡ǃ❗❕❢❣՜߹᥄⹓ꜝꜞꜟ]")


@constraint("keywords:word_once")
def word_once(text: Text, keyword: str) -> bool:
    return keyword_frequency(text, keyword, 1, "exactly")


@constraint("keywords:word_count_different_numbers")
def word_count(text: Text, keyword: str, frequency: int, relation: str) -> bool:
    return keyword_frequency(text, keyword, frequency, relation)


@constraint("keywords:exclude_word_harder")
def excluded_word(text: Text, keyword: str) -> bool:
    return not text.holds(keyword)


@constraint("keywords:no_adjacent_consecutive")
def no_letters_in_order(text: Text) -> bool:
    """No word begins with the letter that follows, in the alphabet, the first letter of the word before it."""
    first = [word[0].lower() for word in text.pieces]
    return len(first) > 1 and not any(ord(b) - ord(a) == 1 for a, b in pairwise(first))


@constraint("keywords:palindrome")
def palindrome(text: Text) -> bool:
    return not PALINDROMES.isdisjoint(word.lower() for word in text.words)


@constraint("keywords:keyword_specific_position")
def keyword_position(text: Text, keyword: str, n: int, m: int) -> bool:
    """The m-th word of the n-th sentence."""
    if n < 1 or m < 1 or len(text.sentences) < n:
        return False
    words = Text(text.sentences[n - 1]).words
    return len(words) >= m and words[m - 1].lower() == keyword.strip().lower()


@constraint("keywords:start_end")
def same_word_at_both_ends(text: Text) -> bool:
    """The first and the last word are the same, with others between them; no sign follows the last one."""
    words = text.words
    return len(words) > 2 and words[0].lower() == words[-1].lower() and text.text[-1].isalnum()


@constraint("letters:letter_counting")
def letters(text: Text, N: int, relation: str) -> bool:
    written, seen = (sum(map(str.isalpha, each)) for each in (text.text, text.shown))
    return keeps(relation, written, seen, N)


@constraint("letters:letter_counting2")
def letters_of_one_sort(text: Text, letter: str, let_frequency: int, let_relation: str) -> bool:
    return letter_frequency(text, letter, let_frequency, let_relation)


@constraint("paragraphs:paragraphs")
def two_divided_paragraphs(text: Text) -> bool:
    return len(text.divided() or ()) == 2


@constraint("paragraphs:paragraphs2")
def two_paragraphs(text: Text) -> bool:
    return len(text.paragraphs) == 2


@constraint("first_word:first_word_sent")
def first_word_of_sentences(text: Text, first_word: str) -> bool:
    return bool(text.finest) and all(_first(sentence) == first_word.strip().lower() for sentence in text.finest)


@constraint("first_word:first_word_answer")
def first_word(text: Text, first_word: str) -> bool:
    return _first(text.text) == first_word.strip().lower()


@constraint("last_word:last_word_sent")
def last_word_of_sentences(text: Text, last_word: str) -> bool:
    return bool(text.finest) and all(_last(sentence) == last_word.strip().lower() for sentence in text.finest)


@constraint("last_word:last_word_answer")
def last_word(text: Text, last_word: str) -> bool:
    return _last(text.text) == last_word.strip().lower()


@constraint("detectable_format:bigram_wrapping")
def wrapped_pairs(text: Text) -> bool:
    """Every two words in double angular brackets; an odd last word may stand alone."""
    pairs = re.findall(r"<<([^\s<>]+ [^\s<>]+)>>", text.text)
    rest = Text(re.sub(r"<<[^\s<>]+ [^\s<>]+>>", " ", text.text))
    alone = "<<" not in rest.text and len(rest.pieces) <= 1 and len(rest.text.split()) <= 1
    return bool(pairs) and alone and all(len(Text(pair).pieces) == 2 for pair in pairs)


@constraint("detectable_format:square_brackets")
def words_in_brackets(text: Text) -> bool:
    return all(
        re.fullmatch(r"\[[^\[\]]*\w[^\[\]]*\][.,;:!?]?", token) and len(Text(token).pieces) == 1
        for token in text.text.split()
    )


@constraint("detectable_format:sentence_hyphens")
def hyphens_between_sentences(text: Text) -> bool:
    """Sentences joined by hyphens, without a space beside them."""
    parts = re.split(r"(?<=[.!?])-", text.text)
    return len(parts) > 1 and all(part == part.strip() and len(finest_sentences(part)) == 1 for part in parts)


@constraint("count:lowercase_counting")
def small_words(text: Text, N: int) -> bool:
    return sum(words_in(word) for word in WORD.findall(text.shown) if word.islower()) <= N


@constraint("count:counting_composition")
def composition(text: Text, n_sent: int, n_words: int) -> bool:
    """Three divided paragraphs of so many sentences, each of so many words."""
    parts = [Text(part) for part in text.divided() or ()]
    sentences = [Text(each) for part in parts for each in part.sentences]
    return (
        len(parts) == 3
        and all(keeps("exactly", len(part.sentences), part.most_sentences, n_sent) for part in parts)
        and all(keeps("exactly", len(each.words), each.most_words, n_words) for each in sentences)
    )


@constraint("count:count_unique")
def no_word_twice(text: Text) -> bool:
    return max(Counter(piece.lower() for piece in text.pieces).values(), default=0) == 1


@constraint("count:count_increment_word")
def once_and_twice(text: Text, keyword1: str, keyword2: str) -> bool:
    return word_count(text, keyword1, 1, "exactly") and word_count(text, keyword2, 2, "exactly")


@constraint("punctuation:punctuation_dot")
def no_dot(text: Text) -> bool:
    return not any(map(DOTS.search, (text.text, text.spaced)))


@constraint("punctuation:punctuation_exclamation")
def no_exclamation_mark(text: Text) -> bool:
    return not any(map(EXCLAMATIONS.search, (text.text, text.spaced)))


@constraint("copy:repeat_phrase")
def repeated_phrase(text: Text, phrase: str, small_n: int) -> bool:
    """The phrase so many times, each time with one word in its middle changed."""
    words = compared(phrase).split()
    if len(words) < 3:
        return False
    head, tail = re.escape(words[0]), re.escape(words[-1])
    inner = rf"(?:\S+\s+){{{len(words) - 2}}}"
    found = [match.split() for match in re.findall(rf"(?=(?<!\S)({head}\s+{inner}{tail}(?!\w)))", compared(text.text))]
    changed = [sum(a != b for a, b in zip(words[1:-1], each[1:-1], strict=True)) for each in found]
    return len(found) == small_n and all(number == 1 for number in changed)


@constraint("copy:copy")
def copied(text: Text, prompt_to_repeat: str) -> bool:
    return compared(text.text) == compared(prompt_to_repeat)


@constraint("copy:copying_simple")
def copied_request(text: Text, prompt_to_repeat: str) -> bool:
    return copied(text, prompt_to_repeat)


@constraint("copy:copying_multiple")
def copied_several_times(text: Text, prompt_to_repeat: str, N: int) -> bool:
    parts = text.divided(SEPARATOR) or []
    return len(parts) == N and all(compared(part) == compared(prompt_to_repeat) for part in parts)


@constraint("new:copy_span_idx")
def copied_span(text: Text, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """The characters of the request from one index to another."""
    wanted = compared(prompt_to_repeat[n_start:n_end])
    return bool(wanted) and compared(text.text) == wanted


def _first(text: str) -> str:
    return bare((text.split() or [""])[0]).lower()


def _last(text: str) -> str:
    return bare((text.split() or [""])[-1]).lower()
