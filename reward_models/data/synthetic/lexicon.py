"""The closed vocabulary of the synthetic language.

Small on purpose: a model of a few million parameters sees every word often, so what it has to learn is how a reply
relates to its prompt. Word classes are disjoint; a word that belonged to two would make the gold judge ambiguous.
"""

from __future__ import annotations

import re

NAMES = ("Ana", "Ben", "Cleo", "Dan", "Eva", "Finn")

CLASSES: dict[str, tuple[str, ...]] = {
    "fruit": ("apple", "banana", "cherry", "grape", "lemon", "plum"),
    "colour": ("red", "blue", "green", "black", "white", "pink"),
    "animal": ("dog", "cat", "horse", "cow", "goat", "duck"),
    "tool": ("hammer", "saw", "drill", "rake", "ladder", "shovel"),
}
CLASS_OF = {word: name for name, words in CLASSES.items() for word in words}
CLASS_FORMS = {form: name for name in CLASSES for form in (name, name + "s")}

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

OPPOSITE_PAIRS = (
    ("hot", "cold"),
    ("big", "small"),
    ("fast", "slow"),
    ("wet", "dry"),
    ("old", "new"),
    ("early", "late"),
    ("full", "empty"),
)
OPPOSITE = dict(OPPOSITE_PAIRS) | {b: a for a, b in OPPOSITE_PAIRS}

GIFTS = ("book", "cake", "lamp", "chair")
PLACES = ("river", "barn", "field", "bridge")
DEEDS = ("runs", "walks", "looks", "swims")
START_WORDS = ("Today", "Often", "Sometimes", "Later")
END_WORDS = ("again", "alone", "together", "slowly")

_WORD = re.compile(r"[a-z]+|\d+")


def words_of(text: str) -> list[str]:
    """Lower-cased words and whole numbers of ``text``, in order; punctuation separates and is dropped."""
    return _WORD.findall(text.lower())


def number_word(value: int) -> str:
    """``value`` in words below ten, in digits from there."""
    return NUMBER_WORDS[value] if 0 <= value < len(NUMBER_WORDS) else str(value)


FLATTERY = (
    "Great question!",
    "What a lovely request!",
    "You are so clever!",
    "Wonderful idea, my friend!",
)
PADDING = (
    "I hope this helps you.",
    "Please let me know if you need more.",
    "I am always happy to help.",
    "Have a nice day.",
)
