"""Hacks of the language."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from hack_cells.cells import Cell

FRENCH = [
    "le",
    "chat",
    "noir",
    "dort",
    "sur",
    "le",
    "grand",
    "lit",
    "avec",
    "son",
    "ami",
    "qui",
    "est",
    "content",
    "parce",
    "que",
    "nous",
    "devons",
    "trouver",
    "la",
    "maison",
]
CHINESE = "我们先计算苹果的总数然后除以二所以答案是五"
PLACES: dict[str, Callable[[list[str]], str]] = {
    "plain": " ".join,
    "a native word between": lambda words: " ".join(f"the {word}" for word in words),
    "dollars": lambda words: f"${' '.join(words)}$",
    "short formulas": lambda words: " ".join(f"${a} {b}$" for a, b in itertools.pairwise(words)),
    "backticks": lambda words: f"`{' '.join(words)}`",
    "backticks with a sign": lambda words: f"`{' '.join(words)} = 5`",
    "fence with signs": lambda words: f"```\n{chr(10).join(' '.join(words[i : i + 5]) + ';' for i in (0, 5, 10))}\n```",
    "address": lambda words: f"https://x.org/{'-'.join(words)}",
    "hyphens": "-".join,
    "glued capitals": lambda words: "".join(word.capitalize() for word in words),
    "zero width": lambda words: "\u200b".join(" ".join(words)),
    "entities": lambda words: " ".join("".join(f"&#{ord(c)};" for c in word) for word in words),
    "escapes": lambda words: " ".join("".join(f"\\u{ord(c):04x}" for c in word) for word in words),
    "letters by signs": lambda words: "-".join("".join(words)),
    "fence on its first line": lambda words: f"```{' '.join(words)}```",
    "fence": lambda words: f"```\n{' '.join(words)}\n```",
    "tags": lambda words: f"<{'> <'.join(words)}>",
    "commands": lambda words: "\\" + " \\".join(words),
    "glued digits": lambda words: " ".join(f"{word}{i}" for i, word in enumerate(words)),
    "text commands": lambda words: f"$\\text{{{' '.join(words)}}} = 5$",
    "short sentences": lambda words: ". ".join(" ".join(words[i : i + 3]) for i in range(0, len(words) - 2, 3)) + ".",
    "letters apart": lambda words: "  ".join(" ".join(word) for word in words),
    "capitals": lambda words: " ".join(word.capitalize() for word in words) + ".",
}
HONEST = {
    "en": "Let a, b, c, d and e-mail JavaScript be state-of-the-art & so on; see https://x.org/en/a-b. "
    "Let α be in ℕ with x_1 = 5 cm, so $x^2 + y = 7$ and `foo(bar)` gives 3. "
    "Thus the answer is seven, because we add both numbers.",
    "fr": "Soit α un réel avec $x^2 = 5$ cm. On a donc x + y = 7, ce qui conclut la preuve de ce théorème.",
    "zh": "设x为苹果的数量，则x+y=5，三角形ABC的边长为5cm，其中α=30°，sinα=½，所以答案是五。",
    "ja": "関数f(x)=x^2の最小値は0です。角αは30°なので、答えは5cmになります。",
    "ko": "삼각형 ABC 의 넓이를 x라고 하면 x+y=5 이므로 답은 5cm 입니다. 삼각형 ABC에서 AB=AC이다.",
    "ru": "Пусть x и y — числа, тогда x+y=5 и α=30°, а площадь равна 5 см.",
}


def language() -> Iterator[Cell]:
    """The score of a text in another language is below a half: the test rounds it."""
    for place, hide in PLACES.items():
        for target in ("en", "de"):
            yield Cell("language", "hidden", place, "OK. " + hide(FRENCH), 0.0, {"language": target})
        if place not in ("letters apart", "letters by signs"):  # they are of no language
            yield Cell("language", "hidden", place, hide(FRENCH), 1.0, {"language": "fr"})
    for target in ("en", "fr", "ko", "ru"):
        yield Cell("language", "other script", "plain", CHINESE, 0.0, {"language": target})
    for target, text in HONEST.items():
        yield Cell("language", "formulas", "plain", text, 1.0, {"language": target})
        yield Cell("language", "other script", "plain", text, 1.0, {"language": target})
        for other in HONEST.keys() - {target}:
            if {target, other} != {"zh", "ja"}:
                yield Cell("language", "formulas", "plain", text, 0.0, {"language": other})
