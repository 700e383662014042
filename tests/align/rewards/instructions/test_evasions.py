"""A law: a text that is over an upper bound stays over it in any disguise that a reader sees through."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from instruction_cells import CASES

import align.rewards.instructions.term  # noqa: F401  the constraints enter themselves
from align.rewards.instructions.registry import instructions_of
from align.rewards.instructions.text import Text


def shifted(first: int) -> Callable[[str], str]:
    """Small letters as those of another alphabet of Unicode."""
    return lambda text: "".join(chr(first + ord(char) - 97) if "a" <= char <= "z" else char for char in text)


def spread(mark: str) -> Callable[[str], str]:
    return lambda text: "".join(char + mark for char in text)


def joined(sign: str) -> Callable[[str], str]:
    return lambda text: text.replace(" ", sign)


def wrapped(before: str, behind: str) -> Callable[[str], str]:
    return lambda text: " ".join(f"{before}{word}{behind}" for word in text.split(" "))


DISGUISES: dict[str, Callable[[str], str]] = {
    "zero-width spaces": spread("\u200b"),
    "strokes": spread("\u0336"),
    "no-break spaces": joined("\u00a0"),
    "underscores": joined("_"),
    "hyphens": joined("-"),
    "slashes": joined("/"),
    "dots": joined("·"),
    "tabs": joined("\t"),
    "line separators": joined("\u2028"),
    "Cyrillic": lambda text: text.translate(str.maketrans("aeopcyxi", "аеорсухі")),
    "Greek": lambda text: text.translate(str.maketrans("aovnkt", "αονηκτ")),
    "full width": lambda text: "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text),
    "mathematical bold": shifted(0x1D41A),
    "squared": shifted(0x1F170),
    "regional indicators": shifted(0x1F1E6),
    "entities": lambda text: "".join(f"&#{ord(char)};" if char.isalpha() else char for char in text),
    "bold": wrapped("**", "**"),
    "code": wrapped("`", "`"),
    "tags": wrapped("<b>", "</b>"),
    "sentences on lines": lambda text: text.replace(". ", ".\n"),
    "no spaces between sentences": lambda text: text.replace(". ", "."),
    "no full stops": lambda text: text.replace(". ", "\n"),
}
BOUNDED = (
    *("keywords:forbidden_words", "keywords:exclude_word_harder", "keywords:word_once", "words:repeats"),
    *("punctuation:no_comma", "punctuation:punctuation_dot", "punctuation:punctuation_exclamation"),
    *("count:count_unique", "words:no_consecutive", "keywords:no_adjacent_consecutive"),
)
# A blank in the middle of a word is a space to a reader, and no disguise twice.
LEFT_OUT = ("&", "<", "to\u2800mato")


@pytest.mark.parametrize("name", DISGUISES)
def test_no_disguise_keeps_an_upper_bound(name: str) -> None:
    found = []
    for case in CASES:
        if case.id not in BOUNDED and not {"less than", "at most"} & set(map(str, case.values.values())):
            continue
        (wanted,) = instructions_of({"instructions": [{"id": case.id, "kwargs": case.values}]})
        for text in case.breaks:
            disguised = DISGUISES[name](text)
            if not any(sign in text for sign in LEFT_OUT) and wanted.followed(Text(disguised)):
                found.append((case.id, disguised))
    assert found == []


def test_long_texts_take_linear_time() -> None:
    for part in ("e.g. ", " ", "a\n", "A. ", "xx.", "é", "a<b ", "&amp;"):
        text = Text(part * (20_000 // len(part)))
        assert text.most_sentences >= 0
        assert text.most_words >= 0
        assert not text.holds("tomato")
