"""The colours can be read, in light and in dark (WCAG 2.1, 1.4.3)."""

from __future__ import annotations

import re

import pytest

from annotation_ui.web.app import css

TEXT = ("text", "dim", "accent", "a", "b", "good", "bad")
GROUND = ("bg", "card", "soft", "code")


def colours(selector: str) -> dict[str, str]:
    block = re.search(rf"^{re.escape(selector)} {{(.*?)^}}", css(), re.MULTILINE | re.DOTALL)
    assert block is not None
    return dict(re.findall(r"--k-([a-z-]+): (#[0-9a-f]{6});", block[1]))


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_hand() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("selector", [":root", ".dark"])
def test_every_text_colour_can_be_read_on_every_ground(selector: str) -> None:
    palette = colours(selector)
    pairs = [(text, ground) for text in TEXT for ground in GROUND] + [("on-accent", "accent"), ("text", "ins")]
    pairs += [("text", "del"), ("card", "bad"), ("bg", "text")]
    low = {pair: contrast(palette[pair[0]], palette[pair[1]]) for pair in pairs}
    assert {pair: round(ratio, 2) for pair, ratio in low.items() if ratio < 4.5} == {}


@pytest.mark.parametrize(("selector", "prefix"), [(":root", ""), (".dark", r"\.dark ")])
def test_every_colour_of_code_can_be_read(selector: str, prefix: str) -> None:
    ground = colours(selector)["code"]
    rules = re.findall(rf"^{prefix}\.k-text (\.c-\w+) {{ color: (#[0-9A-Fa-f]{{6}})", css(), re.MULTILINE)
    assert len(rules) > 30
    ratios = {name: round(contrast(colour, ground), 2) for name, colour in rules if name != ".c-w"}  # white space
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
