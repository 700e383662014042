"""Languages under the names that data sets give them."""

from __future__ import annotations

from typing import Any

import pytest

from reward_models.data.languages import language_code
from reward_models.data.records import RecordError


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        (" eng ", "en"),
        ("English", "en"),
        ("ENGLISH", "en"),
        ("en-US", "en"),
        ("en_GB", "en"),
        ("eng_Latn", "en"),
        ("zh-CN", "zh"),
        ("zh_Hans_CN", "zh"),
        ("zh-Hant", "zh"),
        ("zho", "zh"),
        ("chi", "zh"),
        ("cmn", "zh"),
        ("Chinese (Simplified)", "zh"),
        ("中文", "zh"),
        ("Deutsch", "de"),
        ("ger", "de"),
        ("Français", "fr"),
        ("es-419", "es"),
        ("pt-BR", "pt"),
        ("nb", "no"),
        ("nb-NO", "no"),
        ("nn", "nn"),
        ("Farsi", "fa"),
        ("Ελληνικά", "el"),
    ],
)
def test_each_name_gives_one_code(name: str, code: str) -> None:
    assert language_code(name) == code


@pytest.mark.parametrize(
    "name", ["", " ", "tlh", "Klingon", "english-please", "en US", "e", "x-klingon", "-", "jp", "de/fr"]
)
def test_a_name_that_is_not_known_is_an_error_that_names_it(name: str) -> None:
    with pytest.raises(RecordError, match="no language is called"):
        language_code(name)


@pytest.mark.parametrize("name", [None, 5, ["en"]])
def test_what_is_not_text_is_an_error(name: Any) -> None:
    with pytest.raises(RecordError, match="not text"):
        language_code(name)
