"""Language consistency: what counts as a word, and whose word it is."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from align.rewards.rules.language import LANGUAGES, LanguageConsistency, language_share


@pytest.mark.parametrize(
    ("text", "language", "share"),
    [
        ("So the answer is seven.", "en", 1.0),
        ("让我们计算。所以答案是七。", "zh", 1.0),
        ("让我们计算 the answer", "zh", 5 / 7),  # five characters, two words
        ("让我们计算 the answer", "en", 2 / 7),
        ("So the answer is seven.", "zh", 0.0),
        ("让我们", "en", 0.0),
        # of no language: formulas, code, names of variables, units, tags
        ("让我们计算 $x + y$ 和 `my list` 和 \\(abc\\) 和 x1 和 \\frac{a}{b} 和 5 cm", "zh", 1.0),
        ("设 x 为长度。\n```python\nprint('hello world')\n```", "zh", 1.0),
        ("$x = 5$", "en", None),
        ("", "en", None),
        # sentences in another language of the same script
        ("Nous devons trouver le nombre de pommes.", "en", 0.0),
        ("Nous devons trouver le nombre de pommes.", "fr", 1.0),
        ("Nous devons trouver le nombre de pommes. So the answer is twelve.", "fr", 7 / 12),
        ("Мы должны найти сумму чисел.", "ru", 1.0),
        ("Ми повинні знайти суму цих чисел.", "ru", 0.0),
        ("这个问题的答案是十二个苹果", "ja", 0.0),
        ("これは日本語の文章です。", "ja", 1.0),
        ("これは日本語の文章です。", "zh", 5 / 11),  # kana show that it is Japanese; of its characters nobody can tell
        ("한국어 문장입니다", "ko", 1.0),
        ("Oui, merci.", "en", 1.0),  # too short to tell
        ("Premièrement. Deuxièmement. Donc cinq. Voilà tout. Merci bien.", "en", 0.0),  # short sentences together
        # formulas without dollars, and without spaces in languages that have none
        ("Let α and β be the roots, αβ = 6, for n ∈ ℕ, with 𝑥 in ℝ and 5 Ω at 3 µA.", "en", 1.0),
        ("设x为苹果的数量，则x+y=5，三角形ABC的边AB长5cm，sinθ=½。", "zh", 1.0),
        ("삼각형 ABC 의 넓이는 x+y=5 이므로 5cm입니다.", "ko", 1.0),
        ("Пусть x и y — числа, тогда x+y=5, а площадь равна 5 см.", "ru", 1.0),
        ("関数f(x)=x^2の最小値は0です。", "ja", 1.0),
        ("Prvo ćemo naći zbir svih brojeva, a zatim podeliti sa dva.", "sr", 1.0),
        ("ਪਹਿਲਾਂ ਅਸੀਂ ਜੋੜ ਲੱਭਦੇ ਹਾਂ।", "pa", 1.0),
        ("Pierre Dupont and José García from Zürich met Søren in Malmö near the old Łódź station.", "en", 1.0),
    ],
)
def test_share(text: str, language: str, share: float | None) -> None:
    assert language_share(text, language) == (None if share is None else pytest.approx(share))


TEXT = """
le chat noir dort sur le grand lit avec son ami qui est content parce que nous devons trouver la maison
"""
FRENCH = TEXT.split()
HIDDEN = {
    "dollars": "Yes: $" + " ".join(FRENCH) + "$",
    "short formulas": " ".join(f"${a} {b}$" for a, b in itertools.pairwise(FRENCH)),
    "backticks": " ".join(f"`{a} {b} {c}`" for a, b, c in zip(FRENCH[::3], FRENCH[1::3], FRENCH[2::3], strict=False)),
    "a fence": "```\n" + " ".join(FRENCH) + "\n```",
    "tags": "<" + "> <".join(FRENCH) + ">",
    "commands": "\\" + " \\".join(FRENCH),
    "digits": " ".join(f"{word}{i}" for i, word in enumerate(FRENCH)),
    "text commands": "$\\text{" + " ".join(FRENCH) + "} = 5$",
    "short sentences": ". ".join(" ".join(FRENCH[i : i + 3]) for i in range(0, 21, 3)) + ".",
    "capitals": " ".join(word.capitalize() for word in FRENCH) + ".",
}


@pytest.mark.parametrize("place", HIDDEN)
def test_a_text_in_another_language_hides_nowhere(place: str) -> None:
    share = language_share("OK. " + HIDDEN[place], "en")
    assert share is not None
    assert share < 0.35
    assert (language_share("OK. " + HIDDEN[place].replace("OK", ""), "fr") or 0.0) > 0.8


@pytest.mark.parametrize("hide", ["$\\text{{{}}}$", "`{}`", "```\n{}\n```", "${}$", "\\({}\\)"])
def test_a_text_without_spaces_hides_nowhere(hide: str) -> None:
    share = language_share("OK. " + hide.format("我们先计算导数然后得到答案"), "en")
    assert share is not None
    assert share < 0.35


def test_honest_formulas_and_code_hide_nothing() -> None:
    lines = "# sum of squares\ntotal = 0\nfor i in range(10):\n    total += i * i\nprint(total)"
    code = f"我们写代码：\n```python\n{lines}\n```\n"
    text = (
        code
        + "由 $v=\\frac{\\text{distance}}{\\text{time}}$ 得 `my_list` 和 `x = foo(bar)` 的值，见 <b>表</b> 和 https://example.org/a。"
    )
    assert language_share(text, "zh") == 1.0


def test_names_of_languages(sample: Any) -> None:
    term = LanguageConsistency()
    names = ["English", "EN", "en-US", "eng", "english"]
    assert term.score([sample("So the answer is seven.", language=name) for name in names]) == [1.0] * 5
    ((score, reason),) = term.explain([sample("So the answer is seven.", language="Klingon")])
    assert score is None
    assert "no language is called 'Klingon'" in reason
    ((score, reason),) = term.explain([sample("words", language="gn")])  # known, and not told from others
    assert score is None
    assert "does not know 'gn'" in reason


def test_mixing_in_foreign_sentences_lowers_the_share() -> None:
    english, french = "We first add the two numbers together. ", "Ensuite on soustrait le nombre de pommes. "
    shares = [language_share(english * (4 - n) + french * n, "en") for n in range(5)]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 5
    assert (shares[0], shares[-1]) == (1.0, 0.0)


def test_only_the_thoughts_are_looked_at(sample: Any) -> None:
    term = LanguageConsistency()
    scores = term.score(
        [
            sample("<think>All of this is English.</think>答案是七", language="en"),
            sample("所以答案是七</think>The answer is seven.", language="en", think_prefilled=True),
            sample("The answer is seven.", language="en"),
            sample("<think>x</think>The answer", language="en"),
            sample("words", language="tlh"),
        ]
    )
    assert scores == [1.0, 0.0, 1.0, None, None]
    assert term.errors == {"tlh": 1}
    assert not term.applies(sample("words"))


def test_the_detector_knows_every_language_of_the_table() -> None:
    for language in LANGUAGES:
        assert language_share("zzz " * 8, language) is not None


def test_solutions_of_real_problems_are_english(keel_data: Path) -> None:
    with gzip.open(keel_data / "math" / "gsm8k.train.jsonl.gz", "rt", encoding="utf-8") as stream:
        texts = [json.loads(line)["solution"] for line, _ in zip(stream, range(400), strict=False)]
    shares = {language: [language_share(text, language) or 0.0 for text in texts] for language in ("en", "fr", "zh")}
    means = {language: sum(values) / len(values) for language, values in shares.items()}
    assert means["en"] > 0.995
    assert means["fr"] < 0.1
    assert means["zh"] == 0.0


@pytest.mark.parametrize("unit", ["\\( ", "$ ", "```", "`\n", "a", "a_", "1", "1,", "\\begin{", "https://", "。"])
def test_no_text_takes_quadratic_time(unit: str) -> None:
    language_share(unit * (100_000 // len(unit)), "en")  # minutes, if it were
