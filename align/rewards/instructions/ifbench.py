"""Constraints of IFBench (Pyatkin et al. 2025, arXiv:2507.02833), under the ids of allenai/IFBench_test.

Left out, and so refused by name, are those that need a tagger, a dictionary of syllables or knowledge of the world
(``words:start_verb``, ``words:odd_even_syllables``, ``custom:…``), and ``repeat:repeat_simple``, whose right response
is a sentence of the prompt.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from itertools import pairwise

from align.rewards.instructions.lexicon import CONJUNCTIONS, NAMES, PRONOUNS, SMALL_WORDS, STOP_WORDS
from align.rewards.instructions.registry import constraint
from align.rewards.instructions.text import Text, bare, compared

CONSONANTS = re.compile("[bcdfghjklmnpqrstvwxyz]{2}")
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u203c\u2049\u231a-\u23ff\u3030\u303d]")
JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
CLOSING = {")": "(", "]": "[", "}": "{"}
DEEP, DEEP_QUOTES = 5, 3


@constraint("count:word_count_range")
def words_between(text: Text, min_words: int, max_words: int) -> bool:
    return min_words <= len(text.words) and text.most_words <= max_words


@constraint("count:unique_word_count")
def different_words(text: Text, N: int) -> bool:
    return len({word.lower() for word in text.tokens}) >= N


@constraint("ratio:stop_words")
def stop_words(text: Text, percentage: int) -> bool:
    return 100 * sum(word.lower() in STOP_WORDS for word in text.words) <= percentage * len(text.words)


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
    return len(re.findall(r"\d+(?:[.,]\d+)*", text.text)) == N


@constraint("words:alphabet")
def alphabetical(text: Text) -> bool:
    """Each word begins with the letter that follows the one before it; ``a`` follows ``z``."""
    first = [word[0].lower() for word in text.tokens]
    letters = string.ascii_lowercase
    return all(letter in letters for letter in first) and all(
        letters.index(b) == (letters.index(a) + 1) % 26 for a, b in pairwise(first)
    )


@constraint("words:vowel")
def three_vowels(text: Text) -> bool:
    return "\n" not in text.text and len(set(text.text.lower()) & set("aeiou")) <= 3


@constraint("words:consonants")
def consonant_clusters(text: Text) -> bool:
    return all(CONSONANTS.search(word.lower()) for word in text.tokens)


@constraint("sentence:alliteration_increment")
def growing_alliteration(text: Text) -> bool:
    counts = [_alliterative(sentence) for sentence in text.sentences]
    return all(a < b for a, b in pairwise(counts))


@constraint("words:palindrome")
def palindromes(text: Text) -> bool:
    words = {word.lower() for word in text.words if len(word) >= 5 and word.isalpha() and len(set(word.lower())) > 1}
    return sum(word == word[::-1] for word in words) >= 10


@constraint("count:punctuation")
def every_sign(text: Text) -> bool:
    """Every standard sign, and an interrobang beside them."""
    rest = re.sub(r"\?!|!\?|‽", "", text.text, count=1)
    return rest != text.text and all(sign in rest for sign in ".,!?;:")


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


@constraint("words:prime_lengths")
def prime_lengths(text: Text) -> bool:
    lengths = {sum(char.isalnum() for char in word) for word in text.tokens}
    return all(number > 1 and all(number % d for d in range(2, int(number**0.5) + 1)) for number in lengths)


@constraint("format:options")
def one_option(text: Text, options: str) -> bool:
    """One of the options and nothing else. They are separated by a slash, by "or" or by commas."""
    separator = "/" if "/" in options else r"\bor\b" if re.search(r"\bor\b", options) else ","
    known = {compared(option).strip(string.punctuation + " ") for option in re.split(separator, options)}
    return compared(text.text).strip(string.punctuation + " ") in known - {""}


@constraint("format:newline")
def a_word_a_line(text: Text) -> bool:
    return all(len(line.split()) == 1 for line in text.lines) and len(text.lines) > 1


@constraint("format:emoji")
def emoji_ends(text: Text) -> bool:
    """An emoji at the end of every sentence, in front of its full stop or behind it."""
    parts = re.split(r"(?<=[.!?。！？])", re.sub(r"\s+", " ", text.text))
    marked: list[bool] = []
    for part in parts:
        lead = re.match(rf"[\s\"'”’)]*(?:{EMOJI.pattern})", part)
        if lead and marked:
            marked[-1] = True
            part = part[lead.end() :]
        if re.search(r"\w", part):
            marked.append(EMOJI.fullmatch(re.sub(r"[\s.!?。！？\"'”’)]+$", "", part)[-1:]) is not None)
    return bool(marked) and all(marked)


@constraint("ratio:sentence_words")
def three_alike(text: Text) -> bool:
    """Three sentences of equally many characters, without a word in common."""
    words = [{word.lower() for word in Text(sentence).words} for sentence in text.sentences]
    alike = len({len(sentence) for sentence in text.sentences}) == 1
    return len(words) == 3 and alike and len(set().union(*words)) == sum(map(len, words))


@constraint("count:words_japanese")
def japanese_words(text: Text, N: int) -> bool:
    """Every N-th word holds Japanese letters; a response without N words has none."""
    words = text.text.split()
    chosen = [word for word in words[N - 1 :: N] if bare(word) and not bare(word).isdigit()] if N else []
    return bool(chosen) and all(JAPANESE.search(word) for word in chosen)


@constraint("words:repeats")
def few_repeats(text: Text, small_n: int) -> bool:
    return max(Counter(word.lower() for word in text.tokens).values(), default=0) <= small_n


@constraint("sentence:keyword")
def keyword_in_sentence(text: Text, word: str, N: int) -> bool:
    return 1 <= N <= len(text.sentences) and Text(text.sentences[N - 1]).count(word) > 0


@constraint("count:pronouns")
def pronouns(text: Text, N: int) -> bool:
    return sum(word.lower() in PRONOUNS for word in text.words) >= N


@constraint("words:last_first")
def last_word_goes_on(text: Text) -> bool:
    """The last word of a sentence is the first of the next one."""
    words = [Text(sentence).tokens for sentence in text.sentences]
    return len(words) > 1 and all(a[-1].lower() == b[0].lower() for a, b in pairwise(words))


@constraint("words:paragraph_last_first")
def paragraphs_end_as_they_begin(text: Text) -> bool:
    words = [Text(line).tokens for line in text.lines]
    return all(each and len(each) > 1 and each[0].lower() == each[-1].lower() for each in words)


@constraint("sentence:increment")
def growing_sentences(text: Text, small_n: int) -> bool:
    lengths = [len(Text(sentence).tokens) for sentence in text.sentences]
    return len(lengths) > 1 and all(b - a == small_n for a, b in pairwise(lengths))


@constraint("words:no_consecutive")
def no_alliteration(text: Text) -> bool:
    return all(a[0].lower() != b[0].lower() for a, b in pairwise(text.tokens))


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
    signs = [line.strip()[0] for line in text.lines if line.strip()[0] in "*-"]
    return "*" in signs and signs[0] == "*" and all(b == "-" for a, b in pairwise([*signs, "*"]) if a == "*")


@constraint("format:no_bullets_bullets")
def sentences_then_bullets(text: Text) -> bool:
    """Two sentences that end with a full stop, then at least two bullets and nothing else."""
    bullets = [line.strip().startswith("*") for line in text.lines]
    first = bullets.index(True) if True in bullets else len(bullets)
    before = Text("\n".join(text.lines[:first])).sentences
    return sum(each.endswith(".") for each in before) >= 2 and sum(bullets) >= 2 and all(bullets[first:])


@constraint("count:keywords_multiple")
def keywords_in_numbers(text: Text, keyword1: str, keyword2: str, keyword3: str, keyword4: str, keyword5: str) -> bool:
    wanted = zip((keyword1, keyword2, keyword3, keyword4, keyword5), (1, 2, 3, 5, 7), strict=True)
    return all(text.count(keyword) == number for keyword, number in wanted)


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


@constraint("format:title_case")
def title_case(text: Text) -> bool:
    """Every word but articles, conjunctions and prepositions begins with a capital; the first one does."""
    words = [word for word in text.words if word[0].isalpha()]
    return bool(words) and all(
        not word[0].islower() or (place > 0 and word in SMALL_WORDS) for place, word in enumerate(words)
    )


@constraint("format:output_template")
def template(text: Text) -> bool:
    """The three headings in order, each with text."""
    found = re.search(r"My Answer:(.*)My Conclusion:(.*)Future Outlook:(.*)", text.text, re.DOTALL)
    return found is not None and all(re.search(r"\w", part) for part in found.groups())


@constraint("format:no_whitespace")
def no_white_space(text: Text) -> bool:
    return not any(char.isspace() for char in text.text)


def _ends(text: Text) -> Counter[str]:
    return Counter(sentence.rstrip("\"'”’)")[-1:] for sentence in text.sentences)


def _alliterative(sentence: str) -> int:
    """The words of a sentence that stand beside another one with the same first letter."""
    first = [word[0].lower() for word in Text(sentence).tokens]
    pairs = [a == b for a, b in pairwise(first)]
    return sum(a or b for a, b in zip([False, *pairs], [*pairs, False], strict=True))
