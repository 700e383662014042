"""The languages of the pages. Their texts are written in English; a catalogue has each of them in another language."""

from __future__ import annotations

import re
from typing import Literal

from annotation_ui.web.chinese import CHINESE, CHINESE_PATTERNS

Language = Literal["en", "zh"]
TAGS: dict[Language, str] = {"en": "en", "zh": "zh-CN"}  # as the attribute ``lang`` has them
DIRECTIONS: dict[Language, Literal["ltr", "rtl"]] = {"en": "ltr", "zh": "ltr"}
LANGUAGES = {"en": "English", "zh-CN": "中文"}  # each in its own words


def language_of(asked: object) -> Language:
    """The language of a page for a language tag or the header ``Accept-Language``: Chinese or else English."""
    return "zh" if isinstance(asked, str) and asked.lower().startswith("zh") else "en"


def translated(text: str, language: Language) -> str:
    """``text`` in a language; ``text`` itself where the catalogue does not have it: words of people, rare errors."""
    if language == "en":
        return text
    found = CHINESE.get(text)
    if found is not None:
        return found
    for pattern, put in CHINESE_PATTERNS:
        if len(text) <= 300 and (match := re.fullmatch(pattern, text)):
            return put.format(*match.groups())
    return text
