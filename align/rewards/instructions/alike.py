"""Letters that look like Latin ones."""

from __future__ import annotations

import functools
import re
import unicodedata

# Pairs of a letter and the Latin one that it looks like. Full-width and mathematical letters are plain after NFKC.
_CYRILLIC = "аaеeоoрpсcуyхxіiјjѕsһhԁdԛqԝwвbкkмmнhтtАAВBЕEКKМMНHОOРPСCТTХXУYІIЈJЅSӏlӀIҮYүyԌGԍg"
_GREEK = "ΑAΒBΕEΖZΗHΙIΚKΜMΝNΟOΡPΤTΥYΧXοoαaνvιiρpκkτtυuχxεeηnγyϲcϳjωw"
_ARMENIAN = "օoսuհhոnցgզqյjԼLՕOՍU"
_CHEROKEE = "ᎪAᏴBᏟCᎠDᎬEᏀGᎻHᎥiᎫJᏦKᏞLᎷMᏢPᏒRᏚSᎢTᏙVᎳWᏃZ"
_LATIN = "ɑaɡgıiȷjʋvſsɩi"
_LIKE = _CYRILLIC + _GREEK + _ARMENIAN + _CHEROKEE + _LATIN
LOOK_ALIKE = dict(zip(_LIKE[::2], _LIKE[1::2], strict=True)) | {"æ": "ae", "œ": "oe", "Æ": "AE", "Œ": "OE", "ß": "ss"}
# LATIN SMALL LETTER O WITH STROKE, LATIN LETTER SMALL CAPITAL L, NEGATIVE SQUARED LATIN CAPITAL LETTER A
_NAME = re.compile(
    r"(?:LATIN|(?:NEGATIVE )?(?:SQUARED|CIRCLED) LATIN|REGIONAL INDICATOR SYMBOL)"
    r" (?:(SMALL)|CAPITAL)? ?LETTER(?: SMALL CAPITAL)? ([A-Z])(?: WITH [A-Z ]+)?"
)


def folded(text: str, marks: frozenset[str] = frozenset()) -> str:
    """``text`` with Latin letters in the place of those that look like them, and without marks on these and on signs.

    Args:
        marks: that stay.
    """
    if text.isascii():
        return text
    found: list[str] = []
    for char in unicodedata.normalize("NFD", text):
        if unicodedata.category(char) not in ("Mn", "Me"):
            found.append(char if char.isascii() else _plain(char))
        elif char in marks or (found and not found[-1].isascii() and unicodedata.category(found[-1])[0] in "LM"):
            found.append(char)  # of a letter of another script
    return unicodedata.normalize("NFC", "".join(found))


def marks_of(text: str) -> frozenset[str]:
    """The combining marks in a text."""
    return frozenset(char for char in unicodedata.normalize("NFD", text) if unicodedata.combining(char))


@functools.lru_cache(maxsize=4096)
def _plain(char: str) -> str:
    if char in LOOK_ALIKE:
        return LOOK_ALIKE[char]
    name = _NAME.fullmatch(unicodedata.name(char, ""))
    if name is None:
        return char
    return name[2].lower() if name[1] else name[2]
