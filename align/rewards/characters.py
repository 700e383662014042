"""Characters that are not seen, and those that change the order of what is seen.

A policy can write thoughts of zero-width spaces, or digits around an invisible character. Readers of text take such
characters out first, and refuse a text that is shown in another order than it is stored.
"""

from __future__ import annotations

import html
import re
import unicodedata

REORDERING = re.compile("[\u202a-\u202e\u2066-\u2069]")  # bidirectional embeddings, overrides and isolates
# Letters and symbols without a glyph: Hangul and Khmer fillers, braille blank, Mongolian vowel separator, musical null.
BLANKS = "\u115f\u1160\u17b4\u17b5\u180e\u2800\u3164\uffa0\U0001d159"
INVISIBLE = re.compile(
    f"[\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u2060-\u2064\u206a-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb"
    f"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff{BLANKS}\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
# Prints nothing: comments and tags, phantoms, spaces and empty boxes of LaTeX.
BLANK_MARKUP = re.compile(
    r"<!--.*?(?:-->|\Z)|</?(?:b|i|u|s|p|br|hr|em|div|span|strong|small|sub|sup)\b[^<>]{0,60}>"
    r"|\\[hv]?phantom\s*\{[^{}]{0,2000}\}|\\(?:boxed|fbox|mbox|text[a-z]{0,8}|math[a-z]{2,8})\s*\{\s*\}|\\q?quad(?![A-Za-z])",
    re.DOTALL | re.IGNORECASE,
)


def without_invisible(text: str) -> str:
    """Return ``text`` without zero-width, filler and control characters; line breaks and tabs stay."""
    return text if text.isascii() and text.isprintable() else INVISIBLE.sub("", text)


def shows_content(text: str) -> bool:
    """The same of text that may hold entities, tags and comments of HTML, and LaTeX that prints nothing."""
    return has_content(BLANK_MARKUP.sub(" ", html.unescape(text)))


def has_content(text: str) -> bool:
    """Return whether ``text`` shows a letter, a digit or a mathematical symbol; punctuation alone is no content."""
    return any(c.isalnum() or unicodedata.category(c) == "Sm" for c in without_invisible(text))
